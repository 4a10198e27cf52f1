"""How PostgreSQL runs a statement of ours: as it is sent, with its values, or prepared for whatever values come.

Nothing that is explained here leaves a trace: each explanation ends in a rollback.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from psycopg import ClientCursor
from psycopg import Connection as DriverConnection
from sqlalchemy import Connection, Executable, event

Node = dict[str, Any]
SMALL = {"paused_queues"}
_PARTITION = re.compile(r"(?<=events|tempts|b_logs)_(first|default|\d{4}_\d\d)(?=_pkey$)")


class Plan(NamedTuple):
    """A plan, flattened: each node with its facts, parents before children."""

    nodes: list[Node]
    milliseconds: float

    @property
    def indexes(self) -> set[str]:
        """The indexes that are read; one of a partition by the name that its table's has."""
        return {_PARTITION.sub("", node["Index Name"]) for node in self.nodes if "Index Name" in node}

    @property
    def read_whole(self) -> set[str]:
        """The tables that are read from end to end, those left out that have a row for each queue at the most.

        A partition that is in the plan, and left aside when it is run, is not read.
        """
        scans = (node for node in self.nodes if node["Node Type"] == "Seq Scan" and node["Actual Loops"])
        return {node["Relation Name"] for node in scans} - SMALL

    @property
    def conditions(self) -> str:
        """What narrows the indexes, rather than being looked at row by row."""
        return " ".join(node["Index Cond"] for node in self.nodes if "Index Cond" in node)

    @property
    def pages(self) -> int:
        """How many pages were touched."""
        return int(self.nodes[0].get("Shared Hit Blocks", 0) + self.nodes[0].get("Shared Read Blocks", 0))


class Sent(NamedTuple):
    """A statement as the driver gets it."""

    text: str
    values: dict[str, Any]


def explain(connection: Connection, statement: Executable, values: Mapping[str, Any] | None = None) -> Plan:
    """Run the statement with its values and return the plan, with what it took."""
    sent = _sent(connection, statement, values)
    with connection.begin_nested() as nested:
        plan = _plan(connection, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sent.text}", sent.values)
        nested.rollback()
    return plan


def explain_prepared(connection: Connection, statement: Executable, values: Mapping[str, Any] | None = None) -> Plan:
    """Prepare the statement, make PostgreSQL plan it without a look at the values, and return what it took."""
    sent = _sent(connection, statement, values)
    driver = _driver(connection)
    with connection.begin_nested() as nested:
        driver.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        driver.execute("SAVEPOINT prepared")
        driver.execute(sent.text, sent.values, prepare=True)
        # Past the driver: it forgets its prepared statements when it sees a rollback.
        driver.pgconn.exec_(b"ROLLBACK TO SAVEPOINT prepared")
        newest = driver.execute("SELECT name FROM pg_prepared_statements ORDER BY prepare_time DESC LIMIT 1").fetchone()
        assert newest is not None
        order = dict.fromkeys(re.findall(r"%\((\w+)\)s", sent.text))
        marks = f"({', '.join(f'%({name})s' for name in order)})" if order else ""
        arguments = ClientCursor(driver).mogrify(marks, sent.values)
        plan = _plan(connection, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {newest[0]}{arguments}")
        nested.rollback()
    return plan


def sent_by(connection: Connection, action: Callable[[], object]) -> Executable:
    """Run `action` and return the last statement that it sent."""
    caught: list[Executable] = []

    def catch(_connection: Any, statement: Executable, *_: Any) -> None:
        caught.append(statement)

    event.listen(connection, "before_execute", catch)
    action()
    event.remove(connection, "before_execute", catch)
    return caught[-1]


def _driver(connection: Connection) -> DriverConnection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, DriverConnection)
    return driver


def _sent(connection: Connection, statement: Executable, values: Mapping[str, Any] | None) -> Sent:
    caught: list[Sent] = []

    def catch(_connection: Any, _cursor: Any, text: str, parameters: Any, *_: Any) -> None:
        caught.append(Sent(text, dict(parameters)))

    with connection.begin_nested() as nested:
        event.listen(connection, "before_cursor_execute", catch)
        connection.execute(statement, dict(values or {}))
        event.remove(connection, "before_cursor_execute", catch)
        nested.rollback()
    return caught[0]


def _plan(connection: Connection, statement: str, values: Mapping[str, Any] | None = None) -> Plan:
    answer = _driver(connection).execute(statement, values).fetchone()
    assert answer is not None
    ((whole,),) = answer
    return Plan(list(_flat(whole["Plan"])), whole["Execution Time"])


def _flat(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _flat(child)
