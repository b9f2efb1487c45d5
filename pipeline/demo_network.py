"""Stage `demo_network`: train the small multilayer perceptron whose activations the page shows; it serves no requests.

The page reads demo_network.bin, little-endian: the header's length (uint32), the header (JSON padded with spaces to a
multiple of 4 bytes: dataset, accuracy, widths), then for each layer float32 scales (outputs,), float32 biases
(outputs,) and int8 weights (inputs, outputs). A weight is its int8 value times the scale of its output.
"""

import json
import struct

import numpy as np
from numpy.typing import NDArray

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, load_split
from pipeline.files import write_bytes
from pipeline.params import DemoNetwork, load_params
from pipeline.paths import DEMO_NETWORK
from recognition.classifier import Classifier
from recognition.image_format import IMAGE_SIZE
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras
    import tensorflow as tf

from pipeline.training import device
from pipeline.training.augmentation import distort
from pipeline.training.export import convert

Layer = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int8]]  # scales, biases, weights


def main() -> None:
    settings = load_params().demo_network
    train, val = load_split("train"), load_split("val")
    say("demo network: training on {device} in {precision}".format(**device.description("float32")))
    network = build(settings, len(load_dataset(train.dataset).classes))
    fit(network, train, settings)
    layers = quantize_weights(network)
    exported = convert(keras.Sequential([network, keras.layers.Softmax()]), quantize=False)
    accuracy = float((Classifier(exported).probabilities(val.images).argmax(1) == val.labels).mean())
    content = pack({"dataset": train.dataset, "accuracy": round(accuracy, 4)}, layers)
    write_bytes(DEMO_NETWORK.with_suffix(".tflite"), exported)
    write_bytes(DEMO_NETWORK, content)
    say(f"demo network: {accuracy:.2%} of the validation images correct, {len(content):,} bytes")


def build(settings: DemoNetwork, classes: int) -> keras.Sequential:
    """Returns a network with initial weights, from images (n, 28, 28) of 0..255 to logits (n, classes)."""
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    hidden = [keras.layers.Dense(width, activation="relu") for width in settings.widths]
    first = [keras.Input((IMAGE_SIZE, IMAGE_SIZE)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    return keras.Sequential([*first, *hidden, keras.layers.Dense(classes)])


def fit(network: keras.Sequential, train: Split, settings: DemoNetwork) -> None:
    """Train on distorted images, for at least `minimum_steps` batches."""
    size = min(settings.batch_size, len(train.labels))
    steps = max(settings.epochs * (len(train.labels) // size), settings.minimum_steps)
    data = tf.data.Dataset.from_tensor_slices((train.images, train.labels.astype(np.int32)))
    data = data.shuffle(len(train.labels), seed=settings.seed).batch(size, drop_remainder=True).repeat().take(steps)

    def augment(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        seed = tf.stack([settings.seed, tf.cast(step, tf.int32)])
        return 255 * distort(tf.cast(batch[0], tf.float32) / 255, seed, settings.augmentation), batch[1]

    augment = tf.autograph.experimental.do_not_convert(augment)  # no control flow depends on tensors: saves 2 s
    data = tf.data.Dataset.zip(tf.data.Dataset.counter(), data).map(augment).prefetch(2)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    network.fit(data, shuffle=False, verbose=0)


def quantize_weights(network: keras.Sequential) -> list[Layer]:
    """Round the weights of each dense layer to int8 times one scale per output, also in `network` itself."""
    quantized = []
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dense):
            kernel, bias = layer.get_weights()
            scale = np.maximum(np.abs(kernel).max(axis=0) / 127, 1e-12).astype(np.float32)
            weights = np.rint(kernel / scale).astype(np.int8)
            layer.set_weights([weights * scale, bias])
            quantized.append((scale, bias, weights))
    return quantized


def pack(header: dict[str, object], layers: list[Layer]) -> bytes:
    """Returns the content of demo_network.bin; `header` is extended by the widths of the layers."""
    widths = [len(layers[0][2]), *(len(bias) for _, bias, _ in layers)]
    text = json.dumps({**header, "widths": widths}).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + b"".join(part.tobytes() for layer in layers for part in layer)


if __name__ == "__main__":
    run_main(main)
