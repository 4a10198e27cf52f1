"""An instant whose predecessor's job has not finished: it runs beside it, is skipped, waits, or ends the other."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from jobs.database import transaction
from jobs.model import JobId
from jobs.planning import editing
from jobs.planning.words import CatchUp, Overlap
from tests.factories import retry, success
from tests.integration.jobs import scenes
from tests.integration.jobs.timetable import (
    NAME,
    change,
    decided,
    due,
    fire,
    fire_waiting,
    get,
    history,
    jobs_of,
    let_pass,
    missed,
    pause,
    remove,
    resume,
    trigger,
)

FIRED, SKIPPED = ("fired", "on_time"), ("skipped", "overlap")
WAITING, WAITED = ("waiting", "overlap"), ("fired", "waited")


def fired(engine: Engine, overlap: Overlap) -> JobId:
    """Return the unfinished job of the last instant; the next one is due."""
    due(engine, overlap=overlap)
    fire(engine)
    let_pass(engine, 3600)
    return jobs_of(engine)[0]


def edit(engine: Engine, **changes: Any) -> None:
    """Change what is not the timing."""
    with transaction(engine) as connection:
        editing.put(connection, NAME, lambda found, _: replace(found.definition, **changes), editing.ANYBODY)  # type: ignore[union-attr]  # it is there


def finish(engine: Engine, job_id: JobId) -> None:
    (attempt,) = scenes.start(engine, job_id)
    scenes.end(engine, attempt, success())


def test_it_runs_beside_the_other_where_that_is_allowed(engine: Engine) -> None:
    fired(engine, Overlap.ALLOW)

    fire(engine)

    assert decided(engine) == [FIRED, FIRED]
    assert get(engine).open_jobs == ()


def test_it_is_skipped_until_the_other_has_finished(engine: Engine) -> None:
    job_id = fired(engine, Overlap.SKIP)
    fire(engine)
    assert decided(engine) == [FIRED, SKIPPED]

    finish(engine, job_id)
    let_pass(engine, 3600)
    fire(engine)

    assert decided(engine) == [FIRED, SKIPPED, FIRED]
    assert get(engine).open_jobs == (jobs_of(engine)[1],)


@pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.WAIT])
def test_the_job_in_the_way_is_named(engine: Engine, overlap: Overlap) -> None:
    job_id = fired(engine, overlap)

    fire(engine)

    assert [row["detail"] for row in history(engine)] == [None, f"Job {job_id} has not finished."]


def test_one_that_waited_names_no_job_any_more(engine: Engine) -> None:
    job_id = fired(engine, Overlap.WAIT)
    fire(engine)
    finish(engine, job_id)

    fire_waiting(engine)

    assert [row["detail"] for row in history(engine)] == [None, None]


def test_instants_that_were_due_together_are_in_each_others_way(engine: Engine) -> None:
    missed(engine, 2, overlap=Overlap.SKIP, catch_up=CatchUp.ALL)

    fire(engine)

    assert "was fired just now" in history(engine)[1]["detail"]


def test_a_job_that_is_tried_again_has_not_finished(engine: Engine) -> None:
    job_id = fired(engine, Overlap.SKIP)
    (attempt,) = scenes.start(engine, job_id)
    scenes.end(engine, attempt, retry())

    fire(engine)

    assert decided(engine) == [FIRED, SKIPPED]


def test_a_job_that_was_deleted_has_finished(engine: Engine) -> None:
    job_id = fired(engine, Overlap.SKIP)
    change(engine, "DELETE FROM jobs WHERE id = :id", id=job_id)

    fire(engine)

    assert decided(engine) == [FIRED, FIRED]


def test_it_waits_for_the_other_and_fires_when_that_has_finished(engine: Engine) -> None:
    job_id = fired(engine, Overlap.WAIT)
    fire(engine)
    assert decided(engine) == [FIRED, WAITING]
    assert fire_waiting(engine).told == []

    finish(engine, job_id)
    fire_waiting(engine)

    assert decided(engine) == [FIRED, WAITED]
    assert get(engine).open_jobs == (jobs_of(engine)[1],)
    assert scenes.state(engine, jobs_of(engine)[1]) == "queued"
    assert fire_waiting(engine).told == []


def test_one_waits_at_the_most(engine: Engine) -> None:
    job_id = fired(engine, Overlap.WAIT)
    fire(engine)
    let_pass(engine, 3600)
    fire(engine)
    assert decided(engine) == [FIRED, WAITING, SKIPPED]

    finish(engine, job_id)
    let_pass(engine, 3600)
    fire(engine)

    assert decided(engine) == [FIRED, WAITING, SKIPPED, SKIPPED], "the one that waits goes first"
    fire_waiting(engine)
    assert decided(engine) == [FIRED, WAITED, SKIPPED, SKIPPED]


def test_what_waits_is_not_fired_during_a_pause(engine: Engine) -> None:
    job_id = fired(engine, Overlap.WAIT)
    fire(engine)
    pause(engine)
    finish(engine, job_id)
    assert fire_waiting(engine).told == []

    resume(engine)
    fire_waiting(engine)

    assert decided(engine) == [FIRED, WAITED]


def test_what_somebody_asked_for_is_fired_during_a_pause_too(engine: Engine) -> None:
    job_id = fired(engine, Overlap.WAIT)
    pause(engine)
    assert trigger(engine)["decision"] == "waiting"
    assert fire_waiting(engine).told == []

    finish(engine, job_id)
    fire_waiting(engine)

    assert decided(engine) == [FIRED, WAITED]
    assert get(engine).paused_at is not None


def test_what_waits_is_gone_with_its_schedule(engine: Engine) -> None:
    job_id = fired(engine, Overlap.WAIT)
    fire(engine)
    remove(engine)
    finish(engine, job_id)

    assert fire_waiting(engine).told == []
    assert scenes.stored(engine) == 1


def test_what_waits_is_made_by_the_definition_of_the_hour_in_which_it_runs(engine: Engine) -> None:
    job_id = fired(engine, Overlap.WAIT)
    fire(engine)
    edit(engine, overlap=Overlap.ALLOW, priority=9)
    finish(engine, job_id)

    fire_waiting(engine)

    assert decided(engine) == [FIRED, WAITED]
    assert scenes.row(engine, jobs_of(engine)[1])["priority"] == 9


def test_the_other_is_cancelled_before_it_runs(engine: Engine) -> None:
    job_id = fired(engine, Overlap.CANCEL)

    fire(engine)

    assert decided(engine) == [FIRED, FIRED]
    assert scenes.state(engine, job_id) == "cancelled"
    assert get(engine).open_jobs[-1] == jobs_of(engine)[1]


def test_a_running_one_is_asked_to_end_and_the_new_one_does_not_wait(engine: Engine) -> None:
    job_id = fired(engine, Overlap.CANCEL)
    scenes.start(engine, job_id)

    fire(engine)

    assert decided(engine) == [FIRED, FIRED]
    assert scenes.row(engine, job_id)["cancel_requested_at"] is not None
    assert get(engine).open_jobs == tuple(jobs_of(engine))


def test_a_job_that_somebody_holds_is_cancelled_later_and_holds_up_nobody(engine: Engine) -> None:
    job_id = fired(engine, Overlap.CANCEL)
    due(engine, name="other")
    with engine.connect() as holder:
        holder.execute(text("SELECT FROM jobs WHERE id = :id FOR UPDATE"), {"id": job_id})
        fire(engine)
    assert decided(engine) == [FIRED]
    assert decided(engine, "other") == [FIRED]

    change(engine, "UPDATE schedules SET next_at = now()")
    fire(engine)

    assert decided(engine) == [FIRED, FIRED]
    assert scenes.state(engine, job_id) == "cancelled"


def test_of_several_that_replace_each_other_only_the_last_runs(engine: Engine) -> None:
    missed(engine, 3, overlap=Overlap.CANCEL, catch_up=CatchUp.ALL)

    fire(engine)

    assert decided(engine) == [("skipped", "superseded"), ("fired", "caught_up")]
    assert scenes.stored(engine) == 1


def test_a_unique_key_is_free_once_its_holder_was_cancelled(engine: Engine) -> None:
    due(engine, overlap=Overlap.CANCEL, unique_key="report")
    fire(engine)
    let_pass(engine, 3600)

    fire(engine)

    assert decided(engine) == [FIRED, FIRED]


def test_what_was_allowed_to_run_counts_once_it_is_not_allowed_any_more(engine: Engine) -> None:
    fired(engine, Overlap.ALLOW)
    edit(engine, overlap=Overlap.SKIP)

    fire(engine)

    assert decided(engine) == [FIRED, SKIPPED]


def test_a_trigger_heeds_the_overlap(engine: Engine) -> None:
    job_id = fired(engine, Overlap.SKIP)
    assert trigger(engine)["decision"] == "skipped"

    finish(engine, job_id)

    assert (trigger(engine)["decision"], trigger(engine)["decision"]) == ("fired", "skipped")
