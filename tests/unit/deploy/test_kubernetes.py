"""deploy/kubernetes: each manifest is what Kubernetes and the operators take, and each name leads somewhere."""

import itertools
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from deploy.kubernetes.__main__ import FILE, text
from deploy.stack.home import ROOT
from tests.services.kustomize import Manifest, render
from tests.unit.deploy.manifests import (
    FOLDER,
    OVERLAYS,
    containers,
    environment,
    fits,
    kustomizations,
    of,
    overlay,
    path_of,
    pods,
    process,
    strings,
)
from tests.unit.docs.pages import blocks

RELEASES: Final = ("1.34", "1.37")
"""Of Kubernetes: the oldest and the newest that the manifests are held to."""
GROUPS: Final = ("keda.sh", "monitoring.coreos.com", "cnpg.io", "rabbitmq.com", "cert-manager.io")
FIELDS: Final = yaml.safe_load((Path(__file__).parent / "custom_resources.yml").read_text())
#: Secrets that an operator makes, and those that a person makes as the how-to says.
BY_OPERATORS: Final = {"postgres-app", "postgres-ca", "rabbitmq-default-user", "rabbitmq-tls"}
BY_PEOPLE: Final = {"flower", "penstock-tls", "backup-store"}
#: What an overlay of somebody's own may add.
OPTIONAL: Final = {FOLDER / "telemetry"}
HOW_TO: Final = ROOT / "docs" / "how-to" / "run-on-kubernetes.md"

every_overlay = pytest.mark.parametrize("name", OVERLAYS)


def is_custom(manifest: Manifest) -> bool:
    return manifest["apiVersion"].partition("/")[0].endswith(GROUPS)


EVERY: Final[list[tuple[str, Manifest]]] = [(name, one) for name in OVERLAYS for one in overlay(name)]
EVERY += [("telemetry", one) for one in render(FOLDER / "telemetry")]
BUILT_IN: Final = [pytest.param(one, id=f"{name}-{path_of(one)}") for name, one in EVERY if not is_custom(one)]
CUSTOM: Final = [pytest.param(one, id=f"{name}-{path_of(one)}") for name, one in EVERY if is_custom(one)]


@pytest.mark.parametrize("manifest", BUILT_IN)
def test_kubernetes_knows_every_field_of_its_own_kinds(manifest: Manifest) -> None:
    for release in RELEASES:
        kubernetes_validate.validate(manifest, release, strict=True)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"selectors": {}}}

    with pytest.raises(kubernetes_validate.ValidationError, match="selectors"):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


def faults(value: Any, told: Any, path: str = "spec") -> list[str]:
    """Return where `value` has a field that `told` does not name, lacks one, or is of another type."""
    if isinstance(told, dict):
        names = {name.removesuffix("!"): one for name, one in told.items()}
        needed = {name[:-1] for name in told if name.endswith("!")}
        wrong = [f"{path}.{name}" for name in (set(value) - set(names)) | (needed - set(value))]
        return wrong + [
            fault for name in names.keys() & value for fault in faults(value[name], names[name], f"{path}.{name}")
        ]
    if isinstance(told, list):
        return [fault for at, one in enumerate(value) for fault in faults(one, told[0], f"{path}[{at}]")]
    if told == "texts":
        return [f"{path}.{name}" for name, one in value.items() if not isinstance(one, str)]
    types: dict[str, Any] = {"text": str, "quantity": str, "number": int, "flag": bool, "any": object}
    is_right = isinstance(value, types[told]) and (told != "number" or not isinstance(value, bool))
    return [] if is_right else [path]


@pytest.mark.parametrize("manifest", CUSTOM)
def test_a_custom_resource_has_fields_that_its_operator_documents(manifest: Manifest) -> None:
    assert faults(manifest["spec"], FIELDS[f"{manifest['apiVersion']} {manifest['kind']}"]) == []


def test_a_field_that_no_operator_documents_is_found() -> None:
    told = {"name!": "text", "items": [{"port": "number"}]}

    assert faults({"items": [{"port": "80"}, {"ports": 1}]}, told) == [
        "spec.name",
        "spec.items[0].port",
        "spec.items[1].ports",
    ]


def normal(value: Any) -> Any:
    """Return a manifest in which nothing is left of what two renderers may do differently without harm."""
    if isinstance(value, dict):
        return {key: normal(one) for key, one in sorted(value.items())}
    if isinstance(value, list):
        items = [normal(one) for one in value]
        return sorted(items, key=str) if items and isinstance(items[0], dict) else items
    if isinstance(value, str):  # a hash in the name of the ConfigMap, an empty line in a folded text
        return "settings" if value.startswith("settings-") else value.replace("\n\n", "\n")
    return value


@every_overlay
def test_kustomize_makes_the_same_of_them(name: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; the tests' own renderer stands alone")
    told = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    if int(yaml.safe_load(told.stdout).get("kustomizeVersion", "v0")[1:].partition(".")[0]) < 5:
        pytest.skip("this kubectl has a kustomize before 5")

    made = subprocess.run(
        [kubectl, "kustomize", FOLDER / "overlays" / name], capture_output=True, text=True, check=True, timeout=60
    ).stdout

    assert normal(list(yaml.safe_load_all(made))) == normal(list(overlay(name)))


def test_every_file_belongs_to_a_kustomization_and_every_kustomization_to_an_overlay() -> None:
    named = set()
    for folder in kustomizations():
        told = yaml.safe_load((folder / "kustomization.yaml").read_text())
        parts = [*told.get("resources", ()), *(patch["path"] for patch in told.get("patches", ()) if "path" in patch)]
        named |= {(folder / part).resolve() for part in parts}

    files = {path.resolve() for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"}
    folders = {path for path in kustomizations() if path.parent.name != "overlays"}
    assert files | folders == named | OPTIONAL
    assert [one.name for one in OPTIONAL if f"`deploy/kubernetes/{one.name}`" not in HOW_TO.read_text()] == []


@pytest.mark.parametrize("folder", kustomizations(), ids=lambda path: path.name)
def test_a_part_can_be_made_by_itself(folder: Path) -> None:
    assert render(folder)


def test_the_renderer_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-\n")

    with pytest.raises(ValueError, match="namePrefix"):
        render(tmp_path)


def test_the_overlay_of_the_how_to_can_be_made(tmp_path: Path) -> None:
    (shown,) = [one.text for one in blocks(HOW_TO.read_text()) if one.language == "yaml"]
    (tmp_path / "kustomization.yaml").write_text(shown.replace("../penstock/deploy/kubernetes", str(FOLDER)))

    made = render(tmp_path)

    (entrance,) = [one for one in made if one["kind"] == "Ingress"]
    assert [rule["host"] for rule in entrance["spec"]["rules"]] == entrance["spec"]["tls"][0]["hosts"]
    assert "penstock.example.com" not in strings(entrance)
    assert entrance["spec"]["ingressClassName"], "or say that there is a default class"
    (lets_in,) = [one for one in made if (one["kind"], one["metadata"]["name"]) == ("NetworkPolicy", "entrance")]
    assert "ingress" not in strings(lets_in["spec"]["ingress"]), "which is the name of hardly anybody's"
    assert {one for one in strings(made) if "penstock:" in one} == {"registry.example.com/penstock:0.1.0"}


@every_overlay
def test_no_two_manifests_are_called_alike_and_all_are_in_one_namespace(name: str) -> None:
    called = [path_of(one) for one in overlay(name)]

    assert len(set(called)) == len(called)
    assert {one["metadata"].get("namespace") for one in overlay(name) if one["kind"] != "Namespace"} == {"penstock"}


def test_prometheus_rules_are_those_of_deploy_prometheus() -> None:
    groups = [
        group
        for file in sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text())["groups"]
    ]

    assert FILE.read_text() == text(), "write it anew: python -m deploy.kubernetes"
    assert of("production", "PrometheusRule")["penstock"]["spec"]["groups"] == groups


@every_overlay
def test_every_container_runs_the_one_image_of_this_version(name: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    images = {one["image"] for template in pods(name).values() for one in containers(template)}

    assert images == {f"penstock:{version}"}


@every_overlay
def test_a_selector_selects_the_pods_of_its_own_deployment_and_no_others(name: str) -> None:
    templates = pods(name)
    for deployment, made in of(name, "Deployment").items():
        chosen = [
            other
            for other, template in templates.items()
            if fits(made["spec"]["selector"], template["metadata"]["labels"])
        ]
        assert chosen == [deployment]
        for spread in made["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert spread["labelSelector"] == made["spec"]["selector"]


@every_overlay
def test_a_service_and_what_stands_before_it_lead_to_a_port_that_is_open(name: str) -> None:
    services = of(name, "Service")
    for service in services.values():
        chosen = [
            one
            for one in pods(name).values()
            if fits({"matchLabels": service["spec"]["selector"]}, one["metadata"]["labels"])
        ]
        assert chosen
        for port, template in itertools.product(service["spec"]["ports"], chosen):
            assert (port["targetPort"], port["port"]) in ports(template)

    for rule in of(name, "Ingress")["penstock"]["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            assert backend["port"]["name"] in {one["name"] for one in services[backend["name"]]["spec"]["ports"]}


def ports(template: Manifest) -> set[tuple[str, int]]:
    return {(one["name"], one["containerPort"]) for one in process(template).get("ports", ())}


def test_a_monitor_finds_a_service_with_that_port() -> None:
    for monitor in of("production", "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]
        if monitor["metadata"]["name"] == "rabbitmq":
            cluster = of("production", "RabbitmqCluster")[wanted["matchLabels"]["app.kubernetes.io/name"]]
            (endpoint,) = monitor["spec"]["endpoints"]
            assert cluster["spec"]["tls"]["secretName"] == endpoint["tlsConfig"]["ca"]["secret"]["name"]
            (certificate,) = [
                one["spec"]
                for one in of("production", "Certificate").values()
                if one["spec"]["secretName"] == cluster["spec"]["tls"]["secretName"]
            ]
            assert endpoint["tlsConfig"]["serverName"] in certificate["dnsNames"]
            assert endpoint["port"] == "prometheus-tls", (
                "the operator's Service has no other where there is a certificate"
            )
            continue
        (service,) = [one for one in of("production", "Service").values() if fits(wanted, one["metadata"]["labels"])]
        assert {one["port"] for one in monitor["spec"]["endpoints"]} == {service["spec"]["ports"][0]["name"]}


def test_the_jobs_of_prometheus_are_called_as_its_configuration_calls_them() -> None:
    told = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    monitors = of("production", "ServiceMonitor").values()

    called = {one["spec"]["endpoints"][0]["relabelings"][0]["replacement"] for one in monitors}

    assert called == {one["job_name"] for one in told} - {"node"}


@every_overlay
def test_every_secret_is_made_by_an_operator_or_by_a_command_of_the_how_to(name: str) -> None:
    sources = [
        source["secret"]
        for template in pods(name).values()
        for volume in template["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    ]
    stored = [one["spec"]["configuration"]["s3Credentials"] for one in of(name, "ObjectStore").values()]
    named = {one["name"] for one in sources} | {
        tls["secretName"] for tls in of(name, "Ingress")["penstock"]["spec"]["tls"]
    }
    named |= {key["name"] for keys in stored for key in keys.values()}

    page = HOW_TO.read_text()
    assert named <= BY_OPERATORS | BY_PEOPLE
    assert [one for one in BY_PEOPLE if f" {one} " not in page] == []
    assert not of(name, "Secret"), "a secret in a manifest is none"
    if name == "production":
        (database,), (broker,) = of(name, "Cluster"), of(name, "RabbitmqCluster")
        made = {one["spec"]["secretName"] for one in of(name, "Certificate").values() if "isCA" not in one["spec"]}
        assert {f"{database}-app", f"{database}-ca", f"{broker}-default-user"} | made == BY_OPERATORS


@every_overlay
def test_every_file_that_a_setting_names_is_mounted(name: str) -> None:
    for template in pods(name).values():
        (secrets,) = [one for one in template["spec"]["volumes"] if one["name"] == "secrets"]
        files = {
            f"/run/secrets/penstock/{item['path']}"
            for source in secrets["projected"]["sources"]
            for item in source["secret"]["items"]
        }
        for container in containers(template):
            assert {"name": "secrets", "mountPath": "/run/secrets/penstock", "readOnly": True} in container[
                "volumeMounts"
            ]
            told = environment(name, container)
            for command in container.get("command", ()):
                files.update(re.findall(r">(/tmp/\w+)", command))
            wanted = {value for variable, value in told.items() if variable.endswith("_FILE")}
            assert wanted <= files


@every_overlay
def test_no_address_of_a_registry_stands_in_a_manifest(name: str) -> None:
    images = [one["image"] for template in pods(name).values() for one in containers(template)]

    assert [one for one in images if "/" in one] == []
    assert [
        one for manifest in overlay(name) for one in strings(manifest) if ".io/" in one and one.startswith("http")
    ] == []
