"""The architectures: small functions from images (n, 28, 28) of 0..1 to logits (n, classes), chosen by name."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from pipeline.console import PipelineError

Tensor = Any


def mlp(images: Tensor, classes: int, widths: Sequence[int], dropout: float = 0.0) -> Tensor:
    """Fully connected layers of the given widths: every pixel is a feature of its own."""
    features = layers.Flatten()(images)
    for width in widths:
        features = layers.Dense(width, use_bias=False)(features)
        features = layers.ReLU()(layers.BatchNormalization()(features))
        features = layers.Dropout(dropout)(features)
    return _classes(features, classes)


def cnn(images: Tensor, classes: int, filters: Sequence[int], dropout: float = 0.0) -> Tensor:
    """Convolutions with shared weights, the first 5x5, all others 3x3, the first and third pooled; then the classes."""
    first, second, third, *others = filters
    features = contrast(images)
    features = _convolution(features, first, kernel=5, padding="valid", pooling=2)
    features = _convolution(features, second, padding="valid")
    features = _convolution(features, third, padding="valid", pooling=2)
    for width in others:
        features = _convolution(features, width)
    return _classes(layers.Dropout(dropout)(layers.Flatten()(features)), classes)


def vgg(images: Tensor, classes: int, filters: Sequence[int], depth: int = 2, dropout: float = 0.0) -> Tensor:
    """Blocks of `depth` 3x3 convolutions, each block half the size of the one before.

    After Simonyan, Zisserman: Very deep convolutional networks (arXiv 1409.1556).
    """
    features = contrast(images)
    for width in filters:
        for step in range(depth):
            features = _convolution(features, width, pooling=2 if step == depth - 1 else 1)
    return _classes(layers.Dropout(dropout)(layers.Flatten()(features)), classes)


def residual(images: Tensor, classes: int, filters: Sequence[int], depth: int = 1) -> Tensor:
    """Stages of `depth` blocks that add to what comes in; each further stage starts at half the size.

    After He et al.: Identity mappings in deep residual networks (arXiv 1603.05027).
    """
    features = layers.Conv2D(filters[0], 5, strides=2, padding="same", use_bias=False)(contrast(images))
    for stage, width in enumerate(filters):
        for step in range(depth):
            stride = 2 if stage and step == 0 else 1
            ready = layers.ReLU()(layers.BatchNormalization()(features))
            if stride > 1 or features.shape[-1] != width:
                features = layers.Conv2D(width, 1, strides=stride, use_bias=False)(ready)
            change = _convolution(ready, width, stride=stride)
            change = layers.Conv2D(width, 3, padding="same", use_bias=False)(change)
            features = layers.Add()([features, change])
    features = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(features)))
    return _classes(layers.Flatten()(features), classes)


def densenet(images: Tensor, classes: int, growth: int, depth: int = 3, blocks: int = 2) -> Tensor:
    """Blocks of `depth` convolutions, each of which sees all that the ones before it found and adds `growth` maps.

    After Huang et al.: Densely connected convolutional networks (arXiv 1608.06993).
    """
    features = _convolution(contrast(images), 2 * growth, kernel=5, stride=2)
    for block in range(blocks):
        if block:
            features = _convolution(features, features.shape[-1] // 2, kernel=1, pooling=2)
        for _ in range(depth):
            features = layers.Concatenate()([features, _convolution(features, growth)])
    return _classes(layers.Flatten()(layers.MaxPooling2D()(features)), classes)


def plain(images: Tensor, classes: int, stack: Sequence[str]) -> Tensor:
    """Layers one after the other, as introductions write them: convolutions and dense layers with bias and ReLU.

    `stack`: words with their number, such as "conv 32" (3x3, valid), "pool 2", "norm", "dense 128", "dropout 0.5".
    """
    features = layers.Reshape((28, 28, 1))(images)
    make = {
        "conv": lambda size: layers.Conv2D(int(size), 3, activation="relu"),
        "pool": lambda size: layers.MaxPooling2D(int(size)),
        "norm": layers.BatchNormalization,
        "dense": lambda size: layers.Dense(int(size), activation="relu"),
        "dropout": lambda share: layers.Dropout(float(share)),
    }
    for words in stack:
        kind, *number = words.split()
        if kind not in make:
            raise ValueError(f"{kind!r} is none of {', '.join(make)}")
        if kind == "dense" and len(features.shape) > 2:
            features = layers.Flatten()(features)
        features = make[kind](*number)(features)
    return _classes(layers.Flatten()(features), classes)


def contrast(images: Tensor) -> Tensor:
    """Each image (n, 28, 28) with mean 0 and variance 1, as (n, 28, 28, 1): neither light nor contrast matters."""
    features = layers.Reshape((28, 28, 1))(images)
    return layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False)(features)


def _convolution(
    features: Tensor, filters: int, kernel: int = 3, stride: int = 1, padding: str = "same", pooling: int = 1
) -> Tensor:
    """Convolution, pooling, batch normalisation, ReLU; pooled first, because the rest then costs a quarter."""
    features = layers.Conv2D(filters, kernel, strides=stride, padding=padding, use_bias=False)(features)
    if pooling > 1:
        features = layers.MaxPooling2D(pooling)(features)
    return layers.ReLU()(layers.BatchNormalization()(features))


def _classes(features: Tensor, classes: int) -> Tensor:
    return layers.Dense(classes, dtype="float32")(features)


ARCHITECTURES = {function.__name__: function for function in (mlp, cnn, vgg, residual, densenet, plain)}


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


def ensemble(networks: Sequence[keras.Model]) -> keras.Model:
    """One network that gives the mean of the logits of several."""
    images = keras.Input((28, 28), name="images")
    for index, network in enumerate(networks):
        network.name = f"member_{index}"
    return keras.Model(images, layers.Average()([network(images) for network in networks]), name="ensemble")


def with_tta(network: keras.Model, pixels: int) -> keras.Model:
    """One network that gives the mean of the logits for each image moved by -`pixels` to `pixels`, on both axes."""
    images = keras.Input((28, 28), name="images")
    padded = layers.ZeroPadding2D(pixels)(layers.Reshape((28, 28, 1))(images))
    cuts = [(before, 2 * pixels - before) for before in range(2 * pixels + 1)]
    moved = layers.Concatenate()([layers.Cropping2D((rows, columns))(padded) for rows in cuts for columns in cuts])
    logits = layers.TimeDistributed(network)(layers.Permute((3, 1, 2))(moved))
    return keras.Model(images, layers.GlobalAveragePooling1D(dtype="float32")(logits), name="tta")


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
        if isinstance(layer, keras.Model):
            total += multiply_adds(layer)
        elif isinstance(layer, layers.TimeDistributed):
            total += layer.output.shape[1] * multiply_adds(layer.layer)
        elif isinstance(layer, layers.Dense):
            total += layer.kernel.shape[0] * layer.kernel.shape[1]
        elif isinstance(layer, layers.Conv2D):
            height, width = layer.output.shape[1:3]
            total += int(keras.ops.size(layer.kernel)) * height * width
    return total
