# SPDX-License-Identifier: Apache-2.0
"""Time the decoding of images in every encoding and of clouds in common layouts; writes bench/results/decoding.json.

./run bench decoding [--repeats N] [--size WxH] [--points N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from time import perf_counter
from types import SimpleNamespace as Message
from typing import Any

import cv2
import numpy as np

from bench.report import percentiles, write_result
from vl_anomaly_ros.decoding.clouds import decode_cloud
from vl_anomaly_ros.decoding.compressed import decode_compressed
from vl_anomaly_ros.decoding.encodings import ENCODINGS
from vl_anomaly_ros.decoding.images import decode_image

XYZ = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
LAYOUTS: dict[str, list[tuple[str, str]]] = {
    "16 bytes, no times": [*XYZ, ("intensity", "<f4")],
    "22 bytes, time float32": [*XYZ, ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")],
    "26 bytes, timestamp float64": [*XYZ, ("intensity", "<f4"), ("ring", "<u2"), ("timestamp", "<f8")],
    "32 bytes, t uint32": [*XYZ, ("intensity", "<f4"), ("t", "<u4"), ("ring", "<u2"), ("pad", "V10")],
    "24 bytes, float64": [("x", "<f8"), ("y", "<f8"), ("z", "<f8")],
}
CODES = {"f4": 7, "f8": 8, "u4": 6, "u2": 4}
NOISE = np.random.default_rng(0)


def images(width: int, height: int, padding: int) -> Iterator[tuple[str, Message]]:
    """A message of each encoding."""
    for name, encoding in ENCODINGS.items():
        rows = height * encoding.rows[0] // encoding.rows[1]
        used = width * encoding.channels * encoding.dtype.itemsize
        data = NOISE.integers(0, 256, (rows, used + padding), np.uint8)
        if name == "32FC1":
            data[:, :used] = NOISE.random((rows, width)).astype(np.float32).view(np.uint8)
        yield (
            name,
            Message(encoding=name, width=width, height=height, step=used + padding, is_bigendian=0, data=data.ravel()),
        )


def files(width: int, height: int) -> Iterator[tuple[str, Message]]:
    """A JPEG and a PNG of a smooth picture with some noise."""
    picture = cv2.GaussianBlur(NOISE.integers(0, 256, (height, width, 3), np.uint8), (9, 9), 0)
    for kind in ("jpeg", "png"):
        data = cv2.imencode(f".{kind}", picture)[1].ravel()
        yield f"{kind}, {len(data) >> 10} KiB", Message(format=kind, data=data)


def clouds(count: int, missing: float) -> Iterator[tuple[str, Message]]:
    """A cloud of each layout, of whose points a part is NaN."""
    for name, layout in LAYOUTS.items():
        points = np.zeros(count, layout)
        for axis in "xyz":
            points[axis] = NOISE.normal(0, 20, count)
        points["x"][NOISE.random(count) < missing] = np.nan
        for field, scale in {"t": 800.0, "time": 8e-7, "timestamp": 8e-7}.items():
            if field in (points.dtype.names or ()):
                points[field] = np.arange(count) * scale + (100 if field == "timestamp" else 0)
        fields = [
            Message(name=field, offset=place[1], datatype=CODES[place[0].str[1:]], count=1)
            for field, place in (points.dtype.fields or {}).items()
            if field != "pad"
        ]
        yield name, Message(
            header=Message(stamp=Message(sec=100, nanosec=0), frame_id="lidar"), height=1, width=count, fields=fields,
            is_bigendian=False, is_dense=False, point_step=points.itemsize, row_step=points.nbytes,
            data=points.view(np.uint8).ravel(),
        )  # fmt: skip


def timed(decode: Callable[[Any], Any], message: Message, repeats: int) -> dict[str, float]:
    """Median, 99th percentile and least milliseconds of one message."""
    taken = []
    for _ in range(repeats):
        began = perf_counter()
        decode(message)
        taken.append((perf_counter() - began) * 1e3)
    return {**percentiles(taken), "min_ms": round(min(taken), 2)}


def main() -> None:
    """Measure, print one line each, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--size", default="1920x1080", help="of the images")
    parser.add_argument("--points", type=int, default=120_000)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = (int(side) for side in args.size.split("x"))
    messages = {
        "image": (decode_image, images(width, height, 0)),
        "image, 64 bytes of padding": (decode_image, images(width, height, 64)),
        "file": (decode_compressed, files(width, height)),
        "cloud": (decode_cloud, clouds(args.points, 0.0)),
        "cloud, a tenth NaN": (decode_cloud, clouds(args.points, 0.1)),
    }
    result: dict[str, dict[str, dict[str, float]]] = {}
    for kind, (decode, found) in messages.items():
        for name, message in found:
            figures = result.setdefault(kind, {})[name] = timed(decode, message, args.repeats)
            print(f"{kind:28s} {name:28s} " + "  ".join(f"{key} {value:6.2f}" for key, value in figures.items()))
    setting = {"size": args.size, "points": args.points, "repeats": args.repeats, "opencv_threads": 1}
    print(f"kept in {write_result('decoding', {'setting': setting, 'milliseconds': result})}")


if __name__ == "__main__":
    main()
