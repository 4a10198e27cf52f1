"""The manifests of deploy/kubernetes as its overlays make them, and ways to look at them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from deploy.stack.home import ROOT
from tests.services.kustomize import Manifest, render

FOLDER: Final = ROOT / "deploy" / "kubernetes"
OVERLAYS: Final = tuple(sorted(path.name for path in (FOLDER / "overlays").iterdir() if path.is_dir()))
COMPONENT: Final = "app.kubernetes.io/component"


@cache
def overlay(name: str) -> tuple[Manifest, ...]:
    """Return what an overlay sends to Kubernetes."""
    return tuple(render(FOLDER / "overlays" / name))


def of(name: str, kind: str) -> dict[str, Manifest]:
    """Return an overlay's manifests of one kind, by their names."""
    return {one["metadata"]["name"]: one for one in overlay(name) if one["kind"] == kind}


def pods(name: str) -> dict[str, Manifest]:
    """Return the templates of pods, by the names of who makes them."""
    return {one: made["spec"]["template"] for kind in ("Deployment", "Job") for one, made in of(name, kind).items()}


def process(template: Manifest) -> Manifest:
    """Return the container of a pod that lives as long as the pod."""
    (container,) = template["spec"]["containers"]
    return dict(container)


def containers(template: Manifest) -> list[Manifest]:
    """Return every container of a pod."""
    return [*template["spec"].get("initContainers", ()), *template["spec"]["containers"]]


def environment(name: str, container: Manifest) -> dict[str, str]:
    """Return what a container is told by variables; its own go before what all are told."""
    shared = [of(name, "ConfigMap")[one["configMapRef"]["name"]]["data"] for one in container.get("envFrom", ())]
    own = {one["name"]: one["value"] for one in container.get("env", ())}
    return {key: value for told in (*shared, own) for key, value in told.items()}


def fits(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a selector of Kubernetes selects these labels; an empty one selects all."""
    for wanted in selector.get("matchExpressions", ()):
        assert wanted["operator"] == "In"
        if labels.get(wanted["key"]) not in wanted["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a manifest."""
    if isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


def path_of(manifest: Manifest) -> str:
    """Return how a test calls a manifest."""
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def kustomizations() -> list[Path]:
    """Return every folder that holds a kustomization."""
    return sorted(file.parent for file in FOLDER.rglob("kustomization.yaml"))
