# SPDX-License-Identifier: Apache-2.0
"""Time a bundle on this machine: visual graph, head, and the whole pipeline over one picture.

./run bench engine [--bundle DIR] [--frames N] [--threads N] [--size WxH]
"""

from __future__ import annotations

import argparse
import json
import logging
from time import perf_counter

import numpy as np

from bench.report import machine, percentiles
from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.types import Frame


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--size", default="1024x512", help="of the camera image")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # the picture is noise, full of anomalies: many regions, the dear case
    width, height = (int(n) for n in args.size.split("x"))
    config = with_values(Config(), {"engine.bundle": args.bundle, "engine.threads": args.threads})
    pipeline = Pipeline(config)
    noise = np.random.default_rng(0)
    coarse = noise.integers(0, 255, (height // 16, width // 16, 3), np.uint8)
    image = np.ascontiguousarray(coarse.repeat(16, 0).repeat(16, 1))
    frame = Frame(0, "camera", "camera_optical", image, "base_link")
    engine_ms, total_ms = [], []
    for _ in range(args.frames):
        began = perf_counter()
        result = pipeline.process(frame)
        total_ms.append((perf_counter() - began) * 1e3)
        engine_ms.append(result.timing.engine_ms)
        if not result.ok:
            raise SystemExit(f"the frame was not judged: {result.reason}")
    overhead = [t - e for t, e in zip(total_ms, engine_ms)]
    print(
        json.dumps(
            {
                "engine": percentiles(engine_ms),
                "overhead": percentiles(overhead),
                "total": percentiles(total_ms),
                "frames": args.frames,
                "image": args.size,
                "bundle": pipeline.bundle.name,
                "backend": pipeline.engine_name,
                "threads": args.threads or "one per core",
                "machine": machine(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
