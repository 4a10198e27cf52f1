"""Prometheus's rules as they lie in deploy/prometheus/rules."""

from collections import defaultdict
from functools import cache
from typing import Any, Final

import yaml

from deploy.stack.home import ROOT
from tests.services.promql import named

RULE_FILES: Final = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))


@cache
def rules() -> list[dict[str, Any]]:
    """Return every rule of every file."""
    groups = [group for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Return those that are alerts."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> dict[str, set[str]]:
    """Return the series that rules record, with the labels that they have."""
    found: dict[str, set[str]] = defaultdict(set)
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] |= named(rule["expr"]).grouping | set(rule.get("labels", ()))
    for name in found:  # made of other recorded series, by operators that keep their labels
        sources = [one for rule in rules() if rule.get("record") == name for one in named(rule["expr"]).metrics]
        found[name] |= set[str]().union(*(found[source] for source in sources if source in found))
    return found
