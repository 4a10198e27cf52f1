"""A real Prometheus, with our configuration and rules, on a real stack."""

from pathlib import Path

from tests.services.prometheus import Prometheus, watching
from tests.services.rules import rules
from tests.services.stack import Stack, eventually

LEVELS = {rule["record"] for rule in rules() if "record" in rule and rule["record"].endswith((":now", ":rate5m"))}


def all_are_up(prometheus: Prometheus, count: int) -> bool:
    targets = prometheus.ask("targets")["activeTargets"]
    return len(targets) == count and all(target["health"] == "up" for target in targets)


def test_prometheus_sees_every_process_of_a_stack_and_works_out_every_rule(stack: Stack, tmp_path: Path) -> None:
    stack.up()
    with watching(stack.facts["metrics_urls"], tmp_path) as prometheus:
        eventually(lambda: all_are_up(prometheus, len(stack.facts["metrics_urls"])), 60, "every process is scraped")
        stack.finished(stack.submit("demo.noop"))
        eventually(
            lambda: all(prometheus.value(name) for name in LEVELS), 60, "every level that is recorded has a value"
        )

        found = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert [(rule["name"], rule["lastError"]) for rule in found if rule["health"] != "ok"] == []
        assert len(found) == len(rules())
        assert [rule["name"] for rule in found if rule.get("state") == "firing"] == []
