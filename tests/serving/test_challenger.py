"""A challenger beside the champion: who is answered by which model, and what is logged."""

import time
from pathlib import Path

import numpy as np
import pytest
import requests
import sqlalchemy as sql

from pipeline.files import read_json
from recognition.model import Model
from records import database
from serving.inference.challenger import Challenger
from serving.inference.served_models import Models
from serving.prediction_log.request_ids import RequestIds
from serving.prediction_log.rows import Answered, write
from tests.conftest import Project, serve

CLIENTS = [f"address 192.0.2.{number}" for number in range(1000)]


def models(champion: str = "cnn", digest: str = "a") -> Models:
    made = {name: Model(name, "1", Path(name), {"digest": f"{digest}-{name}"}) for name in ("mlp", "cnn", "old")}
    return Models("mnist", list("0123456789"), champion, made)


def share(challenger: Challenger, served: Models, name: str = "champion") -> float:
    """The share of CLIENTS that the model `mlp` answers."""
    return float(np.mean([challenger.choose(served, name, client).name == "mlp" for client in CLIENTS]))


def test_without_a_share_the_champion_answers_everybody() -> None:
    assert share(Challenger("mlp", 0), models()) == 0
    assert share(Challenger("", 1), models()) == 0


def test_a_share_of_the_clients_gets_the_challenger_always_and_everywhere() -> None:
    assert share(Challenger("mlp", 1), models()) == 1
    assert 0.2 < share(Challenger("mlp", 0.25), models()) < 0.3
    first, second = (
        {client for client in CLIENTS if Challenger("mlp", part).choose(models(), "champion", client).name == "mlp"}
        for part in (0.25, 0.5)
    )
    assert first < second, "a larger share takes clients back from the challenger"
    other = {c for c in CLIENTS if Challenger("mlp", 0.25).choose(models(digest="b"), "champion", c).name == "mlp"}
    assert first - other and other - first, "another challenger has the same clients"


def test_who_names_a_model_gets_it() -> None:
    challenger = Challenger("mlp", 1)
    assert (
        challenger.choose(models(), "cnn", "c").name == "cnn" and challenger.choose(models(), "old", "c").name == "old"
    )


def test_the_other_of_champion_and_challenger_is_the_shadow() -> None:
    challenger = Challenger("mlp", 0.5)

    def shadow(*answered: str) -> str | None:
        found = challenger.shadow(models(), answered)
        return found and found.name

    assert (shadow("cnn"), shadow("mlp")) == ("mlp", "cnn")
    assert shadow("old") is None and shadow("cnn", "mlp", "old") is None


@pytest.mark.parametrize("name", ["", "cnn", "missing"])
def test_no_challenger_no_shadow(name: str) -> None:
    challenger = Challenger(name, 1)
    assert challenger.shadow(models(), ["cnn"]) is None
    assert challenger.choose(models(), "champion", "c").name == "cnn"


class Failing:
    """A model that cannot answer."""

    name = "mlp"

    def answer(self, images: np.ndarray) -> list[dict[str, object]]:
        raise RuntimeError("no answer")


def test_a_failing_challenger_loses_no_answer_of_the_champion(engine: sql.Engine) -> None:
    row = ("cnn", "1", 7, 0.9, False, None)
    entry = Answered(RequestIds().create(), "mnist", "/predict", "c", time.time(), 1.0, bytes(784), [[row]], Failing())  # type: ignore[arg-type]
    write(engine, [entry])
    with engine.connect() as connection:
        assert connection.execute(sql.select(database.predictions.c.model)).scalars().all() == ["cnn"]


@pytest.mark.slow
def test_a_service_answers_with_one_model_and_logs_both(project: Project, database_url: str) -> None:
    packaged = read_json(project.folder / "reports" / "bento.json")
    (other,) = packaged["models"].keys() - {packaged["champion"]}
    settings = {
        "DIGITS_DATABASE_URL": database_url,
        "DIGITS_LOG_PREDICTIONS": "true",
        "DIGITS_CHALLENGER": other,
        "DIGITS_CHALLENGER_SHARE": "0.5",
    }
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    expected = {}
    with serve(project, packaged["bento"], **settings) as url:

        def ask(client: int) -> tuple[str, str]:
            """The request id and the model that answered."""
            headers = {"x-forwarded-for": f"192.0.2.{client}"}
            answer = requests.post(
                f"{url}/predict_pixels", json={"images": images.tolist()}, headers=headers, timeout=60
            )
            return answer.headers["x-request-id"], answer.json()["results"][0]["model"]

        for client in range(20):
            for _ in range(2):
                request_id, model = ask(client)
                expected.setdefault(client, set()).add(model)
                assert len(expected[client]) == 1, "a client was answered by both models"
        request_id, model = ask(0)
        assert {next(iter(found)) for found in expected.values()} == {packaged["champion"], other}
        table = database.predictions
        query = sql.select(table.c.model, table.c.route).where(table.c.request_id == request_id)
        engine, deadline = database.connect(database.parse_url(database_url)), time.monotonic() + 60
        while True:
            database.migrate(engine)
            with engine.connect() as connection:
                if rows := sorted(map(tuple, connection.execute(query).all())):
                    break
            assert time.monotonic() < deadline, "the request is not in the log"
            time.sleep(0.2)
    (shadow,) = {packaged["champion"], other} - {model}
    assert rows == sorted([(model, "/predict_pixels"), (shadow, "shadow")] * len(images))
