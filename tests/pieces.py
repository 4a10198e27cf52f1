"""How several testers share a run: a file is one piece, and so is half of what the conformance ring does on one broker.

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
MIDDLE: Final = "tests/conformance/test_p"
"""Where the ring is halved: in one piece, what it does on one broker would take one tester nearly as long as a run."""
SECONDS: Final = {
    "tests/integration/test_bench_smoke": 9.0,
    "tests/acceptance/test_rolling_workers": 75.0,
    "tests/acceptance/test_kills": 25.0,
    "tests/acceptance/test_previous_release": 55.0,
    "tests/acceptance/test_rolling_api": 30.0,
    "tests/acceptance/test_stack_starts": 7.0,
    "tests/acceptance/test_stack": 16.0,
    "tests/acceptance/test_machines": 6.0,
    "tests/acceptance/test_metrics": 18.0,
    "tests/acceptance/test_backlog": 10.0,
    "tests/acceptance/test_flower": 1.0,
    "tests/acceptance/": 30.0,
    "tests/chaos/test_smoke": 9.0,
    "tests/drill/test_backup": 5.0,
    "tests/drill/test_drill": 10.0,
    "tests/integration/settings/test_refused": 2.0,
    "tests/integration/api/test_openapi": 70.0,
    "tests/integration/api/test_stopping": 11.0,
    "tests/integration/api/test_processes": 7.0,
    "tests/integration/api/test_outages": 3.5,
    "tests/integration/jobs/test_walks": 8.0,
    "tests/integration/jobs/test_every_pair": 1.2,
    "tests/integration/schedules/test_readiness": 4.0,
    "tests/integration/schedules/test_beat": 3.0,
    "tests/integration/failpoints/test_beat_repairs": 28.0,
    "tests/integration/failpoints/test_schedules": 30.0,
    "tests/integration/failpoints/test_arming": 1.0,
    "tests/integration/failpoints/": 12.0,
    "tests/integration/stack/test_rabbitmq_programs": 8.0,
    "tests/integration/deploy/test_image": 3.5,
    "tests/integration/deploy/test_compose_servers": 3.5,
    "tests/integration/tls/": 10.0,
    "tests/integration/worker/test_quorum_queues": 8.0,
    "tests/integration/telemetry/test_traces": 2.5,
    "tests/integration/cli/test_terminal": 1.3,
    "tests/integration/cli/test_submit": 1.2,
    "tests/integration/docs/test_tutorial": 45.0,
    "tests/conformance/test_broker_": 13.0,
    "tests/conformance/test_clocks": 20.0,
    "tests/conformance/test_consumer_timeout": 14.0,
    "tests/conformance/test_herd": 20.0,
    "tests/conformance/test_full_disk": 18.0,
    "tests/conformance/test_failover": 9.0,
    "tests/conformance/test_malformed": 0.8,
    "tests/conformance/": 4.0,
    "tests/unit/audit/test_parts": 4.0,
    "tests/unit/calendar/test_every_zone": 3.0,
    "tests/unit/calendar/test_against_cronsim": 6.0,
    "tests/unit/": 0.05,
}
"""About how long a test takes, where that is long; the first that fits. Tests not named here are quick."""


def piece(nodeid: str) -> str:
    """Return what a test belongs to."""
    file, _, test = nodeid.partition("::")
    brokers = [broker for broker in BROKERS if f"[{broker}" in test]
    if not brokers or not file.startswith(CONFORMANCE):
        return file
    if file.startswith(OWN_BROKER):
        return f"{OWN_BROKER} on {brokers[0]}"
    half = "first" if file < MIDDLE else "second"
    return f"{CONFORMANCE} on {brokers[0]}, {half} half"


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
