# SPDX-License-Identifier: Apache-2.0
"""Pictures in every encoding, with the RGB that they mean worked out in numpy by the formulas, not by OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 16, 12
_RNG = np.random.default_rng(20)


@dataclass(frozen=True)
class Encoded:
    """One picture.

    Attributes:
        encoding: as in the message.
        numbers: (rows, W) or (rows, W, channels), native byte order, as stored.
        rgb: (H, W, 3) float64, the exact value of each pixel from 0 to 255.
        tolerance: levels that rounding, and the integer arithmetic of the colour conversion, may cost.
        inner: pixels at the border that have no unique value (demosaicing).
    """

    encoding: str
    numbers: npt.NDArray[Any]
    rgb: npt.NDArray[np.float64]
    tolerance: float = 0.5
    inner: int = 0

    def difference(self, picture: npt.NDArray[Any]) -> float:
        """Largest difference to a decoded picture, in levels, away from the border."""
        assert picture.shape == self.rgb.shape
        assert picture.dtype == np.uint8
        cut = slice(self.inner, -self.inner or None)
        return float(np.abs(picture[cut, cut] - self.rgb[cut, cut]).max())

    def rows(self, big_endian: bool = False, padding: int = 0) -> list[bytes]:
        """The rows as bytes, each followed by so many bytes of 0xEE."""
        ordered = self.numbers.astype(self.numbers.dtype.newbyteorder(">" if big_endian else "<"))
        return [row.tobytes() + b"\xee" * padding for row in ordered]


def every_encoding() -> list[Encoded]:
    """One picture of each encoding that a camera may send."""
    return [*_plain(8), *_plain(16), *_others(), *_bayer(8), *_bayer(16), *_yuv422(), *_yuv420()]


def _plain(bits: int) -> list[Encoded]:
    top = 2**bits - 1
    dtype = np.uint8 if bits == 8 else np.uint16
    rgba = _RNG.integers(0, top, (HEIGHT, WIDTH, 4), endpoint=True).astype(dtype)
    exact = rgba * (255.0 / top)
    orders = {"rgb": [0, 1, 2], "bgr": [2, 1, 0], "rgba": [0, 1, 2, 3], "bgra": [2, 1, 0, 3]}
    colour = [Encoded(f"{name}{bits}", rgba[..., order], exact[..., :3]) for name, order in orders.items()]
    grey = np.repeat(exact[..., :1], 3, axis=2)
    return [*colour, Encoded(f"mono{bits}", rgba[..., 0], grey), Encoded(f"{bits}UC1", rgba[..., 0], grey)]


def _others() -> list[Encoded]:
    blue_first = _RNG.integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    rgb = blue_first[..., 2::-1].astype(float)
    unit = _RNG.random((HEIGHT, WIDTH)).astype(np.float32)
    return [
        Encoded("8UC3", blue_first[..., :3], rgb),
        Encoded("8UC4", blue_first, rgb),
        Encoded("32FC1", unit, np.repeat(unit[..., None] * 255.0, 3, axis=2), 0.501),
    ]


def _bayer(bits: int) -> list[Encoded]:
    """A scene whose colours grow evenly: the mean of a pixel's neighbours on either side is its own value."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    rgb = np.stack([20 + 4 * x + 2 * y, 230 - 3 * x - 6 * y, 60 + 8 * y], axis=2)
    stored = np.rint(rgb * (1 if bits == 8 else 257)).astype(np.uint8 if bits == 8 else np.uint16)
    cells = {"rggb": "rggb", "bggr": "bggr", "gbrg": "gbrg", "grbg": "grbg"}
    found = []
    for name, quad in cells.items():
        mosaic = np.empty((HEIGHT, WIDTH), stored.dtype)
        for at, letter in enumerate(quad):  # the first two pixels of the first row, then those of the second
            row, column = divmod(at, 2)
            mosaic[row::2, column::2] = stored[row::2, column::2, "rgb".index(letter)]
        found.append(Encoded(f"bayer_{name}{bits}", mosaic, rgb, 1.0, inner=2))
    return found


def _bt601(luma: npt.NDArray[Any], u: npt.NDArray[Any], v: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """ITU-R BT.601, limited range: Y from 16 to 235, U and V from 16 to 240 around 128."""
    y, u, v = 255 / 219 * (luma - 16.0), u - 128.0, v - 128.0
    scale = 255 / 224
    red = y + 1.402 * scale * v
    blue = y + 1.772 * scale * u
    green = y - (0.299 * 1.402 * v + 0.114 * 1.772 * u) * scale / 0.587
    return np.clip(np.stack([red, green, blue], axis=2), 0, 255)


def _yuv422() -> list[Encoded]:
    luma = _RNG.integers(16, 236, (HEIGHT, WIDTH)).astype(np.uint8)
    u, v = _RNG.integers(16, 241, (2, HEIGHT, WIDTH // 2)).astype(np.uint8)
    rgb = _bt601(luma, np.repeat(u, 2, axis=1), np.repeat(v, 2, axis=1))
    colours = np.stack([u, v], axis=2).reshape(HEIGHT, WIDTH)  # U, V, U, V: one with each Y
    uyvy, yuyv = np.stack([colours, luma], axis=2), np.stack([luma, colours], axis=2)
    return [
        Encoded("yuv422", uyvy, rgb, 1.5),
        Encoded("uyvy", uyvy, rgb, 1.5),
        Encoded("yuv422_yuy2", yuyv, rgb, 1.5),
        Encoded("yuyv", yuyv, rgb, 1.5),
    ]


def _yuv420() -> list[Encoded]:
    luma = _RNG.integers(16, 236, (HEIGHT, WIDTH)).astype(np.uint8)
    u, v = _RNG.integers(16, 241, (2, HEIGHT // 2, WIDTH // 2)).astype(np.uint8)
    rgb = _bt601(luma, *(np.repeat(np.repeat(c, 2, axis=0), 2, axis=1) for c in (u, v)))
    below = {"nv12": (u, v), "nv21": (v, u)}
    return [
        Encoded(name, np.concatenate([luma, np.stack(pair, axis=2).reshape(HEIGHT // 2, WIDTH)]), rgb, 1.5)
        for name, pair in below.items()
    ]
