"""Who is measured against whom, in turns: A B A B, so that a busy moment of the machine meets both."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.bench import backlog, cost, measures, poison, questions, recovery, retention, scale, schedules
from tests.bench.figures import Measure, Round, Side, Wanted
from tests.bench.load import choose_client
from tests.bench.options import Options
from tests.bench.peers import HandBuilt, PlainCeleryPostgres, PlainCeleryRedis, TunedHandBuilt
from tests.bench.penstock import Penstock
from tests.bench.servers import Servers
from tests.bench.stacks import Stack
from tests.bench.storm import TIMES, overload

Turn = tuple[Stack, Callable[[], Round]]
Tell = Callable[[str], None]


class Contest:
    """The stacks of one run, and their turns."""

    def __init__(self, servers: Servers, options: Options, home: Path, tell: Tell) -> None:
        self.options = options
        self.home = home
        self.tell = tell
        self.client = choose_client(options.client)
        self._penstock = Penstock(servers, options, home) if "penstock" in options.sides else None
        has_baseline = "baseline" in options.sides
        self._handbuilt = HandBuilt(servers, options, home) if has_baseline else None
        self._tuned = TunedHandBuilt(servers, options, home) if has_baseline else None
        self._celery = (
            [PlainCeleryPostgres(servers, options, home), PlainCeleryRedis(servers, options, home)]
            if has_baseline
            else []
        )

    def run(self) -> list[Measure]:
        """All measures that were asked for."""
        parts = {
            "intake": self._intake,
            "overload": self._overload,
            "batch": self._batch,
            "drain": self._drain,
            "latency": self._latency,
            "schedules": self._schedules,
            "backlog": self._backlog,
            "poison": self._poison,
            "recovery": self._recovery,
            "cost": self._cost,
            "retention": self._retention,
            "questions": self._questions,
            "scale": self._scale,
        }
        return [measure for name in self.options.only for measure in parts[name]()]

    def _intake(self) -> list[Measure]:
        options = self.options
        turns = [
            (stack, partial(measures.intake, stack, options, self.client, self.home))
            for stack in (self._penstock, self._handbuilt, self._tuned)
            if stack
        ]
        title = f"intake: one job per request, {options.connections} connections, {options.api_processes} API processes"
        sides = self._take_turns("intake", turns)
        return [
            self._pair("intake", title, sides, self._handbuilt, Wanted(ratio=12, p95_ms=60)),
            self._pair("intake_tuned", title, sides, self._tuned, Wanted()),
        ]

    def _overload(self) -> list[Measure]:
        """Penstock alone: the hand-built stack refuses nobody."""
        options = self.options
        turn = partial(overload, options=options, client=self.client, folder=self.home)
        turns = [(stack, partial(turn, stack)) for stack in (self._penstock,) if stack]
        title = f"overload: {TIMES} times the intake for {options.storm_seconds:g} s"
        wanted = Wanted(p99_ms=500, refusal_p99_ms=100, recovery_seconds=60)
        return [self._pair("overload", title, self._take_turns("overload", turns), None, wanted)]

    def _batch(self) -> list[Measure]:
        found = []
        for connections in self.options.batch_connections:
            turns = [
                (stack, partial(measures.batch, stack, self.options, connections))
                for stack in (self._penstock, self._handbuilt)
                if stack
            ]
            title = f"intake: {self.options.batch_size:,} jobs per request, {connections} connection(s)"
            sides = self._take_turns(f"batch, {connections} connection(s)", turns)
            wanted = Wanted(per_second=20_000)
            found.append(self._pair(f"batch_{connections}", title, sides, self._handbuilt, wanted))
        return found

    def _drain(self) -> list[Measure]:
        options = self.options
        stacks = [stack for stack in (self._penstock, *self._celery) if stack]
        sides = self._take_turns("drain", [(stack, partial(measures.drain, stack, options)) for stack in stacks])
        title = (
            f"drain: {options.drain_jobs:,} no-op jobs, one message each, {options.workers} Celery workers"
            f" of {options.concurrency} prefork processes"
        )
        wanted = {"drain_postgresql": Wanted(ratio=2), "drain_redis": Wanted(ratio=1)}
        peers = [*self._celery, None, None][:2]
        return [
            self._pair(name, title, sides, peer, want) for (name, want), peer in zip(wanted.items(), peers, strict=True)
        ]

    def _latency(self) -> list[Measure]:
        jobs = self.options.latency_jobs
        turns = [
            (stack, partial(measures.latency, stack, jobs)) for stack in (self._penstock, self._handbuilt) if stack
        ]
        sides = self._take_turns("latency", turns)
        title = f"idle latency, POST to start, {jobs} jobs one by one"
        return [self._pair("latency", title, sides, self._handbuilt, Wanted(p50_ms=15))]

    def _schedules(self) -> list[Measure]:
        """Penstock alone: what is usual, Celery's beat, holds its entries in memory and publishes them one by one."""
        stack, due, settle = self._penstock, self.options.due_schedules, self.options.settle_seconds
        if stack is None:
            return []
        late = self._take_turns("schedules due", [(stack, partial(schedules.lateness, stack, due, settle))])
        title = f"lateness of {due:,} schedules due in one second"
        return [self._pair("schedules_late", title, late, None, Wanted(p99_ms=1000)), self._idle(stack)]

    def _idle(self, stack: Penstock) -> Measure:
        """Penstock beside itself: with many schedules, and with few."""
        many, few = self.options.idle_schedules, schedules.FEW
        how_long = self.options.idle_seconds, self.options.settle_seconds
        sides = {
            count: self._take_turns(
                f"{count:,} idle schedules", [(stack, partial(schedules.idle, stack, count, *how_long))]
            )[stack.name]
            for count in (few, many)
        }
        named = [Side(f"{count:,} schedules", sides[count].rounds) for count in (many, few)]
        title = f"an idle beat with {many:,} schedules, and with {few:,}"
        return Measure("schedules_idle", title, *named, Wanted(cpu_percent=5))

    def _backlog(self) -> list[Measure]:
        """Penstock beside itself: with many jobs waiting, and with few."""
        stack, options = self._penstock, self.options
        if stack is None:
            return []
        found: dict[int, list[backlog.Rounds]] = {options.backlog_jobs: [], backlog.FEW: []}
        for number, count in [(n, count) for n in range(1, options.rounds + 1) for count in found]:
            self.tell(f"backlog, round {number} of {options.rounds}: {count:,} jobs wait")
            try:
                stack.reset()
                found[count].append(backlog.look(stack, options, self.client, self.home, count))
            finally:
                stack.stop()
        titles = {"intake": "intake", "drain": "drain", "urgent": "POST to start of an urgent job"}
        wanted = {"intake": Wanted(ratio=0.5), "drain": Wanted(ratio=0.9), "urgent": Wanted(ratio=0.5)}
        return [
            Measure(
                f"backlog_{name}",
                f"{title} beside {options.backlog_jobs:,} waiting jobs, and beside {backlog.FEW:,}",
                *(
                    Side(f"{count:,} waiting", tuple(getattr(rounds, name) for rounds in taken))
                    for count, taken in found.items()
                ),
                wanted[name],
            )
            for name, title in titles.items()
        ]

    def _poison(self) -> list[Measure]:
        """Penstock beside itself: with jobs among the others that kill their process, and without."""
        if self._penstock is None:
            return []
        self.tell(f"poison, {self.options.rounds} turns with and without")
        found = poison.turns(self._penstock, self.options)
        titles = {"start": "acceptance to start", "end": "acceptance to end"}
        load = f"{poison.RATE} short jobs a second, with one among them that kills three processes, and without"
        return [
            Measure(
                f"poison_{name}",
                f"{title}: {load}",
                *(Side(side, tuple(getattr(turn, name) for turn in taken)) for side, taken in found.items()),
                Wanted(ratio=0.91),
            )
            for name, title in titles.items()
        ]

    def _recovery(self) -> list[Measure]:
        """Penstock alone, and once: a percentile of deaths wants many of them, and no median of rounds."""
        stack, options = self._penstock, self.options
        if stack is None:
            return []
        self.tell(f"recovery: {options.lost_processes} processes and {options.lost_workers} workers are killed")
        processes, workers = (Side(stack.name, (taken,)) for taken in recovery.look(stack, options))
        titles = (
            f"from the death of a process to the next attempt, {options.lost_processes} one by one",
            f"the same, of {options.lost_workers} whole workers, with a lease of {options.lease_seconds:g} s",
        )
        return [
            Measure("recovery_process", titles[0], processes, None, Wanted(p99_ms=3000)),
            Measure("recovery_worker", titles[1], workers, None, Wanted(max_ms=40_000)),
        ]

    def _cost(self) -> list[Measure]:
        """Penstock beside itself: seen as usual, and seen less."""
        if self._penstock is None:
            return []
        found = cost.turns(self._penstock, self.options, self.client, self.home, self.tell)
        sides = {
            name: {side: Side(side, tuple(rounds)) for side, rounds in taken.items()} for name, taken in found.items()
        }
        return [
            Measure(
                f"cost_{name}_{side.replace(' ', '_')}",
                f"{name} with metrics and logs, and with {side}",
                taken[cost.USUAL],
                taken[side],
                Wanted(ratio=None if side == cost.WATCHED else 0.9),
            )
            for name, taken in sides.items()
            for side in taken
            if side != cost.USUAL
        ]

    def _retention(self) -> list[Measure]:
        """Penstock beside itself, and once: what was dropped is gone."""
        stack, options = self._penstock, self.options
        if stack is None:
            return []
        try:
            stack.reset()
            found = retention.look(stack, options, self.tell)
        finally:
            stack.stop()
        busy, quiet = Side("pruning and dropping", (found.busy,)), Side("beside nothing", (found.quiet,))
        title = f"intake while {options.rows:,} rows of old jobs go, and beside nothing"
        return [
            Measure("retention_intake", title, busy, quiet, Wanted(p99_ms=500)),
            Measure("retention_prune", "old jobs pruned meanwhile", Side(stack.name, (found.pruned,)), None),
            Measure("retention_drop", "a month dropped, the slowest table", Side(stack.name, (found.dropped,)), None),
        ]

    def _questions(self) -> list[Measure]:
        """Penstock alone, and once: each question is asked many times."""
        stack, options = self._penstock, self.options
        if stack is None:
            return []
        try:
            stack.reset()
            found = questions.look(stack, options, self.tell)
        finally:
            stack.stop()
        beside = f"beside {options.finished_jobs:,} finished and {options.waiting_jobs:,} waiting jobs"
        return [
            Measure(f"questions_{number}", f"{name}, {beside}", Side(stack.name, (taken,)), None, Wanted(p95_ms=50))
            for number, (name, taken) in enumerate(found.items(), 1)
        ]

    def _scale(self) -> list[Measure]:
        """Penstock beside itself: with many workers, and with one."""
        if self._penstock is None:
            return []
        found = scale.turns(self._penstock, self.options, self.tell)
        titles = {"noop": "no-op jobs", "wait": "jobs that wait 20 ms"}
        return [
            Measure(
                f"scale_{name}_{workers}",
                f"drain of {titles[name]}: {workers} workers of {self.options.concurrency} processes, and one",
                Side(f"{workers} workers", tuple(rounds)),
                Side("1 worker", tuple(taken[1])),
                Wanted(ratio=0.8 * workers if name == "wait" else None),
            )
            for name, taken in found.items()
            for workers, rounds in taken.items()
            if workers > 1
        ]

    def _take_turns(self, what: str, turns: Sequence[Turn]) -> dict[str, Side]:
        rounds: dict[str, list[Round]] = {stack.name: [] for stack, _ in turns}
        for number in range(1, self.options.rounds + 1):
            for stack, turn in turns:
                self.tell(f"{what}, round {number} of {self.options.rounds}: {stack.name}")
                try:
                    stack.reset()
                    rounds[stack.name].append(turn())
                finally:
                    stack.stop()
        return {name: Side(name, tuple(taken)) for name, taken in rounds.items()}

    def _pair(self, name: str, title: str, sides: dict[str, Side], peer: Stack | None, wanted: Wanted) -> Measure:
        ours = sides.get(self._penstock.name) if self._penstock else None
        theirs = sides.get(peer.name) if peer else None
        return Measure(name, title, ours, theirs, wanted)
