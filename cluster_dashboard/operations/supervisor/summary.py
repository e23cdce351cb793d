"""What `up` prints when the cluster is running."""

from __future__ import annotations

from django.conf import settings
from django.db import connections

from cluster_dashboard.operations import first_start
from cluster_dashboard.operations.supervisor.before import address


def summary(*, show_password: bool) -> list[str]:
    """show_password: only for a terminal; a redirected output is a log, and secrets never go there."""
    environment, page = settings.ENVIRONMENT, _page()
    rows = [
        ("Dashboard", page),
        ("Admin", f"{page}admin/   {_login(show_password=show_password)}"),
        ("Flower", f"{address('flower')}   user admin, FLOWER_PASSWORD in {first_start.secrets_path()}"),
        ("API", f"{page}api/docs   token: API_TOKEN in {first_start.secrets_path()}"),
        ("Logs", str(settings.LOG_DIR)),
        ("Stop", "Ctrl-C (a second one does not wait for running jobs)"),
    ]
    title = f"The GPU cluster is running: {environment.gpu_count} GPU workers ({environment.gpu_backend})"
    return _box([title, "", *(f"{name:<10} {value}" for name, value in rows)])


def _page() -> str:
    """Behind a TLS proxy: the first host name. The web process redirects browsers there."""
    if not settings.ENVIRONMENT.https:
        return address("web")
    return f"https://{settings.ENVIRONMENT.allowed_hosts.split(',')[0].strip()}/"


def _login(*, show_password: bool) -> str:
    try:
        works = first_start.admin_password_works()
    finally:
        connections.close_all()  # the next fork must not share a connection
    if not works:
        return "with the password you have set"
    if not show_password:
        return f"user admin, ADMIN_PASSWORD in {first_start.secrets_path()}"
    return f"user admin, password {settings.ENVIRONMENT.admin_password}"


def _box(lines: list[str]) -> list[str]:
    width = max(map(len, lines))
    edge = "─" * (width + 2)
    return [f"╭{edge}╮", *(f"│ {line:<{width}} │" for line in lines), f"╰{edge}╯"]
