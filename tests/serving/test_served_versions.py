"""The metric of the served versions, as Prometheus gets it from one process and from the files of several workers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

REPLACE = """\
import sys
from types import SimpleNamespace
from serving.api.state import ServiceState
from serving.inference.served_models import Models
from serving.settings import Settings
from serving.telemetry import metrics

state = ServiceState(Settings())
state.models.on_replace = state._on_replace
for served in sys.argv[1:]:  # like cnn=3,challenger=4
    versions = dict(entry.split("=") for entry in served.split(","))
    by_name = {name: SimpleNamespace(version=version or None) for name, version in versions.items()}
    state.models.replace(Models("mnist", [*"0123456789"], "cnn", by_name))
print(metrics.exposition().decode())
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("replacements", "versions"),
    [
        (["cnn=3,challenger=4"], {"cnn": "3.0", "challenger": "4.0"}),
        (["cnn=3,challenger=4", "cnn=3"], {"cnn": "3.0", "challenger": "NaN"}),
        (
            ["cnn=3,challenger=4", "cnn=4,mlp=3", "cnn=4,challenger=5"],
            {"cnn": "4.0", "challenger": "5.0", "mlp": "NaN"},
        ),
        (["cnn="], {"cnn": "0.0"}),
    ],
    ids=["a challenger", "no longer", "another one", "not registered"],
)
def test_a_model_that_is_no_longer_served_has_no_version(
    tmp_path: Path, workers: int, replacements: list[str], versions: dict[str, str]
) -> None:
    environment = {**os.environ, **({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if workers > 1 else {})}
    command = [sys.executable, "-c", REPLACE, *replacements]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(r'^digits_served_version\{model="(\w+)"[^}]*\} (\S+)$', done.stdout, re.MULTILINE)
    assert dict(found) == versions
