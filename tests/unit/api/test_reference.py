"""The reference pages say what the code says."""

import re

import pytest

from api.problems import PROBLEMS
from tests.unit.api.pages import DOCS, rows

ROUTING = {"not-found": 404, "method-not-allowed": 405}
"""What the router answers by itself."""


def test_every_problem_is_on_the_page_with_its_status_meaning_and_cure() -> None:
    page = {row[0]: row for row in rows("problems.md")}
    problems = {problem.slug: problem.status for problem in PROBLEMS.values()} | ROUTING

    assert {slug: int(row[1]) for slug, row in page.items()} == problems
    for row in page.values():
        assert len(row) == 4
        assert all(len(cell) > 10 for cell in row[2:]), row


def test_a_problem_that_passes_says_when_to_come_back() -> None:
    for problem in PROBLEMS.values():
        assert (problem.status in {429, 503}) == (problem.retry_after_seconds is not None)


@pytest.mark.parametrize("page", ["problems.md", "metrics.md", "http.md"])
def test_a_page_links_only_to_what_is_there(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text()):
        assert (DOCS / target).exists(), target
