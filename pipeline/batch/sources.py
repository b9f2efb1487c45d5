"""The input of batch prediction: the pictures of a folder or the rows of a Parquet file, in parts of fixed size."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.console import PipelineError
from recognition.decoding import ImageError, decode_image
from recognition.image_format import IMAGE_SIZE, SUFFICIENT_SIDE
from recognition.preprocessing import to_digit

SUFFIXES: Final = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
PART_SIZE: Final = 256  # pictures; an interrupted run repeats at most one part, about a second of work
PIXELS: Final = IMAGE_SIZE**2

Item = Path | bytes | list[int | None] | None  # a picture's file, its bytes, or the 784 values of an image
Part = list[tuple[str | int, Item]]  # each with its file name or row number


@dataclass(frozen=True)
class Source:
    """Pictures to predict. `identity` changes whenever they change, `key` is the output column that names them.

    `parts` yields all `count` pictures in order, at most PART_SIZE at a time, in the same parts at every call.
    """

    identity: str
    key: pa.Field
    count: int
    parts: Callable[[], Iterator[Part]]


def open_source(path: Path, column: str | None = None) -> Source:
    """The pictures of a folder, or of a column of a Parquet file. Raises PipelineError if there are none."""
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise PipelineError(f"{path} does not exist; expected a folder of pictures or a Parquet file")
    return _open_parquet(path, [column] if column else ["image", "pixels"])


def _open_folder(folder: Path) -> Source:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise PipelineError(f"{folder} has no PNG, JPEG, WebP, BMP or GIF in it")

    def parts() -> Iterator[Part]:
        for start in range(0, len(files), PART_SIZE):
            yield [(str(file.relative_to(folder)), file) for file in files[start : start + PART_SIZE]]

    return Source(_identity(*files), pa.field("file", pa.string()), len(files), parts)


def _open_parquet(path: Path, columns: list[str]) -> Source:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid:
        raise PipelineError(f"{path} is no Parquet file; expected one, or a folder of pictures") from None
    names = file.schema_arrow.names
    column = next((name for name in columns if name in names), None)
    if column is None:
        raise PipelineError(
            f"{path} has no column {' or '.join(columns)}, but {', '.join(names)}; name the right one with --column"
        )
    kind = file.schema_arrow.field(column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    is_pixels = is_list and pa.types.is_integer(kind.value_type)
    if not (is_pixels or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise PipelineError(
            f"column {column} of {path} is {kind}; expected a picture's bytes, or a list of {PIXELS} integers"
        )
    identity = _identity(path) + column
    return Source(identity, pa.field("row", pa.int64()), file.metadata.num_rows, partial(_rows, path, column))


def _rows(path: Path, column: str) -> Iterator[Part]:
    number = 0
    for batch in pq.ParquetFile(path).iter_batches(PART_SIZE, columns=[column]):
        yield list(enumerate(batch.column(0).to_pylist(), number))
        number += len(batch)


def _identity(*files: Path) -> str:
    known = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(known).encode()).hexdigest()


def read_digit(item: Item) -> NDArray[np.uint8]:
    """The preprocessed image, uint8 (28, 28), ink bright. Raises ImageError or OSError."""
    if item is None:
        raise ImageError(f"the row is empty; expected a picture's bytes or {PIXELS} pixels")
    if isinstance(item, list):
        if len(item) != PIXELS:
            raise ImageError(f"expected {PIXELS} integers of 0..255, found {len(item)} values")
        if wrong := [value for value in item if value is None or not 0 <= value <= 255]:
            raise ImageError(f"expected {PIXELS} integers of 0..255, found {wrong[0]} among them")
        return np.array(item, np.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE)
    content = item if isinstance(item, bytes) else item.read_bytes()
    return to_digit(decode_image(content, min_side=SUFFICIENT_SIDE)).pixels
