"""What can be set by environment variables, read once and checked on start."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Limits and sizes of the service; every field is an environment variable `DIGITS_<FIELD>`."""

    workers: int = 1
    max_body_bytes: int = 2_000_000
    max_pixels: int = 16_000_000


def read_settings() -> Settings:
    """Settings from the environment. Raises ValueError that names the variable and what it must be."""
    values: dict[str, int] = {}
    for field in Settings.__dataclass_fields__:
        variable = f"DIGITS_{field.upper()}"
        if (text := os.environ.get(variable, "")) != "":
            if not text.isdecimal() or int(text) < 1:
                raise ValueError(f"{variable} is {text!r}, expected a whole number of 1 or more")
            values[field] = int(text)
    return Settings(**values)
