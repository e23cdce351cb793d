"""REDIS_URL: checked once, and written again in the form that Celery reads.

redis-py and kombu read URLs differently: of `unix://:password@/path` kombu sees no password, of `redis://host?db=3` no
database, and with `rediss://` it does not use TLS unless an option asks for it. So redis-py's reading counts, and kombu
gets what redis-py has read.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from redis.connection import parse_url

#: Options after `?` that both understand. Timeouts and the like are set by this cluster.
TLS_OPTIONS: Final = ("ssl_cert_reqs", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
CERT_REQUIREMENTS: Final = ("required", "optional", "none")


def check_redis_url(url: str) -> str:
    """Returns `url`. Raises ValueError, with a text that does not repeat the URL."""
    try:
        parts, read = urlsplit(url), _read(url)
        _ = parts.port
    except ValueError:
        raise ValueError(_special("its parts cannot be told apart")) from None
    if parts.fragment or "#" in url:
        raise ValueError(_special("it contains #"))
    accepted = {"db", *(TLS_OPTIONS if parts.scheme == "rediss" else ())}
    if unknown := sorted(set(parse_qs(parts.query, keep_blank_values=True)) - accepted):
        raise ValueError(f"the option {unknown[0]} is not accepted; expected: {', '.join(sorted(accepted))}")
    if read.get("ssl_cert_reqs", CERT_REQUIREMENTS[0]) not in CERT_REQUIREMENTS:
        raise ValueError(f"ssl_cert_reqs: expected {', '.join(CERT_REQUIREMENTS)}")
    if read.get("db", 0) < 0:
        raise ValueError("the number of the database is negative")
    if parts.scheme == "unix":
        if not read.get("path") or parts.hostname:
            raise ValueError(
                "the path of a socket is absolute: unix:///run/redis.sock, unix://:password@/run/redis.sock"
            )
    elif parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError(_special("the path is the number of a database"))
    return url


def _read(url: str) -> dict[str, Any]:
    """Keyword arguments of a connection, as redis-py reads them from the URL."""
    return dict(parse_url(url))  # type: ignore[no-untyped-call]


def _special(what: str) -> str:
    return f"{what}; a user name or password has # / ? @ : [ ] % and spaces as %23 %2F %3F %40 %3A %5B %5D %25 %20"


def celery_url(url: str) -> str:
    """Celery's form of a URL that `check_redis_url` accepts: every part quoted, the database named, TLS verified unless
    the URL says otherwise."""
    scheme, read = urlsplit(url).scheme, _read(url)
    credentials = _credentials(read)
    database = int(read.get("db", 0))
    if scheme == "unix":
        return f"redis+socket://{credentials}{quote(read['path'])}?virtual_host={database}"
    host = str(read.get("host", "localhost"))
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    options = f"?{urlencode(_tls(read))}" if scheme == "rediss" else ""
    return f"{scheme}://{credentials}{place}:{read.get('port', 6379)}/{database}{options}"


def _credentials(read: dict[str, Any]) -> str:
    user, password = (quote(str(read.get(name, "")), safe="") for name in ("username", "password"))
    return f"{user}:{password}@" if user or password else ""


def _tls(read: dict[str, Any]) -> dict[str, str]:
    options = {"ssl_cert_reqs": CERT_REQUIREMENTS[0], **{name: read[name] for name in TLS_OPTIONS if name in read}}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in options.items()}
