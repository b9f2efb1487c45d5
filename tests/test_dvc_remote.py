"""A DVC remote in S3: another clone restores a stage's run that it never made, from the run-cache."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.s3 import S3

COMMAND = "python -c \"open('out.txt','w').write(open('in.txt').read()*2); open('ran.log','a').write('ran ')\""


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_run_of_one_clone_is_restored_in_another(s3: S3, tmp_path: Path) -> None:
    dvc = (sys.executable, "-m", "dvc")
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    run(first, "git", "init", "-q")
    run(first, *dvc, "init", "-q")
    (first / "in.txt").write_text("digits ")
    run(first, *dvc, "stage", "add", "-q", "-n", "double", "-d", "in.txt", "-o", "out.txt", COMMAND)
    run(first, *dvc, "remote", "add", "-q", "--default", "storage", f"{s3.url}/dvc")
    shutil.copytree(first, second)  # a clone from before the run: it has no dvc.lock
    run(first, *dvc, "repro")
    run(first, *dvc, "push", "--run-cache")
    run(second, *dvc, "fetch", "--run-cache")
    run(second, *dvc, "repro", "--pull")
    assert (second / "out.txt").read_text() == "digits digits "
    assert (first / "ran.log").read_text() == "ran " and not (second / "ran.log").exists(), "the stage ran again"
