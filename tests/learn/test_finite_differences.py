"""Every derived gradient agrees with central differences."""

import numpy as np
import pytest

from learn.from_scratch import convolution, layers, losses, network, regularization
from learn.from_scratch.network import numerical_gradient

RNG = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def reset_random_numbers():
    """Give every test the same random numbers, whatever tests ran before it."""
    RNG.bit_generator.state = np.random.default_rng(11).bit_generator.state


def close(derived, numerical):
    np.testing.assert_allclose(derived, numerical, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_activations(name):
    z = RNG.normal(size=30)
    numerical = numerical_gradient(lambda z: getattr(layers, name)(z).sum(), z)
    close(getattr(layers, f"{name}_derivative")(z), numerical)


def test_softmax_jacobian_rows():
    z = RNG.normal(size=4)
    for i, row in enumerate(losses.softmax_jacobian(z)):
        close(row, numerical_gradient(lambda z, i=i: losses.softmax(z)[i], z))


def test_cross_entropy():
    logits, labels = RNG.normal(size=(5, 4)), RNG.integers(0, 4, 5)
    numerical = numerical_gradient(lambda z: losses.cross_entropy(z, labels), logits)
    close(losses.cross_entropy_gradient(logits, labels), numerical)


def test_network():
    net = [network.Layer(RNG.normal(size=shape), RNG.normal(size=shape[1])) for shape in [(5, 4), (4, 4), (4, 3)]]
    x, labels = RNG.normal(size=(6, 5)), RNG.integers(0, 3, 6)
    gradient = network.backward(net, x, labels)

    def loss(index, field, value):
        changed = [*net[:index], net[index]._replace(**{field: value}), *net[index + 1 :]]
        return losses.cross_entropy(network.forward(changed, x)[0][-1], labels)

    for index, layer in enumerate(net):
        for field in layer._fields:
            numerical = numerical_gradient(lambda v, i=index, f=field: loss(i, f, v), getattr(layer, field))
            close(getattr(gradient[index], field), numerical)


def test_batch_normalization():
    x, scale, shift, delta = (RNG.normal(size=shape) for shape in [(6, 3), (3,), (3,), (6, 3)])
    numerical = numerical_gradient(lambda x: (regularization.batch_normalize(x, scale, shift) * delta).sum(), x)
    close(regularization.batch_normalize_gradient(x, delta, scale)[0], numerical)


def test_convolution():
    images, kernels, bias = RNG.normal(size=(2, 6, 5, 2)), RNG.normal(size=(3, 2, 2, 3)), RNG.normal(size=3)
    delta = RNG.normal(size=convolution.convolve(images, kernels, bias, 2).shape)
    gradient = convolution.convolve_gradient(images, delta, kernels, 2)

    def loss(kernels, bias, images):
        return (convolution.convolve_direct(images, kernels, bias, 2) * delta).sum()

    close(gradient[0], numerical_gradient(lambda k: loss(k, bias, images), kernels))
    close(gradient[1], numerical_gradient(lambda b: loss(kernels, b, images), bias))
    close(gradient[2], numerical_gradient(lambda x: loss(kernels, bias, x), images))


def test_max_pooling():
    images = RNG.normal(size=(2, 4, 6, 2))
    delta = RNG.normal(size=convolution.max_pool(images).shape)
    numerical = numerical_gradient(lambda x: (convolution.max_pool(x) * delta).sum(), images)
    close(convolution.max_pool_gradient(images, delta), numerical)
