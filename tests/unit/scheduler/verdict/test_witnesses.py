"""Witness files in several folders and in a tar: each line is heard once, and nothing else is taken from a tar."""

from __future__ import annotations

import errno
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.verdict import witnesses
from scheduler.verdict.witnesses import WitnessInvalid, check_folder, unpack


def a_line(job: int, saw: str = "claiming", *, gpu: int = 8, boot: str = "b") -> bytes:
    values = {"at": float(job), "saw": saw, "job": job, "attempt": 1, "gpu": gpu, "boot": boot}
    return json.dumps(values).encode() + b"\n"


def a_folder(folder: Path, **lines: list[bytes]) -> Path:
    """gpu_8=[...] becomes gpu-8.jsonl."""
    folder.mkdir()
    for name, content in lines.items():
        (folder / f"{name.replace('_', '-')}.jsonl").write_bytes(b"".join(content))
    return folder


def a_tar(files: dict[str, bytes], mode: str = "w") -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def heard(*folders: Path) -> list[tuple[int, str]]:
    return [(told.job, told.saw) for told in witnesses.testimonies(folders, 0, 2**63)]


# --- folders


def test_files_of_all_folders_are_read(tmp_path: Path) -> None:
    here = a_folder(tmp_path / "here", gpu_0=[a_line(1, gpu=0)])
    there = a_folder(tmp_path / "there", gpu_8=[a_line(2)])

    assert heard(here, there) == [(1, "claiming"), (2, "claiming")]


def test_an_older_copy_adds_nothing(tmp_path: Path) -> None:
    whole = [a_line(1), a_line(1, "refused"), a_line(2)]
    now = a_folder(tmp_path / "now", gpu_8=whole)
    # Fetched in the middle of a line.
    before = a_folder(tmp_path / "before", gpu_8=[*whole[:2], whole[2][:20]])

    assert heard(before, now) == heard(now) == [(1, "claiming"), (1, "refused"), (2, "claiming")]


def test_a_gpu_that_was_on_another_host_before_is_heard_from_both(tmp_path: Path) -> None:
    old = a_folder(tmp_path / "old", gpu_8=[a_line(1, boot="old")])
    new = a_folder(tmp_path / "new", gpu_8=[a_line(2, boot="new")])

    assert heard(old, new) == [(1, "claiming"), (2, "claiming")]


def test_only_lines_about_the_jobs_that_are_asked_for_are_given(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "f", gpu_8=[a_line(1), a_line(2), a_line(3)])

    assert [told.job for told in witnesses.testimonies([folder], 2, 3)] == [2]


def test_a_compressed_file_is_read_as_the_plain_one(tmp_path: Path) -> None:
    plain = a_folder(tmp_path / "plain", gpu_8=[a_line(1), a_line(2)])
    packed = a_folder(tmp_path / "packed")
    (packed / "gpu-8.jsonl.gz").write_bytes(gzip.compress((plain / "gpu-8.jsonl").read_bytes()))

    assert list(witnesses.testimonies([packed], 0, 9)) == list(witnesses.testimonies([plain, packed], 0, 9))
    assert heard(packed) == [(1, "claiming"), (2, "claiming")]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    """A host without workers never made its own."""
    assert heard(tmp_path / "none") == []


def test_a_line_that_no_worker_wrote_is_reported_with_its_file(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "f", gpu_8=[b'{"job": 1, "saw": "claiming"}\n'])

    with pytest.raises(WitnessInvalid, match=r"gpu-8\.jsonl has a line that no worker wrote"):
        heard(folder)


def test_number_without_end_is_reported_with_its_file(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "f", gpu_8=[a_line(1).replace(b'"job": 1', b'"job": 1' + b"0" * 5000)])

    with pytest.raises(WitnessInvalid, match=r"gpu-8\.jsonl has a line that no worker wrote"):
        heard(folder)


def test_line_without_end_is_not_held_in_memory(tmp_path: Path) -> None:
    line = b'{"job": 1, "saw": "' + b" " * witnesses._LINE_MAXIMUM_BYTES + b'claiming"}\n'
    folder = a_folder(tmp_path / "f", gpu_8=[a_line(1), line, a_line(2)])

    assert heard(folder) == [(1, "claiming"), (2, "claiming")]


def test_a_compressed_file_that_is_cut_off_is_reported_with_its_name(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "f")
    (folder / "gpu-8.jsonl.gz").write_bytes(gzip.compress(a_line(1))[:-12])

    with pytest.raises(WitnessInvalid, match=r"gpu-8\.jsonl\.gz cannot be read"):
        heard(folder)


def no_folder(path: Path) -> None:
    """Nothing is there."""


def a_file(path: Path) -> None:
    path.touch()


def without_witness(path: Path) -> None:
    path.mkdir()
    # Another name, as an editor or rsync leaves it.
    (path / ".gpu-8.jsonl.Xy7").touch()


def with_a_broken_link(path: Path) -> None:
    path.mkdir()
    (path / "gpu-8.jsonl").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_folder, "there is no folder"),
        (a_file, "is not a folder"),
        (without_witness, "has no witness file"),
        (with_a_broken_link, r"gpu-8\.jsonl cannot be read: No such file"),
    ],
)
def test_a_folder_that_is_none_is_refused_with_words(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "given")

    with pytest.raises(WitnessInvalid, match=words):
        check_folder(tmp_path / "given")


# --- a tar


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_of_two_hosts_is_heard_whole(tmp_path: Path, mode: str) -> None:
    tar = a_tar({"host-2/witness/gpu-8.jsonl": a_line(1), "host-3/witness/gpu-8.jsonl": a_line(2)}, mode)

    assert heard(*unpack(tar, tmp_path)) == [(1, "claiming"), (2, "claiming")]


def test_a_compressed_file_in_a_tar_is_read_too(tmp_path: Path) -> None:
    assert heard(*unpack(a_tar({"gpu-8.jsonl.gz": gzip.compress(a_line(1))}), tmp_path)) == [(1, "claiming")]


@pytest.mark.parametrize("name", ["../gpu-8.jsonl", "/gpu-8.jsonl", "witness/../../../gpu-8.jsonl"])
def test_no_name_in_a_tar_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)

    unpack(a_tar({name: a_line(1)}), folder)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "0" / "gpu-8.jsonl.gz"]


def test_links_devices_and_other_files_of_a_tar_are_left_out(tmp_path: Path) -> None:
    stream = a_tar({"witness/gpu-8.jsonl": a_line(1), ".env": b"API_TOKEN=x\n", "gpu-x.jsonl": a_line(2)})
    with tarfile.open(fileobj=stream, mode="a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo("witness/gpu-9.jsonl")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    stream.seek(0)

    unpack(stream, tmp_path)

    assert [path.name for path in tmp_path.rglob("*") if not path.is_dir()] == ["gpu-8.jsonl.gz"]


def test_a_tar_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnesses, "TAR_MIB_MAXIMUM", 1)
    half = b"x" * (600 * 1024)
    assert len(unpack(a_tar({"gpu-8.jsonl": half}), tmp_path)) == 1

    with pytest.raises(WitnessInvalid, match="larger than 1 MiB"):
        unpack(a_tar({"gpu-8.jsonl": half, "gpu-9.jsonl": half}), tmp_path / "0")


def test_a_tar_for_which_the_disk_has_no_room_is_refused_with_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(witnesses, "_keep", full)

    with pytest.raises(WitnessInvalid, match=f"{tmp_path.parent} has no space left"):
        unpack(a_tar({"gpu-8.jsonl": a_line(1)}), tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as a tar"),
        (b"no tar at all\n" * 100, "cannot be read as a tar"),
        (a_tar({"gpu-8.jsonl": a_line(1) * 500}).getvalue()[:20_000], "cannot be read as a tar"),
        (a_tar({"gpu-8.jsonl": a_line(1) * 500}, "w:gz").getvalue()[:200], "cannot be read as a tar"),
        (a_tar({"notes.txt": b"x"}).getvalue(), "has no witness file"),
    ],
    ids=["nothing", "text", "cut off", "compressed, cut off", "other files"],
)
def test_what_is_no_tar_of_witnesses_is_refused_with_words(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(WitnessInvalid, match=words):
        unpack(io.BytesIO(content), tmp_path)
