"""How several testers share a run: a file is one piece, and so is all that the conformance ring does on one broker.

What it does to a broker of its own is a piece beside that.

What the tests of a piece have in common, such as a worker that serves them all, is then started once. The groups of
pytest-xdist do nothing here: version 3.8 writes them into an attribute that pytest 9.2 does not read any more.
"""

from collections import OrderedDict
from typing import Any, Final

from xdist.scheduler import LoadScopeScheduling

from tests.services.brokers import BROKERS

CONFORMANCE: Final = "tests/conformance/"
OWN_BROKER: Final = "tests/conformance/test_broker_"
SECONDS: Final = {
    "tests/integration/test_bench_smoke": 60.0,
    "tests/integration/failpoints/test_beat_repairs": 50.0,
    "tests/acceptance/test_stack": 8.0,
    "tests/acceptance/test_machines": 14.0,
    "tests/acceptance/": 40.0,
    "tests/chaos/test_smoke": 30.0,
    "tests/drill/test_backup": 3.0,
    "tests/drill/test_drill": 12.0,
    "tests/integration/failpoints/": 12.0,
    "tests/integration/deploy/": 6.0,
    "tests/integration/worker/test_quorum_queues": 15.0,
    "tests/conformance/": 4.0,
    "tests/integration/cli/test_terminal": 5.0,
    "tests/integration/docs/": 20.0,
    "tests/integration/api/test_openapi": 2.0,
}
"""About how long a test takes, where that is long; the first that fits. Tests not named here are quick."""


def piece(nodeid: str) -> str:
    """Return what a test belongs to."""
    file, _, test = nodeid.partition("::")
    brokers = [broker for broker in BROKERS if f"[{broker}" in test]
    rings = [ring for ring in (OWN_BROKER, CONFORMANCE) if file.startswith(ring)]
    return f"{rings[0]} on {brokers[0]}" if brokers and rings else file


def weight(name: str, tests: int) -> float:
    """Return about how many seconds a piece of so many tests takes."""
    return tests * next((seconds for start, seconds in SECONDS.items() if name.startswith(start)), 0.5)


class Heaviest(OrderedDict[str, dict[str, bool]]):
    """Pieces that wait. The scheduler takes the first, and that is the heaviest: none is left for the end."""

    def popitem(self, last: bool = True) -> tuple[str, dict[str, bool]]:
        """Return the heaviest piece and forget it; the last one as ever."""
        if last:
            return super().popitem()
        name = max(self, key=lambda one: weight(one, len(self[one])))
        return name, self.pop(name)


class PieceScheduling(LoadScopeScheduling):
    """Hands out whole pieces, the heaviest first."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Schedule as pytest-xdist does."""
        super().__init__(*args, **options)
        self.workqueue = Heaviest()

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)
