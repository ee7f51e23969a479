# SPDX-License-Identifier: Apache-2.0
"""Fitting an image into the network's input, and taking the padding off what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.engine.bundle import MASK_STRIDE
from vl_anomaly_ros.engine.shrinking import shrink
from vl_anomaly_ros.types import ByteArray, FloatArray, bgr_behind

_HALVED_FROM, _HALVED_TWICE_FROM = 2.0, 5.0
"""How many times as large as its place a picture must be to be halved before it is taken linearly, and to be halved
once more before that. So each pixel is made of about the pixels that it covers, in one pass over the picture, at a
fraction of the time of exact means over areas (`bench/letterbox.py`)."""


@dataclass(frozen=True)
class Letterbox:
    """Where an image lies inside the network's input, in network pixels.

    The position and size are multiples of the mask stride. So the image covers whole pixels of the masks, cropping
    them is exact, and `cv2.resize` of the crop to the image's size has no offset. Each scale differs from the common
    one by at most half a stride over the image's length.

    Attributes:
        network_width, network_height: the whole input.
        x0, y0, width, height: the part that the image fills.

    >>> Letterbox.fit(1242, 375, 512, 256)
    Letterbox(network_width=512, network_height=256, x0=0, y0=48, width=512, height=156)
    """

    network_width: int
    network_height: int
    x0: int
    y0: int
    width: int
    height: int

    @classmethod
    def fit(cls, image_width: int, image_height: int, network_width: int, network_height: int) -> Letterbox:
        """The largest centred place of the image's shape."""
        scale = min(network_width / image_width, network_height / image_height)
        width = _strides(image_width * scale, network_width)
        height = _strides(image_height * scale, network_height)
        x0 = (network_width - width) // 2 // MASK_STRIDE * MASK_STRIDE
        y0 = (network_height - height) // 2 // MASK_STRIDE * MASK_STRIDE
        return cls(network_width, network_height, x0, y0, width, height)

    def apply(self, image: ByteArray, padding_rgb: tuple[float, float, float]) -> ByteArray:
        """The network's input: (1, H, W, 3) uint8.

        Args:
            image: (h, w, 3) uint8 RGB.
            padding_rgb: colour around it, 0..1.
        """
        bgr = bgr_behind(image)
        source = image if bgr is None else bgr
        padded: ByteArray = _blank(self.network_width, self.network_height, padding_rgb).copy()
        inside = padded[0, self.y0 : self.y0 + self.height, self.x0 : self.x0 + self.width]
        while self._scale(source) >= _HALVED_TWICE_FROM:
            even = source[: source.shape[0] // 2 * 2, : source.shape[1] // 2 * 2]
            source = np.asarray(cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        if self._scale(source) >= _HALVED_FROM:
            shrink(source, inside, turn=bgr is not None)
        else:
            resized = cv2.resize(source, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
            inside[:] = resized if bgr is None else cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
        return padded

    def _scale(self, image: ByteArray) -> float:
        """How many times as large as its place an image is, along the axis where that is less."""
        return float(min(image.shape[0] / self.height, image.shape[1] / self.width))

    def crop(self, maps: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The image's part of (..., H/4, W/4) maps: (..., height/4, width/4)."""
        y0, x0 = self.y0 // MASK_STRIDE, self.x0 // MASK_STRIDE
        return maps[..., y0 : y0 + self.height // MASK_STRIDE, x0 : x0 + self.width // MASK_STRIDE]

    def crop_features(self, features: FloatArray) -> FloatArray:
        """The image's part of (D, hc, wc) features, at about the same cell size, linear in between cells.

        Where feature cells are larger than the mask stride the border may cut them: then the part is resampled.
        """
        y = _whole_cells(features.shape[1], self.y0, self.height, self.network_height)
        x = _whole_cells(features.shape[2], self.x0, self.width, self.network_width)
        if y is not None and x is not None:
            return features[:, y, x]
        rows = _resampling(features.shape[1], self.y0 / self.network_height, self.height / self.network_height)
        columns = _resampling(features.shape[2], self.x0 / self.network_width, self.width / self.network_width)
        if len(rows) < features.shape[1]:
            features = rows @ features  # matrix products run through BLAS; einsum would take 18 ms a frame
        if len(columns) < features.shape[2]:
            features = (features.reshape(-1, features.shape[2]) @ columns.T).reshape(*features.shape[:2], -1)
        return np.ascontiguousarray(features, np.float32)


@lru_cache(maxsize=8)
def _blank(width: int, height: int, rgb: tuple[float, float, float]) -> ByteArray:
    """(1, height, width, 3) uint8 of one colour, 0..1. A copy of it is made faster than it is."""
    return np.full((1, height, width, 3), np.rint(np.array(rgb) * 255).astype(np.uint8))


def _strides(length_px: float, most_px: int) -> int:
    return min(max(round(length_px / MASK_STRIDE), 1) * MASK_STRIDE, most_px)


def _whole_cells(cells: int, start_px: int, length_px: int, network_px: int) -> slice | None:
    """The cells from a pixel of the network's input on; None where the borders cut any.

    >>> _whole_cells(128, 28, 456, 512), _whole_cells(32, 28, 456, 512)
    (slice(7, 121, None), None)
    """
    if start_px * cells % network_px or length_px * cells % network_px:
        return None
    first = start_px * cells // network_px
    return slice(first, first + length_px * cells // network_px)


@lru_cache(maxsize=8)
def _resampling(cells: int, start: float, length: float) -> FloatArray:
    """(n, cells) float32 linear interpolation weights for n cells that divide [start, start + length] of [0, 1]."""
    count = max(round(cells * length), 1)
    centres = (start + (np.arange(count) + 0.5) / count * length) * cells - 0.5
    centres = np.clip(centres, 0, cells - 1)
    low = np.minimum(centres.astype(int), max(cells - 2, 0))
    weights = np.zeros((count, cells), np.float32)
    weights[np.arange(count), low] += (1 - (centres - low)).astype(np.float32)
    weights[np.arange(count), np.minimum(low + 1, cells - 1)] += (centres - low).astype(np.float32)
    return weights
