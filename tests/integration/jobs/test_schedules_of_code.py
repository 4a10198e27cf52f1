"""What code declares is put, rests while the code does not declare it, and is edited there alone."""

from typing import Any

import pytest
from sqlalchemy import Engine

from jobs.database import transaction
from jobs.errors import NotFound, ReadOnly
from jobs.planning import editing
from jobs.planning.editing import Declared
from jobs.planning.words import Source, Why
from tests.integration.jobs.timetable import (
    LATER,
    NAME,
    definition,
    fire,
    get,
    history,
    let_pass,
    pause,
    put,
    remove,
    resume,
    undecide,
)


def declare(engine: Engine, *names: str, **changes: Any) -> Declared:
    wanted = {name: (lambda *_: definition(**changes), f"beat_schedule[{name!r}]") for name in names}
    with transaction(engine) as connection:
        return editing.declare(connection, wanted)


def test_what_code_declares_is_there_and_rests_while_it_does_not(engine: Engine) -> None:
    assert declare(engine, "a", "b") == Declared(("a", "b"), (), ())
    assert declare(engine, "a", "b") == Declared((), (), ())
    assert declare(engine, "b", priority=9) == Declared(("b",), ("a",), ())
    assert declare(engine, "b", priority=9) == Declared((), (), ())

    assert (get(engine, "b").source, get(engine, "b").origin) == (Source.CODE, "beat_schedule['b']")
    assert (get(engine, "a").pause_reason, get(engine, "b").pause_reason) == (Why.UNDECLARED, None)


def test_what_code_declares_again_goes_on_with_its_history(engine: Engine) -> None:
    declare(engine, NAME, every_seconds=3600.0, anchor_at=LATER)
    undecide(engine, 3600)
    fire(engine)
    fired = get(engine)
    declare(engine)
    let_pass(engine, 7200)
    assert fire(engine).told == []

    assert declare(engine, NAME, every_seconds=3600.0) == Declared((NAME,), (), ())

    again = get(engine)
    assert (again.id, again.paused_at) == (fired.id, None)
    assert [(row["decision"], row["reason"], row["count"]) for row in history(engine)] == [
        ("fired", "caught_up", 1),
        ("skipped", "undeclared", 2),
    ]


def test_what_code_declares_no_more_can_be_deleted_by_hand_and_comes_back_with_the_code(engine: Engine) -> None:
    declare(engine, NAME)
    with pytest.raises(ReadOnly):
        remove(engine)
    declare(engine)
    with pytest.raises(ReadOnly):
        resume(engine)

    remove(engine)

    with pytest.raises(NotFound):
        get(engine)
    assert declare(engine, NAME) == Declared((NAME,), (), ())
    assert get(engine).pause_reason is None


def test_what_the_api_keeps_is_not_taken_over_by_code(engine: Engine) -> None:
    put(engine, "a")

    assert declare(engine, "a", "b", priority=9) == Declared(("b",), (), ("a",))
    assert declare(engine) == Declared((), ("b",), ())
    assert (get(engine, "a").source, get(engine, "a").definition.priority) == (Source.API, 5)


def test_what_code_declares_is_edited_there_alone(engine: Engine) -> None:
    declare(engine, NAME)

    for act in (put, pause, resume, remove):
        with pytest.raises(ReadOnly, match=r"beat_schedule\['nightly'\]"):
            act(engine)  # type: ignore[operator]  # each takes an engine alone
