# SPDX-License-Identifier: Apache-2.0
"""Fitting a picture into the network's input on the processor, against copying it whole to where a GPU could do it.

    ./run bench letterbox [--rounds N]

A GPU reads what lies in pinned memory: a picture that it is to make small has to be copied there in full first. Here
plain memory stands for pinned memory, and what the GPU's own copy and kernel take comes on top. The two take turns.
Written to bench/results/letterbox.json; the ratio is that of the medians, fitting over copying.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from bench.report import percentiles, write_result
from vl_anomaly_ros.console import say
from vl_anomaly_ros.engine.preprocess import Letterbox

PICTURES = ((1242, 375), (1280, 720), (1920, 1080), (1920, 1200), (3840, 2160))
NETWORKS = ((512, 256), (1024, 512))
GREY = (0.5, 0.5, 0.5)
WARM_UP = 5
OTHER_BYTES = 64 << 20  # read in between: a picture that has just come is in no cache of the core


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    rows = [_row(picture, network, args.rounds) for picture in PICTURES for network in NETWORKS]
    say(json.dumps(rows, indent=2))
    say(f"kept in {write_result('letterbox', {'rows': rows})}")


def _row(picture: tuple[int, int], network: tuple[int, int], rounds: int) -> dict[str, Any]:
    bgr = np.random.default_rng(0).integers(0, 256, (picture[1], picture[0], 3), np.uint8)
    box, place, other = Letterbox.fit(*picture, *network), np.empty_like(bgr), np.zeros(OTHER_BYTES, np.uint8)
    ways: dict[str, Callable[[], Any]] = {
        "fit": lambda: box.apply(bgr[:, :, ::-1], GREY),
        "copy": lambda: np.copyto(place, bgr),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM_UP + rounds):
        for name, work in ways.items():
            other.max()
            began = perf_counter()
            work()
            if turn >= WARM_UP:
                times[name].append(1e3 * (perf_counter() - began))
    ratio = round(float(np.median(times["fit"]) / np.median(times["copy"])), 2)
    return {"picture": picture, "network": network, **{n: percentiles(t) for n, t in times.items()}, "ratio": ratio}


if __name__ == "__main__":
    main()
