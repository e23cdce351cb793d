"""The compose project as a user starts it, under a name and on ports of its own, with fewer GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any, Final

from tests.project import ROOT
from tests.services import wait_until
from tests.with_cluster.api import Api
from tests.with_cluster.cluster import clean_environment, free_ports

#: The first start builds images and takes its time on a small machine.
UP_SECONDS: Final = 600
#: A service whose process was killed is healthy again.
BACK_SECONDS: Final = 60

#: Kills the children of PID 1, which is Docker's init: the service's main process.
KILL_MAIN: Final = (
    'for status in /proc/[0-9]*/status; do if grep -q "^PPid:[[:space:]]1$" $status; then '
    'pid=${status#/proc/}; kill -9 "${pid%/status}"; fi; done'
)


@cache
def engine_missing() -> str | None:
    """Why no test of this folder can run; None where Docker answers."""
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"no Docker engine: {error}"
        if answer.returncode != 0:
            return f"no Docker engine answers `{' '.join(command)}`"
    return None


class Project:
    """`services`: what is started by name, with all that they depend on."""

    def __init__(
        self,
        name: str,
        *,
        services: Sequence[str],
        files: Sequence[str] = ("docker-compose.yml",),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.services = name, list(services)
        self.web_port, self.flower_port = free_ports(2)
        self._files = [word for file in files for word in ("-f", file)]
        #: A tar of what the workers of another host saw.
        self.witness_of_others: bytes | None = None
        self.environment = {
            **clean_environment(),
            "WEB_PORT": str(self.web_port),
            "FLOWER_PORT": str(self.flower_port),
            "IMAGE": "gpu-cluster-tests",
            "WORKER_IMAGE": "gpu-cluster-worker-tests",
            "GPU_COUNT": "2",
            "JOB_RATE": "0.1",
            "SEED": "7",
            "OWN_CODE": "./tests/sample_job_types",
            "JOB_TYPES_EXTRA": "countdown:Countdown",
            **(environment or {}),
        }

    def with_files(self, *files: str) -> Project:
        """The same project by other compose files."""
        other = copy(self)
        other.environment = dict(self.environment)
        other._files = [word for file in files for word in ("-f", file)]
        return other

    # --- compose

    def compose(
        self, *words: str, seconds: float = 120, check: bool = True, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            ["docker", "compose", "--progress", "quiet", "-p", self.name, *self._files, *words],
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        # In latin-1, and so byte by byte: what comes out may be an archive.
        out, err = ran.stdout.decode("latin-1"), ran.stderr.decode("latin-1")
        done = subprocess.CompletedProcess(ran.args, ran.returncode, out, err)
        if check and done.returncode != 0:
            raise AssertionError(f"docker compose {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def up(self, *words: str) -> float:
        """One command, until everything is healthy. Gives how many seconds it took."""
        began = time.monotonic()
        up = self.compose("up", "-d", "--wait", *words, *self.services, seconds=UP_SECONDS, check=False)
        assert up.returncode == 0, f"{up.stderr[-3000:]}\n{self.shown()}\n{self.tail()}"
        return time.monotonic() - began

    def down(self, *words: str) -> None:
        self.compose("down", "--timeout", "20", *words)

    def exec(self, service: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.compose("exec", "-T", service, *words, check=check)

    def manage(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.exec("web", "gpuc", *words, check=check)

    def verify(self, *words: str) -> subprocess.CompletedProcess[str]:
        others = [] if self.witness_of_others is None else ["--witness", "-"]
        command = ("exec", "-T", "web", "gpuc", "verify", *others, *words)
        return self.compose(*command, stdin=self.witness_of_others, check=False)

    # --- looking

    def container_id(self, service: str) -> str:
        return self.compose("ps", "-a", "-q", service).stdout.strip()

    def inspect(self, service: str) -> dict[str, Any]:
        return inspect(self.container_id(service))

    def health(self, service: str) -> str:
        state = self.inspect(service)["State"]
        return state.get("Health", {}).get("Status", state["Status"]) if state["Running"] else state["Status"]

    def shown(self) -> str:
        return self.compose("ps", "-a", check=False).stdout

    def tail(self, lines: int = 15) -> str:
        return self.compose("logs", "--tail", str(lines), "--no-color", check=False).stdout[-6000:]

    def secret(self, service: str, name: str) -> str:
        return self.exec(service, "cat", f"/run/secrets/{name}").stdout.strip()

    def api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.web_port}", self.secret("web", "api_token"))

    def wait_for_health(self, service: str, seconds: float = BACK_SECONDS) -> None:
        wait_until(
            lambda: self.health(service) == "healthy",
            seconds,
            lambda: f"{service} is healthy\n{self.shown()}\n{self.tail()}",
        )

    # --- hitting

    def kill_main(self, service: str) -> float:
        """kill -9 of the service's main process. Gives the seconds until it is healthy again."""
        before = self.inspect(service)["RestartCount"]
        began = time.monotonic()
        # The shell that kills may go down with its container.
        self.exec(service, "sh", "-c", KILL_MAIN, check=False)
        wait_until(lambda: self.inspect(service)["RestartCount"] > before, 20, f"{service} is started again")
        self.wait_for_health(service)
        return time.monotonic() - began

    def network(self, action: str, service: str, network: str = "inside") -> None:
        """action: connect or disconnect."""
        alias = ["--alias", service] if action == "connect" else []
        docker("network", action, *alias, f"{self.name}_{network}", self.container_id(service))


def docker(*words: str, seconds: float = 120) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout


def inspect(container: str) -> dict[str, Any]:
    return json.loads(docker("inspect", container))[0]


def note_figure(name: str, **values: float | str) -> None:
    """For whoever measures: one line for each figure into the file that FIGURES names."""
    if path := os.environ.get("FIGURES"):
        with open(path, "a") as file:  # noqa: PTH123
            file.write(json.dumps({"name": name, **values}) + "\n")
