"""Answers from an exported model: the one way in which models are run, in evaluation and in the service alike."""

import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from pipeline.silence import quiet

BATCH = 64  # images per call on large inputs; single images are answered by an interpreter of their own


class Classifier:
    """A LiteRT model that takes (n, 28, 28) float32 of 0..255 and gives (n, classes) probabilities.

    Calls from several threads wait for each other: an interpreter is not thread-safe.
    """

    def __init__(self, model: Path | bytes) -> None:
        """`model`: the file or its bytes. Raises ValueError when it is not a LiteRT model of that shape."""
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        self._single = _interpreter(content, 1)
        self._batch = _interpreter(content, BATCH)
        self._lock = threading.Lock()
        self.classes = int(self._single.get_output_details()[0]["shape"][1])

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (n, classes) for `images`: uint8 (n, 28, 28), ink bright.

        Answers do not depend on how images are grouped into calls. Raises ValueError for another shape or type.
        """
        if images.ndim != 3 or images.shape[1:] != (28, 28) or images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 (n, 28, 28), not {images.dtype} {images.shape}")
        answers = np.empty((len(images), self.classes), np.float32)
        whole = len(images) - len(images) % BATCH
        with self._lock:
            for start in range(0, whole, BATCH):
                answers[start : start + BATCH] = _invoke(self._batch, images[start : start + BATCH])
            for index in range(whole, len(images)):
                answers[index] = _invoke(self._single, images[index : index + 1])[0]
        return answers


def _interpreter(content: bytes, batch: int) -> Interpreter:
    with quiet(2):  # LiteRT announces its delegate on every load
        interpreter = Interpreter(model_content=content, num_threads=1)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [tuple(detail["shape"][1:]) for detail in inputs]
    if shapes != [(28, 28)] or len(outputs) != 1 or outputs[0]["shape"].ndim != 1 or len(outputs[0]["shape"]) != 2:
        raise ValueError(f"the model's input is {shapes}, not one of (28, 28) with one output of (classes,)")
    interpreter.resize_tensor_input(inputs[0]["index"], (batch, 28, 28))
    with quiet(2):
        interpreter.allocate_tensors()
    return interpreter


def _invoke(interpreter: Interpreter, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images.astype(np.float32))
    interpreter.invoke()
    answers: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return answers
