"""deploy/Dockerfile: what a linter wants of it, and what is wanted of this one."""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from deploy.stack.home import ROOT
from tests.services import dockerfile
from tests.services.dockerfile import DOCKERFILE, LAST

BUILDERS = re.compile(r"\b(gcc|g\+\+|cc|make|binutils|build-essential|apt-get|apk|curl|git)\b")


def ignored(path: Path) -> bool:
    """Tell whether .dockerignore keeps a path from the builder: the last line that fits counts."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        names = [str(path), *(str(parent) for parent in path.parents)]
        if line and not line.startswith("#") and any(fnmatch(name, pattern) for name in names):
            verdict = not line.startswith("!")
    return verdict


def test_the_linter_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert linter, "it is one of the tests' tools"

    done = subprocess.run([linter, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["PYTHON_IMAGE", "TOOLS_IMAGE"])
def test_a_base_is_named_to_the_patch_and_may_be_given_with_its_digest(name: str) -> None:
    assert re.fullmatch(r"python:3\.1[123]\.\d+-(slim-)?trixie", dockerfile.arguments()[name])


def test_both_bases_are_the_same_python_and_the_image_stands_on_the_slim_one() -> None:
    bases = dockerfile.arguments()

    assert bases["PYTHON_IMAGE"].replace("-slim", "") == bases["TOOLS_IMAGE"]
    assert dockerfile.of(LAST, "FROM") == ["${PYTHON_IMAGE}"]


def test_dependencies_are_installed_by_hash_from_wheels_in_a_layer_that_no_code_of_ours_can_change() -> None:
    assert dockerfile.copied("dependencies") == [Path("requirements-image.txt")]
    (install,) = [one for one in dockerfile.commands("dependencies") if "pip install" in one]
    assert {"--require-hashes", "--only-binary"} <= set(install.split())

    dependencies, project = [
        place
        for place, one in enumerate(dockerfile.instructions())
        if one.stage == LAST and "/opt/penstock" in one.text
    ][:2]
    assert dependencies < project
    assert dockerfile.instructions()[dependencies].word == "COPY"


def test_the_last_stage_has_no_tool_that_builds_and_copies_nothing_of_the_checkout() -> None:
    assert dockerfile.copied(LAST) == []
    assert [one for one in dockerfile.commands(LAST) if BUILDERS.search(one)] == []


def test_the_account_is_a_number_that_an_engine_can_tell_from_root() -> None:
    assert dockerfile.of(LAST, "USER") == ["10001:10001"]
    assert any("useradd --uid 10001 " in one for one in dockerfile.commands(LAST))


def test_signals_reach_the_process_and_sigterm_is_the_one_that_stops_it() -> None:
    assert dockerfile.of(LAST, "STOPSIGNAL") == ["SIGTERM"]
    assert (dockerfile.words("ENTRYPOINT"), dockerfile.words("CMD")) == (["penstock"], ["api"])


def test_the_health_check_is_the_command_that_finds_out_which_role_this_is() -> None:
    assert dockerfile.words("HEALTHCHECK") == ["penstock", "health"]


def test_what_the_build_copies_is_sent_to_the_builder_and_what_is_secret_or_large_is_not() -> None:
    sources = [source for stage in ("tools", "dependencies", "wheel") for source in dockerfile.copied(stage)]

    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    sources += [Path(name.replace(".", "/")) for name in packages]

    assert sources
    assert [source for source in sources if ignored(source)] == []
    for kept in (".git/config", ".env", ".venv/bin/python", "tests/conftest.py", "deploy/compose/secrets/database"):
        assert ignored(Path(kept)), kept


def pins(file: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+==[^ ;]+)", (ROOT / file).read_text(), re.MULTILINE))


def test_the_image_gets_the_versions_that_were_tested() -> None:
    assert pins("requirements-image.txt") - pins("requirements-dev.txt") == set()
    assert pins("deploy/build-requirements.txt") <= pins("requirements.txt")
