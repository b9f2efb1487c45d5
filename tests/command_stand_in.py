"""Stands in for gh, docker, kubectl and kind: records each call in $CALLS, rejects what the real programs do not know.

The options are those of the manuals (https://cli.github.com/manual, https://docs.docker.com/reference/cli/docker,
https://kubernetes.io/docs/reference/kubectl, https://kind.sigs.k8s.io), in their long form.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

# By command: the largest number of arguments, options with a value, options without one. The longest match counts.
COMMANDS: dict[str, tuple[int, str, str]] = {
    "gh auth setup-git": (0, "hostname", "force"),
    "gh run list": (0, "branch commit created event jq json limit repo status template user workflow", "all"),
    "gh run download": (1, "dir name pattern repo", ""),
    "gh pr create": (
        0,
        "assignee base body body-file head label milestone project recover repo reviewer template title",
        "draft dry-run editor fill fill-first fill-verbose no-maintainer-edit web",
    ),
    "gh pr edit": (
        1,
        "add-assignee add-label add-project add-reviewer base body body-file milestone remove-assignee remove-label "
        "remove-project remove-reviewer repo title",
        "remove-milestone",
    ),
    "gh pr comment": (1, "body body-file repo", "create-if-none delete-last edit-last editor web yes"),
    "gh release create": (
        99,
        "discussion-category notes notes-file notes-start-tag repo target title",
        "draft fail-on-no-commits generate-notes latest notes-from-tag prerelease verify-tag",
    ),
    "gh release list": (
        0,
        "jq json limit order repo template",
        "exclude-drafts exclude-pre-releases",
    ),
    "docker buildx imagetools create": (
        99,
        "annotation builder file metadata-file platform progress tag",
        "append debug dry-run prefer-index",
    ),
    "docker buildx imagetools inspect": (1, "builder format", "debug raw"),
    "docker login": (1, "password username", "password-stdin"),
    "docker tag": (2, "", ""),
    "docker push": (1, "platform", "all-tags quiet"),
    "kind create cluster": (0, "config image kubeconfig name wait", "retain"),
    "kind get clusters": (0, "", ""),
    "kind load docker-image": (99, "name nodes", ""),
    "kubectl apply": (
        0,
        "dry-run filename kustomize namespace output selector timeout",
        "force prune server-side wait",
    ),
    "kubectl create job": (1, "dry-run from image namespace output", ""),
    "kubectl create namespace": (1, "dry-run output", ""),
    "kubectl create secret tls": (1, "cert dry-run key namespace output", ""),
    "kubectl delete job": (99, "namespace selector timeout wait", "all ignore-not-found now"),
    "kubectl get": (1, "namespace output selector sort-by", "all-namespaces watch"),
    "kubectl logs": (2, "container namespace selector since tail", "all-containers follow prefix previous"),
    "kubectl port-forward": (99, "address namespace pod-running-timeout", ""),
    "kubectl rollout restart": (99, "filename namespace selector", ""),
    "kubectl rollout status": (1, "namespace revision selector timeout watch", ""),
    "kubectl wait": (99, "for namespace selector timeout", "all"),
}


def parse(program: str, arguments: list[str]) -> tuple[str, argparse.Namespace]:
    """Returns the command and its options. Exits with status 2 on an unknown command, option or argument."""
    words = next((n for n in (3, 2, 1) if " ".join([program, *arguments[:n]]) in COMMANDS), 0)
    command = " ".join([program, *arguments[:words]])
    if not words:
        sys.exit(f"unknown command: {program} {' '.join(arguments)}")
    count, values, flags = COMMANDS[command]
    parser = argparse.ArgumentParser(command, allow_abbrev=False, add_help=False)
    for name in values.split():
        parser.add_argument(f"--{name}")
    for name in flags.split():
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_intermixed_args(arguments[words:])
    if len(options.arguments) > count:
        parser.error(f"at most {count} arguments, found: {options.arguments}")
    return command, options


def wait_for_requests(calls: Path) -> None:
    """A rolling update takes as long as three requests."""
    before, end = calls.read_text().count("\ncurl "), time.monotonic() + 60
    while calls.read_text().count("\ncurl ") < before + 3 and time.monotonic() < end:
        time.sleep(0.05)


def main() -> int:
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    calls, artifact = Path(os.environ["CALLS"]), Path(os.environ["ARTIFACT"])
    command, options = parse(program, arguments)
    with calls.open("a") as log:
        log.write(f"{' '.join([program, *arguments])}\n")
        if command == "docker login" and options.password_stdin:
            log.write(f"password {sys.stdin.readline()}")
    for name in filter(None, (getattr(options, key, None) for key in ("body_file", "notes_file"))):
        Path(name).read_text()
    if command == "gh release create":
        for name in options.arguments[1:]:
            Path(name).read_bytes()
    if command == "gh release list":
        print(os.environ.get("RELEASED", ""), end="")
    if command == "docker buildx imagetools inspect":
        print(f"sha256:{0:064}")
    if command == "kubectl apply" and options.kustomize:
        (Path(options.kustomize) / "kustomization.yaml").read_text()
    if command == "kubectl create secret tls":
        Path(options.cert).read_text(), Path(options.key).read_text()
    if command == "kubectl rollout status" and "kubectl rollout restart" in calls.read_text():
        wait_for_requests(calls)
    if command == "gh run list" and artifact.is_dir():
        print(41)
    if command == "gh run download":
        shutil.copytree(artifact, ".", dirs_exist_ok=True)
    if command == "gh pr create":
        exists = calls.with_suffix(".exists")
        if exists.exists():
            return 1
        exists.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
