"""Files of batch prediction, on this machine or in a bucket (`s3://...`): listing, reading, atomic writing.

Buckets are reached with s3fs, which reads the usual settings: `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_PROFILE`.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from pipeline.console import PipelineError
from pipeline.files import replacing, write_bytes

S3: Final = "s3://"
READ_AT_ONCE: Final = 16  # objects of a bucket


class Entry(NamedTuple):
    """A file below a folder: its name relative to it, its size in bytes, and a text that changes with its content."""

    name: str
    size: int
    stamp: str


@cache
def bucket() -> Any:
    """The file system of S3. Raises PipelineError without s3fs."""
    try:
        import s3fs
    except ImportError:
        raise PipelineError("s3:// needs the package s3fs, which is not installed; run: make cluster") from None
    return s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)  # `cache` above has the instance


@contextmanager
def reported(url: str) -> Iterator[None]:
    """Raise errors of a bucket as PipelineError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        raise PipelineError(f"{url} cannot be used: {' '.join(str(error).split()) or type(error).__name__}") from None


def entries(folder: str) -> Iterator[Entry]:
    """All files below a folder, in an order that depends on their names only. Memory does not grow with a bucket."""
    yield from _objects(folder) if folder.startswith(S3) else _files(Path(folder), "")


def _files(folder: Path, prefix: str) -> Iterator[Entry]:
    for found in sorted(os.scandir(folder), key=lambda found: found.name):
        if found.is_dir(follow_symlinks=False):
            yield from _files(folder / found.name, f"{prefix}{found.name}/")
        elif found.is_file():
            stat = found.stat()
            yield Entry(prefix + found.name, stat.st_size, str(stat.st_mtime_ns))


def _objects(url: str) -> Iterator[Entry]:
    """One page of a thousand objects at a time; S3 sorts them by name."""
    name, _, prefix = url.removeprefix(S3).partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    more: dict[str, str] = {}
    while True:
        with reported(url):
            page = bucket().call_s3("list_objects_v2", Bucket=name, Prefix=prefix, **more)
        for found in page.get("Contents", ()):
            yield Entry(found["Key"].removeprefix(prefix), found["Size"], found["ETag"])
        if not page["IsTruncated"]:
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def read_all(folder: str, names: Sequence[str]) -> Iterator[bytes | OSError]:
    """The content of each file, or why it cannot be read. Raises PipelineError if the bucket does not answer."""
    if not folder.startswith(S3):
        for name in names:
            try:
                yield Path(folder, name).read_bytes()
            except OSError as error:
                yield error
        return
    for start in range(0, len(names), READ_AT_ONCE):
        paths = [f"{folder.removeprefix(S3).rstrip('/')}/{name}" for name in names[start : start + READ_AT_ONCE]]
        with reported(folder):
            contents = bucket().cat(paths, on_error="return")
            for path in paths:
                content = contents[path]
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError | PermissionError):
                    raise content  # not the file's fault: the run stops, and resumes later
                yield content


@contextmanager
def open_input(url: str) -> Iterator[IO[bytes]]:
    """Open a file for reading."""
    if not url.startswith(S3):
        with Path(url).open("rb") as file:
            yield file
        return
    with reported(url), bucket().open(url, "rb") as file:
        yield file


@contextmanager
def open_output(url: str) -> Iterator[Any]:
    """Open a file that appears complete at the end of the block, or not at all."""
    if not url.startswith(S3):
        with replacing(Path(url)) as stream:
            yield stream
        return
    with reported(url):
        stream = bucket().open(url, "wb", autocommit=False)
        try:
            yield stream
            stream.close()
            stream.commit()
        except BaseException:
            stream.discard()
            raise


class Folder:
    """A folder of small files, each of them complete or absent."""

    def __init__(self, url: str) -> None:
        self.url, self.remote = url, url.startswith(S3)

    def names(self) -> set[str]:
        """Names of the files; none if the folder is missing."""
        if self.remote:
            return {entry.name for entry in entries(self.url)}
        return {path.name for path in Path(self.url).glob("[!.]*")}  # a name with a dot: an interrupted write

    def write(self, name: str, content: bytes) -> None:
        if not self.remote:
            write_bytes(Path(self.url, name), content)
            return
        with reported(self.url):
            bucket().pipe_file(f"{self.url}/{name}", content)

    def read(self, name: str) -> bytes:
        if not self.remote:
            return Path(self.url, name).read_bytes()
        with reported(self.url):
            return bytes(bucket().cat_file(f"{self.url}/{name}"))

    def delete(self) -> None:
        """Delete the folder with its files."""
        if not self.remote:
            shutil.rmtree(self.url, ignore_errors=True)
            return
        with reported(self.url):
            if bucket().exists(self.url):
                bucket().rm(self.url, recursive=True)
