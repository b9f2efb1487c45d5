"""Download of a dataset's files from its mirrors, with verified checksums."""

import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pooch
import requests

from pipeline.console import PipelineError, say
from pipeline.data.datasets import Dataset, DatasetFile
from pipeline.data.idx import RAW_FILES, read_idx, write_idx
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
                own = mirror not in dataset.mirrors
                verified = [fetch_file(mirror, *item, Path(folder), own) for item in dataset.files.items()]
            except Unreachable as error:
                say(f"{mirror}: {error}")
            except WrongChecksum as error:
                wrong.append(f"{mirror}: {error}")
                say(wrong[-1])
            else:
                for file in raw_files():
                    (Path(folder) / file).replace(RAW / file)
                write_source(name, mirror, fallback=False)
                checked = "checksums verified" if all(verified) else "not verified, unpacked files have no checksums"
                say(f"{name}: {len(raw_files())} files from {mirror}, {checked}")
                return True
    if wrong:
        raise PipelineError("\n".join([*wrong, f"no mirror has {name} with the published checksums"]))
    return False


def fetch_file(mirror: str, file: str, published: DatasetFile, folder: Path, own: bool) -> bool:
    """Write a published file to `folder`; of an archive, its members, as files of `data/raw`.

    Returns whether the checksum was verified: the user's `own` mirror may have the members of an archive as unpacked
    files. Raises Unreachable or WrongChecksum, and PipelineError for a damaged unpacked file.
    """
    try:
        download(mirror, file, folder, RETRIES)
    except Unreachable:
        if not (published.members and own):
            raise
        for member in published.members.values():
            download(mirror, PurePosixPath(member).name, folder, RETRIES)
        convert_members(published, folder)
        return False
    verify(folder / file, published)
    if published.members:
        with zipfile.ZipFile(folder / file) as archive:
            for member in published.members.values():
                with archive.open(member) as packed, (folder / PurePosixPath(member).name).open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
        convert_members(published, folder)
    return True


def convert_members(published: DatasetFile, folder: Path) -> None:
    """Write the unpacked members of an archive as files of `data/raw`, with upright images."""
    for file, member in published.members.items():
        array = read_idx(folder / PurePosixPath(member).name)
        write_idx(folder / file, array.transpose(0, 2, 1) if published.transposed and array.ndim == 3 else array)


def raw_files() -> list[str]:
    """Names of the files of `data/raw`."""
    return [file for pair in RAW_FILES.values() for file in pair]


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


def is_reachable(mirror: str, dataset: Dataset) -> bool:
    """Whether a mirror has a published file of the dataset, packed or, on the user's own mirror, unpacked."""
    file, published = next(iter(dataset.files.items()))
    unpacked = [] if mirror in dataset.mirrors else [PurePosixPath(path).name for path in published.members.values()]
    return any(has_file(mirror, name) for name in (file, *unpacked[:1]))


def has_file(mirror: str, file: str) -> bool:
    """Whether a mirror has a file. Its content is not downloaded."""
    if not is_url(mirror):
        return local_path(mirror, file).is_file()
    with suppress(requests.RequestException):
        timeout = (CONNECT_SECONDS, READ_SECONDS)
        with requests.get(f"{mirror}{file}", stream=True, timeout=timeout) as response:
            return bool(response.ok)
    return False


def verify(path: Path, published: DatasetFile) -> None:
    """Raise WrongChecksum unless the file, or its decompressed content, has the published checksum."""
    algorithm = published.checksum.split(":")[0]
    found = f"{algorithm}:{pooch.file_hash(str(path), algorithm)}"
    if found == published.checksum:
        return
    message = f"{path.name}: expected {published.checksum}, found {found}"
    if published.decompressed:
        try:
            content = gzip.decompress(path.read_bytes())
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
    files = {file: sha256(RAW / file) for file in raw_files()}
    write_json(SOURCE, {"dataset": name, "mirror": mirror, "fallback": fallback, "files": files})
