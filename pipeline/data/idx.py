"""The IDX files that MNIST and datasets of its format are published in, and what `fetch` recorded about them."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.console import PipelineError
from pipeline.files import read_json, write_bytes
from pipeline.paths import RAW, SOURCE

RAW_FILES = {  # split: (images, labels), named as MNIST names them
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049  # 0x00000803 and 0x00000801: unsigned bytes in 3 and 1 dimensions


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Images (n, rows, columns) or labels (n,) from a gzipped IDX file. Raises PipelineError naming what is damaged."""
    wanted = IMAGES_MAGIC if "images" in path.name else LABELS_MAGIC
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise PipelineError(f"{path.name}: missing; run: dvc repro fetch") from None
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise PipelineError(f"{path.name}: expected a whole gzip file, found a damaged one ({error})") from None
    dimensions = wanted & 0xFF
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise PipelineError(f"{path.name}: expected an IDX header of {header} bytes, found {len(content)} bytes")
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    if magic != wanted:
        raise PipelineError(f"{path.name}: expected the magic number {wanted}, found {magic}")
    expected = header + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise PipelineError(f"{path.name}: its header {tuple(shape)} announces {expected} bytes, found {len(content)}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Write images (n, rows, columns) or labels (n,) as gzipped IDX, with the same bytes every time."""
    magic = {3: IMAGES_MAGIC, 1: LABELS_MAGIC}[array.ndim]
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    write_bytes(path, gzip.compress(header + array.tobytes(), mtime=0))


def read_source() -> dict[str, Any]:
    """What `fetch` wrote of the files in `data/raw`: dataset, mirror, fallback, files."""
    try:
        source: dict[str, Any] = read_json(SOURCE)
    except FileNotFoundError:
        raise PipelineError(f"{SOURCE.name}: missing; run: dvc repro fetch") from None
    return source


def read_raw(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images and labels of "train" or "test" as published. Raises PipelineError when they do not belong together."""
    image_name, label_name = RAW_FILES[split]
    images, labels = read_idx(RAW / image_name), read_idx(RAW / label_name)
    if len(images) != len(labels):
        raise PipelineError(f"{label_name}: expected one label for each of {len(images)} images, found {len(labels)}")
    return images, labels
