"""How several testers share a run: a file is one piece, and so is all that the conformance ring does on one broker.

What the tests of a piece have in common, such as a worker that serves them all, is then started once. The groups of
pytest-xdist do nothing here: version 3.8 writes them into an attribute that pytest 9.2 does not read any more.
"""

from typing import Final

from xdist.scheduler import LoadScopeScheduling

from tests.services.brokers import BROKERS

CONFORMANCE: Final = "tests/conformance/"


def piece(nodeid: str) -> str:
    """Return what a test belongs to."""
    file, _, test = nodeid.partition("::")
    brokers = [broker for broker in BROKERS if f"[{broker}" in test]
    return f"{CONFORMANCE} on {brokers[0]}" if brokers and file.startswith(CONFORMANCE) else file


class PieceScheduling(LoadScopeScheduling):
    """Hands out whole pieces, the one with the most tests first."""

    def _split_scope(self, nodeid: str) -> str:
        return piece(nodeid)
