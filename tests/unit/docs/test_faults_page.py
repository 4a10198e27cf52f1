"""Every fault on the page has a test that there is, and `make chaos` knows each kind that is named."""

import ast
import re
from functools import cache
from typing import Final

import pytest

from deploy.stack.home import ROOT
from tests.chaos.schedule import Kind

PAGE: Final = (ROOT / "docs" / "explanation" / "faults.md").read_text()
TESTS: Final = ROOT / "tests"
WORDS: Final = re.compile(r"`([^`]+)`")
ROWS: Final = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| fault ")
]


def proofs(row: tuple[str, ...]) -> list[str]:
    """Return the tests that a row names."""
    return [word for word in WORDS.findall(row[-1]) if "::" in word]


@cache
def functions_in(path: str) -> frozenset[str]:
    """Return the names of the functions in a file; none where there is no such file."""
    file = TESTS / path
    tree = ast.parse(file.read_text() if file.exists() else "")
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_fault_has_a_test_that_there_is(row: tuple[str, ...]) -> None:
    assert len(row) == 3
    assert proofs(row)
    missing = [proof for proof in proofs(row) if proof.partition("::")[2] not in functions_in(proof.partition("::")[0])]
    assert missing == []


def test_a_kind_that_is_named_is_one_of_make_chaos() -> None:
    named = {word for row in ROWS for word in WORDS.findall(row[-1]) if "::" not in word}

    assert named
    assert named <= set(Kind)
