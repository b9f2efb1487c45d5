"""The registered form of a model: an MLflow pyfunc around the exported file, without TensorFlow or this repository.

MLflow stores this file and runs it when the model is loaded ("models from code"), so nothing is unpickled.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel
from numpy.typing import NDArray


class LiteRTClassifier(PythonModel):  # type: ignore[misc]
    """uint8 (n, 28, 28), ink bright, to probabilities float32 (n, classes)."""

    def load_context(self, context: Any) -> None:
        from recognition.classifier import Classifier

        self._classifier = Classifier(Path(context.artifacts["model"]) / "model.tflite")

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        return self._classifier.probabilities(np.asarray(model_input))


mlflow.models.set_model(LiteRTClassifier())
