# SPDX-License-Identifier: Apache-2.0
"""Time the lifecycle node in its own process over DDS, and in the same run a trivial node as the transport floor.

./run bench node [quick|rates|soak|soak4|untuned|custom] [--engine zero|MS] [--burn] [--rate HZ] [--cameras N] ...

quick    10 Hz, 1 camera, engine of no cost, about 2 minutes
rates    10 and 30 Hz, zero and 100 ms, 1 and 4 cameras
soak     30 Hz, 100 ms, 1 camera, 10 minutes; soak4 with 4 cameras
untuned  the floors without DDS profile and malloc thresholds
custom   what the options say

The real node runs with the shipped bundle; only the network is replaced by prepared outputs (20 regions). Each stretch
is measured with processes of its own: sensors, answering node, one subscriber for the small answers and one for all
else. Times are from the call of `publish` to the subscriber's callback.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

from bench.node_parts.figures import figures, overheads
from bench.node_parts.scenarios import MALLOC, PROFILE, SCENARIOS, Part, scenario
from bench.node_parts.segment import FULL, IMAGE_SIZES, NODE, TINY, Load, run_segment
from bench.node_parts.table import age_lines, header_line, line, overhead_lines
from bench.report import write_result

HOW = {
    "image": "1920x1080 bgr8, reliable publisher; the node subscribes best effort",
    "cloud": "120 000 points of 22 bytes with a time each, at 10 Hz, published 10 ms before an image",
    "stamps": "image: 25 ms before its publication; cloud: 30 ms before it; TF: at its publication, 50 Hz",
    "latency": "from the call of publish to the callback of a subscriber that takes bytes; small: anomalies and "
    "hazard_zones, last: every output but the overlay",
    "age": "arrival of the small answers minus the stamp of the image",
    "floors": "tiny: a header for each image; full: also prepared messages of the sizes of all outputs",
    "p99": "a difference of two 99th percentiles, not the 99th percentile of a difference",
}


def main() -> int:
    """Measure, print and keep the figures; 1 where a stretch failed."""
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as by Ctrl-C: in order, with what there is
    load = Load(
        rate_hz=args.rate,
        cameras=args.cameras,
        engine_ms=0.0 if args.engine == "zero" else float(args.engine),
        burn=args.burn,
        seconds=args.seconds,
        reliability=args.reliability,
        parameters=tuple(args.parameter),
    )
    data: dict[str, Any] = {
        "scenario": args.scenario,
        "complete": False,
        "how": HOW,
        "environment": {name: Path(os.environ.get(name, "")).name for name in (*PROFILE, *MALLOC)},
        "parameters": load.parameters,
        "parts": [],
    }
    print(header_line())
    with tempfile.TemporaryDirectory(prefix="bench_node_") as folder:
        for number, part in enumerate(scenario(args.scenario, load)):
            going = _measure(part, Path(args.keep or folder) / str(number), data, args.scenario)
            if not going:
                break
        else:
            data["complete"] = True
    path = write_result(f"node-{args.scenario}", data)
    print(f"kept in {path}")
    return int(not data["complete"] or any("failure" in s for p in data["parts"] for s in p["stretches"]))


def _measure(part: Part, folder: Path, data: dict[str, Any], name: str) -> bool:
    """All stretches of one part, each kept as soon as it is done; returns whether to go on."""
    stretches: list[dict[str, Any]] = []
    result: dict[str, Any] = {"load": part.load.name, "note": part.note, "stretches": stretches}
    data["parts"].append(result)
    sizes: tuple[int, ...] = IMAGE_SIZES
    if part.note:
        print(part.note)
    for number, (kind, seconds) in enumerate(part.kinds):
        segment = run_segment(kind, part.load, seconds, folder / str(number), part.without, sizes)
        if kind == NODE and segment.received:
            sizes = tuple(segment.sizes)
        stretches.append(figures(segment))
        print(line(stretches[-1]), flush=True)
        result["overhead"] = overheads(*([s for s in stretches if s["kind"] == k] for k in (NODE, TINY, FULL)))
        write_result(f"node-{name}", data)
        if segment.failure == "interrupted":
            return False
    print("\n".join([*overhead_lines(result["overhead"]), *age_lines(stretches, part.load.engine_ms)]), flush=True)
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="?", choices=tuple(SCENARIOS), default="quick")
    parser.add_argument("--engine", default="zero", help="zero, or how many ms the network takes")
    parser.add_argument("--burn", action="store_true", help="the network keeps a core busy; else it sleeps")
    parser.add_argument("--rate", type=float, default=10.0, help="images of each camera a second")
    parser.add_argument("--cameras", type=int, choices=(1, 2, 3, 4), default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each stretch of the node")
    parser.add_argument("--reliability", choices=("best_effort", "reliable"), default="reliable", help="of the sensors")
    parser.add_argument("--parameter", action="append", default=[], help="of the node, such as fusion.enabled:=false")
    parser.add_argument("--keep", default="", help="folder for logs and records of all processes; by default removed")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
