"""requirements/biome.py: what it fetches, when it skips, and when it fails."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import tarfile

import pytest

from tests.project import ROOT

SOURCE = ROOT / "requirements" / "biome.py"


@pytest.fixture
def biome(monkeypatch, tmp_path):
    """The script, with a .tools folder of its own and without any program on PATH."""
    spec = importlib.util.spec_from_file_location("biome", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CI", raising=False)
    return module


def package(path, *, program: str):
    """An archive of npm's with `program` in it; returns its checksum."""
    with tarfile.open(path, "w:gz") as packed:
        entry = tarfile.TarInfo("package/biome")
        entry.size = len(program)
        packed.addfile(entry, io.BytesIO(program.encode()))
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def npm(tmp_path, archive):
    """An npm whose `pack` delivers `archive`: npm pack --silent NAME --pack-destination FOLDER."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "npm"
    script.write_text(f'#!/bin/sh\n/bin/cp {archive} "$5/"\n')
    script.chmod(0o755)


def test_without_npm_the_check_is_skipped_with_a_word(biome, capsys):
    assert biome.main() == 0
    assert "skipped" in capsys.readouterr().out


def test_without_npm_the_check_fails_in_ci(biome, monkeypatch, capsys):
    monkeypatch.setenv("CI", "true")

    assert biome.main() == 1
    assert "npm is not installed" in capsys.readouterr().err


def test_the_fetched_program_runs_and_its_exit_status_is_the_answer(biome, monkeypatch, tmp_path):
    archive = tmp_path / "biome.tgz"
    checksum = package(archive, program='#!/bin/sh\n[ "$1" = lint ] && exit 7\n')
    monkeypatch.setitem(biome.INTEGRITY, "linux-x64", checksum)
    npm(tmp_path, archive)

    assert biome.main() == 7
    assert [path.name for path in biome.installed().parent.iterdir()] == ["biome"]


def test_a_package_with_another_checksum_is_not_installed(biome, tmp_path, capsys):
    archive = tmp_path / "biome.tgz"
    package(archive, program="#!/bin/sh\n")
    npm(tmp_path, archive)

    assert biome.main() == 1
    assert "is pinned: not installed" in capsys.readouterr().err
    assert not biome.installed().exists()


def test_a_platform_without_a_pinned_package_is_named(biome):
    assert biome.package("Darwin", "arm64") == "darwin-arm64"

    with pytest.raises(biome.BiomeMissing, match="no package is pinned for linux-riscv64"):
        biome.package("Linux", "riscv64")
