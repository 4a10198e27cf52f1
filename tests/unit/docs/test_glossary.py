"""The glossary has every word that the API may answer with."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from deploy.stack.home import ROOT
from jobs.planning.words import Decision, Why
from jobs.state import Event, JobState, Outcome, Reason

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
SECTIONS = {section.partition("\n")[0]: section for section in GLOSSARY.split("\n## ")}


def defined(section: str) -> list[str]:
    """Return the words that a section defines."""
    terms = re.findall(r"^- \*\*(.+?):? ?(?:\(.*\))?: ", SECTIONS[section], re.MULTILINE)
    return [word for term in terms for word in term.replace("*", "").split(", ")]


def words_of(*files: str, pattern: str) -> set[str]:
    source = "\n".join(Path(ROOT / file).read_text() for file in files)
    return set(re.findall(pattern, source))


TOLD = words_of(
    "jobs/control.py", "jobs/attempts.py", "jobs/fencing.py", pattern=r'(?:request, |moved, |else )"([a-z_]+)"'
)
STEPS = words_of(
    "schedules/upkeep.py",
    "schedules/ringing.py",
    pattern=r'(?:_step|_take|_doing|_deliver|tell)\((?:self\._\w+, )?"([a-z_]+)"',
)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("States of a job", JobState),
        ("Outcomes of an attempt", Outcome),
        ("Events of a job", {*Event, *TOLD, "accept", "replayed"}),
        ("Reasons for a failure", Reason),
        ("Steps of upkeep", STEPS),
        ("Decisions about an instant", Decision),
        ("Reasons for a decision", Why),
    ],
)
def test_a_section_defines_the_words_of_the_code_and_no_others(section: str, words: Iterable[str]) -> None:
    assert sorted(defined(section)) == sorted(map(str, words))


def test_the_words_that_no_enumeration_holds_are_found_in_the_code() -> None:
    assert {"cancel_requested", "discarded", "fenced"} <= TOLD
    assert {"release", "rescue", "prune_keys"} <= STEPS


def test_no_word_is_defined_twice_in_a_section() -> None:
    for section in SECTIONS:
        words = defined(section)
        assert len(words) == len(set(words)), section
