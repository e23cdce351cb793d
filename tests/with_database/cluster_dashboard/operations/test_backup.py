"""A cluster in one file: nothing of it is lost, and what would hurt is refused."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import connection, models
from django.db.models.functions import Now

from cluster_dashboard.api.job_detail import read_job
from cluster_dashboard.environment import read_state_file
from cluster_dashboard.operations import archive, first_start
from cluster_dashboard.operations.archive import BackupInvalid
from cluster_dashboard.operations.backup import backup, kept_models, restore
from cluster_dashboard.operations.worker_folders import witness_folders
from cluster_dashboard.tokens import create_token
from gpu_tasks.worker.commit import Commit, Ending
from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.witness import Saw, Witness
from scheduler.jobs import lifecycle
from scheduler.jobs.submit import JobRequest
from scheduler.models import Job, JobEvent, Lease
from scheduler.rules.states import JobState, Priority, Reason, Source
from scheduler.verdict.findings import VerdictOutcome
from scheduler.verdict.judge import judge
from tests.build import insert
from tests.with_database.cli import Steps, run

REQUEST = JobRequest(
    type="sleep", priority=Priority.HIGH, params={"seconds": 1}, source=Source.API, gpu_memory_mib=1, load=0.5
)


@pytest.fixture
def witness(state_dir: Path) -> Witness:
    return Witness(state_dir / "witness", 0, "boot-0")


@pytest.fixture
def history(control: Any, gpus: Any, witness: Witness) -> list[int]:
    """An ended job, one that was taken back, a running and a waiting one."""
    ids = [job.id for job in insert([REQUEST] * 4)]
    for job_id in ids[:2]:
        _start(job_id, witness)
        if job_id == ids[0]:
            lifecycle.end(job_id, 1, JobState.SUCCEEDED, result={"ok": True})
            witness.saw(Saw.ENDED, job_id, 1)
        else:
            lifecycle.requeue(job_id, 1, Reason.CHILD_DIED)
    _start(ids[2], witness)
    return ids


def _start(job_id: int, witness: Witness) -> None:
    witness.saw(Saw.CLAIMING, job_id, 1)
    assert isinstance(lifecycle.claim(job_id, 1, gpu=0, boot="boot-0"), lifecycle.Claimed)
    witness.saw(Saw.STARTED, job_id, 1)


def everything() -> dict[str, list[dict[str, Any]]]:
    return {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in kept_models()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.zip"


# --- what comes back ------------------------------------------------------------------------------


def test_every_row_comes_back_as_it_was(history: list[int], file: Path) -> None:
    user = get_user_model().objects.create_user("ada", password="a-password-of-ada")
    group = user.groups.create(name="night shift")
    group.permissions.set(Permission.objects.filter(codename="change_control"))
    create_token("ci", ["submit"], actor="ada")
    lifecycle.requeue(history[2], 1, Reason.SHUTDOWN)
    before = everything()

    rows = backup(file)
    get_user_model().objects.all().delete()
    insert([REQUEST] * 3)
    lifecycle.cancel(history[3], actor="ada")

    assert restore(file, replace=True) == rows
    assert everything() == before
    assert get_user_model().objects.get(username="ada").groups.get() == group
    assert Group.objects.get(name="night shift").permissions.get().codename == "change_control"


def test_restored_cluster_goes_on_and_the_verdict_passes(
    history: list[int], file: Path, witness: Witness, state_dir: Path
) -> None:
    backup(file)
    # After the backup: this will not have happened.
    lifecycle.end(history[2], 1, JobState.SUCCEEDED)
    witness.saw(Saw.ENDED, history[2], 1)

    restore(file, replace=True)
    new = insert([REQUEST])[0]

    assert new.id == history[-1] + 1
    ran = Job.objects.get(id=history[2])
    assert (ran.state, ran.attempt, ran.failures) == (JobState.QUEUED, 2, 0)
    verdict = judge(state_dir / "witness")
    assert verdict.outcome is VerdictOutcome.HOLDS, (verdict.breaches, verdict.gaps)
    assert verdict.starts == 3


def test_witness_line_that_a_crash_cut_off_is_carried_and_the_verdict_passes(
    history: list[int], file: Path, witness: Witness, state_dir: Path
) -> None:
    path = next((state_dir / "witness").glob("*.jsonl"))
    with path.open("ab") as written:
        written.write(b'{"at": 1764, "saw": "claiming", "job": 9')
    job = insert([REQUEST])[0]
    witness.saw(Saw.CLAIMING, job.id, 1)
    before = path.read_bytes()

    backup(file)
    path.unlink()
    restore(file, replace=True)

    assert path.read_bytes() == before
    verdict = judge(state_dir / "witness")
    assert verdict.outcome is VerdictOutcome.HOLDS, (verdict.breaches, verdict.gaps)
    assert verdict.torn_lines == {str(path): 1}


def test_times_keep_their_microseconds(history: list[int], file: Path) -> None:
    JobEvent.objects.update(at=Now())
    before = list(JobEvent.objects.order_by("pk").values_list("pk", "at"))

    backup(file)
    restore(file, replace=True)

    assert list(JobEvent.objects.order_by("pk").values_list("pk", "at"))[: len(before)] == before


def test_results_kept_on_disk_and_secrets_come_back(
    history: list[int], file: Path, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_TOKEN", raising=False)
    first_start.secrets_path().write_text("API_TOKEN=the-token-of-this-cluster\n")
    spool = Spool(first_start.secrets_path().parent / "spool" / "gpu-0")
    commit = Commit(gpu=0, boot="boot-0", spool=spool, witness=witness)
    ending = Ending(job_id=history[2], attempt=1, state=JobState.SUCCEEDED, result={"n": 1})
    spool.keep(ending.key, asdict(ending))
    backup(file)
    commit.commit_kept()
    first_start.secrets_path().write_text("API_TOKEN=another-token-entirely\n")

    restore(file, replace=True)

    assert read_state_file(first_start.secrets_path()) == {"API_TOKEN": "the-token-of-this-cluster"}
    assert Job.objects.get(id=history[2]).state == JobState.RUNNING
    commit.commit_kept()
    assert Job.objects.get(id=history[2]).state == JobState.SUCCEEDED


def test_files_of_a_worker_with_its_own_folder_are_kept_and_come_back_there(
    history: list[int], file: Path, state_dir: Path
) -> None:
    own = state_dir / "workers" / "gpu-0"
    own.mkdir(parents=True)
    (state_dir / "witness").rename(own / "witness")
    spool = Spool(own / "spool" / "gpu-0")
    ending = Ending(job_id=history[2], attempt=1, state=JobState.SUCCEEDED, result={"n": 1})
    spool.keep(ending.key, asdict(ending))
    before = judge(*witness_folders()).as_dict()
    backup(file)
    for path in own.rglob("*.json*"):
        path.write_text("something newer")

    restore(file, replace=True)

    assert spool.keys() == (ending.key,)
    assert judge(*witness_folders()).as_dict()["breaches"] == before["breaches"] == []
    assert not list((state_dir / "spool").rglob("*.json"))


def test_links_that_a_worker_s_job_left_are_not_followed(history: list[int], file: Path, state_dir: Path) -> None:
    outside = state_dir / "outside"
    (outside / "gpu-0").mkdir(parents=True)
    kept = outside / "gpu-0" / "7-1.json"
    kept.write_text("not the worker's")
    (outside / "gpu-0.jsonl").write_text("not the worker's either")
    own = state_dir / "workers" / "gpu-0"
    own.mkdir(parents=True)
    (own / "spool").symlink_to(outside)
    (own / "witness").symlink_to(outside)

    backup(file)
    restore(file, replace=True)

    assert "state/spool/gpu-0/7-1.json" not in zipfile.ZipFile(file).namelist()
    assert kept.read_text() == "not the worker's"
    assert (outside / "gpu-0.jsonl").read_text() == "not the worker's either"
    assert [folder.parent.name for folder in witness_folders()] == [state_dir.name]


def test_secrets_stay_out_when_asked(history: list[int], file: Path) -> None:
    first_start.secrets_path().write_text("API_TOKEN=the-token-of-this-cluster\n")

    assert run("backup", "--without-secrets", file).code == 0

    assert b"the-token" not in b"".join(zipfile.ZipFile(file).read(name) for name in zipfile.ZipFile(file).namelist())


def test_backup_is_for_its_owner_alone(history: list[int], file: Path) -> None:
    backup(file)

    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.glob("backup*")] == ["backup.zip"]


# --- what is refused ------------------------------------------------------------------------------


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _one_row_less(file: Path) -> None:
    _rewrite(file, "tables/scheduler.jobevent.jsonl", lambda text: text.split("\n", 1)[1])


def _newer(file: Path) -> None:
    _rewrite(file, "manifest.json", lambda text: text.replace("scheduler.0001_initial", "scheduler.9999_later"))


def _other_format(file: Path) -> None:
    _rewrite(file, "manifest.json", lambda text: text.replace('"format": 1', '"format": 2'))


def _rewrite(file: Path, name: str, change: Callable[[str], str]) -> None:
    with zipfile.ZipFile(file) as archive:
        contents = {each: archive.read(each) for each in archive.namelist()}
    contents[name] = change(contents.get(name, b"").decode()).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for each, content in contents.items():
            archive.writestr(each, content)


def _row_of_another_table(file: Path) -> None:
    _rewrite(file, "tables/auth.user.jsonl", lambda text: text + '{"model": "scheduler.lease", "fields": {}}\n')


def _no_manifest(file: Path) -> None:
    _rewrite(file, "manifest.json", lambda _: "[]")


@pytest.mark.parametrize("spoil", [_cut, _one_row_less, _newer, _other_format, _row_of_another_table, _no_manifest])
def test_spoiled_backup_is_refused_and_changes_nothing(
    history: list[int], file: Path, spoil: Callable[[Path], None]
) -> None:
    backup(file)
    spoil(file)
    before = everything()

    with pytest.raises(BackupInvalid):
        restore(file, replace=True)

    assert everything() == before


@pytest.mark.parametrize(
    "name",
    [
        "state/witness/../../outside.jsonl",
        "state/witness/../.env",
        "state/witness/gpu-0.jsonl\n",
        "state/witness/gpu-0.jsonl/../../.env",
        "state/witness/notes.txt",
        "state/spool/gpu-0/../../../1-1.json",
        "state/spool/../1-1.json",
        "state/spool/gpu-0/",
        "state/cluster.sqlite3",
        "/tmp/outside",
        "../outside",
        "tables/auth.user.jsonl/../../x",
    ],
)
def test_name_that_no_backup_holds_refuses_the_whole_backup(
    history: list[int], file: Path, state_dir: Path, name: str
) -> None:
    backup(file)
    with zipfile.ZipFile(file, "a") as whole:
        whole.writestr(name, b"API_TOKEN=planted-by-the-archive\n")
    rows, files = everything(), _files_below(file.parent, state_dir)

    answer = run("restore", "--replace", "--without-secrets", file)

    assert answer.code == 2
    assert "which no backup holds" in answer.error_line
    assert everything() == rows
    assert _files_below(file.parent, state_dir) == files


def _files_below(*folders: Path) -> dict[Path, bytes]:
    """Without the database of SQLite, which writes its files when it likes."""
    return {
        path: path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".sqlite3" not in path.name
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_that_comes_twice_is_refused(history: list[int], file: Path, witness: Witness) -> None:
    backup(file)
    with zipfile.ZipFile(file, "a") as whole:
        whole.writestr("state/witness/gpu-0.jsonl", b"")

    answer = run("restore", "--replace", file)

    assert answer.code == 2
    assert "twice" in answer.error_line


@pytest.mark.parametrize("name", ["state/.env", "state/spool/gpu-0/1-1.json", "manifest.json"])
def test_small_member_that_is_large_is_not_read(
    history: list[int], file: Path, state_dir: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(file)
    _rewrite(file, name, lambda text: text + " " * (archive.SMALL_BYTES_MAXIMUM + 1))
    before = _files_below(state_dir)

    answer = run("restore", "--replace", file)

    assert answer.code == 2
    assert f"at most {archive.SMALL_BYTES_MAXIMUM}" in answer.error_line
    assert _files_below(state_dir) == before


def test_row_without_end_is_not_read(history: list[int], file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(file)
    monkeypatch.setattr(archive, "LINE_MAXIMUM", 100_000)
    _rewrite(file, "tables/auth.user.jsonl", lambda _: " " * 200_000)
    before = everything()

    with pytest.raises(BackupInvalid, match="has a line of"):
        restore(file, replace=True)

    assert everything() == before


def test_damaged_witness_changes_nothing(history: list[int], file: Path, state_dir: Path) -> None:
    backup(file)
    with zipfile.ZipFile(file) as whole:
        start = whole.getinfo("state/witness/gpu-0.jsonl").header_offset + 30 + len("state/witness/gpu-0.jsonl")
    content = bytearray(file.read_bytes())
    content[start + 40] ^= 0xFF
    file.write_bytes(content)
    rows, files = everything(), _files_below(state_dir)

    answer = run("restore", "--replace", file)

    assert answer.code == 2
    assert everything() == rows
    assert _files_below(state_dir) == files


def test_files_that_the_disk_has_no_room_for_change_nothing(
    history: list[int], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(file)
    run("restore", file)  # which prepares the database
    before = everything()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))

    answer = run("restore", "--replace", file)

    assert answer.code == 1
    assert "10 are free" in answer.error_line
    assert everything() == before


def test_file_that_no_worker_wrote_stays_out_of_the_backup(history: list[int], file: Path, state_dir: Path) -> None:
    (state_dir / "witness" / "gpu-0.old.jsonl").write_text("{}\n")
    (state_dir / "spool" / "gpu-0").mkdir(parents=True)
    (state_dir / "spool" / "gpu-0" / "notes.json").write_text("{}")

    backup(file)

    with zipfile.ZipFile(file) as whole:
        assert [name for name in whole.namelist() if name.startswith("state/")] == ["state/witness/gpu-0.jsonl"]
    assert restore(file, replace=True)


def test_jobs_are_replaced_only_when_asked(history: list[int], file: Path) -> None:
    backup(file)

    answer = run("restore", file)

    assert answer.code == 1
    assert "--replace" in answer.error_line


def _renew() -> None:
    Lease.objects.update(expires_at=Now() + timedelta(seconds=8))


def _run_out() -> None:
    Lease.objects.update(expires_at=Now() - timedelta(seconds=1))


@pytest.mark.parametrize(("step", "code"), [(_renew, 1), (_run_out, 0)])
def test_running_cluster_is_left_alone_and_what_a_killed_one_left_is_waited_for(
    history: list[int], file: Path, monkeypatch: pytest.MonkeyPatch, step: Callable[[], None], code: int
) -> None:
    backup(file)
    Lease.objects.create(name="relay", holder="h/1/x", expires_at=Now() + timedelta(seconds=6))
    monkeypatch.setattr("cluster_dashboard.operations.backup.time", Steps(step))

    answer = run("restore", "--replace", file)

    assert answer.code == code
    assert ("stop the cluster" in answer.err) == (code == 1)


def test_missing_file_is_one_line(control: Any, tmp_path: Path) -> None:
    answer = run("restore", tmp_path / "none.zip")

    assert answer.code == 2
    assert "FILE:" in answer.error_line


def test_commands_say_what_they_did(history: list[int], file: Path) -> None:
    assert f"{len(history)} jobs" in run("backup", file).out
    assert run("restore", "--replace", "--json", file).json["rows"]["scheduler.Job"] == len(history)


def test_every_table_of_the_product_is_kept_or_left_out_on_purpose() -> None:
    kept = {model._meta.label for model in kept_models()}
    tables: set[type[models.Model]] = {
        model
        for app in ("scheduler", "cluster_dashboard", "gpu_tasks")
        for model in apps.get_app_config(app).get_models()
    }

    assert {model._meta.label for model in tables} - kept == {"scheduler.Lease"}


# --- secrets made anew ----------------------------------------------------------------------------


@pytest.fixture
def secrets_of_a_start(control: Any, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.delenv("API_TOKEN", raising=False)
    (state_dir / "run").mkdir()
    old = {name: make() for name, make in first_start.DRAWN.items()}
    first_start.secrets_path().write_text("".join(f"{name}={value}\n" for name, value in old.items()))
    get_user_model().objects.create_superuser("admin", password=old["ADMIN_PASSWORD"])
    return old


def test_rotated_secrets_are_new_and_the_others_stay(
    secrets_of_a_start: dict[str, str], settings: Any, state_dir: Path
) -> None:
    settings.RUN_DIR = state_dir / "run"

    assert run("rotate", "API_TOKEN", "ADMIN_PASSWORD").code == 0

    new = read_state_file(first_start.secrets_path())
    assert {name for name in new if new[name] != secrets_of_a_start[name]} == {"API_TOKEN", "ADMIN_PASSWORD"}
    assert get_user_model().objects.get(username="admin").check_password(new["ADMIN_PASSWORD"])
    assert first_start.secrets_path().stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("words", [(), ("SEED",), ("PASSWORD",)])
def test_only_secrets_are_rotated(secrets_of_a_start: dict[str, str], words: tuple[str, ...]) -> None:
    answer = run("rotate", *words)

    assert answer.code == 2
    assert "SECRET_KEY" in answer.error_line
    assert read_state_file(first_start.secrets_path()) == secrets_of_a_start


def test_secret_of_the_environment_is_not_ours_to_change(
    secrets_of_a_start: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN_FILE", "/run/secrets/api-token")

    answer = run("rotate", "API_TOKEN")

    assert answer.code == 2
    assert "environment" in answer.error_line
    assert json.dumps(read_state_file(first_start.secrets_path())) == json.dumps(secrets_of_a_start)


def test_the_environment_s_password_becomes_the_admin_s(
    secrets_of_a_start: dict[str, str], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD_FILE", "/run/secrets/admin_password")
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"admin_password": "the-one-of-the-file"})

    assert run("rotate", "--apply").code == 0

    assert get_user_model().objects.get(username="admin").check_password("the-one-of-the-file")


@pytest.mark.parametrize("words", [("--apply",), ("--apply", "--all"), ("--apply", "API_TOKEN")])
def test_what_cannot_be_applied_changes_nothing(secrets_of_a_start: dict[str, str], words: tuple[str, ...]) -> None:
    answer = run("rotate", *words)

    assert answer.code == 2
    assert "--apply" in answer.error_line
    assert get_user_model().objects.get(username="admin").check_password(secrets_of_a_start["ADMIN_PASSWORD"])


# --- by standard output and input -----------------------------------------------------------------


def test_backup_goes_out_and_comes_in_by_standard_streams(
    history: list[int], state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything()
    written = run("backup", "-")
    insert([REQUEST])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(written.raw)))

    read = run("restore", "--replace", "-")

    assert f"{len(history)} jobs" in written.error_line
    assert (read.code, read.out) == (0, f"-: {len(history)} jobs are back\n")
    assert [row["id"] for row in everything()["scheduler.Job"]] == [row["id"] for row in before["scheduler.Job"]]
    assert not list(state_dir.glob(".backup*"))


def test_what_comes_in_must_be_a_backup(history: list[int], state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(b"no such file or directory\n")))
    before = everything()

    answer = run("restore", "--replace", "-")

    assert answer.code == 2
    assert "FILE: -: is not a whole backup" in answer.error_line
    assert everything() == before
    assert not list(state_dir.glob(".backup*"))


def test_secrets_of_the_environment_stay_where_they_are(
    history: list[int], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start.secrets_path().write_text("API_TOKEN=the-token-of-the-backup\n")
    backup(file)
    first_start.secrets_path().unlink()
    monkeypatch.setenv("API_TOKEN_FILE", "/run/secrets/api_token")

    answer = run("restore", "--replace", file)

    assert answer.code == 0
    assert not first_start.secrets_path().exists()
    assert "rotate --apply" in answer.error_line


# --- what an older version let in -----------------------------------------------------------------

UNSTORABLE = r'{"\u0000": ["a\u0000b", "half a pair \ud800", "\ud83d\ude00"]}'
STORABLE = {"\\x00": ["a\\x00b", "half a pair \\ud800", "😀"]}


def _with_what_only_sqlite_stores(text: str) -> str:
    return text.replace('{"NUL": 1}', UNSTORABLE).replace('"NUL"', r'"a\u0000b"')


def test_a_result_that_only_sqlite_stores_moves_to_every_database(history: list[int], file: Path) -> None:
    """Where the database refuses such a row, its backup is changed instead: as if it came from SQLite."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE scheduler_job SET result = %s, error = %s WHERE id = %s", [UNSTORABLE, "a\0b", history[0]]
            )
        backup(file)
    else:
        Job.objects.filter(id=history[0]).update(result={"NUL": 1}, error="NUL")
        backup(file)
        _rewrite(file, "tables/scheduler.job.jsonl", _with_what_only_sqlite_stores)

    restore(file, replace=True)

    job = Job.objects.get(id=history[0])
    assert (job.result, job.error) == (STORABLE, "a\\x00b")


def test_pages_and_streams_show_a_row_with_half_a_surrogate_pair(history: list[int], admin_client: Any) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("UPDATE scheduler_job SET result = %s", [UNSTORABLE])
        else:
            cursor.execute("UPDATE scheduler_job SET result = %s", [json.dumps(STORABLE)])

    detail = read_job(history[0])

    assert detail is not None
    assert json.loads(detail.model_dump_json())["result"] == STORABLE
    assert admin_client.get(f"/api/jobs/{history[0]}").json()["result"] == STORABLE
    assert "half a pair" in admin_client.get(f"/admin/scheduler/job/{history[0]}/change/").content.decode()
