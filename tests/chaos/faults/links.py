"""Faults of the links between the parts: late, cut, silent, cut at a COMMIT."""

import time
from collections.abc import Mapping
from typing import Final

from tests.chaos.faults.processes import have_it_cling, note_part
from tests.chaos.faults.scene import MEET_SECONDS, Scene, Strike
from tests.chaos.schedule import POSTGRES, WORKERS, Kind
from tests.services.proxy import Proxy, When

COMMIT: Final = b"COMMIT\0"
SYNC: Final = b"S\0\0\0\x04"
"""The message that ends a statement outside of a transaction, and commits it (PostgreSQL, "Extended Query")."""
_COMMITS: Final[Mapping[str, bytes]] = {"api": COMMIT, "beat": COMMIT, "worker": SYNC}
"""What commits the work of each role: a worker starts and settles in single statements."""


def _link(scene: Scene, strike: Strike) -> Proxy:
    assert strike.fault.far is not None
    return scene.part(strike.fault).links[strike.fault.far]


def _last(scene: Scene, strike: Strike, link: Proxy) -> None:
    """Let it last; somewhat longer while nothing was sent that it could hold back. Note what it was seen to strike."""
    scene.wait(strike.fault.seconds)
    deadline = time.monotonic() + MEET_SECONDS
    while not link.met.connections and time.monotonic() < deadline and not scene.over.is_set():
        time.sleep(0.01)
    strike.connections, strike.held_bytes = link.met
    if not strike.connections:
        strike.miss("nothing was sent that it could hold back")


def delay(scene: Scene, strike: Strike) -> None:
    """Hold back everything that is sent over the link."""
    seconds = 0.02 + 0.3 * strike.fault.lot
    note_part(scene, strike, scene.part(strike.fault), f"{seconds * 1000:.0f} ms")
    link = _link(scene, strike)
    link.delay(seconds)
    _last(scene, strike, link)
    link.heal()


def reset(scene: Scene, strike: Strike) -> None:
    """Cut every connection over the link."""
    note_part(scene, strike, scene.part(strike.fault))
    link = _link(scene, strike)
    deadline = time.monotonic() + MEET_SECONDS
    while not (cut := link.drop()) and time.monotonic() < deadline and not scene.over.is_set():
        time.sleep(0.01)
    strike.connections = cut
    if not cut:
        strike.miss("no connection was open")


def silence(scene: Scene, strike: Strike) -> None:
    """Let nothing pass; afterwards what was held back goes on its way, or the connections are found dead.

    Those to PostgreSQL may also stay silent for ever while new ones are well: whoever uses them has to find out.
    """
    hows = ("then goes on", "then is cut", "for ever, and new ones are well")
    how = strike.fault.either(*(hows if strike.fault.far == POSTGRES else hows[:2]))
    if strike.fault.far == POSTGRES and strike.fault.target in WORKERS:
        have_it_cling(scene, strike)
    note_part(scene, strike, scene.part(strike.fault), how)
    link = _link(scene, strike)
    if how == hows[2]:
        link.forget()
        _last(scene, strike, link)
        return
    link.swallow()
    _last(scene, strike, link)
    if how == "then is cut":
        link.drop()
    link.heal()


def cut_at_commit(scene: Scene, strike: Strike) -> None:
    """Cut the link at the next COMMITs that are sent over it, before or after they are done."""
    before = strike.fault.kind is Kind.CUT_BEFORE_COMMIT
    when = When.BEFORE if before else strike.fault.either(When.AFTER, When.LATE)
    times = 1 + int(strike.fault.lot * 10) % 3
    link = _link(scene, strike)
    met = link.cuts
    note_part(scene, strike, scene.part(strike.fault), f"{when}, {times} in a row")
    link.cut(_COMMITS[strike.fault.target.partition("-")[0]], when, times=times)
    deadline = time.monotonic() + strike.fault.seconds
    while link.cuts < met + times and time.monotonic() < deadline and not scene.over.is_set():
        time.sleep(0.01)
    link.heal()
    strike.connections = link.cuts - met
    if link.cuts == met:
        strike.miss("no COMMIT was sent")
