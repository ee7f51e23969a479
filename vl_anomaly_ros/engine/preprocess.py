# SPDX-License-Identifier: Apache-2.0
"""Fitting an image into the network's input, and taking the padding off what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.engine.bundle import MASK_STRIDE
from vl_anomaly_ros.types import ByteArray, FloatArray


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
        smaller = image.shape[0] >= self.height and image.shape[1] >= self.width
        interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        resized = cv2.resize(image, (self.width, self.height), interpolation=interpolation)
        if (self.width, self.height) == (self.network_width, self.network_height):
            return np.ascontiguousarray(resized[None])
        padded = np.empty((1, self.network_height, self.network_width, 3), np.uint8)
        padded[:] = np.rint(np.array(padding_rgb) * 255).astype(np.uint8)
        padded[0, self.y0 : self.y0 + self.height, self.x0 : self.x0 + self.width] = resized
        return padded

    def crop(self, maps: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The image's part of (..., H/4, W/4) maps: (..., height/4, width/4)."""
        y0, x0 = self.y0 // MASK_STRIDE, self.x0 // MASK_STRIDE
        return maps[..., y0 : y0 + self.height // MASK_STRIDE, x0 : x0 + self.width // MASK_STRIDE]

    def crop_features(self, features: FloatArray) -> FloatArray:
        """The image's part of (D, hc, wc) features, at about the same cell size, linear in between cells.

        Feature cells are larger than the mask stride, so that the border may cut them: the part is resampled.
        """
        rows = _resampling(features.shape[1], self.y0 / self.network_height, self.height / self.network_height)
        columns = _resampling(features.shape[2], self.x0 / self.network_width, self.width / self.network_width)
        if len(rows) < features.shape[1]:
            features = np.einsum("ij,djk->dik", rows, features)
        if len(columns) < features.shape[2]:
            features = np.einsum("ij,dkj->dki", columns, features)
        return np.ascontiguousarray(features, np.float32)


def _strides(length_px: float, most_px: int) -> int:
    return min(max(round(length_px / MASK_STRIDE), 1) * MASK_STRIDE, most_px)


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
