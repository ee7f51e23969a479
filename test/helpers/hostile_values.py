# SPDX-License-Identifier: Apache-2.0
"""Numbers, texts and bytes that bring down what does not expect them."""

from __future__ import annotations

import array
import random
import struct
from typing import Any

import numpy as np

UINT32 = 2**32 - 1
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 12, 255, 256, 16383, 16384, 16385, 65535, 65536, 2**31 - 1, 2**31, UINT32 - 1, UINT32)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-9, 5e-324, 1e6, -1e6, 1e9, 1e38, 1e300, -1e308, float("inf"), float("-inf"),
          float("nan"))  # fmt: skip
TEXTS = ("", " ", "/", "a", "base_link", "camera", "lidar", "\0", "\n", "x" * 5000, "Größe", "\ud7ff", "rgb8 ", "RGB8",
         "8UC", "8UC5", "32FC3", "nv24", "plumb_bob", "fisheye", "equidistant")  # fmt: skip


def uint32(rng: random.Random, value: int = 1) -> int:
    """A number near `value`, a notorious one, or any."""
    how = rng.randrange(4)
    if how == 0:
        return min(max(value + rng.choice((-2, -1, 1, 2)), 0), UINT32)
    if how == 1:
        return min(value * rng.choice((2, 3, 16, 65536)), UINT32)
    return rng.choice(NUMBERS) if how == 2 else rng.getrandbits(32)


def number(rng: random.Random) -> float:
    """A notorious float, one of plain size, or any of 64 bits."""
    how = rng.randrange(3)
    if how == 0:
        return rng.choice(FLOATS)
    return rng.uniform(-5, 5) if how == 1 else float(struct.unpack("<d", rng.randbytes(8))[0])


def numbers(rng: random.Random, values: list[float], resize: bool = False) -> list[float]:
    """Some of `values` altered; `resize`: or their count."""
    out = list(values)
    for _ in range(rng.randrange(1, 4)):
        if out:
            out[rng.randrange(len(out))] = number(rng)
    if resize and rng.random() < 0.5:
        out = out[: rng.randrange(len(out) + 1)] if rng.random() < 0.5 else out + [number(rng)] * rng.choice((1, 9, 99))
    return out


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Cut, lengthened, flipped or replaced bytes."""
    how = rng.randrange(5)
    if how == 0:
        return data[: rng.randrange(len(data) + 1)]
    if how == 1:
        return data + rng.randbytes(rng.choice((1, 7, 100)))
    if how == 2:
        return rng.randbytes(rng.choice((0, 1, 5, 64, len(data))))
    flipped = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        if flipped:
            flipped[rng.randrange(len(flipped))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8)))
    return bytes(flipped)


def contained(rng: random.Random, data: bytes) -> Any:
    """The bytes in one of the containers that rclpy and bag readers use."""
    how = rng.randrange(4)
    if how == 0:
        return array.array("B", data)
    if how == 1:
        return data
    if how == 2:
        return np.frombuffer(data, np.uint8)
    return np.frombuffer(b"!" + data, np.uint8)[1:]  # not aligned
