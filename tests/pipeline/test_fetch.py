"""Stage `fetch`: order of mirrors, checksums, recompressed files, the fallback, and no partial files."""

import errno
import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline import fetch
from pipeline.console import PipelineError
from pipeline.data import fallback, mirrors
from pipeline.data.datasets import Dataset, DatasetFile, load_dataset
from pipeline.data.idx import RAW_FILES, read_raw, read_source, write_idx
from pipeline.files import write_json
from pipeline.params import load_params
from pipeline.paths import DATASETS


@pytest.fixture
def mirror(tmp_path: Path, digits) -> Path:
    """A folder with four small files in the layout of a published mirror."""
    folder = tmp_path / "mirror"
    for images, labels in RAW_FILES.values():
        write_idx(folder / images, digits[0])
        write_idx(folder / labels, digits[1])
    return folder


@pytest.fixture
def dataset(mirror: Path) -> Dataset:
    """The dataset entry of the small mirror."""
    entry = yaml.safe_load(DATASETS.read_text())["mnist"]
    entry["mirrors"] = []
    entry["files"] = {
        path.name: {
            "checksum": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
            "decompressed": f"sha256:{hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()}",
        }
        for path in sorted(mirror.iterdir())
    }
    return Dataset.model_validate(entry)


@pytest.fixture
def http_mirror(mirror: Path) -> Iterator[str]:
    """The same folder behind a real HTTP server."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, directory=str(mirror), **options)

        def log_message(self, *arguments) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def with_mirrors(dataset: Dataset, *mirrors: str) -> Dataset:
    return dataset.model_copy(update={"mirrors": list(mirrors)})


def test_files_are_copied_from_a_folder(workspace: Path, mirror: Path, dataset: Dataset, monkeypatch) -> None:
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    assert mirrors.fetch_from_mirrors("mnist", dataset)
    source = read_source()
    assert source["dataset"] == "mnist" and source["fallback"] is False and source["mirror"] == f"{mirror}/"
    assert set(source["files"]) == {file for pair in RAW_FILES.values() for file in pair}
    assert len(read_raw("train")[0]) == 40


def test_a_subfolder_with_the_name_of_the_dataset_comes_first(
    workspace: Path, mirror: Path, dataset, monkeypatch
) -> None:
    nested = mirror.parent / "all" / "mnist"
    nested.parent.mkdir()
    mirror.rename(nested)
    monkeypatch.setenv("DATA_MIRROR", str(nested.parent))
    assert mirrors.mirrors("mnist", dataset)[0] == f"{nested}/"
    assert mirrors.fetch_from_mirrors("mnist", dataset)


def test_files_are_downloaded_by_http(workspace: Path, http_mirror: str, dataset: Dataset, monkeypatch) -> None:
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    assert mirrors.fetch_from_mirrors("mnist", with_mirrors(dataset, http_mirror))
    assert read_source()["mirror"] == http_mirror


def test_a_mirror_without_the_files_is_skipped(
    workspace: Path, http_mirror: str, dataset: Dataset, monkeypatch, capsys
) -> None:
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setattr(mirrors, "RETRIES", 0)
    missing = f"{http_mirror}nothing/"
    assert mirrors.fetch_from_mirrors("mnist", with_mirrors(dataset, missing, http_mirror))
    assert "HTTP 404" in capsys.readouterr().out
    assert read_source()["mirror"] == http_mirror


def test_a_full_disk_is_an_error_and_not_an_unreachable_mirror(
    workspace: Path, http_mirror: str, dataset: Dataset, monkeypatch
) -> None:
    def no_space(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setattr(mirrors.pooch.HTTPDownloader, "__call__", no_space)
    with pytest.raises(OSError, match="No space left"):
        mirrors.fetch_from_mirrors("mnist", with_mirrors(dataset, http_mirror))


def test_a_wrong_file_is_reported_and_the_next_mirror_used(
    workspace: Path, mirror: Path, http_mirror: str, dataset: Dataset, monkeypatch, capsys, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for path in mirror.iterdir():
        (wrong / path.name).write_bytes(path.read_bytes())
    damaged = wrong / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(damaged.read_bytes())
    content[-12] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setenv("DATA_MIRROR", str(wrong))
    assert mirrors.fetch_from_mirrors("mnist", with_mirrors(dataset, http_mirror))
    output = capsys.readouterr().out
    assert damaged.name in output
    assert dataset.files[damaged.name].checksum in output  # expected
    assert hashlib.sha256(content).hexdigest() in output  # found
    assert read_source()["mirror"] == http_mirror

    with pytest.raises(PipelineError, match="no mirror has mnist with the published checksums"):
        mirrors.fetch_from_mirrors("mnist", with_mirrors(dataset))


def test_wrong_files_replace_nothing_and_do_not_cause_the_fallback(
    workspace: Path, mirror: Path, dataset: Dataset, monkeypatch
) -> None:
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    mirrors.fetch_from_mirrors("mnist", dataset)
    before = {path.name: path.read_bytes() for path in (workspace / "data" / "raw").iterdir()}
    (mirror / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(PipelineError, match="train-images"):
        mirrors.fetch_from_mirrors("mnist", dataset)
    assert {path.name: path.read_bytes() for path in (workspace / "data" / "raw").iterdir()} == before
    assert not list((workspace / "data").glob(".fetch-*"))


def test_recompressed_files_are_accepted(workspace: Path, mirror: Path, dataset: Dataset, monkeypatch) -> None:
    for path in mirror.iterdir():
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=7))
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    assert mirrors.fetch_from_mirrors("mnist", dataset)


def test_md5_checksums(mirror: Path) -> None:
    path = mirror / "train-labels-idx1-ubyte.gz"
    good = DatasetFile(checksum=f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}")
    mirrors.verify(path, good)
    with pytest.raises(mirrors.WrongChecksum, match=r"md5:0{32}"):
        mirrors.verify(path, DatasetFile(checksum="md5:" + "0" * 32))


def test_unreachable_mirrors_return_false(workspace: Path, dataset: Dataset, monkeypatch) -> None:
    monkeypatch.setenv("DATA_MIRROR", str(workspace / "nowhere"))
    monkeypatch.setattr(mirrors, "RETRIES", 0)
    assert not mirrors.fetch_from_mirrors("mnist", with_mirrors(dataset, "http://127.0.0.1:9/"))


def test_the_embedded_digits_have_mnists_format(workspace: Path) -> None:
    fallback.write_embedded("optdigits", fallback=True)
    source = read_source()
    assert source["dataset"] == "optdigits" and source["fallback"] is True
    images, labels = read_raw("train")
    entry = load_dataset("optdigits")
    assert [int((labels == digit).sum()) for digit in range(10)] == entry.counts.train
    assert images.max() == 255 and images[:, 0].max() == 0
    inked = images[0].nonzero()
    assert max(int(axis.max() - axis.min()) for axis in inked) + 1 == 20


def test_the_fallback_is_dropped_when_a_mirror_is_reachable(
    workspace: Path, mirror: Path, dataset: Dataset, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(fallback, "load_dataset", lambda name: dataset)
    write_json(fallback.SOURCE, {"dataset": "optdigits", "mirror": "scikit-learn", "fallback": True, "files": {}})
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    fallback.main()
    assert fallback.SOURCE.exists() and "still cannot be reached" in capsys.readouterr().out
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    fallback.main()
    assert not fallback.SOURCE.exists()


def test_a_disallowed_fallback_is_an_error_while_no_mirror_is_reachable(
    workspace: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setenv("DIGITS_NO_FALLBACK", "1")
    monkeypatch.setattr(fallback, "load_dataset", lambda name: dataset)
    write_json(fallback.SOURCE, {"dataset": "optdigits", "mirror": "scikit-learn", "fallback": True, "files": {}})
    with pytest.raises(PipelineError, match=r"no mirror of mnist can be reached and data\.fallback is null"):
        fallback.main()


def choose(monkeypatch: pytest.MonkeyPatch, dataset: str) -> None:
    """Set `data.dataset` and let no mirror answer."""
    params = load_params()
    params = params.model_copy(update={"data": params.data.model_copy(update={"dataset": dataset})})
    monkeypatch.setattr(fetch, "load_params", lambda: params)
    monkeypatch.setattr(fallback, "load_params", lambda: params)
    monkeypatch.setattr(fetch, "fetch_from_mirrors", lambda name, dataset: False)
    monkeypatch.setattr(fallback, "mirrors", lambda name, dataset: [])
    monkeypatch.delenv("DIGITS_NO_FALLBACK", raising=False)


def test_the_fallback_can_be_chosen_as_the_dataset_and_left_again(workspace: Path, monkeypatch) -> None:
    for dataset, is_fallback in (("mnist", True), ("optdigits", False), ("mnist", True)):
        choose(monkeypatch, dataset)
        fallback.main()  # as `make run` does before `dvc repro`
        fetch.main()
        source = read_source()
        assert (source["dataset"], source["fallback"]) == ("optdigits", is_fallback)
        assert len(read_raw("test")[0]) == 360


def test_a_fetched_dataset_is_never_dropped(workspace: Path, mirror: Path, dataset: Dataset, monkeypatch) -> None:
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    mirrors.fetch_from_mirrors("mnist", dataset)
    fallback.main()
    assert fallback.SOURCE.exists()
    assert read_source()["dataset"] == "mnist"
