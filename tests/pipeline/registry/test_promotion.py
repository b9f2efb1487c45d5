"""Promotion and rollback in a real MLflow store: one of several wins, a kill is completed, and files follow aliases."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline import tracking
from pipeline.batch import predict
from pipeline.console import PipelineError
from pipeline.files import read_json, write_bytes, write_json
from pipeline.registry import champion, handover, promotion, versions
from pipeline.tracking import open_database
from recognition.model import FILES, Model, read_model
from records import promotions
from tests.conftest import REPOSITORY
from tests.s3 import S3

MODEL = "mnist-classifier"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take seconds to make, with the registered model and nothing else."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}", f"sqlite:///{path}").create_registered_model(MODEL)
    return path


@pytest.fixture
def stores(tmp_path: Path, workspace: Path, empty_store: Path, monkeypatch) -> Iterator[Path]:
    """An MLflow store and a database of the test's own, and a folder to serve from. Returns that folder."""
    import mlflow

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setattr(tracking, "checkout", lambda: tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{tmp_path / 'digits.db'}")
    monkeypatch.setenv("DIGITS_MODEL_DIR", str(tmp_path / "served"))
    monkeypatch.setattr(versions, "load_model", read_model)  # these versions have no real model inside
    yield tmp_path / "served"
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture(params=["sqlite", "postgresql"])
def either_database(request, stores: Path, monkeypatch) -> None:
    """The test runs twice: with the promotion history in SQLite, and in PostgreSQL."""
    if request.param == "postgresql":
        monkeypatch.setenv("DIGITS_DATABASE_URL", request.getfixturevalue("postgres_url"))


@pytest.fixture
def make_version(stores: Path, tmp_path: Path) -> Callable[..., Model]:
    """Registers a version with files of its own, as an entry of `models:`."""

    def make(name: str, **card: Any) -> Model:
        count = len(tracking.connect().search_model_versions(f"name='{MODEL}'"))
        folder = tmp_path / f"source{count}"
        content = f"a model {count}".encode()
        digest = hashlib.sha256(content).hexdigest()
        served = folder / "artifacts" / "served"
        write_bytes(served / "model.tflite", content)
        write_bytes(served / "known_digits.npz", b"known digits")
        write_bytes(served / "model_card.html", b"a card")
        write_json(served / "model.json", {"name": name, "dataset": "mnist", "digest": digest, **card})
        version = tracking.connect().create_model_version(MODEL, str(folder), tags={"name": name, "digest": digest})
        tracking.connect().set_registered_model_alias(MODEL, name, version.version)
        return versions.download(MODEL, str(version.version))

    return make


def promote(version: Model, **more: bool) -> None:
    champion.change(
        open_database(), MODEL, "promoted", version, champion.champion_state(open_database(), MODEL), "a reason", **more
    )


def aliases() -> tuple[str | None, str | None]:
    found = [versions.by_alias(MODEL, alias) for alias in (versions.CHAMPION, versions.PREVIOUS)]
    champion, previous = (str(version.version) if version else None for version in found)
    return champion, previous


def rows() -> list[tuple[str, str | None, str]]:
    return [
        (row["event"], row["champion_before"], row["version"]) for row in promotions.history(open_database(), MODEL)
    ]


def test_back_and_forward_again_with_the_files_that_are_served(make_version, stores: Path, capsys) -> None:
    for name in ("cnn", "cnn", "mlp"):
        promote(make_version(name))
    promotion.rollback()
    assert aliases() == ("2", "3")
    current = read_json(stores / "current.json")
    assert current["champion"] == "cnn" and current["models"]["cnn"]["version"] == "2"
    assert "rolled back: from version 3 to 2 (cnn)" in capsys.readouterr().out
    promotion.rollback()
    assert aliases() == ("3", "2")
    assert read_json(stores / "current.json")["champion"] == "mlp"
    assert rows()[2:] == [("promoted", "2", "3"), ("rolled back", "3", "2"), ("rolled back", "2", "3")]
    tags = tracking.connect().get_model_version(MODEL, "2").tags
    assert tags["promoted"] == "a reason" and tags["rolled_back"] == "by hand"


def test_the_registered_model_says_who_is_champion_since_when_and_why(make_version) -> None:
    def description() -> str:
        return str(tracking.connect().get_registered_model(MODEL).description)

    champion.champion_state(open_database(), MODEL)
    assert description().startswith("There is no champion yet.")
    promote(make_version("cnn"))
    promote(make_version("mlp"), forced=True)
    row = promotions.history(open_database(), MODEL)[-1]
    first, reason, previous, *_ = description().split("\n\n")
    assert "[version 2](#/models/mnist-classifier/versions/2?" in first and "(`mlp`)" in first
    assert first.endswith(f"promoted, forced, on {row['time']:%Y-%m-%d at %H:%M} UTC by {row['who']}.")
    assert reason == "Reason: a reason" and previous.startswith("Previous champion: version 1.")
    promotion.rollback("errors\nin the service")
    first, reason, previous, *_ = description().split("\n\n")
    assert "[version 1]" in first and ", rolled back on " in first
    assert reason == "Reason: errors in the service" and previous.startswith("Previous champion: version 2.")
    tracking.connect().set_registered_model_alias(MODEL, versions.CHAMPION, "2")  # by a user of MLflow's UI
    champion.champion_state(open_database(), MODEL)
    assert "[version 2]" in description() and "Reason" not in description()


def test_a_version_has_at_most_eight_tags(make_version) -> None:
    first = make_version("cnn")
    client = tracking.connect()
    client.set_model_version_tag(MODEL, "1", "content_digest", "c" * 64)  # as `register` does
    promote(first)
    promote(make_version("cnn"))
    promotion.rollback()
    champion.refuse(open_database(), MODEL, first, champion.champion_state(open_database(), MODEL), "not better")
    champion.tag(MODEL, "1", "updated", "it has the model file of version 2")
    tags = client.get_model_version(MODEL, "1").tags
    assert set(tags) == {
        "name", "digest", "content_digest", "promoted", "rolled_back", "refused", "updated", "changed",
    }  # fmt: skip


def test_without_a_previous_champion_there_is_no_way_back(make_version) -> None:
    with pytest.raises(PipelineError, match="no previous champion"):
        promotion.rollback()
    promote(make_version("cnn"))
    with pytest.raises(PipelineError, match="no previous champion"):
        promotion.rollback()


def test_of_several_promotions_at_once_one_wins_and_the_others_are_told(make_version, either_database: None) -> None:
    first, *others = (make_version("cnn") for _ in range(4))
    promote(first)
    seen = champion.champion_state(open_database(), MODEL)
    barrier, told = threading.Barrier(3), []

    def change(version: Model) -> None:
        barrier.wait()
        try:
            champion.change(open_database(), MODEL, "promoted", version, seen, f"for {version.version}")
        except PipelineError as error:
            told.append(str(error))

    threads = [threading.Thread(target=change, args=(version,)) for version in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (row["version"] for row in promotions.history(open_database(), MODEL) if row["revision"] == 2)
    assert aliases() == (winner, "1")
    assert len(told) == 2
    assert all(f"version {winner} was promoted by" in line and "changed nothing" in line for line in told)


def test_a_promotion_killed_between_history_and_aliases_is_completed_by_the_next(
    make_version, either_database: None
) -> None:
    first, _, third = (make_version("cnn") for _ in range(3))
    promote(first)
    script = f"""
import os, signal
from pipeline.registry import champion, versions
from pipeline.tracking import open_database
from recognition.model import read_model
versions.load_model = read_model
engine = open_database()
seen, chosen = champion.champion_state(engine, {MODEL!r}), versions.download({MODEL!r}, "2")
champion.apply_pending_change = lambda engine, model, just_written: os.kill(os.getpid(), signal.SIGKILL)
champion.change(engine, {MODEL!r}, "promoted", chosen, seen, "killed")
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert aliases() == ("1", None) and rows()[-1] == ("promoted", "1", "2")
    assert champion.champion_state(open_database(), MODEL) == champion.ChampionState("2", 2)
    assert aliases() == ("2", "1")
    tracking.connect().set_registered_model_alias(MODEL, versions.CHAMPION, "1")  # by hand, in MLflow's pages
    assert (
        champion.champion_state(open_database(), MODEL).version == "1"
    )  # what was carried out is not carried out again
    promote(third)
    assert aliases() == ("3", "1")


def test_a_history_of_another_store_changes_no_alias(make_version) -> None:
    make_version("cnn")
    promotions.append(
        open_database(), promotions.Entry("promoted", MODEL, "1", None, "elsewhere", "f" * 64, revision=1)
    )
    promotions.append(open_database(), promotions.Entry("promoted", MODEL, "7", "1", "elsewhere", "e" * 64, revision=2))
    assert champion.champion_state(open_database(), MODEL) == champion.ChampionState(None, 2)
    promotions.append(open_database(), promotions.Entry("promoted", MODEL, "1", "7", "elsewhere", "f" * 64, revision=3))
    assert champion.champion_state(open_database(), MODEL) == champion.ChampionState(None, 3)


def test_a_store_made_anew_begins_without_a_champion(make_version) -> None:
    digest = hashlib.sha256(b"a model 0").hexdigest()
    promotions.append(
        open_database(),
        promotions.Entry("promoted", MODEL, "1", None, "in the store that was lost", digest, revision=1),
    )
    assert make_version("cnn").card["digest"] == digest
    assert champion.champion_state(open_database(), MODEL) == champion.ChampionState(None, 1)


def test_a_repeated_refusal_against_the_same_champion_is_recorded_once(make_version) -> None:
    engine, (first, second) = open_database(), (make_version("cnn") for _ in range(2))
    promote(first)
    state = champion.champion_state(engine, MODEL)
    for reason in ("not better", "not better", "may be worse"):
        champion.refuse(engine, MODEL, second, state, reason)
    champion.refuse(engine, MODEL, second, champion.ChampionState("7", 1), "not better")
    refused = [row for row in promotions.history(engine, MODEL) if row["event"] == "refused"]
    assert [(row["version"], row["champion_before"]) for row in refused] == [("2", "1"), ("2", "7")]
    assert versions.by_number(MODEL, "2").tags["refused"] == "not better"


def test_a_demotion_by_a_user_counts_until_the_version_is_champion_again(make_version) -> None:
    first, second, third = (make_version("cnn") for _ in range(3))
    promote(first)
    promote(second)
    assert (
        champion.demotion(open_database(), MODEL, second) is None
        and champion.demotion(open_database(), MODEL, first) is None
    )
    promotion.rollback()
    row = champion.demotion(open_database(), MODEL, second)
    assert row and (row["event"], row["champion_before"]) == ("rolled back", "2")
    promote(second, forced=True)
    assert champion.demotion(open_database(), MODEL, second) is None
    assert champion.demotion(open_database(), MODEL, first) is not None  # displaced against the gate
    promote(third)
    assert champion.demotion(open_database(), MODEL, second) is None  # displaced by the gate


def test_promoting_a_refused_version_needs_a_reason_and_is_marked(make_version, monkeypatch, capsys) -> None:
    for version in ("", "x", "1"):
        with pytest.raises(PipelineError, match=r"digits promote 3 .*make promote VERSION=3"):
            promotion.promote(version)
    make_version("cnn")
    with pytest.raises(PipelineError, match=r"not evaluated: data/prepared/val.npz is missing.*--reason .*REASON="):
        promotion.promote("1")
    assert rows() == [] and aliases() == (None, None)
    promotion.promote("1", "the demo is today")
    assert aliases() == ("1", None)
    (row,) = promotions.history(open_database(), MODEL)
    assert row["forced"] and row["reason"].startswith("the demo is today (the gate refuses: not evaluated")
    assert tracking.connect().get_model_version(MODEL, "1").tags["promoted"].startswith("forced: the demo is today")
    assert "promoted, forced: version 1 (cnn)" in capsys.readouterr().out
    promotion.promote("1")
    assert "unchanged: version 1 is the champion already" in capsys.readouterr().out and len(rows()) == 1


def test_a_version_with_the_champions_file_updates_it_without_a_comparison(make_version, tmp_path: Path) -> None:
    promote(make_version("cnn"))
    digest = make_version("cnn").digest  # another file
    file = tmp_path / "source0"
    client = tracking.connect()
    first = versions.by_number(MODEL, "1")
    assert first is not None
    tags = {**first.tags, "content_digest": "c" * 64}
    number = str(client.create_model_version(MODEL, str(file), tags=tags).version)
    assert promotion.promote_winner(MODEL, [number]) == {
        "champion": number,
        "event": "updated",
        "reason": f"version {number}: it has the model file of version 1",
    }
    assert aliases() == (number, "1") and rows()[-1] == ("updated", "1", number)
    assert promotions.history(open_database(), MODEL)[-1]["digest"] == "c" * 64
    assert versions.by_number(MODEL, number).tags["updated"].startswith("it has the model file")
    assert digest != first.tags["digest"]
    assert promotion.promote_winner(MODEL, [number])["event"] == "unchanged"


def test_a_champion_that_a_user_chose_is_updated_although_another_model_wins(make_version, tmp_path: Path) -> None:
    cnn, mlp = make_version("cnn"), make_version("mlp")
    promote(cnn)
    promote(mlp, forced=True)
    tags = {"name": "mlp", "digest": mlp.digest, "content_digest": "c" * 64}
    number = str(tracking.connect().create_model_version(MODEL, str(tmp_path / "source1"), tags=tags).version)
    outcome = promotion.promote_winner(MODEL, ["1", number])
    assert aliases() == (number, "2") and rows()[-2:] == [("updated", "2", number), ("refused", number, "1")]
    assert (outcome["champion"], outcome["event"]) == (number, "updated")
    assert outcome["reason"].startswith(f"version {number}: it has the model file of version 2; version 1: ")
    assert "replaced it as champion" in outcome["reason"]
    assert promotion.promote_winner(MODEL, ["1", number])["event"] == "refused"  # nothing is left to update


def test_a_rejected_content_stays_rejected_and_another_content_of_the_file_does_not(make_version, tmp_path) -> None:
    first = make_version("cnn")
    promote(first)
    client, file = tracking.connect(), str(tmp_path / "source0")

    def version_of_the_same_file(content: str) -> Model:
        tags = {"name": first.name, "digest": first.digest, "content_digest": content}
        number = str(client.create_model_version(MODEL, file, tags=tags).version)
        path = tmp_path / f"copy{number}"
        shutil.copytree(tmp_path / "source0", path)
        return versions.download(MODEL, number)

    second = version_of_the_same_file(first.content_digest)
    promote(make_version("mlp"))
    assert champion.demotion(open_database(), MODEL, second) is None
    promotion.rollback()  # back to the first version: the MLP is rejected
    promotion.rollback()  # and again: the first version's content is rejected
    assert champion.demotion(open_database(), MODEL, second) is not None


def test_scripts_get_outcomes_and_history_as_json(make_version, capsys) -> None:
    for name in ("cnn", "mlp"):
        make_version(name)
    promotion.promote("1", "first", as_json=True)
    first = json.loads(capsys.readouterr().out)
    assert (first["event"], first["champion"], first["before"], first["forced"]) == ("promoted", "1", None, True)
    assert first["reason"].startswith("first (the gate refuses: not evaluated")
    promotion.promote("1", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"event": "unchanged", "champion": "1"}
    promotion.promote("2", "second", as_json=True)
    capsys.readouterr()
    promotion.rollback("errors", as_json=True)
    expected = {"event": "rolled back", "champion": "1", "before": "2", "reason": "errors", "forced": False}
    assert json.loads(capsys.readouterr().out) == expected
    promotion.show(as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["model"], shown["champion"], shown["previous"]) == (MODEL, "1", "2")
    assert [row["event"] for row in shown["history"]] == ["promoted", "promoted", "rolled back"]


def test_the_history_is_a_table(make_version, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    promote(make_version("cnn"))
    promote(make_version("mlp"), forced=True)
    promotion.show()
    said = capsys.readouterr().out
    assert "champion is version 2, previous is 1" in said
    (line,) = (line for line in said.splitlines() if "forced" in line)
    assert [cell.strip() for cell in line.split("│")][2:7] == [
        promotions.who(),
        "promoted, forced",
        "1",
        "2",
        "a reason",
    ]
    assert Console().width == 160


def test_old_folders_go_and_those_of_champion_and_previous_stay(make_version, stores: Path) -> None:
    for _ in range(4):
        promote(make_version("cnn"))
        handover.export(MODEL)
    assert sorted(path.name.split("-")[0] for path in stores.glob("v*")) == ["v3", "v4"]
    current = read_json(stores / "current.json")
    digest = hashlib.sha256(b"a model 3").hexdigest()
    entry = {"folder": f"v4-{digest[:12]}", "version": "4", "digest": digest}
    assert current == {"dataset": "mnist", "champion": "cnn", "models": {"cnn": entry}}
    assert {path.name for path in (stores / entry["folder"]).iterdir()} == set(FILES)


def test_an_export_repairs_what_is_damaged_and_touches_nothing_that_is_right(make_version, stores: Path) -> None:
    promote(make_version("cnn"))
    (stores / ".v-left").mkdir(parents=True)  # by a killed export
    handover.export(MODEL)
    (folder,) = stores.glob("v*")
    times = [path.stat().st_mtime_ns for path in (stores / "current.json", folder / "model.tflite")]
    handover.export(MODEL)
    assert times == [path.stat().st_mtime_ns for path in (stores / "current.json", folder / "model.tflite")]
    assert not (stores / ".v-left").exists()
    (folder / "model.tflite").write_bytes(b"half")
    (stores / "current.json").write_text("{")
    handover.export(MODEL)
    assert (folder / "model.tflite").read_bytes() == b"a model 0"
    assert read_json(stores / "current.json")["champion"] == "cnn"


def test_nothing_is_exported_where_no_folder_is_named(make_version, stores: Path, monkeypatch) -> None:
    promote(make_version("cnn"))
    monkeypatch.setenv("DIGITS_MODEL_DIR", "")
    handover.export(MODEL)
    assert not stores.exists()


def test_a_bucket_gets_what_a_folder_gets(make_version, stores: Path, s3: S3, monkeypatch) -> None:
    for _ in range(4):
        promote(make_version("cnn"))
        monkeypatch.setenv("DIGITS_MODEL_DIR", str(stores))
        handover.export(MODEL)
        monkeypatch.setenv("DIGITS_MODEL_DIR", f"{s3.url}/served")
        handover.export(MODEL)
    bucket = s3.folder / s3.bucket / "served"
    found, expected = (
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (bucket, stores)
    )
    expected.pop(".lock")
    assert found == expected
    times = {path: path.stat().st_mtime_ns for path in bucket.rglob("*") if path.is_file()}
    assert times[bucket / "current.json"] == max(times.values()), "services load it before its files are there"
    handover.export(MODEL)
    assert times == {path: path.stat().st_mtime_ns for path in times}, "what is right was written again"
    (folder,) = bucket.glob("v4-*")
    (folder / "model.tflite").write_bytes(b"half")
    handover.export(MODEL)
    assert (folder / "model.tflite").read_bytes() == b"a model 3"
    assert (bucket / "current.json").stat().st_mtime_ns > times[bucket / "current.json"], "no service looks again"


def test_a_bucket_that_is_gone_is_one_line_and_the_promotion_stays(make_version, s3: S3, monkeypatch) -> None:
    monkeypatch.setenv("DIGITS_MODEL_DIR", f"{s3.url}/served")
    promote(make_version("cnn"))
    s3.kill()
    with pytest.raises(
        PipelineError, match=r"cannot be published to s3://digits/served: .*registry\.handover"
    ) as raised:
        handover.export(MODEL)
    assert "\n" not in str(raised.value) and aliases() == ("1", None)
    s3.start()
    handover.export(MODEL)
    assert read_json(s3.folder / s3.bucket / "served" / "current.json")["models"]["cnn"]["version"] == "1"


def test_a_challenger_is_served_beside_the_champion_until_it_ends(make_version, stores: Path, capsys) -> None:
    promote(make_version("cnn"))
    make_version("cnn")
    make_version("cnn")  # has the alias of its entry, which is served at the champion's version all the same
    promotion.challenge("2")
    assert "version 2; services with DIGITS_CHALLENGER=challenger log" in capsys.readouterr().out
    served = read_json(stores / "current.json")
    assert {name: entry["version"] for name, entry in served["models"].items()} == {"cnn": "1", "challenger": "2"}
    assert served["champion"] == "cnn" and (stores / served["models"]["challenger"]["folder"]).is_dir()
    promotion.challenge("none")
    assert set(read_json(stores / "current.json")["models"]) == {"cnn"}
    for version, reason in (("9", "the version is '9', expected the number"), ("1", "version 1 is the champion")):
        with pytest.raises(PipelineError, match=reason):
            promotion.challenge(version)


def test_a_challenger_that_is_served_already_keeps_its_name(make_version, stores: Path, capsys) -> None:
    promote(make_version("cnn"))
    make_version("mlp")
    promotion.challenge("2", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"challenger": "2", "name": "mlp"}
    assert set(read_json(stores / "current.json")["models"]) == {"cnn", "mlp"}


def test_a_challenger_that_services_cannot_load_is_refused_and_never_exported(make_version, stores: Path) -> None:
    promote(make_version("cnn"))
    make_version("cnn", classes=["a", "b"])
    with pytest.raises(PipelineError, match="version 2 has other classes than the champion, version 1"):
        promotion.challenge("2")
    make_version("cnn")
    promotion.challenge("3")
    promote(versions.download(MODEL, "2"))  # the new champion has other classes than the challenger
    handover.export(MODEL)
    assert {entry["version"] for entry in read_json(stores / "current.json")["models"].values()} == {"2"}


def test_a_batch_is_answered_by_the_champion_of_the_last_run(make_version, stores: Path, workspace: Path) -> None:
    promote(make_version("cnn"))
    assert predict.load_champion().version == "1"
    write_json(workspace / "reports" / "registered.json", {"model": "optdigits-classifier"})
    with pytest.raises(PipelineError, match="optdigits-classifier has no champion"):
        predict.load_champion()
