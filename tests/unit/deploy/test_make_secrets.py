"""The secrets of a composition: made once, fitting each other, and closed to others."""

import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.compose import make_secrets
from deploy.flower.settings import FlowerSettings
from jobs.database import DatabaseSettings
from tasks.settings import TaskSettings


@pytest.fixture
def made(tmp_path: Path) -> Path:
    make_secrets.main(tmp_path / "secrets", "localhost")
    return tmp_path / "secrets"


def read(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


def test_what_is_there_stays_and_what_is_missing_is_made_of_it(tmp_path: Path) -> None:
    tmp_path.joinpath("postgres_password").write_text("of-my-own\n")

    first = make_secrets.main(tmp_path, "localhost")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    again = make_secrets.main(tmp_path, "localhost")

    assert "postgres_password" not in first
    assert read(tmp_path, "database_url") == "postgresql://penstock:of-my-own@postgres:5432/penstock"
    assert again == []
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_the_folder_is_closed_to_others_and_its_files_open_to_the_accounts_of_containers(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == {0o444}


def test_no_two_secrets_are_the_same(made: Path) -> None:
    values = [read(made, name) for name in (*make_secrets.RANDOM, *make_secrets.FROM_OTHERS)]

    assert len(set(values)) == len(values)
    assert min(map(len, values)) == 48


@pytest.mark.parametrize("broker", ["rabbitmq", "valkey"])
def test_the_processes_take_them(made: Path, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in {
        "PENSTOCK_DATABASE_URL_FILE": "database_url",
        "PENSTOCK_BROKER_URL_FILE": f"broker_url.{broker}",
        "PENSTOCK_FLOWER_PASSWORD_FILE": "flower_password",
        "FLOWER_BROKER_API_FILE": "flower_broker_api",
    }.items():
        monkeypatch.setenv(variable, str(made / name))

    broker_url = TaskSettings().broker_url

    assert read(made, "postgres_password") in DatabaseSettings().database_url.get_secret_value()
    assert broker_url is not None
    assert read(made, f"{broker}_password") in broker_url.get_secret_value()
    assert FlowerSettings().login() == f"penstock:{read(made, 'flower_password')}"


def test_the_definitions_hold_the_passwords_hash_and_not_the_password(made: Path) -> None:
    text = read(made, "rabbitmq_definitions")
    (user,) = json.loads(text)["users"]
    assert json.loads(text)["vhosts"] == [{"name": "penstock"}]
    hashed = base64.b64decode(user["password_hash"])
    password = read(made, "rabbitmq_password")

    assert hashed[4:] == hashlib.sha256(hashed[:4] + password.encode()).digest()
    assert password not in text


@pytest.mark.parametrize(
    ("host", "named"), [("penstock.example.com", "DNS:penstock.example.com"), ("192.0.2.7", "IP Address:192.0.2.7")]
)
def test_the_certificate_names_the_host_as_clients_look_for_it(tmp_path: Path, host: str, named: str) -> None:
    make_secrets.main(tmp_path, host)

    command = ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", tmp_path / "gateway_certificate"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert named in told


def test_a_key_of_your_own_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "gateway_key").write_text("my own\n")

    made = make_secrets.main(tmp_path, "localhost")

    assert "gateway_certificate" not in made
    assert read(tmp_path, "gateway_key") == "my own"


def test_what_was_put_there_by_hand_can_be_read_by_containers_and_by_nobody_else(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "secrets", tmp_path / "elsewhere"
    folder.mkdir(mode=0o755)
    for file in (folder / "gateway_key", folder / "pager_token", elsewhere):
        file.touch(mode=0o600)
    (folder / "gateway_certificate").symlink_to(elsewhere)

    make_secrets.main(folder, "localhost")

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("gateway_key", "pager_token")} == {0o444}
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600, "that folder is open, maybe"


def run(script: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    surroundings = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        [sys.executable, str(script), "penstock.example.com"],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def checkout(folder: Path) -> Path:
    """Copy what the script needs of a checkout; return the script in it."""
    shutil.copytree(Path(make_secrets.__file__).parent, folder / "deploy" / "compose")
    return folder / "deploy" / "compose" / "make_secrets.py"


def test_without_openssl_it_says_what_is_missing_and_does_not_end_well(tmp_path: Path) -> None:
    script = checkout(tmp_path)

    done = run(script, PATH=str(tmp_path))

    assert done.returncode == 1
    assert "gateway_certificate and gateway_key" in done.stderr
    assert (tmp_path / "secrets" / "database_url").exists(), "all else is made"


def test_the_folder_is_the_one_that_the_composition_mounts(tmp_path: Path) -> None:
    script = checkout(tmp_path)

    assert run(script).returncode == 0
    tmp_path.joinpath(".env").write_text("GATEWAY_HOST=localhost\nSECRETS_FOLDER='./of-env'\n")
    assert run(script).returncode == 0
    assert run(script, SECRETS_FOLDER=str(tmp_path / "of-shell")).returncode == 0

    for name in ("secrets", "of-env", "of-shell"):
        assert stat.S_IMODE((tmp_path / name / "gateway_key").stat().st_mode) == 0o444
