"""What `pipeline.batch.predict` answers: a folder's pictures or a Parquet file's rows, in the same parts each time."""

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
from recognition.answers import ENOUGH
from recognition.decoding import ImageError, decode_image
from recognition.preprocessing import to_digit

SUFFIXES: Final = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
PART: Final = 256  # pictures answered between two points from which a killed run goes on: about a second's work

Item = Path | bytes | list[int | None] | None  # a picture's file, its bytes, or the 784 values of an image
Part = list[tuple[str | int, Item]]  # each under its file's name or its row's number


@dataclass(frozen=True)
class Source:
    """Pictures to answer, `count` of them; `identity` changes when they do, `key` names them in the output.

    `parts` gives all of them in order, at most PART at a time, and the same parts whenever it is called.
    """

    identity: str
    key: pa.Field
    count: int
    parts: Callable[[], Iterator[Part]]


def open_source(path: Path, column: str | None = None) -> Source:
    """A folder's pictures or a Parquet file's column. Raises PipelineError when there is nothing to answer."""
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise PipelineError(f"{path} does not exist; expected a folder of pictures or a Parquet file")
    return _open_parquet(path, [column] if column else ["image", "pixels"])


def _open_folder(folder: Path) -> Source:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise PipelineError(f"{folder} has no PNG, JPEG, WebP, BMP or GIF in it")
    return Source(_identity(*files), pa.field("file", pa.string()), len(files), partial(_files, folder, files))


def _files(folder: Path, files: list[Path]) -> Iterator[Part]:
    for start in range(0, len(files), PART):
        yield [(str(file.relative_to(folder)), file) for file in files[start : start + PART]]


def _open_parquet(path: Path, columns: list[str]) -> Source:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid:
        raise PipelineError(f"{path} is no Parquet file; expected one, or a folder of pictures") from None
    names = file.schema_arrow.names
    column = next((name for name in columns if name in names), None)
    if column is None:
        raise PipelineError(
            f"{path} has no column {' or '.join(columns)}, but {', '.join(names)}; name the right one by --column"
        )
    kind = file.schema_arrow.field(column).type
    if not (_is_bytes(kind) or _is_pixels(kind)):
        raise PipelineError(
            f"column {column} of {path} is {kind}; expected a picture's bytes, or a list of 784 integers"
        )
    identity = _identity(path) + column
    return Source(identity, pa.field("row", pa.int64()), file.metadata.num_rows, partial(_rows, path, column))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_pixels(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_list(kind) for is_list in lists) and bool(pa.types.is_integer(kind.value_type))


def _rows(path: Path, column: str) -> Iterator[Part]:
    number = 0
    for batch in pq.ParquetFile(path).iter_batches(PART, columns=[column]):
        yield list(enumerate(batch.column(0).to_pylist(), number))
        number += len(batch)


def _identity(*files: Path) -> str:
    known = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(known).encode()).hexdigest()


def read_digit(item: Item) -> NDArray[np.uint8]:
    """The image as models see it, uint8 (28, 28), ink bright. Raises ImageError or OSError."""
    if item is None:
        raise ImageError("the row is empty; expected a picture's bytes or 784 pixels")
    if isinstance(item, list):
        if len(item) != 784 or not all(value is not None and 0 <= value <= 255 for value in item):
            raise ImageError(f"expected 784 whole numbers of 0..255, found {len(item)} values from {_range(item)}")
        return np.array(item, np.uint8).reshape(28, 28)
    content = item if isinstance(item, bytes) else item.read_bytes()
    return to_digit(decode_image(content, enough=ENOUGH)).pixels


def _range(values: list[int | None]) -> str:
    if None in values or not values:
        return "nothing"
    numbers = [value for value in values if value is not None]
    return f"{min(numbers)} to {max(numbers)}"
