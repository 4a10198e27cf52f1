"""The plan of a run: the same for the same seed, and fit to be carried out."""

import os
import subprocess
import sys
from itertools import islice, pairwise

import pytest

from deploy.stack.home import ROOT
from tests.chaos.ledger import Call
from tests.chaos.mix import LARGEST_BATCH, Request, requests
from tests.chaos.options import Options, parse
from tests.chaos.run import schedule
from tests.chaos.schedule import Fault, Kind, cards

SEEDS = (1, 2, 3, 4, 5)


def drawn(seed: int, **choices: object) -> list[Fault]:
    return schedule(Options(seed=seed, **choices))  # type: ignore[arg-type]  # a test's own keywords


def asked(seed: int, count: int = 400) -> list[Request]:
    return list(islice(requests(seed, 60.0), count))


def plan(seed: int, *more: str) -> str:
    """What another process prints as the plan of this seed."""
    command = [sys.executable, "-m", "tests.chaos", "--plan", "--seed", str(seed), "--minutes", "0.5", *more]
    surroundings = {**os.environ, "PYTHONHASHSEED": str(seed + 1)}
    return subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=True).stdout


def test_the_same_seed_plans_the_same_run_in_another_process() -> None:
    first, second, other = plan(7), plan(7), plan(8)

    assert first == second
    assert first.splitlines()[2:] != other.splitlines()[2:]


def test_the_same_seed_strikes_and_asks_the_same_on_both_brokers() -> None:
    rabbitmq, valkey = plan(7, "--broker", "rabbitmq"), plan(7, "--broker", "valkey")

    assert rabbitmq.splitlines()[1:] == valkey.splitlines()[1:]


@pytest.mark.parametrize("seed", SEEDS)
def test_three_minutes_meet_every_kind_on_everything_that_it_strikes(seed: int) -> None:
    faults = drawn(seed)

    struck = {(fault.kind, fault.target.partition("-")[0], fault.far) for fault in faults}
    assert struck == {(card.kind, card.targets[0].partition("-")[0], card.far) for card in cards()}
    assert len({fault.kind for fault in faults}) >= 15


@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_faults_hold_the_same_thing_at_the_same_time(seed: int) -> None:
    by_place: dict[str, list[Fault]] = {}
    for fault in drawn(seed, minutes=20):
        by_place.setdefault(fault.where, []).append(fault)

    for faults in by_place.values():
        assert all(earlier.at + earlier.seconds < later.at for earlier, later in pairwise(faults))


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_come_in_order_within_the_load_and_about_as_often_as_asked(seed: int) -> None:
    faults = drawn(seed, minutes=10, faults_per_minute=12)

    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert all(0 < fault.at < 600 for fault in faults)
    assert 90 <= len(faults) <= 150


def test_a_worker_is_paused_for_longer_than_its_lease() -> None:
    pauses = [fault for fault in drawn(1, minutes=20, lease_seconds=8) if fault.kind is Kind.PAUSE_WORKER]

    assert pauses
    assert all(fault.seconds > 8 for fault in pauses)


def test_a_run_can_be_held_to_some_kinds() -> None:
    faults = drawn(1, only=(Kind.WIPE_BROKER, Kind.KILL_CHILD))

    assert {fault.kind for fault in faults} == {Kind.WIPE_BROKER, Kind.KILL_CHILD}


def test_a_request_depends_on_the_seed_and_its_number_alone() -> None:
    assert asked(3) == asked(3)
    assert asked(3) != asked(4)
    assert asked(3, 10) == asked(3, 400)[:10]


def test_the_load_holds_its_rate_and_has_something_of_everything() -> None:
    wanted = asked(1, 6000)
    wishes = [wish for request in wanted for wish in request.wishes]

    assert len(wishes) / wanted[-1].at == pytest.approx(60, rel=0.02)
    assert {len(request.wishes) for request in wanted} == set(range(1, LARGEST_BATCH + 1))
    assert all(len(request.wishes) == 1 for request in wanted if not request.batch)
    assert {wish.then.call for wish in wishes if wish.then} >= {Call.CANCEL, Call.RETRY, Call.REPLAY, Call.DISCARD}
    for name in ("queue", "priority", "delay", "run_in", "expires_in", "unique_key"):
        assert any(getattr(wish, name) is not None for wish in wishes), name


def test_the_command_of_a_run_has_that_very_run_again() -> None:
    options = parse(["--seed", "9", "--broker", "rabbitmq", "--minutes", "2", "--rate", "30", "--only", "delay,reset"])

    assert options.command == "make chaos SEED=9 MINUTES=2 BROKER=rabbitmq RATE=30 ONLY=delay,reset"


def test_a_seed_is_drawn_when_none_is_given() -> None:
    assert len({parse([]).seed for _ in range(5)}) > 1


def test_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--only", "earthquake"])

    assert "unknown: earthquake" in capsys.readouterr().err
