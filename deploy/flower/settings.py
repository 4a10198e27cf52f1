"""What Flower must know: where it stands, and who may look."""

from typing import Annotated, Final

from pydantic import AliasChoices, Field, SecretStr, field_validator

from jobs.environment import Settings
from jobs.errors import ConfigurationError

CURE: Final = "name a file that holds one in PENSTOCK_FLOWER_PASSWORD_FILE, or set PENSTOCK_FLOWER_PASSWORD"


class FlowerSettings(Settings):
    """Where Flower stands, and its login; Flower's own variables, FLOWER_*, choose the rest."""

    flower_address: Annotated[
        str,
        Field(
            validation_alias=AliasChoices("FLOWER_ADDRESS", "flower_address"),
            description="The address that Flower listens on",
        ),
    ] = "127.0.0.1"
    flower_port: Annotated[
        int,
        Field(
            ge=0,
            le=65_535,
            validation_alias=AliasChoices("FLOWER_PORT", "flower_port"),
            description="The port that Flower listens on",
        ),
    ] = 5555
    flower_prefix: Annotated[
        str,
        Field(
            pattern=r"^/?[\w-]+(/[\w-]+)*/?$",
            description="The path that every address of Flower begins with, for a gateway to pass on unchanged",
        ),
    ] = "/flower"
    flower_user: Annotated[str, Field(pattern=r"^[^:]+$", description="The name in Flower's login")] = "penstock"
    flower_password: Annotated[SecretStr | None, Field(description="The password in Flower's login")] = None
    flower_broker_api: Annotated[
        SecretStr | None,
        Field(
            validation_alias=AliasChoices("FLOWER_BROKER_API", "flower_broker_api"),
            description="RabbitMQ's management, as http://user:password@host:15672/api/, for Flower's page of queues",
        ),
    ] = None
    flower_cookie_secret: Annotated[
        SecretStr | None,
        Field(
            validation_alias=AliasChoices("FLOWER_COOKIE_SECRET", "flower_cookie_secret"),
            description="Signs the cookies of a login through someone else; several Flowers share it",
        ),
    ] = None
    flower_oauth2_secret: Annotated[
        SecretStr | None,
        Field(
            validation_alias=AliasChoices("FLOWER_OAUTH2_SECRET", "flower_oauth2_secret"),
            description="What Flower shows to the one through whom people log in",
        ),
    ] = None

    @field_validator("flower_prefix")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        return "/" + value.strip("/")

    @property
    def path(self) -> str:
        """Where the first page is. Without the slash at the end Flower knows no page."""
        return f"{self.flower_prefix}/"

    def login(self) -> str:
        """Return user:password. Raises `ConfigurationError` where there is no password."""
        if self.flower_password is None:
            raise ConfigurationError(f"It has no password: {CURE}.")
        return f"{self.flower_user}:{self.flower_password.get_secret_value()}"

    def secrets(self) -> dict[str, str]:
        """Return the secrets that are set, by the names of Flower's own options."""
        options = {
            "broker_api": self.flower_broker_api,
            "cookie_secret": self.flower_cookie_secret,
            "oauth2_secret": self.flower_oauth2_secret,
        }
        return {name: secret.get_secret_value() for name, secret in options.items() if secret is not None}
