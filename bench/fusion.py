# SPDX-License-Identifier: Apache-2.0
"""Time LiDAR fusion: 120 000 points all around, 20 regions of a 1920x1080 image, by stage and as a whole.

./run bench fusion [--frames N] [--seed N] [--keep]
"""

from __future__ import annotations

import argparse
import gc
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from types import ModuleType
from typing import Any
from unittest import mock

from bench.report import machine, percentiles, write_result
from bench.street import street_frame
from vl_anomaly_ros.config import FusionConfig
from vl_anomaly_ros.geometry import association, scene, zones
from vl_anomaly_ros.geometry.zones import fuse

PARTS: tuple[tuple[ModuleType, str], ...] = (
    (zones, "prepare"),
    (scene, "estimate_ground"),
    (zones, "object_points"),
    (association, "cluster"),
)
"""Functions as their callers know them; a later one may run within an earlier one."""


@contextmanager
def stopwatches() -> Iterator[dict[str, float]]:
    """Milliseconds spent in each of `PARTS`, added up."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            began = perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name] += (perf_counter() - began) * 1e3

        return call

    with ExitStack() as stack:
        for module, name in PARTS:
            stack.enter_context(mock.patch.object(module, name, timed(name, getattr(module, name))))
        yield spent


def stages_of(spent: dict[str, float], total_ms: float) -> dict[str, float]:
    """What each stage took by itself, in milliseconds."""
    return {
        "cut and projection": spent["prepare"] - spent["estimate_ground"],
        "ground": spent["estimate_ground"],
        "region points": spent["object_points"] - spent["cluster"],
        "clustering": spent["cluster"],
        "zones": total_ms - spent["prepare"] - spent["object_points"],
    }


def figures_of(milliseconds: list[float]) -> dict[str, float]:
    """Percentiles, and the least: what it takes where no other process is in the way."""
    return {**percentiles(milliseconds), "min_ms": round(min(milliseconds), 2)}


def measure(frames: int, seed: int) -> dict[str, Any]:
    """Figures of so many repetitions on the street of that seed."""
    frame, regions, instances = street_frame(seed)
    config = FusionConfig()
    prepared = scene.prepare(frame, config)
    for _ in range(10):
        result = fuse(frame, regions, instances, config)
    gc.collect()
    gc.freeze()  # as the node does
    whole, before, apart, stages = [], [], [], defaultdict(list)
    for _ in range(frames):
        began = perf_counter()
        fuse(frame, regions, instances, config)
        whole.append((perf_counter() - began) * 1e3)
        began = perf_counter()
        prepared = scene.prepare(frame, config)
        before.append((perf_counter() - began) * 1e3)
        began = perf_counter()
        fuse(frame, regions, instances, config, prepared)
        apart.append((perf_counter() - began) * 1e3)
        with stopwatches() as spent:
            began = perf_counter()
            fuse(frame, regions, instances, config)
            total_ms = (perf_counter() - began) * 1e3
        for name, value in stages_of(spent, total_ms).items():
            stages[name].append(value)
    assert frame.points is not None  # noqa: S101  (the street has them)
    return {
        "whole": figures_of(whole),
        "the scene alone": figures_of(before),
        "with the scene prepared before": figures_of(apart),
        "stages": {name: figures_of(values) for name, values in stages.items()},
        "frames": frames,
        "points": len(frame.points.xyz),
        "points in the image": len(prepared.xyz),
        "regions": len(regions),
        "points of the objects": [zone.num_points for zone in result.zones],
        "image": f"{frame.image.shape[1]}x{frame.image.shape[0]}",
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the street")
    parser.add_argument("--keep", action="store_true", help="write bench/results/fusion.json as well")
    args = parser.parse_args()
    figures = measure(args.frames, args.seed)
    if args.keep:
        write_result("fusion", figures)
    print(json.dumps({**figures, "machine": machine()}, indent=2))


if __name__ == "__main__":
    main()
