# SPDX-License-Identifier: Apache-2.0
"""What a precision of the image graph changes: scores, masks at the threshold, AuPRC, on one set of labelled pictures.

    ./run bench precision DIR [--bundle DIR] [--count N] [--calibration-images DIR [--calibration-count N]]

DIR is a simulated set. fp16 is compared with fp32, and int8 as well where there are pictures for its ranges. ONNX
Runtime on the CPU runs all of them and computes in float32: for int8 it rounds what a GPU rounds; for fp16 the weights
are rounded as in the graph that TensorRT compiles, results in between mostly not, and a GPU will differ by more.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import write_result
from vl_anomaly_ros.config import MethodConfig
from vl_anomaly_ros.console import note, say
from vl_anomaly_ros.engine.bundle import Bundle, default_bundle, load_bundle
from vl_anomaly_ros.engine.calibration import Calibration
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend
from vl_anomaly_ros.engine.reference import picture_of
from vl_anomaly_ros.engine.tensorrt.precision import differences, half_precision, simulated
from vl_anomaly_ros.engine.tensorrt.quantisation import quantised
from vl_anomaly_ros.engine.terms import terms_of
from vl_anomaly_ros.evaluation.examples import Example, SimulatedSet
from vl_anomaly_ros.evaluation.metrics import PixelMetrics
from vl_anomaly_ros.perception.scoring import calibrated
from vl_anomaly_ros.perception.upsampling import upsampled
from vl_anomaly_ros.types import ByteArray, FloatArray


class LowerBackend(OnnxRuntimeBackend):
    """The bundle with its image graph in lower precision."""

    def __init__(self, bundle: Bundle, threads: int, precision: str, graph: bytes) -> None:
        super().__init__(bundle, threads)
        self.precision = precision
        self._visual = simulated(graph, threads)


@dataclass
class Change:
    """How the scores of one precision differ from those of fp32, picture by picture."""

    calibration: Calibration
    gaps: list[FloatArray] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    metrics: PixelMetrics = field(default_factory=PixelMetrics)

    def update(self, whole: FloatArray, lower: FloatArray, label: ByteArray) -> None:
        """Add a picture: (h, w) scores of both, and its (H, W) labels."""
        self.gaps.append(np.abs(whole - lower))
        a, b = (self._mask(score) for score in (whole, lower))
        union = int((a | b).sum())
        self.overlaps.append(float((a & b).sum() / union) if union else 1.0)
        self.metrics.update(upsampled(lower, label.shape[1], label.shape[0]), label)

    def figures(self) -> dict[str, Any]:
        """Of all pictures so far."""
        found = self.metrics.compute()
        return {
            "score_largest_difference": max(float(gap.max()) for gap in self.gaps),
            "score_mean_difference": float(np.mean([gap.mean() for gap in self.gaps])),
            "mask_iou_mean": float(np.mean(self.overlaps)),
            "mask_iou_least": min(self.overlaps),
            "auprc": found.auprc,
            "fpr95": found.fpr95,
        }

    def _mask(self, score: FloatArray) -> Any:
        calibration = self.calibration
        return calibrated(score, calibration.score, calibration.probability) >= calibration.threshold


def main() -> None:
    """Compare and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, metavar="DIR")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--count", type=int, default=100, help="pictures, the first ones (default: 100)")
    parser.add_argument("--calibration-images", type=Path, metavar="DIR", help="another simulated set, for int8")
    parser.add_argument("--calibration-count", type=int, default=32, help="of these, the first ones (default: 32)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle) if args.bundle else default_bundle()
    graphs = {"fp16": half_precision(bundle)}
    ranges: dict[str, Any] = {}
    if args.calibration_images is not None:
        made = quantised(
            bundle, (example.image() for example in _first(args.calibration_images, args.calibration_count))
        )
        graphs["int8"] = made.graph
        ranges = {"pictures": made.pictures, "pictures_sha256": made.pictures_sha256}
    examples = list(_first(args.images, args.count))
    figures = {
        "bundle": bundle.sha256,
        "pictures": len(examples),
        "ranges": ranges,
        **_compared(bundle, graphs, examples, args.threads),
        "outputs": _by_output(bundle, graphs, examples[0].image()),
    }
    say(json.dumps(figures, indent=2))
    say(f"kept in {write_result('precision', figures)}")


def _first(folder: Path, count: int) -> Iterator[Example]:
    return islice(SimulatedSet(folder), count)


def _compared(bundle: Bundle, graphs: dict[str, bytes], examples: list[Example], threads: int) -> dict[str, Any]:
    """Figures by precision; `proof` is the largest and mean difference on the picture that a GPU is proven on."""
    whole = Engine(bundle, OnnxRuntimeBackend(bundle, threads))
    lower = {name: Engine(bundle, LowerBackend(bundle, threads, name, graph)) for name, graph in graphs.items()}
    terms = terms_of(MethodConfig(), bundle.calibration)
    changes = {name: Change(bundle.calibration) for name in ("fp32", *graphs)}
    for index, example in enumerate(examples):
        image, label = example.image(), example.truth().label
        score = whole.run(image, terms).score
        changes["fp32"].update(score, score, label)
        for name, engine in lower.items():
            changes[name].update(score, engine.run(image, terms).score, label)
        if index % 10 == 9:
            note(f"{index + 1} of {len(examples)}")
    found = {name: change.figures() for name, change in changes.items()}
    picture = picture_of(bundle.input_width, bundle.input_height)
    reference = whole.run(picture).score
    for name, engine in lower.items():
        gap = np.abs(engine.run(picture).score - reference)
        found[name] |= {
            "auprc_change": found[name]["auprc"] - found["fp32"]["auprc"],
            "proof": {"largest": float(gap.max()), "mean": float(gap.mean())},
        }
    return found


def _by_output(bundle: Bundle, graphs: dict[str, bytes], image: ByteArray) -> dict[str, Any]:
    """Differences of the image graph's outputs on one picture of the network's size; none on another."""
    if image.shape[:2] != (bundle.input_height, bundle.input_width):
        return {}
    content, inputs = bundle.read("visual.onnx"), {"image": np.ascontiguousarray(image)[None]}
    return {
        name: {output: asdict(one) for output, one in differences(content, graph, inputs).items()}
        for name, graph in graphs.items()
    }


if __name__ == "__main__":
    main()
