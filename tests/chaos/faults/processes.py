"""Faults of Penstock's own processes: killed, paused, out of memory, replaced."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final
from uuid import UUID

from deploy.stack.errors import DidNotStart
from jobs.state import JobState
from tests.chaos.faults.proof import LOOK_EVERY, OutOfMemory, is_stopped, was_killed
from tests.chaos.faults.scene import MEET_SECONDS, Scene, Strike, Touches, left_to_upkeep, nothing, run_by
from tests.chaos.ledger import Wanted
from tests.chaos.mix import OPEN
from tests.chaos.parts import Part
from tests.chaos.schedule import Kind
from tests.chaos.unwanted import fence_seconds

NO_PROCESS: Final = "no process ran that it could strike"
PROOF_SECONDS: Final = 10.0
"""After a job was accepted that grows, by which it must have been ended for it."""
CLING_SECONDS: Final = 8.0
"""By which the worker that is struck must have taken a function that heeds nothing; if not, it is struck as it is."""
ANOTHER_SECONDS: Final = 0.25
"""After which another is handed in: it comes to an end at once on any other worker."""
STOPPED_SECONDS: Final = 2.0
"""By which a process that is told to hold still must be seen to do so."""


def _touches(part: Part) -> Touches:
    """Return what tells the jobs that are in flight in a part."""
    role = part.name.partition("-")[0]
    return {"worker": run_by(part.name), "beat": left_to_upkeep}.get(role, nothing)


def note_part(scene: Scene, strike: Strike, part: Part, how: str | None = None) -> None:
    """Note what is in flight in a part: called at the last moment before the blow."""
    is_api = part.name.startswith("api")
    scene.strike(strike, _touches(part), lambda: scene.load.flights(part.name) if is_api else (), how)


def kill_child(scene: Scene, strike: Strike) -> None:
    """Kill a process of the pool, one that runs a job when there is one."""
    part = scene.part(strike.fault)
    victim, job_id = _busy_child(scene, part)
    scene.strike(strike, lambda due: due.id == job_id, meet_seconds=0.0)
    strike.how = "while it ran a job" if job_id else "while it had nothing to do"
    if victim is None:
        strike.miss(NO_PROCESS)
    elif not was_killed(victim):
        strike.miss("the process was not seen to end by it")


def _busy_child(scene: Scene, part: Part) -> tuple[int | None, UUID | None]:
    deadline = time.monotonic() + MEET_SECONDS
    while True:
        children, running = part.children(), scene.witness.running()
        busy = [pid for pid in children if pid in running]
        if busy:
            return busy[0], running[busy[0]]
        if time.monotonic() > deadline or scene.over.is_set():
            return (children[0] if children else None), None
        time.sleep(0.005)


def kill_main(scene: Scene, strike: Strike) -> None:
    """Kill the main process alone; on Linux the kernel ends what it had forked."""
    part = scene.part(strike.fault)
    note_part(scene, strike, part)
    if part.pid is None:
        strike.miss(NO_PROCESS)
    part.kill_main()
    scene.wait(strike.fault.seconds)
    _bring_back(part, strike)


def kill(scene: Scene, strike: Strike) -> None:
    """Kill the process and what it had forked; an API with requests in flight."""
    part = scene.part(strike.fault)
    note_part(scene, strike, part)
    if part.pid is None:
        strike.miss(NO_PROCESS)
    part.kill()
    scene.wait(strike.fault.seconds)
    _bring_back(part, strike)


def have_it_cling(scene: Scene, strike: Strike) -> bool:
    """Have the worker run a function that heeds nothing, and goes on long after the fault unless somebody ends it.

    False: it took none, since nothing came through to it, and is struck as it is.
    """
    part = scene.part(strike.fault)
    seconds = strike.fault.seconds + 2 * fence_seconds(scene.plant.lease_seconds)
    wanted = Wanted(
        task="chaos.clings", payload={"seconds": round(seconds, 1), "worker": part.name}, queue=OPEN, priority=9
    )
    asked: list[Future[tuple[UUID, ...]]] = []
    deadline = time.monotonic() + CLING_SECONDS
    while time.monotonic() < deadline and not scene.over.is_set():
        asked.append(scene.load.extra(wanted))
        if _comes_true(lambda: bool(_clinging(asked) & _run_in(scene, part)), ANOTHER_SECONDS):
            return True
    return False


def _clinging(asked: Sequence[Future[tuple[UUID, ...]]]) -> set[UUID]:
    return {job_id for one in asked if one.done() and not one.exception() for job_id in one.result()}


def _run_in(scene: Scene, part: Part) -> set[UUID]:
    running = scene.witness.running()
    return {running[pid] for pid in part.children() if pid in running}


def pause(scene: Scene, strike: Strike) -> None:
    """Hold the process and what it has forked still for a while."""
    part = scene.part(strike.fault)
    clings = strike.fault.kind is Kind.PAUSE_WORKER and have_it_cling(scene, strike)
    note_part(scene, strike, part, "in a function that heeds nothing" if clings else None)
    group = part.pid
    with part.paused():
        if group is None or not _comes_true(lambda: is_stopped(group), STOPPED_SECONDS):
            strike.miss("the process was not seen to hold still")
        scene.wait(strike.fault.seconds)


def roll(scene: Scene, strike: Strike) -> None:
    """Replace the process as a deploy does."""
    part = scene.part(strike.fault)
    note_part(scene, strike, part)
    if part.pid is None:
        strike.miss(NO_PROCESS)
    if not part.stop():
        strike.wrong = f"it had not ended {part.stop_seconds:g} s after SIGTERM, and was killed"
    scene.wait(strike.fault.seconds)
    _bring_back(part, strike)


def _bring_back(part: Part, strike: Strike) -> None:
    """Start it again; whether it dies at that is the supervisor's affair, and that it never gets ready is trouble."""
    part.start()
    try:
        part.wait_until_ready()
    except DidNotStart:
        if part.exit_code is None:
            strike.wrong = strike.wrong or f"it was not ready {part.ready_seconds:g} s after it was started again"


def run_out_of_memory(scene: Scene, strike: Strike) -> None:
    """Submit a job that grows beyond the bound of its process's memory in its first attempt, and see it ended."""
    memory = scene.plant.memory[strike.fault.target]
    how = "killed by its cgroup" if memory.kills else "MemoryError by RLIMIT_AS"
    proof = OutOfMemory(scene.plant.memory.values(), scene.tables, scene.witness)
    wanted = Wanted(task="chaos.grows", payload={"megabytes": memory.beyond_megabytes}, queue=OPEN, priority=9)
    try:
        ids = scene.load.extra(wanted).result(strike.fault.seconds)
    except TimeoutError:
        ids = ()
    scene.strike(strike, lambda due: due.id in ids and due.state == JobState.RUNNING, how=how)
    if not ids:
        strike.miss("the job was not accepted in time")
    elif not _comes_true(lambda: proof.is_seen(ids) or scene.over.is_set(), PROOF_SECONDS) or not proof.is_seen(ids):
        strike.miss("nobody saw the job ended for its memory")


def _comes_true(seen: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not seen():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY)
    return True
