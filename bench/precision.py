# SPDX-License-Identifier: Apache-2.0
"""What a precision of the image graph changes: scores, masks at the threshold, AuPRC, on one set of labelled pictures.

    ./run bench precision DIR [--bundle DIR] [--count N]

DIR is a simulated set. ONNX Runtime on the CPU runs both, and computes float16 operators in float32: the weights are
rounded as in the graph that TensorRT compiles, results in between mostly not. A GPU will differ by more.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np

from bench.report import write_result
from vl_anomaly_ros.config import MethodConfig
from vl_anomaly_ros.console import say
from vl_anomaly_ros.engine.bundle import Bundle, default_bundle, load_bundle
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend, open_session
from vl_anomaly_ros.engine.tensorrt.precision import differences, half_precision
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.evaluation.examples import SimulatedSet
from vl_anomaly_ros.evaluation.metrics import PixelMetrics
from vl_anomaly_ros.perception.scoring import calibrated
from vl_anomaly_ros.perception.upsampling import upsampled


class HalfBackend(OnnxRuntimeBackend):
    """The bundle with its image graph in half precision."""

    precision = "fp16"

    def __init__(self, bundle: Bundle, threads: int) -> None:
        super().__init__(bundle, threads)
        self._visual = open_session("visual.onnx", half_precision(bundle), threads)


def main() -> None:
    """Compare and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, metavar="DIR")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--count", type=int, default=100, help="pictures, the first ones (default: 100)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle) if args.bundle else default_bundle()
    calibration = bundle.calibration
    terms = terms_of(MethodConfig(), calibration)
    engines = [Engine(bundle, kind(bundle, args.threads)) for kind in (OnnxRuntimeBackend, HalfBackend)]
    metrics = [PixelMetrics(), PixelMetrics()]
    largest = 0.0
    means: list[float] = []
    overlaps: list[float] = []
    examples = list(islice(SimulatedSet(args.images), args.count))
    for example in examples:
        label = example.truth().label
        height, width = label.shape
        scores = [engine.run(example.image(), terms).score for engine in engines]
        gap = np.abs(scores[0] - scores[1])
        largest = max(largest, float(gap.max()))
        means.append(float(gap.mean()))
        probabilities = [calibrated(score, calibration.score, calibration.probability) for score in scores]
        masks = [probability >= calibration.threshold for probability in probabilities]
        union = int((masks[0] | masks[1]).sum())
        overlaps.append(float((masks[0] & masks[1]).sum() / union) if union else 1.0)
        for metric, score in zip(metrics, scores):
            metric.update(upsampled(score, width, height), label)
    whole, half = (metric.compute() for metric in metrics)
    image = np.ascontiguousarray(examples[0].image())[None]
    by_output = (
        {
            name: asdict(one)
            for name, one in differences(bundle.read("visual.onnx"), half_precision(bundle), {"image": image}).items()
        }
        if image.shape[1:3] == (bundle.input_height, bundle.input_width)
        else {}
    )
    figures = {
        "bundle": bundle.sha256,
        "pictures": len(examples),
        "score_largest_difference": largest,
        "score_mean_difference": float(np.mean(means)),
        "mask_iou_mean": float(np.mean(overlaps)),
        "mask_iou_least": min(overlaps),
        "auprc": {"fp32": whole.auprc, "fp16": half.auprc, "change": half.auprc - whole.auprc},
        "fpr95": {"fp32": whole.fpr95, "fp16": half.fpr95},
        "outputs": by_output,
    }
    say(json.dumps(figures, indent=2))
    say(f"kept in {write_result('precision', figures)}")


if __name__ == "__main__":
    main()
