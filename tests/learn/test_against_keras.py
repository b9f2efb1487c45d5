"""The optimizers and initializers agree with Keras."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import pytest
import tensorflow as tf

from learn.from_scratch import optimizers, regularization
from tests.learn.test_against_tensorflow import close

RNG = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def reset_random_numbers():
    """Give every test the same random numbers, whatever tests ran before it."""
    RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state


RATE = 2.0**-7  # Keras stores a learning rate as float32, which represents this value exactly


def keras_steps(optimizer, start, steps):
    variable = keras.Variable(start, dtype="float64")
    for gradient in steps:
        optimizer.apply([tf.constant(gradient)], [variable])
    return variable.numpy()


def test_gradient_descent_and_momentum():
    start, steps = RNG.normal(size=5), RNG.normal(size=(6, 5))
    plain = with_momentum = start
    velocity = np.zeros(5)
    for gradient in steps:
        plain = optimizers.gradient_descent(plain, gradient, RATE)
        velocity = optimizers.momentum_velocity(velocity, gradient, 0.75)
        with_momentum = optimizers.gradient_descent(with_momentum, velocity, RATE)
    close(plain - start, keras_steps(keras.optimizers.SGD(RATE), start, steps) - start)
    close(with_momentum - start, keras_steps(keras.optimizers.SGD(RATE, momentum=0.75), start, steps) - start)


def test_adam():
    beta_1, beta_2 = 0.875, 0.984375  # Keras stores them as float32, which represents these values exactly
    start, steps = RNG.normal(size=5), RNG.normal(size=(6, 5))
    ours, mean, square = start, np.zeros(5), np.zeros(5)
    for step, gradient in enumerate(steps, 1):
        mean, square = optimizers.adam_moments(mean, square, gradient, beta_1, beta_2)
        corrected = optimizers.adam_bias_correction(mean, square, step, beta_1, beta_2)
        # Keras adds epsilon before the bias correction, the paper after it; a tiny epsilon hides the difference.
        ours = optimizers.adam_update(ours, *corrected, RATE, epsilon=1e-14)
    theirs = keras_steps(keras.optimizers.Adam(RATE, beta_1, beta_2, epsilon=1e-14), start, steps)
    close(ours - start, theirs - start)


def test_adam_adds_epsilon_to_the_square_root():
    start, gradient = RNG.normal(size=5), RNG.normal(size=5)
    mean, square = optimizers.adam_moments(np.zeros(5), np.zeros(5), gradient, 0.875, 0.75)
    # In the first step, Keras multiplies epsilon by 1 / sqrt(1 - beta_2) = 2.
    ours = optimizers.adam_update(start, *optimizers.adam_bias_correction(mean, square, 1, 0.875, 0.75), RATE, 0.25)
    theirs = keras_steps(keras.optimizers.Adam(RATE, 0.875, 0.75, epsilon=0.125), start, [gradient])
    close(ours - start, theirs - start)


def test_initializers_have_the_standard_deviation_of_keras():
    rng = np.random.default_rng(0)
    shape = (300, 200)
    glorot = regularization.glorot_uniform(*shape, rng)
    he = regularization.he_normal(*shape, rng)
    theirs = np.asarray(keras.initializers.GlorotUniform(seed=0)(shape))
    assert np.abs(glorot).max() == pytest.approx(np.abs(theirs).max(), rel=1e-3)
    assert glorot.std() == pytest.approx(theirs.std(), rel=0.02)
    assert he.std() == pytest.approx(np.asarray(keras.initializers.HeNormal(seed=0)(shape)).std(), rel=0.02)
    assert he.std() == pytest.approx((2 / 300) ** 0.5, rel=0.02)
