"""Each part of an audit finds what is planted, and says so when nobody could be asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deploy.stack.home import ROOT
from tests.audit import parts
from tests.audit.__main__ import GOOD, NOT_ASKED, WRONG, exit_code
from tests.audit.finding import Part, Verdict

LOCK = "deploy/build-requirements.txt"
KNOWN = {"id": "PEN-2026-1", "affected": [{"package": {"name": "setuptools", "ecosystem": "PyPI"},
         "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}]}]}  # fmt: skip


@contextmanager
def service(answer: dict[str, Any]) -> Iterator[str]:
    """A list of advisories that answers every question alike; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def test_an_advisory_about_a_locked_version_is_found() -> None:
    with service({"vulns": [KNOWN]}) as url:
        part = parts.advisories((LOCK,), url)

    assert part.verdict is Verdict.FOUND
    assert ["PEN-2026-1, repaired in 99.0" in line for line in part.told] == [True]


def test_where_nothing_is_known_of_any_version_the_part_is_good() -> None:
    with service({}) as url:
        part = parts.advisories((LOCK,), url)

    assert (part.verdict, part.told) == (Verdict.GOOD, [])
    assert part.looked_at == f"{LOCK}: 1 packages"


def test_a_service_that_is_not_reached_could_not_be_asked() -> None:
    with service({}) as url:
        pass

    part = parts.advisories((LOCK,), url)

    assert part.verdict is Verdict.NOT_ASKED
    assert "Connection refused" in part.told[0]


def test_code_that_breaks_a_rule_is_found(tmp_path: Path) -> None:
    (tmp_path / "opening.py").write_text('import subprocess\n\nsubprocess.run("ls *", shell=True)\n')

    part = parts.code(tmp_path)

    assert part.verdict is Verdict.FOUND
    assert any(line.startswith("opening.py:3: S60") for line in part.told)


def test_the_code_that_ships_breaks_none() -> None:
    assert parts.code().told == []


def test_the_bill_names_every_part_of_the_image_with_version_and_hash(tmp_path: Path) -> None:
    part = parts.bill(tmp_path / "bill.json")

    made = json.loads((tmp_path / "bill.json").read_text())
    locked = [line for line in (ROOT / parts.IMAGE).read_text().splitlines() if "==" in line]
    assert (part.verdict, part.told) == (Verdict.GOOD, [])
    assert made["bomFormat"] == "CycloneDX"
    assert len(made["components"]) == len(locked) > 40
    assert made["metadata"]["component"]["name"] == "penstock"


def test_a_workflow_that_is_wrong_or_risky_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "on: pull_request\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    stepz: []\n    steps:\n"
        '      - run: echo "${{ github.event.pull_request.title }}"\n      - uses: actions/checkout@v4\n'
    )

    told = "\n".join(parts.workflows(tmp_path).told)

    assert "stepz" in told or "a.yml" in told
    assert {"template-injection", "unpinned-uses", "excessive-permissions"} <= set(told.replace(":", " ").split())


def test_what_was_found_counts_and_who_was_not_asked_counts_where_it_is_wanted() -> None:
    good, found, not_asked = (Part("a", "b", "c", verdict) for verdict in Verdict)

    assert exit_code([good], strict=True) == GOOD
    assert exit_code([good, not_asked], strict=False) == GOOD
    assert exit_code([good, not_asked], strict=True) == NOT_ASKED
    assert exit_code([found, not_asked], strict=False) == WRONG
