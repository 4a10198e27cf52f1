"""deploy/kubernetes: what each process is told, what it may do, how it is asked, and how much time it has to stop."""

import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest
from pydantic import SecretStr
from sqlalchemy import QueuePool

from api.app import Engines
from api.replica import Replica
from deploy.cli.health import Part, place_of
from deploy.flower.settings import FlowerSettings
from deploy.stack.home import ROOT
from jobs.database import DatabaseSettings
from jobs.environment import FILE_SUFFIX, secret_variables, variables
from jobs.telemetry.contract import Process
from jobs.telemetry.metrics import instruments_of
from tasks.settings import TaskSettings
from tests.services import dockerfile
from tests.services.dockerfile import LAST
from tests.services.kustomize import Manifest
from tests.unit.deploy.manifests import COMPONENT, OVERLAYS, containers, environment, fits, of, overlay, pods, process
from tests.unit.docs.settings_page import CLASSES
from worker.drain import GRACE_SECONDS
from worker.settings import WorkerSettings

LIBPQ: Final = {"PGSSLMODE", "PGSSLROOTCERT"}
"""What libpq itself reads from the environment (its documentation, "Environment Variables")."""
API_ENDS_WITHIN: Final = 10
"""Seconds after it has stopped listening, at the most, as docs/how-to/deploy-without-loss.md says."""
REPLICA: Final = "PENSTOCK_DATABASE_REPLICA_URL_FILE"
TO_SPARE: Final = 10
"""Seconds between the end of a drain and SIGKILL."""

every_overlay = pytest.mark.parametrize("name", OVERLAYS)
every_pod = pytest.mark.parametrize(
    ("name", "role"), [(name, role) for name in OVERLAYS for role in pods(name)], ids=lambda one: one
)


def known() -> set[str]:
    """Return every variable that a settings class reads."""
    found = set(LIBPQ)
    for _, settings, _ in CLASSES:
        for field, info in settings.model_fields.items():
            found.update(variables(settings, field, info))
        for _, secrets in secret_variables(settings):
            found.update(secret + FILE_SUFFIX for secret in secrets)
    return found


@every_pod
def test_a_process_is_told_only_what_a_setting_reads(name: str, role: str) -> None:
    for container in containers(pods(name)[role]):
        assert set(environment(name, container)) - known() == set()


@every_pod
def test_what_a_process_is_told_is_possible(name: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for container in containers(pods(name)[role]):
        for variable, value in environment(name, container).items():
            if not variable.endswith(FILE_SUFFIX):
                monkeypatch.setenv(variable, value)
        for _, settings, _ in CLASSES:
            required = {
                field: "postgresql://u@h/d" for field, info in settings.model_fields.items() if info.is_required()
            }
            settings(**required)


@every_pod
def test_a_process_may_do_nothing_and_write_nowhere_but_in_tmp(name: str, role: str) -> None:
    pod = pods(name)[role]["spec"]
    (user,) = dockerfile.of(LAST, "USER")

    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] in of(name, "ServiceAccount")
    for container in containers(pods(name)[role]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = [one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")]
        assert writable == ["/tmp"]
    assert [one["emptyDir"] for one in pod["volumes"] if "emptyDir" in one] == [{"sizeLimit": "256Mi"}]


@every_pod
def test_kubernetes_sets_no_variables_of_its_own_for_services(name: str, role: str) -> None:
    links = {f"{service.upper()}_PORT" for service in of(name, "Service")}
    assert links & known() == {"FLOWER_PORT"}, "which is why"

    assert pods(name)[role]["spec"]["enableServiceLinks"] is False


@every_pod
def test_a_process_is_given_what_it_needs_and_a_limit_of_memory(name: str, role: str) -> None:
    for container in containers(pods(name)[role]):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}


@every_pod
def test_a_process_is_the_image_with_a_command_of_penstock(name: str, role: str) -> None:
    template = pods(name)[role]
    component = template["metadata"]["labels"][COMPONENT]

    assert process(template)["args"] == [component]
    assert "command" not in process(template), "the image's entry point is the command itself, which gets the signal"


@every_overlay
def test_a_process_is_asked_where_the_image_has_it_answer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in dockerfile.environment(LAST).items():
        if variable != "PATH":
            monkeypatch.setenv(variable, value)
    for made in of(name, "Deployment").values():
        place = place_of(Part(made["spec"]["template"]["metadata"]["labels"][COMPONENT]))
        container = process(made["spec"]["template"])
        (port,) = container["ports"]

        assert port["containerPort"] == place.port
        for probe, path in (("startup", place.alive), ("liveness", place.alive), ("readiness", place.ready)):
            assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": port["name"]}


@every_overlay
def test_a_process_has_longer_to_stop_than_it_takes(name: str) -> None:
    for role, made in of(name, "Deployment").items():
        told = environment(name, process(made["spec"]["template"]))
        grace = made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        match made["spec"]["template"]["metadata"]["labels"][COMPONENT]:
            case "worker":
                takes = float(told["PENSTOCK_DRAIN_SECONDS"]) + GRACE_SECONDS
            case "api":
                takes = float(told["PENSTOCK_API_DRAIN_SECONDS"]) + API_ENDS_WITHIN
            case _:
                takes = API_ENDS_WITHIN

        assert grace >= takes + TO_SPARE, role


@every_overlay
def test_an_api_goes_on_listening_for_as_long_as_it_takes_to_find_it_not_ready(name: str) -> None:
    container = process(pods(name)["api"])
    probe = container["readinessProbe"]

    assert float(environment(name, container)["PENSTOCK_API_DRAIN_SECONDS"]) >= 2 * probe["periodSeconds"]


@every_overlay
def test_every_queue_has_workers_and_every_worker_a_queue_that_exists(name: str) -> None:
    workers = [one for role, one in pods(name).items() if role.startswith("worker-")]
    served = [environment(name, process(one))["PENSTOCK_WORKER_QUEUES"] for one in workers]
    queues = environment(name, process(workers[0]))["PENSTOCK_QUEUES"].split(",")

    assert sorted(served) == sorted(queues)
    assert queues == list(TaskSettings.model_fields["queues"].default)


@every_overlay
def test_what_needs_the_schema_waits_for_it_and_only_the_job_brings_it(name: str) -> None:
    waiting = {role for role, template in pods(name).items() if waits(template)}

    assert waiting == {"api", "beat", "worker-critical", "worker-default", "worker-bulk"}
    assert process(pods(name)["migrate"])["args"] == ["migrate"]


@every_overlay
def test_a_setting_can_be_changed_although_a_job_cannot(name: str) -> None:
    job = of(name, "Job")["migrate"]["spec"]
    (source,) = process(job["template"])["envFrom"]
    assert source["configMapRef"]["name"] == "settings", "whose name changes with what it holds"

    assert 60 <= job["ttlSecondsAfterFinished"] <= 600, "time to see how it ended, and no more"


def waits(template: Manifest) -> bool:
    commands = [" ".join(one["command"]) for one in template["spec"].get("initContainers", ())]
    return any("until penstock migrate --check" in command for command in commands)


@pytest.mark.parametrize(
    ("codes", "asked", "ends"), [([0], 1, 0), ([1, 75, 0], 3, 0), ([75, 2, 0], 2, 2), ([137], 1, 137)]
)
def test_who_waits_for_the_schema_waits_no_longer_for_what_will_not_come(
    codes: list[int], asked: int, ends: int, tmp_path: Path
) -> None:
    (waiting,) = [one for one in pods("small")["beat"]["spec"]["initContainers"] if one["name"] == "schema"]
    asks = tmp_path / "asks"
    answers = "".join(f"    {at}) exit {code};;\n" for at, code in enumerate(codes, start=1))
    count_up = f'echo "$@" >>"{asks}"\ncase $(grep -c . "{asks}") in\n{answers}    *) exit 99;;\nesac\n'
    for name, script in (("penstock", count_up), ("sleep", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}")
        (tmp_path / name).chmod(0o755)

    ended = subprocess.run(waiting["command"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=60, check=False)

    assert (ended.returncode, asks.read_text()) == (ends, "migrate --check\n" * asked)


def test_the_api_in_production_reads_from_a_replica_with_the_role_of_the_primary(tmp_path: Path) -> None:
    api = pods("production")["api"]
    (made,) = [one for one in api["spec"]["initContainers"] if one["name"] == "replica"]
    place = environment("production", process(api))[REPLICA]
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("postgresql://penstock:hush@postgres-rw.penstock:5432/penstock")

    script = made["command"][-1].replace("/run/secrets/penstock/database_url", str(source)).replace(place, str(target))
    subprocess.run([*made["command"][:-1], script], check=True, timeout=60)

    assert target.read_text() == "postgresql://penstock:hush@postgres-ro.penstock:5432/penstock"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "postgres" in of("production", "Cluster"), "whose Services are postgres-rw and postgres-ro"
    assert REPLICA not in environment("small", process(pods("small")["api"]))


@every_overlay
def test_flower_is_told_nothing_of_postgresql(name: str) -> None:
    flower = pods(name)["flower"]

    assert "DATABASE" not in str(flower)
    assert "postgres" not in str(flower)
    assert process(flower)["readinessProbe"]["httpGet"]["path"] == f"{FlowerSettings().path}healthcheck"


@every_overlay
def test_of_two_and_more_one_may_be_away_and_never_all(name: str) -> None:
    for made in of(name, "PodDisruptionBudget").values():
        chosen = [
            one
            for one in of(name, "Deployment").values()
            if fits(made["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"])
        ]
        if made["metadata"]["name"] in of(name, "RabbitmqCluster"):
            assert made["spec"]["maxUnavailable"] < of(name, "RabbitmqCluster")["rabbitmq"]["spec"]["replicas"] / 2
            continue
        (deployment,) = chosen
        least = fewest(name, deployment)
        away = made["spec"]["maxUnavailable"]
        assert 1 <= count(away, least) <= max(1, least - 1)


def count(told: Any, of_them: int) -> int:
    """Return how many pods a number or a percentage is; Kubernetes rounds budgets up."""
    return -(-of_them * int(told[:-1]) // 100) if isinstance(told, str) else int(told)


def scalers(name: str) -> dict[str, tuple[int, int]]:
    """Return the fewest and the most pods of each Deployment that is scaled."""
    found = {}
    for one in of(name, "HorizontalPodAutoscaler").values():
        found[one["spec"]["scaleTargetRef"]["name"]] = (one["spec"]["minReplicas"], one["spec"]["maxReplicas"])
    for one in of(name, "ScaledObject").values():
        assert one["spec"]["scaleTargetRef"]["name"] not in found, "one master each"
        found[one["spec"]["scaleTargetRef"]["name"]] = (one["spec"]["minReplicaCount"], one["spec"]["maxReplicaCount"])
    return found


def fewest(name: str, deployment: Manifest) -> int:
    return int(scalers(name).get(deployment["metadata"]["name"], [deployment["spec"].get("replicas")])[0])


@every_overlay
def test_a_number_of_processes_stands_in_one_place(name: str) -> None:
    scaled = scalers(name)

    assert set(scaled) <= set(of(name, "Deployment"))
    for role, made in of(name, "Deployment").items():
        assert ("replicas" in made["spec"]) != (role in scaled), role
    for least, most in scaled.values():
        assert 1 <= least <= most


def test_production_scales_the_api_and_every_class_of_workers() -> None:
    assert set(scalers("production")) == {"api", "worker-bulk", "worker-critical", "worker-default"}
    assert of("production", "Deployment")["beat"]["spec"]["replicas"] == 2


def test_postgresql_has_connections_for_all_processes_at_their_most_while_they_are_replaced() -> None:
    database = of("production", "Cluster")["postgres"]["spec"]["postgresql"]["parameters"]

    assert needed() <= int(database["max_connections"]) - 20, "and some for people, backups and the operator"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("deploy/kubernetes/engines/postgres.yaml", "Every process at its most during a rollout, {needed}, "),
        ("deploy/compose/postgres/postgresql.conf", "API: {api} for each of its processes, {more} with a replica"),
        ("docs/how-to/run-workers.md", "keeps up to {api} ("),
        ("docs/runbook/scale.md", "an API up to {api}, {more} with a replica"),
    ],
)
def test_a_page_counts_connections_as_they_are(page: str, said: str) -> None:
    counted = {"needed": needed(), "api": held_by_an_api({}), "more": held_by_an_api({REPLICA: "there"})}

    assert said.format(**counted) in (ROOT / page).read_text()


def needed() -> int:
    """Return how many connections production holds at the most, while everything is replaced at once."""
    needed = 1  # the migration's
    for role, made in of("production", "Deployment").items():
        _, most = scalers("production").get(role, (0, made["spec"].get("replicas", 0)))
        surge = made["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", 1)
        needed += (most + count(surge, most)) * connections("production", made["spec"]["template"])
    return needed


def connections(name: str, template: Manifest) -> int:
    """Return how many connections a process may hold, as docs/how-to/run-workers.md counts them."""
    told = environment(name, process(template))
    match template["metadata"]["labels"][COMPONENT]:
        case "api":
            return held_by_an_api(told)
        case "worker":
            default = WorkerSettings.model_fields["worker_concurrency"].default
            return 3 + int(told.get("PENSTOCK_WORKER_CONCURRENCY", default))
        case "beat":
            return 2
        case _:
            return 0


def held_by_an_api(told: Mapping[str, str]) -> int:
    """Return how many connections to the primary an API process has room for, as it is put together."""
    database = DatabaseSettings(database_url=SecretStr("postgresql://primary/d"))
    engines = [*Engines.of(database)]
    if REPLICA in told:
        url, instruments = SecretStr("postgresql://replica/d"), instruments_of(Process.API)
        engines += Replica(url, database, lag_seconds=1, instruments=instruments).engines
    pools = [cast("QueuePool", engine.pool) for engine in engines if engine.url.host == "primary"]
    return sum(pool.size() for pool in pools)


def test_production_asks_for_certificates_and_keeps_doorbells_and_commits_on_several_machines() -> None:
    told = environment("production", process(pods("production")["api"]))
    database = of("production", "Cluster")["postgres"]["spec"]

    assert (told["PGSSLMODE"], told["PENSTOCK_RABBITMQ_QUEUES"]) == ("verify-full", "quorum")
    for template in pods("production").values():
        broker = environment("production", process(template))
        assert ("PENSTOCK_BROKER_CA_FILE" in broker) == ("PENSTOCK_BROKER_URL_FILE" in broker)
    assert of("production", "RabbitmqCluster")["rabbitmq"]["spec"]["replicas"] == 3
    assert database["instances"] == 3
    assert database["postgresql"]["synchronous"] == {"method": "any", "number": 1, "dataDurability": "required"}
    backup = of("production", "ScheduledBackup")["nightly"]["spec"]
    assert backup["cluster"]["name"] in of("production", "Cluster")
    assert database["plugins"][0]["name"] == backup["pluginConfiguration"]["name"]
    assert database["plugins"][0]["parameters"]["barmanObjectName"] in of("production", "ObjectStore")


def test_every_quorum_queue_gets_a_member_on_every_node_in_the_end() -> None:
    spec = of("production", "RabbitmqCluster")["rabbitmq"]["spec"]
    lines = [line for line in spec["rabbitmq"]["additionalConfig"].splitlines() if not line.startswith("#")]
    config = {name: value for name, _, value in (line.partition(" = ") for line in lines)}
    membership = "quorum_queue.continuous_membership_reconciliation"

    assert config[f"{membership}.enabled"] == "true"
    assert int(config[f"{membership}.target_group_size"]) == spec["replicas"]
    assert int(config["raft.wal_max_size_bytes"]) < 2**31 / 8, "of 2 GiB"


def test_the_certificate_of_the_broker_is_for_the_host_that_its_operator_names() -> None:
    (broker,) = of("production", "RabbitmqCluster").values()
    shown = of("production", "Certificate")["rabbitmq"]["spec"]
    authority = of("production", "Issuer")[shown["issuerRef"]["name"]]["spec"]["ca"]["secretName"]
    (root,) = [one["spec"] for one in of("production", "Certificate").values() if one["spec"].get("isCA")]

    assert broker["spec"]["tls"]["secretName"] == shown["secretName"]
    assert shown["dnsNames"] == [f"{broker['metadata']['name']}.{broker['metadata']['namespace']}.svc"]
    assert root["secretName"] == authority
    assert root["issuerRef"]["name"] in of("production", "Issuer")


def test_small_needs_no_operator() -> None:
    own = {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1"}

    assert {one["apiVersion"] for one in overlay("small")} <= own
