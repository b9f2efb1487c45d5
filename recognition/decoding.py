"""Decodes image files from untrusted sources. Format, size and memory are checked before any pixel is decoded."""

import io
import struct
import warnings
from typing import Final

from PIL import Image

# Pillow's other decoders are not exposed to untrusted files: some run external programs, most are rarely fuzzed.
FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS: Final = 16_000_000  # a 16-megapixel photograph; it takes 64 MB as RGBA
MAX_EXIF_BYTES: Final = 65_535  # enough for EXIF data with a thumbnail; only the orientation is read
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
SIGNATURES: Final = {PNG_SIGNATURE: "PNG", b"\xff\xd8\xff": "JPEG", b"GIF87a": "GIF", b"GIF89a": "GIF"}

# Pillow only warns of images with 89 to 179 megapixels; as an error, the warning becomes TooManyPixels below.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class ImageError(ValueError):
    """The image cannot be used. The message states the problem and what to send instead."""


class NotAnImage(ImageError):
    """The bytes are not in one of FORMATS."""


class TooManyPixels(ImageError):
    """Width times height exceeds the limit."""


class BrokenImage(ImageError):
    """The file is truncated or corrupt."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS, min_side: int | None = None) -> Image.Image:
    """Decodes an image, of an animation the first frame, without applying the EXIF orientation.

    With `min_side`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size if both sides keep that many pixels; this saves
    time and memory. Raises only NotAnImage, TooManyPixels or BrokenImage, for any bytes.
    """
    name = detect_format(data)
    if name is None:
        raise NotAnImage("the file is not a supported image; send PNG, JPEG, WebP, BMP or GIF")
    broken = BrokenImage(f"the {name} file is truncated or corrupt; send a complete {name} file")
    try:
        if name in ("GIF", "WEBP"):  # Pillow may allocate their canvas on opening; it reads only headers of the others
            _check_size(canvas_size(data), max_pixels)
        image = Image.open(io.BytesIO(strip_png(data) if name == "PNG" else data), formats=[name])
        _check_size(image.size, max_pixels)  # a GIF's first frame may be larger than its canvas
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        image.load()
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooManyPixels(f"the image has too many pixels; send one of at most {max_pixels:,}") from None
    except Exception as error:  # Pillow's decoders raise many types of exceptions on corrupt files
        raise broken from error
    return image


def detect_format(data: bytes) -> str | None:
    """Returns the one of FORMATS that the first bytes indicate, or None."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM") and len(data) > 18:
        return "BMP"
    return next((name for signature, name in SIGNATURES.items() if data.startswith(signature)), None)


def canvas_size(data: bytes) -> tuple[int, int]:
    """Reads width and height from the header of a GIF or WebP file (RFC 9649). Raises struct.error if it ends early."""
    kind = data[12:16]
    if data.startswith(b"GIF"):
        width, height = struct.unpack_from("<HH", data, 6)
    elif kind == b"VP8X":  # extended
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
    elif kind == b"VP8L":  # lossless
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return width, height


def strip_png(data: bytes) -> bytes:
    """Removes PNG chunks that pixels do not need: texts and profiles can decompress to many megabytes."""
    view = memoryview(data)  # slices are not copies
    kept, position = [view[:8]], len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        critical = not kind[0] & 0x20  # an upper-case first letter (PNG specification, 5.4)
        if critical or kind == b"tRNS" or (kind == b"eXIf" and length <= MAX_EXIF_BYTES):
            kept.append(view[position : position + 12 + length])
        position += 12 + length
    return data if sum(map(len, kept)) == len(data) else b"".join(kept)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BrokenImage(f"the image is {width} x {height} pixels; send one with at least one pixel")
    if width * height > max_pixels:
        raise TooManyPixels(f"the image has {width} x {height} pixels; send one of at most {max_pixels:,}")
