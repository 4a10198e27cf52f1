"""`penstock explain`, `queues`, `workers`, `pause` and `resume` against a real API and a real worker."""

from tests.integration.cli.conftest import Command
from tests.services.stack import eventually


def test_a_job_of_a_queue_without_a_worker_says_so(penstock: Command) -> None:
    job_id = penstock("submit", "demo.noop", "--queue", "bulk").stdout.strip()

    facts = dict(line for line in penstock.lines("explain", job_id))

    assert (facts["state"], facts["cause"], facts["queue"]) == ("queued", "no_worker", "bulk")
    assert penstock.json("explain", job_id)["cause"] == "no_worker"


def test_a_paused_queue_starts_nothing_and_goes_on_when_it_is_resumed(penstock: Command) -> None:
    penstock("pause", "default")
    try:
        job_id = penstock("submit", "demo.noop").stdout.strip()
        assert penstock.json("explain", job_id)["cause"] == "queue_paused"
        assert "yes" in penstock.lines("queues")[0]
    finally:
        penstock("resume", "default")

    eventually(lambda: penstock.json("job", job_id)["state"] == "succeeded", 30, "it runs when the queue goes on")
    assert penstock.json("explain", job_id)["cause"] == "succeeded"


def test_a_queue_that_there_is_not_is_refused(penstock: Command) -> None:
    result = penstock("pause", "nowhere", code=2)

    assert "There is no queue nowhere" in result.stderr


def test_the_worker_is_shown_with_what_it_does(penstock: Command) -> None:
    (worker,) = [line for line in penstock.lines("workers") if line[1] == "yes"]

    assert worker[5] == "default"
    assert worker[0] in [line[0] for line in penstock.lines("workers", "--all")]
