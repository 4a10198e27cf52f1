"""The files for CI of a public forge: schema, risks, pins, and who is tried."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.stack.home import ROOT
from tests.audit.finding import Verdict
from tests.audit.parts import workflows
from tests.services.compose import services

FOLDER: Final = ROOT / ".github" / "workflows"
FILES: Final = sorted(FOLDER.glob("*.yml"))
PINNED: Final = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$")
IMAGE: Final = re.compile(r"debian:\d+@sha256:[0-9a-f]{64}")

every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def jobs(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text())["jobs"])


def rows() -> list[dict[str, str]]:
    """Return what the tests are tried with."""
    return list(jobs(FOLDER / "check.yml")["tests"]["strategy"]["matrix"]["include"])


def test_the_schema_and_the_linter_find_nothing() -> None:
    part = workflows()

    assert (part.verdict, part.told) == (Verdict.GOOD, [])
    assert part.looked_at.split(", ") == [file.name for file in FILES]


@every_file
def test_every_action_is_pinned_by_its_commit_and_says_its_release(file: Path) -> None:
    used = [line.strip().removeprefix("- ") for line in file.read_text().splitlines() if "uses:" in line]

    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


@every_file
def test_no_job_may_do_more_than_read_and_none_is_told_a_secret(file: Path) -> None:
    assert yaml.safe_load(file.read_text())["permissions"] == {}
    assert [job["permissions"] for job in jobs(file).values()] == [{"contents": "read"}] * len(jobs(file))
    assert all(job["timeout-minutes"] <= 120 for job in jobs(file).values())
    assert "secrets." not in file.read_text()


def test_the_oldest_and_the_newest_python_are_tried() -> None:
    supported = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert supported

    tried = sorted(row["python"] for row in rows())

    assert tried == [f"3.{supported[1]}", f"3.{int(supported[2]) - 1}"]


def test_the_oldest_and_the_newest_postgresql_are_tried() -> None:
    oldest, newest = sorted(rows(), key=lambda row: int(row["postgresql"]))

    assert oldest["programs"] == f"/usr/lib/postgresql/{oldest['postgresql']}/bin"
    assert newest["programs"] == ""  # the wheel's
    assert f"postgres:{newest['postgresql']}" in (ROOT / "docker-compose.yml").read_text()
    assert f"PostgreSQL {oldest['postgresql']}" in (ROOT / "CONTRIBUTING.md").read_text()


def test_the_tests_may_mount_disks_and_make_networks() -> None:
    options = jobs(FOLDER / "check.yml")["tests"]["container"]["options"]

    assert [right for right in ("SYS_ADMIN", "NET_ADMIN") if f"--cap-add {right}" not in options] == []


def test_the_composition_is_started_with_each_broker_that_it_can_choose() -> None:
    engine = jobs(FOLDER / "check.yml")["engine"]
    chosen = {profile for service in services().values() for profile in service.get("profiles", ())}

    assert set(engine["strategy"]["matrix"]["broker"]) == chosen
    assert engine["env"] == {"BROKER": "${{ matrix.broker }}"}
    assert engine["steps"][-1]["run"] == ".ci/engine"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("engine", "engine: needs Docker Engine 25 and Compose 2.32 or later"),
        ("cluster", "cluster: needs Docker Engine, kind and kubectl: docker is missing"),
    ],
)
def test_where_no_engine_is_nothing_is_tried_and_nothing_stays(program: str, told: str, tmp_path: Path) -> None:
    for needed in ("bash", "dirname"):
        (tmp_path / needed).symlink_to(shutil.which(needed) or "")

    done = subprocess.run(
        [ROOT / ".ci" / program],
        env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{told}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"bash", "dirname"}


def test_every_image_is_pinned_by_its_digest() -> None:
    assert [row["image"] for row in rows() if not IMAGE.fullmatch(row["image"])] == []
