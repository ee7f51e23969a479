# SPDX-License-Identifier: Apache-2.0
"""A large image made small in one pass: halved, then interpolated linearly between the pixels of the half."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.compiled import array, kernel, view
from vl_anomaly_ros.types import ByteArray, IntArray

_WHOLE = 1024
"""Shares are counted in parts of this, so that 4 pixels x 255 x 1024 x 1024 stays within 32 bits."""
_BITS = 22
"""Of 4 x 1024 x 1024."""
_HALF = 1 << (_BITS - 1)
_3, _6, _9 = np.uint64(3), np.uint64(6), np.uint64(9)
"""To the same channel of the next pixels."""


def shrink(image: ByteArray, picture: ByteArray, *, turn: bool) -> None:
    """Fill `picture` with the image at its size, within one grey level of OpenCV's INTER_AREA, then INTER_LINEAR.

    Args:
        image: (H, W, 3) uint8, at least 4 x 4 pixels. Of an odd number the last ones count for nothing, and those
            before stay where they are.
        picture: (h, w, 3) uint8, written; its rows may be part of a wider picture.
        turn: whether the order of the channels is turned round.
    """
    image = np.ascontiguousarray(image)
    _shrink(image.reshape(len(image), -1), picture, turn)


@kernel(numba.types.Tuple((array(numba.int64, 1), array(numba.int32, 1)))(numba.int64, numba.int64))
def _axis(pixels: int, places: int) -> tuple[npt.NDArray[np.int64], IntArray]:
    """Of each place along an axis: the first of the four pixels it is made of, and the share of the last two."""
    firsts, shares = np.empty(places, np.int64), np.empty(places, np.int32)
    for place in range(places):
        position = (place + 0.5) * (pixels / 2) / places - 0.5
        half = min(max(int(position), 0), pixels // 2 - 2)
        firsts[place] = 2 * half
        shares[place] = min(max(round((position - half) * _WHOLE), 0), _WHOLE)
    return firsts, shares


@kernel(numba.void(view(numba.uint8, 2), numba.types.Array(numba.uint8, 3, "A"), numba.boolean), long=True)
def _shrink(image: ByteArray, picture: ByteArray, turn: bool) -> None:
    rows, down = _axis(len(image), len(picture))
    columns, along = _axis(image.shape[1] // 3, picture.shape[1])
    blend = np.empty(image.shape[1], np.int32)
    places = (3 * columns).astype(np.uint64)  # without a sign: reading needs no look whether it counts from the end
    order = (2, 1, 0) if turn else (0, 1, 2)
    for y in range(len(picture)):
        top, share = rows[y], down[y]
        rest = _WHOLE - share
        one, two, three, four = image[top], image[top + 1], image[top + 2], image[top + 3]
        for i in range(len(blend)):
            upper, lower = np.int32(one[i]) + np.int32(two[i]), np.int32(three[i]) + np.int32(four[i])
            blend[i] = upper * rest + lower * share
        for x in range(picture.shape[1]):
            share, rest = along[x], _WHOLE - along[x]
            for channel in range(3):
                i = places[x] + np.uint64(channel)
                left, right = blend[i] + blend[i + _3], blend[i + _6] + blend[i + _9]
                picture[y, x, order[channel]] = (left * rest + right * share + _HALF) >> _BITS
