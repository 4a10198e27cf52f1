"""Writes docs/reference/metrics.md from the contract: `python -m tests.unit.docs.metrics_page`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.stack.home import ROOT
from jobs.telemetry.contract import CONTRACT, PREFIX, Metric

PAGE: Final = ROOT / "docs" / "reference" / "metrics.md"

HEAD: Final = """# Metrics

<!-- Made by `python -m tests.unit.docs.metrics_page`; a test fails when this page and the code differ. -->

What `/metrics` of each process tells, for Prometheus. The table is the contract in `jobs/telemetry/contract.py`, of
which the instruments are made. Counters end in `_total`, histograms in `_bucket`, `_sum` and `_count` where they are
read.

- **api** answers on its own port, `PENSTOCK_API_PORT`.
- **worker** and **beat** answer where `PENSTOCK_WORKER_METRICS_PORT` and `PENSTOCK_BEAT_METRICS_PORT` give them a port,
  from a thread of the main process: a worker whose slots are all busy answers as well. `make run` gives every process a
  free port; `metrics_urls` in its `stack.json` has the addresses.

```yaml
# prometheus.yml
scrape_configs:
  - job_name: penstock-api
    static_configs: [{targets: ["api.internal:8000"]}]
  - job_name: penstock-worker
    static_configs: [{targets: ["worker-1.internal:9101", "worker-2.internal:9101"]}]
  - job_name: penstock-beat
    static_configs: [{targets: ["beat.internal:9102"]}]
```

Labels are bounded: tasks and queues by the code and the settings, routes by the code. No label holds an id, a tenant or
anything that a client has written.
"""

FOOT: Final = """## Where a value comes from

**process**: counted by the process that tells it, since it started; `rate()` and `increase()` allow for restarts.
Several API processes that share a port (`PENSTOCK_API_PROCESSES`) count together: whichever of them is asked tells the
sum, and what a process counted that has died stays in it. The children of a worker count nothing themselves: they tell
the main process how an attempt ended, and it counts when PostgreSQL has accepted that.

**PostgreSQL**: read at each scrape, so no restart loses it, and every process that tells it tells the same: take
`max by (...)` over several of them, never `sum`. While PostgreSQL is away these are left out, because an old number
would be a wrong one.

**fact**: what the process is. Beside these each process tells `python_info`, and the standard `process_*` of its main
process and its children together; one that answers alone, and not in turn with others, also `python_gc_*`.

**Of tasks**: what tasks measure themselves through [`self.job`](../how-to/write-a-task.md) begins with `penstock_task_`
and is told by the worker that ran them.

`PENSTOCK_METRICS=false` stops what is counted in the process.
"""


def page() -> str:
    """Return the page as the code is now."""
    return "\n".join([HEAD, *_table(), FOOT])


def _table() -> Iterator[str]:
    yield "| metric | kind | labels | unit | meaning | told by | from |"
    yield "|---|---|---|---|---|---|---|"
    yield from map(_row, CONTRACT)
    yield ""


def _row(metric: Metric) -> str:
    labels = ", ".join(metric.labels) or "none"
    where = ", ".join(metric.told_by)
    cells = (f"`{PREFIX}{metric.name}`", metric.kind, labels, metric.unit, metric.meaning, where, metric.source)
    return f"| {' | '.join(cells)} |"


def main(file: Path = PAGE) -> None:
    """Write the page."""
    file.write_text(page())


if __name__ == "__main__":
    main()
