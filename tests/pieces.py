"""How several testers share a run: a file is one piece, and so is all that the conformance ring does on one broker.

What it does to a broker of its own is a piece beside that.

What the tests of a piece have in common, such as a worker that serves them all, is then started once. The groups of
pytest-xdist do nothing here: version 3.8 writes them into an attribute that pytest 9.2 does not read any more.
"""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

from tests.services.brokers import BROKERS

CONFORMANCE: Final = "tests/conformance/"
OWN_BROKER: Final = "tests/conformance/test_broker_"


def piece(nodeid: str) -> str:
    """Return what a test belongs to."""
    file, _, test = nodeid.partition("::")
    brokers = [broker for broker in BROKERS if f"[{broker}" in test]
    rings = [ring for ring in (OWN_BROKER, CONFORMANCE) if file.startswith(ring)]
    return f"{rings[0]} on {brokers[0]}" if brokers and rings else file


class PieceScheduling(LoadScopeScheduling):
    """Hands out whole pieces, the one with the most tests first."""

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)
