"""Convolution and max pooling: forward and backward pass. The caller pads the images."""

import numpy as np

from learn.from_scratch.layers import dense
from learn.from_scratch.neurons import Array


def output_size(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Formula 36: output size of a convolution along one side, in pixels. `padding` is added at both ends."""
    return (size + 2 * padding - kernel) // stride + 1


def convolve_direct(images: Array, kernels: Array, bias: Array, stride: int = 1) -> Array:
    """Formula 37: convolution by its definition. `images`: (n, h, w, c), `kernels`: (a, b, c, k), `bias`: (k,).

    Returns (n, h', w', k) with h' and w' from formula 36.
    """
    a, b, _, outputs = kernels.shape
    rows, columns = output_size(images.shape[1], a, stride), output_size(images.shape[2], b, stride)
    result = np.empty((len(images), rows, columns, outputs), images.dtype)
    for i, j in np.ndindex(rows, columns):
        patch = images[:, i * stride : i * stride + a, j * stride : j * stride + b, :]
        result[:, i, j, :] = np.tensordot(patch, kernels, axes=3) + bias
    return result


def convolution_matrix(kernel: Array, height: int, width: int) -> Array:
    """Formula 38: matrix of a convolution with one kernel (a, b), one channel and stride 1.

    Returns (height * width, h' * w'). The flattened image times this matrix is the flattened output.
    """
    pixels = np.eye(height * width, dtype=kernel.dtype).reshape(-1, height, width, 1)
    result = convolve_direct(pixels, kernel[:, :, None, None], np.zeros(1, kernel.dtype))
    return result.reshape(height * width, -1)


def im2col(images: Array, a: int, b: int, stride: int = 1) -> Array:
    """Formula 39: patches of a by b pixels as rows. `images`: (n, h, w, c); returns (n * h' * w', a * b * c)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (a, b), axis=(1, 2))[:, ::stride, ::stride]
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, a * b * images.shape[3])


def convolve(images: Array, kernels: Array, bias: Array, stride: int = 1) -> Array:
    """Formula 40: convolution as a dense layer applied to patches. Shapes as in formula 37."""
    a, b, _, outputs = kernels.shape
    rows, columns = output_size(images.shape[1], a, stride), output_size(images.shape[2], b, stride)
    patches = im2col(images, a, b, stride)
    return dense(patches, kernels.reshape(-1, outputs), bias).reshape(len(images), rows, columns, outputs)


def col2im(patches: Array, shape: tuple[int, ...], a: int, b: int, stride: int = 1) -> Array:
    """Formula 41: transpose of im2col; adds patches to the pixels they were copied from. `shape`: (n, h, w, c)."""
    images = np.zeros(shape, patches.dtype)
    rows, columns = output_size(shape[1], a, stride), output_size(shape[2], b, stride)
    parts = patches.reshape(shape[0], rows, columns, a, b, shape[3])
    for i, j in np.ndindex(a, b):
        images[:, i : i + rows * stride : stride, j : j + columns * stride : stride] += parts[:, :, :, i, j]
    return images


def convolve_gradient(images: Array, d_output: Array, kernels: Array, stride: int = 1) -> tuple[Array, Array, Array]:
    """Formula 42: backward pass of a convolution. `d_output`: (n, h', w', k); other shapes as in formula 37.

    Returns the derivatives of the loss with respect to kernels (a, b, c, k), bias (k,) and images (n, h, w, c).
    """
    a, b, _, outputs = kernels.shape
    delta = d_output.reshape(-1, outputs)
    d_kernels = im2col(images, a, b, stride).T @ delta
    d_patches = delta @ kernels.reshape(-1, outputs).T
    return d_kernels.reshape(kernels.shape), delta.sum(axis=0), col2im(d_patches, images.shape, a, b, stride)


def max_pool(images: Array, size: int = 2) -> Array:
    """Formula 43: max pooling. `images`: (n, h, w, c), `size` divides h and w; returns (n, h/size, w/size, c)."""
    largest: Array = _blocks(images, size).max(axis=-1)
    return largest


def max_pool_gradient(images: Array, d_output: Array, size: int = 2) -> Array:
    """Formula 44: backward pass of max pooling, to the largest pixel of each block. Shapes as in formula 43."""
    blocks = _blocks(images, size)
    d_blocks = np.zeros_like(blocks)
    largest = blocks.argmax(axis=-1)[..., None]
    np.put_along_axis(d_blocks, largest, d_output[..., None], axis=-1)
    n, rows, columns, channels, _ = blocks.shape
    parts = d_blocks.reshape(n, rows, columns, channels, size, size)
    return parts.transpose(0, 1, 4, 2, 5, 3).reshape(images.shape)


def _blocks(images: Array, size: int) -> Array:
    """Reshape (n, h, w, c) to blocks (n, h/size, w/size, c, size * size)."""
    n, height, width, channels = images.shape
    parts = images.reshape(n, height // size, size, width // size, size, channels)
    return parts.transpose(0, 1, 3, 5, 2, 4).reshape(n, height // size, width // size, channels, -1)
