# SPDX-License-Identifier: Apache-2.0
"""Time every backend that can be used on this machine's GPU, in one run, against the CPU.

    ./run bench gpu [--bundle DIR] [--frames N] [--precision fp32 fp16]

For each: build or load, the visual graph with its copies, the head, a changed vocabulary, pictures a second of 1, 2,
4 and 6 cameras in turns and, by an engine for 2 and for 4 pictures in work at once, of 4 cameras, the GPU's memory, and
how far the scores are from those of the CPU. For TensorRT also the bytes that a frame copies, the time of these copies
alone, and what runs as a CUDA graph. Operations and bytes a second of the visual graph; where PyTorch with CUDA is
installed, their shares of what a matrix product and a copy reach there, and its times of the same visual network.
Written to bench/results/gpu.json.
"""

from __future__ import annotations

import argparse
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bench.gpu_parts.copies import copies_of
from bench.gpu_parts.limits import Limits, Work, limits, reached, work_of
from bench.gpu_parts.pytorch import pytorch_rows
from bench.report import percentiles, write_result
from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.console import note, say
from vl_anomaly_ros.engine.backend import Backend
from vl_anomaly_ros.engine.bundle import Bundle, default_bundle, load_bundle
from vl_anomaly_ros.engine.choice import ORDER, choose_engine, obstacle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.tensorrt.backend import TensorRtBackend
from vl_anomaly_ros.engine.tensorrt.device import Device
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.types import ByteArray

CAMERAS = (1, 2, 4, 6)
PARALLEL = (2, 4)
WARM_UP = 10


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--precision", nargs="+", choices=("fp32", "fp16"), default=["fp32", "fp16"])
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    bundle = load_bundle(args.bundle) if args.bundle else default_bundle()
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (bundle.input_height // 16, bundle.input_width // 16, 3), np.uint8)
    picture = np.ascontiguousarray(coarse.repeat(16, 0).repeat(16, 1))
    reference = Engine(bundle, OnnxRuntimeBackend(bundle)).run(picture).score
    work, limit = work_of(bundle), limits()
    rows: list[dict[str, Any]] = []
    for name in ORDER:
        for precision in args.precision if name.startswith("tensorrt") else ["fp32"]:
            note(f"{name}, {precision}")
            row = _row(name, precision, bundle, picture, reference, args.frames)
            rows.append(_with_shares(row, work, limit))
    note("PyTorch")
    result = {
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "frames": args.frames,
        "backends": rows,
        "pytorch": pytorch_rows(bundle, picture, args.frames),
    }
    say(json.dumps(result, indent=2))
    say(f"kept in {write_result('gpu', result)}")


def _with_shares(row: dict[str, Any], work: Work, limit: Limits | str) -> dict[str, Any]:
    """With how far the visual graph, its copies included, is from the GPU's limits."""
    if "visual" not in row or row["backend"] == "onnxruntime":
        return row
    return {**row, "visual_reaches": reached(work, limit, row["precision"], 1e-3 * row["visual"]["median_ms"])}


def _row(
    name: str, precision: str, bundle: Bundle, picture: ByteArray, reference: np.ndarray, frames: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"backend": name, "precision": precision}
    if missing := obstacle(name):
        return {**row, "not_used": missing}
    free = _free_bytes()
    began = perf_counter()
    try:
        engine = choose_engine(bundle, EngineConfig(backend=name, precision=precision))
    except EngineError as error:
        return {**row, "not_used": str(error)}
    row["ready_s"] = round(perf_counter() - began, 2)  # an engine that is built for the first time, or found
    backend = engine.backend
    score = engine.run(picture).score
    row |= {"device": backend.device, "score_largest_difference": float(np.abs(score - reference).max())}
    row |= _times(backend, engine, picture, frames)
    if (left := _free_bytes()) is not None and free is not None:
        row["gpu_memory_bytes"] = free - left  # of all that is on this GPU; what other processes take is in it
    if isinstance(backend, TensorRtBackend):
        row["cuda_graphs"] = backend.replayed
        row["features_copied_each_frame"] = sorted(engine.run(picture).features.at_hand())
        row["copies"] = copies_of(lambda: engine.run(picture), row["engine"]["median_ms"])
    row["pictures_per_s"] = {cameras: _rate(engine, picture, cameras, frames) for cameras in CAMERAS}
    vocabulary = bundle.vocabulary
    began = perf_counter()
    engine.set_vocabulary(replace(vocabulary, ood_prompts=(*vocabulary.ood_prompts, "a word not seen before")))
    engine.run(picture)
    row["one_word_more_ms"] = round(1e3 * (perf_counter() - began), 2)
    engine.close()
    config = EngineConfig(backend=name, precision=precision)
    row["pictures_per_s_at_once"] = {
        parallel: _rate_at_once(bundle, replace(config, parallel=parallel), picture, frames) for parallel in PARALLEL
    }
    return row


def _rate_at_once(bundle: Bundle, config: EngineConfig, picture: ByteArray, frames: int) -> float | str:
    try:
        engine = choose_engine(bundle, config)
    except EngineError as error:
        return str(error)
    pictures = _of_cameras(picture, 4)
    with ThreadPoolExecutor(config.parallel) as threads:
        list(threads.map(engine.run, pictures * WARM_UP))
        began = perf_counter()
        list(threads.map(engine.run, (pictures[frame % 4] for frame in range(frames))))
        rate = frames / (perf_counter() - began)
    engine.close()
    return round(rate, 1)


def _times(backend: Backend, engine: Engine, picture: ByteArray, frames: int) -> dict[str, Any]:
    scores = engine.run(picture)
    settings, bank, image = scores.terms.head_settings(), engine.lexicon.bank, picture[None]
    visual: list[float] = []
    head: list[float] = []
    whole: list[float] = []
    for frame in range(WARM_UP + frames):
        at = [perf_counter()]
        features = backend.visual(image)
        at.append(perf_counter())
        backend.head(features, bank, settings)
        at.append(perf_counter())
        engine.run(picture)
        at.append(perf_counter())
        if frame >= WARM_UP:
            for times, i in ((visual, 0), (head, 1), (whole, 2)):
                times.append(1e3 * (at[i + 1] - at[i]))
    return {"visual": percentiles(visual), "head": percentiles(head), "engine": percentiles(whole)}


def _free_bytes() -> int | None:
    """Of the GPU, its context already taken; None where `cuda-python` is missing."""
    try:
        with Device() as device:
            return device.memory()[0]
    except EngineError:
        return None


def _rate(engine: Engine, picture: ByteArray, cameras: int, frames: int) -> float:
    pictures = _of_cameras(picture, cameras)
    began = perf_counter()
    for frame in range(frames):
        engine.run(pictures[frame % cameras])
    return round(frames / (perf_counter() - began), 1)


def _of_cameras(picture: ByteArray, cameras: int) -> list[ByteArray]:
    return [np.ascontiguousarray(np.roll(picture, 7 * camera, axis=1)) for camera in range(cameras)]


if __name__ == "__main__":
    main()
