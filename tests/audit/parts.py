"""The parts of an audit. Each runs a program as anybody would, and reads what it says."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from deploy.stack.home import ROOT
from tests.audit.finding import Part, Verdict, judged
from tests.audit.leaks import leaks_in

LOCKS: Final = ("requirements-dev.txt", "requirements-image.txt")
IMAGE: Final = "requirements-image.txt"
BOUND_SECONDS: Final = 600.0
LONGEST: Final = 200
_PROGRAMS: Final = Path(sys.executable).parent


def advisories(locks: tuple[str, ...] = LOCKS, service: str | None = None) -> Part:
    """Ask OSV, or the service at another URL, for advisories about each locked version."""
    files = [word for lock in locks for word in ("--requirement", lock)]
    where = ["--osv-url", service] if service else []
    asked = _run("pip_audit", *files, *where, "--require-hashes", "--disable-pip", "--vulnerability-service=osv",
                 "--format=json", "--progress-spinner=off", "--timeout=20")  # fmt: skip
    name, tool, what = "advisories", _tool("pip-audit"), ", ".join(locks)
    try:
        dependencies = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        return Part(name, tool, what, Verdict.NOT_ASKED, [_reason(asked.stderr)])
    told = sorted({
        f"{one['name']} {one['version']}: {known['id']}, repaired in {', '.join(known['fix_versions']) or 'no release'}"
        for one in dependencies
        for known in one.get("vulns", ())
    })  # fmt: skip
    skipped = [f"{one['name']}: not looked up, {one['skip_reason']}" for one in dependencies if "skip_reason" in one]
    return judged(name, tool, f"{what}: {len(dependencies)} packages", told + skipped)


def code(folder: Path = ROOT) -> Part:
    """Hold the code to ruff's rules about security (S); what is excepted says why where it stands."""
    asked = _run("ruff", "check", "--select=S", "--output-format=json", "--no-cache", str(folder))
    told = [
        f"{Path(one['filename']).relative_to(folder)}:{one['location']['row']}: {one['code']} {one['message']}"
        for one in json.loads(asked.stdout)
    ]
    return judged("code", _tool("ruff"), "all Python but tests, by the rules S", told)


def secrets(root: Path = ROOT) -> Part:
    """Look for secrets in every file that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True, timeout=60)
    files = [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
    return judged("secrets", "tests/audit/leaks.py", f"{len(files)} files that git knows", leaks_in(files, root))


def bill(to: Path, lock: str = IMAGE) -> Part:
    """Write what the image is made of as CycloneDX, valid by its schema, each part with its version and hashes."""
    to.parent.mkdir(parents=True, exist_ok=True)
    asked = _run("cyclonedx_py", "requirements", lock, "--pyproject=pyproject.toml", "--output-format=JSON",
                 "--output-reproducible", "--validate", f"--output-file={to}")  # fmt: skip
    name, tool = "bill of materials", _tool("cyclonedx-bom")
    if asked.returncode != 0:
        return judged(name, tool, lock, [_reason(asked.stderr)])
    made = json.loads(to.read_text())
    wanted = set(re.findall(r"^([\w.-]+==[^ ;\\]+)", (ROOT / lock).read_text(), re.MULTILINE))
    told = sorted(f"{one}: missing" for one in wanted - set(map(_hashed, made["components"])))
    components = f"{len(made['components'])} components"
    return judged(name, tool, f"{lock}: {components}, {made['bomFormat']} {made['specVersion']}", told)


def _hashed(component: dict[str, Any]) -> str:
    """Return `name==version` of a component that has hashes, and nothing of one without."""
    references = component.get("externalReferences", ())
    return f"{component['name']}=={component['version']}" if any(one.get("hashes") for one in references) else ""


def workflows(folder: Path = ROOT / ".github" / "workflows") -> Part:
    """Hold the workflows to their schema, and to what zizmor knows of risks, without the network."""
    files = sorted(map(str, folder.glob("*.yml")))
    schema = _run("check_jsonschema", "--builtin-schema=vendor.github-workflows", "--output-format=json", *files)
    told = [f"{Path(one['filename']).name}: {one['message']}" for one in json.loads(schema.stdout).get("errors", ())]
    risks = [_PROGRAMS / "zizmor", "--offline", "--no-progress", "--persona=pedantic", "--format=json", *files]
    asked = _heard(risks)
    told += [
        f"{one['ident']}: {one['desc']} ({', '.join(sorted(map(_place, one['locations'])))})"
        for one in json.loads(asked.stdout)
    ]
    tools = f"{_tool('check-jsonschema')}, {_tool('zizmor')}"
    return judged("workflows", tools, ", ".join(Path(file).name for file in files), told)


def _place(location: dict[str, Any]) -> str:
    return f"line {location['concrete']['location']['start_point']['row'] + 1}"


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment in the checkout, and return what it said."""
    return _heard([sys.executable, "-m", module, *arguments])


def _heard(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=BOUND_SECONDS)


def _tool(package: str) -> str:
    return f"{package} {metadata.version(package)}"


def _reason(stderr: str) -> str:
    """Return the last line of what a program said before it gave up, without what a library put around it."""
    last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
    inner = re.search(r"Caused by \w+\([\"']?[^:]*(?:\([^)]*\))?: (.*?)[\"']?\)+$", last)
    return (inner[1] if inner else last)[:LONGEST]
