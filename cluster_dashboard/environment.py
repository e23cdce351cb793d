"""The environment: the only module that reads it. What each variable accepts, its default, an error that names it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final

import dj_database_url
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from scheduler.redis_url import check_redis_url
from scheduler.rules.configuration import EnvironmentInvalid
from scheduler.rules.job_limits import (
    TIME_LIMIT_MAX_HIGHEST_SECONDS,
    TIME_LIMIT_MAX_LOWEST_SECONDS,
    TIME_LIMIT_MAX_SECONDS,
    parse_time_span,
    time_span,
)
from scheduler.rules.presets import RATE_MAXIMUM, RATE_MINIMUM
from scheduler.rules.waiting import AGEING_HIGHEST_SECONDS, AGEING_LOWEST_SECONDS, AGEING_SECONDS, AGEING_SHARE


class GpuBackendName(StrEnum):
    SIMULATED = "simulated"
    NVML = "nvml"
    AUTO = "auto"


class LogFormat(StrEnum):
    COLOR = "color"
    JSON = "json"


#: What each variable accepts, in the words of the error message.
ACCEPTED: Final = {
    "WEB_PORT": "a free TCP port, 1 to 65535",
    "FLOWER_PORT": "a free TCP port, 1 to 65535",
    "BIND_HOST": "an address or host name to listen on, such as 127.0.0.1",
    "STATE_DIR": "a writable folder",
    "REDIS_URL": "redis://, rediss:// or unix:// (empty: an embedded server)",
    "REDIS_PREFIX": "1 to 40 letters, digits, - and _, and a colon at the end",
    "DATABASE_URL": "sqlite:/// or postgres:// (empty: SQLite in STATE_DIR)",
    "GPU_BACKEND": "simulated, nvml or auto",
    "GPU_COUNT": "a whole number, 1 to 64",
    "GPU_OFFSET": "a whole number, 0 to 1000",
    "GPU_DEVICE": "a whole number, 0 to 63 (empty: the N of gpu-N)",
    "GPU_MEMORY_GIB": "GiB of each simulated GPU, 1 to 1024: one number for all, or one for each of the GPU_COUNT GPUs",
    "JOB_RATE": f"jobs a minute, {RATE_MINIMUM} to {RATE_MAXIMUM:.0f}",
    "JOB_TYPES_EXTRA": "module:Class of each further job type, separated by commas",
    "GENERATOR_CONFIG": "the name of a workload, such as demo or philly, or the path of a .toml or .json file",
    "SEED": "a whole number, 0 or more (empty: drawn at the first start)",
    "RETENTION_DAYS": "days, more than 0 and at most 36500",
    "DISK_FREE_MIN_MIB": "MiB, 0 to 10000000",
    "QUEUED_MAX": "a whole number, 1 to 100000000",
    "TIME_LIMIT_MAX": (
        f"a time with its unit, such as 90m, 4h, 14d or HH:MM:SS, from {time_span(TIME_LIMIT_MAX_LOWEST_SECONDS)} to "
        f"{time_span(TIME_LIMIT_MAX_HIGHEST_SECONDS)} (3000 seconds: 3000s)"
    ),
    "AGEING_PERIOD": (
        f"a time with its unit, such as 30s, 1m or 2h, from {time_span(AGEING_LOWEST_SECONDS)} to "
        f"{time_span(AGEING_HIGHEST_SECONDS)}"
    ),
    "AGEING_SHARE": "a share of all starts, 0 (no job rises) to 1",
    "LOG_FORMAT": "color or json",
    "API_TOKEN": "at least 16 ASCII characters, no spaces (empty: generated at the first start)",
    "SECRET_KEY": "at least 32 characters (empty: generated at the first start)",
    "ADMIN_PASSWORD": "at least 8 characters (empty: generated at the first start)",
    "FLOWER_PASSWORD": "at least 8 ASCII characters (empty: generated at the first start)",
    "PUBLIC_READ": "true or false (empty: true if BIND_HOST is this machine alone)",
    "FLOWER_CONTROL": "true or false",
    "ALLOWED_HOSTS": "host names, separated by commas",
    "HTTPS": "true or false",
    "CONTROLS_PER_MINUTE": "a number, 1 to 100000",
}

#: What the first start writes into the state folder. Nothing else is read from there.
GENERATED: Final = ("SECRET_KEY", "API_TOKEN", "ADMIN_PASSWORD", "FLOWER_PASSWORD", "SEED")

_CLASS_PATH: Final = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"

Port = Annotated[int, Field(ge=1, le=65535)]


def _scheme(*accepted: str) -> AfterValidator:
    def check(url: str) -> str:
        if url and not url.startswith(accepted):
            raise ValueError(f"must start with one of {', '.join(accepted)}")
        return url

    return AfterValidator(check)


def _redis_url(url: str) -> str:
    return check_redis_url(url) if url else url


def _database_url(url: str) -> str:
    if not url:
        return url
    try:
        found = dj_database_url.parse(url)
    except ValueError:
        special = "a user name or password has # / ? @ : [ ] % and spaces as %23 %2F %3F %40 %3A %5B %5D %25 %20"
        raise ValueError(f"its parts cannot be told apart; {special}") from None
    if "#" in url:
        raise ValueError("it contains #, which is written %23")
    if found["NAME"] in {"", ":memory:"} and "service" not in found.get("OPTIONS", {}):
        raise ValueError("the path, the name of the database, is missing")
    return url


def _numbers(value: object) -> object:
    """`80,80,40` as its parts."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _time_span(value: object) -> object:
    """`14d` in seconds."""
    return parse_time_span(value) if isinstance(value, str) else value


class Environment(BaseModel):
    """The variables with their defaults; field names are the variables' names in lower case."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    web_port: Port = 8080
    flower_port: Port = 5555
    bind_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    state_dir: Path = Path("var")
    redis_url: Annotated[str, _scheme("redis://", "rediss://", "unix://"), AfterValidator(_redis_url)] = ""
    #: One colon, at the end: so no cluster's prefix begins with another's.
    redis_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}:$")] = "gpucluster:"
    database_url: Annotated[
        str, _scheme("sqlite:///", "postgres://", "postgresql://"), AfterValidator(_database_url)
    ] = ""
    gpu_backend: GpuBackendName = GpuBackendName.SIMULATED
    gpu_count: Annotated[int, Field(ge=1, le=64)] = 8
    gpu_offset: Annotated[int, Field(ge=0, le=1000)] = 0
    gpu_device: Annotated[int, Field(ge=0, le=63)] | None = None
    gpu_memory_gib: Annotated[tuple[Annotated[float, Field(ge=1, le=1024)], ...], BeforeValidator(_numbers)] = ()
    job_rate: Annotated[float, Field(ge=RATE_MINIMUM, le=RATE_MAXIMUM, allow_inf_nan=False)] = 12.0
    job_types_extra: Annotated[str, Field(pattern=rf"^{_CLASS_PATH}(\s*,\s*{_CLASS_PATH})*$")] = ""
    generator_config: Annotated[str, Field(min_length=1)] = "demo"
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    retention_days: Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)] = 30.0
    disk_free_min_mib: Annotated[float, Field(ge=0, le=10_000_000, allow_inf_nan=False)] = 256.0
    queued_max: Annotated[int, Field(ge=1, le=100_000_000)] = 100_000
    #: Seconds.
    time_limit_max: Annotated[
        int,
        Field(ge=TIME_LIMIT_MAX_LOWEST_SECONDS, le=TIME_LIMIT_MAX_HIGHEST_SECONDS),
        BeforeValidator(_time_span),
    ] = TIME_LIMIT_MAX_SECONDS
    #: Seconds.
    ageing_period: Annotated[
        int, Field(ge=AGEING_LOWEST_SECONDS, le=AGEING_HIGHEST_SECONDS), BeforeValidator(_time_span)
    ] = AGEING_SECONDS
    ageing_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = AGEING_SHARE
    log_format: LogFormat = LogFormat.COLOR
    #: A header carries it, and HTTP's headers are ASCII.
    api_token: Annotated[str, Field(min_length=16, pattern=r"^[!-~]+$")] | None = None
    secret_key: Annotated[str, Field(min_length=32)] | None = None
    admin_password: Annotated[str, Field(min_length=8)] | None = None
    #: Flower compares text, and fails at every other character.
    flower_password: Annotated[str, Field(min_length=8, pattern=r"^[ -~]+$")] | None = None
    #: Not given: true on this machine alone; to whom else the port is open, it must be asked for.
    public_read: bool = True
    flower_control: bool = False
    allowed_hosts: Annotated[str, Field(min_length=1)] = "localhost,127.0.0.1,[::1]"
    https: bool = False
    controls_per_minute: Annotated[float, Field(ge=1, le=100_000, allow_inf_nan=False)] = 600.0

    @field_validator("gpu_memory_gib")
    @classmethod
    def _for_all_or_each(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        # gpu_count is missing here if its own value was wrong, which has its own error.
        if len(value) > 1 and len(value) != info.data.get("gpu_count", len(value)):
            raise ValueError("neither one number for all GPUs nor one for each")
        return value

    def gpu_memory_mib(self, index: int) -> int | None:
        """Memory of the simulated GPU with this index; None: the backend's default."""
        if not self.gpu_memory_gib:
            return None
        # A worker that is started by hand may have an index of GPU_COUNT or more.
        return round(self.gpu_memory_gib[min(index, len(self.gpu_memory_gib) - 1)] * 1024)

    @model_validator(mode="before")
    @classmethod
    def _public_on_this_machine_alone(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {"public_read": is_loopback(str(values.get("bind_host", "127.0.0.1")).strip()), **values}

    @field_validator("gpu_backend", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there. A name other than localhost may be any address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def own_environment(base_dir: Path) -> tuple[Path, Environment]:
    """The state folder and the variables of this process; a secret that is not set comes from the state folder."""
    state_dir = (base_dir / read_environment(os.environ).state_dir).resolve()
    generated = read_state_file(state_dir / ".env")
    kept = {name: value for name, value in generated.items() if name in GENERATED and not is_set(name)}
    return state_dir, read_environment({**os.environ, **kept})


def is_set(name: str) -> bool:
    """Whether the environment of this process holds NAME or NAME_FILE."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def visible_cuda_devices() -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES leaves to this process; None: it is not set or empty, and every GPU is visible."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return devices.split(",") if devices else None


def read_environment(variables: Mapping[str, str]) -> Environment:
    """Parses `variables`; an empty value means unset; NAME_FILE names a file that holds NAME's value."""
    found: dict[str, str] = {}
    for field in Environment.model_fields:
        name = field.upper()
        value = variables.get(name, "") or _from_file(name, variables.get(f"{name}_FILE", ""))
        if value:
            found[field] = value
    try:
        return Environment.model_validate(found)
    except ValidationError as error:
        lines = [_line(str(each["loc"][0]).upper(), str(each["input"]), each) for each in error.errors()]
        raise EnvironmentInvalid("\n".join(dict.fromkeys(lines))) from None


def _line(name: str, value: str, error: ErrorDetails) -> str:
    secret = name.endswith(("TOKEN", "KEY", "PASSWORD", "URL"))
    shown = "the given value" if secret else repr(value)
    # Of a URL the value is not shown: say what is wrong with it.
    reason = f" ({error['ctx']['error']})" if name.endswith("URL") and "ctx" in error else ""
    return f"{name}: {shown} is not accepted{reason}; expected: {ACCEPTED[name]}"


def _from_file(name: str, path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise EnvironmentInvalid(f"{name}_FILE: cannot read {path}: {error.strerror}") from None


def read_state_file(path: Path) -> dict[str, str]:
    """The generated secrets: NAME=value lines; empty before the first start, when there is no file."""
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError:
        raise EnvironmentInvalid(
            f"{path}: is damaged; restore it from a backup, or remove it: new secrets are generated then"
        ) from None
    lines = [line.strip() for line in text.splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
