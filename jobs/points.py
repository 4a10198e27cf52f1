"""Every fail-point: in which process it lies, what has happened there, and which step comes next.

`docs/reference/fail-points.md` is made of this table, and a test walks the code to see that it is complete.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Action(StrEnum):
    """What a process may do at a fail-point."""

    KILL = "kill"
    OUTAGE = "outage"
    BUG = "bug"
    DELAY = "delay"
    CUT = "cut"


MEANINGS: Final[Mapping[Action, str]] = {
    Action.KILL: "the process ends at once, by SIGKILL",
    Action.OUTAGE: "the step does not happen: what it needs is away",
    Action.BUG: "the step does not happen: an error that no code expects is raised",
    Action.DELAY: "the step happens later, by so many seconds",
    Action.CUT: "the step happens, and its answer is lost: to the caller it looks like an outage",
}


class Breaks(StrEnum):
    """What is away when a step fails."""

    SESSION = "session"
    """The connection to PostgreSQL, as the driver tells it."""
    STORE = "store"
    """PostgreSQL, as our own code above the driver tells it."""
    PIPE = "pipe"
    """A socket, a pipe or a process, as the operating system tells it."""
    BROKER = "broker"
    """The broker, as our own code tells it."""


class Process(StrEnum):
    """Where a fail-point can be reached."""

    API = "api"
    WORKER = "worker"
    """The main process of a worker."""
    POOL = "pool"
    """A process of a worker's pool."""
    BEAT = "beat"


class Point(NamedTuple):
    """One gap between two steps."""

    process: Process
    where: str
    """The module."""
    done: str
    """What has happened."""
    step: str
    """What comes next."""
    breaks: Breaks
    never: Mapping[Action, str] = {}
    """Actions that make no sense here, and why."""


_NO_ANSWER: Final = {Action.CUT: "the step tells nobody whether it happened"}

_API: Final[Mapping[str, Point]] = {
    "intake.claim": Point(
        Process.API,
        "jobs/intake.py",
        "a group of submissions has its transaction",
        "their idempotency keys are taken",
        Breaks.SESSION,
    ),
    "intake.insert": Point(
        Process.API,
        "jobs/intake.py",
        "the keys are taken, nothing is committed",
        "the jobs and their first events are inserted",
        Breaks.SESSION,
    ),
    "intake.commit": Point(
        Process.API,
        "api/group_commit.py",
        "everything is inserted",
        "COMMIT",
        Breaks.SESSION,
    ),
    "intake.answer": Point(
        Process.API,
        "api/group_commit.py",
        "the jobs are committed",
        "the waiting requests are answered",
        Breaks.STORE,
    ),
    "dispatch.hand_over": Point(
        Process.API,
        "api/group_commit.py",
        "the jobs are committed and the requests answered",
        "their doorbells are handed to dispatch",
        Breaks.STORE,
    ),
    "dispatch.ring": Point(
        Process.API,
        "tasks/dispatch.py",
        "dispatch holds the doorbells in memory",
        "they are rung, and the broker confirms",
        Breaks.BROKER,
    ),
    "dispatch.confirm": Point(
        Process.API,
        "tasks/publisher.py",
        "the doorbells are sent to RabbitMQ",
        "it confirms that it has them",
        Breaks.PIPE,
    ),
    "dispatch.count": Point(
        Process.API,
        "tasks/dispatch.py",
        "the broker has the doorbells",
        "they are counted as rung",
        Breaks.BROKER,
        _NO_ANSWER,
    ),
    "dispatch.give_back": Point(
        Process.API,
        "tasks/dispatch.py",
        "the broker did not take the doorbells",
        "their jobs are marked as not rung",
        Breaks.STORE,
    ),
    "control.commit": Point(
        Process.API,
        "api/routes/__init__.py",
        "a cancel or a retry is written",
        "COMMIT",
        Breaks.SESSION,
    ),
    "control.ring": Point(
        Process.API,
        "api/routes/jobs.py",
        "a retry is committed",
        "its doorbell is handed to dispatch",
        Breaks.STORE,
    ),
    "replay.close": Point(
        Process.API,
        "api/replays.py",
        "the copy of a dead letter is inserted, nothing is committed",
        "the dead letter is closed",
        Breaks.SESSION,
    ),
    "replay.commit": Point(
        Process.API,
        "api/replays.py",
        "the copy is inserted and the dead letter closed",
        "COMMIT",
        Breaks.SESSION,
    ),
}

_WORKER: Final[Mapping[str, Point]] = {
    "start.receive": Point(
        Process.WORKER,
        "worker/doorbells.py",
        "a doorbell has arrived",
        "the keeper has it",
        Breaks.PIPE,
    ),
    "start.write": Point(
        Process.WORKER,
        "worker/ledger.py",
        "the keeper has chosen which jobs to start",
        "the statement that starts them, a transaction of its own",
        Breaks.SESSION,
    ),
    "start.give_strays_back": Point(
        Process.WORKER,
        "worker/ledger.py",
        "jobs were found that were started by a statement whose answer was lost",
        "they are given back",
        Breaks.SESSION,
    ),
    "start.hold": Point(
        Process.WORKER,
        "worker/ledger.py",
        "the attempts are begun in PostgreSQL",
        "the keeper holds them: they are launched and their leases extended",
        Breaks.SESSION,
        {Action.CUT: "the step is a change of the keeper's own memory"},
    ),
    "start.acknowledge": Point(
        Process.WORKER,
        "worker/steps.py",
        "what a doorbell named is started",
        "the doorbell is acknowledged",
        Breaks.PIPE,
    ),
    "attempt.launch": Point(
        Process.WORKER,
        "worker/steps.py",
        "the keeper holds an attempt, and a slot is free",
        "the pool has it",
        Breaks.PIPE,
    ),
    "attempt.accept": Point(
        Process.WORKER,
        "worker/steps.py",
        "a process of the pool has taken an attempt",
        "the keeper notes which one",
        Breaks.PIPE,
    ),
    "attempt.run": Point(
        Process.POOL,
        "worker/execution.py",
        "a process of the pool has an attempt",
        "the task runs",
        Breaks.PIPE,
    ),
    "attempt.report": Point(
        Process.POOL,
        "worker/execution.py",
        "the task has run",
        "its ending is sent to the main process",
        Breaks.PIPE,
        {Action.CUT: "the pool sends it after our code has returned"},
    ),
    "attempt.end": Point(
        Process.WORKER,
        "worker/steps.py",
        "an ending has arrived from the pool",
        "the keeper has it",
        Breaks.PIPE,
    ),
    "attempt.lose": Point(
        Process.WORKER,
        "worker/steps.py",
        "the pool has found a process dead",
        "the keeper knows that its attempt is lost",
        Breaks.PIPE,
    ),
    "settle.write": Point(
        Process.WORKER,
        "worker/ledger.py",
        "endings are judged",
        "the statement that settles them, a transaction of its own",
        Breaks.SESSION,
    ),
    "settle.let_go": Point(
        Process.WORKER,
        "worker/keeper.py",
        "the attempts are settled in PostgreSQL",
        "the keeper lets go of them",
        Breaks.STORE,
        {Action.CUT: "the step is a change of the keeper's own memory"},
    ),
    "lease.extend": Point(
        Process.WORKER,
        "worker/heartbeat.py",
        "a third of a lease is over",
        "the leases are extended",
        Breaks.SESSION,
    ),
    "lease.heed": Point(
        Process.WORKER,
        "worker/heartbeat.py",
        "the leases are extended, and it is known who lost his and who is to be cancelled",
        "this is acted on",
        Breaks.STORE,
        _NO_ANSWER,
    ),
    "cancel.signal": Point(
        Process.WORKER,
        "worker/heartbeat.py",
        "a running job's cancel was asked for, and its grace is over",
        "its process gets the signal",
        Breaks.PIPE,
    ),
    "drain.give_back": Point(
        Process.WORKER,
        "worker/drain.py",
        "a stopping worker's time is over",
        "what still runs is given back",
        Breaks.STORE,
    ),
}


def _upkeep(name: str, done: str, step: str, breaks: Breaks = Breaks.STORE) -> dict[str, Point]:
    where = "schedules/steps.py" if step == "COMMIT" else "schedules/ringing.py"
    return {f"upkeep.{name}": Point(Process.BEAT, where, done, step, breaks)}


def _firing(name: str, done: str, step: str) -> dict[str, Point]:
    return {f"fire.{name}": Point(Process.BEAT, "jobs/planning/orders.py", done, step, Breaks.SESSION)}


_BEAT: Final[Mapping[str, Point]] = {
    **_firing(
        "record",
        "schedules that are due are locked, and it is decided what becomes of their instants",
        "the decisions are recorded",
    ),
    **_firing("submit", "the decisions are recorded, nothing is committed", "their jobs are inserted"),
    **_firing("advance", "the jobs are inserted", "the schedules are moved on to their next instants"),
    "fire.commit": Point(
        Process.BEAT, "schedules/firing.py", "decisions, jobs and schedules are written", "COMMIT", Breaks.STORE
    ),
    **_upkeep("release.commit", "jobs that are due are queued", "COMMIT"),
    **_upkeep("rescue.commit", "jobs of attempts whose lease ran out are queued again", "COMMIT"),
    **_upkeep("ring.commit", "ready jobs that no doorbell speaks of are marked as rung", "COMMIT"),
    **_upkeep("ring.ring", "that mark is committed", "their doorbells are rung", Breaks.BROKER),
    **_upkeep("stranded.commit", "ready jobs whose doorbell was not heard are marked as rung anew", "COMMIT"),
    **_upkeep("stranded.ring", "that mark is committed", "their doorbells are rung", Breaks.BROKER),
    **_upkeep("unring", "the broker took no doorbells", "the jobs are marked as not rung"),
    **_upkeep("expire.commit", "waiting jobs whose time has passed are expired", "COMMIT"),
    "upkeep.prune.delete": Point(
        Process.BEAT,
        "jobs/upkeep.py",
        "old jobs are chosen, and perhaps their log lines, events and attempts deleted",
        "the next of log lines, events, attempts and jobs is deleted",
        Breaks.SESSION,
    ),
    **_upkeep("prune.commit", "the jobs are deleted with all that belongs to them", "COMMIT"),
    **_upkeep("prune_occurrences.commit", "old decisions about the instants of schedules are deleted", "COMMIT"),
    **_upkeep("prune_schedules.commit", "deleted schedules without history are pruned", "COMMIT"),
    **_upkeep("prune_keys.commit", "idempotency keys whose promise has ended are deleted", "COMMIT"),
}

POINTS: Final[Mapping[str, Point]] = {**_API, **_WORKER, **_BEAT}
