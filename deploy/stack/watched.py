"""A part of the stack that is started again when it dies: one of our roles, or a server."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from deploy.stack.announce import complain
from deploy.stack.backoff import keeps_dying, restart_delay
from deploy.stack.child import Child
from deploy.stack.errors import DidNotStart
from deploy.stack.home import Home
from deploy.stack.ports import LOOPBACK
from deploy.stack.roles import Role
from deploy.stack.server import Server


class Watched(Protocol):
    """What the supervisor needs to know of a part, whatever it is."""

    name: str

    @property
    def pids(self) -> list[int]:
        """The pids of its processes that run now."""

    def revive(self) -> bool:
        """Start it again if it has died and its time has come; say whether anything changed."""


class Mourner:
    """Remembers how often a part died, says so, and knows when it may be started again."""

    def __init__(self, name: str, tail: Callable[[], str]) -> None:
        """`tail` gives the last lines of the part's log."""
        self._name = name
        self._tail = tail
        self._deaths: list[float] = []
        self._again_at: float | None = None

    def may_start(self, how_it_ended: str) -> bool:
        """Note the death at the first call after it, and return True once its delay is over."""
        now = time.monotonic()
        if self._again_at is None:
            self._deaths = [*self._deaths[-9:], now]
            delay = restart_delay(self._deaths, now)
            self._again_at = now + delay
            complain(f"{self._name} {how_it_ended}; started again in {delay:.1f} s")
            if keeps_dying(self._deaths, now):
                complain(f"{self._name} keeps dying. The end of its log:\n{self._tail()}")
            return False
        if now < self._again_at:
            return False
        self._again_at = None
        return True


class WatchedRole:
    """One of Penstock's processes."""

    def __init__(self, role: Role, home: Home, surroundings: Mapping[str, str]) -> None:
        """Describe the process; `start` starts it."""
        self.name = role.name
        self.role = role
        self._home = home
        self._surroundings = surroundings
        self._mourner = Mourner(role.name, self.tail)
        self.child: Child = role.child(home, surroundings)

    @property
    def pids(self) -> list[int]:
        """The pid of the process while it runs."""
        return [self.child.pid] if self.child.pid else []

    def tail(self) -> str:
        """The last lines of its log."""
        return self.child.tail()

    def url(self, variable: str) -> str:
        """Where it listens on the port that `variable` carries."""
        return f"http://{LOOPBACK}:{self.role.ports[variable]}"

    def lost_its_port(self) -> bool:
        """Say whether its last words were that someone else has its port."""
        return "address already in use" in self.child.tail().lower()

    def start(self) -> None:
        """Start the process on ports that are free now."""
        self.role.choose_ports()
        self.child = self.role.child(self._home, self._surroundings)
        self.child.start()

    def revive(self) -> bool:
        """Start it again, on the same ports if nobody has taken them; what it left of its group is killed."""
        if self.child.exit_code is None or not self._mourner.may_start(f"ended with {self.child.exit_code}"):
            return False
        self.child.kill()
        self.start()
        return True


class WatchedServer:
    """PostgreSQL or the broker; it comes back on the port that everyone knows."""

    def __init__(self, server: Server, pool: ThreadPoolExecutor) -> None:
        """`pool` runs what takes long, so that the supervisor hears a Ctrl-C meanwhile."""
        self.name = server.name
        self.server = server
        self._pool = pool
        self._mourner = Mourner(server.name, server.tail)
        self._starting: Future[object] | None = None

    @property
    def pids(self) -> list[int]:
        """The pids of its processes that run."""
        return self.server.pids

    def revive(self) -> bool:
        """Start it again in the background."""
        if self._starting:
            return self._settle(self._starting)
        if self.server.pid is None and self._mourner.may_start("ended"):
            self._starting = self._pool.submit(self.server.restart)
        return False

    def _settle(self, starting: "Future[object]") -> bool:
        if not starting.done():
            return False
        self._starting = None
        try:
            starting.result()
        except DidNotStart as error:
            complain(str(error))
        return True
