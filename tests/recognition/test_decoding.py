"""Decoding: accepted formats, rejected files and their errors."""

import io
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from recognition.decoding import (
    FORMATS,
    BrokenImage,
    ImageError,
    NotAnImage,
    TooManyPixels,
    canvas_size,
    decode_image,
    detect_format,
    strip_png,
)


def encode(format: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_png_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    return png[:33] + png_chunk(kind, content) + png[33:]  # 33: signature and IHDR


@pytest.mark.parametrize("format", FORMATS)
def test_the_format_is_detected_and_the_image_is_decoded(format):
    data = encode(format)
    assert detect_format(data) == format
    image = decode_image(data)
    assert image.size == (40, 30)
    image.getpixel((39, 29))


def test_the_canvas_size_of_gif_and_of_all_kinds_of_webp_is_read():
    for data in (encode("GIF"), encode("WEBP", lossless=True), encode("WEBP", quality=50)):
        assert canvas_size(data) == (40, 30)
    buffer = io.BytesIO()
    Image.new("RGBA", (70, 50), (1, 2, 3, 4)).save(buffer, "WEBP")  # the alpha channel requires the extended format
    assert canvas_size(buffer.getvalue()) == (70, 50)


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"BM"])
def test_other_bytes_are_not_an_image(data):
    with pytest.raises(NotAnImage, match="PNG, JPEG, WebP, BMP or GIF"):
        decode_image(data)


def test_other_formats_that_pillow_reads_are_rejected():
    for format in ("TIFF", "ICO", "PPM", "TGA"):
        with pytest.raises(NotAnImage):
            decode_image(encode(format))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files_are_broken(format, share):
    data = encode(format)
    with pytest.raises(BrokenImage, match="complete"):
        decode_image(data[: int(len(data) * share)])


def test_too_many_pixels_are_rejected_by_the_header_alone():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow would warn about the bomb: the size is checked first
        with pytest.raises(TooManyPixels, match="16,000,000"):
            decode_image(bomb)


@pytest.mark.parametrize("format", FORMATS)
def test_no_pixel_is_decoded_before_the_size_is_checked(format, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("pixels were decoded"))
    if format in ("GIF", "WEBP"):
        monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("Pillow was called"))
    with pytest.raises(TooManyPixels, match="40 x 30"):
        decode_image(encode(format), max_pixels=1199)


def with_size(format: str, width: int, height: int) -> bytes:
    """A small file whose header announces another size."""
    data = bytearray(encode(format, lossless=True) if format == "WEBP" else encode(format))
    start, size = {
        "PNG": (16, struct.pack(">II", width, height)),
        "JPEG": (data.find(b"\xff\xc0") + 5, struct.pack(">HH", height, width)),
        "WEBP": (21, struct.pack("<I", (width - 1) | (height - 1) << 14)),
        "BMP": (18, struct.pack("<ii", width, -height)),
        "GIF": (6, struct.pack("<HH", width, height)),
    }[format]
    data[start : start + len(size)] = size
    if format == "PNG":
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize("side", [9_000, 16_000])  # below and above the size at which Pillow refuses to open a file
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_files_that_announce_a_huge_size_take_little_memory(side):
    files = {format: with_size(format, side, side) for format in FORMATS}
    code = """
import resource, sys
from recognition.decoding import TooManyPixels, decode_image
files = eval(sys.stdin.read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for format, data in files.items():
    try:
        decode_image(data)
    except TooManyPixels:
        continue
    sys.exit(f"{format} was decoded")
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""
    found = subprocess.run([sys.executable, "-c", code], input=repr(files), capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < 30_000_000  # bytes; 81 million pixels take 81,000,000 or more


def test_the_pixel_limit_is_inclusive():
    assert decode_image(encode("PNG"), max_pixels=1200).size == (40, 30)
    with pytest.raises(TooManyPixels, match="40 x 30"):
        decode_image(encode("PNG"), max_pixels=1199)


def test_a_gif_frame_larger_than_its_canvas_is_rejected():
    data = bytearray(encode("GIF"))
    data[6:10] = struct.pack("<HH", 2, 2)
    with pytest.raises(TooManyPixels):
        decode_image(bytes(data), max_pixels=1000)


def test_the_first_frame_of_an_animation_is_decoded():
    frames = [Image.new("L", (8, 8), shade) for shade in (10, 200)]
    for format in ("GIF", "WEBP", "PNG"):
        buffer = io.BytesIO()
        frames[0].save(buffer, format, save_all=True, append_images=frames[1:])
        assert decode_image(buffer.getvalue()).convert("L").getpixel((4, 4)) < 50


def test_compressed_metadata_is_removed_before_pillow_reads_it():
    png = encode("PNG")
    packed = zlib.compress(b"\0" * 5_000_000)
    for kind, content in ((b"zTXt", b"key\0\0" + packed), (b"iCCP", b"profile\0\0" + packed)):
        assert strip_png(with_png_chunk(png, kind, content)) == png
    image = decode_image(with_png_chunk(png, b"zTXt", b"key\0\0" + packed))
    assert "key" not in image.info


def test_stripping_keeps_transparency_and_orientation():
    palette = Image.new("P", (4, 4))
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    palette.save(buffer, "PNG", transparency=0, exif=exif)
    image = decode_image(buffer.getvalue())
    assert image.info["transparency"] is not None
    assert image.getexif()[0x0112] == 6


def test_a_large_jpeg_is_decoded_smaller_but_not_below_min_side():
    data = encode("JPEG", (800, 600))
    assert decode_image(data).size == (800, 600)
    reduced = decode_image(data, min_side=150)
    assert 150 <= min(reduced.size) < 600


def test_global_settings_of_pillow_are_unchanged():
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    decode_image(encode("PNG"))
    after = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    assert after == before and not after[0]


def check_only_image_errors(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert isinstance(decode_image(data, max_pixels=100_000), Image.Image)
        except ImageError as error:
            assert "\n" not in str(error) and str(error)


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8X", b"GIF89a", b"BM"]),
    st.binary(),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_an_image_or_an_image_error(start, rest):
    check_only_image_errors(start + rest)


ENCODED = {format: encode(format) for format in FORMATS}


@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=250, deadline=None)
def test_corrupted_files_give_an_image_or_an_image_error(format, changes):
    data = bytearray(ENCODED[format])
    for position, value in changes:
        data[position % len(data)] = value
    check_only_image_errors(bytes(data))


MODES = {"PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "JPEG": ("L", "RGB", "CMYK"), "WEBP": ("RGB", "RGBA")}
MODES |= {"BMP": ("1", "L", "P", "RGB"), "GIF": ("L", "P")}


@given(st.data(), st.sampled_from(FORMATS), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=120, deadline=None)
def test_every_size_and_mode_is_decoded_and_truncated_files_raise_image_errors(data, format, width, height):
    mode = data.draw(st.sampled_from(MODES[format]))
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, format)
    whole = buffer.getvalue()
    assert decode_image(whole).size == (width, height)
    check_only_image_errors(whole[: data.draw(st.integers(0, len(whole)))])
    with pytest.raises(TooManyPixels):
        decode_image(whole, max_pixels=width * height - 1)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_any_size_in_a_header_gives_an_image_or_an_image_error(width, height):
    data = bytearray(ENCODED["BMP"])
    data[18:26] = struct.pack("<ii", width, height)
    check_only_image_errors(bytes(data))
    png = bytearray(ENCODED["PNG"])
    png[16:24] = struct.pack(">II", width & 0xFFFFFFFF, height & 0xFFFFFFFF)
    check_only_image_errors(bytes(png))
