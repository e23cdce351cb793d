"""What the first start creates: folders, secrets, tables, the admin user, the first rows. Later starts keep it."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q

from cluster_dashboard import foreign_variables
from cluster_dashboard.environment import ACCEPTED, GpuBackendName, is_set, read_state_file
from cluster_dashboard.operations.database_rights import grant_rights
from cluster_dashboard.operations.run_files import take_lock
from gpu_tasks.gpus import resolve_backend
from scheduler.database_errors import DatabaseFailure
from scheduler.files import replace_file
from scheduler.logs import event_logger
from scheduler.models import Control, Gpu
from scheduler.rules.configuration import EnvironmentInvalid, ServerUnreachable
from scheduler.rules.faults import FaultProfile, default_failure_rate
from scheduler.rules.presets import PRESETS

log = event_logger("cluster")

ADMIN_NAME: Final = "admin"

#: What is generated if neither the environment nor an earlier start has set it.
DRAWN: Final[dict[str, Callable[[], str]]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "API_TOKEN": lambda: secrets.token_urlsafe(32),
    "ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
    "FLOWER_PASSWORD": lambda: secrets.token_urlsafe(16),
    "SEED": lambda: str(secrets.randbelow(2**31)),
}

#: What `rotate` may replace; the seed is no secret.
SECRETS: Final = tuple(name for name in DRAWN if name != "SEED")


class SecretElsewhere(ValueError):
    """The secret is not the generated one of the state folder."""


def secrets_path() -> Path:
    return Path(settings.STATE_DIR, ".env")


def report_foreign_variables() -> None:
    """Logs what was removed from the environment: somebody may have set it for this cluster."""
    if foreign_variables.removed:
        log.warning("variables_ignored", names=" ".join(foreign_variables.removed))


def begin() -> None:
    """Creates folders and secrets. If secrets were missing, this process executes itself again, to read them. Raises
    EnvironmentInvalid for a given password that is among the first that anybody would try."""
    make_state_dir()
    refuse_common_passwords()
    if create_missing_secrets():
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (no shell is the point)


def refuse_common_passwords() -> None:
    """Of those that are given. What was generated is random."""
    for name in ("ADMIN_PASSWORD", "FLOWER_PASSWORD"):
        password = getattr(settings.ENVIRONMENT, name.lower())
        if not is_set(name) or password is None:
            continue
        try:
            CommonPasswordValidator().validate(password)
        except ValidationError:
            words = f"one that is not among the 20,000 most common passwords, {ACCEPTED[name]}"
            raise EnvironmentInvalid(f"{name}: the given value is too common; expected: {words}") from None


def make_state_dir() -> None:
    """The state folder and its subfolders, for this user only. Raises EnvironmentInvalid if they are not writable."""
    os.umask(0o077)
    try:
        for folder in (settings.STATE_DIR, settings.RUN_DIR, settings.LOG_DIR):
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = Path(folder, f".probe-{os.getpid()}")
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise EnvironmentInvalid(
            f"STATE_DIR: {settings.STATE_DIR} cannot be written ({error.strerror}); expected: {ACCEPTED['STATE_DIR']}"
        ) from None


def create_missing_secrets() -> bool:
    """Whether any secret was created: the settings of this process do not have it yet."""
    missing = [name for name in DRAWN if getattr(settings.ENVIRONMENT, name.lower()) is None]
    if not missing:
        return False
    lock = take_lock("secrets")
    try:
        there = read_state_file(secrets_path())
        fresh = {name: DRAWN[name]() for name in missing if not there.get(name)}
        if fresh:
            _replace_secrets(there | fresh)
    finally:
        os.close(lock)
    return True


def secrets_given() -> list[str]:
    """Which secrets come from the environment, by NAME or NAME_FILE."""
    return [name for name in SECRETS if is_set(name)]


def rotate_secrets(names: Sequence[str]) -> None:
    """New values in the state folder. Raises SecretElsewhere, and then changes none of them."""
    if given := set(names) & set(secrets_given()):
        raise SecretElsewhere(f"{min(given)} is set in the environment of this command: change it there")
    lock = take_lock("secrets")
    try:
        fresh = {name: DRAWN[name]() for name in names}
        if "ADMIN_PASSWORD" in fresh:
            _set_admin_password(fresh["ADMIN_PASSWORD"])
        _replace_secrets(read_state_file(secrets_path()) | fresh)
    finally:
        os.close(lock)


def apply_given_password() -> None:
    """Sets the admin's password to ADMIN_PASSWORD of the environment. Raises SecretElsewhere if that is not set."""
    password = settings.ENVIRONMENT.admin_password
    if "ADMIN_PASSWORD" not in secrets_given() or password is None:
        raise SecretElsewhere("ADMIN_PASSWORD is not set in the environment of this command")
    _set_admin_password(password)


def _set_admin_password(password: str) -> None:
    admin = get_user_model().objects.filter(username=ADMIN_NAME).first()
    if admin is None:
        raise SecretElsewhere(f"the user {ADMIN_NAME} does not exist any more")
    admin.set_password(password)
    admin.save(update_fields=["password"])


def _replace_secrets(values: dict[str, str]) -> None:
    """All or nothing, and never readable for others, not even for a moment."""
    text = "# Generated at the first start. Variables of the environment override these.\n"
    text += "".join(f"{name}={value}\n" for name, value in values.items())
    replace_file(secrets_path(), text, durable=True)


def prepare_database() -> None:
    """Creates tables, the admin user and the first rows; what exists already stays unchanged."""
    try:
        connection.ensure_connection()
    except DatabaseFailure as error:
        reason = str(error).strip().splitlines()[0]
        raise ServerUnreachable(f"DATABASE_URL: the database is unreachable: {reason}") from None
    migrate()
    grant_rights()
    with transaction.atomic():
        create_admin()
        create_control()
        create_gpus()


def migrate() -> bool:
    """Whether any migration ran. Checked first: Django's command is slow even with nothing to do."""
    executor = MigrationExecutor(connection)
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    call_command("migrate", interactive=False, verbosity=0)
    return True


def create_admin() -> None:
    """Only the first time: an operator may have changed the password, or use another superuser."""
    users = get_user_model().objects
    if users.filter(Q(is_superuser=True) | Q(username=ADMIN_NAME)).exists():
        return
    users.create_superuser(ADMIN_NAME, password=settings.ENVIRONMENT.admin_password)


def create_control() -> None:
    rate = settings.ENVIRONMENT.job_rate
    real = uses_real_gpus()
    Control.objects.get_or_create(
        id=1,
        defaults={
            "rate_per_minute": rate,
            "preset": next((name for name, preset in PRESETS.items() if preset.rate_per_minute == rate), ""),
            "seed": settings.ENVIRONMENT.seed or 0,
            # On real hardware nothing is injected and no load generated until an operator asks for it.
            "paused": real,
            "fault_profile": FaultProfile.NONE if real else FaultProfile.DEMO,
        },
    )


def create_gpus() -> None:
    count = settings.ENVIRONMENT.gpu_count
    backend = GpuBackendName.NVML if uses_real_gpus() else GpuBackendName.SIMULATED
    Gpu.objects.bulk_create(
        [Gpu(index=index, backend=backend, failure_rate=default_failure_rate(index, count)) for index in range(count)],
        ignore_conflicts=True,
    )


def uses_real_gpus() -> bool:
    """Whether GPU_BACKEND, or what `auto` finds, is real hardware."""
    return resolve_backend(settings.ENVIRONMENT.gpu_backend) == "nvml"


def admin_password_works() -> bool:
    """Whether the generated password is still the admin's (it may have been changed since)."""
    user = get_user_model().objects.filter(username=ADMIN_NAME).first()
    password = settings.ENVIRONMENT.admin_password
    return user is not None and password is not None and user.check_password(password)
