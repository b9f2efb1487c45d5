"""Download of a dataset's files from its mirrors, with verified checksums."""

import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import pooch
import requests

from pipeline.console import PipelineError, say
from pipeline.data.datasets import Dataset, DatasetFile
from pipeline.data.idx import RAW_FILES
from pipeline.files import sha256, write_json
from pipeline.paths import RAW, ROOT, SOURCE

CONNECT_SECONDS, READ_SECONDS = 5, 30
RETRIES = 2


class Unreachable(Exception):
    """A mirror does not answer or does not have the file."""


class WrongChecksum(Exception):
    """A mirror has the file with other content than the published one."""


def fetch_from_mirrors(name: str, dataset: Dataset) -> bool:
    """Download all files into `data/raw` from the first mirror that has them with the published checksums.

    Returns False if no mirror is reachable. Raises PipelineError if every reachable mirror has wrong files.
    """
    wrong: list[str] = []
    for mirror in mirrors(name, dataset):
        with tempfile.TemporaryDirectory(dir=RAW.parent, prefix=".fetch-") as folder:
            try:
                for file, published in dataset.files.items():
                    download(mirror, file, Path(folder), RETRIES)
                    verify(Path(folder) / file, published)
            except Unreachable as error:
                say(f"{mirror}: {error}")
            except WrongChecksum as error:
                wrong.append(f"{mirror}: {error}")
                say(wrong[-1])
            else:
                for file in dataset.files:
                    (Path(folder) / file).replace(RAW / file)
                write_source(name, mirror, fallback=False)
                say(f"{name}: {len(dataset.files)} files from {mirror}, checksums verified")
                return True
    if wrong:
        raise PipelineError("\n".join([*wrong, f"no mirror has {name} with the published checksums"]))
    return False


def mirrors(name: str, dataset: Dataset) -> list[str]:
    """Mirrors in the order of use: `DATA_MIRROR/<dataset>/`, `DATA_MIRROR` itself, then the published mirrors."""
    own = os.environ.get("DATA_MIRROR", "").rstrip("/")
    if not own:
        return dataset.mirrors
    nested = [f"{own}/{name}/"] if is_url(own) or local_path(own, name).is_dir() else []
    return [*nested, f"{own}/", *dataset.mirrors]


def is_url(mirror: str) -> bool:
    return mirror.startswith(("http://", "https://"))


def local_path(mirror: str, name: str) -> Path:
    return ROOT / mirror.removeprefix("file://") / name


def download(mirror: str, file: str, folder: Path, retries: int) -> None:
    """Copy `file` from a mirror, a folder or an http(s) URL, into `folder`. Raises Unreachable."""
    if not is_url(mirror):
        try:
            shutil.copyfile(local_path(mirror, file), folder / file)
        except OSError as error:
            raise Unreachable(f"{file}: {error.strerror}") from None
        return
    pooch.get_logger().setLevel("ERROR")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=(CONNECT_SECONDS, READ_SECONDS))
    source = pooch.create(folder, mirror, registry={file: None}, retry_if_failed=retries)
    try:
        source.fetch(file, downloader=downloader)
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        raise Unreachable(f"{file}: {f'HTTP {status}' if status else type(error).__name__}") from None


def verify(path: Path, published: DatasetFile) -> None:
    """Raise WrongChecksum unless the file, or its decompressed content, has the published checksum."""
    content = path.read_bytes()
    found = checksum(content, published.checksum)
    if found == published.checksum:
        return
    message = f"{path.name}: expected {published.checksum}, found {found}"
    if published.decompressed:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise WrongChecksum(f"{message} ({error})") from None
        if checksum(content, published.decompressed) == published.decompressed:
            return
    raise WrongChecksum(message)


def checksum(content: bytes, like: str) -> str:
    """Checksum of `content` with the algorithm of `like`, as "ALGORITHM:HEXADECIMAL"."""
    algorithm = like.split(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def write_source(name: str, mirror: str, fallback: bool) -> None:
    """Record dataset, mirror and checksums of the files of `data/raw` in source.json."""
    files = {file: sha256(RAW / file) for pair in RAW_FILES.values() for file in pair}
    write_json(SOURCE, {"dataset": name, "mirror": mirror, "fallback": fallback, "files": files})
