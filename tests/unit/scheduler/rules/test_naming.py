from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.job_type import ParamsInvalid
from scheduler.rules.naming import GENERIC_WORDS, NAME_MAXIMUM_LENGTH, PRIORITY_WORDS, TYPE_WORDS, check_name, job_name
from scheduler.rules.states import Priority

any_type = st.sampled_from([*TYPE_WORDS, "brought_by_a_package"])
any_priority = st.sampled_from(list(Priority))
any_id = st.integers(0, 2**63 - 1)


@given(job_id=any_id, job_type=any_type, priority=any_priority, seed=any_id)
def test_every_name_is_one_that_a_user_could_give(job_id: int, job_type: str, priority: Priority, seed: int) -> None:
    name = job_name(job_id, job_type, priority, seed)

    assert check_name(name) == name
    assert name == job_name(job_id, job_type, priority, seed)


@given(job_id=any_id, job_type=any_type, priority=any_priority)
def test_a_name_ends_in_its_id_and_begins_with_words_that_suit(job_id: int, job_type: str, priority: Priority) -> None:
    first, second, third, suffix = job_name(job_id, job_type, priority, seed=3).split("-")

    subjects, actions = TYPE_WORDS.get(job_type, GENERIC_WORDS)
    assert first in PRIORITY_WORDS[priority]
    assert second in subjects
    assert third in actions
    assert int(suffix, 16) == job_id


def test_the_id_has_at_least_four_hex_digits() -> None:
    assert job_name(0x7F3A, "sleep", Priority.NORMAL, 1).endswith("-7f3a")
    assert job_name(1, "sleep", Priority.NORMAL, 1).endswith("-0001")
    assert job_name(0x12345, "sleep", Priority.NORMAL, 1).endswith("-12345")


def test_names_are_unique_and_varied() -> None:
    names = [job_name(job_id, "sleep", Priority.NORMAL, 1) for job_id in range(20_000)]

    assert len(set(names)) == len(names)
    assert len({name.rsplit("-", 1)[0] for name in names}) > 300


def test_the_seed_changes_the_words() -> None:
    assert job_name(5, "sleep", Priority.LOW, 1) != job_name(5, "sleep", Priority.LOW, 2)


@pytest.mark.parametrize("name", ["a", "7", "Train.v2_final-3", "x" * NAME_MAXIMUM_LENGTH])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-rf",
        ".hidden",
        "_x",
        "two words",
        "a/b",
        "a\n",
        "a\x1b[31m",
        "na\u00efve",
        "x" * (NAME_MAXIMUM_LENGTH + 1),
        "<b>",
    ],
)
def test_any_other_name_is_refused_with_the_field(name: str) -> None:
    with pytest.raises(ParamsInvalid, match="accepts 1 to 100 characters") as caught:
        check_name(name)

    assert caught.value.field == "name"


@given(name=st.text(max_size=120))
def test_what_is_accepted_is_safe_text(name: str) -> None:
    safe = bool(re.match(r"[A-Za-z0-9]", name)) and all(
        char.isascii() and (char.isalnum() or char in "._-") for char in name
    )

    try:
        accepted = check_name(name) == name
    except ParamsInvalid:
        accepted = False

    assert accepted == (safe and len(name) <= NAME_MAXIMUM_LENGTH)
