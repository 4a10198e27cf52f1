"""Settings of the tasks that ship: what they may reach and through which mail server."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from jobs.environment import Settings
from tasks.settings import check_certificates

#: Ports on which web servers are met. Anything else (SSH, SMTP, databases) is not a web server.
WEB_PORTS = frozenset({80, 443, 8080, 8443})


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


#: In the environment a list is written with commas, not as JSON.
Comma = (NoDecode, BeforeValidator(_split))


class HttpSettings(Settings):
    """What `http.request` may reach. Prefix `PENSTOCK_HTTP_`."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_HTTP_", frozen=True)

    allow_private_addresses: bool = False
    """Whether loopback, private and other non-public addresses may be called. For development and trusted tenants."""

    allowed_hosts: Annotated[frozenset[str], *Comma] = frozenset()
    """Host names that may be called; `*.example.com` means every name below it. Empty: every host."""

    allowed_ports: Annotated[frozenset[Annotated[int, Field(ge=1, le=65535)]] | None, *Comma] = None
    """Ports that may be called. Unset: 80, 443, 8080, 8443, or any port when private addresses are allowed."""

    blocked_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], *Comma] = ()
    """Networks that are never called, public or not, such as the company's own address space."""

    max_response_bytes: Annotated[int, Field(ge=0)] = 1024 * 1024
    """The most that a job may ask for in `max_response_bytes`. Bytes."""

    ca_file: Path | None = None
    """PEM file of the authorities to trust in place of those that certifi lists."""

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            check_certificates(value)
        return value

    @property
    def ports(self) -> frozenset[int] | None:
        """Return the ports in force, or None for any."""
        if self.allowed_ports is None and not self.allow_private_addresses:
            return WEB_PORTS
        return self.allowed_ports


class SmtpSettings(Settings):
    """The mail server that `email.send` hands its messages to. Prefix `PENSTOCK_SMTP_`."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_SMTP_", frozen=True)

    host: str = "localhost"
    """Name or address of the server."""

    port: Annotated[int, Field(ge=1, le=65535)] = 587
    """Its port: 587 for submission, 465 with `security=tls`, 25 for a relay."""

    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls`: begin in clear, then insist on TLS. `tls`: TLS from the first byte. `none`: in clear."""

    username: str | None = None
    """Log in as this user. Unset: no login."""

    password: SecretStr | None = None
    """The user's password."""

    from_address: str | None = None
    """Sender of messages that name none."""

    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 30
    """How long one exchange with the server may take. Seconds."""

    ca_file: Path | None = None
    """PEM file of the authorities to trust in place of those that certifi lists."""

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            check_certificates(value)
        return value

    @model_validator(mode="after")
    def _keeps_the_password_secret(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        if self.password is not None and self.security == "none":
            raise ValueError("a password is not sent in clear: set security to starttls or tls")
        return self
