"""`python -m pipeline.batch.predict`: predictions for a folder or a Parquet file, without a server.

Predictions are written in parts beside the output file, each of them complete or absent, so that an interrupted run
resumes.
"""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.batch.sources import PART_SIZE, Part, Source, open_source, read_digit
from pipeline.console import AsJson, PipelineError, progress, run_main, say, text_to_stderr
from pipeline.files import read_json, replacing, sha256, write_json
from recognition.answers import Answer
from recognition.decoding import ImageError
from recognition.model import CARD_FILE, DamagedModel, Model, read_model

ARROW_TYPES: Final[dict[Any, pa.DataType]] = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list[float]: pa.list_(pa.float64()),
}
COLUMNS: Final = (  # after the column that names the picture: `file` or `row`
    *(pa.field(name, ARROW_TYPES.get(field.annotation, pa.string())) for name, field in Answer.model_fields.items()),
    pa.field("label", pa.string()),  # name of the predicted class; null for a model without a card
    pa.field("error", pa.string()),  # why there is no prediction; all other columns are null then
)


def main(
    pictures: Path,
    output: Path = Path("predictions.parquet"),
    model: Path | None = None,
    column: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Predict the digit in each of PICTURES and write a Parquet file, without a server.

    PICTURES is a folder, searched with its subfolders for PNG, JPEG, WebP, BMP and GIF files, or a Parquet file with a
    column of encoded pictures or of lists of 784 pixels (28 rows of 28, 0..255, ink bright). The output has one row for
    each, in order. The column `error` explains why a picture could not be read. Interrupted runs resume.

    `model` is a model.tflite to use instead of the champion, `column` the Parquet column (default: image, or pixels).
    """
    source = open_source(pictures, column)
    try:
        with text_to_stderr(as_json):
            summary = predict(source, load_file(model) if model else load_champion(), output)
    except DamagedModel as error:
        raise PipelineError(str(error)) from None
    if as_json:
        say(json.dumps(summary))


def predict(source: Source, model: Model, output: Path) -> dict[str, Any]:
    """Write a prediction for every picture of `source` to `output`; resume an interrupted run with the same plan.

    Returns output, model, version, and the numbers of pictures, uncertain predictions and errors.
    """
    parts = output.with_name(f"{output.name}.parts")
    resume(parts, {"input": source.identity, "model": [model.digest, model.name, model.version], "part": PART_SIZE})
    schema = pa.schema([source.key, *COLUMNS], metadata={"model_digest": model.digest})
    done: list[Path] = []
    with progress() as bar:
        task = bar.add_task("predicting", total=source.count)
        for number, part in enumerate(source.parts()):
            file = parts / f"{number:06}.parquet"
            if not file.exists():
                rows = zip(part, predict_part(part, model), strict=True)
                table = pa.Table.from_pylist([{source.key.name: name, **row} for (name, _), row in rows], schema)
                with replacing(file) as stream:
                    pq.write_table(table, stream)
            done.append(file)
            bar.advance(task, len(part))
    with replacing(output) as stream, pq.ParquetWriter(stream, schema) as writer:
        for file in done:
            writer.write_table(pq.ParquetFile(file).read())
    shutil.rmtree(parts)
    columns = pq.ParquetFile(output).read(columns=["reason", "error"])
    uncertain, errors = (len(column) - column.null_count for column in columns)
    counts = {"pictures": source.count, "uncertain": uncertain, "errors": errors}
    name = model.name if model.version is None else f"{model.name} {model.version}"
    say(f"{output}: {source.count:,} predictions by {name}, {uncertain:,} uncertain, {errors:,} unreadable pictures")
    return {"output": str(output), **counts, "model": model.name, "version": model.version}


def resume(parts: Path, plan: dict[str, Any]) -> None:
    """Prepare the folder `parts` for `plan`: keep the parts of an earlier run with the same plan, delete all others."""
    if parts.exists():
        with suppress(OSError, ValueError):
            if read_json(parts / "plan.json") == plan:
                say(f"resuming an interrupted run: {len(list(parts.glob('[0-9]*.parquet')))} parts are done")
                return
        say("an earlier run had other pictures or another model: starting again")
        shutil.rmtree(parts)
    write_json(parts / "plan.json", plan)


def predict_part(part: Part, model: Model) -> list[dict[str, Any]]:
    """One row for each picture of `part`: its answer, or an `error`."""
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
    classes = model.card.get("classes")
    answers = model.answer(np.stack(images)) if images else []
    named = iter([{**answer, "label": classes and classes[answer["prediction"]]} for answer in answers])
    return [row or next(named) for row in rows]


def load_file(path: Path) -> Model:
    """The model in a file, with the threshold and OOD score of the model.json beside it, if there is one."""
    if not path.is_file():
        raise PipelineError(f"{path} is no file; expected a model.tflite")
    if path.with_name(CARD_FILE).exists():
        return read_model(path.parent, None)
    say(f"{path} has no {CARD_FILE} beside it: only blank pictures are marked uncertain")
    return Model(path.stem, None, path, {"digest": sha256(path), "threshold": 0.0})


def load_champion() -> Model:
    """The champion of the dataset in params.yaml, from MLflow's registry. Raises PipelineError if there is none."""
    from pipeline.params import load_params
    from pipeline.registry import versions

    model = versions.registered_model(load_params().data.dataset)
    champion = versions.by_alias(model, versions.CHAMPION)
    if champion is None:
        raise PipelineError(f"{model} has no champion; run: make repro, or name a model's file with --model")
    return versions.download(model, champion.version)


if __name__ == "__main__":
    run_main(main)
