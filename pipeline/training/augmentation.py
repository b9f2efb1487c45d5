"""Random distortions of training images, as TensorFlow operations on batches of float32 images (n, 28, 28) of 0..1."""

from typing import Any

import tensorflow as tf

from pipeline.params import Augmentation
from recognition.image_format import IMAGE_SIZE

Tensor = Any


def distort(images: Tensor, seed: Tensor, settings: Augmentation, strength: Tensor | float = 1.0) -> Tensor:
    """Change strokes, geometry and image quality as `settings` say. Equal seeds, int (2,), give equal results.

    `strength` multiplies distances, angles and the share of degraded images, but not the changes of strokes. The images
    must be in random order: the first ones of a batch are degraded, the last ones get other strokes.
    """
    seeds = tf.unstack(tf.random.split(seed, 4))
    count = tf.shape(images)[0]
    if settings.stroke:
        kept = count - share_of(count, settings.stroke)
        images = tf.concat([images[:kept], change_strokes(images[kept:], seeds[0])], axis=0)
    rows, columns = affine_grid(count, seeds[1], settings, strength)
    if settings.elastic:
        assert settings.smoothness is not None  # required with `elastic`
        deviation = strength * settings.elastic
        displacement = elastic_displacement(count, seeds[2], deviation, settings.smoothness)
        rows, columns = rows + displacement[..., 0], columns + displacement[..., 1]
    images = sample(images, rows, columns)
    if settings.degraded:
        degraded = share_of(count, strength * settings.degraded)
        images = tf.concat([degrade(images[:degraded], seeds[3], settings), images[degraded:]], axis=0)
    return images


def share_of(count: Tensor, share: Tensor | float) -> Tensor:
    """`share` of `count` images, rounded to a whole number."""
    return tf.cast(tf.round(share * tf.cast(count, tf.float32)), tf.int32)


def degrade(images: Tensor, seed: Tensor, settings: Augmentation) -> Tensor:
    """Replace strokes by outlines, draw lines, invert or cover a part, blur, light and add noise.

    Outlines, lines, inversion and covers are applied to the given shares of the images; the other changes have their
    own random strength per image and are left out of half of the images.
    """
    seeds = tf.unstack(tf.random.split(seed, 10))
    count = tf.shape(images)[0]

    def amount(maximum: float, seed: Tensor) -> Tensor:
        """0 for half of the images, otherwise uniform up to `maximum`: float32 (n, 1, 1)."""
        return maximum * tf.maximum(tf.random.stateless_uniform((count, 1, 1), seed, -1.0, 1.0), 0.0)

    def in_share(share: float, seed: Tensor) -> Tensor:
        return tf.random.stateless_uniform((count, 1, 1), seed) < share

    if settings.outline:
        images = tf.where(in_share(settings.outline, seeds[0]), outline(images), images)
    if settings.lines:
        images = tf.where(in_share(settings.lines, seeds[1]), draw_lines(images, seeds[2]), images)
    if settings.invert:
        inverted = in_share(settings.invert, seeds[3]) & rectangle(count, seeds[4], 7.0, 56.0)
        images = tf.where(inverted, 1 - images, images)
    if settings.erase:
        paint = tf.random.stateless_uniform((2, count, 1, 1), seeds[5])
        covered = in_share(settings.erase, seeds[5] + 1) & rectangle(count, seeds[6], 2.0, 14.0)
        images = tf.where(covered, paint[0] + 0.5 * paint[1] * (images - paint[0]), images)
    if settings.blur:
        images += amount(settings.blur, seeds[7]) * (blur(images) - images)
    if settings.light:
        corners = tf.random.stateless_uniform((count, 3, 3, 1), seeds[8])
        light = tf.image.resize(corners, (IMAGE_SIZE, IMAGE_SIZE), method="bicubic")[..., 0]
        images += amount(settings.light, seeds[8] + 1) * (light - images)
    if settings.noise:
        noise = tf.random.stateless_normal(tf.shape(images), seeds[9])
        images += amount(settings.noise, seeds[9] + 1) * noise
    return tf.clip_by_value(images, 0.0, 1.0)


def blur(images: Tensor) -> Tensor:
    """Blur by a 3x3 mean filter, applied three times (standard deviation 1.4 pixels)."""
    axis = tf.range(IMAGE_SIZE)
    near = tf.cast(tf.abs(axis[:, None] - axis) <= 1, tf.float32)
    mean = near / tf.reduce_sum(near, axis=1, keepdims=True)
    weights = mean @ mean @ mean
    return weights @ images @ tf.transpose(weights)


def outline(images: Tensor) -> Tensor:
    """The pixels around the strokes: dilation over 3x3 pixels minus the image, with twice the contrast."""
    return tf.minimum(2 * (dilate(images) - images), 1.0)


def dilate(images: Tensor) -> Tensor:
    """Grey-scale dilation over 3x3 pixels."""
    return tf.nn.max_pool2d(images[..., None], 3, 1, "SAME")[..., 0]


def draw_lines(images: Tensor, seed: Tensor) -> Tensor:
    """Draw a line of random position, direction, width and brightness over each image.

    Half of the lines are zigzags (up to 3 pixels to each side, 4 to 12 pixels long), a third is dashed.
    """
    draw = tf.unstack(tf.random.stateless_uniform((8, tf.shape(images)[0], 1, 1), seed))
    axis = tf.range(IMAGE_SIZE, dtype=tf.float32) - (IMAGE_SIZE - 1) / 2
    row, column = axis[None, :, None], axis[None, None, :]
    angle = 3.141592653589793 * draw[0]
    along = tf.cos(angle) * column + tf.sin(angle) * row + 56
    across = tf.cos(angle) * row - tf.sin(angle) * column + 24 * (draw[1] - 0.5)
    phase = along / (4 + 8 * draw[2])
    across += tf.maximum(6 * draw[3] - 3, 0.0) * (4 * tf.abs(phase - tf.floor(phase) - 0.5) - 1)
    ink = tf.clip_by_value(1 + draw[4] - tf.abs(across), 0.0, 1.0) * (0.5 + 0.5 * draw[5])
    dash = along / (2 + 4 * draw[6])
    ink = tf.where((draw[7] < 1 / 3) & (dash - tf.floor(dash) < 0.5), 0.0, ink)
    return tf.maximum(images, ink)


def rectangle(count: Tensor, seed: Tensor, smallest: float, largest: float) -> Tensor:
    """Mask (n, 28, 28) of a rectangle at a random position; the sides, in pixels, are uniform on a logarithmic scale.

    For random erasing: Zhong et al., arXiv 1708.04896.
    """
    draw = tf.random.stateless_uniform((4, count, 1, 1), seed)
    height, width = (smallest * tf.pow(largest / smallest, share) for share in (draw[0], draw[1]))
    axis = tf.range(IMAGE_SIZE, dtype=tf.float32)
    mask = tf.abs(axis[None, :, None] - draw[2] * (IMAGE_SIZE - 1)) <= height / 2
    return mask & (tf.abs(axis[None, None, :] - draw[3] * (IMAGE_SIZE - 1)) <= width / 2)


def change_strokes(images: Tensor, seed: Tensor) -> Tensor:
    """Thin or thicken strokes by up to one pixel on each side.

    Grey-scale erosion or dilation over 3x3 pixels, blended with the image by a random weight.
    """
    weight = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1), seed, -1.0, 1.0)
    target = tf.where(weight > 0, dilate(images), -dilate(-images))
    return images + tf.abs(weight) * (target - images)


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
    padded = tf.pad(images, [[0, 0], [1, 2], [1, 2]])
    side = IMAGE_SIZE + 2
    corners = [padded[:, top : top + side, left : left + side] for top in (0, 1) for left in (0, 1)]
    flat = tf.reshape(tf.stack(corners, axis=-1), (-1, side * side, 4))
    rows, columns = (tf.clip_by_value(axis + 1, 0.0, side - 1.0) for axis in (rows, columns))
    top, left = tf.floor(rows), tf.floor(columns)
    down, right = rows - top, columns - left
    values = tf.gather(flat, tf.cast(top * side + left, tf.int32), batch_dims=1)
    upper = values[..., 0] + right * (values[..., 1] - values[..., 0])
    lower = values[..., 2] + right * (values[..., 3] - values[..., 2])
    return upper + down * (lower - upper)
