"""The documentation: generated parts are current, links lead somewhere, paths exist, the README stays short."""

from __future__ import annotations

import re
import tomllib

import pytest

from cluster_dashboard.chaos.catalogue import SCENARIOS
from docs.tools.generate import PARTS, pages
from docs.tools.pages import parts_in, with_parts
from docs.tools.words import MEANINGS
from scheduler.rules.states import Reason
from tests.project import ROOT
from tests.with_cluster.docs.commands import COMMANDS, commands_in

README_WORDS_MAXIMUM = 900
LINE_MAXIMUM = 120
PICTURE_BYTES_MAXIMUM = 3_000_000

OTHER_PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "DECISIONS.md", "CHANGELOG.md", "SECURITY.md")]
ALL_PAGES = [*pages(), *OTHER_PAGES]
NAMES = [str(page.relative_to(ROOT)) for page in ALL_PAGES]

#: The pages without a command of their own: an index, words, and a table whose rows are tests.
WITHOUT_COMMAND = {"docs/README.md", "docs/glossary.md", "docs/failure-catalogue.md"}


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """As GitHub makes them from headings."""
    titles = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# --- generated parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_generated_parts_are_what_make_docs_writes(page):
    text = page.read_text()

    assert with_parts(text, PARTS) == text, "run `make docs`"


def test_every_part_is_on_a_page():
    shown = [part for page in pages() for part in parts_in(page.read_text())]

    assert sorted(shown) == sorted(PARTS)


def test_a_changed_figure_is_noticed():
    text = "before\n<!-- generated: verdict; make docs -->\n| 3 |\n<!-- end -->\nafter\n"

    assert with_parts(text, {"verdict": lambda: "| 4 |"}) == text.replace("3", "4")


def test_every_reason_has_a_meaning():
    assert set(MEANINGS) == set(Reason)


# --- links, paths, commands ---------------------------------------------------------------------------


@pytest.mark.parametrize("page", ALL_PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text()), target


PATH = re.compile(r"`((?:scheduler|gpu_tasks|cluster_dashboard|tests|docs|docker|requirements)/[\w./-]*)(?:::\w+)?`")


@pytest.mark.parametrize("page", ALL_PAGES, ids=NAMES)
def test_paths_exist(page):
    assert [path for path in PATH.findall(page.read_text()) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_command_of_the_page_is_run_by_a_test(page):
    name = str(page.relative_to(ROOT))

    assert (name in WITHOUT_COMMAND) != any(command.page == name for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: {command.text}")
def test_a_command_that_is_run_is_on_its_page(command):
    assert command.text in commands_in((ROOT / command.page).read_text())


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()

    assert [page.name for page in pages() if page.parent.name == "docs" and f"({page.name})" not in index] == [
        "README.md"
    ]


# --- the README ---------------------------------------------------------------------------------------


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()

    assert len(text.split()) <= README_WORDS_MAXIMUM
    assert [line for line in text.splitlines() if len(line) > LINE_MAXIMUM] == []


def test_it_counts_the_scenarios():
    assert f"{len(SCENARIOS)} chaos scenarios" in (ROOT / "README.md").read_text()


def test_its_picture_moves_and_loads_quickly():
    picture = (ROOT / "docs" / "rehearsal.webp").read_bytes()

    assert picture[8:12] == b"WEBP"
    assert picture.count(b"ANMF") > 10, "frames"
    assert len(picture) < PICTURE_BYTES_MAXIMUM


# --- changelog and decisions ----------------------------------------------------------------------------


def test_the_newest_release_is_the_projects_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    released = re.findall(r"^## ([\d.]+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert released[0] == version


def test_every_decision_has_a_date_and_is_in_the_contents():
    contents, _, entries = (ROOT / "DECISIONS.md").read_text().partition("\n## ")
    titles = re.findall(r"^### (.+)\n(.*)$", entries, re.MULTILINE)

    assert [title for title, date in titles if not re.fullmatch(r"\d{4}-\d\d-\d\d", date)] == []
    assert sorted(re.findall(r"^- \[(.+?)\]\(#", contents, re.MULTILINE)) == sorted(title for title, _ in titles)


# --- operations ---------------------------------------------------------------------------------------


def notes() -> list[str]:
    """The notes that docs/operations.md explains."""
    section = (ROOT / "docs" / "operations.md").read_text().partition("## A GPU takes no job")[2]
    return re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)


@pytest.mark.parametrize("note", notes())
def test_a_note_that_is_explained_is_one_that_the_code_writes(note):
    files = [*(ROOT / "gpu_tasks").rglob("*.py"), *(ROOT / "scheduler" / "rules").glob("*.py")]
    source = "".join(path.read_text() for path in files)
    words = [
        part.strip() for part in re.split(r"\bN\b|GPU-\.\.|\.\.|: (?=CUDA|GPU fault)|CUDA: ", note) if part.strip(" :,")
    ]

    assert [part for part in words if part not in source] == []


def log_events() -> list[str]:
    section = (ROOT / "docs" / "operations.md").read_text().partition("## The log")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    return [event for row in rows for event in re.findall(r"`(\w+)`", row)]


@pytest.mark.parametrize("event", log_events())
def test_a_log_event_that_is_explained_is_one_that_the_code_writes(event):
    folders = ("scheduler", "gpu_tasks", "cluster_dashboard")

    assert any(f'"{event}"' in path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
