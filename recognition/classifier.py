"""Answers from an exported model: the one way in which models are run, in evaluation and in the service alike."""

import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from recognition.native_output import hide_native_output

BATCH = 64  # images per call on large inputs; single images are answered by an interpreter of their own


class Classifier:
    """A LiteRT model that takes (n, 28, 28) float32 of 0..255 and gives (n, classes) probabilities.

    Calls from several threads wait for each other: an interpreter is not thread-safe.
    """

    def __init__(self, model: Path | bytes) -> None:
        """`model`: the file or its bytes. Raises ValueError when it is not a LiteRT model of that shape."""
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        self._single = _Runner(content, 1)
        self._batch = _Runner(content, BATCH)
        self._lock = threading.Lock()
        self.classes = self._single.classes

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
                answers[start : start + BATCH] = self._batch(images[start : start + BATCH])
            for index in range(whole, len(images)):
                answers[index] = self._single(images[index : index + 1])[0]
        return answers


class _Runner:
    """An interpreter for a fixed number of images at once."""

    def __init__(self, content: bytes, batch: int) -> None:
        with hide_native_output(2):  # LiteRT announces its delegate on every load
            self._interpreter = Interpreter(model_content=content, num_threads=1)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [tuple(detail["shape"][1:]) for detail in inputs]
        if shapes != [(28, 28)] or len(outputs) != 1 or len(outputs[0]["shape"]) != 2:
            raise ValueError(f"the model's input is {shapes}, not one of (28, 28) with one output of (classes,)")
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]  # looking them up costs as much as an MLP
        self.classes = int(outputs[0]["shape"][1])
        self._interpreter.resize_tensor_input(self._input, (batch, 28, 28))
        with hide_native_output(2):
            self._interpreter.allocate_tensors()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, images.astype(np.float32))
        self._interpreter.invoke()
        answers: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return answers
