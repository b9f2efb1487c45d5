"""`python -m pipeline.batch.predict`: predictions for a folder or a Parquet file, without a server.

What is answered goes into parts beside the output, each whole or not there, so that a killed run goes on where it was.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.batch.sources import PART, Part, Source, open_source, read_digit
from pipeline.console import PipelineError, progress, run_main, say
from pipeline.files import read_json, replacing, sha256, write_json
from recognition.answers import answer_images
from recognition.classifier import Classifier
from recognition.decoding import ImageError
from recognition.out_of_distribution import OODScore

ANSWER: Final = (  # behind the column that names the picture: `file` or `row`
    pa.field("prediction", pa.int64()),
    pa.field("confidence", pa.float64()),
    pa.field("probabilities", pa.list_(pa.float64())),
    pa.field("model", pa.string()),
    pa.field("version", pa.string()),
    pa.field("uncertain", pa.bool_()),
    pa.field("reason", pa.string()),
    pa.field("error", pa.string()),  # why there is no answer; then all others are null
)


@dataclass(frozen=True)
class Model:
    """A model and what travels with it; `version` is None for a file that comes from no registry."""

    name: str
    version: str | None
    digest: str
    classifier: Classifier
    threshold: float
    ood_score: OODScore | None

    def answers(self, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """As the service answers, for images uint8 (n, 28, 28), ink bright."""
        rows = answer_images(images, self.classifier, self.threshold, self.ood_score)
        return [{**row, "model": self.name, "version": self.version} for row in rows]


@click.command()
@click.argument("pictures", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default="predictions.parquet", show_default=True)
@click.option("--model", type=click.Path(path_type=Path), help="A model.tflite in place of the registry's champion.")
@click.option("--column", help="The column to answer.  [default: image, or else pixels]")
def main(pictures: Path, output: Path, model: Path | None, column: str | None) -> None:
    """Answer all PICTURES, without a server, into a Parquet file.

    PICTURES is a folder (PNG, JPEG, WebP, BMP and GIF in it and in its folders), or a Parquet file with a column of
    pictures' bytes, or of lists of 784 pixels (28 rows of 28, 0..255, ink bright). Each has its row in the output, in
    order; one that cannot be read says why in the column `error`. A run that was killed goes on where it was.
    """
    source = open_source(pictures, column)
    predict(source, load_file(model) if model else load_champion(), output)


def predict(source: Source, model: Model, output: Path) -> None:
    """Write an answer for everything in `source` to `output`, using what a killed run with the same plan left."""
    parts = output.with_name(f"{output.name}.parts")
    resume(parts, {"input": source.identity, "model": [model.digest, model.name, model.version], "part": PART})
    schema = pa.schema([source.key, *ANSWER], metadata={"model_digest": model.digest})
    done: list[Path] = []
    with progress() as bar:
        task = bar.add_task("answering", total=source.count)
        for number, part in enumerate(source.parts()):
            file = parts / f"{number:06}.parquet"
            if not file.exists():
                rows = zip(part, answer(part, model), strict=True)
                table = pa.Table.from_pylist([{source.key.name: name, **row} for (name, _), row in rows], schema)
                with replacing(file) as stream:
                    pq.write_table(table, stream)
            done.append(file)
            bar.advance(task, len(part))
    uncertain, errors = join(done, schema, output)
    shutil.rmtree(parts)
    name = model.name if model.version is None else f"{model.name} {model.version}"
    say(f"{output}: {source.count:,} pictures by {name}, {uncertain:,} uncertain, {errors:,} could not be read")


def resume(parts: Path, plan: dict[str, Any]) -> None:
    """Make `parts` fit for `plan`: kept where an earlier run had the same one, begun anew where it had another."""
    if parts.exists():
        try:
            same = read_json(parts / "plan.json") == plan
        except (OSError, ValueError):
            same = False
        if same:
            say(f"going on where an earlier run ended: {len(list(parts.glob('[0-9]*.parquet')))} parts are answered")
            return
        say("an earlier run answered other pictures or asked another model: beginning anew")
        shutil.rmtree(parts)
    write_json(parts / "plan.json", plan)


def answer(part: Part, model: Model) -> list[dict[str, Any]]:
    """For everything in `part` its answer, or an `error` that says why there is none."""
    rows: list[dict[str, Any]] = []
    images = []
    for _, item in part:
        try:
            images.append(read_digit(item))
            rows.append({})
        except ImageError as error:
            rows.append({"error": str(error)})
        except OSError as error:
            rows.append({"error": f"the file cannot be read: {error.strerror}"})
    answers = iter(model.answers(np.stack(images)) if images else [])
    return [row or next(answers) for row in rows]


def join(parts: list[Path], schema: pa.Schema, output: Path) -> tuple[int, int]:
    """Put the parts together as `output`; how many answers are uncertain, and how many pictures have none."""
    uncertain = errors = 0
    with replacing(output) as stream, pq.ParquetWriter(stream, schema) as writer:
        for file in parts:
            table = pq.ParquetFile(file).read()
            writer.write_table(table)
            uncertain += table["reason"].length() - table["reason"].null_count
            errors += table["error"].length() - table["error"].null_count
    return uncertain, errors


def load_file(path: Path) -> Model:
    """A model's file. With a `model.json` beside it, as registered models have, its rule for `uncertain` as well."""
    if not path.is_file():
        raise PipelineError(f"{path} is no file; expected a model.tflite")
    card = path.with_name("model.json")
    if card.exists():
        return _with_card(read_json(card), None, path)
    model = Model(path.stem, None, sha256(path), _classifier(path), threshold=0.0, ood_score=None)
    say(f"{path} has no model.json beside it: only blank pictures are marked uncertain")
    return model


def load_champion() -> Model:
    """The champion of the dataset in params.yaml, from MLflow's registry. Raises PipelineError."""
    from pipeline.params import load_params
    from pipeline.registry import versions

    model = versions.registered_model(load_params().data.dataset)
    champion = versions.by_alias(model, versions.CHAMPION)
    if champion is None:
        raise PipelineError(f"{model} has no champion; run: make repro, or name a model's file by --model")
    downloaded = versions.download(model, champion.version)
    return _with_card(downloaded.card, downloaded.version, downloaded.folder / "model.tflite")


def _with_card(card: dict[str, Any], version: str | None, path: Path) -> Model:
    if (digest := sha256(path)) != card["digest"]:
        raise PipelineError(f"{path}: expected sha256 {card['digest']}, found {digest}")
    score = OODScore.from_card(card["not_a_digit"]) if "not_a_digit" in card else None
    return Model(card["name"], version, digest, _classifier(path), card["threshold"], score)


def _classifier(path: Path) -> Classifier:
    try:
        return Classifier(path)
    except ValueError as error:
        raise PipelineError(f"{path} cannot be used as a model: {error}") from None


if __name__ == "__main__":
    run_main(main)
