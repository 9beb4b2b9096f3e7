"""Decode TIFF files, of every compression by the same library, to the values that they store.

The pixels of a file must not depend on its compression or layout, so tifffile and imagecodecs decode all of them. They
leave orientation, palette, MinIsWhite and alpha to this module.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import Image
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, TIFF, TiffFile

from nuclei.base.errors import InputError
from nuclei.images.pixels import ORIENTATION, Pixels, check_size, upright, without_alpha

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MIN_SEGMENT_PX = 2**20  # strips and tiles up to this size are accepted even in a smaller image

GRAY = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MASK)
SAMPLES = dict.fromkeys((*GRAY, PHOTOMETRIC.PALETTE), 1) | {
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.SEPARATED: 4,
}
JPEGS = (COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY)
JPEG_2000 = (COMPRESSION.JPEG2000, COMPRESSION.JPEG_2000_LOSSY, COMPRESSION.APERIO_JP2000_RGB)
UNSUPPORTED = (COMPRESSION.OJPEG, COMPRESSION.APERIO_JP2000_YCBC)  # decoded in part, or to YCbCr
FAX = (COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6)
ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
AXES = {"C": "channels", "Z": "slices (Z)", "T": "time points"}
CHANNELS = "save the channel that shows the nuclei as a gray image, or a colour image as RGB"
CONVERT = "save it as RGB or gray, uncompressed or with LZW, Deflate or Zstandard"


def decoded_tiff(data: bytes, name: str, max_px: int) -> Pixels:
    """Decode a TIFF that holds a single gray, palette or colour image.

    Axes of length 1, reduced copies (pyramids, thumbnails) and alpha are dropped.

    Raises:
        InputError: it holds several images or channels, is too large, or is of a kind that is not supported.
        Exception: of many types, if the file is damaged.
    """
    with TiffFile(io.BytesIO(data), _multifile=False) as file:
        page = _only_page(file, name)
        check_size(page.imagelength, page.imagewidth, name, max_px)
        colours, photometric = _check_kind(page, name), page.photometric
        _check_segments(page, max_px)
        if page.compression in JPEGS and page.planarconfig == PLANARCONFIG.SEPARATE:
            page.photometric = PHOTOMETRIC.MINISBLACK  # of each plane; tifffile can not decode it as a part of RGB
        try:
            values = page.asarray()
        except NotImplementedError as error:
            raise _not_supported(str(error), name) from None
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
        orientation = page.tags.valueof(ORIENTATION)
        white_is_zero = photometric == PHOTOMETRIC.MINISWHITE
        if white_is_zero and page.compression in FAX:  # in fax coding 0 is white whatever the image means
            values, white_is_zero = ~values, False
        palette = (page.colormap >> 8).astype(np.uint8).T if photometric == PHOTOMETRIC.PALETTE else None
        if page.samplesperpixel > colours:
            values = without_alpha(values, name)
        if photometric == PHOTOMETRIC.SEPARATED:
            values = np.asarray(Image.fromarray(np.ascontiguousarray(values), "CMYK").convert("RGB"))
    values = values.astype(np.uint8) if values.dtype == np.bool_ else values
    return Pixels(upright(values, orientation), bits, palette, white_is_zero, page.compression in JPEGS)


def _only_page(file: TiffFile, name: str) -> Any:
    """The page that holds the file's only image, with axes YX, YXS or SYX."""
    series = [some for some in file.series if not some.keyframe.is_reduced]
    if len(series) != 1:
        raise _not_one_image(f"{len(series)} images", "save each as a file of its own", name)
    sizes = zip(series[0].get_axes(False), series[0].get_shape(False), strict=True)
    several = [(AXES.get(axis, "pages"), size) for axis, size in sizes if axis not in "YXS" and size > 1]
    page = series[0].keyframe
    if several:
        got = " x ".join(f"{size} {what}" for what, size in several) + f" of {page.imagelength} x {page.imagewidth}"
        fix = CHANNELS if several[-1][0] == "channels" else "save each page as a file of its own"
        raise _not_one_image(got, fix, name)
    if len(series[0]) != 1 or series[0][0] is None or page.imagedepth != 1:
        raise ValueError("its pages are not those that its description lists")
    return page


def _check_kind(page: Any, name: str) -> int:
    """Refuse what can not be interpreted; return the number of samples besides alpha."""
    if page.photometric not in SAMPLES:
        raise _not_supported(f"colours stored as {getattr(page.photometric, 'name', page.photometric)}", name)
    if page.compression not in TIFF.DECOMPRESSORS or page.compression in UNSUPPORTED:
        raise _not_supported(f"compression {getattr(page.compression, 'name', page.compression)}", name)
    if page.compression in JPEG_2000 and page.bitspersample > 16:  # OpenJPEG returns other values
        raise _not_supported(f"JPEG 2000 compression of {page.bitspersample} bits", name)
    if page.dtype is None or page.dtype.kind not in "buif":
        raise _not_supported(f"values of {page.bitspersample} bits, sample format {page.sampleformat}", name)
    contiguous_jpeg = page.compression in JPEGS and page.planarconfig == PLANARCONFIG.CONTIG
    if page.photometric == PHOTOMETRIC.YCBCR and not contiguous_jpeg:
        raise _not_supported("YCbCr colours other than in contiguous JPEG", name)
    if page.photometric == PHOTOMETRIC.SEPARATED and page.dtype != np.uint8:
        raise _not_supported(f"CMYK colours of {page.dtype}", name)
    colours, samples = SAMPLES[page.photometric], page.samplesperpixel
    # libtiff, and with it most viewers, takes a fourth sample of RGB for alpha where ExtraSamples is missing (OpenCV)
    alpha = page.extrasamples[-1] in ALPHA if page.extrasamples else (colours, samples) == (3, 4)
    if samples < colours:
        raise ValueError(f"{samples} samples for {page.photometric.name}")
    if samples > colours + alpha:
        fix = "save it without the extra channel, or mark that as alpha" if colours > 1 else CHANNELS
        got = f"{samples} channels, the last {'' if alpha else 'not '}marked as alpha"
        raise _not_one_image(got, fix, name)
    return colours


def _check_segments(page: Any, max_px: int) -> None:
    """Refuse strips and tiles that are missing, or far larger than the image."""
    count = math.prod(page.chunked)
    if min(len(page.dataoffsets), len(page.databytecounts)) < count or 0 in page.databytecounts[:count]:
        raise ValueError("some of its strips or tiles are missing")  # tifffile would leave them as they are in memory
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (1, page.imagewidth)
    if height * width > max(max_px, MIN_SEGMENT_PX):
        raise ValueError(f"it has tiles of {height} x {width} pixels")


def _not_one_image(got: str, fix: str, name: str) -> InputError:
    expected = "one image, gray or RGB"
    return InputError("a TIFF does not hold a single image", file=name, got=got, expected=expected, fix=fix)


def _not_supported(got: str, name: str) -> InputError:
    return InputError("a TIFF is of a kind that is not supported", file=name, got=got, fix=CONVERT)
