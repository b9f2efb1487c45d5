"""Out-of-distribution samples, generated from a seed: the OOD score is fitted and tested on them."""

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pipeline.evaluation.corruptions import plasma, to_bytes
from recognition.preprocessing import centre_by_mass, fit_to_box

Bytes = NDArray[np.uint8]
# Without those that may be read as a digit: B D I O Q S Z b g i j l o q s z, and G (6), J and L (1), U (0), Y (4)
LETTERS = "ACEFHKMNPRTVWXacdefhkmnprtuvwxyÄÑßæþλπψωΔΞΣΦΨΩЖЮЯшж&%#@?$§"


def make_ood_samples(count: int, digits: Bytes, seed: int) -> tuple[Bytes, NDArray[np.str_]]:
    """uint8 (count, 28, 28), ink bright, and the kind of each, (count,); kinds take turns.

    `digits`: uint8 (n, 28, 28), the images that are cut into halves.
    """
    random = np.random.default_rng(seed)
    share = -(-count // len(KINDS))
    images = np.stack([kind(share, digits, random) for kind in KINDS.values()], axis=1)
    kinds = np.tile(list(KINDS), share)
    return images.reshape(-1, *images.shape[2:])[:count], kinds[:count]


def in_place(ink: Bytes) -> Bytes:
    """A drawing, uint8 (h, w), in MNIST's geometry, as the service's preprocessing would bring it."""
    return centre_by_mass(fit_to_box(ink))


def noise(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """Independent pixels: even brightness, or a few bright ones, or a haze blurred by up to a pixel."""
    values = random.random((count, 28, 28))
    density = random.uniform(0.05, 1, (count, 1, 1))
    sparse = np.where(values < density, random.random(values.shape), 0)
    blurred = ndimage.gaussian_filter(sparse, 1.0, axes=(1, 2))
    return to_bytes(np.where(random.random((count, 1, 1)) < 0.5, sparse, 2 * blurred))


def scribbles(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """Pen strokes that wander: 2 to 5 smooth curves through random points."""
    drawn = []
    for _ in range(count):
        canvas = Image.new("L", (112, 112))
        pen = ImageDraw.Draw(canvas)
        width = int(random.integers(7, 14))
        for _ in range(int(random.integers(2, 6))):
            corners = random.uniform(12, 100, (int(random.integers(4, 8)), 2))
            smooth = ndimage.zoom(corners, (8, 1), order=3)
            pen.line([(float(x), float(y)) for x, y in smooth], fill=255, width=width, joint="curve")
        drawn.append(in_place(np.asarray(canvas)))
    return np.stack(drawn)


def letters(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """Letters and signs in the fonts that matplotlib brings, turned by up to 10 degrees."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [
        ImageFont.truetype(str(path), 80) for path in sorted(folder.glob("DejaVuS*.ttf")) if "Display" not in path.name
    ]
    drawn = []
    for _ in range(count):
        canvas = Image.new("L", (160, 160))
        font, letter = fonts[random.integers(len(fonts))], LETTERS[random.integers(len(LETTERS))]
        ImageDraw.Draw(canvas).text((80, 80), letter, font=font, fill=255, anchor="mm")
        turned = canvas.rotate(float(random.uniform(-10, 10)), Image.Resampling.BICUBIC)
        drawn.append(in_place(np.asarray(turned)))
    return np.stack(drawn)


def textures(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """Surfaces without a figure: waves, squares of a board, and clouds."""
    rows, columns = np.meshgrid(np.arange(28), np.arange(28), indexing="ij")
    angle, length, phase = random.uniform([0, 3, 0], [np.pi, 12, 2 * np.pi], (count, 3)).T[..., None, None]
    across = rows * np.sin(angle) + columns * np.cos(angle)
    along = rows * np.cos(angle) - columns * np.sin(angle)
    waves = 0.5 + 0.5 * np.sin(2 * np.pi * across / length + phase)
    boards = np.sin(2 * np.pi * across / length + phase) * np.sin(2 * np.pi * along / length) > 0
    choice = random.integers(0, 3, (count, 1, 1))
    return to_bytes(np.select([choice == 0, choice == 1], [waves, boards], plasma(count, random)[:, 2:-2, 2:-2]))


def halves(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """The two halves of a digit, cut across or along, moved against each other by 7 to 12 pixels."""
    torn = []
    for digit in digits[random.integers(0, len(digits), count)]:
        upright = random.random() < 0.5
        image = np.pad(digit.T if upright else digit, ((0, 0), (12, 12)))
        step = int(random.integers(7, 13) * random.choice([-1, 1]))
        image = np.vstack([np.roll(image[:14], step, axis=1), image[14:]])
        torn.append(in_place(image.T if upright else image))
    return np.stack(torn)


KINDS = {kind.__name__: kind for kind in (noise, scribbles, letters, textures, halves)}
