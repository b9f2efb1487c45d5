"""The training loop: trains the networks of one model on distorted images and combines them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from pipeline import tracking
from pipeline.console import PipelineError, progress, say
from pipeline.data.splits import Split
from pipeline.params import Augmentation, Model
from pipeline.training import device, parallel
from pipeline.training.architectures import build, ensemble, with_tta
from pipeline.training.augmentation import distort
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras
    import tensorflow as tf


@contextmanager
def measured_seconds() -> Iterator[dict[str, int]]:
    """Measure a training. At the end of the block, the yielded dictionary has `cpu_seconds` and `wall_seconds`.

    The CPU seconds are those of all threads of this process, and of the ensemble members that other processes train.
    """
    seconds: dict[str, int] = {}
    cpu, wall = time.process_time() + parallel.elsewhere_seconds, time.perf_counter()
    yield seconds
    cpu = time.process_time() + parallel.elsewhere_seconds - cpu
    seconds |= {"cpu_seconds": round(cpu), "wall_seconds": round(time.perf_counter() - wall)}


def fit(
    name: str,
    settings: Model,
    classes: int,
    train: Split,
    val: Split,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[keras.Model, pd.DataFrame]:
    """Train every ensemble member and log the metrics of each epoch to the active MLflow run.

    Members are trained at the same time where `parallel.run` has room for several; with `callbacks`, one after the
    other. Returns a float32 network from images (n, 28, 28) of 0..1 to logits (n, classes), and the history with one
    row per epoch, one member after the other. Raises PipelineError if the loss is not finite.
    """
    import mlflow

    say("{}: training on {device} in {precision}".format(name, **device.description(settings.precision)))
    run = mlflow.active_run()
    shared = (name, settings, classes, train, val, run and run.info.run_id)
    if settings.ensemble_size == 1 or callbacks:
        trained = [fit_member(*shared, index, callbacks) for index in range(settings.ensemble_size)]
    else:
        calls = [(index,) for index in range(settings.ensemble_size)]
        results = dict(parallel.run(fit_member, calls, shared, settings.threads))
        trained = [results[call] for call in calls]
        keras.backend.clear_session()  # names of layers, which the model's files contain, must not depend on the place
    members = []
    for weights, _ in trained:
        members.append(build(settings.architecture, classes, settings.arguments))  # float32
        members[-1].set_weights(weights)
    network = ensemble(members) if len(members) > 1 else members[0]
    network = with_tta(network, settings.tta_shift) if settings.tta_shift else network
    return network, pd.concat([history for _, history in trained], ignore_index=True)


def fit_member(
    name: str,
    settings: Model,
    classes: int,
    train: Split,
    val: Split,
    run_id: str | None,
    index: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[list[NDArray[np.floating[Any]]], pd.DataFrame]:
    """Train ensemble member `index`, from 0, with its own seed; see `fit`. Returns its weights and its history.

    `run_id`: the MLflow run that gets the metrics; None: the active one.
    """
    if parallel.is_worker:
        tracking.connect()
    settings = settings.model_copy(update={"seed": settings.seed + index})
    first_epoch = index * settings.epochs
    make_reproducible(settings)
    network = build(settings.architecture, classes, settings.arguments, device.policy(settings.precision))
    steps_per_pass = max(len(train.labels) // settings.batch_size, 1)
    passes = max(-(-settings.minimum_steps // (settings.epochs * steps_per_pass)), 1)  # above 1 for small datasets
    network.compile(
        optimizer=make_optimizer(settings, settings.epochs * passes * steps_per_pass),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing),
        metrics=["accuracy"],
    )
    with progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()) as display:
        task = display.add_task(name, total=settings.epochs * settings.ensemble_size, completed=first_epoch)

        def report(epoch: int, logs: dict[str, float]) -> None:
            import mlflow

            metrics = {key: float(value) for key, value in logs.items()}
            mlflow.log_metrics(metrics, step=first_epoch + epoch, run_id=run_id)
            description = f"{name} loss {logs['loss']:.4f} accuracy {logs['val_accuracy']:.4f}"
            display.update(task, advance=1, description=description)

        own_callbacks = [keras.callbacks.TerminateOnNaN(), keras.callbacks.LambdaCallback(on_epoch_end=report)]
        with hide_native_output():
            history = network.fit(
                batches(train, classes, settings, passes),
                steps_per_epoch=passes * steps_per_pass,
                validation_data=(val.images.astype(np.float32) / 255, keras.utils.to_categorical(val.labels, classes)),
                validation_batch_size=500,
                epochs=settings.epochs,
                callbacks=[*own_callbacks, *callbacks],
                shuffle=False,  # `batches` shuffles
                verbose=0,
            )
    rows = pd.DataFrame(history.history)
    rows.insert(0, "epoch", first_epoch + np.arange(len(rows)))
    if len(rows) < settings.epochs or not np.isfinite(rows.to_numpy()).all():
        raise PipelineError(f"{name}: the loss is not finite after epoch {len(rows)}; lower optimizer.learning_rate")
    return network.get_weights(), rows


def make_reproducible(settings: Model) -> None:
    """Seed all random generators and fix the number of threads, which sets the order of floating-point sums."""
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    if device.gpus():
        tf.config.experimental.enable_tensor_float_32_execution(False)  # float32 with all its digits, as on a CPU
    if tf.config.threading.get_intra_op_parallelism_threads() != settings.threads:
        tf.config.threading.set_intra_op_parallelism_threads(settings.threads)


def make_optimizer(settings: Model, steps: int) -> keras.optimizers.Optimizer:
    """Returns the optimizer with its learning-rate schedule over `steps` training steps.

    Raises PipelineError for a constant schedule with warm-up.
    """
    optimizer, schedule = settings.optimizer, settings.schedule
    rate: Any = optimizer.learning_rate
    if schedule.name == "cosine":
        warmup = int(steps * schedule.warmup)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate, max(steps - warmup, 1), warmup_target=rate if warmup else None, warmup_steps=warmup
        )
    elif schedule.warmup:
        raise PipelineError("schedule: a constant learning rate has no warm-up; set schedule.warmup to 0")
    kind = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "sgd": "SGD"}[optimizer.name]
    moments = {"beta_2": optimizer.beta_2} if optimizer.name in ("adam", "adamw") else {}
    average = {"use_ema": True, "ema_momentum": optimizer.ema} if optimizer.ema else {}
    return getattr(keras.optimizers, kind)(rate, weight_decay=optimizer.weight_decay, **moments, **average)


def batches(split: Split, classes: int, settings: Model, passes: int = 1) -> tf.data.Dataset:
    """Shuffled, distorted batches of all epochs: float32 images (b, 28, 28) of 0..1, one-hot labels (b, classes).

    One epoch covers the images `passes` times. Distortions are weaker in the `final_phase` of training.
    """
    size = min(settings.batch_size, len(split.labels))
    repeats, augmentation = settings.epochs * passes, settings.augmentation
    final_strength = augmentation.final_phase_strength if augmentation.final_phase else 1.0
    final_phase_from = round((1 - augmentation.final_phase) * repeats * (len(split.labels) // size))
    labels = keras.utils.to_categorical(split.labels, classes)
    data = tf.data.Dataset.from_tensor_slices((split.images, labels))
    data = data.shuffle(len(split.labels), seed=settings.seed, reshuffle_each_iteration=True)
    data = data.batch(size, drop_remainder=True).repeat(repeats).enumerate()
    seeds = tf.data.Dataset.random(settings.seed).batch(2)

    def augment(numbered: tuple[Any, tuple[Any, Any]], seed: Any) -> tuple[Any, Any]:
        step, (pixels, targets) = numbered
        images = tf.cast(pixels, tf.float32) / 255
        if augmentation == Augmentation():
            return images, targets
        strength = tf.where(step < final_phase_from, 1.0, final_strength)
        return distort(images, tf.cast(seed % 2**31, tf.int32), augmentation, strength), targets

    augment = tf.autograph.experimental.do_not_convert(augment)  # no control flow depends on tensors: saves 2 s
    return tf.data.Dataset.zip(data, seeds).map(augment, tf.data.AUTOTUNE, deterministic=True).prefetch(2)
