"""What can be set by environment variables, read once and checked on start."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from records.bucket import is_url, open_bucket
from records.database import parse_url

SECRET = frozenset({"api_key", "hash_key", "database_url", "rate_storage"})  # values that no message shows
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
HOST = re.compile(r"\*|(\*\.)?[a-z0-9_.-]+")
ORIGIN = re.compile(r"\*|https?://[^/\s,]+")
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Limits, keys and places of the service; every field is an environment variable `DIGITS_<FIELD>`."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    api_key: Annotated[SecretStr, Field(min_length=8)] | None = Field(
        None,
        description="key that clients send as `Authorization: Bearer KEY`, 8 or more characters; unset: open to all",
    )
    api_keys_file: Path | None = Field(
        None,
        description="file with a name and the SHA-256 of a key on each line, read again when it changes; unset: none",
    )
    allowed_hosts: str = Field(
        "", description="host names that clients may use besides loopback names, separated by commas; *.NAME, or *: any"
    )
    model_dir: str | None = Field(
        None,
        description="folder or bucket (s3://BUCKET/FOLDER) with exported models, watched for promotions; unset: serve "
        "the models inside the Bento",
    )
    model_cache: Path = Field(
        Path("model-cache"), description="folder for copies of the models in a bucket, used while it is unreachable"
    )
    database_url: str = Field(
        "sqlite:///digits.db",
        description="database of the log, the labels and the promotions; or postgresql://USER:PASSWORD@HOST/NAME",
    )
    log_predictions: bool = Field(False, description="log predictions with their 28x28 pixels")
    challenger: str = Field(
        "",
        description="name of a served model whose answers are logged beside the champion's; unset: none",
    )
    challenger_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0, description="share of the clients whose requests for the champion the challenger answers"
    )
    log_max_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        90, description="days after which predictions are deleted; at most 36500"
    )
    log_max_rows: Annotated[int, Field(ge=1, le=10**12)] = Field(
        1_000_000,
        description="maximum number of logged pictures (1.8 kB each with two models); the oldest are deleted first",
    )
    hash_key: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None,
        description="secret of the client hashes, 16 or more characters; unset: a random one, kept in the database; "
        "required if requests are counted in Redis",
    )
    workers: Count = Field(1, description="number of worker processes")
    max_body_bytes: Count = Field(2_000_000, description="maximum size of a request body in bytes")
    max_pixels: Count = Field(16_000_000, description="maximum width times height of a picture")
    max_in_flight: Count = Field(
        256, description="maximum number of concurrent requests of all workers; further requests get status 429"
    )
    deadline_seconds: Annotated[float, Field(gt=0, le=3_600)] = Field(
        10,
        description="maximum seconds for an answer after the request has arrived, at most 3600; then status 503",
    )
    drain_file: Path | None = Field(
        None, description="while this file exists, /readyz answers 503, so that load balancers send no new requests"
    )
    rate_per_minute: Annotated[int, Field(ge=0)] = Field(
        0, description="maximum requests per client (API key or address); 0: no limit"
    )
    rate_storage: str = Field(
        "memory://",
        description="where requests are counted: memory:// for each worker, or redis://HOST:PORT/NUMBER (rediss:// "
        "with TLS) for all workers and instances",
    )
    rate_failure: Literal["allow", "refuse"] = Field(
        "allow", description="while Redis fails: allow requests without a limit, or refuse them with status 503"
    )
    allow_origins: str = Field("", description="origins allowed to call the service (CORS), separated by commas; or *")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="level of the JSON log on standard output; info logs every request"
    )

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        parse_url(value)
        return value

    @field_validator("model_dir")
    @classmethod
    def _usable_bucket(cls, value: str) -> str:
        if is_url(value):
            open_bucket(value)
        return value

    @field_validator("challenger")
    @classmethod
    def _logged_challenger(cls, value: str, info: ValidationInfo) -> str:
        if value and not info.data.get("log_predictions"):
            raise ValueError("its answers would be lost; set DIGITS_LOG_PREDICTIONS=true")
        return value

    @field_validator("rate_storage")
    @classmethod
    def _known_storage(cls, value: str, info: ValidationInfo) -> str:
        expected = "expected memory:// or redis://HOST:PORT/NUMBER"
        if value == "memory://":
            return value
        if not value.startswith(("redis://", "rediss://")):
            raise ValueError(expected)
        try:
            import redis

            redis.Redis.from_url(value)  # connects with the first command
        except ImportError:
            raise ValueError("the package redis is missing; the variant `cluster` of the image has it") from None
        except ValueError:  # its message may show a part of the password
            raise ValueError(expected) from None
        if info.data.get("rate_per_minute") and info.data.get("hash_key", "wrong") is None:
            raise ValueError("Redis gets keyed hashes of the clients; set DIGITS_HASH_KEY, the same for all instances")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: str) -> str:
        for name in sorted(_names(value.lower())):
            try:
                _host_name(name)
            except ValueError:
                expected = "expected names like digits.example.org, *.example.org or *, without a port"
                raise ValueError(f"{expected}, found {name!r}") from None
        return value

    @field_validator("allow_origins")
    @classmethod
    def _web_origins(cls, value: str) -> str:
        if wrong := sorted(name for name in _names(value.lower()) if not ORIGIN.fullmatch(name)):
            raise ValueError(f"expected origins like https://example.org, or *, found {wrong[0]!r}")
        return value

    @property
    def host_names(self) -> frozenset[str]:
        """Host names that clients may use, in lower case."""
        return LOOPBACK_NAMES | {_host_name(name) for name in _names(self.allowed_hosts.lower())}

    @property
    def origins(self) -> frozenset[str]:
        """Origins of other sites that may call the service, as browsers send them: lower case, no default port."""
        names = _names(self.allow_origins.lower())
        return frozenset(name.removesuffix(":443" if name.startswith("https:") else ":80") for name in names)


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _host_name(name: str) -> str:
    """A name or pattern in lower case; an IPv6 address in its short form, as clients send it. Raises ValueError."""
    if ":" in name and "%" not in name:
        return str(ipaddress.IPv6Address(name))
    if not HOST.fullmatch(name):
        raise ValueError(name)
    return name


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"DIGITS_{field.upper()}"


def read_settings() -> Settings:
    """Settings from the environment. Raises ValueError that names each wrong variable and what it must be.

    An empty variable counts as unset, except `DIGITS_API_KEY`: an empty key would open the service to all.
    """
    values = {field: os.environ.get(variable(field), "") for field in Settings.model_fields}
    if os.environ.get(variable("api_key")) == "":
        raise ValueError("DIGITS_API_KEY is empty: set a key of 8 or more characters, or unset it to need no key")
    try:
        return Settings.model_validate({field: value for field, value in values.items() if value != ""})
    except ValidationError as error:
        wrong = []
        for problem in error.errors():
            field = str(problem["loc"][0])
            found = "set" if field in SECRET else repr(values[field])
            wrong.append(f"{variable(field)} is {found}: {problem['msg'][:1].lower()}{problem['msg'][1:]}")
        raise ValueError("; ".join(wrong)) from None
