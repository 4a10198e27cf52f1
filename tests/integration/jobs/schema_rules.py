"""The rules of docs/how-to/migrate.md, as far as a statement shows whether it keeps them."""

import re
from collections.abc import Sequence
from typing import Final

ONLINE_SINCE: Final = "0007"
"""The revision from which on the rules hold; those before it met no installation that they could disturb."""

_WORD: Final = r'"?(\w+)"?'
_TAKES_AWAY: Final = re.compile(
    r"\bDROP (TABLE|COLUMN|VIEW|FUNCTION|TRIGGER)\b|\bRENAME (COLUMN|TO)\b|\bALTER COLUMN \w+ (TYPE|SET NOT NULL)\b",
    re.IGNORECASE,
)
_VOLATILE: Final = re.compile(r"DEFAULT (gen_random_uuid|uuidv7|random|clock_timestamp|nextval)\b", re.IGNORECASE)
_ROWS: Final = re.compile(
    r"^\s*(?:UPDATE|DELETE FROM)\s+(?:ONLY )?" + _WORD + r"|^\s*INSERT INTO .*\bFROM\s+" + _WORD,
    re.IGNORECASE | re.DOTALL,
)


def broken(statements: Sequence[str], there: set[str]) -> list[str]:
    """Return what is wrong with these statements of an upgrade, for a database that has the tables `there`."""
    made = {match[1] for statement in statements if (match := re.search(rf"CREATE TABLE {_WORD}", statement))}
    return [said for statement in statements for said in _broken(statement, there, made)]


def _broken(statement: str, there: set[str], made: set[str]) -> list[str]:
    said = " ".join(statement.split())
    found = []
    if _TAKES_AWAY.search(said) and not _is_replaced(said, made):
        found.append("takes away what the release before needs")
    target = re.search(rf"\bON (?:ONLY )?{_WORD}", said) if said.startswith("CREATE") else None
    if re.match(r"CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)", said) and target and target[1] in there:
        found.append("locks writers out while it is built: CONCURRENTLY, in an autocommit block")
    altered = re.match(rf"ALTER TABLE (?:ONLY )?{_WORD}", said)
    if altered and altered[1] in there:
        found += _of_a_change(said)
    rows = _ROWS.match(said)
    if rows and (rows[1] or rows[2]) in there:
        found.append("goes through a table row by row: in batches, by upkeep, not by a migration")
    return [f"{one}: {said[:120]}" for one in found]


def _of_a_change(said: str) -> list[str]:
    found = []
    if re.search(r"ADD CONSTRAINT .*(CHECK|FOREIGN KEY)", said) and "NOT VALID" not in said:
        found.append("reads the whole table under a lock: NOT VALID, then VALIDATE")
    if re.search(r"ADD COLUMN .*NOT NULL", said) and "DEFAULT" not in said:
        found.append("the release before leaves the column out: DEFAULT")
    if "ADD COLUMN" in said and _VOLATILE.search(said):
        found.append("rewrites the table: no volatile DEFAULT")
    return found


def _is_replaced(said: str, made: set[str]) -> bool:
    """Tell whether a table is renamed whose name the same revision gives to another one, with the same columns."""
    renamed = re.match(rf"ALTER TABLE {_WORD} RENAME TO", said)
    return renamed is not None and renamed[1] in made
