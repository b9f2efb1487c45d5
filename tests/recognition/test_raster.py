"""Array operations: resampling, morphology, statistics, connected components."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recognition.raster import (
    connected_components,
    dilate,
    erode,
    is_frame,
    noise_level,
    opening,
    otsu,
    shrink,
    thicken,
)


def test_shrink_averages_and_never_enlarges():
    values = np.arange(32, dtype=np.float32).reshape(4, 8)
    assert shrink(values, 4).shape == (2, 4) and shrink(values, 4)[0, 0] == values[:2, :2].mean()
    assert np.array_equal(shrink(values, 100), values)
    assert shrink(np.ones((3, 1, 300), np.float32), 10).shape == (3, 1, 10)


@pytest.mark.parametrize("radius", [1, 2, 5])
def test_dilate_and_erode_are_maximum_and_minimum_over_a_square(radius):
    values = np.random.default_rng(0).normal(size=(9, 13)).astype(np.float32)
    grown = dilate(values, radius)
    assert grown.shape == values.shape
    for y, x in np.ndindex(values.shape):
        assert grown[y, x] == values[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1].max()
    inside = erode(np.stack([values, -values]), radius)[0]  # only where the square is inside
    assert inside.shape == (max(9 - 2 * radius, 0), 13 - 2 * radius)
    for y, x in np.ndindex(inside.shape):
        assert inside[y, x] == values[y : y + 2 * radius + 1, x : x + 2 * radius + 1].min()


def test_opening_removes_narrow_structures_and_keeps_edges_in_place():
    values = np.zeros((20, 30), np.float32)
    values[:, 18:] = 1
    values[5:8] = 1
    opened = opening(values, 2)
    assert opened[:, :18].max() == 0 and opened[:, 18:].min() == 1


def test_noise_level_is_the_standard_deviation_and_ignores_strokes():
    ink = np.random.default_rng(0).normal(0, 5, (200, 200)).astype(np.float32)
    ink[:, 90:100] += 200
    assert noise_level(ink) == pytest.approx(5, rel=0.05)
    assert noise_level(np.zeros((1, 1), np.float32)) == 0


def test_otsu_separates_two_levels():
    values = np.array([10, 12, 11, 10, 90, 88], np.float32)
    assert 12 < otsu(values) < 88
    assert otsu(np.zeros(4, np.float32)) == 0


def test_connected_components():
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 0, 1, 0]], bool)
    labels, areas, boxes = connected_components(mask)
    assert labels.max() == 4 and labels[0, 0] == labels[1, 1] != labels[0, 3] == labels[1, 4]
    assert sorted(areas.tolist()) == [1, 2, 2, 3]
    assert boxes[labels[0, 3] - 1].tolist() == [0, 2, 3, 5]
    assert np.array_equal(labels > 0, mask)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=150, deadline=None)
def test_components_agree_with_a_flood_fill(mask):
    labels, areas, _ = connected_components(mask)
    seen = np.zeros(mask.shape, bool)
    count = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        count, stack, seen[start] = count + 1, [start], True
        while stack:
            y, x = stack.pop()
            assert labels[y, x] == labels[start]
            window = np.zeros(mask.shape, bool)
            window[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
            for following in zip(*np.nonzero(window & mask & ~seen), strict=True):
                seen[following] = True
                stack.append(following)
    assert len(areas) == count and areas.sum() == mask.sum()


def test_thicken_adds_the_radius_on_every_side():
    ink = np.zeros((31, 31), np.float32)
    ink[15, 15] = 1
    assert thicken(ink, 4)[15].sum() == 9
    assert thicken(ink, 0.5)[15].tolist()[14:17] == [0.5, 1, 0.5]


def test_thousands_of_specks_are_not_compared_in_pairs():
    corners = np.arange(5000)[:, None] * 2
    boxes = np.concatenate([corners, corners + 1, corners, corners + 1], axis=1)
    boxes[-2:] = [[0, 9000, 0, 9000], [3000, 6000, 3000, 6000]]
    areas = np.ones(5000, np.int64)
    areas[-2:] = 36_000, 20_000
    tracemalloc.start()
    frames = is_frame(areas, boxes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.flatnonzero(frames).tolist() == [4998]
    assert peak < 10_000_000  # bytes; a byte for each pair takes 25,000,000
