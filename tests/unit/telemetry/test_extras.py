"""Traces cost nothing where nobody wants them, and a missing extra stops no process."""

import subprocess
import sys

import pytest
import structlog
from pydantic import SecretStr

from jobs.telemetry import extras, reports, traces
from jobs.telemetry.reports import ReportSettings
from jobs.telemetry.traces import TraceSettings

EXTRAS = ("opentelemetry.exporter", "jobs.telemetry.otel", "sentry_sdk")
ROOTS = "import api.app, worker.app, schedules.app, sys"


def test_a_process_without_traces_loads_nothing_of_them() -> None:
    found = f"{ROOTS}; print([name for name in {EXTRAS!r} if name in sys.modules])"

    told = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["api.traced", "worker.traced", "schedules.traced"])
@pytest.mark.parametrize("endpoint", [None, ""])
def test_without_an_address_there_are_no_traces(module: str, endpoint: str | None) -> None:
    assert traces.part(module, TraceSettings(otlp_endpoint=endpoint)) is None


@pytest.mark.parametrize("module", ["api.traced", "worker.traced", "schedules.traced"])
def test_an_extra_that_is_not_installed_is_told_and_breaks_nothing(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", module, "jobs.telemetry.otel"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with structlog.testing.capture_logs() as lines:
        assert traces.part(module, TraceSettings(otlp_endpoint="http://127.0.0.1:4318")) is None

    assert [(line["event"], line["extra"]) for line in lines] == [("extra_not_installed", "penstock[otel]")]


def test_any_other_module_that_is_missing_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        extras.load("jobs.no_such_module", needs="opentelemetry", extra="otel")


@pytest.mark.parametrize("dsn", [None, ""])
def test_without_a_dsn_nothing_is_reported(dsn: str | None) -> None:
    given = None if dsn is None else SecretStr(dsn)

    assert reports.begin("tests", ReportSettings(sentry_dsn=given)) is None
