"""Every forward and backward function agrees with TensorFlow in float64, to a relative error of 1e-6."""

import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import pytest
import tensorflow as tf

from learn.from_scratch import convolution, layers, losses, network, neurons, regularization

RNG = np.random.default_rng(7)


@pytest.fixture(autouse=True)
def reset_random_numbers():
    """Give every test the same random numbers, whatever tests ran before it."""
    RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-6, atol=1e-12)


def gradients(function, *arrays):
    """Return the value of `function` and its gradients with respect to `arrays`, computed by TensorFlow."""
    variables = [tf.constant(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        value = function(*variables)
    return value, tape.gradient(value, variables)


def weighted_sum(output, weights):
    """A scalar loss whose gradient with respect to `output` is `weights`."""
    return tf.reduce_sum(output * weights)


def test_inner_product_and_pre_activation():
    x, w = RNG.normal(size=(2, 9))
    close(neurons.inner_product(x, w), tf.tensordot(x, w, 1))
    close(neurons.pre_activation(x, w, 0.3), tf.tensordot(x, w, 1) + 0.3)


def test_perceptron_and_signed_distance():
    w = RNG.normal(size=4)
    for x in RNG.normal(size=(20, 4)):
        z = tf.tensordot(x, w, 1) - 0.2
        assert neurons.perceptron(x, w, -0.2) == int(z > 0)
        close(neurons.signed_distance(x, w, -0.2), z / tf.norm(w))


def test_perceptron_update_is_a_gradient_step_on_the_perceptron_loss():
    x, w = RNG.normal(size=(2, 4))
    for target in (0, 1):
        error = target - neurons.perceptron(x, w, 0.1)
        _, (by_w, by_b) = gradients(lambda w, b, e=error: -e * (tf.tensordot(x, w, 1) + b), w, np.float64(0.1))
        new_w, new_b = neurons.perceptron_update(x, target, w, 0.1)
        close(new_w, w - by_w)
        close(new_b, 0.1 - by_b)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_activation_and_its_derivative(name):
    z = np.concatenate([RNG.normal(size=50), [-700.0, 0.0, 700.0]])
    value, (derivative,) = gradients(getattr(tf.nn, name), z)
    close(getattr(layers, name)(z), value)
    close(getattr(layers, f"{name}_derivative")(z), derivative)
    d_output = RNG.normal(size=z.shape)
    _, (d_z,) = gradients(lambda z: weighted_sum(getattr(tf.nn, name)(z), d_output), z)
    close(layers.activation_gradient(d_output, getattr(layers, f"{name}_derivative")(z)), d_z)


def test_dense_layer_forward_and_backward():
    x, weights, bias, delta = (RNG.normal(size=shape) for shape in [(5, 4), (4, 3), (3,), (5, 3)])
    close(layers.dense(x, weights, bias), x @ weights + tf.constant(bias))
    _, expected = gradients(lambda w, b, x: weighted_sum(x @ w + b, delta), weights, bias, x)
    for ours, theirs in zip(layers.dense_gradient(x, delta, weights), expected, strict=True):
        close(ours, theirs)
    one = layers.dense_gradient_one(x[0], delta[0], weights)
    _, expected = gradients(
        lambda w, b, x: weighted_sum(tf.linalg.matvec(w, x, transpose_a=True) + b, delta[0]), weights, bias, x[0]
    )
    for ours, theirs in zip(one, expected, strict=True):
        close(ours, theirs)


def test_two_dense_layers_without_activation_collapse_to_one():
    x, w1, b1, w2, b2 = (RNG.normal(size=shape) for shape in [(5, 4), (4, 6), (6,), (6, 3), (3,)])
    weights, bias = layers.collapse((w1, b1), (w2, b2))
    close(layers.dense(x, weights, bias), (tf.constant(x) @ w1 + b1) @ w2 + b2)


def test_softmax_cross_entropy_and_their_derivatives():
    logits, labels = RNG.normal(scale=5, size=(6, 4)), RNG.integers(0, 4, 6)
    close(losses.softmax(logits), tf.nn.softmax(logits))
    close(losses.tempered_softmax(logits, 1.7), tf.nn.softmax(logits / 1.7))
    loss, (by_logits,) = gradients(
        lambda z: tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, z)), logits
    )
    close(losses.cross_entropy(logits, labels), loss)
    close(losses.cross_entropy_gradient(logits, labels), by_logits)
    with tf.GradientTape() as tape:
        z = tf.constant(logits[0])
        tape.watch(z)
        p = tf.nn.softmax(z)
    close(losses.softmax_jacobian(logits[0]), tape.jacobian(p, z))


def test_large_logits_do_not_overflow():
    logits = np.array([[1000.0, 0.0]])
    assert losses.softmax(logits).tolist() == [[1.0, 0.0]]
    assert losses.cross_entropy(logits, np.array([1])) == 1000.0


def mlp(sizes):
    return [network.Layer(RNG.normal(size=(d, k)), RNG.normal(size=k)) for d, k in itertools.pairwise(sizes)]


@pytest.mark.parametrize("sizes", [(7, 3), (7, 6, 3), (7, 6, 5, 4, 3)])
def test_whole_network_forward_and_backward(sizes):
    net, x, labels = mlp(sizes), RNG.normal(size=(8, 7)), RNG.integers(0, 3, 8)

    def loss(*flat):
        a = tf.constant(x)
        for index in range(0, len(flat), 2):
            z = a @ flat[index] + flat[index + 1]
            a = tf.nn.relu(z)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, z))

    value, expected = gradients(loss, *[array for layer in net for array in layer])
    close(losses.cross_entropy(network.forward(net, x)[0][-1], labels), value)
    ours = [array for layer in network.backward(net, x, labels) for array in layer]
    for mine, theirs in zip(ours, expected, strict=True):
        close(mine, theirs)


def test_central_differences():
    x = RNG.normal(size=(2, 3))
    _, (expected,) = gradients(lambda x: tf.reduce_sum(tf.sin(x)), x)
    close(network.numerical_gradient(lambda x: float(np.sin(x).sum()), x), expected)


def test_dropout():
    x = RNG.normal(size=(100, 40))
    theirs = tf.nn.dropout(x, 0.3, seed=1).numpy()
    uniform = np.where(theirs == 0, 0.1, 0.9)  # random numbers that give TensorFlow's mask
    close(regularization.dropout(x, 0.3, uniform), theirs)
    assert (regularization.dropout(x, 0.3, RNG.random(x.shape)) == 0).mean() == pytest.approx(0.3, abs=0.03)


def test_batch_normalization_forward_and_backward_and_running_averages():
    x, scale, shift, delta = (RNG.normal(size=shape) for shape in [(8, 3), (3,), (3,), (8, 3)])

    def forward(x, scale, shift):
        mean, variance = tf.nn.moments(x, axes=[0])
        return tf.nn.batch_normalization(x, mean, variance, shift, scale, 1e-3)

    close(regularization.batch_normalize(x, scale, shift), forward(x, scale, shift))
    _, expected = gradients(lambda *inputs: weighted_sum(forward(*inputs), delta), x, scale, shift)
    for ours, theirs in zip(regularization.batch_normalize_gradient(x, delta, scale), expected, strict=True):
        close(ours, theirs)
    layer = keras.layers.BatchNormalization(momentum=0.75, dtype="float64")
    layer(x, training=True)
    close(regularization.running_average(np.zeros(3), x.mean(axis=0), 0.75), layer.moving_mean)
    close(regularization.running_average(np.ones(3), x.var(axis=0), 0.75), layer.moving_variance)


@pytest.mark.parametrize(("size", "kernel", "stride"), [((7, 6), (3, 2), 1), ((8, 9), (3, 3), 2), ((5, 5), (5, 5), 1)])
def test_convolution_forward_and_backward(size, kernel, stride):
    images, kernels = RNG.normal(size=(2, *size, 3)), RNG.normal(size=(*kernel, 3, 4))
    bias = RNG.normal(size=4)

    def forward(kernels, bias, images):
        return tf.nn.conv2d(images, kernels, stride, "VALID") + bias

    expected = forward(kernels, bias, images)
    close(convolution.convolve_direct(images, kernels, bias, stride), expected)
    close(convolution.convolve(images, kernels, bias, stride), expected)
    sizes = [convolution.output_size(n, k, stride) for n, k in zip(size, kernel, strict=True)]
    assert expected.shape == (2, *sizes, 4)
    delta = RNG.normal(size=expected.shape)
    _, derivatives = gradients(lambda *inputs: weighted_sum(forward(*inputs), delta), kernels, bias, images)
    for ours, theirs in zip(convolution.convolve_gradient(images, delta, kernels, stride), derivatives, strict=True):
        close(ours, theirs)


def test_im2col_and_its_transpose_col2im():
    images = RNG.normal(size=(2, 7, 6, 3))
    theirs = tf.image.extract_patches(images, [1, 3, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID").numpy()
    ours = convolution.im2col(images, 3, 2, 2)
    close(ours, theirs.reshape(-1, 18))
    patches = RNG.normal(size=ours.shape)
    close((ours * patches).sum(), (images * convolution.col2im(patches, images.shape, 3, 2, 2)).sum())


def test_output_size_with_padding():
    kernel = np.ones((5, 5, 1, 1))
    padded = tf.nn.conv2d(np.ones((1, 28, 28, 1)), kernel, 2, [[0, 0], [2, 2], [2, 2], [0, 0]])
    assert padded.shape[1] == convolution.output_size(28, 5, stride=2, padding=2) == 14


def test_convolution_matrix_forward_and_backward():
    image, kernel = RNG.normal(size=(5, 4)), RNG.normal(size=(3, 2))
    matrix = convolution.convolution_matrix(kernel, 5, 4)
    delta = RNG.normal(size=9)

    def forward(image):
        return tf.reshape(tf.nn.conv2d(image[None, :, :, None], kernel[:, :, None, None], 1, "VALID"), [-1])

    close(image.reshape(-1) @ matrix, forward(image))
    _, (d_image,) = gradients(lambda image: weighted_sum(forward(image), delta), image)
    close(matrix @ delta, tf.reshape(d_image, [-1]))


def test_max_pooling_forward_and_backward_with_ties():
    images = np.maximum(RNG.normal(size=(2, 6, 4, 3)), 0)  # after a ReLU, many pixels are 0
    pooled, (expected,) = gradients(lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), images)
    close(convolution.max_pool(images), pooled)
    close(convolution.max_pool_gradient(images, np.ones(pooled.shape)), expected)
