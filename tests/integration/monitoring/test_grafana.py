"""Grafana's dashboards: as the code makes them, in expressions that Prometheus parses, about metrics that there are."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER, file_of, main, text_of
from deploy.grafana.boards import DASHBOARDS
from deploy.grafana.panels import COLUMNS, SOURCE, Dashboard, Panel, Series
from deploy.stack.home import ROOT
from tests.services.monitoring import programs, run
from tests.services.promql import known, unknown
from tests.services.rules import recorded

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.name)
PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
every_panel = pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{dashboard.name}-{panel.title}" for dashboard, panel in PANELS]
)
ALERTS = {"ALERTS": {"alertname", "alertstate", "severity"}}
"""What Prometheus tells of its own alerts."""


def plain(expression: str, dashboard: Dashboard) -> str:
    """Return the expression with a value in the place of each of Grafana's variables."""
    expression = expression.replace("$__rate_interval", "5m")
    for variable in dashboard.variables:
        expression = expression.replace(f"${variable.name}", "default")
    return expression


@every_dashboard
def test_the_file_is_the_one_that_the_code_makes(dashboard: Dashboard) -> None:
    assert file_of(dashboard).read_text() == text_of(dashboard), "write it anew: python -m deploy.grafana"


def test_there_is_no_other_file_and_writing_them_changes_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("deploy.grafana.__main__.FOLDER", tmp_path)

    main()

    there = {file.name: file.read_text() for file in FOLDER.iterdir()}
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == there


def test_prometheus_parses_every_expression(tmp_path: Path) -> None:
    expressions = [plain(one.expression, dashboard) for dashboard, panel in PANELS for one in panel.series]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    said = run([programs().promtool, "check", "rules", "--lint=none", file])

    assert f"{len(expressions)} rules found" in said
    assert "$" not in file.read_text()


@every_panel
def test_a_panel_names_only_metrics_and_labels_that_there_are(dashboard: Dashboard, panel: Panel) -> None:
    series = known() | recorded() | ALERTS

    assert [unknown(plain(one.expression, dashboard), series) for one in panel.series] == [[] for _ in panel.series]


@every_panel
def test_a_panel_says_what_it_shows_in_which_unit_and_calls_its_lines(dashboard: Dashboard, panel: Panel) -> None:
    assert panel.title
    assert panel.description.endswith(".")
    assert panel.unit
    assert panel.series
    assert all(one.legend for one in panel.series)


@every_dashboard
def test_a_choice_is_among_the_values_of_a_label_that_there_is(dashboard: Dashboard) -> None:
    for variable in dashboard.variables:
        assert unknown(f'{variable.metric}{{{variable.label}="x"}}', known()) == []
        assert any(f"${variable.name}" in one.expression for panel in dashboard.panels for one in panel.series)


def document(dashboard: Dashboard) -> Any:
    return json.loads(file_of(dashboard).read_text())


@every_dashboard
def test_panels_stand_side_by_side_and_every_one_asks_the_chosen_source(dashboard: Dashboard) -> None:
    panels = document(dashboard)["panels"]
    taken: Counter[tuple[int, int]] = Counter()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        taken.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))

    assert set(taken.values()) == {1}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {json.dumps(one["datasource"]) for panel in panels for one in [panel, *panel["targets"]]} == {
        json.dumps(SOURCE)
    }


def test_no_two_dashboards_and_no_two_panels_of_one_are_called_alike() -> None:
    assert len({document(dashboard)["uid"] for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    assert len({(dashboard.name, panel.title) for dashboard, panel in PANELS}) == len(PANELS)


def test_panels_that_do_not_fit_beside_others_begin_a_row() -> None:
    panels = [Panel(str(width), "It is.", "short", [Series("up", "it")], width=width) for width in (12, 12, 18, 12)]

    made = Dashboard("some", "Some", panels).document()["panels"]

    assert [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in made] == [(0, 0), (12, 0), (0, 8), (0, 16)]


def test_what_is_provisioned_is_prometheus_and_these_dashboards() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "penstock.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "penstock.yml").read_text())["providers"]

    assert [(one["type"], one["isDefault"]) for one in sources] == [("prometheus", True)]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
