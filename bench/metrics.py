# SPDX-License-Identifier: Apache-2.0
"""Time pixel and component metrics, and compare them with scikit-learn and SegmentMeIfYouCan's own code.

./run bench metrics [--images N] [--official CHECKOUT] [--keep]

CHECKOUT: a clone of github.com/SegmentMeIfYouCan/road-anomaly-benchmark. Its pixel metrics sort each image into 768
bins and are not exact; its components are compared at one and the same threshold. Times are those of the processor, so
that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from bench.official_metrics import OfficialMetrics
from bench.report import machine, write_result
from vl_anomaly_ros.evaluation.components import TRACKS, ComponentMetrics
from vl_anomaly_ros.evaluation.metrics import PixelMetrics

Image = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]


def made_up_images(count: int, seed: int, width: int, height: int) -> list[Image]:
    """Score maps of a middling method: blobs of all sizes, noise, anomalies half found, a void border."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        label = np.zeros((height, width), np.uint8)
        for _ in range(int(rng.integers(2, 9))):
            axes = rng.integers(2, 60, 2)
            centre = int(rng.integers(60, width - 60)), int(rng.integers(height // 3, height - 60))
            cv2.ellipse(label, centre, (int(axes[0]), int(axes[1])), float(rng.uniform(0, 180)), 0, 360, 1, -1)
        coarse, fine = (cv2.resize(rng.random((height // n, width // n), np.float32), (width, height)) for n in (24, 4))
        evidence = cv2.GaussianBlur(label.astype(np.float32), (0, 0), 5) * coarse
        score = np.clip(0.55 * coarse**3 + 0.15 * fine + 0.8 * evidence, 0, 1).astype(np.float32)
        label[: height // 16] = label[:, : width // 32] = 255
        images.append((score, label))
    return images


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a function gives, and the least processor time of three runs in milliseconds, of all its threads."""
    spent = []
    for _ in range(3):
        began = process_time()
        result = function()
        spent.append((process_time() - began) * 1e3)
    return result, round(min(spent), 1)


def own_pixels(images: list[Image]) -> dict[str, float]:
    """By `PixelMetrics`."""
    metrics = PixelMetrics()
    for score, label in images:
        metrics.update(score, label)
    found = metrics.compute()
    return {
        "auprc": found.auprc, "auroc": found.auroc, "fpr95": found.fpr95, "f1_max": found.f1_max,
        "f1_threshold": found.f1_threshold,
    }  # fmt: skip


def own_components(track: str, threshold: float, images: list[Image]) -> dict[str, float | None]:
    """By `ComponentMetrics`."""
    metrics = ComponentMetrics(TRACKS[track], threshold)
    for score, label in images:
        metrics.update(score, label)
    found = metrics.compute()
    return {"siou_gt": found.siou_gt, "ppv": found.ppv, "f1_mean": found.f1_mean}


def learned_pixels(images: list[Image]) -> dict[str, float] | None:
    """By scikit-learn, which holds all pixels in memory; None where it is not installed."""
    try:
        learn: Any = importlib.import_module("sklearn.metrics")
    except ImportError:
        return None
    used = [label != 255 for _, label in images]
    scores = np.concatenate([score[chosen] for (score, _), chosen in zip(images, used)])
    labels = np.concatenate([label[chosen] for (_, label), chosen in zip(images, used)])
    fpr, tpr, _ = learn.roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, thresholds = learn.precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = f1.size - 1 - int(np.argmax(f1[::-1]))
    return {
        "auprc": float(learn.average_precision_score(labels, scores)),
        "auroc": float(learn.roc_auc_score(labels, scores)),
        "fpr95": float(fpr[np.searchsorted(tpr, 0.95 - 1e-12)]),
        "f1_max": float(f1[best]),
        "f1_threshold": float(thresholds[best]),
    }


def compared(own: dict[str, Any], own_cpu_ms: float, other: dict[str, Any], other_cpu_ms: float) -> dict[str, Any]:
    """Both, the largest difference of the figures both give, and how many times as fast this is."""
    largest = max(abs(own[key] - value) for key, value in other.items())
    return {
        "own": own, "own_cpu_ms": own_cpu_ms, "other": other, "other_cpu_ms": other_cpu_ms,
        "largest_difference": largest, "times_as_fast": round(other_cpu_ms / own_cpu_ms, 1),
    }  # fmt: skip


def measure(images: list[Image], official: OfficialMetrics | None) -> dict[str, Any]:
    """Figures and times of everything that is there to compare with."""
    own, own_cpu_ms = timed(lambda: own_pixels(images))
    figures: dict[str, Any] = {"pixels": {"own": own, "own_cpu_ms": own_cpu_ms}}
    learned, learned_cpu_ms = timed(lambda: learned_pixels(images))
    if learned is not None:
        figures["pixels against scikit-learn"] = compared(own, own_cpu_ms, learned, learned_cpu_ms)
    all_own_cpu_ms, all_official_cpu_ms = own_cpu_ms, 0.0
    if official is not None:
        theirs, official_cpu_ms = timed(lambda: official.pixels(images))
        all_official_cpu_ms = official_cpu_ms
        other = {"auprc": theirs.area_PRC, "auroc": theirs.area_ROC, "fpr95": theirs.tpr95_fpr,
                 "f1_max": theirs.best_f1}  # fmt: skip
        other = {key: float(value) for key, value in other.items()}
        figures["pixels against the benchmark's code, which sorts into bins"] = compared(
            own, own_cpu_ms, other, official_cpu_ms
        )
    threshold = own["f1_threshold"]
    for track in TRACKS:
        own_of_track, own_cpu_ms = timed(partial(own_components, track, threshold, images))
        figures[track] = {"own": own_of_track, "own_cpu_ms": own_cpu_ms}
        all_own_cpu_ms += own_cpu_ms
        if official is not None:
            below = float(np.nextafter(np.float32(threshold), np.float32(-1)))  # above which is from `threshold` on
            theirs, official_cpu_ms = timed(partial(official.components, track, below, images))
            all_official_cpu_ms += official_cpu_ms
            other = {"siou_gt": theirs.sIoU_gt, "ppv": theirs.prec_pred, "f1_mean": theirs.f1_mean}
            other = {key: float(value) for key, value in other.items()}
            figures[track] = compared(own_of_track, own_cpu_ms, other, official_cpu_ms)
    if official is not None:
        figures["pixels and both tracks, times as fast as the benchmark's code"] = round(
            all_official_cpu_ms / all_own_cpu_ms, 1
        )
    return figures


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--official", type=Path, metavar="CHECKOUT", help="compare with the benchmark's own code")
    parser.add_argument("--keep", action="store_true", help="write bench/results/metrics.json as well")
    args = parser.parse_args()
    cv2.setNumThreads(2)
    official = None if args.official is None else OfficialMetrics(args.official)
    figures = {
        "images": args.images,
        "size": f"{args.width}x{args.height}",
        "seed": args.seed,
        **measure(made_up_images(args.images, args.seed, args.width, args.height), official),
    }
    if args.keep:
        write_result("metrics", figures)
    print(json.dumps({**figures, "machine": machine()}, indent=2))


if __name__ == "__main__":
    main()
