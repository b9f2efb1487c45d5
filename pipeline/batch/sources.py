"""The input of batch prediction, in parts: pictures of a folder or a bucket, or rows of a Parquet file."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.batch.storage import S3, Entry, bucket, entries, open_input, read_all, reported
from pipeline.console import PipelineError
from recognition.decoding import ImageError, decode_image
from recognition.image_format import IMAGE_SIZE, SUFFICIENT_SIDE
from recognition.preprocessing import to_digit

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
PART_SIZE: Final = 256  # pictures; an interrupted run repeats at most the parts in progress, about a second of work
LARGE_PART_SIZE: Final = 4096  # for inputs of more than LARGE pictures, which keeps the number of parts small
LARGE: Final = 2_000_000
MAX_BYTES: Final = 50_000_000  # of a picture; a larger file is an error, so that the memory is bounded
PIXELS: Final = IMAGE_SIZE**2

Item = bytes | OSError | list[int | None] | None  # a picture's file, why it cannot be read, or the values of an image


@dataclass(frozen=True)
class Pictures:
    """A part: files of a folder or a bucket. They are read where the part is predicted."""

    folder: str
    files: list[Entry]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def names(self) -> list[str]:
        return [file.name for file in self.files]

    def items(self) -> Iterator[Item]:
        """Raises PipelineError if the folder is missing on this machine."""
        if not self.folder.startswith(S3) and not Path(self.folder).is_dir():
            raise PipelineError(
                f"{self.folder} is missing on a machine of the Ray cluster; use a bucket, or a folder that all share"
            )
        readable = iter(read_all(self.folder, [file.name for file in self.files if file.size <= MAX_BYTES]))
        for file in self.files:
            too_large = OSError(None, f"it has {file.size:,} bytes; expected at most {MAX_BYTES:,}")
            yield next(readable) if file.size <= MAX_BYTES else too_large


@dataclass(frozen=True)
class Rows:
    """A part: rows of a Parquet file from number `start` on."""

    start: int
    values: pa.Array

    def __len__(self) -> int:
        return len(self.values)

    @property
    def names(self) -> list[int]:
        return [*range(self.start, self.start + len(self))]

    def items(self) -> Iterator[Item]:
        for value in self.values:
            yield value.as_py()


Part = Pictures | Rows


@dataclass(frozen=True)
class Source:
    """Pictures to predict. `identity` changes whenever they change, `key` is the output column that names them.

    `parts` yields all `count` pictures in order, `part_size` in each part but the last, in the same parts at every
    call. It raises PipelineError if the pictures are no longer those of `identity`.
    """

    identity: str
    key: pa.Field
    count: int
    parts: Callable[[], Iterator[Part]]

    @property
    def part_size(self) -> int:
        return part_size(self.count)


def part_size(count: int) -> int:
    return PART_SIZE if count <= LARGE else LARGE_PART_SIZE


def open_source(url: str | Path, column: str | None = None) -> Source:
    """The pictures of a folder, or of a column of a Parquet file. Raises PipelineError if there are none."""
    url = str(url)
    if "://" in url and not url.startswith(S3):
        raise PipelineError(f"{url}: expected a path, or a bucket as s3://bucket/folder/")
    is_file = url.endswith((".parquet", ".pq")) if url.startswith(S3) else Path(url).is_file()
    if is_file:
        return _open_parquet(url, [column] if column else ["image", "pixels"])
    if not url.startswith(S3) and not Path(url).exists():
        raise PipelineError(f"{url} does not exist; expected a folder of pictures or a Parquet file")
    return _open_folder(url)


def _pictures(folder: str) -> Iterator[Entry]:
    return (entry for entry in entries(folder) if entry.name.lower().endswith(SUFFIXES))


def _open_folder(folder: str) -> Source:
    count, digest = 0, hashlib.sha256(folder.encode())
    for entry in _pictures(folder):
        digest.update(repr(tuple(entry)).encode())
        count += 1
    if not count:
        raise PipelineError(f"{folder} has no PNG, JPEG, WebP, BMP or GIF in it")
    identity, size = digest.hexdigest(), part_size(count)

    def parts() -> Iterator[Part]:
        found, digest = _pictures(folder), hashlib.sha256(folder.encode())
        while files := list(islice(found, size)):
            for file in files:
                digest.update(repr(tuple(file)).encode())
            yield Pictures(folder, files)
        require_unchanged(folder, identity, digest.hexdigest())

    return Source(identity, pa.field("file", pa.string()), count, parts)


def require_unchanged(url: str, before: str, now: str) -> None:
    if now != before:
        raise PipelineError(f"{url} has changed since the prediction began; run again")


def _open_parquet(url: str, columns: list[str]) -> Source:
    try:
        with open_input(url) as stream:
            file = pq.ParquetFile(stream)
            schema, count = file.schema_arrow, file.metadata.num_rows
    except pa.ArrowInvalid:
        raise PipelineError(f"{url} is no Parquet file; expected one, or a folder of pictures") from None
    column = next((name for name in columns if name in schema.names), None)
    if column is None:
        raise PipelineError(
            f"{url} has no column {' or '.join(columns)}, but {', '.join(schema.names)}; "
            "name the right one with --column"
        )
    kind = schema.field(column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    is_pixels = is_list and pa.types.is_integer(kind.value_type)
    if not (is_pixels or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise PipelineError(
            f"column {column} of {url} is {kind}; expected a picture's bytes, or a list of {PIXELS} integers"
        )
    identity, size = _identity(url) + column, part_size(count)

    def parts() -> Iterator[Part]:
        number = 0
        with open_input(url) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(size, columns=[column]):
                yield Rows(number, batch.column(0))
                number += len(batch)
        require_unchanged(url, identity, _identity(url) + column)

    return Source(identity, pa.field("row", pa.int64()), count, parts)


def _identity(url: str) -> str:
    known: tuple[Any, ...]
    if url.startswith(S3):
        with reported(url):
            found = bucket().info(url)
        known = (url, found["size"], found["ETag"])
    else:
        stat = Path(url).stat()
        known = (url, stat.st_size, stat.st_mtime_ns)
    return hashlib.sha256(repr(known).encode()).hexdigest()


def read_digit(item: Item) -> NDArray[np.uint8]:
    """The preprocessed image, uint8 (28, 28), ink bright. Raises ImageError."""
    if item is None:
        raise ImageError(f"the row is empty; expected a picture's bytes or {PIXELS} pixels")
    if isinstance(item, OSError):
        raise ImageError(f"the file cannot be read: {item.strerror or item}")
    if isinstance(item, list):
        if len(item) != PIXELS:
            raise ImageError(f"expected {PIXELS} integers of 0..255, found {len(item)} values")
        if wrong := [value for value in item if value is None or not 0 <= value <= 255]:
            raise ImageError(f"expected {PIXELS} integers of 0..255, found {wrong[0]} among them")
        return np.array(item, np.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE)
    return to_digit(decode_image(item, min_side=SUFFICIENT_SIDE)).pixels


def read_digits(items: Iterable[Item]) -> tuple[list[NDArray[np.uint8]], list[str | None]]:
    """The images that can be read, and for each item its error or None."""
    images, errors = list[NDArray[np.uint8]](), list[str | None]()
    for item in items:
        try:
            images.append(read_digit(item))
            errors.append(None)
        except ImageError as error:
            errors.append(str(error))
    return images, errors
