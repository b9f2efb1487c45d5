"""The architectures: small functions from images (n, 28, 28) of 0..1 to logits (n, classes), chosen by name."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from pipeline.terminal import PipelineError

Tensor = Any


def mlp(images: Tensor, classes: int, widths: Sequence[int], dropout: float = 0.0) -> Tensor:
    """Fully connected layers of the given widths: every pixel is a feature of its own."""
    features = layers.Flatten()(images)
    for width in widths:
        features = layers.Dense(width, use_bias=False)(features)
        features = layers.ReLU()(layers.BatchNormalization()(features))
        features = layers.Dropout(dropout)(features)
    return layers.Dense(classes, dtype="float32")(features)


def cnn(images: Tensor, classes: int, filters: Sequence[int], dropout: float = 0.0) -> Tensor:
    """Three convolutions with shared weights: 5x5 in steps of 2, 3x3, pooling, 3x3; then one layer for the classes."""
    first, second, third = filters
    features = layers.Reshape((28, 28, 1))(images)
    features = _convolution(features, first, kernel=5, stride=2)
    features = _convolution(features, second)
    features = layers.MaxPooling2D()(features)
    features = _convolution(features, third, padding="valid")
    features = layers.Dropout(dropout)(layers.Flatten()(features))
    return layers.Dense(classes, dtype="float32")(features)


def _convolution(features: Tensor, filters: int, kernel: int = 3, stride: int = 1, padding: str = "same") -> Tensor:
    features = layers.Conv2D(filters, kernel, strides=stride, padding=padding, use_bias=False)(features)
    return layers.ReLU()(layers.BatchNormalization()(features))


ARCHITECTURES = {function.__name__: function for function in (mlp, cnn)}


def build(architecture: str, classes: int, arguments: dict[str, Any], bfloat16: bool = False) -> keras.Model:
    """The network from images (n, 28, 28) of 0..1 to logits (n, classes), with fresh weights.

    Raises PipelineError for an unknown architecture or arguments that it does not take.
    """
    if architecture not in ARCHITECTURES:
        raise PipelineError(f"architecture: {architecture!r} is unknown; known are {', '.join(ARCHITECTURES)}")
    function = ARCHITECTURES[architecture]
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if bfloat16 else "float32")
    images = keras.Input((28, 28), name="images")
    try:
        return keras.Model(images, function(images, classes, **arguments), name=architecture)
    except (TypeError, ValueError) as error:
        takes = ", ".join(list(inspect.signature(function).parameters)[2:])
        reason = str(error).splitlines()[0]
        raise PipelineError(f"architecture {architecture} takes {takes}; got {arguments}: {reason}") from None


def with_probabilities(network: keras.Model, temperature: float) -> keras.Model:
    """The model as it is exported: images (n, 28, 28) of 0..255 to softmax(logits / temperature)."""
    images = keras.Input((28, 28), name="images")
    logits = network(layers.Rescaling(1 / 255)(images))
    probabilities = layers.Softmax(dtype="float32")(layers.Rescaling(1 / temperature, dtype="float32")(logits))
    return keras.Model(images, probabilities, name="classifier")


def multiply_adds(network: keras.Model) -> int:
    """Multiplications with addition for one image: weights of each layer times the positions they are used at."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, layers.Dense):
            total += layer.kernel.shape[0] * layer.kernel.shape[1]
        elif isinstance(layer, layers.Conv2D):
            height, width = layer.output.shape[1:3]
            total += int(keras.ops.size(layer.kernel)) * height * width
    return total
