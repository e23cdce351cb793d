"""Makes .venv with the pinned requirements: `python3 requirements/bootstrap.py base test`.

Runs on any Python from 3.9 with nothing installed. Finds Python 3.12 or later, or obtains it through uv;
installs only what changed since the last time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"

#: What we install besides .venv stays in this folder of the repository.
TOOLS = ROOT / ".tools"

#: Preferred first: what the pins are tested on, then the newer one.
VERSIONS = ((3, 13), (3, 12), (3, 14))

#: Prints its version if it has what the cluster needs: an interpreter built without these is of no use.
PROBE = "import ctypes, hashlib, sqlite3, ssl, sys, venv, zlib; print(*sys.version_info[:2])"

UV_INSTALLER = "https://astral.sh/uv/install.sh"


BY_HAND = "install Python 3.12 or later yourself, so that `python3.13` or `python3.12` is on PATH, and try again"


class BootstrapFailed(Exception):
    """Says what is missing and what to do."""


def main(names: list[str]) -> None:
    if VENV_PYTHON.exists() and not changed(names):
        install_gpuc()
        return
    with one_at_a_time():
        if not works(VENV_PYTHON):
            make_venv()
        install(names)
        install_gpuc()


# --- What is there already ------------------------------------------------------------------------


def changed(names: list[str]) -> list[str]:
    """The requirement files that differ from what was installed last."""
    return [name for name in names if not stamp(name).exists() or stamp(name).read_text() != fingerprint(name)]


def stamp(name: str) -> Path:
    return VENV / f".installed-{name}"


def fingerprint(name: str) -> str:
    return hashlib.sha256((ROOT / "requirements" / f"{name}.txt").read_bytes()).hexdigest()


def works(python: Path) -> bool:
    """Whether .venv is whole: made to its end, with pip, by an interpreter that is still there and new enough."""
    return python.exists() and version_of(python, "import pip, sys; print(*sys.version_info[:2])") in VERSIONS


# --- Making .venv ---------------------------------------------------------------------------------


def make_venv() -> None:
    python = find_python()
    if VENV.exists():
        say("making .venv again: the existing one does not work")
        shutil.rmtree(VENV)
    if python is not None and run_quietly([python, "-c", "import ensurepip"]):
        say(f"making .venv with {python}")
        run([python, "-m", "venv", VENV], "python -m venv failed")
        return
    uv = find_uv() or obtain_uv()
    wanted: str = python or ".".join(map(str, VERSIONS[0]))
    say(f"making .venv with uv and Python {wanted}")
    # Only interpreters of uv's own, unless one is named: pyenv's shims make its search fail.
    preference: list[str] = [] if python else ["--python-preference", "only-managed"]
    run(
        [uv, "venv", "--quiet", "--seed", *preference, "--python", wanted, VENV],
        f"uv could not provide Python: {BY_HAND}",
        env=uv_env(),
    )


def find_python() -> str | None:
    """An interpreter that really runs: pyenv's shims stand on PATH also for versions that are switched off."""
    for name in [*(f"python{major}.{minor}" for major, minor in VERSIONS), "python3", "python"]:
        for found in on_path(name):
            if version_of(found) in VERSIONS:
                return str(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    installed = {version_of(found): found for found in sorted(pyenv.glob("*/bin/python3"), key=patch_number)}
    return next((str(installed[version]) for version in VERSIONS if version in installed), None)


def on_path(name: str) -> list[Path]:
    folders = os.environ.get("PATH", "").split(os.pathsep)
    return [Path(folder, name) for folder in folders if folder and os.access(Path(folder, name), os.X_OK)]


def patch_number(python: Path) -> list[int]:
    """[3, 13, 2] of ~/.pyenv/versions/3.13.2/bin/python3."""
    return [int(word) for word in python.parts[-3].split(".") if word.isdecimal()]


def version_of(python: Path, probe: str = PROBE) -> tuple[int, ...] | None:
    """(major, minor), or None where it does not run or lacks a module."""
    try:
        # Its output goes to us alone: a shim that fails complains at length.
        answer = subprocess.run([python, "-c", probe], capture_output=True, text=True, timeout=30, check=True)
        return tuple(map(int, answer.stdout.split()))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


# --- uv, where no interpreter is there ------------------------------------------------------------


def find_uv() -> str | None:
    candidates = [TOOLS / "uv" / "bin" / "uv", *on_path("uv")]
    return next((str(found) for found in candidates if run_quietly([found, "--version"])), None)


def obtain_uv() -> str:
    say("no Python 3.12 or later here: installing uv into .tools, to obtain one")
    target = TOOLS / "uv"
    pinned = ROOT / "requirements" / "uv.txt"
    options = ["--quiet", "--require-hashes", "--only-binary", ":all:", "--upgrade", "--target", str(target)]
    if not run_quietly([python_with_pip(), "-m", "pip", "install", *options, "-r", pinned]):
        say("pip cannot install it: trying its own installer")
        run_installer(target / "bin")
    uv = find_uv()
    if uv is None:
        raise BootstrapFailed("uv was installed into .tools, but does not run on this machine")
    return uv


def python_with_pip() -> str:
    """This interpreter, or one in .tools that has what this one lacks."""
    if not run_quietly([sys.executable, "-m", "pip", "--version"]):
        private = TOOLS / "pip"
        if run_quietly([sys.executable, "-m", "venv", private]):
            return str(private / "bin" / "python")
    return sys.executable


def run_installer(target: Path) -> None:
    try:
        with urllib.request.urlopen(UV_INSTALLER, timeout=30) as answer:
            script = answer.read()
    except OSError as error:
        raise BootstrapFailed(f"no Python 3.12 or later, and no way to obtain uv ({error}): {BY_HAND}") from None
    with tempfile.NamedTemporaryFile(suffix=".sh") as file:
        file.write(script)
        file.flush()
        private = {"UV_INSTALL_DIR": str(target), "UV_NO_MODIFY_PATH": "1", "INSTALLER_NO_MODIFY_PATH": "1"}
        run(["sh", file.name, "--quiet"], f"uv's installer failed: {BY_HAND}", env={**os.environ, **private})


def uv_env() -> dict[str, str]:
    private = {"UV_PYTHON_INSTALL_DIR": str(TOOLS / "python"), "UV_CACHE_DIR": str(TOOLS / "cache")}
    return {**os.environ, **private, "UV_NO_PROGRESS": "1"}


# --- Installing -----------------------------------------------------------------------------------


def install(names: list[str]) -> None:
    missing = changed(names)
    if not missing:
        return
    files = [f"requirements/{name}.txt" for name in missing]
    began = time.monotonic()
    say(f"installing {' and '.join(files)} into .venv (a minute or so the first time)")
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes"]
    command = [VENV_PYTHON, "-m", "pip", "install", *options, *(word for file in files for word in ("-r", file))]
    with tempfile.TemporaryFile("w+") as output:
        if subprocess.run(
            [str(word) for word in command], cwd=ROOT, stdout=output, stderr=output, check=False
        ).returncode:
            output.seek(0)
            print(output.read(), file=sys.stderr)
            raise BootstrapFailed(f"pip could not install {' and '.join(files)}; its reason is printed above")
    for name in missing:
        stamp(name).write_text(fingerprint(name))
    say(f"installed in {time.monotonic() - began:.0f} s")


def install_gpuc() -> None:
    """.venv/bin/gpuc, which works from any folder; a shell script, since #! allows no spaces in a path."""
    script = VENV / "bin" / "gpuc"
    text = f'#!/bin/sh\nexec {shlex.quote(str(VENV_PYTHON))} {shlex.quote(str(ROOT / "gpuc.py"))} "$@"\n'
    if script.exists() and script.read_text() == text:
        return
    # Replaced in one step: another make may run it or write it now.
    new = script.with_name(f"gpuc.{os.getpid()}")
    new.write_text(text)
    new.chmod(0o755)
    new.replace(script)


# --- Small parts ----------------------------------------------------------------------------------


class one_at_a_time:  # noqa: N801 (reads as what it does)
    """Two makes at once: the second waits, and finds everything done."""

    def __enter__(self) -> None:
        self._folder = os.open(ROOT / "requirements", os.O_RDONLY)
        fcntl.flock(self._folder, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)


def run(command: list[str | Path], failure: str, env: dict[str, str] | None = None) -> None:
    if subprocess.run([str(word) for word in command], cwd=ROOT, env=env, check=False).returncode != 0:
        raise BootstrapFailed(failure)


def run_quietly(command: list[str | Path]) -> bool:
    try:
        return (
            subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


def say(text: str) -> None:
    print(f"bootstrap: {text}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:] or ["base"])
    except BootstrapFailed as failed:
        sys.exit(f"bootstrap: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)
