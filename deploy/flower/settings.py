"""What Flower must know: where it stands, and who may look."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.errors import ConfigurationError

CURE: Final = "name a file that holds one in PENSTOCK_FLOWER_PASSWORD_FILE, or set PENSTOCK_FLOWER_PASSWORD"


class FlowerSettings(BaseSettings):
    """Where Flower stands, and its login; Flower's own variables, FLOWER_*, choose the rest."""

    # What is wrong with a setting is told without its value, which may be a password.
    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_", extra="ignore", populate_by_name=True, hide_input_in_errors=True, env_ignore_empty=True
    )

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
    flower_password_file: Annotated[
        Path | None, Field(description="A file whose first line is that password; it counts before the variable")
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
        """Return user:password. Raises `ConfigurationError` where there is no password, or none that can be read."""
        return f"{self.flower_user}:{self._password()}"

    def _password(self) -> str:
        if self.flower_password_file is None:
            found = self.flower_password.get_secret_value() if self.flower_password else ""
        else:
            try:
                found = self.flower_password_file.read_text().partition("\n")[0].rstrip("\r")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"PENSTOCK_FLOWER_PASSWORD_FILE cannot be read: {type(error).__name__}."
                ) from None
        if not found:
            raise ConfigurationError(f"It has no password: {CURE}.")
        return found
