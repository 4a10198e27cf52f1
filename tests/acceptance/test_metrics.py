"""Every process of a real stack that has worked tells its part of the contract, and nothing else."""

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from jobs.telemetry.contract import PREFIX, Metric, Process, Source, told_by
from tests.services import plain
from tests.services.stack import Stack, eventually

#: What the work below does not make happen, mostly trouble: it has a name there, and nothing was counted.
UNLIKELY = {"requests_refused", "attempts_fenced", "messages_unreadable", "measures_dropped", "jobs_replayed"}
UNLIKELY |= {"doorbells_failed", "doorbells_unconfirmed", "doorbells_idle", "doorbells_left", "consumer_restarts"}
UNLIKELY |= {"pool_timeouts", "upkeep_failures", "replica_reads"}


def families(url: str) -> dict[str, Family]:
    return {family.name: family for family in text_string_to_metric_families(plain.get(url, timeout=20).text)}


def value(url: str, name: str, **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    found = [one for family in families(url).values() for one in family.samples if one.name == PREFIX + name]
    return sum(one.value for one in found if labels.items() <= one.labels.items())


def values(stack: Stack, name: str, **labels: str) -> float:
    """Return the same, over all processes."""
    return sum(value(url, name, **labels) for url in stack.facts["metrics_urls"].values())


def work(stack: Stack) -> None:
    """Have jobs succeed, be retried, fail and wait, and a schedule fire."""
    done = [stack.submit("demo.echo", message="hello") for _ in range(5)]
    done += [stack.submit("demo.fail"), stack.submit("demo.noop")]
    tried = stack.submit("demo.flaky", failures=1)
    put = {"task": "demo.noop", "every_seconds": 1}
    assert stack.call("PUT", "/api/v1/schedules/tick", put).status_code in {200, 201}
    later = {"task": "demo.noop", "delay_seconds": 3600}
    assert stack.call("POST", "/api/v1/jobs", later).status_code == 202
    for job_id in (*done, tried):
        stack.finished(job_id)


@pytest.fixture
def worked(stack: Stack) -> Stack:
    stack.up()
    work(stack)
    beat = stack.facts["metrics_urls"]["beat"]
    eventually(lambda: value(beat, "schedule_lateness_seconds_count") >= 1, 30, "the schedule has fired")
    return stack


def test_each_process_tells_each_metric_of_its_part_of_the_contract_and_no_other(worked: Stack) -> None:
    for name, url in worked.facts["metrics_urls"].items():
        found = families(url)
        contract = {PREFIX + metric.name: metric for metric in told_by(Process(name.partition("-")[0]))}

        ours = {family for family in found if not family.startswith(("python_", "process_"))}
        assert ours == contract.keys(), name
        assert {"process_cpu_seconds", "process_resident_memory_bytes", "python_info"} <= found.keys()
        for row in contract.values():
            hold(row, found[PREFIX + row.name])

    told: set[str] = set()
    for url in worked.facts["metrics_urls"].values():
        told |= {name.removeprefix(PREFIX) for name, family in families(url).items() if is_told(family)}
    assert {metric.name for process in Process for metric in told_by(process)} - told <= UNLIKELY


def is_told(family: Family) -> bool:
    """Tell whether anything was counted: what has no labels says 0 before that. A level of 0 is a level."""
    return any(family.type == "gauge" or one.value > 0 for one in family.samples)


def hold(row: Metric, family: Family) -> None:
    """Assert that the family is what the contract says."""
    assert (family.type, family.documentation) == (row.kind, row.meaning)
    assert len(family.samples) < 5000
    for sample in family.samples:
        assert sample.labels.keys() - {"le"} == set(row.labels), row.name
        assert row.source is not Source.FACT or sample.value >= 1


def test_what_is_told_is_what_was_done_and_a_restart_loses_none_of_what_postgresql_counts(worked: Stack) -> None:
    api = worked.facts["metrics_urls"]["api"]
    echo = {"task": "demo.echo", "queue": "default"}
    eventually(lambda: values(worked, "attempts_finished_total", outcome="succeeded", **echo) == 5, 20, "all told")

    assert value(api, "jobs_accepted_total", **echo) == 5
    assert value(api, "jobs_finished_total", state="succeeded", **echo) == 5
    assert values(worked, "end_to_end_seconds_count", state="succeeded", **echo) == 5
    assert value(api, "jobs_retried_total", task="demo.flaky") == 1
    assert value(api, "dead_letters", task="demo.fail") == 1
    assert value(api, "jobs", state="scheduled") == 1
    assert (value(api, "workers_alive"), value(api, "queue_workers", queue="default")) == (2, 2)
    assert value(api, "database_bytes") > 1_000_000

    worked.interrupt()
    worked.up()
    api = worked.facts["metrics_urls"]["api"]

    assert value(api, "jobs_accepted_total", **echo) == 5
    assert value(api, "jobs_finished_total", state="succeeded", **echo) == 5
    assert values(worked, "attempts_finished_total", outcome="succeeded", **echo) == 0
