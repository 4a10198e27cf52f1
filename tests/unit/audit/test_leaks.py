"""What looks like a secret in a file, and what does not."""

import base64
import zlib
from pathlib import Path

import pytest

from deploy.stack.home import ROOT
from tests.audit.leaks import EXAMPLES, leaks, leaks_in
from tests.audit.parts import secrets

# Put together here, so that this file has none.
SECRETS = {
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a key of AWS": "AKIA" + "ABCDEFGHIJKLMNOP",
    "a token of GitHub": "ghp_" + "a1" * 18,
    "a token of GitLab": "glpat-" + "a1" * 10,
    "a token of Slack": "xoxb-" + "1234567890-ab",
    "a key of Google": "AIza" + "a1-_b" * 7,
    "a key of Stripe": "sk_live_" + "a1" * 8,
    "a signed token (JWT)": "eyJ" + "hbGciOiJIUzI1.eyJ" + "zdWIiOiIxMjM0.c2lnbmF0dXJl",
    "a DSN of Sentry": "https://" + "0f" * 16 + "@sentry.example/1",
    "a password inside a URL": "postgresql://" + "jobs:kXw93-vQ@db.internal:5432/jobs",
    "a literal that looks drawn by lot": "api_key = " + '"9fK2xQ7vLw3ZpB8tRn5c"',
}


@pytest.mark.parametrize("what", sorted(SECRETS))
def test_a_secret_is_named_for_what_it_is_and_where_it_stands(what: str) -> None:
    text = f"a line before\nit is {SECRETS[what]} here\n"

    assert [(leak.line, leak.what) for leak in leaks(text)] == [(2, what)]


def test_a_key_of_penstock_is_known_by_its_checksum() -> None:
    body = "pns_" + "0f" * 8 + "_" + "a1-_b" * 8 + "xyz"
    key = body + base64.urlsafe_b64encode(zlib.crc32(body.encode()).to_bytes(4, "big")).decode()[:6]

    assert [leak.what for leak in leaks(key)] == ["an API key of Penstock"]
    assert list(leaks(key[:-1] + ("A" if key[-1] != "A" else "B"))) == []


@pytest.mark.parametrize(
    "text",
    [
        *(f"amqp://user:{example}@host" for example in sorted(EXAMPLES)),
        'PASSWORD_FILE = "/run/secrets/database_url"',
        'token = "what-nobody-could-guess"',
        "sha256:0d764913374ba21df8cd618045b371ed104ce55c6276de7c59e554a4f5ba26fd",
        "postgresql://$USER:$PASSWORD@host",
    ],
)
def test_examples_names_and_digests_are_no_secrets(text: str) -> None:
    assert list(leaks(text)) == []


def test_a_leak_is_told_without_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(SECRETS["a key of AWS"])
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")

    assert leaks_in([file, tmp_path / "picture.png"], tmp_path) == ["notes.txt:1: a key of AWS"]


def test_no_file_of_this_repository_has_one() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout of git")

    assert secrets().told == []
