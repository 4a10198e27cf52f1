"""Every statement of SQL that a page shows runs on a database of this release."""

from typing import Final

import pytest
from sqlalchemy import Engine, text

from tests.unit.docs.pages import blocks, name, pages

SHOWN: Final = [
    pytest.param(statement.strip(), id=f"{name(page)}:{block.line}-{number}")
    for page in pages()
    for block in blocks(page.read_text())
    if block.language == "sql"
    for number, statement in enumerate(block.text.split(";"), 1)
    if statement.strip()
]


@pytest.mark.parametrize("statement", SHOWN)
def test_a_statement_of_a_page_runs(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        if "penstock_app" in statement:
            connection.execute(text("CREATE ROLE penstock_app"))

        answer = connection.execute(text(statement))

        assert not answer.returns_rows or answer.keys()
        connection.rollback()


def test_statements_are_found() -> None:
    assert len(SHOWN) >= 5
