from __future__ import annotations

from pathlib import Path

import pytest

from cluster_dashboard.environment import (
    ACCEPTED,
    Environment,
    EnvironmentInvalid,
    GpuBackendName,
    LogFormat,
    own_environment,
    read_environment,
    read_state_file,
)

#: One value that each variable does not take.
WRONG = {
    "WEB_PORT": "0",
    "FLOWER_PORT": "65536",
    "REDIS_URL": "http://localhost",
    "REDIS_PREFIX": "a:b:",
    "DATABASE_URL": "mysql://localhost/x",
    "GPU_BACKEND": "rocm",
    "GPU_COUNT": "65",
    "GPU_MEMORY_GIB": "80,none",
    "JOB_RATE": "0.05",
    "JOB_TYPES_EXTRA": "package.module.Class",
    "SEED": "-1",
    "DISK_FREE_MIN_MIB": "-1",
    "QUEUED_MAX": "0",
    "TIME_LIMIT_MAX": "3000",
    "AGEING_PERIOD": "60",
    "AGEING_SHARE": "1.1",
    "LOG_FORMAT": "xml",
    "API_TOKEN": "short",
    "SECRET_KEY": "short",
    "ADMIN_PASSWORD": "short",
    "FLOWER_PASSWORD": "short",
    "PUBLIC_READ": "perhaps",
}
SECRETS = ("API_TOKEN", "SECRET_KEY", "ADMIN_PASSWORD", "FLOWER_PASSWORD")


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    found = read_environment({})

    assert (found.web_port, found.flower_port, found.bind_host) == (8080, 5555, "127.0.0.1")
    assert (found.state_dir, found.redis_url, found.database_url) == (Path("var"), "", "")
    assert (found.gpu_backend, found.gpu_count) == (GpuBackendName.SIMULATED, 8)
    assert (found.job_rate, found.seed, found.log_format) == (12.0, None, LogFormat.COLOR)
    assert found.api_token is None


@pytest.mark.parametrize(
    ("host", "public"),
    [
        *(("", True), ("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.1.2.3", True)),
        *(("0.0.0.0", False), ("10.0.0.1", False), ("::", False), ("gpus.example.org", False)),
    ],
)
def test_whoever_reaches_the_port_from_elsewhere_reads_only_if_that_was_asked_for(host: str, public: bool) -> None:
    assert read_environment({"BIND_HOST": host}).public_read is public
    assert read_environment({"BIND_HOST": host, "PUBLIC_READ": "true"}).public_read
    assert not read_environment({"BIND_HOST": host, "PUBLIC_READ": "false"}).public_read


def test_values_are_read_and_trimmed() -> None:
    found = read_environment({"WEB_PORT": " 9000 ", "GPU_BACKEND": "NVML", "SEED": "0", "HOME": "/somewhere"})

    assert (found.web_port, found.gpu_backend, found.seed) == (9000, GpuBackendName.NVML, 0)


def test_an_empty_value_means_unset() -> None:
    assert read_environment({"WEB_PORT": "", "SEED": ""}) == read_environment({})


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_a_wrong_value_is_refused_with_the_variable_and_what_it_takes(name: str, value: str) -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        read_environment({name: value})

    assert str(caught.value).startswith(f"{name}: ")
    assert f"expected: {ACCEPTED[name]}" in str(caught.value)


@pytest.mark.parametrize("name", ["JOB_RATE"])
@pytest.mark.parametrize("value", ["nan", "inf", "100001", "fast"])
def test_a_rate_that_is_no_rate_is_refused(name: str, value: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"JOB_RATE: .* expected: jobs a minute, 0\.1 to 100000"):
        read_environment({name: value})


def test_all_wrong_variables_are_reported_at_once() -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        read_environment({"WEB_PORT": "x", "GPU_COUNT": "0"})

    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["WEB_PORT", "GPU_COUNT"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90m", 5_400), ("4h", 14_400), ("14d", 1_209_600), ("01:30:00", 5_400), (" 300S ", 300), ("365d", 31_536_000)],
)
def test_the_longest_time_limit_is_read_with_its_unit(written: str, seconds: int) -> None:
    assert read_environment({"TIME_LIMIT_MAX": written}).time_limit_max == seconds


def test_the_longest_time_limit_is_fourteen_days_unless_it_is_set() -> None:
    assert read_environment({}).time_limit_max == 14 * 24 * 3600


@pytest.mark.parametrize("written", ["3000", "299s", "366d", "1.5h", "2 weeks", "1:60:00", "-1d"])
def test_a_longest_time_limit_that_is_none_is_refused_with_a_hint(written: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"TIME_LIMIT_MAX: .* from 5m to 365d \(3000 seconds: 3000s\)"):
        read_environment({"TIME_LIMIT_MAX": written})


def test_simulated_gpus_have_one_size_or_one_each() -> None:
    assert read_environment({}).gpu_memory_mib(0) is None
    assert [read_environment({"GPU_MEMORY_GIB": "24"}).gpu_memory_mib(index) for index in (0, 7)] == [24_576, 24_576]
    unlike = read_environment({"GPU_COUNT": "3", "GPU_MEMORY_GIB": "80, 40,39.5"})
    assert [unlike.gpu_memory_mib(index) for index in range(3)] == [81_920, 40_960, 40_448]


@pytest.mark.parametrize("value", ["80,40", "80,,40", "0", "1025", "nan", "80;40;40", ","])
def test_sizes_of_gpus_that_are_not_one_for_each_are_refused(value: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"^GPU_MEMORY_GIB: .* expected: GiB of each simulated GPU"):
        read_environment({"GPU_COUNT": "3", "GPU_MEMORY_GIB": value})


@pytest.mark.parametrize("name", SECRETS)
def test_a_wrong_secret_is_not_printed(name: str) -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        read_environment({name: "hunt3r"})

    assert "hunt3r" not in str(caught.value)


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL"])
def test_a_wrong_address_with_a_password_in_it_is_not_printed(name: str) -> None:
    with pytest.raises(EnvironmentInvalid) as caught:
        read_environment({name: "ftp://user:hunt3r@host/"})

    assert "hunt3r" not in str(caught.value)


def test_every_variable_says_what_it_takes() -> None:
    assert {field.upper() for field in Environment.model_fields} == set(ACCEPTED)


@pytest.mark.parametrize("name", SECRETS)
def test_name_file_gives_the_value_from_a_file(tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret-" * 6 + "\n")

    found = read_environment({f"{name}_FILE": str(secret)})

    assert getattr(found, name.lower()) == "s3cret-" * 6


def test_the_variable_itself_ranks_above_its_file(tmp_path: Path) -> None:
    port = tmp_path / "port"
    port.write_text("9001")

    assert read_environment({"WEB_PORT": "9002", "WEB_PORT_FILE": str(port)}).web_port == 9002


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"

    with pytest.raises(EnvironmentInvalid, match=r"API_TOKEN_FILE: cannot read .*missing: No such file"):
        read_environment({"API_TOKEN_FILE": str(missing)})


def test_the_environment_cannot_be_changed_after_it_was_read() -> None:
    found = read_environment({})

    with pytest.raises(ValueError, match="frozen"):
        found.web_port = 1


def test_the_state_file_has_a_name_and_a_value_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# made at the first start\nAPI_TOKEN=abc=def\n\nSECRET_KEY=xyz\n")

    assert read_state_file(file) == {"API_TOKEN": "abc=def", "SECRET_KEY": "xyz"}


def test_a_missing_state_file_is_empty(tmp_path: Path) -> None:
    assert read_state_file(tmp_path / ".env") == {}


def state_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    """A state folder whose generated secrets are `text`; no variable of this process is set."""
    for name in Environment.model_fields:
        for variable in (name.upper(), f"{name.upper()}_FILE"):
            monkeypatch.delenv(variable, raising=False)
    state = tmp_path / "state"
    state.mkdir()
    (state / ".env").write_text(text)
    monkeypatch.setenv("STATE_DIR", str(state))
    return state


@pytest.mark.parametrize("variable", ["API_TOKEN", "API_TOKEN_FILE"])
def test_a_secret_that_is_given_ranks_above_the_generated_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    state_with(tmp_path, monkeypatch, "API_TOKEN=planted-by-a-job-of-a-worker\nSECRET_KEY=" + "k" * 40)
    given = tmp_path / "given"
    given.write_text("given-from-outside")
    monkeypatch.setenv(variable, str(given) if variable.endswith("_FILE") else "given-from-outside")

    _, found = own_environment(tmp_path)

    assert (found.api_token, found.secret_key) == ("given-from-outside", "k" * 40)


def test_only_generated_secrets_are_read_from_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = (
        "JOB_TYPES_EXTRA=evil:Job\nDATABASE_URL=postgres://elsewhere/x\nBIND_HOST=0.0.0.0\nAPI_TOKEN_FILE=/etc/passwd"
    )
    state = state_with(tmp_path, monkeypatch, planted)

    where, found = own_environment(tmp_path)

    assert where == state
    assert found == read_environment({"STATE_DIR": str(state)})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgres://u:pa#ss@h/db", "%23"),
        ("postgres://u:pa/ss@h/db", "%2F"),
        ("postgres://u:p@h:port/db", "told apart"),
        ("postgres://u:p@h", "name of the database"),
        ("sqlite:///", "name of the database"),
    ],
)
def test_a_database_that_cannot_be_told_from_its_url_is_refused(url: str, reason: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=reason) as caught:
        read_environment({"DATABASE_URL": url})

    assert "pa#ss" not in str(caught.value)


def test_a_refused_broker_says_why_and_hides_the_password() -> None:
    with pytest.raises(EnvironmentInvalid, match=r"REDIS_URL: the given value is not accepted .*%23") as caught:
        read_environment({"REDIS_URL": "redis://:pa#ss@broker"})

    assert "pa#ss" not in str(caught.value)


@pytest.mark.parametrize("name", ["API_TOKEN", "FLOWER_PASSWORD"])
def test_a_secret_that_a_header_or_flower_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=f"{name}: the given value is not accepted; expected: .*ASCII"):
        read_environment({name: "schlüssel-wörter-äöü"})


def test_passwords_may_hold_what_separates_values_elsewhere() -> None:
    password = "a,b:c#d%e@f'g\"h$i j"
    found = read_environment({"FLOWER_PASSWORD": password, "ADMIN_PASSWORD": f"{password} äöü"})

    assert (found.flower_password, found.admin_password) == (password, f"{password} äöü")


def test_a_damaged_file_of_secrets_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SEED=7\nAPI_TOKEN=\xff\xfe")

    with pytest.raises(EnvironmentInvalid, match=r"\.env: is damaged"):
        read_state_file(tmp_path / ".env")
