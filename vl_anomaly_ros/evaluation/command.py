# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly eval`: a bundle, or the geometry, measured against labelled data."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from vl_anomaly_ros.console import say
from vl_anomaly_ros.engine.bundle import default_bundle, load_bundle
from vl_anomaly_ros.evaluation.anomaly import BundleRunner, evaluate
from vl_anomaly_ros.evaluation.drive import judge_drive
from vl_anomaly_ros.evaluation.image_set import ImageSet
from vl_anomaly_ros.evaluation.judging import Judgement
from vl_anomaly_ros.evaluation.kitti import judge_kitti
from vl_anomaly_ros.evaluation.motion import measure_motion, motion_report
from vl_anomaly_ros.evaluation.zones import report

EPILOG = """examples:
  vl-anomaly simulate images --out out/test --count 200 --seed 4000 --anomalies seen
  vl-anomaly eval --dataset simulated --root out/test --out out/eval
  vl-anomaly eval --dataset kitti-zones --root data/kitti --json
  vl-anomaly eval --dataset drive-motion --root data/turning
"""


class Report(NamedTuple):
    """What an evaluation found: for a script, and for a person."""

    figures: dict[str, Any]
    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    choices = "; ".join(f"{name}: {entry.summary}" for name, entry in DATASETS.items())
    parser.add_argument("--dataset", required=True, choices=list(DATASETS), help=choices)
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--bundle", type=Path, help="bundle folder; default: the shipped one")
    parser.add_argument("--out", type=Path, help="write figures.json and figures.txt into this folder")
    parser.add_argument("--threads", type=int, default=2, help="for ONNX Runtime")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write. Returns 0; errors are raised."""
    report = DATASETS[args.dataset].measure(args)
    as_json = json.dumps(report.figures, indent=2)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "figures.json").write_text(as_json + "\n", encoding="utf-8")
        (args.out / "figures.txt").write_text(report.text + "\n", encoding="utf-8")
    say(as_json if args.json else report.text)
    return 0


def _simulated(args: argparse.Namespace) -> Report:
    bundle = default_bundle() if args.bundle is None else load_bundle(args.bundle)
    images = ImageSet(args.root)
    found = evaluate(BundleRunner(bundle, args.threads), images)
    figures = {
        "dataset": str(args.root.name),
        "images": found.images,
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        **asdict(found.fused),
        "sources": {name: asdict(one) for name, one in found.sources.items()},
        "known_miou": found.known_miou,
        "names_right": found.names_right,
        "named_regions": found.named_regions,
        "engine_ms": {"visual": found.visual_ms, "head": found.head_ms, "threads": args.threads},
    }
    rows = [("fused", found.fused), *found.sources.items()]
    lines = [f"{bundle.name} on {found.images} images of {args.root.name}", "score       AuPRC   AuROC   FPR95"]
    lines += [f"{name:<10}{f.auprc:7.3f} {f.auroc:7.3f} {f.fpr95:7.3f}" for name, f in rows]
    lines.append(f"known-class mIoU {found.known_miou:.3f}")
    lines.append(f"right names {found.names_right:.3f} of {found.named_regions} true regions")
    lines.append(f"engine, median ms: visual {found.visual_ms:.1f}, head {found.head_ms:.1f}; {args.threads} threads")
    return Report(figures, "\n".join(lines))


def _kitti_zones(args: argparse.Namespace) -> Report:
    return _zones_report(judge_kitti(args.root))


def _drive_zones(args: argparse.Namespace) -> Report:
    return _zones_report(judge_drive(args.root))


def _zones_report(judged: list[Judgement]) -> Report:
    rows = [{**asdict(j), "status": j.status.name, "good": j.good} for j in judged]
    return Report({"zones": rows}, report(judged))


def _drive_motion(args: argparse.Namespace) -> Report:
    placements = measure_motion(args.root)
    rows = [{**asdict(one), "shift_m": None if math.isnan(one.shift_m) else one.shift_m} for one in placements]
    return Report({"zones": rows}, motion_report(placements))


class Dataset(NamedTuple):
    """A kind of data set and how it is measured."""

    summary: str
    measure: Callable[[argparse.Namespace], Report]


DATASETS = {
    "simulated": Dataset("pixel figures on images of `simulate images`", _simulated),
    "kitti-zones": Dataset("hazard zones on labelled KITTI frames", _kitti_zones),
    "drive-zones": Dataset("hazard zones on a drive of `simulate drive --truth-masks`", _drive_zones),
    "drive-motion": Dataset("ego motion on a drive of `simulate drive --rolling --truth-masks`", _drive_motion),
}
