"""Prometheus's rules: valid, each tested for firing and for quiet, about metrics that there are, with a page each."""

import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack.home import ROOT
from tests.services.monitoring import programs, run
from tests.services.promql import known, named, unknown
from tests.services.rules import RULE_FILES, alerts, recorded, rules
from tests.unit.docs.pages import blocks, prose

HERE = ROOT / "deploy" / "prometheus"
RUNBOOK = ROOT / "docs" / "runbook"
TEST_FILES = sorted((HERE / "tests").glob("*.yml"))
SEVERITIES = {"page", "ticket"}
PROCEDURES = {
    "broker-lost", "database-full", "deploy", "replay-dead-letters", "restore", "rollback", "rotate-secrets", "scale",
}  # fmt: skip
"""Pages of the runbook that say what to do, and belong to no alert."""


@cache
def cases() -> list[dict[str, Any]]:
    """Return every case that promtool runs."""
    return [case for file in TEST_FILES for case in yaml.safe_load(file.read_text())["tests"]]


def called(rule: dict[str, Any]) -> str:
    """Return how a test calls the alert."""
    return f"{rule['alert']}-{rule['labels']['severity']}"


def page_of(alert: str) -> Path:
    """Return the page of an alert: PenstockNoWorker has no-worker.md."""
    return RUNBOOK / (re.sub(r"(?<!^)(?=[A-Z])", "-", alert.removeprefix("Penstock")).lower() + ".md")


def test_promtool_accepts_the_configuration_and_all_rules() -> None:
    said = run([programs().promtool, "check", "config", HERE / "prometheus.yml"])

    assert f"{len(RULE_FILES)} rule files found" in said
    assert len(re.findall("SUCCESS: .* rules found", said)) == len(RULE_FILES)


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.stem)
def test_promtool_finds_that_rules_do_what_their_tests_say(file: Path) -> None:
    assert "SUCCESS" in run([programs().promtool, "test", "rules", file])


@pytest.mark.parametrize("rule", alerts(), ids=called)
def test_an_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(rule: dict[str, Any]) -> None:
    asked = [test for case in cases() for test in case.get("alert_rule_test", ()) if test["alertname"] == rule["alert"]]
    severity = rule["labels"]["severity"]
    fired = {any(one["exp_labels"]["severity"] == severity for one in test["exp_alerts"]) for test in asked}

    assert fired == {True, False}


def test_every_series_that_is_recorded_is_asked_for_in_a_test() -> None:
    asked = [test["expr"] for case in cases() for test in case.get("promql_expr_test", ())]

    assert {rule["record"] for rule in rules() if "record" in rule} <= {
        name for expr in asked for name in named(expr).metrics
    }


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: called(rule) if "alert" in rule else rule["record"])
def test_a_rule_names_only_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"], known() | recorded()) == []


@pytest.mark.parametrize("rule", alerts(), ids=called)
def test_an_alert_says_how_grave_it_is_what_it_means_and_where_its_page_is(rule: dict[str, Any]) -> None:
    said = rule["annotations"]

    assert rule["labels"]["severity"] in SEVERITIES
    assert set(said) == {"summary", "description", "runbook_url"}
    assert said["runbook_url"] == "{{ $externalLabels.runbook_base }}/" + page_of(rule["alert"]).name
    assert page_of(rule["alert"]).exists()


@pytest.mark.parametrize(
    "page",
    sorted(page for page in RUNBOOK.glob("*.md") if page.stem not in PROCEDURES),
    ids=lambda page: page.stem,
)
def test_a_page_of_the_runbook_about_an_alert_has_every_part(page: Path) -> None:
    names = {rule["alert"] for rule in alerts() if page_of(rule["alert"]) == page}

    headings = re.findall(r"^##? (.+)$", prose(page.read_text()), re.MULTILINE)

    assert headings == [*names, "Meaning", "First look", "Fix", "Prevention"]


def test_the_page_about_monitoring_lists_every_alert_with_its_page() -> None:
    page = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    listed = re.findall(r"^\| \[`(\w+)`\]\(\.\./runbook/([\w-]+\.md)\) \| ([\w, ]+) \|", page, re.MULTILINE)

    expected = defaultdict(list)
    for rule in alerts():
        expected[rule["alert"]].append(rule["labels"]["severity"])
    assert {name: (file, grave) for name, file, grave in listed} == {
        name: (page_of(name).name, ", ".join(grave)) for name, grave in expected.items()
    }


def test_what_is_not_in_the_contract_is_found_in_an_expression() -> None:
    series = known()

    assert unknown('sum by (queue) (rate(penstock_jobs_accepted_total{task="a"}[5m])) > 4e6', series) == []
    assert unknown("max by (queue) (penstock_jbos) unless on (job) up", series) == ["penstock_jbos", "queue"]
    assert unknown('penstock_jobs{colour="red"} offset 5m', series) == ["penstock_jobs{colour}"]
    assert unknown("sum by (tenant) (penstock_jobs)", series) == ["tenant"]


def test_every_expression_on_a_page_names_only_metrics_that_there_are() -> None:
    pages = [*RUNBOOK.glob("*.md"), ROOT / "docs" / "how-to" / "monitor.md"]
    shown = [block.text for page in pages for block in blocks(page.read_text()) if block.language == "promql"]

    assert shown
    assert [
        wrong for text in shown for line in text.splitlines() for wrong in unknown(line, known() | recorded())
    ] == []
