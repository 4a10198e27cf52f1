"""Every fenced block of a page is what it says it is: shell that a shell reads, JSON, YAML, TOML."""

import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.unit.docs.pages import Block, blocks, name, pages

SHELLS: Final = {"bash": "bash", "sh": "sh"}
READ: Final[dict[str, Callable[[str], Any]]] = {
    "json": json.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "toml": tomllib.loads,
}
SECONDS: Final = 30.0


def complaint(block: Block) -> str:
    """Return what the block's own reader says against it; nothing of a language without one."""
    if block.language in SHELLS:
        shell = [SHELLS[block.language], "-n"]
        return subprocess.run(
            shell, input=block.text, capture_output=True, text=True, check=False, timeout=SECONDS
        ).stderr
    try:
        READ.get(block.language, str)(block.text)
    except ValueError as error:
        return str(error)
    except yaml.YAMLError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_block_is_what_it_says_it_is(page: Path) -> None:
    found = {f"line {block.line}": complaint(block) for block in blocks(page.read_text())}

    assert {line: said for line, said in found.items() if said} == {}


@pytest.mark.parametrize(
    ("language", "text"),
    [("sh", "for one in 1 2"), ("bash", "echo $(ls"), ("json", "{'a': 1}"), ("yaml", "a: [1"), ("toml", "a = ")],
)
def test_a_block_that_is_not_is_found(language: str, text: str) -> None:
    assert complaint(Block(language, text, 1, ""))
