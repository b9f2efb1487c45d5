"""Finds copies of stored pictures in files: in NumPy archives and, as embedded PNG, in HTML pages."""

import base64
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from PIL import Image

from pipeline import tracking
from recognition.image_format import IMAGE_SIZE

Pictures = set[bytes]  # 784 bytes each: the pixels row by row, as stored in the database
UNFINISHED = re.compile(r"\.\w+\.(npz|html)\..+")  # the temporary names of pipeline/files.py
PNG = re.compile(rb"data:image/png;base64,([A-Za-z0-9+/=]+)")


def delete(folder: Path, pictures: Pictures, pattern: str = "*") -> list[Path]:
    """Delete all files below `folder` whose name matches and that hold one of the pictures. Returns their paths."""
    found = [path for path in sorted(folder.rglob(pattern)) if path.is_file() and holds(path, pictures)]
    for path in found:
        path.unlink()
    return found


def holds(path: Path, pictures: Pictures) -> bool:
    """Whether a file holds one of the pictures. A file that a killed write left counts as one: it may be incomplete."""
    if UNFINISHED.fullmatch(path.name):
        return True
    try:
        return not pictures.isdisjoint(read(path))
    except (EOFError, ValueError, zlib.error, zipfile.BadZipFile):  # a damaged file, or no archive of NumPy's
        return False


def read(path: Path) -> Iterator[bytes]:
    """Yields the pixels of the 28x28 images in a NumPy archive or an HTML page, whatever its name; else nothing."""
    with path.open("rb") as file:
        start = file.read(1000)
    if start.startswith(b"PK"):
        yield from read_archive(path)
    elif b"<html" in start.lower():
        for data in PNG.findall(path.read_bytes()):
            with suppress(OSError, ValueError):  # an image that Pillow cannot read is none of ours
                yield Image.open(io.BytesIO(base64.b64decode(data))).convert("L").tobytes()


def read_archive(path: Path) -> Iterator[bytes]:
    """Yields the images in the arrays uint8 (..., 28, 28) of a zip file."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    array = np.lib.format.read_array(member, allow_pickle=False)
                if array.dtype == np.uint8 and array.shape[-2:] == (IMAGE_SIZE, IMAGE_SIZE):
                    yield from (image.tobytes() for image in array.reshape(-1, IMAGE_SIZE, IMAGE_SIZE))


def monitor_runs() -> Iterator[tuple[str, Path | None]]:
    """Yields id and artifact folder of the monitor's MLflow runs, also deleted ones.

    The folder is None for a run whose HTML report is on a server.
    """
    from mlflow.entities import ViewType

    client = tracking.connect()
    experiments = client.search_experiments(view_type=ViewType.ALL)
    ids, token = [each.experiment_id for each in experiments if each.name.endswith("-monitor")], None
    while ids:
        page: Any = client.search_runs(ids, run_view_type=ViewType.ALL, page_token=token)
        for run in page:
            uri = urlsplit(run.info.artifact_uri)
            if uri.scheme in ("", "file"):
                yield run.info.run_id, Path(url2pathname(uri.path))
            elif any(entry.path.endswith(".html") for entry in client.list_artifacts(run.info.run_id)):
                yield run.info.run_id, None
        token = page.token
        if not token:
            return
