"""One file that holds a cluster: its tables, what its workers saw, results not yet committed, its secrets.

The tables are lines of JSON, the same for SQLite and PostgreSQL: a backup of one restores into the other. It is
made while the cluster runs, and is one moment of it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.core import serializers
from django.core.management.color import no_style
from django.core.serializers.base import DeserializedObject
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from pydantic import BaseModel, ConfigDict, ValidationError

from cluster_dashboard.operations import archive as members
from cluster_dashboard.operations.archive import BackupInvalid
from cluster_dashboard.operations.first_start import secrets_given, secrets_path
from cluster_dashboard.operations.worker_folders import files, folder_of_worker
from scheduler.files import replacement
from scheduler.jobs import lifecycle
from scheduler.jobs.clock import database_now
from scheduler.models import Job, Lease
from scheduler.rules.states import Reason
from scheduler.storable import storable_json
from scheduler.verdict.log import snapshot

FORMAT: Final = 1
#: In the place of a file's name: standard output, or standard input.
STANDARD_STREAM: Final = "-"
LEASE_LOOK_SECONDS: Final = 0.2

#: Whose tables are kept. Sessions are not: a restored cluster asks people to sign in again.
APPS: Final = ("auth", "admin", "scheduler", "cluster_dashboard")
#: Made by migrations, with keys that differ from database to database.
MADE_ANEW: Final = {"auth.Permission"}
#: True of a running cluster only.
MOMENTARY: Final = {"scheduler.Lease"}


class RestoreRefused(RuntimeError):
    """Restoring now would hurt; the message says what to do first."""


# --- backup ---------------------------------------------------------------------------------------


def backup(path: Path, *, with_secrets: bool = True) -> dict[str, int]:
    """Writes the file, for us alone; an older one of that name is replaced when the new one is whole.

    Gives the number of rows of each table.
    """
    with replacement(path, durable=True) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        return _write(archive, with_secrets=with_secrets)


def _write(archive: zipfile.ZipFile, *, with_secrets: bool) -> dict[str, int]:
    rows: dict[str, int] = {}
    with snapshot():
        moment = database_now()
        for model in kept_models():
            rows[model._meta.label] = _write_table(archive, model)
        migrations = sorted(f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations())
    # After the tables: of each start in them its witness has told by then.
    _write_witnesses(archive, moment.timestamp())
    for path, name in _kept_files("spool/*/*.json"):
        with suppress(FileNotFoundError):  # committed meanwhile
            archive.writestr(name, path.read_bytes())
    if with_secrets and secrets_path().exists():
        archive.write(secrets_path(), members.SECRETS)
    manifest = {
        "format": FORMAT,
        "moment": moment.isoformat(),
        "database": connection.vendor,
        "rows": rows,
        "migrations": migrations,
    }
    archive.writestr(members.MANIFEST, json.dumps(manifest, indent=2))
    return rows


def kept_models() -> list[type[models.Model]]:
    """In an order in which each finds what it refers to."""
    configs = [(apps.get_app_config(label), None) for label in APPS]
    left_out = MADE_ANEW | MOMENTARY
    ordered = serializers.sort_dependencies(configs, allow_cycles=True)
    return [model for model in ordered if model._meta.label not in left_out and model._meta.managed]


def _write_table(archive: zipfile.ZipFile, model: type[models.Model]) -> int:
    found = model._default_manager.order_by("pk")
    count = 0

    def counted() -> Iterator[models.Model]:
        nonlocal count
        for row in found.iterator(chunk_size=members.ROWS_AT_ONCE):
            count += 1
            yield row

    with (
        archive.open(members.table_name(model._meta.label_lower), "w", force_zip64=True) as raw,
        io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as file,
    ):
        # In ASCII: JSON on SQLite may hold half a surrogate pair, which UTF-8 cannot.
        serializers.serialize(
            "jsonl", counted(), stream=file, use_natural_foreign_keys=True, cls=ExactTimes, ensure_ascii=True
        )
    return count


class ExactTimes(DjangoJSONEncoder):
    """Django's own cuts microseconds off: events would change places."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, datetime) else super().default(o)


def _write_witnesses(archive: zipfile.ZipFile, moment: float) -> None:
    """Only what they saw up to the moment of the tables: what came later will not have happened."""
    for path, name in _kept_files("witness/*.jsonl"):
        with path.open("rb") as told, archive.open(name, "w", force_zip64=True) as file:
            for line in told:
                if line.endswith(b"\n") and _is_before(line, moment):
                    file.write(line)


def _is_before(line: bytes, moment: float) -> bool:
    """A line that was cut off is kept as it is, with the mark behind it: the verdict decides what it is."""
    try:
        values = json.loads(line)
        return bool(values["saw"] == "torn" or values["at"] <= moment)
    except (ValueError, KeyError, TypeError):
        return True


def _kept_files(pattern: str) -> Iterator[tuple[Path, str]]:
    """The workers' files, and their names in the backup; a file that no worker wrote stays out."""
    seen: set[str] = set()
    for path, folder in files(pattern):
        if (name := members.member_name(path, folder)) is not None and name not in seen:
            seen.add(name)
            yield path, name


# --- restore --------------------------------------------------------------------------------------


def restore(path: Path, *, replace: bool = False, with_secrets: bool = True) -> dict[str, int]:
    """Puts a backup in the place of what the database holds; all of it or nothing.

    replace: even if there are jobs. Raises BackupInvalid, RestoreRefused. Gives the number of rows of each table.
    """
    with members.opened(path) as archive:
        manifest = _manifest(archive)
        _refuse_unless_safe(archive, replace=replace)
        with transaction.atomic():
            for model in reversed(kept_models()):
                _empty(model)
            rows = {model._meta.label: _read_table(archive, model) for model in kept_models()}
            if rows != manifest.rows:
                raise BackupInvalid(f"{path}: has not the rows that it says it has")
            _go_on_counting()
            _give_back_what_ran(archive)
        _put_files_back(archive, with_secrets=with_secrets)
    return rows


class Manifest(BaseModel):
    model_config = ConfigDict(strict=True)

    format: int
    rows: dict[str, int]
    migrations: list[str]


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(members.read_small(archive, members.MANIFEST))
    except ValidationError as error:
        words = error.errors()[0]["msg"]
        raise BackupInvalid(f"{archive.filename}: is not a whole backup: {members.MANIFEST}: {words}") from None
    if manifest.format != FORMAT:
        raise BackupInvalid(f"{archive.filename}: has format {manifest.format}; this version reads {FORMAT}")
    known = {f"{app}.{name}" for app, name in MigrationRecorder(connection).applied_migrations()}
    newer = sorted(set(manifest.migrations) - known)
    if newer:
        raise BackupInvalid(f"{archive.filename}: was made by a newer version, with {', '.join(newer)}")
    return manifest


def _refuse_unless_safe(archive: zipfile.ZipFile, *, replace: bool) -> None:
    needed, free = members.size_in_state_dir(archive), shutil.disk_usage(settings.STATE_DIR).free
    if needed > free:
        raise RestoreRefused(f"the backup's files need {needed} bytes in STATE_DIR, and {free} are free there")
    _wait_for_leases()
    if not replace and Job.objects.exists():
        raise RestoreRefused("the database holds jobs: --replace puts the backup in their place")


def _wait_for_leases() -> None:
    """A scheduler that was killed leaves its lease for some seconds; one that works renews it meanwhile."""
    held = Lease.objects.filter(expires_at__gt=Now())
    seen = dict(held.values_list("name", "expires_at"))
    while left := dict(held.values_list("name", "expires_at")):
        if left.items() - seen.items():
            raise RestoreRefused("a scheduler works on this database: stop the cluster")
        time.sleep(LEASE_LOOK_SECONDS)


def _empty(model: type[models.Model]) -> None:
    if model._meta.many_to_many:
        model._default_manager.all().delete()
    else:
        # Without loading a row: there may be millions. Dependent tables have been emptied before.
        model._default_manager.all()._raw_delete("default")


def _read_table(archive: zipfile.ZipFile, model: type[models.Model]) -> int:
    """A table that the backup does not know is newer than it, and stays empty."""
    name = members.table_name(model._meta.label_lower)
    if name not in archive.namelist():
        return 0
    count = 0
    for lines in members.read_rows(archive, name):
        rows = list(serializers.deserialize("jsonl", lines))
        _make_storable(rows)
        if any(type(row.object) is not model for row in rows):
            raise BackupInvalid(f"{archive.filename}: {name} holds a row of another table")
        count += len(rows)
        _insert(model, rows)
    return count


def _make_storable(rows: Iterable[DeserializedObject]) -> None:
    """SQLite stores texts that PostgreSQL refuses, and an older version let results with them in."""
    for row in rows:
        for field in row.object._meta.concrete_fields:
            value = getattr(row.object, field.attname)
            if isinstance(value, str | dict | list):
                setattr(row.object, field.attname, storable_json(value))


def _insert(model: type[models.Model], rows: Iterable[DeserializedObject]) -> None:
    if model._meta.many_to_many:
        for row in rows:
            row.save()
    else:
        model._default_manager.bulk_create(row.object for row in rows)


def _go_on_counting() -> None:
    """PostgreSQL's sequences do not notice rows that bring their own numbers."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), kept_models()):
            cursor.execute(statement)


def _give_back_what_ran(archive: zipfile.ZipFile) -> None:
    """No worker of here runs it, and nobody is to blame. A job whose result waits on disk needs no second run."""
    kept = members.spooled_keys(archive)
    for job_id, attempt in list(Job.objects.running().values_list("id", "attempt")):
        if f"{job_id}-{attempt}" not in kept:
            lifecycle.requeue(job_id, attempt, Reason.SHUTDOWN, detail="the cluster was restored from a backup")


def _put_files_back(archive: zipfile.ZipFile, *, with_secrets: bool) -> None:
    for kept in ("witness", "spool"):
        for old, _ in list(files(f"{kept}/**/*.json*")):
            old.unlink()
    # Where the environment holds the secrets, the file would only be a copy for others to read.
    secrets = with_secrets and not secrets_given()
    for name in archive.namelist():
        if members.is_witness(name) or members.is_spooled(name) or (secrets and name == members.SECRETS):
            worker = members.worker_of(name)
            folder = folder_of_worker(worker) if worker else Path(settings.STATE_DIR)
            path = folder / members.path_in_state_dir(name)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacement(path) as file:
                members.extract(archive, name, file)


@contextmanager
def passing_through() -> Iterator[Path]:
    """A file in the state folder for a backup that comes or goes by a stream: there is room for it, and only we read
    it."""
    path = Path(settings.STATE_DIR, f".backup-{os.getpid()}.zip")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def default_name() -> str:
    return f"gpu-cluster-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip"
