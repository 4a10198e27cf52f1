"""What must stay together when several testers share a run."""

import pytest

from tests.pieces import piece


@pytest.mark.parametrize(
    ("nodeid", "whole"),
    [
        ("tests/unit/jobs/test_retry.py::test_it", "tests/unit/jobs/test_retry.py"),
        ("tests/unit/jobs/test_retry.py::test_it[rabbitmq]", "tests/unit/jobs/test_retry.py"),
        ("tests/conformance/test_cancel.py::test_it[valkey]", "tests/conformance/ on valkey"),
        ("tests/conformance/test_drain.py::test_it[rabbitmq-a@b::c]", "tests/conformance/ on rabbitmq"),
        ("tests/conformance/test_broker_wipes.py::test_it[valkey]", "tests/conformance/test_broker_ on valkey"),
        ("tests/conformance/test_threads.py::test_it", "tests/conformance/test_threads.py"),
    ],
)
def test_a_test_belongs_to_its_file_and_in_the_conformance_ring_to_its_broker(nodeid: str, whole: str) -> None:
    assert piece(nodeid) == whole
