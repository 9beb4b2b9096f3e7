"""Binary masks, which tell nuclei from background but not from each other: recognising and reading them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nuclei.base.errors import InputError
from nuclei.images.decoding import decoded
from nuclei.images.io import check_background, read_labels, read_rgb

FEWEST_COMPONENTS = 5
GRAY_LEVELS = 128  # the largest value of a gray mask is at least this; smaller ones are classes or labels
SOFT = 0.5  # at least this fraction of a gray mask's visible pixels is nearly white
Mask = NDArray[np.bool_]  # (H, W)


class Structure(NamedTuple):
    """How many nuclei an annotation or a data set has, and in how many parts.

    Attributes:
        nuclei: number of labels.
        divided: how many of them have several 8-connected components.
        components: the components of all of them.
    """

    nuclei: int = 0
    divided: int = 0
    components: int = 0

    @property
    def looks_binary(self) -> bool:
        """Whether most labels have several components: a binary mask, or gray levels along the edges of one.

        In BBBC038, 2 of 28,986 nuclei have several.
        """
        return self.divided > self.nuclei / 2 and self.components >= FEWEST_COMPONENTS

    def error(self, file: object) -> InputError:
        """The error for an annotation that looks binary."""
        return InputError(
            "an annotation looks like a binary mask, not like one label for each nucleus",
            file=str(file),
            got=f"{self.nuclei} {'label' if self.nuclei == 1 else 'labels'} in {self.components} connected components",
            expected="a label map with a value of its own for each nucleus, or one mask for each nucleus",
            fix="-S prepare.binary_masks=components makes each connected component a nucleus, touching nuclei becoming "
            "one; if the nuclei really are in several parts, -S prepare.binary_masks=instances",
        )


def read_binary(data: bytes, *, name: str, max_px: int) -> Mask:
    """Read a binary mask as (H, W) bool: 0/1, 0/255, or gray levels, of which those above half the largest are nucleus.

    Gray levels along the edges come from resizing with interpolation and from JPEG, which is accepted here.

    Raises:
        InputError: as `read_labels`; or the values are those of a label map or of several classes; or the background is
            not 0.
    """
    if decoded(data, name, max_px).lossy:
        values: NDArray[np.unsignedinteger] = read_rgb(data, name=name, max_px=max_px).max(axis=2)
    else:
        values = read_labels(data, name=name, max_px=max_px)
    high = int(values.max())
    mask: Mask = values > high / 2
    if (values[values > 0] != high).any():
        visible, white = np.count_nonzero(values > high / 8), np.count_nonzero(values > high * 3 / 4)
        if high < GRAY_LEVELS or white < SOFT * visible:
            raise InputError(
                "a mask is not binary",
                file=name,
                got=f"{len(np.unique(values))} values from 0 to {high}",
                expected="two values, or black and white with gray edges",
                fix="for a label map, -S prepare.binary_masks=error; of several classes, keep the nuclei alone",
            )
    check_background(mask, name, "a binary mask")
    return mask
