"""Which fault strikes what, when and for how long: drawn from a seed, so that a run can be had again.

The kinds lie in a deck, one card for each kind and each link or role that it can strike. The deck is dealt to its
end before it is shuffled anew, so a run that is long enough meets every card.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

T = TypeVar("T")

WARM_UP_SECONDS: Final = 5.0
"""Of load before the first fault."""
CALM_SECONDS: Final = 5.0
"""Of load after the last one began."""

APIS: Final = ("api-1", "api-2")
WORKERS: Final = ("worker-1", "worker-2", "worker-3")
BEATS: Final = ("beat-1", "beat-2")
BROKER: Final = "broker"
POSTGRES: Final = "postgres"
CLIENT: Final = "client"


class Kind(StrEnum):
    """What can go wrong."""

    KILL_CHILD = "kill_child"
    """SIGKILL to a process of a worker's pool that runs a job."""
    KILL_WORKER_MAIN = "kill_worker_main"
    """SIGKILL to a worker's main process alone; on Linux the kernel then ends its children."""
    KILL_WORKER = "kill_worker"
    """SIGKILL to a worker's main process and all its children, as the loss of a machine."""
    KILL_API = "kill_api"
    """SIGKILL to an API process while it has requests in flight."""
    KILL_BEAT = "kill_beat"
    KILL_BROKER = "kill_broker"
    KILL_POSTGRES = "kill_postgres"
    """SIGKILL to the postmaster and all its processes."""
    PAUSE_WORKER = "pause_worker"
    """SIGSTOP to a worker and its children past the lease, then SIGCONT."""
    PAUSE_API = "pause_api"
    PAUSE_BEAT = "pause_beat"
    OOM_CHILD = "oom_child"
    """A job grows until the kernel kills its process at the memory limit of the worker's cgroup."""
    RESTART_BROKER = "restart_broker"
    """An orderly stop and a start."""
    WIPE_BROKER = "wipe_broker"
    """RabbitMQ: the queues are deleted, or purged. Valkey: FLUSHALL."""
    ALARM_BROKER = "alarm_broker"
    """RabbitMQ: the alarm of memory or of disk. Valkey: no memory left, or CLIENT PAUSE."""
    RESTART_POSTGRES_FAST = "restart_postgres_fast"
    RESTART_POSTGRES_IMMEDIATE = "restart_postgres_immediate"
    ROLL_WORKER = "roll_worker"
    """SIGTERM, and a start once it has ended: a deploy."""
    ROLL_API = "roll_api"
    ROLL_BEAT = "roll_beat"
    DELAY = "delay"
    """Everything that is sent over a link is held back for a while."""
    RESET = "reset"
    """Every connection over a link is cut without a goodbye."""
    SILENCE = "silence"
    """Connections over a link live, and nothing passes in either direction."""
    CUT_BEFORE_COMMIT = "cut_before_commit"
    """The connection is cut where a COMMIT is sent, which never arrives."""
    CUT_AFTER_COMMIT = "cut_after_commit"
    """The COMMIT is done, and the connection is cut before its sender learns of it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault."""

    number: int
    at: float
    """Seconds after the load began."""
    kind: Kind
    target: str
    """A process by name, or the broker, or PostgreSQL."""
    far: str | None
    """For a link: its other end."""
    seconds: float
    """How long it lasts, or how long what was ended stays away."""
    lot: float
    """From 0 to 1; decides between the variants that a kind has."""

    @property
    def where(self) -> str:
        """The target, or the link, for people."""
        return f"{self.target} > {self.far}" if self.far else self.target

    def either(self, *variants: T) -> T:
        """Return one of `variants`."""
        return variants[int(self.lot * len(variants))]


@dataclass(frozen=True, slots=True)
class Card:
    """A kind, and whom it strikes."""

    kind: Kind
    targets: tuple[str, ...]
    far: str | None = None

    @property
    def name(self) -> str:
        """The kind and the role it strikes, for a table."""
        role = self.targets[0].partition("-")[0]
        return f"{self.kind} {role} > {self.far}" if self.far else str(self.kind)

    def resource(self, target: str) -> str:
        """What two faults must not hold at the same time."""
        return f"{target} > {self.far}" if self.far else target


#: The links between the parts, by the end that begins the connection.
LINKS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (APIS, POSTGRES),
    (APIS, BROKER),
    (WORKERS, POSTGRES),
    (WORKERS, BROKER),
    (BEATS, POSTGRES),
    (BEATS, BROKER),
    (APIS, CLIENT),
)
_ON_LINKS: Final = (Kind.DELAY, Kind.RESET, Kind.SILENCE)
_AT_COMMIT: Final = (Kind.CUT_BEFORE_COMMIT, Kind.CUT_AFTER_COMMIT)
_ON_PARTS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.KILL_CHILD: WORKERS,
    Kind.KILL_WORKER_MAIN: WORKERS,
    Kind.KILL_WORKER: WORKERS,
    Kind.KILL_API: APIS,
    Kind.KILL_BEAT: BEATS,
    Kind.KILL_BROKER: (BROKER,),
    Kind.KILL_POSTGRES: (POSTGRES,),
    Kind.PAUSE_WORKER: WORKERS,
    Kind.PAUSE_API: APIS,
    Kind.PAUSE_BEAT: BEATS,
    Kind.OOM_CHILD: WORKERS,
    Kind.RESTART_BROKER: (BROKER,),
    Kind.WIPE_BROKER: (BROKER,),
    Kind.ALARM_BROKER: (BROKER,),
    Kind.RESTART_POSTGRES_FAST: (POSTGRES,),
    Kind.RESTART_POSTGRES_IMMEDIATE: (POSTGRES,),
    Kind.ROLL_WORKER: WORKERS,
    Kind.ROLL_API: APIS,
    Kind.ROLL_BEAT: BEATS,
}


def cards(only: Iterable[Kind] = tuple(Kind)) -> list[Card]:
    """Return one deck in a fixed order."""
    wanted = set(only)
    deck = [Card(kind, targets) for kind, targets in _ON_PARTS.items()]
    deck += [Card(kind, near, far) for kind in _ON_LINKS for near, far in LINKS]
    deck += [Card(kind, near, far) for kind in _AT_COMMIT for near, far in LINKS if far == POSTGRES]
    return [card for card in deck if card.kind in wanted]


def _lasting(kind: Kind, lease: float) -> tuple[float, float]:
    """Return between how many seconds and how many a fault of this kind lasts."""
    match kind:
        case Kind.PAUSE_WORKER | Kind.PAUSE_BEAT:
            return 1.3 * lease, 1.8 * lease
        case Kind.PAUSE_API | Kind.ALARM_BROKER:
            return 3.0, 8.0
        case Kind.SILENCE:
            return 2.0, 1.5 * lease
        case Kind.DELAY:
            return 2.0, 6.0
        case Kind.KILL_WORKER_MAIN:
            return 0.5, 1.5 * lease  # its orphans have time to end their jobs
        case Kind.OOM_CHILD | Kind.CUT_BEFORE_COMMIT | Kind.CUT_AFTER_COMMIT:
            return 8.0, 8.0  # the longest wait for it to be met
        case Kind.KILL_CHILD | Kind.WIPE_BROKER | Kind.RESET:
            return 0.0, 0.0
        case _:
            return 0.2, 3.0


def _rest(kind: Kind) -> float:
    """Return how many seconds the struck thing is left alone afterwards: to start, and to work a little."""
    if kind in {Kind.KILL_BROKER, Kind.RESTART_BROKER, Kind.ALARM_BROKER}:
        return 10.0
    if kind in _ON_LINKS:
        return 12.0  # it may begin late: when something is in flight that it can meet
    return 4.0


class Deck:
    """Deals cards; never two at a time for the same thing."""

    def __init__(self, rng: random.Random, only: Iterable[Kind], lease: float) -> None:
        """Shuffle with `rng` alone."""
        self._rng = rng
        self._fresh = cards(only)
        self._lease = lease
        self._left: list[Card] = []
        self._free_at: dict[str, float] = {}

    def deal(self, number: int, at: float) -> Fault | None:
        """Return a fault for this instant; None: everything that a card speaks of is held."""
        if not self._left:
            self._left = self._rng.sample(self._fresh, len(self._fresh))
        for place, card in enumerate(self._left):
            free = [target for target in card.targets if self._free_at.get(card.resource(target), 0.0) <= at]
            if free:
                del self._left[place]
                return self._struck(number, at, card, self._rng.choice(free))
        return None

    def _struck(self, number: int, at: float, card: Card, target: str) -> Fault:
        seconds = round(self._rng.uniform(*_lasting(card.kind, self._lease)), 2)
        self._free_at[card.resource(target)] = at + seconds + _rest(card.kind)
        return Fault(number, round(at, 2), card.kind, target, card.far, seconds, self._rng.random())


def draw(
    seed: int, *, seconds: float, per_minute: float, lease: float, only: Sequence[Kind] = tuple(Kind)
) -> list[Fault]:
    """Return the faults of a run of `seconds` in the order in which they strike; same arguments, same faults."""
    rng = random.Random(f"faults {seed}")
    deck = Deck(rng, only, lease)
    dealt = [deck.deal(number, at) for number, at in enumerate(_instants(rng, seconds, 60 / per_minute), start=1)]
    return [fault for fault in dealt if fault is not None]


def _instants(rng: random.Random, seconds: float, gap: float) -> Iterator[float]:
    at = min(WARM_UP_SECONDS, seconds / 4) + rng.uniform(0, gap)
    while at < seconds - min(CALM_SECONDS, seconds / 4):
        yield at
        at += gap * rng.uniform(0.4, 1.6)
