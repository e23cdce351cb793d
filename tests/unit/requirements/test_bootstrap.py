"""requirements/bootstrap.py: which interpreter it takes, and when it installs."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from tests.project import ROOT

SOURCE = ROOT / "requirements" / "bootstrap.py"


@pytest.fixture
def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interpreter(path: Path, body: str) -> Path:
    """A program in the place of an interpreter: `body` is what it does when it is asked for its version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without any interpreter: an empty PATH, no pyenv."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_it_is_readable_for_python_3_9():
    ast.parse(SOURCE.read_text(), feature_version=(3, 9))


def test_a_shim_that_fails_is_passed_over(bootstrap, machine):
    interpreter(machine / "bin" / "python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    real = interpreter(machine / "bin" / "python3.12", "echo 3 12")

    assert bootstrap.find_python() == str(real)


def test_an_interpreter_that_only_pyenv_has_is_found(bootstrap, machine):
    interpreter(machine / "bin" / "python3", "echo 3 9")
    real = interpreter(machine / "pyenv" / "versions" / "3.12.1" / "bin" / "python3", "echo 3 12")

    assert bootstrap.find_python() == str(real)


def test_of_several_in_pyenv_the_newest_patch_of_the_best_version_is_taken(bootstrap, machine):
    for version, answer in {"3.12.9": "3 12", "3.13.2": "3 13", "3.13.10": "3 13", "3.9.18": "3 9"}.items():
        interpreter(machine / "pyenv" / "versions" / version / "bin" / "python3", f"echo {answer}")

    assert bootstrap.find_python() == str(machine / "pyenv" / "versions" / "3.13.10" / "bin" / "python3")


def test_an_interpreter_on_path_is_preferred_to_pyenv_s(bootstrap, machine):
    interpreter(machine / "pyenv" / "versions" / "3.13.2" / "bin" / "python3", "echo 3 13")
    on_path = interpreter(machine / "bin" / "python3", "echo 3 12")

    assert bootstrap.find_python() == str(on_path)


@pytest.mark.parametrize("body", ["echo 3 9", "echo 3 99", "exit 1", "echo nonsense"])
def test_an_unsuitable_interpreter_is_none(bootstrap, machine, body):
    interpreter(machine / "bin" / "python3", body)

    assert bootstrap.find_python() is None


def test_only_requirement_files_that_changed_are_installed(bootstrap, monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    (tmp_path / "requirements").mkdir()
    for name in ("base", "test"):
        (tmp_path / "requirements" / f"{name}.txt").write_text("one==1\n")
        bootstrap.stamp(name).write_text(bootstrap.fingerprint(name))
    assert bootstrap.changed(["base", "test"]) == []

    (tmp_path / "requirements" / "test.txt").write_text("one==2\n")

    assert bootstrap.changed(["base", "test"]) == ["test"]


def test_a_failed_installation_is_tried_again_the_next_time(bootstrap, monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV_PYTHON", interpreter(tmp_path / "bin" / "python", "exit 1"))
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "base.txt").write_text("one==1\n")

    with pytest.raises(bootstrap.BootstrapFailed, match=r"requirements/base\.txt"):
        bootstrap.install(["base"])

    assert bootstrap.changed(["base"]) == ["base"]


def test_gpuc_is_written_again_where_it_is_missing_though_nothing_changed(bootstrap, monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV_PYTHON", interpreter(tmp_path / "bin" / "python", "exit 1"))
    bootstrap.stamp("base").write_text(bootstrap.fingerprint("base"))

    bootstrap.main(["base"])

    assert os.access(tmp_path / "bin" / "gpuc", os.X_OK)


def test_gpuc_runs_the_checkout_from_any_folder(bootstrap, monkeypatch, tmp_path):
    root = tmp_path / "a checkout"
    interpreter(root / ".venv" / "bin" / "python", 'echo "$@"')
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setattr(bootstrap, "VENV", root / ".venv")
    monkeypatch.setattr(bootstrap, "VENV_PYTHON", root / ".venv" / "bin" / "python")

    bootstrap.install_gpuc()

    link = tmp_path / "gpuc"
    link.symlink_to(root / ".venv" / "bin" / "gpuc")
    answer = subprocess.run([link, "jobs", "a b"], cwd="/", capture_output=True, text=True, check=True)
    assert answer.stdout == f"{root / 'gpuc.py'} jobs a b\n"
