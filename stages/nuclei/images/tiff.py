"""Decode TIFF files, of every compression by the same library, to the values that they store.

The pixels of a file must not depend on its compression or layout, so tifffile and imagecodecs decode all of them. They
leave orientation, palette, MinIsWhite and alpha to this module.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
# decoded in part; to YCbCr; without an error where the file is cut off
UNSUPPORTED = (COMPRESSION.OJPEG, COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.JPEGXR, COMPRESSION.JPEGXR_NDPI)
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
        pages = Pages(page, name, max_px)
        if pages.samples > pages.colours:
            alpha = page.samplesperpixel > pages.samples
            got = f"{page.samplesperpixel} channels, the last {'' if alpha else 'not '}marked as alpha"
            raise not_one_image(got, CHANNELS, name)
        values, lossy = pages.values(page), page.compression in JPEGS
    return Pixels(values, pages.bits, pages.palette, pages.white_is_zero, lossy)


class Pages:
    """Decodes pages that are all of one kind, that of their keyframe.

    Args:
        keyframe: a `TiffPage`, or any of pages that differ in nothing but their values.
        name: what errors call the file.
        max_px: largest height times width accepted.

    Attributes:
        colours: samples of a pixel that make up its colour: 1 for gray, 3 for RGB, 4 for CMYK.
        samples: samples besides alpha; more than `colours` only for gray, of which each sample is then a channel.
        bits: bits of a value that the file stores.
        white_is_zero: whether a viewer shows 0 as white.
        palette: (N, 3) uint8 RGB colours, or None.

    Raises:
        InputError: the pages are too large or can not be interpreted.
        ValueError: the file is damaged.
    """

    def __init__(self, keyframe: Any, name: str, max_px: int) -> None:
        self._keyframe, self._name, self._max_px = keyframe, name, max_px
        check_size(keyframe.imagelength, keyframe.imagewidth, name, max_px)
        self.colours, self.samples = _check_kind(keyframe, name)
        photometric = keyframe.photometric
        self.bits = keyframe.bitspersample if isinstance(keyframe.bitspersample, int) else 8
        self._is_fax = photometric == PHOTOMETRIC.MINISWHITE and keyframe.compression in FAX
        self.white_is_zero = photometric == PHOTOMETRIC.MINISWHITE and not self._is_fax
        self._is_cmyk = photometric == PHOTOMETRIC.SEPARATED
        self.palette: NDArray[np.uint8] | None = None
        if photometric == PHOTOMETRIC.PALETTE:
            self.palette = (keyframe.colormap >> 8).astype(np.uint8).T
        if keyframe.compression in JPEGS and keyframe.planarconfig == PLANARCONFIG.SEPARATE:
            keyframe.photometric = PHOTOMETRIC.MINISBLACK  # of each plane; tifffile can not decode it as a part of RGB

    def values(self, page: Any) -> NDArray[Any]:
        """Decode a page to (H, W), or (H, W, C) where it is in colour or has several samples."""
        _check_segments(page, self._keyframe, self._max_px)
        try:
            return self.interpreted(page.asarray())
        except NotImplementedError as error:
            raise _not_supported(str(error), self._name) from None

    def interpreted(self, values: NDArray[Any]) -> NDArray[Any]:
        """What `values` returns, from the array of a page as tifffile gives it."""
        keyframe = self._keyframe
        if keyframe.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        if self._is_fax:  # in fax coding 0 is white whatever the image means
            values = ~values
        if keyframe.samplesperpixel > self.samples:
            values = without_alpha(values, self._name)
        if self._is_cmyk:
            values = np.asarray(Image.fromarray(np.ascontiguousarray(values), "CMYK").convert("RGB"))
        values = values.astype(np.uint8) if values.dtype == np.bool_ else values
        return upright(values, keyframe.tags.valueof(ORIENTATION))


def _only_page(file: TiffFile, name: str) -> Any:
    """The page that holds the file's only image, with axes YX, YXS or SYX."""
    series = full_resolution(file)
    if len(series) != 1:
        raise not_one_image(f"{len(series)} images", "save each as a file of its own", name)
    sizes = zip(series[0].get_axes(False), series[0].get_shape(False), strict=True)
    several = [(AXES.get(axis, "pages"), size) for axis, size in sizes if axis not in "YXS" and size > 1]
    page = series[0].keyframe
    if several:
        got = " x ".join(f"{size} {what}" for what, size in several) + f" of {page.imagelength} x {page.imagewidth}"
        fix = CHANNELS if several[-1][0] == "channels" else "save each page as a file of its own"
        raise not_one_image(got, fix, name)
    if len(series[0]) != 1 or series[0][0] is None or page.imagedepth != 1:
        raise ValueError("its pages are not those that its description lists")
    return page


def full_resolution(file: TiffFile) -> list[Any]:
    """The series of pages of a file, without reduced copies, such as thumbnails and the levels of a pyramid."""
    return [some for some in file.series if not some.keyframe.is_reduced]


def _check_kind(page: Any, name: str) -> tuple[int, int]:
    """Refuse what can not be interpreted; return the samples that make up a colour, and all samples besides alpha."""
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
    if page.photometric not in GRAY and samples > colours + alpha:
        fix = "save it without the extra channel, or mark that as alpha"
        got = f"{samples} channels, the last {'' if alpha else 'not '}marked as alpha"
        raise not_one_image(got, fix, name)
    return colours, samples - alpha if samples > colours else samples


def _check_segments(page: Any, keyframe: Any, max_px: int) -> None:
    """Refuse strips and tiles that are missing, or far larger than the image."""
    count = math.prod(keyframe.chunked)
    if min(len(page.dataoffsets), len(page.databytecounts)) < count or 0 in page.databytecounts[:count]:
        raise ValueError("some of its strips or tiles are missing")  # tifffile would leave them as they are in memory
    height, width = (keyframe.tilelength, keyframe.tilewidth) if keyframe.is_tiled else (1, keyframe.imagewidth)
    if height * width > max(max_px, MIN_SEGMENT_PX):
        raise ValueError(f"it has tiles of {height} x {width} pixels")


def not_one_image(got: str, fix: str, name: str) -> InputError:
    expected = "one image, gray or RGB"
    return InputError("a TIFF does not hold a single image", file=name, got=got, expected=expected, fix=fix)


def _not_supported(got: str, name: str) -> InputError:
    return InputError("a TIFF is of a kind that is not supported", file=name, got=got, fix=CONVERT)
