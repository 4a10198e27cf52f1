"""Settings of the tasks that ship, as the environment gives them."""

from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from tasks.library.settings import WEB_PORTS, HttpSettings, SmtpSettings


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HTTP_ALLOWED_HOSTS", "a.example, *.b.example,")
    monkeypatch.setenv("PENSTOCK_HTTP_ALLOWED_PORTS", "443,9443")
    monkeypatch.setenv("PENSTOCK_HTTP_BLOCKED_NETWORKS", "192.0.2.0/24,2001:db8::/32")

    settings = HttpSettings()

    assert settings.allowed_hosts == {"a.example", "*.b.example"}
    assert settings.ports == frozenset({443, 9443})
    assert settings.blocked_networks == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


def test_out_of_the_box_only_public_web_ports_are_reachable() -> None:
    assert HttpSettings().allow_private_addresses is False
    assert HttpSettings().ports == WEB_PORTS


def test_private_addresses_come_with_any_port_unless_ports_are_listed() -> None:
    assert HttpSettings(allow_private_addresses=True).ports is None
    assert HttpSettings(allow_private_addresses=True, allowed_ports=frozenset({80})).ports == frozenset({80})


def test_mail_goes_in_tls_out_of_the_box() -> None:
    assert (SmtpSettings().security, SmtpSettings().port) == ("starttls", 587)


@pytest.mark.parametrize(
    "settings",
    [
        {"username": "ada"},
        {"password": "secret"},
        {"username": "ada", "password": "secret", "security": "none"},
        {"port": 0},
        {"timeout_seconds": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SmtpSettings.model_validate(settings)


def test_the_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SMTP_USERNAME", "ada")
    monkeypatch.setenv("PENSTOCK_SMTP_PASSWORD", "correct horse")

    assert "correct horse" not in repr(SmtpSettings())
