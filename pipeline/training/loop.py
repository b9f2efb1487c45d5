"""pipeline.training.loop."""

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from pipeline.console import PipelineError, progress
from pipeline.data.splits import Split
from pipeline.params import Augmentation, Model
from pipeline.training.architectures import build, ensemble, with_tta
from pipeline.training.augmentation import distort
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras
    import tensorflow as tf


def uses_bfloat16(precision: str) -> bool:
    """Whether to compute in bfloat16: as told, or by what the processor says of itself."""
    if precision == "auto":
        information = Path("/proc/cpuinfo")
        return information.exists() and "avx512_bf16" in information.read_text()
    return precision == "bfloat16"


def cpu_seconds() -> float:
    """Processor time that this process has used so far, over all cores."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def fit(
    name: str,
    settings: Model,
    classes: int,
    bfloat16: bool,
    train: Split,
    val: Split,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[keras.Model, pd.DataFrame]:
    """Train every member; returns the network in float32 and one row per epoch, members one after the other.

    Raises PipelineError when the loss is not finite.
    """
    networks, histories = [], []
    for member in range(settings.ensemble_size):
        own = settings.model_copy(update={"seed": settings.seed + member})
        network, history = fit_member(name, own, classes, bfloat16, train, val, callbacks, member * settings.epochs)
        networks.append(network)
        histories.append(history)
    network = ensemble(networks) if len(networks) > 1 else networks[0]
    network = with_tta(network, settings.tta_shift) if settings.tta_shift else network
    return network, pd.concat(histories, ignore_index=True)


def fit_member(
    name: str,
    settings: Model,
    classes: int,
    bfloat16: bool,
    train: Split,
    val: Split,
    callbacks: Sequence[keras.callbacks.Callback],
    epochs_before: int,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train one network with the settings' seed; its epochs are counted on from `epochs_before`."""
    make_reproducible(settings)
    network = build(settings.architecture, classes, settings.arguments, bfloat16)
    steps_per_pass = max(len(train.labels) // settings.batch_size, 1)
    passes = max(-(-settings.minimum_steps // (settings.epochs * steps_per_pass)), 1)  # more than 1 on small datasets
    network.compile(
        optimizer=make_optimizer(settings, settings.epochs * passes * steps_per_pass),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing),
        metrics=["accuracy"],
    )
    with progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()) as display:
        task = display.add_task(name, total=settings.epochs * settings.ensemble_size, completed=epochs_before)

        def report(epoch: int, logs: dict[str, float]) -> None:
            import mlflow

            figures = {key: float(value) for key, value in logs.items()}
            mlflow.log_metrics(figures, step=epochs_before + epoch)
            words = f"{name} loss {figures['loss']:.4f} accuracy {figures['val_accuracy']:.4f}"
            display.update(task, advance=1, description=words)

        with hide_native_output():
            history = network.fit(
                batches(train, classes, settings, passes),
                steps_per_epoch=passes * steps_per_pass,
                validation_data=(val.images.astype(np.float32) / 255, keras.utils.to_categorical(val.labels, classes)),
                validation_batch_size=500,
                epochs=settings.epochs,
                callbacks=[
                    keras.callbacks.TerminateOnNaN(),
                    keras.callbacks.LambdaCallback(on_epoch_end=report),
                    *callbacks,
                ],
                shuffle=False,  # `batches` does
                verbose=0,
            )
    rows = pd.DataFrame(history.history)
    rows.insert(0, "epoch", epochs_before + np.arange(len(rows)))
    if len(rows) < settings.epochs or not np.isfinite(rows.to_numpy()).all():
        raise PipelineError(f"{name}: the loss is not finite after epoch {len(rows)}; lower optimizer.learning_rate")
    plain = build(settings.architecture, classes, settings.arguments)
    plain.set_weights(network.get_weights())
    return plain, rows


def make_reproducible(settings: Model) -> None:
    """Seed everything and fix the number of threads: sums in another order round otherwise."""
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    if tf.config.threading.get_intra_op_parallelism_threads() != settings.threads:
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)


def make_optimizer(settings: Model, steps: int) -> keras.optimizers.Optimizer:
    """The optimiser of `settings` with its learning rate over `steps` steps."""
    chosen, schedule = settings.optimizer, settings.schedule
    rate: Any = chosen.learning_rate
    if schedule.name == "cosine":
        warmup = int(steps * schedule.warmup)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate, max(steps - warmup, 1), warmup_target=rate if warmup else None, warmup_steps=warmup
        )
    elif schedule.warmup:
        raise PipelineError("schedule: a constant learning rate has no warm-up; set schedule.warmup to 0")
    kind = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "sgd": "SGD"}[chosen.name]
    moments = {"beta_2": chosen.beta_2} if chosen.name in ("adam", "adamw") else {}
    average = {"use_ema": True, "ema_momentum": chosen.ema} if chosen.ema else {}
    return getattr(keras.optimizers, kind)(rate, weight_decay=chosen.weight_decay, **moments, **average)


def batches(split: Split, classes: int, settings: Model, passes: int = 1) -> tf.data.Dataset:
    """Shuffled, distorted batches of all epochs: float32 (b, 28, 28) of 0..1, one-hot labels (b, classes).

    An epoch is `passes` times over the images. In the last share of them, `final_phase`, all distortions are weaker.
    """
    size = min(settings.batch_size, len(split.labels))
    times, distortions = settings.epochs * passes, settings.augmentation
    final_phase_from = round((1 - distortions.final_phase) * times * (len(split.labels) // size))
    labels = keras.utils.to_categorical(split.labels, classes)
    data = tf.data.Dataset.from_tensor_slices((split.images, labels))
    data = data.shuffle(len(split.labels), seed=settings.seed, reshuffle_each_iteration=True)
    data = data.batch(size, drop_remainder=True).repeat(times).enumerate()
    seeds = tf.data.Dataset.random(settings.seed).batch(2)

    def prepare(numbered: tuple[Any, tuple[Any, Any]], seed: Any) -> tuple[Any, Any]:
        step, (pixels, answers) = numbered
        images = tf.cast(pixels, tf.float32) / 255
        if distortions == Augmentation():
            return images, answers
        strength = tf.where(step < final_phase_from, 1.0, distortions.final_phase_strength)
        return distort(images, tf.cast(seed % 2**31, tf.int32), distortions, strength), answers

    return tf.data.Dataset.zip(data, seeds).map(prepare, tf.data.AUTOTUNE, deterministic=True).prefetch(2)
