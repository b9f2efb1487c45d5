"""A wrong setting keeps the service from starting, with one line that names it, however it is started."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.deployment.bento_server import free_port
from serving.settings import Settings, read_settings, variable
from tests.conftest import REPOSITORY, Project

WRONG = {
    "api_key": "short",
    "api_keys_file": "/nowhere/keys",
    "allowed_hosts": "https://digits.example",
    "model_dir": "s4://bucket/served",
    "database_url": "mysql://db/digits",
    "log_predictions": "perhaps",
    "challenger": "mlp",
    "challenger_share": "1.5",
    "log_max_days": "0",
    "log_max_rows": "many",
    "hash_key": "short",
    "workers": "0",
    "max_body_bytes": "2 MB",
    "max_pixels": "-1",
    "max_in_flight": "0.5",
    "deadline_seconds": "inf",
    "rate_per_minute": "-1",
    "rate_storage": "redis://localhost:port",
    "rate_failure": "ignore",
    "allow_origins": "example.org",
    "log_level": "loud",
}


def test_every_setting_that_can_be_wrong_is_here() -> None:
    any_path = {"drain_file", "model_cache"}
    assert WRONG.keys() | any_path == Settings.model_fields.keys()


@pytest.mark.parametrize("field", [field for field, value in WRONG.items() if value])
def test_the_service_names_a_wrong_setting(field: str) -> None:
    environment = {**os.environ, variable(field): WRONG[field]}
    command = [sys.executable, "-c", "import serving.service"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and (variable(field) in line or WRONG[field] in line)


def test_packages_of_the_cluster_are_imported_only_where_they_are_used() -> None:
    command = "import sys, serving.service; print([name for name in ('s3fs', 'redis') if name in sys.modules])"
    settings = {"DIGITS_MODEL_DIR": "s3://bucket/served", "DIGITS_RATE_STORAGE": "redis://localhost/0"}
    for added, expected in (({}, "[]"), (settings, "['s3fs', 'redis']")):
        environment = {**os.environ, **added}
        done = subprocess.run(
            [sys.executable, "-c", command], cwd=REPOSITORY, env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize(("field", "limit"), [("log_max_days", 36_500), ("log_max_rows", 10**12)])
def test_the_limits_of_the_log_are_numbers_that_the_database_can_count(field: str, limit: int) -> None:
    assert getattr(Settings.model_validate({field: str(limit)}), field) == limit
    for wrong in (limit + 1, 10**30, "inf", "nan", "-inf"):
        with pytest.raises(ValueError, match=field):
            Settings.model_validate({field: str(wrong)})


def test_an_empty_key_is_refused() -> None:
    command = [sys.executable, "-c", "import serving.service"]
    environment = {**os.environ, "DIGITS_API_KEY": ""}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: DIGITS_API_KEY is empty")


def test_a_wrong_environment_is_one_line_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_API_KEY", "")
    with pytest.raises(ValueError, match=r"^DIGITS_API_KEY is empty: set a key of 8 or more characters, or unset it"):
        read_settings()
    for field, value in {"workers": "0", "allow_origins": "example.org", "api_key": "secret1", "hash_key": ""}.items():
        monkeypatch.setenv(variable(field), value)
    with pytest.raises(ValueError) as raised:
        read_settings()
    key, workers, origins = str(raised.value).split("; ")
    assert key == "DIGITS_API_KEY is set: value should have at least 8 items after validation, not 7"
    assert workers == "DIGITS_WORKERS is '0': input should be greater than or equal to 1"
    assert origins.startswith("DIGITS_ALLOW_ORIGINS is 'example.org': value error, expected origins like")


@pytest.mark.parametrize(("field", "length"), [("api_key", 8), ("hash_key", 16)])
def test_secrets_have_a_minimum_length(field: str, length: int) -> None:
    Settings.model_validate({field: "x" * length})
    with pytest.raises(ValueError, match=f"at least {length}"):
        Settings.model_validate({field: "x" * (length - 1)})


@pytest.mark.parametrize(
    ("hosts", "wrong"),
    [
        ("digits.example, *.Digits.example:80", "*.digits.example:80"),
        ("digits.example.org:8443", "digits.example.org:8443"),
        ("10.0.0.1:3000", "10.0.0.1:3000"),
        ("[::1]:3000", "[::1]:3000"),
        ("1::2::3", "1::2::3"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("digits.example,[", "["),
        ("*.", "*."),
        ("a.*", "a.*"),
        ("*a.example", "*a.example"),
        ("a b", "a b"),
        ("http://a", "http://a"),
        ("a/b", "a/b"),
        ("ok.example", None),
        ("*", None),
        ("*.a-b.example", None),
        ("::1, 10.0.0.1", None),
        (" , ", None),
    ],
)
def test_allowed_hosts_are_names(hosts: str, wrong: str | None) -> None:
    if wrong is None:
        assert Settings(allowed_hosts=hosts).host_names >= {"localhost", "127.0.0.1", "::1"}
    else:
        with pytest.raises(ValueError, match=re.escape(f"found {wrong!r}")):
            Settings(allowed_hosts=hosts)


@pytest.mark.parametrize(
    ("origins", "found"),
    [
        ("", set()),
        ("*", {"*"}),
        (" https://a.example,http://b.example:8080 ,", {"https://a.example", "http://b.example:8080"}),
        ("https://a.example:443,http://b.example:80", {"https://a.example", "http://b.example"}),
        ("https://a.example:80,http://b.example:443", {"https://a.example:80", "http://b.example:443"}),
        ("HTTPS://Example.org", {"https://example.org"}),
        ("https://a.example/", None),
        ("https://", None),
        ("ftp://a.example", None),
        ("https://a b", None),
        ("**", None),
        ("null", None),
    ],
)
def test_allowed_origins_have_a_scheme_and_no_path(origins: str, found: set[str] | None) -> None:
    if found is not None:
        assert Settings(allow_origins=origins).origins == found
    else:
        with pytest.raises(ValueError, match="expected origins like"):
            Settings(allow_origins=origins)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["make", "serve", "PORT={port}"],
        [sys.executable, "-m", "pipeline.deployment.serve", "--port", "{port}"],
        [sys.executable, "-m", "bentoml", "serve", "serving.service:Digits", "--port", "{port}"],
    ],
    ids=["make serve", "python -m", "bentoml serve"],
)
def test_every_way_to_start_it_names_a_wrong_setting(project: Project, command: list[str]) -> None:
    filled = [part.format(port=free_port()) for part in command]
    environment = {"DIGITS_WORKERS": "0", "DIGITS_MAX_PIXELS": "many"}
    make = filled[0] == "make"
    if make:
        (project.folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    try:
        said = project.run(*filled, status=None, **environment)
    finally:
        if make:
            (project.folder / ".venv").unlink()
    assert "DIGITS_WORKERS is '0'" in said and "DIGITS_MAX_PIXELS is 'many'" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_wrong_port_is_one_line(project: Project) -> None:
    said = project.run("digits", "serve", "--port", "abc", status=2)
    assert "'--port'" in said and "Traceback" not in said
