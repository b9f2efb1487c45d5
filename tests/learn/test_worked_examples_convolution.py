"""The numbers of the worked examples in learn/mathematics.md, sections 14 to 16."""

import re

import numpy as np

from learn.from_scratch import costs
from learn.from_scratch.convolution import (
    convolve,
    convolve_direct,
    convolve_gradient,
    im2col,
    max_pool,
    max_pool_gradient,
    output_size,
)
from tests.learn.worked_examples import check_example, example, latex_matrix

IMAGE = np.array([[1.0, 2, 0], [0, 1, 3], [2, 0, 1]])[None, :, :, None]
KERNEL = np.array([[1.0, 0], [0, -1]])[:, :, None, None]


def test_numbers_of_the_convolution():
    assert output_size(28, 5, stride=2, padding=2) == 14
    assert (28 + 3 - 5) // 2 + 1 == 14
    check_example(14, "\\rfloor + 1 = 14`", latex_matrix(IMAGE[0, :, :, 0]), latex_matrix(KERNEL[:, :, 0, 0]))
    check_example(
        14, latex_matrix(convolve_direct(IMAGE, KERNEL, np.zeros(1))[0, :, :, 0]), latex_matrix(im2col(IMAGE, 2, 2))
    )


def test_numbers_of_the_convolution_gradient():
    d_kernel, _, d_image = convolve_gradient(IMAGE, np.ones((1, 2, 2, 1)), KERNEL)
    check_example(15, latex_matrix(d_kernel[:, :, 0, 0]), latex_matrix(d_image[0, :, :, 0]))
    assert d_image[0, 1, 1, 0] == KERNEL.sum() == 0
    block = np.array([[1.0, 3], [2, 0]])[None, :, :, None]
    check_example(15, f"reduces the block $`{latex_matrix(block[0, :, :, 0])}`$ to {max_pool(block)[0, 0, 0, 0]:g}")
    back = max_pool_gradient(block, np.full((1, 1, 1, 1), 5.0))
    check_example(15, f"becomes $`{latex_matrix(back[0, :, :, 0])}`$")


def test_convolution_is_translation_equivariant():
    rng = np.random.default_rng(3)
    image, kernels, bias = rng.normal(size=(1, 8, 8, 1)), rng.normal(size=(3, 3, 1, 2)), rng.normal(size=2)
    shifted = np.roll(image, 1, axis=2)
    ours = convolve(shifted, kernels, bias)[:, :, 1:]
    np.testing.assert_allclose(ours, convolve(image, kernels, bias)[:, :, :-1], rtol=1e-12)


def test_numbers_of_the_cost_tables():
    mlp = [costs.dense_cost(784, 512), costs.dense_cost(512, 512), costs.dense_cost(512, 10)]
    first, second = output_size(28 + 3, 5, stride=2), output_size(7, 3)
    cnn = [
        costs.convolution_cost(5, 1, 32, first),
        costs.convolution_cost(3, 32, 64, first),
        costs.Cost(0, 0),
        costs.convolution_cost(3, 64, 128, second),
        costs.dense_cost(second * second * 128, 10),
    ]
    rows = re.findall(r"^\| (?!\*|MLP|CNN).* \| ([\d,]+) \| ([\d,]+) \|$", example(16), re.M)
    assert [tuple(int(n.replace(",", "")) for n in pair) for pair in rows] == [*mlp, *cnn]
    totals = [[sum(column) for column in zip(*layers, strict=True)] for layers in (mlp, cnn)]
    for parameters, multiplications in totals:
        check_example(16, f"| **{parameters:,}** | **{multiplications:,}** |")
    check_example(
        16,
        f"{totals[0][0] / totals[1][0]:.1f} times fewer parameters",
        f"{totals[1][1] / totals[0][1]:.1f} times more multiplications",
    )
    dense_instead = costs.dense_cost(784, first * first * 32)
    check_example(16, f"{first * first * 32:,} outputs, would have {dense_instead.parameters:,} parameters")
