"""HTTP requests to the web process and to Flower on this machine."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from django.conf import settings

#: The address for requests to a server that listens on every address.
_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (not bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: Any
    retry_after: str | None
    seconds: float


def answers(port: int, path: str) -> bool:
    """Whether a server is there and does not answer with a 5xx error."""
    try:
        return _ask(port, "GET", path, timeout_seconds=2).status < 500
    except (OSError, HTTPException):
        return False


def post_jobs(body: dict[str, Any] | bytes, *, timeout_seconds: float = 40) -> Answer:
    """POST /api/jobs with the cluster's token. Raises OSError or HTTPException if the API is unreachable."""
    return _ask(
        settings.ENVIRONMENT.web_port,
        "POST",
        "/api/jobs",
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        timeout_seconds=timeout_seconds,
    )


def _ask(port: int, method: str, path: str, *, body: bytes | None = None, timeout_seconds: float) -> Answer:
    bind_host = settings.ENVIRONMENT.bind_host
    started = time.monotonic()
    with closing(HTTPConnection(_ANY_HOST.get(bind_host, bind_host), port, timeout=timeout_seconds)) as connection:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {settings.ENVIRONMENT.api_token}"}
        connection.request(method, path, body=body, headers=headers if body is not None else {})
        answer = connection.getresponse()
        content = answer.read()
        try:
            parsed = json.loads(content)
        except ValueError:
            parsed = None
        return Answer(
            status=answer.status,
            body=parsed,
            retry_after=answer.getheader("Retry-After"),
            seconds=time.monotonic() - started,
        )
