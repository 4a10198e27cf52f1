"""What the scalers of deploy/kubernetes ask Prometheus, read by its own parser."""

import json
from pathlib import Path

from tests.services.monitoring import programs, run
from tests.unit.deploy.manifests import of


def test_prometheus_parses_what_the_scalers_ask(tmp_path: Path) -> None:
    triggers = [one for made in of("production", "ScaledObject").values() for one in made["spec"]["triggers"]]
    rules = [
        {"record": f"scaler:{number}", "expr": trigger["metadata"]["query"]} for number, trigger in enumerate(triggers)
    ]
    file = tmp_path / "scalers.yml"
    file.write_text(json.dumps({"groups": [{"name": "scalers", "rules": rules}]}))

    assert f"{len(triggers)} rules found" in run([programs().promtool, "check", "rules", "--lint=none", file])
    assert len(triggers) == 6


def test_promtool_accepts_the_rules_as_kubernetes_gets_them(tmp_path: Path) -> None:
    (made,) = of("production", "PrometheusRule").values()
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps(made["spec"]))

    assert "SUCCESS" in run([programs().promtool, "check", "rules", file])
