"""Raw data files in MNIST's IDX format, and the record of their source."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.console import PipelineError
from pipeline.files import read_json, write_bytes
from pipeline.paths import RAW, SOURCE

RAW_FILES = {  # split: (images, labels), with MNIST's file names
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
MAGIC = {3: 2051, 1: 2049}  # by number of dimensions; 0x0803 and 0x0801: arrays of unsigned bytes


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read images (n, rows, columns) or labels (n,) from a gzipped IDX file. Raises PipelineError if it is damaged."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise PipelineError(f"{path.name}: missing; run: dvc repro fetch") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise PipelineError(f"{path.name}: expected a complete gzip file, found a damaged one ({error})") from None
    dimensions = 3 if "images" in path.name else 1
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise PipelineError(f"{path.name}: expected an IDX header of {header} bytes, found {len(content)} bytes")
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    if magic != MAGIC[dimensions]:
        raise PipelineError(f"{path.name}: expected the magic number {MAGIC[dimensions]}, found {magic}")
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise PipelineError(f"{path.name}: expected {expected} bytes for shape {tuple(shape)}, found {len(content)}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write images (n, rows, columns) or labels (n,) as gzipped IDX; equal arrays give equal bytes."""
    header = struct.pack(f">{1 + array.ndim}I", MAGIC[array.ndim], *array.shape)
    write_bytes(path, gzip.compress(header + array.tobytes(), mtime=0))


def read_source() -> dict[str, Any]:
    """Returns the record of stage `fetch`: dataset, mirror, fallback, files. Raises PipelineError if it is missing."""
    try:
        source: dict[str, Any] = read_json(SOURCE)
    except FileNotFoundError:
        raise PipelineError(f"{SOURCE.name}: missing; run: dvc repro fetch") from None
    return source


def read_raw(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the published images and labels of "train" or "test". Raises PipelineError if their numbers differ."""
    image_name, label_name = RAW_FILES[split]
    images, labels = read_idx(RAW / image_name), read_idx(RAW / label_name)
    if len(images) != len(labels):
        raise PipelineError(f"{label_name}: expected one label for each of {len(images)} images, found {len(labels)}")
    return images, labels
