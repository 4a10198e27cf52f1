"""Alertmanager's configuration: valid, each alert reaches who should know, and what is silenced exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.stack.home import ROOT
from tests.services.monitoring import programs, run
from tests.services.rules import alerts

FILE = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
ALERTS = {rule["alert"] for rule in alerts()}


def configuration() -> Any:
    return yaml.safe_load(FILE.read_text())


def named(matchers: list[str]) -> set[str]:
    """Return the alerts that matchers name."""
    return {
        name for matcher in matchers if matcher.startswith("alertname") for name in re.findall(r"Penstock\w+", matcher)
    }


def test_amtool_accepts_the_configuration() -> None:
    said = run([programs().amtool, "check-config", FILE])

    assert "SUCCESS" in said
    assert "2 receivers" in said


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=PenstockNoBeat", "severity=page"], "pager"),
        (["alertname=PenstockJobsWaiting", "severity=page", "queue=critical"], "pager"),
        (["alertname=PenstockJobsWaiting", "severity=ticket", "queue=critical"], "tickets"),
        (["alertname=SomebodyElses"], "tickets"),
    ],
    ids=" ".join,
)
def test_an_alert_goes_to_who_should_know(labels: list[str], receivers: str) -> None:
    ask = [programs().amtool, "config", "routes", "test", f"--config.file={FILE}", f"--verify.receivers={receivers}"]

    assert run([*ask, *labels]).split()[0] == receivers


def test_every_alert_that_silences_or_is_silenced_exists() -> None:
    rules = configuration()["inhibit_rules"]

    mentioned = {name for rule in rules for side in ("source", "target") for name in named(rule[f"{side}_matchers"])}

    assert mentioned - ALERTS == set()


def test_no_alert_silences_itself_but_a_page_its_ticket() -> None:
    first, *others = configuration()["inhibit_rules"]

    assert (first["source_matchers"], first["target_matchers"]) == (['severity="page"'], ['severity="ticket"'])
    assert "alertname" in first["equal"]
    for rule in others:
        assert named(rule["source_matchers"])
        assert named(rule["target_matchers"])
        assert not named(rule["source_matchers"]) & named(rule["target_matchers"])


def test_no_alert_is_silenced_by_one_that_it_silences() -> None:
    silences: dict[str, set[str]] = {}
    for rule in configuration()["inhibit_rules"][1:]:
        for source in named(rule["source_matchers"]):
            silences.setdefault(source, set()).update(named(rule["target_matchers"]))

    assert [(a, b) for a, targets in silences.items() for b in targets if a in silences.get(b, ())] == []


@pytest.mark.parametrize(
    "file", [FILE, *sorted((ROOT / "deploy" / "prometheus").glob("*.yml"))], ids=lambda file: file.stem
)
def test_no_secret_stands_in_a_file(file: Path) -> None:
    text = file.read_text()

    assert not re.search(r"(?:password|token|secret|credentials|_key): *\S", text)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)
