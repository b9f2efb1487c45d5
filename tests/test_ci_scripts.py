"""The scripts that the workflows call, each on a machine with stand-ins for gh and docker."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recognition import __version__
from tests.conftest import REPOSITORY
from tests.runner import WORKFLOWS, Runner, commands

DIGEST = "sha256:" + "0" * 64  # that the stand-in for docker reports


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A checkout with what the scripts read."""
    checkout = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / ".ci", checkout / ".ci")
    for name in ("CHANGELOG.md", ".dvc/config", "recognition/__init__.py"):
        (checkout / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, checkout / name)
    for name in ("dvc.lock", "reports/mlp/metrics.json", "reports/retraining.svg", "data/feedback/README.md"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("")
    (checkout / ".gitignore").write_text("/.venv\n/reports/retraining.*\n/reports/bento.json\n/data/feedback/*.npz\n")
    (checkout / "reports" / "bento.json").write_text('{"bento": "digits:abc", "champion": "cnn"}')
    return Runner(tmp_path, dict(os.environ))


@pytest.fixture
def retrained(runner: Runner) -> Runner:
    """A checkout after a retraining that changed the lock file, metrics and corrections."""
    (runner.folder / "dvc.lock").write_text("schema: '2.0'\n")
    (runner.folder / "reports" / "mlp" / "metrics.json").write_text("{}")
    (runner.folder / "data" / "feedback" / "labels.npz").write_bytes(b"corrections")
    dvc(runner, "add", "--quiet", "data/feedback/labels.npz")
    return runner


def dvc(runner: Runner, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=runner.folder, check=True)


def report(runner: Runner, line: str) -> None:
    (runner.folder / "reports" / "retraining.md").write_text(f"# {line}\n\nRetrained.\n")


def add_remote(runner: Runner, tmp_path: Path) -> None:
    """Set a DVC remote, as a user does in .dvc/config."""
    dvc(runner, "remote", "add", "--quiet", "--default", "storage", str(tmp_path / "remote"))


@pytest.mark.parametrize("outcome", ["promoted", "updated"])
def test_a_new_champion_is_proposed(retrained: Runner, tmp_path: Path, outcome: str) -> None:
    add_remote(retrained, tmp_path)
    report(retrained, f"{outcome}: version 3: more accurate")
    for attempt in ("gh pr create", "gh pr edit"):
        retrained.run("bash .ci/propose")
        calls = retrained.recorded_calls()
        assert attempt in calls and f"--title Retrained, {outcome}: version 3" in calls
        changed = retrained.git("diff", "--name-only", "origin/main", "origin/retraining").splitlines()
        assert changed == ["data/feedback/labels.npz.dvc", "dvc.lock", "reports/mlp/metrics.json"]
        retrained.git("reset", "-q", "--soft", "HEAD~1")
    assert [path.read_bytes() for path in (tmp_path / "remote").rglob("*") if path.is_file()] == [b"corrections"]
    assert retrained.branches() == {"main", "retraining", "badges"}


@pytest.mark.parametrize("outcome", ["refused", "unchanged"])
def test_there_is_no_pull_request_without_a_new_champion(retrained: Runner, tmp_path: Path, outcome: str) -> None:
    add_remote(retrained, tmp_path)
    report(retrained, f"{outcome}: version 3: not better than the champion")
    said = retrained.run("bash .ci/propose")
    assert said.splitlines()[-1] == f"no pull request: the champion stays (outcome={outcome})"
    assert "gh pr" not in retrained.recorded_calls()
    assert retrained.branches() == {"main", "badges"}
    assert retrained.git("log", "--oneline").count("\n") == 0


def test_without_a_remote_no_pointer_to_a_missing_file_is_committed(retrained: Runner) -> None:
    report(retrained, "promoted: version 3: more accurate")
    said = retrained.run("bash .ci/propose")
    assert said.splitlines()[-1].startswith("no pull request: nobody could fetch the new models and corrections; ")
    assert "gh pr" not in retrained.recorded_calls()
    assert retrained.branches() == {"main", "badges"}
    assert retrained.git("show", "--name-only", "--format=", "origin/badges") == "retraining.svg"
    assert retrained.git("log", "--oneline").count("\n") == 0


def test_nothing_is_proposed_when_no_file_in_git_changed(retrained: Runner, tmp_path: Path) -> None:
    add_remote(retrained, tmp_path)
    retrained.git("checkout", "-q", "--", "dvc.lock", "reports")
    (retrained.folder / "data" / "feedback" / "labels.npz.dvc").unlink()
    report(retrained, "promoted: version 3: more accurate")
    assert retrained.run("bash .ci/propose").splitlines()[-1] == "no pull request: nothing that git keeps has changed"
    assert retrained.branches() == {"main", "badges"}


def write_changelog(runner: Runner, text: str) -> None:
    (runner.folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## Unreleased\n\nComing.\n\n{text}")


def test_the_release_notes_are_the_section_of_the_version(runner: Runner) -> None:
    write_changelog(
        runner, f"## {__version__} - 2026-11-22\n\n### Added\n\n- A.\n\n## {__version__}1 - 2026-01-01\n\n- B.\n"
    )
    assert runner.run(f"bash .ci/release-notes v{__version__}") == "\n### Added\n\n- A.\n"


@pytest.mark.parametrize("tag", ["", "v9.9.9", __version__, f"v{__version__}1"])
def test_a_tag_that_is_not_the_packages_version_is_refused(runner: Runner, tag: str) -> None:
    write_changelog(runner, "## 9.9.9\n\n- A.\n")
    said = runner.run(f"bash .ci/release-notes '{tag}'", status=1)
    assert said.startswith(f"error: the tag is '{tag}', but the version in recognition/__init__.py is {__version__}: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("text", ["", f"## {__version__}\n\n## 0.0.1\n\n- A.\n", f"## {__version__}1\n\n- A.\n"])
def test_a_version_without_a_text_in_the_changelog_is_refused(runner: Runner, text: str) -> None:
    write_changelog(runner, text)
    said = runner.run(f"bash .ci/release-notes v{__version__}", status=1)
    assert said.startswith(f"error: CHANGELOG.md has no section '## {__version__}' with a text: ")
    assert len(said.splitlines()) == 1


def test_every_command_of_a_release_runs(runner: Runner) -> None:
    write_changelog(runner, f"## {__version__} - 2026-11-22\n\n- A.\n")
    variables = {"GITHUB_REF_NAME": f"v{__version__}", "ARCHITECTURE": "amd64"}
    for architecture in ("amd64", "arm64"):
        (runner.folder / f"sbom-{architecture}.cdx.json").write_text("{}")
    outputs = [runner.run(line, **variables) for line in commands("release.yml")]
    assert "- A.\n" in outputs[0]
    calls, image = runner.recorded_calls(), f"ghcr.io/octo/digits:{__version__}"
    assert f"docker push --quiet {image}-amd64\n" in calls and ":latest\n" not in calls.replace("digits:latest ", "")
    assert f"docker buildx imagetools create --tag {image} {image}-amd64 {image}-arm64\n" in calls
    created = f"gh release create v{__version__} --verify-tag --title v{__version__} --notes-file release-notes.md "
    assert f"{created}sbom-amd64.cdx.json sbom-arm64.cdx.json\n" in calls
    assert (runner.folder / "release-notes.md").read_text().strip() == "- A."
    assert runner.output.read_text() == f"image=ghcr.io/octo/digits\ndigest={DIGEST}\n" * 2
    assert runner.git("config", "--file", str(runner.environment["GIT_CONFIG_GLOBAL"]), "safe.directory") == str(
        runner.folder
    )


def test_a_release_attests_what_the_steps_before_published() -> None:
    """The names of steps and of their outputs agree with what the scripts print."""
    text = json.dumps(WORKFLOWS["release.yml"])
    assert set(re.findall(r"steps\.(\w+\.outputs\.\w+)", text)) == {
        f"{step}.outputs.{name}" for step in ("publish", "combine") for name in ("image", "digest")
    }  # fmt: skip


def test_the_audit_checks_the_image_of_the_last_release(runner: Runner) -> None:
    for line in commands("audit.yml"):
        runner.run(line)
    assert runner.output.read_text() == ""
    assert runner.run("bash .ci/released-image", RELEASED="v1.2.3\n") == "image=ghcr.io/octo/digits:1.2.3\n"


class Vulnerabilities(BaseHTTPRequestHandler):
    """Answers pip-audit like osv.dev. `affected` is the package that has a vulnerability."""

    affected = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        package = {"package": {"name": asked, "ecosystem": "PyPI"}}
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]
        found = {"id": "GHSA-0", "summary": "bad", "details": "bad", "affected": [package | {"ranges": ranges}]}
        answer = json.dumps({"vulns": [found] if asked == self.affected else []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def advisories() -> Iterator[str]:
    """The URL of a database of vulnerabilities."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Vulnerabilities) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


@pytest.mark.parametrize(("affected", "status"), [("", 0), ("pytest", 2)])
def test_make_audit_fails_for_a_vulnerable_package(
    advisories: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, affected: str, status: int
) -> None:
    locks = re.findall(r"\S+\.txt", re.search("^LOCKS := (.*)$", (REPOSITORY / "Makefile").read_text(), re.M)[1])
    for name in ("Makefile", "pyproject.toml", *locks):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
        os.utime(tmp_path / name, (0, 0))  # older than the installed packages: make installs nothing
    (tmp_path / ".venv").symlink_to(REPOSITORY / ".venv")
    monkeypatch.setattr(Vulnerabilities, "affected", affected)
    options = f"AUDIT=--vulnerability-service osv --osv-url {advisories} --cache-dir {tmp_path / 'cache'}"
    done = subprocess.run(["make", "audit", options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    assert (f"\n{affected} " in done.stdout) == bool(affected)


class Checks:
    """A folder with .ci/run whose programs only record how they are called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        shutil.copytree(REPOSITORY / ".ci", folder / ".ci")
        programs = {
            "make": 'echo "make $*" >> calls; [ "$1" != repro ] || echo "$REPRO"; '
            'if [ "$1" = run ]; then until [ -e checked ]; do sleep 0.1; done; fi',
            "dpkg": 'case " $INSTALLED " in *" $2 "*) ;; *) exit 1 ;; esac',
            "apt-get": 'echo "apt-get $*" >> calls',
            "python": 'case "$*" in "-m tests.quality_bar "*) touch checked ;; *) echo podman ;; esac',
            "curl": "true", "podman": "true",
        }  # fmt: skip
        (folder / ".venv" / "bin").mkdir(parents=True)
        for name, text in programs.items():
            path = folder / ".venv" / "bin" / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)

    def run(self, *arguments: str, status: int = 0, **variables: str) -> list[str]:
        """Run .ci/run. Returns what it calls of make and apt-get."""
        environment = {**os.environ, **variables, "PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", ".ci/run", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == status, done.stdout + done.stderr
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [line.strip() for line in lines]


@pytest.fixture
def checks(tmp_path: Path) -> Checks:
    if sys.platform == "darwin":
        pytest.skip(".ci/run is for Debian")
    return Checks(tmp_path)


def selected_tests(calls: list[str]) -> set[str]:
    """Returns the arguments of pytest in the recorded `make test`."""
    (call,) = (line for line in calls if line.startswith("make test PYTEST=--no-skips"))
    return set(call.split()[3:])


def without_packages(calls: list[str]) -> list[str]:
    return [line for line in calls if not line.startswith("apt-get")]


def test_all_checks_run_without_an_argument(checks: Checks) -> None:
    assert without_packages(checks.run()) == [
        "make lint", "make docs", "make run PORT=3977", "make setup", "make image", "make repro",
        "make test PYTEST=--no-skips",
    ]  # fmt: skip


def test_the_parts_together_run_every_test(checks: Checks) -> None:
    parts = WORKFLOWS["ci.yml"]["jobs"]["slow"]["strategy"]["matrix"]["part"]
    assert parts == ["pipeline", "service", "image"]
    others, service, image = (selected_tests(checks.run(part)) for part in parts)
    assert others == {f"--ignore={path}" for path in service | image}
    assert service and image and all((REPOSITORY / path).exists() for path in service | image)


def test_a_release_trains_and_checks_its_models(checks: Checks) -> None:
    assert without_packages(checks.run("models")) == ["make .venv/.dev", "make run PORT=3977", "make repro"]


def test_the_site_needs_no_models(checks: Checks) -> None:
    assert without_packages(checks.run("site")) == ["make docs"]


def test_only_missing_packages_are_installed(checks: Checks) -> None:
    assert checks.run("models", INSTALLED="chromium")[0].startswith("make")
    update, install = (line for line in checks.run("models") if line.startswith("apt-get"))
    assert update == "apt-get update -qq" and install.endswith(" chromium")


def test_an_unknown_part_or_a_stage_that_runs_twice_is_an_error(checks: Checks) -> None:
    assert checks.run("everything", status=2) == []
    assert "make repro" in checks.run("models", status=1, REPRO="Running stage 'prepare':")


CURL = """#!/bin/sh
# Answers with the next status in $STATUSES, then with 200
status=$(head -n 1 "$STATUSES"); sed -i 1d "$STATUSES"
echo "curl $*" >> "$CALLS"
while [ "$1" != --output ]; do shift; done
echo '{"prediction": 7}' > "$2"
printf '%s' "${status:-200}"
"""


@pytest.fixture
def cluster(runner: Runner, tmp_path: Path) -> Runner:
    """A checkout with deploy/, and stand-ins for make and curl too."""
    if sys.platform == "darwin" or shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: apt-get install openssl), or this is no Linux")
    ignored = shutil.ignore_patterns("secret.env", "stores.env", "s3.json")
    shutil.copytree(REPOSITORY / "deploy", runner.folder / "deploy", ignore=ignored)
    programs = {"make": '#!/bin/sh\necho "make $*" >> "$CALLS"\n', "curl": CURL}
    for name, text in programs.items():
        path = tmp_path / "programs" / name
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "statuses").touch()
    runner.environment["STATUSES"] = str(tmp_path / "statuses")
    return runner


def test_the_trial_starts_in_kind_and_is_used(cluster: Runner, tmp_path: Path) -> None:
    (tmp_path / "statuses").write_text("000\n503\n")  # nginx and the service start one after the other
    said = cluster.run("bash .ci/kubernetes")
    assert '{"prediction": 7}' in said and re.search(r"\n([3-9]|\d\d+) requests, all answered\n", said)
    calls = cluster.recorded_calls()
    in_order = [
        "make setup", "make image VARIANT=cluster", "make pipeline-image", "kind create cluster --name digits",
        "kind load docker-image digits:latest digits-pipeline:latest --name digits",
        "kubectl create secret tls digits-tls",
        "kubectl apply --kustomize deploy/kubernetes/trial", "kubectl rollout status deployment/digits-proxy",
        "kubectl port-forward service/digits-proxy", "kubectl rollout restart deployment/digits",
        "kubectl create job digits-monitor-now",
    ]  # fmt: skip
    positions = [calls.index(line) for line in in_order]
    assert positions == sorted(positions) and "make repro" not in calls
    key = re.search("DIGITS_API_KEY=(.*)", (cluster.folder / "deploy/kubernetes/trial/secret.env").read_text())
    assert key and f"--header Authorization: Bearer {key[1]} " in calls
    trial = (cluster.folder / "deploy" / "kubernetes" / "trial" / "settings.env").read_text()
    assert "digits-proxy" in re.search("PUBLIC_HOSTS=(.*)", trial)[1].split(",")  # type: ignore[index]


def test_a_request_that_fails_during_the_update_fails_the_trial(cluster: Runner, tmp_path: Path) -> None:
    (tmp_path / "statuses").write_text("200\n200\n200\n502\n")
    said = cluster.run("bash .ci/kubernetes", status=1)
    assert "request 1 during the update: status 502" in said
    assert "kubectl get pods,jobs,events --namespace digits" in cluster.recorded_calls()


def test_the_names_in_the_trial_are_those_of_the_manifests() -> None:
    script = (REPOSITORY / ".ci" / "kubernetes").read_text()
    manifests = "".join(path.read_text() for path in (REPOSITORY / "deploy" / "kubernetes").glob("*/*.yaml"))
    (listed,) = re.findall(r"for name in (postgres .*); do", script)
    (apps,) = re.findall(r"for app in (.*); do", script)
    for name in {*listed.split(), *apps.split()}:
        assert re.search(rf"name: {name}\b", manifests), name


def test_without_models_the_trial_trains_some_on_the_embedded_digits(cluster: Runner) -> None:
    (cluster.folder / "reports" / "bento.json").unlink()
    shutil.copytree(REPOSITORY / "pipeline", cluster.folder / "pipeline")
    for package in ("recognition", "records"):
        shutil.copytree(REPOSITORY / package, cluster.folder / package, dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "params.yaml", cluster.folder)
    cluster.git("add", "params.yaml")
    cluster.git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "parameters")
    said = cluster.run("bash .ci/kubernetes")
    assert "data.dataset" in said and "make repro" in cluster.recorded_calls()
    assert (cluster.folder / "params.yaml").read_text() == (REPOSITORY / "params.yaml").read_text()
