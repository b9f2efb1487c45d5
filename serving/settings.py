"""What can be set by environment variables, read once and checked on start."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from records.database import parse_url

SECRET = frozenset({"api_key", "hash_key", "database_url"})  # values that no message shows
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Limits, keys and places of the service; every field is an environment variable `DIGITS_<FIELD>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    api_key: Annotated[SecretStr, Field(min_length=8)] | None = Field(
        None,
        description="clients must send it as `Authorization: Bearer KEY`, 8 characters or more; unset: open to all",
    )
    model_dir: Path | None = Field(
        None, description="folder of exported models, watched for promotions; unset: the models inside the Bento"
    )
    database_url: str = Field(
        "sqlite:///digits.db",
        description="prediction log, labels and ledger; or postgresql://USER:PASSWORD@HOST/NAME",
    )
    log_predictions: bool = Field(False, description="whether answers and their 28x28 pixels are kept")
    log_max_days: Annotated[float, Field(gt=0)] = Field(90, description="age at which logged answers are deleted")
    log_max_rows: Count = Field(1_000_000, description="logged pictures, 1 kB each; the oldest beyond are deleted")
    hash_key: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, description="key of the hashes that stand for clients; unset: a random one that the database keeps"
    )
    workers: Count = Field(1, description="processes that answer")
    max_body_bytes: Count = Field(2_000_000, description="of one request")
    max_pixels: Count = Field(16_000_000, description="of one picture, width times height")
    max_in_flight: Count = Field(256, description="requests at once over all workers; more get 429")
    rate_per_minute: Annotated[int, Field(ge=0)] = Field(
        0, description="requests per client and worker, a client being a key or an address; 0: no limit"
    )
    allow_origins: str = Field("", description="other sites whose pages may call, separated by commas; or *")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="of the JSON lines on standard output; info has one line per request"
    )

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        parse_url(value)
        return value


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"DIGITS_{field.upper()}"


def read_settings() -> Settings:
    """Settings from the environment. Raises ValueError that names each wrong variable and what it must be."""
    values = {field: os.environ.get(variable(field), "") for field in Settings.model_fields}
    try:
        return Settings.model_validate({field: value for field, value in values.items() if value != ""})
    except ValidationError as error:
        wrong = []
        for problem in error.errors():
            field = str(problem["loc"][0])
            found = "set" if field in SECRET else repr(values[field])
            wrong.append(f"{variable(field)} is {found}: {problem['msg'][:1].lower()}{problem['msg'][1:]}")
        raise ValueError("; ".join(wrong)) from None
