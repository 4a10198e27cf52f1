"""Every link inside the documentation leads somewhere."""

import re
from pathlib import Path

import pytest

from deploy.stack.home import ROOT
from tests.unit.docs.pages import name, pages, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a forge gives the headings of a page."""
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in HEADING.findall(prose(page.read_text()))
    }


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_relative_link_leads_to_a_page_and_a_heading_of_it(page: Path) -> None:
    astray = []
    for link in LINK.findall(prose(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            astray.append(link)

    assert astray == []


def test_every_page_is_reached_from_the_index_or_from_the_list_of_decisions() -> None:
    index, decisions = ROOT / "docs" / "index.md", ROOT / "docs" / "decisions" / "README.md"
    linked = {(page.parent / link).resolve() for page in (index, decisions) for link in LINK.findall(page.read_text())}

    assert [name(page) for page in pages() if page not in linked | {index}] == []
