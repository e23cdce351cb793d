"""A frozen broker (SIGSTOP): with timeouts whoever asks it gets an error soon; without them he hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from tests.mutants.source import source_without
from tests.project import ROOT
from tests.services import ValkeyServer, wait_until
from tests.with_cluster.cluster import clean_environment

#: Above every timeout on the way (2 s for the loops, 5 s for what is published), with room for a busy machine.
PATIENCE_SECONDS = 20

#: Publishes a hint as the relay does, and reads as the loops do; a line says how each came out.
_ASKS = """
import sys
import django; django.setup()
from kombu.exceptions import KombuError
from redis.exceptions import RedisError
from scheduler.broker import hints
from scheduler.broker.hints import Hint
from scheduler.redis_client import connect

def outcome(ask):
    try:
        ask()
    except (KombuError, RedisError, OSError):
        return "gave up"
    return "done"

hint = Hint(job_id=1, attempt=1, type="sleep", queue="normal")
client = connect()
publish = lambda: hints.send([hint])
read = lambda: hints.waiting(client)
asks = {"publish": publish, "read": read}[sys.argv[1]]
print("before", outcome(asks), flush=True)
sys.stdin.readline()
print("frozen", outcome(asks), flush=True)
"""


class Asker:
    """A process of this source that has asked once, and asks again when told."""

    def __init__(self, server: ValkeyServer, output: Path, what: str, source: Path) -> None:
        self._output = output
        self._file = output.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ASKS, what],
            cwd=source,
            env={
                **clean_environment(),
                "DJANGO_SETTINGS_MODULE": "cluster_dashboard.settings",
                "STATE_DIR": str(output.parent),
                "REDIS_URL": server.url,
            },
            stdin=subprocess.PIPE,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ask_again(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self) -> str:
        return self._output.read_text()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._file.close()


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """One of its own: frozen, it serves nobody else."""
    with tempfile.TemporaryDirectory(prefix="frozen-") as folder, ValkeyServer(Path(folder, "broker.sock")) as server:
        yield server


@pytest.fixture
def askers(server: ValkeyServer, tmp_path: Path) -> Iterator[dict[tuple[str, str], Asker]]:
    """Publishing and reading, with the remedy and without."""
    found = {
        (what, remedy): Asker(
            server,
            tmp_path / f"{what}-{remedy}",
            what,
            ROOT if remedy == "on" else source_without("no_broker_timeouts"),
        )
        for what in ("publish", "read")
        for remedy in ("on", "off")
    }
    yield found
    for asker in found.values():
        asker.close()


def test_a_frozen_broker_holds_nobody_up_but_those_without_timeouts(
    server: ValkeyServer, askers: dict[tuple[str, str], Asker]
) -> None:
    for asker in askers.values():
        wait_until(lambda asker=asker: "before done" in asker.said(), 60, asker.said)
    os.kill(server.pid, SIGSTOP)
    try:
        for asker in askers.values():
            asker.ask_again()
        for what in ("publish", "read"):
            asker = askers[what, "on"]
            wait_until(lambda asker=asker: "frozen gave up" in asker.said(), PATIENCE_SECONDS, asker.said)
        # Those who have none stand as long as the broker does.
        for what in ("publish", "read"):
            assert "frozen" not in askers[what, "off"].said()
            assert askers[what, "off"].process.poll() is None
    finally:
        os.kill(server.pid, SIGCONT)
    for what in ("publish", "read"):
        asker = askers[what, "off"]
        wait_until(lambda asker=asker: "frozen done" in asker.said(), PATIENCE_SECONDS, asker.said)
