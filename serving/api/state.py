"""What the routes share: settings, models, threads, the prediction log."""

import gc
import math
import sys
import time
from typing import Any

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from recognition.model import Model
from serving.inference.answering import Rows
from serving.inference.batching import Batcher
from serving.inference.challenger import Challenger
from serving.inference.model_watcher import ModelWatcher, source_of
from serving.inference.served_models import Models, ServedModels, load_packaged
from serving.inference.worker_threads import WorkerThreads
from serving.prediction_log.feedback import Feedback
from serving.prediction_log.log import PredictionLog, open_log
from serving.prediction_log.request_ids import RequestIds
from serving.prediction_log.rows import Answered, kept_fields
from serving.settings import Settings
from serving.telemetry import metrics
from serving.telemetry.json_logs import log

# Python's default, 0.005, lets each busy thread delay the event loop by that time at every turn: under an attack on
# /predict_pixels, /livez takes ten times as long (benchmarks/limits.py)
SWITCH_SECONDS = 0.0005


class ServiceState:
    """The state of one worker process. `start` and `stop` are called by the application's lifespan."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ids = RequestIds()
        self.models = ServedModels()
        self.threads = WorkerThreads()
        self.batcher = Batcher()
        self.challenger = Challenger(settings.challenger, settings.challenger_share)
        self.feedback = Feedback(self.ids)
        self.log: PredictionLog | None = None
        self._published = frozenset[str]()

    def start(self) -> None:
        """Loads the models. With `model_dir`, also watches it for promotions. Raises DamagedModel."""
        self.models.on_replace = self._on_replace
        if (source := source_of(self.settings)) is None:
            self.models.replace(load_packaged())
        else:
            watcher = ModelWatcher(source, self.models)
            watcher.load_first()
            watcher.start()
        if self.settings.log_predictions:
            self.log = open_log(self.settings, self.ids)
        sys.setswitchinterval(SWITCH_SECONDS)
        # Collections would delay responses: fewer of them, and none of the loaded objects
        gc.set_threshold(20_000, 20, 50)
        gc.collect()
        gc.freeze()

    def stop(self) -> None:
        """Writes the waiting entries of the log."""
        self.threads.close()
        if self.log is not None:
            self.log.close()

    def _on_replace(self, models: Models) -> None:
        self._publish_versions(models)
        if self.settings.challenger not in ("", *models.by_name):
            log.warning("there is no model %r to challenge the champion", self.settings.challenger)

    def _publish_versions(self, models: Models) -> None:
        """Publishes the versions of the served models as metrics. Models that are no longer served get NaN.

        With several workers, `remove` of prometheus_client leaves the last value in the worker's file.
        """
        for name in self._published - models.by_name.keys():
            metrics.SERVED_VERSION.labels(name).set(math.nan)
        for name, model in models.by_name.items():
            metrics.SERVED_VERSION.labels(name).set(float(model.version or 0))
        metrics.CHAMPION_VERSION.set(float(models.by_name[models.champion].version or 0))
        self._published = frozenset(models.by_name)

    @property
    def ready(self) -> bool:
        """Whether the models answer their known digits as recorded, and no drain file asks for a stop."""
        draining = self.settings.drain_file is not None and self.settings.drain_file.exists()
        return not draining and self.models.ready

    def choose(self, request: Request, models: Models, name: Any) -> Model:
        """The model for a request: by its name, or the champion, or for some clients the challenger."""
        return self.challenger.choose(models, name, request.state.client)

    def record(self, request: Request, models: Models, images: NDArray[np.uint8], *answers: Rows) -> dict[str, str]:
        """Logs each model's answers to `images`, uint8 (n, 28, 28). Returns headers for the response.

        A draft, which is a stroke that the user is still drawing, has the header `digits-draft` and is not logged.
        """
        if self.log is None or not len(images) or "digits-draft" in request.headers:
            return {}
        latency = 1000 * (time.perf_counter() - request.state.started)
        identity = request.state.request_id, models.dataset, request.scope["path"], request.state.client
        stored = [[kept_fields(row) for row in rows] for rows in answers]
        shadow = self.challenger.shadow(models, [rows[0]["model"] for rows in answers])
        logged = self.log.record(Answered(*identity, time.time(), latency, images.tobytes(), stored, shadow))
        return {"digits-logged": "pixels"} if logged else {}


def state_of(request: Request) -> ServiceState:
    """The state of the application that handles the request."""
    state: ServiceState = request.app.state.service
    return state
