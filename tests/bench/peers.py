"""The baselines as running stacks: the hand-built one, and plain Celery with either result backend."""

import json
from abc import abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from tests.bench.options import Options
from tests.bench.servers import BASELINE_PLACE, RESULTS_DB, Servers
from tests.bench.stacks import DrainStack, HttpStack, Watch

BASELINE = "tests.bench.baseline"
FILL_SECONDS = 120.0
KEYS_AT_ONCE = 1000


class HandBuilt(HttpStack):
    """Sync FastAPI endpoint, ORM session and commit per request, `.delay()`; pools at their defaults."""

    name = "hand-built"
    api = "api"
    tuned = "0"
    ready_path = "/openapi.json"
    _has_template = False

    @property
    def _env(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url.replace("postgresql://", "postgresql+psycopg://", 1),
            "BROKER_URL": self.servers.broker_url(BASELINE_PLACE),
            "HANDBUILT_TUNED": self.tuned,
        }

    def reset(self) -> None:
        self.stop()
        if not self._has_template:
            self.database_url = self.servers.recreate_database("handbuilt_empty")
            self.programs.run("tables", f"{BASELINE}.records", env=self._env, seconds=30)
            self._has_template = True
        self.database_url = self.servers.recreate_database("handbuilt", "handbuilt_empty")
        self.servers.empty_broker(BASELINE_PLACE)

    def start_api(self) -> None:
        arguments = ["uvicorn", f"{BASELINE}.{self.api}:app", "--host", "127.0.0.1", "--port", str(self.choose_port())]
        arguments += ["--workers", str(self.options.api_processes), "--loop", "uvloop", "--http", "httptools"]
        self.programs.start("api", *arguments, "--no-access-log", "--log-level", "warning", env=self._env)
        self.wait_until_ready()

    def start_workers(self) -> None:
        self.celery_workers(f"{BASELINE}.handbuilt:app", "handbuilt", self._env)

    def started_at(self, job_id: str, connection: Watch) -> float | None:
        row = connection.execute(
            "SELECT extract(epoch FROM started_at) FROM jobs WHERE id = %s AND finished_at IS NOT NULL", [job_id]
        ).fetchone()
        return float(row[0]) if row else None


class TunedHandBuilt(HandBuilt):
    """The same design without what is slow for no reason."""

    name = "hand-built, tuned"
    api = "tuned"
    tuned = "1"


class PlainCelery(DrainStack):
    """Celery with a result backend and nothing else: no API, no table of jobs."""

    def __init__(self, servers: Servers, options: Options, home: Path) -> None:
        super().__init__(servers, options, home)
        self.backend_url = ""

    @property
    def _env(self) -> dict[str, str]:
        return {"BROKER_URL": self.servers.broker_url(BASELINE_PLACE), "RESULT_BACKEND": self.backend_url}

    def reset(self) -> None:
        self.stop()
        self.servers.empty_broker(BASELINE_PLACE)
        self.reset_results()

    @abstractmethod
    def reset_results(self) -> None:
        """No result is stored, and `backend_url` is known."""

    def start(self) -> None:
        self.start_workers()

    def start_workers(self) -> None:
        self.celery_workers(f"{BASELINE}.plain:app", "plain", self._env)

    def submit(self, count: int) -> None:
        arguments = [f"{BASELINE}.plain", str(count)]
        self.programs.run("fill", *arguments, env=self._env, seconds=FILL_SECONDS)

    def is_filled(self) -> bool:
        return True  # the filling program has ended


class PlainCeleryPostgres(PlainCelery):
    name = "Celery, PostgreSQL results"

    def reset_results(self) -> None:
        self._url = self.servers.recreate_database("plain")
        self.backend_url = "db+" + self._url.replace("postgresql://", "postgresql+psycopg://", 1)

    def finished(self) -> int:
        return int(self._ask("SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS'") or 0)

    def last_finish(self) -> float:
        return float(self._ask("SELECT extract(epoch FROM max(date_done) AT TIME ZONE 'UTC') FROM celery_taskmeta"))

    def _ask(self, question: str) -> Any:
        with psycopg.connect(self._url) as connection:
            try:
                row = connection.execute(question).fetchone()
            except psycopg.errors.UndefinedTable:  # the first worker makes it when it stores a result
                return 0
        return row[0] if row else 0


class PlainCeleryRedis(PlainCelery):
    name = "Celery, Redis results"

    def reset_results(self) -> None:
        self.backend_url = self.servers.valkey_url(RESULTS_DB)
        self.servers.valkey_database(RESULTS_DB).flushdb()

    def finished(self) -> int:
        return int(self.servers.valkey_database(RESULTS_DB).dbsize())

    def last_finish(self) -> float:
        """Raises ValueError when a stored result is not a success."""
        results = self.servers.valkey_database(RESULTS_DB)
        keys = list(results.scan_iter(match="celery-task-meta-*", count=KEYS_AT_ONCE))
        found = []
        for start in range(0, len(keys), KEYS_AT_ONCE):
            values = results.mget(keys[start : start + KEYS_AT_ONCE])
            found += [json.loads(value) for value in values if value is not None]
        if any(one["status"] != "SUCCESS" for one in found):
            raise ValueError("a job did not succeed")
        return max(_utc(one["date_done"]) for one in found)


def _utc(text: str) -> float:
    instant = datetime.fromisoformat(text)
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
