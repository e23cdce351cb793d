"""Secrets of the first start."""

import os
import stat

import pytest

from cluster_dashboard.environment import read_environment, read_state_file
from cluster_dashboard.operations import first_start
from scheduler.rules.configuration import EnvironmentInvalid


@pytest.fixture(autouse=True)
def state_dir(settings, tmp_path):
    before = os.umask(0o022)
    settings.STATE_DIR, settings.RUN_DIR, settings.LOG_DIR = (
        tmp_path / "s",
        tmp_path / "s" / "run",
        tmp_path / "s" / "log",
    )
    settings.ENVIRONMENT = read_environment({})
    yield settings.STATE_DIR
    os.umask(before)


def test_the_state_folder_and_the_secrets_are_for_us_alone(state_dir):
    first_start.make_state_dir()
    first_start.create_missing_secrets()

    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((state_dir / ".env").stat().st_mode) == 0o600


def test_what_is_generated_is_accepted_as_environment():
    first_start.make_state_dir()
    first_start.create_missing_secrets()

    environment = read_environment(read_state_file(first_start.secrets_path()))

    assert all(getattr(environment, name.lower()) is not None for name in first_start.DRAWN)


def test_a_second_start_changes_no_secret(settings):
    first_start.make_state_dir()
    first_start.create_missing_secrets()
    before = first_start.secrets_path().read_text()

    settings.ENVIRONMENT = read_environment(read_state_file(first_start.secrets_path()))

    assert first_start.create_missing_secrets() is False
    assert first_start.secrets_path().read_text() == before


def test_a_secret_that_the_environment_gives_is_not_generated(settings):
    settings.ENVIRONMENT = read_environment({"API_TOKEN": "given-by-the-operator"})
    first_start.make_state_dir()
    first_start.create_missing_secrets()

    assert "API_TOKEN" not in read_state_file(first_start.secrets_path())


@pytest.mark.parametrize("name", ["ADMIN_PASSWORD", "FLOWER_PASSWORD"])
def test_a_given_password_that_anybody_would_try_is_refused_and_not_printed(settings, monkeypatch, name):
    monkeypatch.setenv(name, "password1")
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={name.lower(): "password1"})

    with pytest.raises(EnvironmentInvalid, match=f"^{name}: the given value is too common; expected: one that is not"):
        first_start.refuse_common_passwords()


def test_only_the_missing_secret_is_added(settings):
    first_start.make_state_dir()
    first_start.secrets_path().write_text("SEED=7\n")
    settings.ENVIRONMENT = read_environment(read_state_file(first_start.secrets_path()))

    first_start.create_missing_secrets()

    assert read_state_file(first_start.secrets_path())["SEED"] == "7"


def test_a_state_folder_that_cannot_be_made_is_named(settings, tmp_path):
    (tmp_path / "file").touch()
    settings.STATE_DIR = settings.RUN_DIR = settings.LOG_DIR = tmp_path / "file" / "var"

    with pytest.raises(EnvironmentInvalid, match=r"STATE_DIR: .*/file/var cannot be written"):
        first_start.make_state_dir()
