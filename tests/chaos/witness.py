"""Which process runs which job right now, and how the last run ended, by the word of the tasks themselves."""

import json
import threading
from pathlib import Path
from uuid import UUID


class Witness:
    """Reads the file of executions as it grows."""

    def __init__(self, path: Path) -> None:
        """Read `path`, from its beginning."""
        self._path = path
        self._lock = threading.Lock()
        self._read_to = 0
        self._rest = b""
        self._open: dict[str, tuple[int, UUID]] = {}
        self._hows: dict[UUID, str] = {}

    def how(self, job_id: UUID) -> str | None:
        """Return how the latest execution of the job that ended did; None: none has."""
        with self._lock:
            self._catch_up()
            return self._hows.get(job_id)

    def running(self) -> dict[int, UUID]:
        """Return the job that each process has begun and not ended; one that died in its job is still among them."""
        with self._lock:
            self._catch_up()
            return dict(self._open.values())

    def _catch_up(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read_to)
            fresh = file.read()
        self._read_to += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            facts = json.loads(line) if line else None
        except ValueError:  # cut off with its process
            return
        if facts is None:
            return
        if "began_at" in facts:
            self._open[facts["run"]] = facts["pid"], UUID(facts["job_id"])
        elif "ended_at" in facts and (began := self._open.pop(facts["run"], None)):
            self._hows[began[1]] = facts["how"]
