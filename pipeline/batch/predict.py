"""`python -m pipeline.batch.predict`: predictions for a folder, a bucket or a Parquet file, without a server.

Predictions are written in parts beside the output file, each of them complete or absent, so that an interrupted run
resumes. Parts are predicted on all cores, or on a Ray cluster (`RAY_ADDRESS`); only this process writes.
"""

import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from pipeline.batch.sources import Part, Source, open_source, read_digits
from pipeline.batch.storage import Folder, open_output
from pipeline.console import AsJson, PipelineError, progress, run_main, say, text_to_stderr
from pipeline.files import sha256
from pipeline.training import parallel
from recognition.answers import Answer
from recognition.model import CARD_FILE, DamagedModel, Model, read_model

PICTURES_PER_PROCESS: Final = 2048  # fewer are done before another process has started
MERGED_PARTS: Final = 64  # parts in a row group of the output
PLAN: Final = "plan.json"
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
    pictures: str,
    output: str = "predictions.parquet",
    model: Path | None = None,
    column: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Predict the digit in each of PICTURES and write a Parquet file, without a server.

    PICTURES is a folder or a bucket (s3://bucket/folder/), searched with its subfolders for PNG, JPEG, WebP, BMP and
    GIF files, or a Parquet file with a column of encoded pictures or of lists of 784 pixels (28 rows of 28, 0..255, ink
    bright). The output has one row for each, in order. The column `error` explains why a picture could not be read.
    Interrupted runs resume.

    `model` is a model.tflite to use instead of the champion, `column` the Parquet column (default: image, or pixels).
    """
    source = open_source(pictures, column)
    try:
        with text_to_stderr(as_json):
            summary = predict(source, load_file(model) if model else load_champion(), str(output))
    except DamagedModel as error:
        raise PipelineError(str(error)) from None
    if as_json:
        say(json.dumps(summary))


def predict(source: Source, model: Model, output: str) -> dict[str, Any]:
    """Write a prediction for every picture of `source` to `output`; resume an interrupted run with the same plan.

    Returns output, model, version, and the numbers of pictures, uncertain predictions and errors. Raises PipelineError
    if the pictures change during the run.
    """
    parts = Folder(f"{output}.parts")
    plan = {"input": source.identity, "model": [model.digest, model.name, model.version], "part": source.part_size}
    done = resume(parts, plan)
    names = {"model_digest": model.digest, "model": model.name, "version": model.version or ""}
    schema = pa.schema([source.key, *COLUMNS], metadata=names)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress(*columns) as bar:
        task = bar.add_task("predicting", total=source.count)

        def missing() -> Iterator[tuple[str, Part]]:
            for number, part in enumerate(source.parts()):
                if part_name(number) in done:
                    bar.advance(task, len(part))
                else:
                    yield part_name(number), part

        at_most = max(source.count // PICTURES_PER_PROCESS, 1)
        shared = (Portable(model), schema)
        for (name, part), content in parallel.run(predict_part, missing(), shared, at_most=at_most, ahead=True):
            parts.write(name, content)
            bar.advance(task, len(part))
    uncertain, errors = merge(parts, -(-source.count // source.part_size), schema, output)
    parts.delete()
    counts = {"pictures": source.count, "uncertain": uncertain, "errors": errors}
    name = model.name if model.version is None else f"{model.name} {model.version}"
    say(f"{output}: {source.count:,} predictions by {name}, {uncertain:,} uncertain, {errors:,} unreadable pictures")
    return {"output": output, **counts, "model": model.name, "version": model.version}


def part_name(number: int) -> str:
    return f"{number:06}.parquet"


def resume(parts: Folder, plan: dict[str, Any]) -> set[str]:
    """Prepare the folder `parts` for `plan`: keep the parts of an earlier run with the same plan, delete all others.

    Returns the names of the parts that are done.
    """
    if names := parts.names():
        with suppress(OSError, ValueError):
            if PLAN in names and json.loads(parts.read(PLAN)) == plan:
                say(f"resuming an interrupted run: {len(names) - 1} parts are done")
                return names
        say("an earlier run had other pictures or another model: starting again")
    parts.delete()
    parts.write(PLAN, json.dumps(plan).encode())
    return set()


def merge(parts: Folder, count: int, schema: pa.Schema, output: str) -> tuple[int, int]:
    """Write all parts in order to one file. Returns the numbers of uncertain predictions and of errors."""
    uncertain = errors = 0
    with open_output(output) as stream, pq.ParquetWriter(stream, schema) as writer:
        for start in range(0, count, MERGED_PARTS):
            names = map(part_name, range(start, min(start + MERGED_PARTS, count)))
            table = pa.concat_tables([pq.ParquetFile(io.BytesIO(parts.read(name))).read() for name in names])
            uncertain += len(table) - table["reason"].null_count
            errors += len(table) - table["error"].null_count
            writer.write_table(table.cast(schema))
    return uncertain, errors


class Portable:
    """A model that can be sent to another process or machine, with the content of its file."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __reduce__(self) -> tuple[Any, ...]:
        model = self.model
        return unpack, (model.name, model.version, dict(model.card), model.file.read_bytes())


received: dict[tuple[str, str | None, str], Portable] = {}  # in a worker: each model is loaded once


def unpack(name: str, version: str | None, card: dict[str, Any], content: bytes) -> Portable:
    model = Model(name, version, Path(f"{name}.tflite"), card)
    key = (name, version, model.content_digest)
    if key not in received:
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
            file.write(content)
            file.flush()
            model = Model(name, version, Path(file.name), card)
            _ = model.classifier, model.ood_score  # read now: the file does not stay
        received[key] = Portable(model)
    return received[key]


def predict_part(portable: Portable, schema: pa.Schema, name: str, part: Part) -> bytes:
    """Predict the pictures of `part`. Returns a Parquet file with one row for each: its answer, or an `error`."""
    images, errors = read_digits(part.items())
    classes = portable.model.card.get("classes")
    answers = portable.model.answer(np.stack(images)) if images else []
    named = iter([{**answer, "label": classes and classes[answer["prediction"]]} for answer in answers])
    rows = [{"error": error} if error else next(named) for error in errors]
    keys = [{schema.names[0]: printable(key)} for key in part.names]
    table = pa.Table.from_pylist([key | row for key, row in zip(keys, rows, strict=True)], schema)
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def printable(key: str | int) -> str | int:
    r"""A file's name as Unicode text: bytes that are not UTF-8, which file systems allow, become \xe9."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if isinstance(key, str) else key


def load_file(path: Path) -> Model:
    """The model in a file, with the threshold and OOD score of the model.json beside it, if there is one."""
    if not path.is_file():
        raise PipelineError(f"{path} is no file; expected a model.tflite")
    if path.with_name(CARD_FILE).exists():
        return read_model(path.parent, None)
    say(f"{path} has no {CARD_FILE} beside it: only blank pictures are marked uncertain")
    return Model(path.stem, None, path, {"digest": sha256(path), "threshold": 0.0})


def load_champion() -> Model:
    """The champion of the last run's dataset, from MLflow's registry. Raises PipelineError if there is none."""
    from pipeline.registry import versions

    model = versions.current_model()
    champion = versions.by_alias(model, versions.CHAMPION)
    if champion is None:
        raise PipelineError(f"{model} has no champion; run: make repro, or name a model's file with --model")
    return versions.download(model, champion.version)


if __name__ == "__main__":
    run_main(main)
