"""Models in a bucket: the same checks as in a folder, a cache on disk, and the last good models in an outage."""

import logging
import os
import signal
from pathlib import Path

import prometheus_client
import pytest

from recognition.model import DamagedModel
from serving.inference import model_watcher
from serving.inference.model_bucket import ModelBucket
from serving.inference.model_watcher import ModelWatcher
from serving.inference.served_models import ServedModels
from tests.s3 import S3
from tests.serving.conftest import change, spoil

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_watcher, "RETRY_SECONDS", 0)


@pytest.fixture
def served() -> ServedModels:
    return ServedModels()


class Store:
    """A local folder whose content is published to a bucket, and the source that a service makes of the bucket."""

    def __init__(self, s3: S3, folder: Path, cache: Path) -> None:
        self.s3, self.folder, self.cache = s3, folder, cache
        self.url = f"{s3.url}/served"

    def publish(self) -> None:
        self.s3.files().put(f"{self.folder}/", f"{self.url}/", recursive=True)

    def source(self) -> ModelBucket:
        return ModelBucket(self.url, self.cache)

    def copies(self) -> list[str]:
        """The complete copies in the cache, by their champions' versions."""
        return sorted(path.parent.name for path in self.cache.glob("*/*/current.json") if path.parent.name != "last")


@pytest.fixture
def store(s3: S3, directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(s3, directory, tmp_path_factory.mktemp("cache"))
    made.publish()
    return made


def pending() -> float:
    return prometheus_client.REGISTRY.get_sample_value("digits_model_reload_pending") or 0.0


def watching(store: Store, served: ServedModels) -> ModelWatcher:
    watcher = ModelWatcher(store.source(), served)
    watcher.load_first()
    return watcher


def test_what_the_bucket_names_is_served_and_replaced(store: Store, served: ServedModels) -> None:
    watcher = watching(store, served)
    before = served.current
    assert before.champion == "cnn" and set(before.by_name) == {"mlp", "cnn"}
    watcher.look()
    assert served.current is before, "models that have not changed were loaded again"
    change(store.folder, lambda current: current.update(champion="mlp"))
    store.publish()
    watcher.look()
    assert served.current.champion == "mlp"
    assert len(store.copies()) == 1, "the cache keeps models that nothing needs"


def test_broken_models_in_the_bucket_are_not_served(store: Store, served: ServedModels) -> None:
    watcher = watching(store, served)
    before = served.current
    spoil(store.folder)
    store.publish()
    watcher.look()
    assert served.current is before and pending() == 1
    # Also a service that starts now serves the last good ones
    restarted = ServedModels()
    watching(store, restarted)
    assert restarted.current.by_name["cnn"].version == before.by_name["cnn"].version


def test_a_folder_elsewhere_is_refused_before_it_is_read(store: Store) -> None:
    change(store.folder, lambda current: current["models"]["cnn"].update(folder="../../elsewhere"))
    store.publish()
    with pytest.raises(DamagedModel, match="not the name of a folder"):
        store.source().load()
    assert not store.copies()


def test_an_outage_keeps_the_models_and_ends_by_itself(
    store: Store, served: ServedModels, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watching(store, served)
    before = served.current
    store.s3.kill()
    with caplog.at_level(logging.ERROR, "digits"):
        watcher.look()
        watcher.look()
    assert served.current is before and pending() == 1
    assert len(caplog.records) == 1 and store.url in caplog.records[0].reason  # type: ignore[attr-defined]
    current = store.s3.folder / "digits" / "served" / "current.json"
    os.utime(current, (current.stat().st_atime + 60, current.stat().st_mtime + 60))  # restored with the same content
    store.s3.start()
    watcher.look()
    assert served.current is before and pending() == 0
    change(store.folder, lambda current: current.update(champion="mlp"))
    store.publish()
    watcher.look()
    assert served.current.champion == "mlp"


def test_a_service_starts_from_the_cache_during_an_outage(store: Store, served: ServedModels) -> None:
    watching(store, served)
    change(store.folder, lambda current: current.update(champion="mlp"))
    store.publish()
    store.s3.kill()
    restarted = ServedModels()
    watcher = watching(store, restarted)
    assert restarted.current.champion == "cnn"
    watcher.look()
    assert pending() == 1
    store.s3.start()
    watcher.look()
    assert restarted.current.champion == "mlp" and pending() == 0


def test_without_bucket_and_cache_the_service_does_not_start(store: Store, served: ServedModels) -> None:
    store.s3.kill()
    with pytest.raises(DamagedModel, match=f"{store.url}/current.json cannot be loaded"):
        watching(store, served)


def test_a_bucket_that_hangs_counts_as_an_outage(store: Store, served: ServedModels) -> None:
    watching(store, served)
    os.kill(store.s3.process.pid, signal.SIGSTOP)
    restarted = ServedModels()
    watching(store, restarted)
    assert restarted.current.champion == "cnn"


def test_a_damaged_copy_is_downloaded_again(store: Store, served: ServedModels) -> None:
    source = store.source()
    source.load()
    file = next(store.cache.glob(f"*/{store.copies()[0]}/v*/model.tflite"))
    file.write_bytes(b"damaged")
    with pytest.raises(DamagedModel):
        source.load()
    assert source.load().champion == "cnn"
