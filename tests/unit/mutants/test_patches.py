"""Every mutant fits the source of today."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutants.patches import SourceDrifted, all_mutants, apply, hunks, patch_of, sentence
from tests.project import ROOT


def files_of(mutant: str, folder: Path) -> dict[Path, str]:
    """The files that the patch names, copied to this folder, with their text."""
    for name in {hunk.file for hunk in hunks(patch_of(mutant).read_text())}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return {path: path.read_text() for path in folder.rglob("*.py")}


@pytest.mark.parametrize("mutant", all_mutants())
def test_a_mutant_changes_lines_that_are_there_once(mutant: str, tmp_path: Path):
    before = files_of(mutant, tmp_path)

    apply(patch_of(mutant), tmp_path)

    assert before
    for path, text in before.items():
        assert path.read_text() != text
        compile(path.read_text(), path, "exec")


@pytest.mark.parametrize("mutant", all_mutants())
def test_a_mutants_first_line_names_the_protection_that_it_removes(mutant: str):
    assert sentence(mutant).endswith(".")
    assert len(sentence(mutant)) > 20


def test_a_patch_that_does_not_fit_is_refused(tmp_path: Path):
    files_of("no_fence", tmp_path)
    apply(patch_of("no_fence"), tmp_path)

    with pytest.raises(SourceDrifted, match="no_fence"):
        apply(patch_of("no_fence"), tmp_path)
