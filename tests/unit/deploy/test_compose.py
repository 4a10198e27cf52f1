"""docker-compose.yml: the schema, that all it names exists, and what is promised of the whole."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli.health import Part
from deploy.compose import make_secrets
from deploy.stack.home import ROOT
from jobs.environment import FILE_SUFFIX
from tasks.settings import TaskSettings
from tests.services import compose
from tests.services.compose import DEVELOPING, FILE, VARIABLE, composition, services
from tests.unit.docs import env_example
from tests.unit.docs.settings_page import CLASSES, rows
from worker.settings import WorkerSettings

BOTH = [FILE.name, DEVELOPING.name]
ONCE = {"migrate", "backup-volume"}
"""Who ends when its work is done."""
PROCESSORS = 2.0
"""What the page asks of a machine: an engine refuses a container whose limit is above what there is."""
NOT_OURS = {"PYTHONPATH"}
KNOWN = {name for _, settings, _ in CLASSES for row in rows(settings) for name in row.names}
SECRETS = {
    f"{name}{FILE_SUFFIX}"
    for _, settings, _ in CLASSES
    for row in rows(settings)
    if "secret" in row.kind
    for name in row.names
}
UNITS = {"m": 2**20, "g": 2**30}
SECONDS = re.compile(r"(\d+)s")

every_service = pytest.mark.parametrize("name", services())
every_role = pytest.mark.parametrize("name", compose.roles())


def mounts(file: str) -> list[str]:
    """Return the folders and files of the checkout that a composition mounts."""
    found = [one for service in composition(file)["services"].values() for one in service.get("volumes", ())]
    return [one.partition(":")[0] for one in found if one.startswith(".")]


@pytest.mark.parametrize("file", BOTH)
def test_it_is_what_the_compose_specification_describes(file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_finds_nothing_that_was_not_decided() -> None:
    linter = shutil.which("compose-lint", path=str(Path(sys.executable).parent))
    assert linter, "it is one of the tests' tools"

    options = ["--config", "deploy/compose/lint.yml", "--strict-config", "--no-env", "--fail-on", "low", "--quiet"]
    done = subprocess.run(
        [linter, "check", *options, FILE.name], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_part_of_an_installation_is_there() -> None:
    wanted = {"api", "worker", "beat", "migrate", "flower", "rabbitmq", "postgres", "valkey", "gateway"}

    assert wanted | {"prometheus", "alertmanager", "grafana"} <= set(services())
    assert {name: services()[name]["deploy"]["replicas"] for name in ("api", "beat")} == {"api": 2, "beat": 2}


@pytest.mark.parametrize("kind", ["networks", "volumes", "secrets"])
def test_what_is_declared_is_used_and_the_other_way_round(kind: str) -> None:
    used: set[str] = set()
    for service in services().values():
        named = [one for one in service.get("volumes", ()) if not one.startswith(".")]
        used |= {
            "networks": compose.networks(service),
            "volumes": {one.partition(":")[0] for one in named},
            "secrets": compose.secrets(service),
        }[kind]

    assert used == set(composition()[kind])


@pytest.mark.parametrize("file", BOTH)
def test_what_is_mounted_from_the_checkout_is_in_it(file: str) -> None:
    assert [path for path in mounts(file) if not (ROOT / path).exists()] == []


def test_the_file_for_developing_changes_services_that_there_are_and_leads_to_folders_that_there_are() -> None:
    changed = composition(DEVELOPING.name)["services"]

    assert set(changed) <= set(services())
    watched = [one["path"] for service in changed.values() for one in service.get("develop", {}).get("watch", ())]
    assert watched
    assert [path for path in watched if not (ROOT / path).exists()] == []
    opened = [port for service in changed.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in opened)


def test_developing_shows_a_role_the_code_and_no_secret() -> None:
    changed = composition(DEVELOPING.name)["services"]
    packages = {"jobs", "tasks", "worker", "schedules", "api", "deploy"}

    for name in compose.roles():
        assert set(changed[name]["volumes"]) == {f"./{package}:/source/{package}:ro" for package in packages}


@every_service
def test_who_is_waited_for_is_there_and_can_tell_that_it_is_well(name: str) -> None:
    for other, how in services()[name].get("depends_on", {}).items():
        awaited = services()[other]
        if how["condition"] == "service_completed_successfully":
            assert awaited["restart"] == "no"
        else:
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in awaited
        assert how.get("required", True) is not bool(awaited.get("profiles")), "a service of a profile may be absent"


@every_role
def test_every_role_but_the_migration_waits_for_it(name: str) -> None:
    assert ("migrate" in services()[name]["depends_on"]) is (name != "migrate")


@every_service
def test_every_service_is_bounded_restarted_logged_in_bounds_and_without_privileges(name: str) -> None:
    service = services()[name]
    limits, reserved = (service["deploy"]["resources"][kind] for kind in ("limits", "reservations"))

    assert float(reserved["cpus"]) <= float(limits["cpus"]) <= PROCESSORS
    assert size(reserved["memory"]) <= size(limits["memory"])
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert "privileged" not in service
    assert name in ONCE or service["healthcheck"]["retries"] > 0


@every_service
def test_what_a_service_may_write_to_its_memory_leaves_room_for_itself(name: str) -> None:
    service = services()[name]
    written = [size(mount.partition(":size=")[2]) for mount in service.get("tmpfs", ())]

    assert sum(written) <= size(service["deploy"]["resources"]["limits"]["memory"]) / 2, "engines count it as memory"


def test_how_many_workers_there_are_is_kept_for_the_next_start() -> None:
    workers = {name: one for name, one in services().items() if one.get("command") == ["worker"]}

    assert {name: one["deploy"]["replicas"] for name, one in workers.items()} == {
        "worker": "${WORKERS:-1}",
        "worker-critical": "${WORKERS_CRITICAL:-1}",
        "worker-bulk": "${WORKERS_BULK:-1}",
    }


def size(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]]


@every_service
def test_any_number_of_a_service_fits_beside_each_other(name: str) -> None:
    assert "container_name" not in services()[name]
    assert ("ports" in services()[name]) is (name == "gateway"), "and only the gateway is published"


def test_postgresql_archives_into_a_volume_of_its_own_with_the_programs_that_ship() -> None:
    server, maker = services()["postgres"], services()["backup-volume"]
    settings = (ROOT / "deploy" / "backup" / "postgresql.conf").read_text()
    config = (ROOT / "deploy" / "compose" / "postgres" / "postgresql.conf").read_text()

    assert {"backup:/backup", "./deploy/backup:/opt/penstock-backup:ro"} <= set(server["volumes"])
    assert config.endswith("include '/opt/penstock-backup/postgresql.conf'\n")
    assert f"BACKUP_DIR={compose.environment(server)['BACKUP_DIR']} /opt/penstock-backup/archive-wal" in settings
    assert maker["volumes"] == ["backup:/backup"]
    assert (maker["image"], maker["network_mode"]) == (server["image"], "none")


def test_a_new_volume_gets_the_folders_that_the_backups_want_and_keeps_them(tmp_path: Path) -> None:
    volume, wanted = tmp_path / "volume", tmp_path / "wanted"
    volume.mkdir()
    maker = services()["backup-volume"]
    words = [*maker["entrypoint"], *maker["command"]]
    here = [word.replace("/backup", str(volume)).replace("postgres:postgres", str(os.geteuid())) for word in words]

    for _ in range(2):
        subprocess.run(here, check=True, timeout=60)
    init = [str(ROOT / "deploy" / "backup" / "penstock-backup"), "init"]
    subprocess.run(init, env={**os.environ, "BACKUP_DIR": str(wanted)}, check=True, timeout=60)

    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in volume.iterdir()}
    assert made == {path.name: stat.S_IMODE(path.stat().st_mode) for path in wanted.iterdir()}
    assert set(made.values()) == {0o700}


def test_networks_that_lead_outside_are_for_those_who_need_one() -> None:
    open_ones = {name for name, network in composition()["networks"].items() if not network.get("internal")}
    inside = {name for name, service in services().items() if not compose.networks(service) & open_ones}

    assert open_ones == {"public", "outside"}
    assert compose.networks(services()["postgres"]) == {"data"}
    assert inside == {"migrate", "backup-volume", "flower", "rabbitmq", "valkey", "postgres", "prometheus", "grafana"}
    assert not compose.networks(services()["gateway"]) & {"data", "monitoring"}


@every_service
def test_an_image_is_named_to_its_patch(name: str) -> None:
    image = services()[name]["image"]

    assert re.search(r":(v?\d+\.\d+\.\d+|\d+\.\d+)([-.\w]*)$", VARIABLE.sub(lambda found: found[3], image)), image


def test_the_one_image_is_built_once_for_all_roles() -> None:
    built = {name for name, service in services().items() if "build" in service}

    assert built == {"migrate"}, "builds in parallel cannot export one tag twice"
    assert {services()[name]["image"] for name in compose.roles()} == {services()["migrate"]["image"]}
    assert all("pull_policy" not in service for service in services().values()), "what is missing is built or pulled"


def test_only_what_is_built_is_built_anew_when_a_file_changes() -> None:
    for name, service in composition(DEVELOPING.name)["services"].items():
        actions = {one["action"] for one in service.get("develop", {}).get("watch", ())}

        assert "rebuild" not in actions or "build" in services()[name], "watching ends with an error"


@every_role
def test_a_role_is_a_command_of_the_image_and_is_asked_for_its_health_by_its_name(name: str) -> None:
    service = services()[name]
    (role,) = service["command"]

    assert service["read_only"] is True
    if name != "migrate":
        assert service["healthcheck"]["test"] == ["CMD", "penstock", "health", Part(role).value, "--ready"]


@pytest.mark.parametrize("file", BOTH)
def test_every_setting_that_is_given_is_one_that_the_code_knows(file: str) -> None:
    given = {
        variable
        for name, service in composition(file)["services"].items()
        if name in compose.roles()
        for variable in compose.environment(service)
    }

    assert given
    assert given - KNOWN - SECRETS - NOT_OURS == set()


@every_role
def test_every_secret_that_a_role_reads_from_a_file_is_mounted(name: str) -> None:
    service = services()[name]
    read = {value for variable, value in compose.environment(service).items() if variable in SECRETS}

    assert read
    assert {value.removeprefix("/run/secrets/") for value in read} <= compose.secrets(service)


def test_every_secret_has_a_file_that_is_made(tmp_path: Path) -> None:
    make_secrets.main(tmp_path, "localhost")
    made = {path.name for path in tmp_path.iterdir()}

    for secret in composition()["secrets"].values():
        name = secret["file"].rpartition("/")[2] if "COMPOSE_PROFILES" not in secret["file"] else "broker_url.rabbitmq"
        assert name in made
    assert {f"broker_url.{name}" for name, one in services().items() if one.get("profiles")} <= made


def test_workers_together_serve_every_queue_and_each_has_time_to_drain() -> None:
    workers = [one for one in services().values() if one.get("command") == ["worker"]]
    served = [compose.environment(one)["PENSTOCK_WORKER_QUEUES"] for one in workers]

    assert sorted(served) == sorted(TaskSettings.model_fields["queues"].get_default())
    for one in workers:
        assert seconds(one["stop_grace_period"]) > WorkerSettings.model_fields["drain_seconds"].get_default() + 10


def test_an_api_has_time_to_drain() -> None:
    api = services()["api"]

    drain = float(compose.environment(api).get("PENSTOCK_API_DRAIN_SECONDS", 0))
    assert seconds(api["stop_grace_period"]) >= drain + 10


def seconds(text: str) -> int:
    found = SECONDS.fullmatch(text)
    assert found
    return int(found[1])


def names_in(network: str) -> set[str]:
    found = (compose.aliases(name) for name, one in services().items() if network in compose.networks(one))
    return set().union(*found)


def test_prometheus_asks_by_names_that_answer_to_it() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    jobs: list[dict[str, Any]] = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    asked = {name for job in jobs for one in job.get("dns_sd_configs", ()) for name in one["names"]}

    assert asked == {"api", "worker", "beat", "rabbitmq", "alertmanager"}
    assert asked <= names_in("monitoring")
    assert all("worker" in compose.aliases(name) for name in services() if name.startswith("worker"))


def test_the_gateway_leads_to_services_that_it_reaches() -> None:
    config = (ROOT / "deploy" / "compose" / "gateway" / "nginx.conf").read_text()
    led_to = set(re.findall(r"set \$\w+ http://([\w-]+):\d+;", config))

    assert led_to == {"api", "flower", "grafana"}
    assert led_to <= names_in("edge")


def test_grafana_and_the_gateway_are_told_the_port_under_which_people_come() -> None:
    told = (compose.environment(services()["grafana"]), compose.environment(services()["gateway"]))

    assert "}${GATEWAY_HTTPS_PORT:+:$GATEWAY_HTTPS_PORT}/grafana/" in told[0]["GF_SERVER_ROOT_URL"]
    assert f"{told[1]['GATEWAY_HTTPS_PORT']}:8443" in services()["gateway"]["ports"]


def test_grafana_finds_prometheus() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/penstock.yml").read_text())

    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in names_in("monitoring")
    assert "monitoring" in compose.networks(services()["grafana"])


def test_what_has_no_default_stops_the_composition_with_a_word_on_what_it_is() -> None:
    must = {name: why for name, (sign, why) in compose.variables().items() if sign == "?"}

    assert set(must) == {"COMPOSE_PROFILES", "GATEWAY_HOST"}
    assert all(must.values())
    assert not any(name.startswith("PENSTOCK_") for name in compose.variables()), "those are settings of processes"


def test_no_secret_is_in_the_composition_or_its_example() -> None:
    for file in (*BOTH, env_example.FILE.name, "deploy/compose/rabbitmq/definitions.json"):
        assert not re.search(
            r"(?i)(password|token|secret)\w*\s*[:=]\s*[\"']?[A-Za-z0-9+/=]{8,}\s*$", (ROOT / file).read_text()
        )
