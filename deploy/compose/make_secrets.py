"""Makes the secrets that docker-compose.yml mounts: `python3 deploy/compose/make_secrets.py`.

Needs Python 3.9 and, for a certificate of its own, openssl. The folder is `secrets` in the checkout, or what
SECRETS_FOLDER names in the environment or in .env. What is there already keeps its content, so a secret of your own is
put there first; to rotate one, delete its file and those that hold it too, and run this again. The folder is closed to
others; the files in it are not, because an engine mounts them as they are for accounts that this machine does not know.
"""

import base64
import hashlib
import ipaddress
import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RANDOM = ("postgres_password", "rabbitmq_password", "valkey_password", "flower_password", "grafana_password")
FROM_OTHERS = ("pager_token", "mail_password")
"""What somebody else gives you; until then a random one holds its place."""
CERTIFICATE = ("gateway_certificate", "gateway_key")


def main(folder: Path, host: str) -> list[str]:
    """Make what is missing in `folder`; return the names of what was made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = [name for name in (*RANDOM, *FROM_OTHERS) if write(folder / name, secrets.token_hex(24))]
    known = {name: (folder / name).read_text().strip() for name in RANDOM}
    others = derived(known)
    made += [name for name, text in others.items() if write(folder / name, text)]
    if not any((folder / name).exists() for name in CERTIFICATE) and shutil.which("openssl"):
        make_certificate(folder, host)
        made += CERTIFICATE
    for name in (*known, *others, *FROM_OTHERS, *CERTIFICATE):
        give(folder / name)
    return made


def chosen() -> Path:
    """Return the folder as docker-compose.yml reads it: relative to the checkout, the environment before .env."""
    told = os.environ.get("SECRETS_FOLDER", "")
    if not told and (ROOT / ".env").exists():
        lines = (line.strip().partition("=") for line in (ROOT / ".env").read_text().splitlines())
        told = next((value.strip("'\" ") for name, _, value in lines if name == "SECRETS_FOLDER"), "")
    return ROOT / (told or "secrets")


def derived(known: "dict[str, str]") -> "dict[str, str]":
    """Return what holds one of the passwords in a form of its own."""
    rabbitmq = f"penstock:{known['rabbitmq_password']}@rabbitmq"
    return {
        "database_url": f"postgresql://penstock:{known['postgres_password']}@postgres:5432/penstock",
        "broker_url.rabbitmq": f"amqp://{rabbitmq}:5672/penstock",
        "broker_url.valkey": f"redis://:{known['valkey_password']}@valkey:6379/0",
        "flower_broker_api": f"http://{rabbitmq}:15672/api/",
        "rabbitmq_definitions": json.dumps(definitions("penstock", known["rabbitmq_password"]), indent=2),
        "valkey_account": f"requirepass {known['valkey_password']}",
    }


def definitions(name: str, password: str) -> "dict[str, object]":
    """Return what RabbitMQ reads at each start: what ships, and an account (its documentation, "Definitions")."""
    salt = secrets.token_bytes(4)
    hashed = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    user = {"name": name, "password_hash": hashed, "hashing_algorithm": "rabbit_password_hashing_sha256"}
    return {
        **json.loads((HERE / "rabbitmq" / "definitions.json").read_text()),
        "users": [{**user, "tags": ["monitoring"]}],
        "permissions": [{"user": name, "vhost": "penstock", **everything}],
    }


def write(file: Path, text: str) -> bool:
    """Write a file that is not there yet; say whether it was."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as opened:
        os.fchmod(opened.fileno(), 0o444)
        opened.write(text + "\n")
    return True


def give(file: Path) -> None:
    """Let containers read a file, whoever put it there; what a link leads to is in another folder, and left alone."""
    if file.is_file() and not file.is_symlink():
        file.chmod(0o444)


def make_certificate(folder: Path, host: str) -> None:
    """Make a certificate that nobody trusts yet, for a first look; put your own in its place."""
    files = ["-keyout", str(folder / "gateway_key"), "-out", str(folder / "gateway_certificate")]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "90"]
    names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName={kind_of(host)}:{host}"]
    subprocess.run(["openssl", "req", "-x509", *key, *names, *files], check=True, capture_output=True)


def kind_of(host: str) -> str:
    """Return what a certificate calls a host of that kind: clients look for an address under no other (RFC 6125)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "DNS"
    return "IP"


def command(host: str) -> None:
    """Make what is missing and say so. Ends with 1 where the gateway still has no certificate."""
    folder = chosen()
    for name in main(folder, host):
        print(f"made {folder / name}")
    missing = [name for name in CERTIFICATE if not (folder / name).exists()]
    if missing:
        sys.exit(f"not made: {' and '.join(missing)}. Install openssl and run this again, or put yours into {folder}")


if __name__ == "__main__":
    command(sys.argv[1] if len(sys.argv) > 1 else "localhost")
