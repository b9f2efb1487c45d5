"""Downloads of a dataset's files from its mirrors, verified by checksum."""

import gzip
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from pipeline.console import PipelineError, progress, say
from pipeline.data.datasets import Dataset, DatasetFile
from pipeline.data.idx import RAW_FILES
from pipeline.files import sha256, write_json
from pipeline.paths import RAW, ROOT, SOURCE

CONNECT_SECONDS, READ_SECONDS = 5, 30


RETRIES = 2


class Unreachable(Exception):
    """A mirror does not answer, or does not have the file."""


class WrongChecksum(Exception):
    """A mirror has the file, but with other bytes than were published."""


def unreachable(dataset: str) -> PipelineError:
    """The error of a run that must not go on with the fallback."""
    return PipelineError(
        f"no mirror of {dataset} can be reached and data.fallback is null; "
        "set DATA_MIRROR to a folder or URL that has its files"
    )


def fetch_from_mirrors(name: str, dataset: Dataset) -> bool:
    """Fill `data/raw` from the first mirror with the right files; False when none can be reached.

    Raises PipelineError when mirrors were reached and all that were have wrong files.
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
                say(f"{dataset.title}: {len(dataset.files)} files from {mirror}, checksums right")
                return True
    if wrong:
        raise PipelineError("\n".join([*wrong, f"no mirror gives {name} with the right checksums"]))
    return False


def mirrors(name: str, dataset: Dataset) -> list[str]:
    """Where to look, in order: `DATA_MIRROR/<dataset>/`, `DATA_MIRROR` itself, then the published mirrors."""
    own = os.environ.get("DATA_MIRROR", "").rstrip("/")
    if not own:
        return dataset.mirrors
    nested = [f"{own}/{name}/"] if _is_url(own) or _folder(own, name).is_dir() else []
    return [*nested, f"{own}/", *dataset.mirrors]


def _is_url(mirror: str) -> bool:
    return urlsplit(mirror).scheme in ("http", "https")


def _folder(mirror: str, name: str) -> Path:
    return ROOT / mirror.removeprefix("file://") / name


def download(mirror: str, file: str, folder: Path, retries: int) -> None:
    """Bring `file` from a mirror (a folder or an http(s) URL) into `folder`. Raises Unreachable."""
    if not _is_url(mirror):
        try:
            shutil.copyfile(_folder(mirror, file), folder / file)
        except OSError as error:
            raise Unreachable(f"{file}: {error.strerror}") from None
        return
    pooch.get_logger().setLevel("ERROR")
    columns = (TextColumn(file), BarColumn(), DownloadColumn())
    with progress(*columns) as display:
        downloader = pooch.HTTPDownloader(
            progressbar=_PoochProgress(display, display.add_task(file, total=None)),
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )
        source = pooch.create(folder, mirror, registry={file: None}, retry_if_failed=retries)
        try:
            source.fetch(file, downloader=downloader)
        except requests.RequestException as error:
            status = getattr(error.response, "status_code", None)
            raise Unreachable(f"{file}: {f'HTTP {status}' if status else type(error).__name__}") from None


class _PoochProgress:
    """The four members of tqdm that pooch calls, on a rich display."""

    def __init__(self, display: Progress, task: TaskID) -> None:
        self._display, self._task = display, task
        self.total = 0

    def update(self, amount: int) -> None:
        self._display.update(self._task, advance=amount, total=self.total)

    def reset(self) -> None:
        self._display.reset(self._task, total=self.total)

    def close(self) -> None:
        pass


def verify(path: Path, published: DatasetFile) -> None:
    """Raise WrongChecksum unless the file is as published, or holds the published bytes compressed anew."""
    content = path.read_bytes()
    found = _checksum(content, published.checksum)
    if found == published.checksum:
        return
    if published.decompressed:
        try:
            decompressed = gzip.decompress(content)
        except (OSError, EOFError, ValueError) as error:
            raise WrongChecksum(f"{path.name}: expected {published.checksum}, found {found} ({error})") from None
        if _checksum(decompressed, published.decompressed) == published.decompressed:
            return
    raise WrongChecksum(f"{path.name}: expected {published.checksum}, found {found}")


def _checksum(content: bytes, like: str) -> str:
    algorithm = like.split(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def write_source(name: str, mirror: str, fallback: bool) -> None:
    """Record in `data/raw/source.json` what lies there and from where."""
    files = {file: sha256(RAW / file) for pair in RAW_FILES.values() for file in pair}
    write_json(SOURCE, {"dataset": name, "mirror": mirror, "fallback": fallback, "files": files})
