"""What must stay together when several testers share a run."""

import pytest

from tests.pieces import Heaviest, piece


@pytest.mark.parametrize(
    ("nodeid", "whole"),
    [
        ("tests/unit/jobs/test_retry.py::test_it", "tests/unit/jobs/test_retry.py"),
        ("tests/unit/jobs/test_retry.py::test_it[rabbitmq]", "tests/unit/jobs/test_retry.py"),
        ("tests/conformance/test_cancel.py::test_it[valkey]", "tests/conformance/ on valkey, first half"),
        ("tests/conformance/test_drain.py::test_it[rabbitmq-a@b::c]", "tests/conformance/ on rabbitmq, first half"),
        ("tests/conformance/test_queues.py::test_it[rabbitmq]", "tests/conformance/ on rabbitmq, second half"),
        ("tests/conformance/test_broker_wipes.py::test_it[valkey]", "tests/conformance/test_broker_ on valkey"),
        ("tests/conformance/test_threads.py::test_it", "tests/conformance/test_threads.py"),
    ],
)
def test_a_test_belongs_to_its_file_and_in_the_conformance_ring_to_half_a_broker(nodeid: str, whole: str) -> None:
    assert piece(nodeid) == whole


def test_the_heaviest_piece_is_handed_out_first_however_few_tests_it_has() -> None:
    queue = Heaviest()
    for name, count in (("tests/unit/a", 20), ("tests/acceptance/b", 2), ("tests/unit/c", 30)):
        queue[name] = {str(number): False for number in range(count)}

    handed_out = [queue.popitem(last=False)[0] for _ in range(3)]

    assert handed_out == ["tests/acceptance/b", "tests/unit/c", "tests/unit/a"]
