"""Generated out-of-distribution (OOD) images, on which the OOD score is fitted and evaluated."""

import unicodedata
from collections.abc import Collection
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from pipeline.evaluation.corruptions import plasma, to_bytes
from recognition.image_format import IMAGE_SIZE
from recognition.preprocessing import centre_by_mass, fit_to_box

Bytes = NDArray[np.uint8]
# Without letters that can be read as a digit: B D I O Q S Z b g i j l o q s z, and G (6), J and L (1), U (0), Y (4)
LETTERS = "ACEFHKMNPRTVWXacdefhkmnprtuvwxyÄÑßæþλπψωΔΞΣΦΨΩЖЮЯшж&%#@?$§"


def make_ood_samples(
    count: int, digits: Bytes, seed: int, classes: Collection[str] = ()
) -> tuple[Bytes, NDArray[np.str_]]:
    """Images, uint8 (count, 28, 28) with bright ink, and the name of the kind of each, (count,), in rotation.

    `digits`: uint8 (n, 28, 28), from which `halves` are cut; `classes`: names, which are no samples of `letters`.
    """
    random = np.random.default_rng(seed)
    per_kind = -(-count // len(KINDS))
    kinds_by_name = KINDS | {"letters": partial(letters, alphabet=other_letters(classes))}
    images = np.stack([make(per_kind, digits, random) for make in kinds_by_name.values()], axis=1)
    kinds = np.tile(list(KINDS), per_kind)
    return images.reshape(-1, *images.shape[2:])[:count], kinds[:count]


def to_mnist_geometry(ink: Bytes) -> Bytes:
    """A drawing, uint8 (height, width), scaled and centred as the service's preprocessing does it."""
    return centre_by_mass(fit_to_box(ink))


def noise(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """Independent pixels of random density, half of the images blurred."""
    values = random.random((count, IMAGE_SIZE, IMAGE_SIZE))
    density = random.uniform(0.05, 1, (count, 1, 1))
    sparse = np.where(values < density, random.random(values.shape), 0)
    blurred = ndimage.gaussian_filter(sparse, 1.0, axes=(1, 2))
    return to_bytes(np.where(random.random((count, 1, 1)) < 0.5, sparse, 2 * blurred))


def scribbles(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """Two to five smooth curves through random points."""
    drawn = []
    for _ in range(count):
        canvas = Image.new("L", (112, 112))
        pen = ImageDraw.Draw(canvas)
        width = int(random.integers(7, 14))
        for _ in range(int(random.integers(2, 6))):
            corners = random.uniform(12, 100, (int(random.integers(4, 8)), 2))
            smooth = ndimage.zoom(corners, (8, 1), order=3)
            pen.line([(float(x), float(y)) for x, y in smooth], fill=255, width=width, joint="curve")
        drawn.append(to_mnist_geometry(np.asarray(canvas)))
    return np.stack(drawn)


def other_letters(classes: Collection[str]) -> str:
    """The LETTERS that are no class, as a capital, a small letter or below an accent."""
    names = {name.casefold() for name in classes}
    return "".join(letter for letter in LETTERS if unicodedata.normalize("NFD", letter)[0].casefold() not in names)


def letters(count: int, digits: Bytes, random: np.random.Generator, alphabet: str = LETTERS) -> Bytes:
    """Letters and signs in the fonts of matplotlib, rotated by up to 10 degrees."""
    paths = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVuS*.ttf"))
    fonts = [ImageFont.truetype(str(path), 80) for path in paths if "Display" not in path.name]
    drawn = []
    for _ in range(count):
        canvas = Image.new("L", (160, 160))
        font, letter = fonts[random.integers(len(fonts))], alphabet[random.integers(len(alphabet))]
        ImageDraw.Draw(canvas).text((80, 80), letter, font=font, fill=255, anchor="mm")
        turned = canvas.rotate(float(random.uniform(-10, 10)), Image.Resampling.BICUBIC)
        drawn.append(to_mnist_geometry(np.asarray(turned)))
    return np.stack(drawn)


def textures(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """Waves, checkerboards and clouds."""
    rows, columns = np.meshgrid(np.arange(IMAGE_SIZE), np.arange(IMAGE_SIZE), indexing="ij")
    angle, length, phase = random.uniform([0, 3, 0], [np.pi, 12, 2 * np.pi], (count, 3)).T[..., None, None]
    across = rows * np.sin(angle) + columns * np.cos(angle)
    along = rows * np.cos(angle) - columns * np.sin(angle)
    waves = 0.5 + 0.5 * np.sin(2 * np.pi * across / length + phase)
    checkerboards = np.sin(2 * np.pi * across / length + phase) * np.sin(2 * np.pi * along / length) > 0
    choice = random.integers(0, 3, (count, 1, 1))
    return to_bytes(np.select([choice == 0, choice == 1], [waves, checkerboards], plasma(count, random)[:, 2:-2, 2:-2]))


def halves(count: int, digits: Bytes, random: np.random.Generator) -> Bytes:
    """The two halves of a digit, shifted against each other by 7 to 12 pixels along the cut."""
    shifted, middle = [], IMAGE_SIZE // 2
    for digit in digits[random.integers(0, len(digits), count)]:
        vertical = random.random() < 0.5
        image = np.pad(digit.T if vertical else digit, ((0, 0), (12, 12)))
        step = int(random.integers(7, 13) * random.choice([-1, 1]))
        image = np.vstack([np.roll(image[:middle], step, axis=1), image[middle:]])
        shifted.append(to_mnist_geometry(image.T if vertical else image))
    return np.stack(shifted)


KINDS = {kind.__name__: kind for kind in (noise, scribbles, letters, textures, halves)}
