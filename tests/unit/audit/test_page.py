"""The page of the last audit says what was asked, of which commit, and where."""

import re

from tests.audit.finding import Part, Verdict
from tests.audit.page import HEAD, PAGE, as_json, page, table

PARTS = ["advisories", "code", "secrets", "bill of materials", "workflows"]


def test_what_was_found_stands_below_the_table() -> None:
    told = table([Part("code", "ruff 1", "all", Verdict.FOUND, ["a.py:1: S602"]), Part("b", "c", "d", Verdict.GOOD)])

    assert "| code | ruff 1 | all | FOUND |\n| b | c | d | nothing found |\n" in told
    assert told.endswith("\n- code: `a.py:1: S602`\n")


def test_the_page_can_be_made_again_from_the_result() -> None:
    result = as_json([Part("advisories", "x 1", "y", Verdict.NOT_ASKED, ["no network"])])

    made = page(result)

    assert "| advisories | x 1 | y | could not be asked |" in made
    assert f"commit {result['commit']}, by `python -m tests.audit`" in made
    assert re.search(r"Machine: cpu .+, cores \d+", made)


def test_the_page_that_is_kept_has_every_part_and_where_it_comes_from() -> None:
    kept = PAGE.read_text()

    assert kept.startswith(HEAD)
    assert re.findall(r"^\| ([a-z ]+) \|(?:[^|\n]+\|){3}$", kept, re.MULTILINE)[1:] == PARTS
    assert re.search(
        r"^20\d\d-\d\d-\d\d \d\d:\d\d UTC, commit [0-9a-f]{12}, by `python -m tests\.audit`\.$", kept, re.MULTILINE
    )
    assert "| FOUND |" not in kept
