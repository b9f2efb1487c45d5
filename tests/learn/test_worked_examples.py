"""The numbers of the worked examples in learn/mathematics.md, sections 1 to 13."""

import numpy as np
import pytest

from learn.from_scratch.layers import (
    collapse,
    dense,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    tanh,
    tanh_derivative,
)
from learn.from_scratch.losses import cross_entropy, cross_entropy_gradient, softmax, tempered_softmax
from learn.from_scratch.network import Layer, backward, forward
from learn.from_scratch.neurons import inner_product, perceptron, perceptron_update, pre_activation, signed_distance
from learn.from_scratch.optimizers import (
    adam_bias_correction,
    adam_moments,
    adam_update,
    gradient_descent,
    momentum_velocity,
)
from learn.from_scratch.regularization import batch_normalize, dropout, glorot_uniform, he_normal, running_average
from tests.learn.worked_examples import check_example, latex_matrix, latex_tuple


def test_numbers_of_the_inner_product():
    x, w = np.array([1.0, 2, 3]), np.array([4.0, -1, 2])
    cosine = inner_product(x, w) / np.sqrt(inner_product(x, x) * inner_product(w, w))
    check_example(
        1, f"3 \\cdot 2 = {inner_product(x, w):g}", f"= {cosine:.3f}", f"{np.degrees(np.arccos(cosine)):.1f}^"
    )
    check_example(1, f"\\sqrt{{{inner_product(x, x):g}}}", f"\\sqrt{{{inner_product(w, w):g}}}")


def test_numbers_of_the_neuron():
    z = pre_activation(np.array([0.5, 1, 0]), np.array([2.0, -1, 3]), 0.5)
    check_example(2, f"+ 0 \\cdot 3 + 0.5 = {z:g}")


def test_numbers_of_the_perceptron():
    examples = [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((1, 1), 1)]
    w, b, rows = np.zeros(2), 0.0, []
    for x, target in examples * 4:
        output = perceptron(np.array(x, float), w, b)
        if output != target:
            w, b = perceptron_update(np.array(x, float), target, w, b)
            rows.append(f"| ({x[0]},{x[1]}) | {output} | {target} | {latex_tuple(w)} | {b:g} |")
    table = "\n".join(rows)
    check_example(3, f"|---|---|---|---|---|\n{table}\n\n")
    assert all(perceptron(np.array(x, float), w, b) == target for x, target in examples)
    check_example(3, f"\\sqrt{{2}} = {signed_distance(np.array([1.0, 0]), w, b):.3f}")


def test_numbers_of_the_layer():
    x, weights = np.array([[1.0, 0, 2], [0, 1, 1]]), np.array([[1.0, 0], [2, -1], [0, 3]])
    check_example(4, latex_matrix(x), latex_matrix(weights), latex_matrix(dense(x, weights, np.array([0.0, 1]))))


def test_numbers_of_xor():
    x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    first, second = (np.ones((2, 2)), np.array([0.0, -1])), (np.array([[1.0], [-2]]), np.zeros(1))
    h = relu(dense(x, *first))
    for inputs, hidden, z in zip(x, h, dense(h, *second)[:, 0], strict=True):
        xor = inputs[0] != inputs[1]
        a, b = latex_tuple(inputs).replace(" ", ""), latex_tuple(hidden).replace(" ", "")
        check_example(5, f"| {a} | {b} | {z:g} | {xor:d} |")
    flat = dense(x, *collapse(first, second))[:, 0]
    assert collapse(first, second)[0].tolist() == [[-1], [-1]]
    assert collapse(first, second)[1].tolist() == [2]
    check_example(5, "-x_1 - x_2 + 2", f"outputs are then {', '.join(f'{z:g}' for z in flat)}.")


def test_numbers_of_the_activations():
    z = np.array([0.5])
    s, t = sigmoid(z)[0], tanh(z)[0]
    check_example(6, f"\\sigma = {s:.4f}", f"{s:.4f} \\cdot {1 - s:.4f} = {sigmoid_derivative(z)[0]:.4f}")
    check_example(6, f"\\tanh = {t:.4f}", f"1 - {t:.4f}^2 = {tanh_derivative(z)[0]:.4f}")
    check_example(6, f"\\mathrm{{relu}} = {relu(z)[0]:g}", f"\\mathrm{{relu}}' = {relu_derivative(z)[0]:g}")
    steepest = sigmoid_derivative(np.zeros(1))[0]
    check_example(6, f"where it is {steepest:g}", f"{steepest:g}^{{10}} = {steepest**10 * 1e7:.1f} \\cdot 10^{{-7}}")


def test_numbers_of_softmax_and_cross_entropy():
    logits = np.array([[2.0, 1, 0]])
    check_example(7, f"p = {latex_tuple(softmax(logits)[0], '{:.3f}')}")
    for label in (0, 2):
        labels = np.array([label])
        gradient = latex_tuple(cross_entropy_gradient(logits, labels)[0], "{:.3f}")
        check_example(7, f"L = {cross_entropy(logits, labels):.3f}", gradient)


NETWORK = [
    Layer(np.array([[0.5, -1, 1], [0.25, 1, -1]]), np.array([0, 0.5, 0])),
    Layer(np.array([[1.0, -1], [0, 1], [2, 0]]), np.zeros(2)),
]
X, LABEL = np.array([[1.0, 2]]), np.array([1])


def test_numbers_of_the_forward_pass():
    (z_1, z_2), (a_0, a_1) = forward(NETWORK, X)
    for array in (a_0, *NETWORK[0], *NETWORK[1], z_1, a_1, z_2):
        check_example(8, latex_matrix(array))
    p = softmax(z_2)
    check_example(8, latex_matrix(p, "{:.3f}"), f"-\\log {p[0, 1]:.3f} = {cross_entropy(z_2, LABEL):.3f}")


def test_numbers_of_backpropagation():
    def rounded_matrix(array):
        return latex_matrix(np.round(array, 3), "{:.3f}").replace(" 0.000", " 0").replace("-0 ", "0 ")

    (z_1, z_2), _ = forward(NETWORK, X)
    delta_2 = cross_entropy_gradient(z_2, LABEL)
    d_input = delta_2 @ NETWORK[1].weights.T
    first, second = backward(NETWORK, X, LABEL)
    check_example(
        9,
        rounded_matrix(delta_2),
        rounded_matrix(second.weights),
        rounded_matrix(d_input),
        rounded_matrix(d_input * relu_derivative(z_1)),
    )
    check_example(9, rounded_matrix(first.weights))
    losses = []
    for change in (0.01, -0.01):
        weights = NETWORK[0].weights + np.array([[change, 0, 0], [0, 0, 0]])
        z = forward([NETWORK[0]._replace(weights=weights), NETWORK[1]], X)[0][-1]
        losses.append(cross_entropy(z, LABEL))
    difference = (losses[0] - losses[1]) / 0.02
    check_example(9, f"the loss is {losses[0]:.5f} and {losses[1]:.5f}", f"divided by 0.02 is {difference:.3f}")


def test_numbers_of_the_optimizers():
    plain, with_momentum, adam = (np.ones(1) for _ in range(3))
    velocity = mean = square = np.zeros(1)
    for step in (1, 2, 3):
        plain = gradient_descent(plain, 2 * plain, 0.1)
        velocity = momentum_velocity(velocity, 2 * with_momentum, 0.9)
        with_momentum = gradient_descent(with_momentum, velocity, 0.1)
        mean, square = adam_moments(mean, square, 2 * adam)
        corrected = adam_bias_correction(mean, square, step)
        adam = adam_update(adam, *corrected, 0.1)
        check_example(10, f"| {step} | {plain[0]:.4f} | {with_momentum[0]:.4f} | {adam[0]:.4f} |")
        if step == 1:
            check_example(10, f"\\hat m = {corrected[0][0]:.0f}`", f"\\sqrt{{\\hat v}} = {corrected[1][0] ** 0.5:.0f}`")


def test_numbers_of_initialisation():
    rng = np.random.default_rng(0)
    check_example(
        11,
        "\\sqrt{6/1040} = 0.0760",
        "\\sqrt{2/784} = 0.0505",
        f"2^{{-20}} = {2**-20 * 1e7:.1f} \\cdot 10^{{-7}}",
    )
    assert np.abs(glorot_uniform(784, 256, rng)).max() == pytest.approx(0.0760, abs=5e-5)
    assert he_normal(784, 256, rng).std() == pytest.approx(0.0505, rel=0.005)


def test_numbers_of_dropout_and_batch_normalisation():
    kept = dropout(np.array([1.0, 2, 3, 4]), 0.5, np.array([0.7, 0.2, 0.9, 0.4]))
    check_example(12, f"to $`{latex_tuple(kept)}`$", f"the sum is {kept.sum():g} instead of 10")
    x = np.array([[1.0], [2], [3], [6]])
    standardized = batch_normalize(x, np.ones(1), np.zeros(1), 0.001)[:, 0]
    check_example(12, f"\\hat x = {latex_tuple(standardized, '{:.3f}').replace('0.000', '0')}")
    check_example(12, f"\\mu = {x.mean():g}`", f"\\sigma^2 = {x.var():g}`")
    check_example(12, f"becomes {running_average(np.zeros(1), x.mean(axis=0), 0.9)[0]:g} after this batch.")


def test_numbers_of_temperature():
    logits = np.array([[2.0, 1, 0, -1]])
    first = {temperature: tempered_softmax(logits, temperature)[0, 0] for temperature in (1, 0.5, 3)}
    check_example(13, *(f"{p:.3f} at $`T = {temperature:g}`$" for temperature, p in first.items()))
