"""Django's settings, from the environment (read and checked in environment.py)."""

from __future__ import annotations

import os
import re
import secrets
import sys
import tempfile
from datetime import timedelta
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import dj_database_url

from cluster_dashboard.environment import own_environment, visible_cuda_devices
from cluster_dashboard.logs import without_traceback

BASE_DIR = Path(__file__).resolve().parent.parent

STATE_DIR, ENVIRONMENT = own_environment(BASE_DIR)

#: Pidfiles, locks and the embedded broker's socket; log files of each process.
RUN_DIR = STATE_DIR / "run"
LOG_DIR = STATE_DIR / "log"

# --- Django ---------------------------------------------------------------------------------------

# Before the first start there is no key: each process draws its own, since nobody can be signed in yet.
SECRET_KEY = ENVIRONMENT.secret_key or secrets.token_urlsafe(48)
DEBUG = False
# Always allowed: health checks on this machine use these names, and Prometheus in compose uses `web`.
LOCAL_HOSTS = {"localhost", "127.0.0.1", "[::1]", "web"}
ALLOWED_HOSTS = sorted({host.strip() for host in ENVIRONMENT.allowed_hosts.split(",")} | LOCAL_HOSTS)
ROOT_URLCONF = "cluster_dashboard.urls"
ASGI_APPLICATION = "cluster_dashboard.asgi.application"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "ninja",  # for the files of the API's docs: nothing is loaded from another host
    "scheduler",
    "gpu_tasks",
    "cluster_dashboard",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "cluster_dashboard" / "web" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "cluster_dashboard" / "web" / "static"]
# Files are served straight from the source folders: no collect step can be forgotten.
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_USE_MANIFEST = False
SERVESTATIC_ALLOW_ALL_ORIGINS = False

# The page loads nothing from another host; the admin's pages keep to this too.
SECURE_CSP = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "style-src": ["'self'", "'unsafe-inline'"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
if ENVIRONMENT.https:
    # Set by the TLS proxy in front, which must remove this header from requests of clients.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    # Health checks and Prometheus ask without the proxy.
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    # Subdomains may belong to other services.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
elif set(ALLOWED_HOSTS) == LOCAL_HOSTS:
    # Nothing leaves this machine, so there is nothing for TLS to protect. With any other name `check --deploy` warns.
    SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008", "security.W012", "security.W016"]
# Distinct names: browsers share cookies between the ports of one host.
SESSION_COOKIE_NAME = "gpu_cluster_session"
CSRF_COOKIE_NAME = "gpu_cluster_csrf"

# Ten thousand jobs in one call, with some 800 bytes of parameters each.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "MinimumLengthValidator",
        "UserAttributeSimilarityValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- Database -------------------------------------------------------------------------------------

DATABASES = {
    "default": dj_database_url.parse(
        ENVIRONMENT.database_url or f"sqlite:///{quote(str(STATE_DIR / 'cluster.sqlite3'))}",
        # Connections are kept for good: opening one for each job halves the throughput.
        conn_max_age=None,
        # A connection that died with its database is replaced before use, not reported to every job for ever.
        conn_health_checks=True,
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # A transaction that starts as a reader and then writes fails at once with "database is locked".
        "transaction_mode": "IMMEDIATE",
        # Writers queue: the longest wait allowed, in seconds.
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    # What the URL asks for (sslmode, a socket's folder as host) overrides these.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,
        # A network that is cut is noticed in 4 s, not after the 15 minutes for which TCP sends again: a worker that is
        # cut off must have its result on disk before it ends its job because the database is unreachable.
        "tcp_user_timeout": 4_000,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    } | DATABASES["default"].get("OPTIONS", {})

# --- Broker ---------------------------------------------------------------------------------------

#: True where this cluster starts its own server on a unix socket.
BROKER_EMBEDDED = not ENVIRONMENT.redis_url
# A unix socket's path is at most 107 bytes long, and it becomes part of a URL that several libraries read in
# ways of their own: a deep or oddly named state folder gets a socket in the temporary folder.
BROKER_SOCKET = RUN_DIR / "broker.sock"
if len(os.fsencode(BROKER_SOCKET)) > 100 or not re.fullmatch(r"[\w/.+-]+", str(BROKER_SOCKET), re.ASCII):
    BROKER_SOCKET = (
        Path(tempfile.gettempdir())
        / f"gpu-cluster-{os.getuid()}-{sha256(os.fsencode(STATE_DIR)).hexdigest()[:12]}"
        / "broker.sock"
    )
REDIS_URL = ENVIRONMENT.redis_url or f"unix://{quote(str(BROKER_SOCKET))}?db=0"
#: Every Redis key and channel begins with it.
REDIS_PREFIX = ENVIRONMENT.redis_prefix

# --- The cluster ----------------------------------------------------------------------------------

#: The GPUs that CUDA_VISIBLE_DEVICES names, one for each worker; None: it is not set, GPU 0 is the first worker's.
CUDA_DEVICES = visible_cuda_devices()

#: "module:Class" of each built-in job type; installed packages add theirs by entry point, JOB_TYPES_EXTRA below.
JOB_TYPES = [
    "gpu_tasks.job_types.sleep:Sleep",
    "gpu_tasks.job_types.compute:Compute",
    "gpu_tasks.job_types.matrix:Matrix",
    "gpu_tasks.job_types.fault_injection:FaultInjection",
]
JOB_TYPES_EXTRA = [path.strip() for path in ENVIRONMENT.job_types_extra.split(",") if path.strip()]

#: What the generator makes, and when: the name of a built-in workload, or the path of a file.
GENERATOR_CONFIG = ENVIRONMENT.generator_config

#: How long a job is kept after its end, with its events.
RETENTION = timedelta(days=ENVIRONMENT.retention_days)

#: New jobs are refused if less would be free on the disk (0: never), or more jobs would be queued.
DISK_FREE_MIN_BYTES = round(ENVIRONMENT.disk_free_min_mib * 2**20)
QUEUED_MAX = ENVIRONMENT.queued_max

#: The longest time limit that a job may have.
TIME_LIMIT_MAX_SECONDS = ENVIRONMENT.time_limit_max

#: A waiting job's priority rises each time it has waited for this long; the share of all starts that such jobs take.
AGEING_SECONDS = ENVIRONMENT.ageing_period
AGEING_SHARE = ENVIRONMENT.ageing_share

# --- Log ------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "cluster_dashboard.logs.LineFormatter",
            "json": ENVIRONMENT.log_format == "json",
            "color": ENVIRONMENT.log_format == "color" and sys.stderr.isatty(),
        }
    },
    # A 503 is deliberate, and logged where it is decided.
    "filters": {
        "not_503": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 0) != HTTPStatus.SERVICE_UNAVAILABLE,
        },
        "no_traceback": {
            "()": "django.utils.log.CallbackFilter",
            "callback": without_traceback,
        },
        "refusals": {"()": "cluster_dashboard.refusals.OneLineRefusals"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["refusals"]}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # One INFO line for each job and step from Celery: a large part of what a job costs.
        "celery": {"level": "WARNING"},
        # A job process that died with a job: the child watch logs it in one line, with the job.
        # What is left: a message that could not be acknowledged, since the broker became unavailable at that moment.
        # It is delivered again, and found stale.
        "celery.worker.request": {"level": "CRITICAL", "filters": ["no_traceback"]},
        # A hint that was returned: the runner logs it in one line, without a traceback.
        "celery.app.trace": {"level": "ERROR"},
        "multiprocessing": {"level": "CRITICAL"},
        # A worker that is busy for a second answers the next inspection.
        "flower.inspector": {"level": "ERROR"},
        # A 404 is not a fault of the cluster.
        "django.request": {"level": "ERROR", "filters": ["not_503"]},
        "uvicorn.access": {"level": "WARNING"},
        "uvicorn.error": {"level": "WARNING"},
    },
}
