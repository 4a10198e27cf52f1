"""A paused queue takes jobs in and starts none; resumed, it goes on where it was."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Connection, Engine, func

from jobs import queues, unheard
from jobs.database import transaction
from jobs.state import JobState
from jobs.window import Window
from tests.integration.jobs import scenes

T = TypeVar("T")


def change(engine: Engine, action: Callable[..., None], queue: str) -> None:
    with transaction(engine) as connection:
        action(connection, queue)


def asked(engine: Engine, question: Callable[[Connection], T]) -> T:
    with transaction(engine) as connection:
        return question(connection)


def test_nothing_of_a_paused_queue_starts_and_all_of_it_when_it_is_resumed(engine: Engine) -> None:
    held, other = scenes.queued(engine, queue="mail"), scenes.queued(engine, queue="default")
    change(engine, queues.pause, "mail")

    assert [attempt.job_id for attempt in scenes.start(engine, held, other)] == [other]
    late = scenes.queued(engine, queue="mail")
    assert scenes.start(engine, late) == []
    assert scenes.row(engine, held)["state"] == JobState.QUEUED

    change(engine, queues.resume, "mail")
    assert {attempt.job_id for attempt in scenes.start(engine, held, late)} == {held, late}


def test_what_runs_when_its_queue_is_paused_goes_on(engine: Engine) -> None:
    attempt = scenes.running(engine, queue="mail")
    change(engine, queues.pause, "mail")

    assert scenes.held(engine, attempt)


def test_pausing_twice_keeps_the_first_instant_and_whose_key_it_was(engine: Engine) -> None:
    with transaction(engine) as connection:
        queues.pause(connection, "mail", by="key-1")
    first = asked(engine, queues.paused)["mail"]
    with transaction(engine) as connection:
        queues.pause(connection, "mail", by="key-2")

    assert asked(engine, queues.paused) == {"mail": first}
    assert first["paused_by"] == "key-1"


def test_the_doorbells_of_a_paused_queue_do_not_count_as_unheard(engine: Engine) -> None:
    long_ago = func.now() - timedelta(minutes=5)
    scenes.change(engine, scenes.queued(engine, queue="mail"), run_at=long_ago, rung_at=long_ago)

    def unheard_of(connection: Connection) -> bool:
        return unheard.is_any_unheard(connection, ["mail"], timedelta(minutes=1))

    assert asked(engine, unheard_of)
    change(engine, queues.pause, "mail")
    assert not asked(engine, unheard_of)


def test_new_jobs_of_a_paused_queue_are_not_rung_for(engine: Engine) -> None:
    change(engine, queues.pause, "mail")
    wanted = {("mail", 5): 1, ("default", 5): 1}

    assert Window(engine, 100).quiet(wanted) == {("mail", 5)}
