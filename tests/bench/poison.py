"""The measure of poison: short jobs at a steady pace, alone, and beside jobs that kill the process they run in."""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any, Final

from tests.bench import measures
from tests.bench.figures import Round, percentile
from tests.bench.options import Options
from tests.bench.penstock import Penstock
from tests.bench.processes import NeverHappenedError, wait_until
from tests.bench.stacks import NOOP

RATE: Final = 50
"""Short jobs a second: a few percent of what the workers can do, so that nobody waits for a slot."""
POISON_EVERY: Final = 50
"""Short jobs, of which one is followed by a poisonous one, which kills three processes before it is put aside."""
POISON: Final[dict[str, Any]] = {"task": "demo.crash", "payload": {}}
FINISH_SECONDS: Final = 60.0
FIGURES: Final = """
    SELECT extract(epoch FROM attempts.started_at - jobs.created_at) * 1000,
           extract(epoch FROM attempts.finished_at - jobs.created_at) * 1000
      FROM jobs JOIN attempts ON attempts.job_id = jobs.id
     WHERE jobs.id = ANY(CAST(%s AS uuid[])) AND jobs.state = 'succeeded' AND attempts.number = 1
"""


@dataclass(frozen=True)
class Turn:
    """What the short jobs of one turn came to, by the database's clock."""

    start: Round
    """From acceptance to the start of the attempt."""
    end: Round
    """From acceptance to its end, which no process that has died can bring."""


def turns(stack: Penstock, options: Options) -> dict[str, list[Turn]]:
    """Clean and poisoned turns, one after the other, on the same processes."""
    found: dict[str, list[Turn]] = {"poisoned": [], "clean": []}
    stack.reset()
    try:
        stack.start()
        _turn(stack, options.warm_seconds, is_poisoned=True)
        for _ in range(options.rounds):
            found["clean"].append(_turn(stack, options.poison_seconds, is_poisoned=False))
            found["poisoned"].append(_turn(stack, options.poison_seconds, is_poisoned=True))
    finally:
        stack.stop()
    return found


def _turn(stack: Penstock, seconds: float, *, is_poisoned: bool) -> Turn:
    """Raises NeverHappenedError when a short job was harmed, or a poisonous one was not put aside."""
    line = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=measures.JOB_SECONDS)
    short, poison = [], []
    began = time.monotonic()
    for number in range(int(seconds * RATE)):
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        short.append(_submit(stack, line, NOOP))
        if is_poisoned and number % POISON_EVERY == 0:
            poison.append(_submit(stack, line, POISON))
    line.close()
    left = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
    wait_until(lambda: stack.ask(left) == 0, seconds=FINISH_SECONDS, what="all jobs are final", every=0.1)
    with stack.watch() as watch:
        rows = watch.execute(FIGURES, [short]).fetchall()
        crashed = "SELECT count(*) FROM jobs WHERE id = ANY(CAST(%s AS uuid[])) AND reason = 'crashed'"
        aside = watch.execute(crashed, [poison]).fetchone()
    if len(rows) != len(short) or aside != (len(poison),):
        raise NeverHappenedError(f"{len(rows)} of {len(short)} short jobs, {aside} of {len(poison)} put aside")
    return Turn(*(_round([float(row[column]) for row in rows]) for column in (0, 1)))


def _submit(stack: Penstock, line: http.client.HTTPConnection, job: dict[str, Any]) -> str:
    headers = {"Content-Type": "application/json", "Authorization": stack.authorization}
    line.request("POST", "/api/v1/jobs", json.dumps(job), headers)
    answer = line.getresponse()
    body = json.loads(answer.read())
    if answer.status != http.client.ACCEPTED:
        raise NeverHappenedError(f"a job was answered {answer.status}: {body}")
    return str(body["id"])


def _round(took: list[float]) -> Round:
    return Round(count=len(took), p50_ms=percentile(took, 50), p95_ms=percentile(took, 95), p99_ms=percentile(took, 99))
