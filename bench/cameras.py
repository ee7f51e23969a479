# SPDX-License-Identifier: Apache-2.0
"""Pictures of several cameras in work at once (`engine.parallel`): how many a second, how late, at what price.

    ./run bench cameras [--parallel 1 2 4] [--seconds S] [--rounds N] [--engine MS]

The whole pipeline on 1920x1080 pictures of four cameras, each with a cloud of 120 000 points: letterbox, network,
regions, names, hazard zones; no ROS. Each thread takes the next picture as soon as it is done with one. With the
network on this CPU, whose cores the pictures share, and with one that sleeps, as the processor does while a GPU works:
one picture at a time, as if each filled the GPU, or all at once, as if the GPU had room for all. Settings take turns,
shuffled. Written to bench/results/cameras.json; ratios are to one picture at a time.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from time import perf_counter, process_time
from typing import Any

import numpy as np

from bench.node_parts.stub_engine import make_engine
from bench.report import percentiles, write_result
from bench.street import street_frame
from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.console import note, say
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.types import Frame

CAMERAS = 4


@dataclass
class Turns:
    """What one setting reached."""

    parallel: int
    pipeline: Pipeline
    pictures: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    each_ms: list[float] = field(default_factory=list)

    def take(self, frames: list[Frame], seconds: float) -> None:
        """Judge pictures for so long."""
        numbers, until_s = count(), perf_counter() + seconds
        began, began_cpu = perf_counter(), process_time()
        threads = [threading.Thread(target=self._work, args=(frames, numbers, until_s)) for _ in range(self.parallel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds += perf_counter() - began
        self.cpu_seconds += process_time() - began_cpu

    def row(self, base: Turns) -> dict[str, Any]:
        """As it is written."""
        rate = self.pictures / self.seconds
        return {
            "parallel": self.parallel,
            "pictures_per_s": round(rate, 2),
            "ratio": round(rate / (base.pictures / base.seconds), 3),
            "cpu_ms_a_picture": round(1e3 * self.cpu_seconds / self.pictures, 1),
            **percentiles(self.each_ms),
        }

    def _work(self, frames: list[Frame], numbers: count[int], until_s: float) -> None:
        while perf_counter() < until_s:
            number = next(numbers)
            began = perf_counter()
            result = self.pipeline.process(frames[number % CAMERAS])
            if not result.ok:
                raise RuntimeError(result.reason)
            self.each_ms.append(1e3 * (perf_counter() - began))
            self.pictures += 1


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parallel", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--engine", type=float, default=20.0, metavar="MS", help="of the network that sleeps")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    street, _, instances = street_frame()
    noise = np.random.default_rng(0).integers(0, 256, street.image.shape, np.uint8)
    frames = [replace(street, camera=str(i), image=np.roll(noise, 99 * i, axis=1)) for i in range(CAMERAS)]
    sleeping = partial(make_engine, instances=instances, engine_ms=args.engine, burn=False)
    result: dict[str, Any] = {"cameras": CAMERAS, "sleeping_network_ms": args.engine}
    for name, make in (
        ("network on the CPU", Engine.from_config),
        ("network that sleeps, one at a time", partial(sleeping, alone=True)),
        ("network that sleeps, all at once", sleeping),
    ):
        note(name)
        settings = [{"engine.backend": "onnxruntime", "engine.parallel": parallel} for parallel in args.parallel]
        turns = [Turns(p, Pipeline(with_values(Config(), s), make)) for p, s in zip(args.parallel, settings)]
        for one in turns:
            one.take(frames, 0.5)  # warm
            one.pictures, one.seconds, one.cpu_seconds, one.each_ms = 0, 0.0, 0.0, []
        for _ in range(args.rounds):
            for one in random.sample(turns, len(turns)):
                one.take(frames, args.seconds)
        result[name] = [one.row(turns[0]) for one in turns]
        for one in turns:
            one.pipeline.close()
    say(json.dumps(result, indent=2))
    say(f"kept in {write_result('cameras', result)}")


if __name__ == "__main__":
    main()
