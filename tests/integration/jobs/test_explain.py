"""Why a job is not running: each cause is made, read, and cleared, and then the job runs."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, func, update

from jobs import control, queues, registry, upkeep
from jobs.database import DatabaseSettings, open_engine, transaction
from jobs.errors import NotFound
from jobs.explain import Cause, Explanation, Finding, explain
from jobs.model import JobId, new_job_id
from jobs.tables import jobs, workers
from tests.factories import TASK, failure, retry, success
from tests.integration.jobs import scenes
from tests.services.stack import eventually

MINUTE = timedelta(minutes=1)
ago = func.now() - MINUTE


def look(engine: Engine, job_id: JobId) -> Explanation:
    with transaction(engine) as connection:
        return explain(connection, job_id)


def causes(engine: Engine, job_id: JobId) -> list[Cause]:
    return [finding.cause for finding in look(engine, job_id).findings]


def only(engine: Engine, job_id: JobId, cause: Cause) -> Finding:
    (finding,) = look(engine, job_id).findings
    assert finding.cause is cause
    return finding


def employ(engine: Engine, name: str = "worker-1", **facts: Any) -> None:
    known = {"host": "h", "pid": 1, "queues": ["default"], "slots": 2, "release": "1", "tasks": [TASK]}
    with transaction(engine) as connection:
        registry.announce(connection, name=name, **known | facts)


def runs(engine: Engine, job_id: JobId) -> bool:
    return bool(scenes.start(engine, job_id)) and causes(engine, job_id) == [Cause.RUNNING]


def test_a_job_that_is_not_due_says_when_it_will_be(engine: Engine) -> None:
    employ(engine)
    job_id = scenes.scheduled(engine)
    row = scenes.row(engine, job_id)

    finding = only(engine, job_id, Cause.NOT_DUE)
    assert (finding.since, finding.until) == (row["created_at"], row["run_at"])

    scenes.make_due(engine, job_id)
    with transaction(engine) as connection:
        upkeep.release_due(connection)
    assert runs(engine, job_id)


def test_a_retry_says_what_failed_and_when_the_next_attempt_is_due(engine: Engine) -> None:
    employ(engine)
    job_id = scenes.ended(engine, retry(seconds=60))

    finding = only(engine, job_id, Cause.RETRY_WAIT)
    assert finding.until == scenes.row(engine, job_id)["run_at"]
    assert finding.since == scenes.events_of(engine, job_id)[-1]["at"]
    assert finding.facts == {"attempt": 1, "error_type": "ValueError"}

    scenes.make_due(engine, job_id)
    with transaction(engine) as connection:
        upkeep.release_due(connection)
    assert causes(engine, job_id) == [Cause.WAITING_TURN]
    assert runs(engine, job_id)
    assert scenes.row(engine, job_id)["attempt"] == 2


@pytest.mark.parametrize(("late", "cause"), [(-4, Cause.NOT_DUE), (1, Cause.NOT_DUE), (7, Cause.NO_BEAT)])
def test_a_beat_has_five_seconds_before_a_job_is_called_overdue(engine: Engine, late: int, cause: Cause) -> None:
    employ(engine)
    job_id = scenes.scheduled(engine)
    with transaction(engine) as connection:
        due = func.clock_timestamp() - timedelta(seconds=late)
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(run_at=due))

        (finding,) = explain(connection, job_id).findings

    assert finding.cause is cause


def test_a_job_that_is_overdue_says_that_there_is_no_beat(engine: Engine) -> None:
    employ(engine)
    job_id = scenes.scheduled(engine)
    scenes.change(engine, job_id, run_at=ago)

    assert only(engine, job_id, Cause.NO_BEAT).since == scenes.row(engine, job_id)["run_at"]

    with transaction(engine) as connection:
        upkeep.release_due(connection)
    assert runs(engine, job_id)


def test_a_job_that_is_overdue_although_a_beat_is_connected_does_not_ask_for_another(engine: Engine) -> None:
    employ(engine)
    job_id = scenes.scheduled(engine)
    scenes.change(engine, job_id, run_at=ago)
    settings = DatabaseSettings(database_url=SecretStr(engine.url.render_as_string(hide_password=False)))
    beat = open_engine(settings, application_name=registry.BEAT, pool_size=1)

    with beat.connect():
        assert "upkeep" in only(engine, job_id, Cause.UPKEEP_BEHIND).sentence
    beat.dispose()
    eventually(lambda: causes(engine, job_id) == [Cause.NO_BEAT], 10, "the beat is gone")

    with transaction(engine) as connection:
        upkeep.release_due(connection)
    assert runs(engine, job_id)


def test_a_paused_queue_is_named_with_since_when_and_whose_key_it_was(engine: Engine) -> None:
    employ(engine)
    job_id = scenes.queued(engine)
    with transaction(engine) as connection:
        queues.pause(connection, "default", by="key-1")

    finding = only(engine, job_id, Cause.QUEUE_PAUSED)
    assert finding.facts == {"queue": "default", "paused_by": "key-1"}
    assert finding.since > scenes.row(engine, job_id)["created_at"]
    assert scenes.start(engine, job_id) == []

    with transaction(engine) as connection:
        queues.resume(connection, "default")
    assert runs(engine, job_id)


def test_a_queue_without_a_live_worker_is_named(engine: Engine) -> None:
    job_id = scenes.queued(engine)
    employ(engine, queues=["other"])
    assert only(engine, job_id, Cause.NO_WORKER).since >= scenes.row(engine, job_id)["created_at"]

    employ(engine, "gone")
    with transaction(engine) as connection:
        registry.leave(connection, "gone")
    employ(engine, "silent")
    with transaction(engine) as connection:
        silent = func.now() - registry.ALIVE_WITHIN - timedelta(seconds=1)
        connection.execute(update(workers).where(workers.c.name == "silent").values(seen_at=silent))
    with engine.connect() as connection:
        gone, silent = (registry.find(connection, name) for name in ("gone", "silent"))
    assert gone is not None
    assert silent is not None
    assert silent["seen_at"] < gone["stopped_at"]
    assert only(engine, job_id, Cause.NO_WORKER).since == gone["stopped_at"]

    employ(engine)
    assert causes(engine, job_id) == [Cause.WAITING_TURN]
    assert runs(engine, job_id)


def test_a_task_that_no_worker_of_the_queue_has_is_named(engine: Engine) -> None:
    job_id = scenes.queued(engine)
    employ(engine, tasks=["another.task"])

    assert only(engine, job_id, Cause.TASK_UNKNOWN).facts == {"task": TASK, "workers": ["worker-1"]}

    employ(engine, "worker-2")
    assert causes(engine, job_id) == [Cause.WAITING_TURN]
    assert runs(engine, job_id)


def test_all_that_holds_a_job_is_named_the_first_to_be_cured_first(engine: Engine) -> None:
    job_id = scenes.queued(engine)
    with transaction(engine) as connection:
        queues.pause(connection, "default")

    assert causes(engine, job_id) == [Cause.QUEUE_PAUSED, Cause.NO_WORKER]


def test_a_job_in_line_says_its_position_and_when_it_may_start(engine: Engine) -> None:
    employ(engine, slots=2)
    with transaction(engine) as connection:
        registry.beat(connection, "worker-1", running=2, rates={"default": 2.0})
    before = [scenes.queued(engine) for _ in range(3)]
    urgent = scenes.queued(engine, priority=9)
    other = scenes.queued(engine, queue="other")
    mine = scenes.queued(engine)
    scenes.queued(engine)
    scenes.queued(engine, priority=1)

    found = look(engine, mine)
    (finding,) = found.findings
    assert finding.cause is Cause.WAITING_TURN
    assert (finding.facts["position"], finding.facts["position_is_exact"]) == (len(before) + 2, True)
    assert finding.facts["estimated_start_at"] == found.at + timedelta(seconds=2.5)
    assert other != urgent

    for job_id in (*before, urgent):
        scenes.start(engine, job_id)
    assert only(engine, mine, Cause.WAITING_TURN).facts["position"] == 1
    assert runs(engine, mine)


def test_a_job_starts_at_once_while_there_are_as_many_free_slots_as_its_position(engine: Engine) -> None:
    employ(engine, slots=3)
    with transaction(engine) as connection:
        registry.beat(connection, "worker-1", running=1, rates={"default": 1.0})
    line = [scenes.queued(engine) for _ in range(3)]

    found = [look(engine, job_id) for job_id in line]

    starts = [one.findings[0].facts["estimated_start_at"] - one.at for one in found]
    assert starts == [timedelta(0), timedelta(0), timedelta(seconds=3)]


def test_the_last_of_a_long_line_knows_its_position_from_those_behind_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.explain.MOST_COUNTED", 3)
    employ(engine, slots=1)
    with transaction(engine) as connection:
        registry.beat(connection, "worker-1", running=1, rates={"default": 1.0})
    line = [scenes.queued(engine) for _ in range(10)]
    for job_id in line[6:]:
        scenes.change(engine, job_id, rung_at=None)

    found = [look(engine, job_id).findings[0].facts for job_id in line]

    assert [facts["position_is_exact"] for facts in found] == [True] * 3 + [False] * 4 + [True] * 3
    assert [facts["position"] for facts in found if facts["position_is_exact"]] == [1, 2, 3, 8, 9, 10]
    for place, facts in enumerate(found, 1):
        assert facts["position"] <= place <= facts["position_at_most"]


def test_where_a_position_is_not_known_the_estimate_is_for_the_last_it_may_be(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.explain.MOST_COUNTED", 1)
    employ(engine, slots=1)
    with transaction(engine) as connection:
        registry.beat(connection, "worker-1", running=1, rates={"default": 2.0})
    line = [scenes.queued(engine) for _ in range(9)]

    found = look(engine, line[4])

    facts = found.findings[0].facts
    assert (facts["position"], facts["position_at_most"]) == (2, 8)
    assert facts["estimated_start_at"] == found.at + timedelta(seconds=4)
    assert facts["not_before_at"] == found.at + timedelta(seconds=1)


def test_what_was_not_rung_for_comes_after_what_was_unless_it_is_more_urgent(engine: Engine) -> None:
    employ(engine)
    rung, unrung, urgent = scenes.queued(engine), scenes.queued(engine), scenes.queued(engine, priority=9)
    scenes.change(engine, unrung, rung_at=None, run_at=ago)
    scenes.change(engine, urgent, rung_at=None)

    positions = [look(engine, job_id).findings[0].facts["position"] for job_id in (urgent, rung, unrung)]

    assert positions == [1, 2, 3]


def test_a_running_job_says_who_holds_its_lease_and_until_when(engine: Engine) -> None:
    employ(engine)
    attempt = scenes.running(engine)

    finding = only(engine, attempt.job_id, Cause.RUNNING)
    assert finding.since == attempt.started_at
    assert finding.facts["worker"] == "worker-1"
    assert finding.facts["lease_expires_at"] == attempt.lease_expires_at
    assert finding.facts["worker_seen_at"] is not None
    assert not finding.facts["cancel_requested"]

    scenes.ask_for_cancel(engine, attempt)
    assert only(engine, attempt.job_id, Cause.RUNNING).facts["cancel_requested"]


def test_a_worker_that_fell_silent_is_not_said_to_run_what_it_holds(engine: Engine) -> None:
    employ(engine)
    attempt = scenes.running(engine)
    assert "runs attempt 1" in only(engine, attempt.job_id, Cause.RUNNING).sentence

    with transaction(engine) as connection:
        silent = func.now() - registry.SILENT_AFTER - timedelta(seconds=1)
        connection.execute(update(workers).where(workers.c.name == "worker-1").values(seen_at=silent))
    assert "not seen since" in only(engine, attempt.job_id, Cause.RUNNING).sentence

    with transaction(engine) as connection:
        registry.beat(connection, "worker-1", running=1)
    assert "runs attempt 1" in only(engine, attempt.job_id, Cause.RUNNING).sentence


def test_a_lease_that_ran_out_is_told_until_the_job_is_rescued(engine: Engine) -> None:
    employ(engine)
    attempt = scenes.lost(engine)

    finding = only(engine, attempt.job_id, Cause.LEASE_EXPIRED)
    assert finding.since == scenes.row(engine, attempt.job_id)["lease_expires_at"]

    with transaction(engine) as connection:
        upkeep.rescue_lost(connection)
    assert causes(engine, attempt.job_id) == [Cause.WAITING_TURN]
    assert runs(engine, attempt.job_id)


def test_an_expired_job_says_so_before_and_after_a_beat_has_ended_it(engine: Engine) -> None:
    employ(engine)
    job_id = scenes.queued(engine)
    scenes.change(engine, job_id, expires_at=ago)
    early = only(engine, job_id, Cause.EXPIRED)

    with transaction(engine) as connection:
        upkeep.expire(connection)
    late = only(engine, job_id, Cause.EXPIRED)

    assert early.since == late.facts["expires_at"]
    with transaction(engine) as connection:
        control.retry(connection, job_id)
    assert runs(engine, job_id)


def test_a_dead_letter_says_why_and_runs_when_it_is_retried(engine: Engine) -> None:
    employ(engine)
    job_id = scenes.ended(engine, failure())

    finding = only(engine, job_id, Cause.DEAD_LETTER)
    assert finding.facts == {"reason": "exhausted", "error_type": "ValueError", "attempts": 1}

    with transaction(engine) as connection:
        control.retry(connection, job_id)
    assert runs(engine, job_id)


def test_a_dead_letter_that_is_replayed_is_dealt_with_and_the_copy_runs(engine: Engine) -> None:
    employ(engine)
    job_id = scenes.ended(engine, failure())
    assert only(engine, job_id, Cause.DEAD_LETTER).until is None

    with transaction(engine) as connection:
        again = control.copy(connection, job_id)
    (copy,) = scenes.accepted(engine, again)
    with transaction(engine) as connection:
        control.close(connection, job_id, replayed_as=copy.id)

    assert causes(engine, job_id) == [Cause.FAILED]
    assert causes(engine, copy.id) == [Cause.WAITING_TURN]
    assert runs(engine, copy.id)


def test_how_a_job_ended_is_an_answer_too(engine: Engine) -> None:
    done, dropped, closed = scenes.ended(engine, success()), scenes.queued(engine), scenes.ended(engine, failure())
    with transaction(engine) as connection:
        control.cancel(connection, dropped)
        control.close(connection, closed)

    assert [causes(engine, job_id) for job_id in (done, dropped, closed)] == [
        [Cause.SUCCEEDED],
        [Cause.CANCELLED],
        [Cause.FAILED],
    ]


def test_a_job_that_does_not_exist_has_no_explanation(engine: Engine) -> None:
    job_id = scenes.queued(engine)

    with pytest.raises(NotFound):
        look(engine, new_job_id())
    with pytest.raises(NotFound), transaction(engine) as connection:
        explain(connection, job_id, tenant="other")
