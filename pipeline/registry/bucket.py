"""Publishes a folder of exported models to a bucket, where services of other machines load them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.console import PipelineError
from records.bucket import CURRENT, open_bucket


def publish(folder: Path, url: str, version_folder: re.Pattern[str]) -> None:
    """Make the bucket's content that of `folder`: its version folders first, then `current.json` in one request.

    Version folders that are not in `folder` are deleted last; the rest of the bucket stays. An unchanged
    `current.json` is written only after a repair of a version. Raises PipelineError if the bucket cannot be used.
    """
    try:
        files, root = open_bucket(url)
        wanted = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        current = wanted.pop(CURRENT)
        changed = upload(files, root, wanted)
        if changed or read(files, f"{root}/{CURRENT}") != current:  # an unchanged file must not trigger a reload
            files.pipe_file(f"{root}/{CURRENT}", current)
        for path in files.find(root):
            name = path.removeprefix(f"{root}/")
            if version_folder.fullmatch(name.partition("/")[0]) and name not in wanted:
                files.rm_file(path)
    except Exception as error:  # of the network, or of the file system's library
        raise PipelineError(
            f"the models cannot be published to {url}: {' '.join(str(error).split())[:300]}; the champion in the "
            "registry is as `digits champions` shows; repeat with: python -m pipeline.registry.handover"
        ) from None


def upload(files: Any, root: str, wanted: Mapping[str, bytes]) -> bool:
    """Upload the files, by relative path, that differ from those in the bucket. Returns whether any did."""
    differing = [name for name, content in wanted.items() if read(files, f"{root}/{name}") != content]
    for name in differing:
        files.pipe_file(f"{root}/{name}", wanted[name])
    return bool(differing)


def read(files: Any, path: str) -> bytes | None:
    """The content of a file in the bucket, None if it is missing."""
    try:
        content: bytes = files.cat_file(path)
    except FileNotFoundError:
        return None
    return content
