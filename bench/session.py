# SPDX-License-Identifier: Apache-2.0
"""How ONNX Runtime on the CPU is set: the shipped image graph in sessions of different settings, in turns.

    ./run bench session [--bundle DIR] [--rounds N]

Threads, graph optimisation, spinning of idle threads, deterministic kernels, and outputs bound to memory that is kept.
Written to bench/results/session.json; ratios are to a session without any setting. The turns of a round are shuffled,
and each is followed by a pause: the idle threads of a session that spins would else take a core from the next one's
turn. What they take in the pause is in the session's own CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
import onnxruntime as ort

from bench.report import percentiles, write_result
from vl_anomaly_ros.console import say
from vl_anomaly_ros.engine.bundle import default_bundle, load_bundle
from vl_anomaly_ros.engine.onnxruntime import open_session, run_session

WARM_UP = 3
PAUSE_S = 0.1
BASE = "no settings"


@dataclass
class Turns:
    """What the turns of one session took."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    page_faults: list[int] = field(default_factory=list)

    def take(self, run: Callable[[], Any]) -> None:
        """Run once, and pause."""
        began, began_cpu, faults = perf_counter(), process_time(), _page_faults()
        run()
        self.wall_ms.append(1e3 * (perf_counter() - began))
        self.page_faults.append(_page_faults() - faults)
        sleep(PAUSE_S)
        self.cpu_ms.append(1e3 * (process_time() - began_cpu))

    def row(self, base: Turns) -> dict[str, float]:
        """As it is written."""
        return {
            **percentiles(self.wall_ms),
            "cpu_median_ms": round(float(np.median(self.cpu_ms)), 2),
            "ratio": round(float(np.median(self.wall_ms) / np.median(base.wall_ms)), 3),
            "cpu_ratio": round(float(np.median(self.cpu_ms) / np.median(base.cpu_ms)), 3),
            "page_faults_median": float(np.median(self.page_faults)),
        }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle) if args.bundle else default_bundle()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, bundle.input_height, bundle.input_width, 3), dtype=np.uint8)
    runs = _runs(bundle.read("visual.onnx"), image)
    turns = {name: Turns() for name in runs}
    for turn in range(WARM_UP + args.rounds):
        for name in rng.permutation(list(runs)):
            (turns[name] if turn >= WARM_UP else Turns()).take(runs[name])
    result = {
        "bundle_sha256": bundle.sha256,
        "rounds": args.rounds,
        "onnxruntime": ort.__version__,
        "malloc": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
        "sessions": {name: taken.row(turns[BASE]) for name, taken in turns.items()},
    }
    say(json.dumps(result, indent=2))
    say(f"kept in {write_result('session', result)}")


def _runs(content: bytes, image: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Those that are compared, by name."""
    cores = len(os.sched_getaffinity(0))
    return {
        BASE: _plain(content, image),
        "as the engine sets it": _engine(content, image, cores),
        "as the engine, one thread": _engine(content, image, 1),
        "as the engine, outputs bound": _bound(content, image, cores),
        "basic graph optimisation": _plain(content, image, level=ort.GraphOptimizationLevel.ORT_ENABLE_BASIC),
        "no graph optimisation": _plain(content, image, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
        "idle threads do not spin": _plain(content, image, spin=False),
        "deterministic": _plain(content, image, deterministic=True),
    }


def _page_faults() -> int:
    """How many pages the system has had to map for this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _plain(
    content: bytes, image: np.ndarray, *, level: Any = None, spin: bool = True, deterministic: bool = False
) -> Callable[[], Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if level is not None:
        options.graph_optimization_level = level
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = deterministic
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image})


def _engine(content: bytes, image: np.ndarray, threads: int) -> Callable[[], Any]:
    session = open_session("visual.onnx", content, threads)
    names = [output.name for output in session.get_outputs()]
    return lambda: run_session(session, names, {"image": image})


def _bound(content: bytes, image: np.ndarray, threads: int) -> Callable[[], Any]:
    session = open_session("visual.onnx", content, threads)
    binding = session.io_binding()
    binding.bind_cpu_input("image", image)
    kept = [ort.OrtValue.ortvalue_from_numpy(np.zeros(o.shape, np.float32)) for o in session.get_outputs()]
    for output, value in zip(session.get_outputs(), kept):
        binding.bind_ortvalue_output(output.name, value)
    return lambda: session.run_with_iobinding(binding)


if __name__ == "__main__":
    main()
