"""deploy/kubernetes: who may reach whom, what stands open to the outside, and what the scalers ask Prometheus."""

import itertools
from ipaddress import ip_address, ip_network
from typing import Any, Final, NamedTuple

import pytest

from api.settings import ApiSettings
from deploy.stack.home import ROOT
from tests.services.kustomize import Manifest, render
from tests.services.promql import known, named, unknown
from tests.unit.deploy.manifests import COMPONENT, FOLDER, OVERLAYS, environment, fits, of, pods, process

HOW_TOS: Final = ROOT / "docs" / "how-to"

every_overlay = pytest.mark.parametrize("name", OVERLAYS)


class End(NamedTuple):
    """One end of a connection: a pod of the namespace, a pod of another one, or an address outside."""

    labels: dict[str, str] | None = None
    namespace: str = "penstock"
    address: str = ""


POSTGRES: Final = End({"cnpg.io/cluster": "postgres"})
RABBITMQ: Final = End({"app.kubernetes.io/name": "rabbitmq"})
ELSEWHERE: Final = End(address="10.1.2.3")
PROMETHEUS: Final = End({}, "monitoring")
GATEWAY: Final = End({}, "ingress")
STRANGER: Final = End({}, "default")
DNS: Final = End({"k8s-app": "kube-dns"}, "kube-system")
CACHE: Final = End(address="169.254.20.10")
"""NodeLocal DNSCache, by its documentation."""
COLLECTOR: Final = End({"app": "collector"}, "monitoring")
WORLD: Final = End(address="93.184.215.14")
PORTS: Final = {"api": 8000, "worker": 9101, "beat": 9102, "flower": 5555}


def pod(component: str) -> End:
    return End({"app.kubernetes.io/name": "penstock", COMPONENT: component})


def may(name: str, source: End, target: End, port: int) -> bool:
    """Tell whether a connection is let out where it begins and in where it ends (Kubernetes, "Network Policies")."""
    return _lets(name, "Egress", source, target, port) and _lets(name, "Ingress", target, source, port)


def _lets(name: str, direction: str, here: End, other: End, port: int) -> bool:
    if here.labels is None or here.namespace != "penstock":
        return True
    policies = [
        one["spec"]
        for one in of(name, "NetworkPolicy").values()
        if direction in one["spec"]["policyTypes"] and fits(one["spec"]["podSelector"], here.labels)
    ]
    at, field = ("to", "egress") if direction == "Egress" else ("from", "ingress")
    rules = [rule for policy in policies for rule in policy.get(field, ())]
    asked = here if direction == "Ingress" else other
    return not policies or any(
        _is_open(name, rule, asked, port) and (at not in rule or any(_is(peer, other) for peer in rule[at]))
        for rule in rules
    )


def _is_open(name: str, rule: Manifest, end: End, port: int) -> bool:
    if "ports" not in rule:
        return True
    open_ports = {
        one["name"]: one["containerPort"]
        for template in pods(name).values()
        if end.labels and fits({"matchLabels": end.labels}, template["metadata"]["labels"])
        for one in process(template).get("ports", ())
    }
    return port in {open_ports.get(one["port"], one["port"]) for one in rule["ports"]}


def _is(peer: Manifest, end: End) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return (
            bool(end.address)
            and ip_address(end.address) in ip_network(block["cidr"])
            and not any(ip_address(end.address) in ip_network(one) for one in block.get("except", ()))
        )
    if end.labels is None:
        return False
    if "namespaceSelector" not in peer:
        return end.namespace == "penstock" and fits(peer["podSelector"], end.labels)
    is_there = fits(peer["namespaceSelector"], {"kubernetes.io/metadata.name": end.namespace})
    return is_there and fits(peer.get("podSelector", {}), end.labels)


@every_overlay
def test_nothing_is_open_that_is_not_named(name: str) -> None:
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert of(name, "NetworkPolicy")["nothing"]["spec"] == closed
    for source, target in itertools.permutations(PORTS, 2):
        assert not may(name, pod(source), pod(target), PORTS[target]), (source, target)
    for target, port in PORTS.items():
        assert not may(name, STRANGER, pod(target), port)
        assert not may(name, pod(target), STRANGER, 443)
        assert not may(name, pod(target), End(address="10.0.0.1"), 443)


@every_overlay
def test_requests_from_outside_reach_the_api_and_flower_alone(name: str) -> None:
    reached = {target for target, port in PORTS.items() if may(name, GATEWAY, pod(target), port)}

    assert reached == {"api", "flower"}


@every_overlay
def test_prometheus_reaches_every_process_that_tells_metrics(name: str) -> None:
    reached = {target for target, port in PORTS.items() if may(name, PROMETHEUS, pod(target), port)}

    assert reached == {"api", "worker", "beat"}


@every_overlay
@pytest.mark.parametrize("role", [*PORTS, "migrate"])
def test_a_process_finds_names_and_reaches_the_stores_that_it_is_told_of(name: str, role: str) -> None:
    template = next(one for one in pods(name).values() if one["metadata"]["labels"][COMPONENT] == role)
    told = environment(name, process(template))

    assert may(name, pod(role), DNS, 53)
    assert may(name, pod(role), CACHE, 53)
    assert not may(name, pod(role), CACHE, 80)
    postgres, broker = (POSTGRES, RABBITMQ) if name == "production" else (ELSEWHERE, ELSEWHERE)
    assert may(name, pod(role), postgres, 5432) == ("PENSTOCK_DATABASE_URL_FILE" in told)
    assert may(name, pod(role), broker, 5671) == ("PENSTOCK_BROKER_URL_FILE" in told)


def test_in_small_the_stores_may_be_anywhere_and_in_production_only_here() -> None:
    assert [may(name, pod("api"), ELSEWHERE, 5432) for name in ("small", "production")] == [True, False]
    assert [may(name, pod("api"), ELSEWHERE, 5672) for name in ("small", "production")] == [True, False]
    assert not may("production", pod("api"), RABBITMQ, 5672), "without TLS nobody speaks to it"


def test_the_nodes_of_the_stores_reach_each_other_and_their_operators_reach_them() -> None:
    assert may("production", POSTGRES, POSTGRES, 5432)
    assert may("production", End({}, "cnpg-system"), POSTGRES, 8000)
    assert all(may("production", RABBITMQ, RABBITMQ, port) for port in (4369, 25672))
    assert may("production", PROMETHEUS, RABBITMQ, 15691)
    assert not may("production", STRANGER, POSTGRES, 5432)
    assert not may("production", STRANGER, RABBITMQ, 5672)


@every_overlay
def test_only_a_task_goes_out_and_to_no_private_address(name: str) -> None:
    for world in (End(address="93.184.215.14"), End(address="198.41.0.4")):
        assert {role for role in PORTS if may(name, pod(role), world, 443)} == {"worker"}
    assert may(name, pod("worker"), End(address="2606:2800:21f:cb07:6820:80da:af6b:8b2c"), 443)
    for private in (
        "10.0.0.1",
        "172.20.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "127.0.0.1",
        "::1",
        "fd00::1",
        "fe80::1",
    ):
        assert not may(name, pod("worker"), End(address=private), 80), private


def test_traces_and_reports_go_out_where_an_overlay_asks_for_it_and_no_further() -> None:
    added = {one["metadata"]["name"]: one["spec"] for one in render(FOLDER / "telemetry")}

    def goes(role: str, target: End, port: int) -> bool:
        chosen = [spec for spec in added.values() if fits(spec["podSelector"], pod(role).labels or {})]
        rules = [rule for spec in chosen for rule in spec["egress"] if _is_open("small", rule, target, port)]
        return any(_is(peer, target) for rule in rules for peer in rule["to"])

    assert set(added) == {"to-collector", "to-sentry"}
    assert {role for role in PORTS if goes(role, COLLECTOR, 4318)} == {"api", "beat", "worker"}
    assert {role for role in PORTS if goes(role, WORLD, 443)} == {"api", "beat"}
    assert not any(goes(role, target, 443) for role in PORTS for target in (COLLECTOR, STRANGER, ELSEWHERE, CACHE))
    assert not any(goes(role, WORLD, 4318) for role in PORTS)
    for page in ("run-on-kubernetes.md", "report-errors.md", "trace-jobs.md"):
        assert "who may reach whom" in (HOW_TOS / page).read_text().lower().replace("-", " "), page


@every_overlay
def test_what_only_those_inside_need_to_know_is_not_reached_from_outside(name: str) -> None:
    paths = {
        (path["path"], path["pathType"])
        for rule in of(name, "Ingress")["penstock"]["spec"]["rules"]
        for path in rule["http"]["paths"]
    }

    def is_reached(asked: str) -> bool:
        return any(asked == path or (kind == "Prefix" and asked.startswith(f"{path}/")) for path, kind in paths)

    assert all(map(is_reached, ("/api/v1/jobs", "/health", "/openapi.json", "/flower/")))
    assert not any(map(is_reached, ("/metrics", "/ready", "/diagnostics/profile", "/")))
    assert all("tls" in one["spec"] for one in of(name, "Ingress").values())


SCALERS: Final = [
    pytest.param(role, trigger, id=f"{role}-{trigger['name']}")
    for role, one in of("production", "ScaledObject").items()
    for trigger in one["spec"]["triggers"]
]


@pytest.mark.parametrize(("role", "trigger"), SCALERS)
def test_a_scaler_asks_for_what_there_is_about_the_queues_of_its_workers(role: str, trigger: Manifest) -> None:
    told = environment("production", process(pods("production")[role]))
    query = trigger["metadata"]["query"]

    assert unknown(query, known()) == []
    assert all("queue" in labels for labels in named(query).metrics.values())
    assert query.count(f'queue="{told["PENSTOCK_WORKER_QUEUES"]}"') == query.count("queue=")


@pytest.mark.parametrize("role", of("production", "ScaledObject"))
def test_workers_are_scaled_by_depth_and_by_age(role: str) -> None:
    triggers = {one["name"]: one["metadata"] for one in of("production", "ScaledObject")[role]["spec"]["triggers"]}
    metrics = {name: set(named(one["query"]).metrics) - {"penstock_queue_paused"} for name, one in triggers.items()}
    slots = int(environment("production", process(pods("production")[role]))["PENSTOCK_WORKER_CONCURRENCY"])

    assert metrics == {"depth": {"penstock_jobs"}, "age": {"penstock_oldest_waiting_seconds"}}
    assert float(triggers["depth"]["threshold"]) >= slots, "a worker that is only busy asks for no other"
    assert float(triggers["age"]["threshold"]) > 0
    assert {one["ignoreNullValues"] for one in triggers.values()} == {"false"}, "no answer is not zero"


@pytest.mark.parametrize("role", of("production", "ScaledObject"))
def test_while_prometheus_is_away_there_are_not_fewer_workers_than_usual(role: str) -> None:
    spec: Any = of("production", "ScaledObject")[role]["spec"]

    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


@every_overlay
def test_an_api_may_hold_what_its_bodies_may_be(name: str) -> None:
    limit = process(pods(name)["api"])["resources"]["limits"]["memory"]

    assert limit == "1Gi"
    assert 2 * ApiSettings.model_fields["bodies_limit_bytes"].default < 2**30
