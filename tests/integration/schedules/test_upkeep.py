"""A round of upkeep: what waits is rung, what is lost comes back, and an outage ends nothing."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Engine, make_url, text

from deploy.stack.ports import free_port
from deploy.stack.valkey import ValkeyServer
from jobs import attempts, queues, upkeep
from jobs.database import transaction
from jobs.model import Doorbell, JobId
from schedules.upkeep import Upkeep
from tasks.publisher import DoorbellPublisher
from tests.clock import Clock
from tests.factories import new_job
from tests.integration.schedules.rounds import QUEUES, WINDOW, Make, accept, change, held
from tests.services.brokers import each_broker
from tests.services.databases import connect_to
from tests.services.proxy import Proxy


def rung(engine: Engine) -> int:
    with transaction(engine) as connection:
        return int(connection.scalar(text("SELECT count(*) FROM jobs WHERE rung_at IS NOT NULL")) or 0)


@each_broker
def test_jobs_that_no_doorbell_speaks_of_are_rung(make: Make, engine: Engine, broker_url: str) -> None:
    ids = accept(engine, *(new_job() for _ in range(5)), *(new_job(queue="bulk") for _ in range(3)))
    with transaction(engine) as connection:
        upkeep.mark_unrung(connection, ids)

    make(broker_url).round()

    assert (held(broker_url), held(broker_url, "bulk"), rung(engine)) == (5, 3, 8)


@each_broker
def test_doorbells_that_got_lost_are_rung_again_but_no_more_than_are_missing(
    make: Make, engine: Engine, broker_url: str, clock: Clock
) -> None:
    accept(engine, *(new_job() for _ in range(10)))
    change(engine, "UPDATE jobs SET rung_at = now() - interval '1 min'")
    beat = make(broker_url)

    beat.round()
    assert held(broker_url) == 10

    change(engine, "UPDATE jobs SET rung_at = now() - interval '1 min'")
    clock.now += 10
    beat.round()
    assert held(broker_url) == 10


@each_broker
def test_a_paused_queue_is_not_rung_and_when_it_resumes_what_workers_dropped_is_rung_at_once(
    make: Make, engine: Engine, broker_url: str
) -> None:
    accept(engine, *(new_job() for _ in range(5)))
    dropped = accept(engine, *(new_job() for _ in range(3)))
    change(engine, "UPDATE jobs SET rung_at = NULL WHERE NOT id = ANY(:ids)", ids=dropped)
    beat = make(broker_url)
    with transaction(engine) as connection:
        queues.pause(connection, "default")

    beat.round()
    assert held(broker_url) == 0

    with transaction(engine) as connection:
        queues.resume(connection, "default")
    beat.round()
    assert held(broker_url) == 8


def test_a_job_whose_lease_ran_out_is_rung(make: Make, engine: Engine, broker_url: str) -> None:
    ids = accept(engine, new_job())
    with transaction(engine) as connection:
        attempts.start(connection, ids, worker="gone", lease=timedelta(seconds=-1))

    make(broker_url).round()

    assert held(broker_url) == 1


def test_after_an_outage_of_postgresql_workers_are_given_time_to_extend_what_ran_out_meanwhile(
    make: Make, engine: Engine, database_url: str, broker_url: str, clock: Clock
) -> None:
    ids = accept(engine, new_job())
    with transaction(engine) as connection:
        attempts.start(connection, ids, worker="cut off as well", lease=timedelta(seconds=-1))
    server = make_url(database_url)
    with Proxy(str(server.host), server.port or 5432) as proxy:
        through = connect_to(proxy.through(database_url), pool_size=2)
        beat = make(broker_url, through)
        proxy.refuse()
        beat.round()
        proxy.heal()

        clock.now += 2.5
        beat.round()
        assert held(broker_url) == 0
        clock.now += 2.5
        beat.round()
        assert held(broker_url) == 1
        through.dispose()


def test_the_pause_ends_when_the_next_job_is_due(make: Make, engine: Engine, broker_url: str) -> None:
    beat = make(broker_url)
    assert beat.round() == 0.5

    accept(engine, new_job(delay=timedelta(seconds=0.2)))

    assert 0 < beat.round() <= 0.2


def test_a_backlog_is_rung_without_a_pause(make: Make, engine: Engine, broker_url: str) -> None:
    ids = accept(engine, *(new_job() for _ in range(600)))
    with transaction(engine) as connection:
        upkeep.mark_unrung(connection, ids)
    beat = make(broker_url)

    assert beat.round() < 0.05
    beat.round()

    assert held(broker_url) == 600


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_what_a_broker_that_is_away_did_not_take_is_rung_when_it_is_back(
    scheme: str, make: Make, engine: Engine, valkey_server: ValkeyServer, broker_url: str
) -> None:
    accept(engine, new_job(delay=timedelta(0)))
    change(engine, "UPDATE jobs SET state = 'scheduled', rung_at = NULL")

    make(f"{scheme}://127.0.0.1:{free_port()}").round()
    assert rung(engine) == 0

    make(broker_url).round()
    assert held(broker_url) == 1


def unring(engine: Engine, *ids: JobId) -> None:
    with transaction(engine) as connection:
        upkeep.mark_unrung(connection, ids)


def bells_out(engine: Engine) -> dict[int, int]:
    with transaction(engine) as connection:
        return upkeep.rung_by_priority(connection, "default", WINDOW)


def rounds(beat: Upkeep, count: int) -> float:
    """Do so many rounds and return the last one's pause."""
    return [beat.round() for _ in range(count)][-1]


@each_broker
def test_a_backlog_stays_in_postgresql_but_for_a_window_of_each_priority(
    make: Make, engine: Engine, broker_url: str
) -> None:
    usual = accept(engine, *(new_job(priority=4) for _ in range(WINDOW + 700)))
    unring(engine, *usual)
    beat = make(broker_url)

    pause = rounds(beat, 5)
    assert (held(broker_url), bells_out(engine)) == (WINDOW, {4: WINDOW})
    assert pause <= 0.1, "there is a backlog"

    unring(engine, *accept(engine, *(new_job(priority=9) for _ in range(3))))
    rounds(beat, 1)
    assert bells_out(engine) == {9: 3, 4: WINDOW}

    with transaction(engine) as connection:
        begun = attempts.start(connection, usual[:300], worker="w")
    assert len(begun) == 300
    rounds(beat, 1)
    assert bells_out(engine) == {9: 3, 4: WINDOW}


def test_the_backlog_goes_out_in_the_order_of_its_urgency(make: Make, engine: Engine, broker_url: str) -> None:
    ids = accept(engine, *(new_job(priority=n % 3) for n in range(3 * upkeep.BATCH)))
    unring(engine, *ids)
    seen = []

    class Listening(DoorbellPublisher):
        def ring(self, doorbells: Sequence[Doorbell]) -> None:
            seen.extend(bell.priority for bell in doorbells)

    beat = make(broker_url)
    beat._ringing.publisher = Listening(broker_url, QUEUES)
    rounds(beat, 2)

    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(ids)


@each_broker
def test_a_wiped_broker_is_filled_again_in_one_round(make: Make, engine: Engine, broker_url: str, clock: Clock) -> None:
    accept(engine, *(new_job() for _ in range(2 * upkeep.BATCH + 100)))
    change(engine, "UPDATE jobs SET rung_at = now() - interval '1 min'")

    make(broker_url).round()

    assert held(broker_url) == 2 * upkeep.BATCH + 100


def test_jobs_that_come_due_together_keep_to_the_window(make: Make, engine: Engine, broker_url: str) -> None:
    accept(engine, *(new_job(delay=timedelta(0)) for _ in range(WINDOW + 200)))
    change(engine, "UPDATE jobs SET state = 'scheduled', rung_at = NULL")

    rounds(make(broker_url), 8)

    assert held(broker_url) == rung(engine) == WINDOW


def test_a_step_that_fails_is_counted_by_its_name_and_so_is_a_broker_that_is_away(
    make: Make, engine: Engine, clock: Clock
) -> None:
    tidy = make(f"redis://127.0.0.1:{free_port()}/0")
    change(engine, "ALTER TABLE jobs RENAME COLUMN crash_count TO crashes")

    for _ in range(2):
        tidy.round()
        clock.now += 10

    counted = {
        metric.labels["step"]: metric.value
        for family in tidy._instruments.registry.collect()
        for metric in family.samples
        if metric.name == "penstock_upkeep_failures_total"
    }
    assert counted == {"rescue": 2, "ring": 2}
