"""What `kubectl apply -k` would send, of the few things that deploy/kubernetes asks of kustomize.

kustomize itself comes with kubectl, which need not be installed: so this does the same for resources, patches
(strategic merge, and JSON patches that add, replace or remove), images, replicas, namespace and configMapGenerator. It
refuses what it does not know, and leaves out the hash in the name of a generated ConfigMap. Where kubectl is installed
a test compares.
"""

import copy
import re
from pathlib import Path
from typing import Any, Final

import yaml

Manifest = dict[str, Any]

FIELDS: Final = {
    "apiVersion",
    "kind",
    "resources",
    "patches",
    "images",
    "replicas",
    "namespace",
    "configMapGenerator",
}
#: Fields whose items are told apart by one of their own, after the merge keys of Kubernetes' API.
KEYS: Final = {"volumeMounts": "mountPath", "ports": "containerPort"} | dict.fromkeys(
    ("containers", "initContainers", "env", "volumes"), "name"
)
EVERYWHERE: Final = {"Namespace"}
"""Kinds that are in no namespace."""


def render(folder: Path) -> list[Manifest]:
    """Return the manifests that the kustomization in `folder` makes. Raises `ValueError` for what it does not know."""
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := set(told) - FIELDS:
        raise ValueError(f"{folder}: {sorted(unknown)}")
    made = [manifest for name in told.get("resources", ()) for manifest in _load(folder / name)]
    for generator in told.get("configMapGenerator", ()):
        _generate(made, **generator)
    for patch in told.get("patches", ()):
        _patch(made, folder, **patch)
    for image in told.get("images", ()):
        _retag(made, image)
    for replicas in told.get("replicas", ()):
        _named(made, "Deployment", replicas["name"])["spec"]["replicas"] = replicas["count"]
    for manifest in made:
        if "namespace" in told and manifest["kind"] not in EVERYWHERE:
            manifest["metadata"]["namespace"] = told["namespace"]
    return made


def _load(path: Path) -> list[Manifest]:
    if path.is_dir():
        return render(path)
    # Aliases give one object many places: copies, so that a change in one stays there.
    return [copy.deepcopy(_plain(one)) for one in yaml.safe_load_all(path.read_text()) if one]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _named(made: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [one for one in made if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def _generate(made: list[Manifest], name: str, literals: list[str], behavior: str = "create") -> None:
    data = dict(literal.split("=", 1) for literal in literals)
    if behavior == "merge":
        _named(made, "ConfigMap", name)["data"] |= data
        return
    made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})


def _patch(made: list[Manifest], folder: Path, target: dict[str, str], path: str = "", patch: str = "") -> None:
    change = yaml.safe_load((folder / path).read_text() if path else patch)
    fits = [
        one
        for one in made
        if re.fullmatch(target["kind"], one["kind"]) and re.fullmatch(target.get("name", ".*"), one["metadata"]["name"])
    ]
    if not fits:
        raise ValueError(f"{folder}: nothing fits {target}")
    for manifest in fits:
        if isinstance(change, list):
            for step in change:
                _step(manifest, **step)
        else:
            _merge(manifest, {"spec": change["spec"]})


def _step(manifest: Manifest, op: str, path: str, value: Any = None) -> None:
    *way, last = [int(part) if part.isdigit() else part for part in path.strip("/").split("/")]
    here: Any = manifest
    for part in way:
        here = here[part]
    match op:
        case "add":
            here[last] = value
        case "replace":
            here[last], _ = value, here[last]  # what is not there cannot be replaced
        case "remove":
            del here[last]
        case _:
            raise ValueError(f"{op} {path}")


def _merge(into: dict[str, Any], change: dict[str, Any]) -> None:
    for name, value in change.items():
        before = into.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            _merge(before, value)
        elif isinstance(value, list) and isinstance(before, list) and name in KEYS:
            _merge_items(before, value, KEYS[name])
        else:
            into[name] = copy.deepcopy(value)


def _merge_items(before: list[Any], change: list[Any], key: str) -> None:
    there = {one[key]: one for one in before}
    for one in change:
        if one[key] in there:
            _merge(there[one[key]], one)
        else:
            before.append(copy.deepcopy(one))


def _retag(value: Any, image: dict[str, str]) -> None:
    if isinstance(value, list):
        for one in value:
            _retag(one, image)
    elif isinstance(value, dict):
        if str(value.get("image")).partition(":")[0] == image["name"]:
            value["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
        for one in value.values():
            _retag(one, image)
