"""Environment variables that were set for other software and would reach the libraries below this cluster.

Celery prefers CELERY_BROKER_URL to its configuration, libpq PGHOST to its defaults, uvicorn fails at a WEB_CONCURRENCY
that is no number. Each of the cluster's own settings has a variable in `.env.example`; everything else that a library
would read as its configuration is removed before the library is imported.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

#: Of the cluster itself, although they begin as a library's do.
OWN: Final = {
    *("FLOWER_PORT", "FLOWER_PORT_FILE", "FLOWER_PASSWORD", "FLOWER_PASSWORD_FILE"),
    *("FLOWER_CONTROL", "FLOWER_CONTROL_FILE"),
    "DJANGO_SETTINGS_MODULE",
}

#: Every variable that begins so configures one library.
PREFIXES: Final = (
    "CELERY_",
    "DJANGO_",
    "FLOWER_",
    "KOMBU_",
    "NINJA_",
    "PG",  # libpq, which reads some that psycopg does not list
    "PROMETHEUS_",
    "PSYCOPG_",
    "PYDANTIC_",
    "TORNADO_",
    "UVICORN_",
    "WEBSOCKETS_",
    "_MP_FORK_",
)

#: Variables without such a beginning.
NAMES: Final = {
    # Celery's command line
    *("APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "RESULT_BACKEND", "SKIP_CHECKS"),
    # Celery
    *("AUTOSCALE_KEEPALIVE", "EVENTLET_NOBLOCK", "NOSETPS", "TIMER_DEBUG", "USE_FAST_LOCALS"),
    *("C_BENCH", "C_BENCH_EVERY", "C_FAKEFORK", "C_FORCE_ROOT", "C_IMPDEBUG", "C_REMDEBUG", "C_STRICT_APP"),
    *("C_WARN_APP", "C_WNOCONF"),
    # billiard
    *("FORKED_BY_MULTIPROCESSING", "MP_LOG", "MP_MAIN_FILE", "MULTIPROCESSING_FORKING_DISABLE", "REMAP_SIGTERM"),
    # kombu
    *("DISABLE_TRACEBACKS", "PICKLE_PROTOCOL"),
    # uvicorn
    *("FORWARDED_ALLOW_IPS", "WEB_CONCURRENCY"),
    # prometheus-client, setproctitle
    *("prometheus_multiproc_dir", "SPT_DEBUG"),
}

#: What was removed at the start of this process, by name; `up` and `start` log it.
removed: Final[list[str]] = []


def is_foreign(name: str) -> bool:
    return name not in OWN and (name in NAMES or name.startswith(PREFIXES))


def remove_foreign(variables: MutableMapping[str, str]) -> tuple[str, ...]:
    """Returns the names, sorted. Call it before any of the libraries is imported."""
    found = tuple(sorted(filter(is_foreign, variables)))
    for name in found:
        del variables[name]
    removed.extend(found)
    return found
