"""The pages of the documentation, and the fenced blocks in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from deploy.stack.home import ROOT

AT_THE_TOP: Final = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_FENCE: Final = re.compile(r"^(`{3,})(\w*)[^\n]*\n(.*?)^\1[ ]*$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: its language, and the text between the fences."""

    language: str
    text: str
    line: int
    """Of its first line, from 1."""
    before: str
    """What the page says before it."""


def pages() -> list[Path]:
    """Return every page that people read, the README first."""
    return [*(ROOT / name for name in AT_THE_TOP), *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    """Return how a test calls the page."""
    return str(page.relative_to(ROOT))


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in order."""
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        yield Block(found[2], found[3], line, text[: found.start()])


def prose(text: str) -> str:
    """Return the page without its fenced blocks."""
    return _FENCE.sub("", text)
