# SPDX-License-Identifier: Apache-2.0
"""How ONNX Runtime on the CPU is set: the shipped image graph in sessions of different settings, in turns.

    ./run bench session [--bundle DIR] [--rounds N]

Threads, graph optimisation, spinning of idle threads, deterministic kernels, and outputs bound to memory that is kept.
Written to bench/results/session.json; ratios are to a session without any setting.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import onnxruntime as ort

from bench.report import percentiles, write_result
from vl_anomaly_ros.console import say
from vl_anomaly_ros.engine.bundle import default_bundle, load_bundle
from vl_anomaly_ros.engine.onnxruntime import open_session

WARM_UP = 3


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle) if args.bundle else default_bundle()
    content = bundle.read("visual.onnx")
    cores = len(os.sched_getaffinity(0))
    image = np.random.default_rng(0).integers(0, 256, (1, bundle.input_height, bundle.input_width, 3), dtype=np.uint8)
    runs: dict[str, Callable[[], Any]] = {
        "no settings": _plain(content, image),
        "as the engine sets it": _engine(content, image, cores),
        "as the engine, one thread": _engine(content, image, 1),
        "as the engine, outputs bound": _bound(content, image, cores),
        "basic graph optimisation": _plain(content, image, level=ort.GraphOptimizationLevel.ORT_ENABLE_BASIC),
        "no graph optimisation": _plain(content, image, level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL),
        "idle threads do not spin": _plain(content, image, spin=False),
        "deterministic": _plain(content, image, deterministic=True),
    }
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(WARM_UP + args.rounds):
        for name, run in runs.items():
            began, began_cpu = perf_counter(), process_time()
            run()
            if turn >= WARM_UP:
                wall[name].append(1e3 * (perf_counter() - began))
                cpu[name].append(1e3 * (process_time() - began_cpu))
    base, base_cpu = (float(np.median(times["no settings"])) for times in (wall, cpu))
    rows = {
        name: {
            **percentiles(wall[name]),
            "cpu_median_ms": round(float(np.median(cpu[name])), 2),
            "ratio": round(float(np.median(wall[name])) / base, 3),
            "cpu_ratio": round(float(np.median(cpu[name])) / base_cpu, 3),
        }
        for name in runs
    }
    result = {"bundle_sha256": bundle.sha256, "rounds": args.rounds, "onnxruntime": ort.__version__, "sessions": rows}
    say(json.dumps(result, indent=2))
    say(f"kept in {write_result('session', result)}")


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
    return lambda: session.run(None, {"image": image})


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
