"""What is read from requests, and what is said of what cannot be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.request_bodies import MAX_IMAGES, parse_pixels
from serving.errors import RequestError
from serving.settings import Settings, read_settings

IMAGE = [[0] * 28 for _ in range(28)]


def with_pixel(value: object) -> list:
    rows = [list(row) for row in IMAGE]
    rows[3][4] = value
    return rows


def test_pixels_become_an_array() -> None:
    images = parse_pixels([with_pixel(255), IMAGE])
    assert images.dtype == np.uint8 and images.shape == (2, 28, 28)
    assert images[0, 3, 4] == 255 and images.sum() == 255


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "0 images"),
        ([IMAGE] * (MAX_IMAGES + 1), "257 images"),
        ([IMAGE[:27]], "27 x 28, not 28 x 28"),
        ([[0] * 784], "784, not 28 x 28"),
        ([1, 2], "a number, not 28 x 28"),
        ([IMAGE, IMAGE[:3]], "not all 28 rows"),
        ([with_pixel([1])], "not all 28 rows"),
        ([with_pixel(256)], "a pixel is 256"),
        ([with_pixel(-1)], "a pixel is -1"),
        ([with_pixel(0.5)], "not an integer"),
        ([with_pixel("7")], "not an integer"),
        ([with_pixel(None)], "not an integer"),
        ([with_pixel(float("nan"))], "not an integer"),
        ([with_pixel(10**30)], "not an integer"),
        ([[[True] * 28] * 28], "not an integer"),
    ],
)
def test_wrong_pixels_are_refused_with_what_would_be_right(images: list, said: str) -> None:
    with pytest.raises(RequestError, match=said) as raised:
        parse_pixels(images)
    assert raised.value.status == 422 and "28x28 integers 0..255" in raised.value.message


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert parse_pixels([with_pixel(7.0)])[0, 3, 4] == 7
    with pytest.raises(RequestError, match="a pixel is 300"):
        parse_pixels([with_pixel(300.0)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.lists(JSON, max_size=4))
def test_nothing_but_a_refusal_comes_of_nonsense(images: list) -> None:
    with pytest.raises(RequestError):
        parse_pixels(images)


def test_settings_come_from_the_environment(monkeypatch) -> None:
    assert read_settings() == Settings()
    monkeypatch.setenv("DIGITS_MAX_PIXELS", "1000")
    assert read_settings().max_pixels == 1000
    monkeypatch.setenv("DIGITS_WORKERS", "many")
    monkeypatch.setenv("DIGITS_API_KEY", "short")
    with pytest.raises(ValueError, match=r"DIGITS_WORKERS is 'many': .*valid integer") as raised:
        read_settings()
    assert "DIGITS_API_KEY is set: " in str(raised.value) and "short" not in str(raised.value).replace("shorter", "")
