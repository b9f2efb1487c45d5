"""Random distortions of training images, as TensorFlow operations on batches of float32 images (n, 28, 28) of 0..1."""

from typing import Any

import tensorflow as tf

from pipeline.params import Augmentation
from recognition.image_format import IMAGE_SIZE

Tensor = Any


def distort(images: Tensor, seed: Tensor, settings: Augmentation, strength: Tensor | float = 1.0) -> Tensor:
    """Change strokes, geometry and image quality as `settings` say. Equal seeds, int (2,), give equal results.

    `strength` multiplies distances, angles and the share of degraded images, but not the changes of strokes.
    """
    seeds = tf.unstack(tf.random.split(seed, 4))
    if settings.stroke:
        images = change_strokes(images, seeds[0], settings.stroke)
    rows, columns = affine_grid(tf.shape(images)[0], seeds[1], settings, strength)
    if settings.elastic:
        assert settings.smoothness is not None  # required with `elastic`
        deviation = strength * settings.elastic
        displacement = elastic_displacement(tf.shape(images)[0], seeds[2], deviation, settings.smoothness)
        rows, columns = rows + displacement[..., 0], columns + displacement[..., 1]
    images = sample(images, rows, columns)
    return degrade(images, seeds[3], settings, strength) if settings.degraded else images


def degrade(images: Tensor, seed: Tensor, settings: Augmentation, strength: Tensor | float = 1.0) -> Tensor:
    """Blur, erase, light and add noise, in a share of `strength * settings.degraded` of the images.

    Each change has its own random strength per image and is left out of half of the degraded images.
    """
    seeds = tf.unstack(tf.random.split(seed, 5))
    count = tf.shape(images)[0]

    def amount(maximum: float, seed: Tensor) -> Tensor:
        """0 for half of the images, otherwise uniform up to `maximum`: float32 (n, 1, 1)."""
        return maximum * tf.maximum(tf.random.stateless_uniform((count, 1, 1), seed, -1.0, 1.0), 0.0)

    changed = images
    if settings.blur:
        changed += amount(settings.blur, seeds[0]) * (blur(changed) - changed)
    if settings.erase:
        changed = erase(changed, seeds[1], settings.erase)
    if settings.light:
        corners = tf.random.stateless_uniform((count, 3, 3, 1), seeds[2])
        light = tf.image.resize(corners, (IMAGE_SIZE, IMAGE_SIZE), method="bicubic")[..., 0]
        changed += amount(settings.light, seeds[2] + 1) * (light - changed)
    if settings.noise:
        noise = tf.random.stateless_normal(tf.shape(images), seeds[3])
        changed += amount(settings.noise, seeds[3] + 1) * noise
    mask = tf.random.stateless_uniform((count, 1, 1), seeds[4]) < strength * settings.degraded
    return tf.where(mask, tf.clip_by_value(changed, 0.0, 1.0), images)


def blur(images: Tensor) -> Tensor:
    """Blur by a 3x3 mean filter, applied three times (standard deviation 1.4 pixels)."""
    axis = tf.range(IMAGE_SIZE)
    near = tf.cast(tf.abs(axis[:, None] - axis) <= 1, tf.float32)
    mean = near / tf.reduce_sum(near, axis=1, keepdims=True)
    weights = mean @ mean @ mean
    return weights @ images @ tf.transpose(weights)


def erase(images: Tensor, seed: Tensor, share: float) -> Tensor:
    """Random erasing (Zhong et al., arXiv 1708.04896) of a rectangle, 2 to 14 pixels a side, in `share` of the images.

    The rectangle has a random brightness and opacity.
    """
    draw = tf.random.stateless_uniform((7, tf.shape(images)[0], 1, 1), seed)
    height, width = 2 * tf.pow(7.0, draw[0]), 2 * tf.pow(7.0, draw[1])
    axis = tf.range(IMAGE_SIZE, dtype=tf.float32)
    mask = tf.abs(axis[None, :, None] - draw[2] * (IMAGE_SIZE - 1)) <= height / 2
    mask &= tf.abs(axis[None, None, :] - draw[3] * (IMAGE_SIZE - 1)) <= width / 2
    paint = draw[4] + 0.5 * draw[5] * (images - draw[4])
    return tf.where(mask & (draw[6] < share), paint, images)


def change_strokes(images: Tensor, seed: Tensor, share: float) -> Tensor:
    """Thin or thicken the strokes of `share` of the images by up to one pixel on each side.

    Grey-scale erosion or dilation over 3x3 pixels, blended with the image by a random weight.
    """
    seeds = tf.unstack(tf.random.split(seed, 2))
    count = tf.shape(images)[0]
    stacked = images[..., None]
    thick = tf.nn.max_pool2d(stacked, 3, 1, "SAME")[..., 0]
    thin = -tf.nn.max_pool2d(-stacked, 3, 1, "SAME")[..., 0]
    choice = tf.random.stateless_uniform((count, 1, 1), seeds[0])
    weight = tf.random.stateless_uniform((count, 1, 1), seeds[1])
    target = tf.where(choice < share / 2, thick, tf.where(choice < share, thin, images))
    return images + weight * (target - images)


def affine_grid(count: Tensor, seed: Tensor, settings: Augmentation, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Source coordinates of each pixel under random affine maps: rows and columns, float32 (n, 28, 28), in pixels."""
    radians = 3.141592653589793 / 180
    draw = strength * tf.random.stateless_uniform((6, count, 1, 1), seed, -1.0, 1.0)
    angle = draw[0] * (settings.rotation * radians)
    slant = tf.tan(draw[1] * (settings.shear * radians))
    scale_row, scale_column = 1 + draw[2] * settings.scale, 1 + draw[3] * settings.scale
    centre = (IMAGE_SIZE - 1) / 2
    axis = tf.range(IMAGE_SIZE, dtype=tf.float32) - centre
    row, column = axis[None, :, None], axis[None, None, :]
    rotated_row = (tf.cos(angle) * row - tf.sin(angle) * column) * scale_row
    rotated_column = (tf.sin(angle) * row + tf.cos(angle) * column) * scale_column + slant * rotated_row
    return rotated_row + centre + draw[4] * settings.shift, rotated_column + centre + draw[5] * settings.shift


def elastic_displacement(count: Tensor, seed: Tensor, deviation: Tensor, smoothness: int) -> Tensor:
    """Random displacements in pixels, float32 (n, 28, 28, 2), normal at control points `smoothness` pixels apart.

    Source: Simard, Steinkraus, Platt: Best practices for convolutional neural networks (ICDAR 2003), with bicubic
    interpolation of a coarse grid instead of a Gaussian filter.
    """
    points = IMAGE_SIZE // smoothness
    coarse = tf.random.stateless_normal((count, points, points, 2), seed, stddev=deviation)
    return tf.image.resize(coarse, (IMAGE_SIZE, IMAGE_SIZE), method="bicubic")


def sample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear interpolation of images (n, 28, 28) at the given coordinates; outside an image, values are 0."""
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1]])
    side = IMAGE_SIZE + 2
    flat = tf.reshape(padded, (-1, side * side))
    rows, columns = (tf.clip_by_value(axis + 1, 0.0, side - 1.001) for axis in (rows, columns))
    top, left = tf.floor(rows), tf.floor(columns)
    down, right = rows - top, columns - left
    corner = tf.cast(top, tf.int32) * side + tf.cast(left, tf.int32)

    def values(offset: int) -> Tensor:
        return tf.gather(flat, corner + offset, batch_dims=1)

    upper = values(0) * (1 - right) + values(1) * right
    lower = values(side) * (1 - right) + values(side + 1) * right
    return upper * (1 - down) + lower * down
