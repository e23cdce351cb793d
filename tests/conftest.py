"""What every test may use. Services are real: Valkey, PostgreSQL, the cluster itself."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from django.conf import settings

from tests.mutants.marker import place
from tests.project import ROOT
from tests.services import PostgresServer, ValkeyServer


def missing(what: str) -> NoReturn:
    """A service that is not on this machine skips the test on a laptop, and fails it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not on this machine, and CI must run every test", pytrace=False)
    pytest.skip(f"{what} is not on this machine")


def program(name: str) -> str:
    """Its path, also where only root has it on the PATH."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        missing(name)
    return path


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts the tests in the background has SIGINT ignored, and so would every process that they start
    # and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "mutant(name): runs in a copy of the source with tests/mutants/<name>.patch")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = map(place, items)


#: Which tests of two processes must not run at once: a browser gives up what it loads when Docker's networks change.
_NETWORK = Path(tempfile.gettempdir(), f"gpu-cluster-tests-{os.getuid()}.network")
_USES_NETWORK = {"with_docker": fcntl.LOCK_EX, "with_browser": fcntl.LOCK_SH}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Around a test and its fixtures, and outside its time limit."""
    lock = _USES_NETWORK.get(item.path.relative_to(ROOT / "tests").parts[0])
    if lock is None:
        return (yield)
    with _NETWORK.open("a") as file:
        fcntl.flock(file, lock)
        return (yield)


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """Commands for people lower the noise of the whole process: the next test wants it back."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """Where the product's own settings look for the broker."""
    settings.BROKER_SOCKET.parent.mkdir(parents=True, exist_ok=True)
    with ValkeyServer(settings.BROKER_SOCKET) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    if not PostgresServer.is_installed():
        missing("PostgreSQL")
    with PostgresServer() as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Passed and skipped for each folder of tests."""
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "skipped", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            parts = Path(report.nodeid.split("::")[0]).parts
            counts.setdefault("/".join(parts[:2]), Counter())[outcome] += 1
    for folder, found in sorted(counts.items()):
        words = ", ".join(f"{found[outcome]} {outcome}" for outcome in found)
        terminalreporter.write_line(f"{folder:<22} {words}")
