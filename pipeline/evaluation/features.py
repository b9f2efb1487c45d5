"""Features of images, by which requests are compared with the training images."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

INK = 127  # brighter pixels count as ink
FEATURES = {  # of an image, with the unit
    "mean_intensity": "mean intensity (0 to 255)",
    "ink_fraction": "share of pixels above 0",
    "grey": "pixels of medium intensity per ink pixel",
    "unevenness": "standard deviation of the ink pixels (0 to 127)",
    "off_centre": "centre of mass outside the centred range (pixels)",
    "spread": "distance of the ink from its centre (pixels)",
}
# The centre of mass is near 14 in MNIST and near 13.5 after our preprocessing: both count as centred
CENTRE, CENTRE_TOLERANCE = 13.75, 0.75
BATCH = 5000  # images at a time; their intermediate values take about 30 MB each
QUANTILES = 1000  # of each feature; drift metrics use ten bins, charts thirty


def image_features(images: NDArray[np.uint8]) -> pd.DataFrame:
    """Returns the FEATURES of uint8 (n, 28, 28), one row per image. The centre of a blank image is at 0."""
    intensity, ink = images.astype(np.float64), images > INK
    total, position = np.maximum(intensity.sum(axis=(1, 2)), 1e-9), np.arange(images.shape[1])
    count = np.maximum(ink.sum(axis=(1, 2)), 1)
    by_row, by_column = intensity.sum(axis=2), intensity.sum(axis=1)
    row, column = by_row @ position / total, by_column @ position / total
    variance = (by_row + by_column) @ position**2 / total - row**2 - column**2
    mean = (intensity * ink).sum(axis=(1, 2)) / count
    offset = np.maximum(np.abs(row - CENTRE), np.abs(column - CENTRE))
    return pd.DataFrame(
        {
            "mean_intensity": intensity.mean(axis=(1, 2)),
            "ink_fraction": (images > 0).mean(axis=(1, 2)),
            "grey": ((images > 40) & (images < 215)).sum(axis=(1, 2)) / count,
            "unevenness": np.sqrt((((intensity - mean[:, None, None]) * ink) ** 2).sum(axis=(1, 2)) / count),
            "off_centre": np.maximum(offset - CENTRE_TOLERANCE, 0),
            "spread": np.sqrt(np.maximum(variance, 0)),
        }
    )


def feature_quantiles(images: NDArray[np.uint8]) -> pd.DataFrame:
    """Returns QUANTILES quantiles of each of the FEATURES of uint8 (n, 28, 28), at (i + 0.5) / QUANTILES.

    They stand for the images: means, standard deviations, shares of bins and histograms are nearly the same.
    """
    batches = [image_features(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return pd.concat(batches).quantile((np.arange(QUANTILES) + 0.5) / QUANTILES).reset_index(drop=True)
