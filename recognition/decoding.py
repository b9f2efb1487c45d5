"""Bytes from outside to a picture: the format, the size and the memory are bounded before any pixel is decoded."""

import io
import struct
from typing import Final

from PIL import Image

# Pillow's other decoders stay closed to strangers: some run external programs, most are seldom fuzzed.
FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
# A 16-megapixel telephone photograph passes; as RGBA it takes 64 MB.
MAX_PIXELS: Final = 16_000_000
# An EXIF block with a thumbnail fits; only its orientation is read.
MAX_EXIF_BYTES: Final = 65_535

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# JPEG's start-of-frame markers, which carry the size (ITU-T T.81, table B.1); C4, C8 and CC mean other things.
JPEG_FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_BARE_MARKERS: Final = frozenset(range(0xD0, 0xDA)) | {0x01}


class ImageError(ValueError):
    """Bytes that cannot become a picture; the message says what is wrong and what would be right."""


class NotAnImage(ImageError):
    """The bytes are none of the formats in FORMATS."""


class TooManyPixels(ImageError):
    """Width times height is beyond the limit."""


class BrokenImage(ImageError):
    """The right format, but truncated or corrupt."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS, enough: int | None = None) -> Image.Image:
    """The decoded picture, of an animation its first frame, not yet turned as its EXIF says.

    `enough`: a JPEG may be decoded at 1/2, 1/4 or 1/8 as long as both its sides stay at least this long (faster, less
    memory). Raises NotAnImage, TooManyPixels or BrokenImage, and nothing else, whatever the bytes.
    """
    name = detect_format(data)
    if name is None:
        raise NotAnImage("these bytes are no picture in a format read here; send PNG, JPEG, WebP, BMP or GIF")
    broken = BrokenImage(f"this {name} is truncated or corrupt; send a complete {name} file")
    try:
        _check_size(read_size(name, data), max_pixels)
        image = Image.open(io.BytesIO(strip_png(data) if name == "PNG" else data), formats=[name])
        _check_size(image.size, max_pixels)  # a GIF's first frame may be larger than its canvas
        if enough is not None:
            image.draft(None, (enough, enough))
        image.load()
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many(max_pixels) from None
    except MemoryError:
        raise broken from None
    except Exception as error:  # Pillow's decoders raise a dozen kinds on corrupt files
        raise broken from error
    return image


def detect_format(data: bytes) -> str | None:
    """Which of FORMATS the first bytes announce."""
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "BMP" if data.startswith(b"BM") and len(data) > 18 else None


def read_size(name: str, data: bytes) -> tuple[int, int]:
    """Width and height as the header states them, before any decoder runs.

    Raises struct.error, IndexError or BrokenImage when the header is cut or makes no sense.
    """
    if name == "PNG":
        width, height = struct.unpack_from(">II", data, 16)
    elif name == "GIF":
        width, height = struct.unpack_from("<HH", data, 6)
    elif name == "BMP":
        old = struct.unpack_from("<I", data, 14)[0] == 12
        width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    elif name == "WEBP":
        width, height = _webp_size(data)
    else:
        width, height = _jpeg_size(data)
    return abs(width), abs(height)  # a BMP's height is negative when its rows run downwards


def _webp_size(data: bytes) -> tuple[int, int]:
    """From the first chunk of the container (RFC 9649): extended, lossless or lossy."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """From the first start-of-frame segment; those before it are skipped by their length."""
    at = 2
    while at < len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF or marker in JPEG_BARE_MARKERS:  # fill byte, or a marker without a segment
            at += 1 if marker == 0xFF else 2
            continue
        if marker in JPEG_FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise BrokenImage("this JPEG has no frame header; send a complete JPEG file")


def strip_png(data: bytes) -> bytes:
    """Without the chunks that pixels do not need: text, profiles, animation frames can unpack to many megabytes."""
    kept, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        critical = not kind[0] & 0x20  # PNG specification, 5.4: an upper-case first letter
        if critical or kind == b"tRNS" or (kind == b"eXIf" and length <= MAX_EXIF_BYTES):
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BrokenImage(f"this picture is {width} x {height} pixels; send one with at least one pixel")
    if width * height > max_pixels:
        raise _too_many(max_pixels, f" of {width} x {height}")


def _too_many(max_pixels: int, which: str = "") -> TooManyPixels:
    return TooManyPixels(f"a picture{which} has too many pixels; send one of at most {max_pixels:,}")
