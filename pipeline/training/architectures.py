"""Network architectures, chosen by name: functions from images (n, 28, 28) of 0..1 to logits (n, classes)."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from pipeline.console import PipelineError
from recognition.image_format import IMAGE_SIZE

IMAGE_SHAPE = (IMAGE_SIZE, IMAGE_SIZE)
Tensor = Any


def mlp(images: Tensor, classes: int, widths: Sequence[int], dropout: float = 0.0) -> Tensor:
    """Fully connected layers of the given widths, each with batch normalization, ReLU and dropout."""
    features = layers.Flatten()(standardize(images))
    for width in widths:
        features = layers.Dense(width, use_bias=False)(features)
        features = layers.ReLU()(layers.BatchNormalization()(features))
        features = layers.Dropout(dropout)(features)
    return _logits(features, classes)


def cnn(images: Tensor, classes: int, filters: Sequence[int], dropout: float = 0.0) -> Tensor:
    """One 5x5 convolution, then 3x3 convolutions. The first and the third are followed by max pooling."""
    first, second, third, *others = filters
    features = standardize(images)
    features = _convolution(features, first, kernel=5, padding="valid", pooling=2)
    features = _convolution(features, second, padding="valid")
    features = _convolution(features, third, padding="valid", pooling=2)
    for width in others:
        features = _convolution(features, width)
    return _logits(layers.Dropout(dropout)(layers.Flatten()(features)), classes)


def vgg(images: Tensor, classes: int, filters: Sequence[int], depth: int = 2, dropout: float = 0.0) -> Tensor:
    """Blocks of `depth` 3x3 convolutions and max pooling (Simonyan and Zisserman, arXiv 1409.1556)."""
    features = standardize(images)
    for width in filters:
        for step in range(depth):
            features = _convolution(features, width, pooling=2 if step == depth - 1 else 1)
    return _logits(layers.Dropout(dropout)(layers.Flatten()(features)), classes)


def residual(images: Tensor, classes: int, filters: Sequence[int], depth: int = 1) -> Tensor:
    """Stages of `depth` pre-activation residual blocks, each further stage at half the size (He, arXiv 1603.05027)."""
    features = layers.Conv2D(filters[0], 5, strides=2, padding="same", use_bias=False)(standardize(images))
    for stage, width in enumerate(filters):
        for step in range(depth):
            stride = 2 if stage and step == 0 else 1
            activated = layers.ReLU()(layers.BatchNormalization()(features))
            if stride > 1 or features.shape[-1] != width:
                features = layers.Conv2D(width, 1, strides=stride, use_bias=False)(activated)
            change = _convolution(activated, width, stride=stride)
            change = layers.Conv2D(width, 3, padding="same", use_bias=False)(change)
            features = layers.Add()([features, change])
    features = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(features)))
    return _logits(layers.Flatten()(features), classes)


def densenet(images: Tensor, classes: int, growth: int, depth: int = 3, blocks: int = 2) -> Tensor:
    """Dense blocks: each of `depth` convolutions adds `growth` maps to all maps before it (Huang, arXiv 1608.06993)."""
    features = _convolution(standardize(images), 2 * growth, kernel=5, stride=2)
    for block in range(blocks):
        if block:
            features = _convolution(features, features.shape[-1] // 2, kernel=1, pooling=2)
        for _ in range(depth):
            features = layers.Concatenate()([features, _convolution(features, growth)])
    return _logits(layers.Flatten()(layers.MaxPooling2D()(features)), classes)


def plain(images: Tensor, classes: int, stack: Sequence[str]) -> Tensor:
    """A stack of layers as in introductory tutorials; convolutions and dense layers have a bias and ReLU.

    `stack`: layer descriptions such as "conv 32" (3x3, valid), "pool 2", "norm", "dense 128", "dropout 0.5".
    """
    features = layers.Reshape((*IMAGE_SHAPE, 1))(images)
    make_layer = {
        "conv": lambda size: layers.Conv2D(int(size), 3, activation="relu"),
        "pool": lambda size: layers.MaxPooling2D(int(size)),
        "norm": layers.BatchNormalization,
        "dense": lambda size: layers.Dense(int(size), activation="relu"),
        "dropout": lambda rate: layers.Dropout(float(rate)),
    }
    for description in stack:
        kind, *number = description.split()
        if kind not in make_layer:
            raise ValueError(f"unknown layer {kind!r}; known layers: {', '.join(make_layer)}")
        if kind == "dense" and len(features.shape) > 2:
            features = layers.Flatten()(features)
        features = make_layer[kind](*number)(features)
    return _logits(layers.Flatten()(features), classes)


def standardize(images: Tensor) -> Tensor:
    """Scale each image to mean 0 and variance 1, which removes brightness and contrast; returns (n, 28, 28, 1)."""
    features = layers.Reshape((*IMAGE_SHAPE, 1))(images)
    return layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False)(features)


def _convolution(
    features: Tensor, filters: int, kernel: int = 3, stride: int = 1, padding: str = "same", pooling: int = 1
) -> Tensor:
    """Convolution, max pooling, batch normalization, ReLU. Pooling comes early to make the rest cheaper."""
    features = layers.Conv2D(filters, kernel, strides=stride, padding=padding, use_bias=False)(features)
    if pooling > 1:
        features = layers.MaxPooling2D(pooling)(features)
    return layers.ReLU()(layers.BatchNormalization()(features))


def _logits(features: Tensor, classes: int) -> Tensor:
    return layers.Dense(classes, dtype="float32")(features)


ARCHITECTURES = {function.__name__: function for function in (mlp, cnn, vgg, residual, densenet, plain)}


def build(architecture: str, classes: int, arguments: dict[str, Any], policy: str = "float32") -> keras.Model:
    """Returns a network with initial weights, from images (n, 28, 28) of 0..1 to float32 logits (n, classes).

    `policy`: Keras' dtype policy, such as "mixed_bfloat16". Raises PipelineError for an unknown architecture or invalid
    arguments.
    """
    if architecture not in ARCHITECTURES:
        raise PipelineError(f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}")
    function = ARCHITECTURES[architecture]
    keras.mixed_precision.set_global_policy(policy)
    images = keras.Input(IMAGE_SHAPE, name="images")
    try:
        return keras.Model(images, function(images, classes, **arguments), name=architecture)
    except (TypeError, ValueError) as error:
        accepted = ", ".join(list(inspect.signature(function).parameters)[2:])
        reason = str(error).splitlines()[0]
        raise PipelineError(f"architecture {architecture} accepts {accepted}; found {arguments}: {reason}") from None


def ensemble(members: Sequence[keras.Model]) -> keras.Model:
    """Returns a network whose logits are the mean of the members' logits. Renames the members."""
    images = keras.Input(IMAGE_SHAPE, name="images")
    for index, member in enumerate(members):
        member.name = f"member_{index}"
    return keras.Model(images, layers.Average()([member(images) for member in members]), name="ensemble")


def with_tta(network: keras.Model, max_shift: int) -> keras.Model:
    """Add test-time augmentation: mean logits over all shifts of -`max_shift` to `max_shift` pixels on both axes."""
    images = keras.Input(IMAGE_SHAPE, name="images")
    padded = layers.ZeroPadding2D(max_shift)(layers.Reshape((*IMAGE_SHAPE, 1))(images))
    cuts = [(before, 2 * max_shift - before) for before in range(2 * max_shift + 1)]
    shifted = layers.Concatenate()([layers.Cropping2D((rows, columns))(padded) for rows in cuts for columns in cuts])
    logits = layers.TimeDistributed(network)(layers.Permute((3, 1, 2))(shifted))
    return keras.Model(images, layers.GlobalAveragePooling1D(dtype="float32")(logits), name="tta")


def with_probabilities(network: keras.Model, temperature: float) -> keras.Model:
    """Returns the model to export: from images (n, 28, 28) of 0..255 to softmax(logits / temperature)."""
    images = keras.Input(IMAGE_SHAPE, name="images")
    logits = network(layers.Rescaling(1 / 255)(images))
    probabilities = layers.Softmax(dtype="float32")(layers.Rescaling(1 / temperature, dtype="float32")(logits))
    return keras.Model(images, probabilities, name="classifier")


def multiply_adds(network: keras.Model) -> int:
    """Number of multiply-add operations per image in the dense and convolutional layers."""
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
