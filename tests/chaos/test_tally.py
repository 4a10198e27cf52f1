"""What a run says of itself."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.client import Flight
from tests.chaos.faults.scene import Strike
from tests.chaos.options import Options
from tests.chaos.parts import Death
from tests.chaos.recovery import LINE_SECONDS, PASSED_BY, Felt, bound, felt, percentile, summarise
from tests.chaos.report import Report, Violation
from tests.chaos.schedule import Fault, Kind
from tests.chaos.tables import Due
from tests.chaos.tally import Tally

AT = datetime(2030, 1, 1, tzinfo=UTC)
LEASE = 6.0


def strike(kind: Kind = Kind.KILL_API, target: str = "api-1", far: str | None = None, **facts: Any) -> Strike:
    fault = Fault(1, 2.0, kind, target, far, 1.0, 0.5)
    return Strike(fault, **{"at": AT, "ended_at": AT + timedelta(seconds=2), **facts})


def seen(jobs: int = 1000) -> Report:
    """What the checker says of a run in which nothing went wrong."""
    report = Report()
    report.counts.jobs = jobs
    return report


def tally(**facts: Any) -> Tally:
    known: dict[str, Any] = {
        "options": Options(seed=5, broker="rabbitmq", rate=5.0),
        "began_at": AT,
        "seconds": 200.0,
        "commit": "abc",
        "machine": {"cores": 4},
        "versions": {"python": "3.11"},
        "setup": {"processes": "some"},
        "checked": seen(),
        "felt": [Felt(strike(), [0.5, 1.5])],
        "submitted": 10,
        "answers": {"202": 10},
        "operations": {},
        "deaths": [],
        "oddities": [],
        "logged": {},
        "planned_faults": 1,
    }
    return Tally(**known | facts)


class Told:
    """Tables that know when jobs went on."""

    def __init__(self, progress: dict[uuid.UUID, datetime], passed_by: int = PASSED_BY + 1) -> None:
        self._progress = progress
        self._passed_by = passed_by

    def passed_by(self, _job_id: uuid.UUID, since: datetime, until: datetime) -> int:
        return self._passed_by if since < until else 0

    def progress(self, seen: list[Due], names: list[str]) -> dict[uuid.UUID, datetime]:
        asked = {due.id for due in seen}
        return {job_id: at for job_id, at in self._progress.items() if job_id in asked}


def due(state: str = "queued") -> Due:
    """A job that runs or could."""
    return Due(uuid.uuid4(), state, None, rung=True, told=1, overdue=False, queue="default")


def test_a_fault_is_felt_until_the_last_job_and_request_went_on() -> None:
    touched, waiting, stranger = due(), due(), due()
    flight = Flight(3, answered_at=AT + timedelta(seconds=4))
    known = Told({touched.id: AT + timedelta(seconds=1), waiting.id: AT + timedelta(seconds=2), stranger.id: AT})

    found = felt(strike(touched=[touched], waiting=[waiting], flights=[flight]), known, known, LEASE)  # type: ignore[arg-type]  # as much of the tables as is asked

    assert sorted(found.seconds) == [1.0, 2.0, 4.0]
    assert found.recovery == 4.0
    assert found.strike.exposed == 4


def test_a_fault_that_somebody_never_got_over_has_no_recovery() -> None:
    gone_on, stuck = due(), due()
    known = Told({gone_on.id: AT + timedelta(seconds=1)})

    found = felt(strike(touched=[gone_on, stuck]), known, known, LEASE)  # type: ignore[arg-type]  # the same

    assert (found.recovery, found.stuck) == (None, 1)


BOUND = bound(Kind.KILL_API, LEASE)
LASTED = 2.0


@pytest.mark.parametrize(
    ("state", "others", "after", "is_late"),
    [
        ("running", 0, LASTED + BOUND, False),
        ("running", 0, LASTED + BOUND + 1, True),
        ("running", 20, LASTED + BOUND + 1, True),
        ("queued", 20, LASTED + BOUND + LINE_SECONDS + 1, False),
        ("queued", 20, LASTED + BOUND + LINE_SECONDS + 3, True),
        ("running", 0, None, True),
    ],
    ids=["in time", "late", "late beside a line", "at the end of a line", "late in a line", "never"],
)
def test_a_job_that_goes_on_later_than_its_bound_is_named(
    state: str, others: int, after: float | None, is_late: bool
) -> None:
    job, line = due(state), [due("queued") for _ in range(others)]
    known = {one.id: AT for one in line} | ({job.id: AT + timedelta(seconds=after)} if after is not None else {})

    found = felt(strike(touched=[job], waiting=line), Told(known), Told(known), LEASE)  # type: ignore[arg-type]  # as above

    assert [f"job {job.id} went on" in late and "kill_api api-1 at 2 s" in late for late in found.late] == [
        True
    ] * is_late


@pytest.mark.parametrize(("queue", "is_late"), [("default", False), ("bulk", True)])
def test_a_job_of_a_paused_queue_has_the_longer(queue: str, *, is_late: bool) -> None:
    job = due("running")
    known = Told({job.id: AT + timedelta(seconds=LASTED + BOUND + 5)})

    def paused_seconds(asked: str, since: datetime, until: datetime) -> float:
        return min(3.0, (until - since).total_seconds()) if asked == queue else 0.0

    found = felt(strike(touched=[job]), known, known, LEASE, paused_seconds)  # type: ignore[arg-type]  # as above

    assert bool(found.late) is is_late


def test_a_job_that_only_waits_for_its_turn_is_not_late() -> None:
    urgent_first, running = due("queued"), due("running")
    known = Told({one.id: AT + timedelta(hours=1) for one in (urgent_first, running)}, passed_by=PASSED_BY)

    found = felt(strike(touched=[urgent_first, running]), known, known, LEASE)  # type: ignore[arg-type]  # as above

    assert [str(running.id) in late for late in found.late] == [True]


def test_a_request_that_was_answered_late_is_named() -> None:
    flight = Flight(3, "api-1", answered_at=AT + timedelta(seconds=LASTED + BOUND + 1))

    found = felt(strike(flights=[flight]), Told({}), Told({}), LEASE)  # type: ignore[arg-type]  # as above

    assert [late.partition(": ")[2].partition(" went")[0] for late in found.late] == ["a request for 3 jobs to api-1"]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_fault_has_a_bound_beyond_a_lease(kind: Kind) -> None:
    assert LEASE + 30 <= bound(kind, LEASE) <= LEASE + 60


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_was_seen(share: float, value: int) -> None:
    assert percentile(list(range(1, 101)), share) == value


def test_a_kind_is_summed_up_over_its_faults() -> None:
    felts = [Felt(strike(touched=[due()], waiting=[due()] * 3), [1.0, 3.0]), Felt(strike(), [2.0], 1)]

    summary = summarise("kill_api", felts)

    assert (summary.count, summary.touched, summary.waiting, summary.stuck) == (2, 1, 3, 1)
    assert (summary.longest, summary.p50, summary.max) == (2.0, 2.0, 3.0)


def test_the_file_has_what_programs_look_for(tmp_path: Path) -> None:
    report = seen(jobs=1000)
    report.counts.fenced = 7

    tally(checked=report).write(tmp_path)

    told = json.loads((tmp_path / "chaos.json").read_text())
    wanted = {"seed": 5, "broker": "rabbitmq", "jobs": 1000, "faults": 1, "lost": 0, "doubled": 0, "fenced": 7}
    assert wanted.items() <= told.items()
    assert told["recovery"]["kill_api"]["max"] == 1.5
    assert (tmp_path / "chaos-rabbitmq.json").read_text() == (tmp_path / "chaos.json").read_text()
    assert (tmp_path / "chaos-rabbitmq.md").read_text() == (tmp_path / "chaos.md").read_text()


def test_the_page_has_a_row_for_each_kind_and_each_link() -> None:
    made = [
        Felt(strike()),
        Felt(strike(Kind.RESET, "api-2", "postgres"), [0.25]),
        Felt(strike(Kind.RESET, "beat-1", "broker")),
    ]

    page = tally(felt=made).as_markdown()

    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("|")][2:]
    assert rows == ["kill_api", "reset api > postgres", "reset beat > broker"]
    assert "0.25 s" in page
    assert "make chaos SEED=5" in page


def broken() -> Report:
    """What the checker says of a run that lost a job."""
    report = seen()
    report.counts.lost = 1
    report.broken["acknowledged-kept"] = 1
    report.violations.append(Violation("acknowledged-kept", None, "it is not there"))
    return report


@pytest.mark.parametrize(
    "facts",
    [
        {"checked": None},
        {"checked": broken()},
        {"run_troubles": ["3 jobs had not ended"]},
        {"felt": [Felt(strike(Kind.ROLL_API, wrong="it had not ended"))]},
        {"felt": [Felt(strike()), Felt(strike(failed="it broke", broken=True))]},
        {"oddities": ["POST /jobs: 500"]},
        {"deaths": [Death("worker-1", 1, 12.0, "its last words")]},
        {"felt": [Felt(strike(), [90.0], late=["job 7 went on after 90 s"])]},
    ],
    ids=["unchecked", "lost", "troubles", "a deploy", "a fault that broke", "oddities", "deaths", "late"],
)
def test_a_run_is_not_good_when_anything_was_wrong(facts: dict[str, Any]) -> None:
    assert tally().is_good
    assert not tally(**facts).is_good
    assert "NOT GOOD" in tally(**facts).as_markdown()


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"checked": seen(jobs=0)}, "0 jobs of 900 that were planned; a run needs 225"),
        ({"checked": seen(jobs=224)}, "224 jobs of 900"),
        ({"felt": []}, "0 faults of 1 that were planned; a run needs 1"),
        ({"felt": [], "planned_faults": 0}, "0 faults of 0 that were planned; a run needs 1"),
        ({"felt": [Felt(strike())] * 2 + [Felt(strike(unmet=True))], "planned_faults": 4}, "2 faults of 4"),
    ],
    ids=["no job", "few jobs", "no fault", "no fault planned", "faults that struck nothing"],
)
def test_a_run_that_tried_too_little_is_not_good_and_says_so(facts: dict[str, Any], says: str) -> None:
    short = tally(**facts)

    assert not short.is_good
    assert [says in one for one in short.as_json()["shortfalls"]] == [True]
    assert f"Too little was tried: {says}" in short.as_markdown()


def test_a_run_may_miss_a_part_of_its_plan() -> None:
    made = [Felt(strike())] * 3 + [Felt(strike(unmet=True))]

    enough = tally(checked=seen(jobs=225), felt=made, planned_faults=4)

    assert (enough.shortfalls, enough.is_good) == ([], True)


def test_who_went_on_too_late_stands_on_the_page() -> None:
    late = tally(felt=[Felt(strike(), [90.0], late=["job 7 went on after 90 s"])])

    assert "Too late: job 7 went on after 90 s" in late.as_markdown()
    assert late.as_json()["late"] == ["job 7 went on after 90 s"]
    assert late.as_json()["recovery"]["kill_api"]["late"] == 1


def test_what_a_fault_brought_to_light_stands_on_the_page() -> None:
    deploy = tally(felt=[Felt(strike(Kind.ROLL_API, wrong="it had not ended 30 s after SIGTERM"))])

    assert deploy.as_json()["troubles"] == ["roll_api api-1 at 2 s: it had not ended 30 s after SIGTERM"]
    assert "- Trouble: roll_api api-1 at 2 s: it had not ended" in deploy.as_markdown()
    assert deploy.as_json()["faults"] == 1


def test_what_a_run_lost_and_who_died_stand_on_the_page() -> None:
    page = tally(checked=broken(), deaths=[Death("worker-1", -11, 12.0, "its last words")]).as_markdown()

    assert "it is not there" in page
    assert "worker-1 ended by itself with -11 at 12 s. It said:\n\nits last words\n" in page


def test_a_fault_that_met_nothing_does_not_count() -> None:
    met, unmet = Felt(strike()), Felt(strike(unmet=True))

    told = tally(felt=[met, unmet, Felt(strike(at=None))]).as_json()

    assert (told["faults"], told["missed"]) == (1, 2)
    assert len(told["fault_list"]) == 3
