"""Runs an exported LiteRT model. Evaluation, batch prediction and the service all use this class."""

import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from recognition.image_format import IMAGE_SIZE
from recognition.native_output import hide_native_output

BATCH = 64  # images per call for large inputs; the remaining images run one by one
SHAPE = (IMAGE_SIZE, IMAGE_SIZE)
LOADING = threading.Lock()  # hide_native_output redirects the output of the whole process


class Classifier:
    """A LiteRT model that maps float32 images (n, 28, 28) in 0..255 to probabilities (n, classes).

    Any thread may call it. An interpreter is not thread-safe, so each thread has its own: threads never wait for each
    other.
    """

    def __init__(self, model: Path | bytes) -> None:
        """`model`: the path or the content of the file. Raises ValueError if it is no LiteRT model of this shape."""
        self._content = model if isinstance(model, bytes) else Path(model).read_bytes()
        self._of_thread = threading.local()
        self.classes = self._runners()[0].classes

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class probabilities (n, classes) of images: uint8 (n, 28, 28), ink bright.

        They do not depend on how images are grouped into calls. Raises ValueError for another shape or dtype.
        """
        if images.shape[1:] != SHAPE or images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 (n, {IMAGE_SIZE}, {IMAGE_SIZE}), not {images.dtype} {images.shape}")
        single, batch = self._runners()
        probabilities = np.empty((len(images), self.classes), np.float32)
        whole = len(images) - len(images) % BATCH
        for start in range(0, whole, BATCH):
            probabilities[start : start + BATCH] = batch(images[start : start + BATCH])
        for index in range(whole, len(images)):
            probabilities[index] = single(images[index : index + 1])[0]
        return probabilities

    def _runners(self) -> "tuple[_Runner, _Runner]":
        """The calling thread's interpreters for one image and for BATCH images."""
        try:
            runners: tuple[_Runner, _Runner] = self._of_thread.runners
        except AttributeError:
            with LOADING:
                runners = self._of_thread.runners = _Runner(self._content, 1), _Runner(self._content, BATCH)
        return runners


class _Runner:
    """A LiteRT interpreter with a fixed batch size."""

    def __init__(self, content: bytes, batch: int) -> None:
        with hide_native_output(2):  # LiteRT prints the name of its delegate on every load
            self._interpreter = Interpreter(model_content=content, num_threads=1)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [tuple(detail["shape"][1:]) for detail in inputs]
        if shapes != [SHAPE] or len(outputs) != 1 or len(outputs[0]["shape"]) != 2:
            raise ValueError(f"the model's inputs are {shapes}; expected one of {SHAPE}, and one output (n, classes)")
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]  # a lookup takes as long as a small MLP
        self.classes = int(outputs[0]["shape"][1])
        self._interpreter.resize_tensor_input(self._input, (batch, *SHAPE))
        with hide_native_output(2):
            self._interpreter.allocate_tensors()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, images.astype(np.float32))
        self._interpreter.invoke()
        probabilities: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return probabilities
