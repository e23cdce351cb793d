"""schemathesis against the API's own description: no 5xx, and nothing that the description does not say.

In this process, on a real database; bounded, and the same examples in every run.
"""

from __future__ import annotations

from itertools import count
from typing import Any, Final

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from schemathesis.generation import GenerationMode

from cluster_dashboard.api import api, broker, one_job
from cluster_dashboard.api.http import rate_limit
from cluster_dashboard.api.http.idempotency import KEY_HEADER
from cluster_dashboard.api.http.rate_limit import Limiter
from scheduler.broker import dead_letters
from scheduler.models import Gpu
from scheduler.rules.states import JobState
from tests.build import ended, queued, running
from tests.with_database.cluster_dashboard.api.test_api import no_broker

__all__ = ["no_broker"]

pytestmark = pytest.mark.usefixtures("no_broker")

EXAMPLES: Final = 20
TOKEN: Final = {"Authorization": "Bearer token-of-the-tests-0123456789"}

#: Each operation with good input and, where it takes any, with bad input.
ASKED: Final = [
    pytest.param(method.upper(), path, mode, id=f"{method.upper()} {path} {mode.value}")
    for path, operations in api.get_openapi_schema()["paths"].items()
    for method, operation in operations.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation["parameters"] or "requestBody" in operation
]


@pytest.fixture
def schema(control: Any, gpus: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    # So large that every job fits which the description allows: it cannot tell how large the GPUs are.
    Gpu.objects.update(memory_total_mib=10**8)
    # One in each state, for ids that hit.
    queued(), running(), ended(JobState.FAILED, gpu=1)
    # Nobody ends these jobs, and WSGI knows no endless answers: waiting and following are tested elsewhere.
    monkeypatch.setattr(one_job, "_wait_for_end", lambda *_: None)
    monkeypatch.setattr(
        one_job, "story_of", lambda *_: HttpResponse(b": waiting\n\n", content_type="text/event-stream")
    )
    unlimited = Limiter(per_minute=100_000, burst=100_000)
    monkeypatch.setattr(rate_limit, "_limiter", lambda: unlimited)
    return schemathesis.openapi.from_wsgi("/api/openapi.json", get_wsgi_application())


@pytest.fixture
def with_broker(no_broker: None, redis: Any, valkey_server: Any, settings: Any) -> None:
    settings.REDIS_URL = valkey_server.url
    broker.client.cache_clear()
    dead_letters.bury(redis, b"not ours", "normal", "the message: not JSON")


@pytest.mark.parametrize(("method", "path", "mode"), ASKED)
def test_api_keeps_to_its_description(
    schema: Any, method: str, path: str, mode: GenerationMode, request: pytest.FixtureRequest
) -> None:
    if path.startswith("/api/dead-letters"):
        # All that they tell lies in the broker: the others must do without it.
        request.getfixturevalue("with_broker")
    operation = schema[path][method]
    numbers = count()

    @given(case=operation.as_strategy(generation_mode=mode))
    @examples(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        if KEY_HEADER in (case.headers or {}) and mode is GenerationMode.POSITIVE:
            # A key belongs to one submission; that another one under it is refused is no breach of the description.
            case.headers[KEY_HEADER] += f"-{next(numbers)}"
        case.call_and_validate(headers=TOKEN)

    check()
