# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly calibrate`: learn a bundle's calibration from labelled or normal images. Needs no PyTorch."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from vl_anomaly_ros.config import METHODS
from vl_anomaly_ros.console import Progress, note, say
from vl_anomaly_ros.engine.bundle import Bundle, load_bundle
from vl_anomaly_ros.engine.calibration import DEFAULT_METHOD
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.anomaly import BundleRunner
from vl_anomaly_ros.evaluation.calibration import CalibrationSettings, calibrate
from vl_anomaly_ros.evaluation.calibration_budget import BudgetSettings
from vl_anomaly_ros.evaluation.calibration_compare import SetResult, compare, mean_behind_tuned, table
from vl_anomaly_ros.evaluation.calibration_paste import PastedImages, PasteSettings, cutouts_of
from vl_anomaly_ros.evaluation.calibration_pictures import normal_images
from vl_anomaly_ros.evaluation.calibration_report import write_report
from vl_anomaly_ros.evaluation.image_set import ImageSet, LabelledImage
from vl_anomaly_ros.evaluation.seal import seal, with_calibration, write_yaml

_BUDGET = BudgetSettings()
EPILOG = """examples:
  vl-anomaly calibrate bundles/mine --images out/calib
  vl-anomaly calibrate bundles/mine --images out/calib --false-positives-per-frame 0.2 --prior 0.001
  vl-anomaly calibrate bundles/mine --images out/calib --method vl4ad
  vl-anomaly calibrate bundles/mine --normal recordings/quiet --paste --report out/report
  vl-anomaly calibrate bundles/mine --normal recordings/quiet --paste out/calib --out calibration.yaml
  vl-anomaly calibrate bundles/mine --images out/calib --compare out/seen out/unseen --report out/report
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("bundle", type=Path, help="bundle folder")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--images", type=Path, metavar="DIR", help="labelled image set that was not trained on")
    kind.add_argument(
        "--normal", type=Path, metavar="DIR", help="pictures of normal scenes, labelled or not; with --paste"
    )
    parser.add_argument(
        "--paste",
        nargs="?",
        const="",
        metavar="DIR",
        help="paste outliers into the normal pictures: cut out of this simulated set, without DIR made-up shapes",
    )
    parser.add_argument(
        "--method", choices=METHODS, default=DEFAULT_METHOD, help=f"whose score (method.name; default {DEFAULT_METHOD})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is pasted (default 0)")
    parser.add_argument(
        "--prior", type=float, help="share of anomalous pixels for which the probabilities hold; default: the images'"
    )
    parser.add_argument(
        "--false-positives-per-frame",
        type=float,
        default=_BUDGET.false_regions,
        metavar="N",
        help=f"false regions allowed a frame, on average (default {_BUDGET.false_regions})",
    )
    parser.add_argument(
        "--min-area-px",
        type=int,
        default=_BUDGET.min_area_px,
        help=f"smaller regions do not count; as regions.min_area_px live (default {_BUDGET.min_area_px})",
    )
    parser.add_argument("--compare", type=Path, nargs="+", default=[], metavar="DIR", help="judge it on these sets")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write diagrams, figures and the comparison here")
    parser.add_argument("--out", type=Path, help="write calibration.yaml here instead of into the bundle")
    parser.add_argument("--threads", type=int, default=2, help="for ONNX Runtime")


def run(args: argparse.Namespace) -> int:
    """Calibrate. Returns 0; errors are raised before anything is written."""
    bundle = load_bundle(args.bundle)
    source = _source(args, bundle)
    compared = [ImageSet(root) for root in args.compare]
    if len({images.root.name for images in compared}) < len(compared):
        raise EvaluationError("--compare: expected folders of different names; they name the rows of the table")
    budget = BudgetSettings(args.false_positives_per_frame, args.min_area_px)
    if compared and args.method != DEFAULT_METHOD:
        raise EvaluationError(
            f"--compare: expected with {DEFAULT_METHOD}, got {args.method}; it has no weights to compare"
        )
    runner = BundleRunner(bundle, args.threads, args.method)
    with Progress("images") as progress:
        found = calibrate(
            runner,
            source.images,
            CalibrationSettings(budget=budget, prior=args.prior),
            source.description,
            lambda done: progress.update(done, source.total),
        )
    results: list[SetResult] = []
    for images in compared:
        with Progress(images.root.name) as progress:
            total = len(images)
            results.append(
                compare(
                    runner,
                    images.root.name,
                    images,
                    found,
                    budget,
                    lambda done, progress=progress, total=total: progress.update(done, total),  # type: ignore[misc]
                )
            )
    if args.out is None:
        seal(args.bundle, calibration=found, method=args.method)
    else:
        write_yaml(args.out, with_calibration(args.out, found, args.method))
    if args.report is not None:
        write_report(args.report, found, results)
    report = found["report"]
    if args.normal is not None and args.prior is None:
        share = report["anomaly_share"]["of_the_images"]
        note(f"probabilities hold for the share that was pasted, {share:.3g} of the pixels; state yours with --prior")
    say(f"weights {found['source_weights']}, threshold {found['threshold']}: {found['measured_on']}")
    say(
        f"AuPRC {report['auprc']:.4f}, FPR95 {report['fpr95']:.4f}, held-out ECE {report['reliability']['ece']:.4f}; "
        f"{report['false_regions_per_frame']['measured']:.2f} false regions a frame"
    )
    if results:
        say(table(results))
        say(f"AuPRC behind weights tuned on each set, mean: {mean_behind_tuned(results):.4f}")
    return 0


class _Source(NamedTuple):
    images: Iterable[LabelledImage]
    total: int
    description: str


def _source(args: argparse.Namespace, bundle: Bundle) -> _Source:
    """What to calibrate on."""
    if args.images is not None:
        if args.paste is not None:
            raise EvaluationError("--paste: expected with --normal, got --images; a labelled set has its own anomalies")
        images = ImageSet(args.images)
        return _Source(images, len(images), _described(images))
    if args.paste is None:
        raise EvaluationError("--normal: normal pictures alone tell no anomaly; add --paste, or --paste DIR")
    normal = normal_images(args.normal, bundle)
    cutouts = cutouts_of(ImageSet(Path(args.paste))) if args.paste else []
    what = f"{len(cutouts)} cut-outs of {Path(args.paste).name}" if cutouts else "made-up shapes"
    pasted = PastedImages(normal, cutouts, PasteSettings(seed=args.seed))
    return _Source(pasted, len(normal), f"{args.normal.name} with {what} pasted in, seed {args.seed}")


def _described(images: ImageSet) -> str:
    """The name of a set, and what makes it again where it is simulated."""
    settings = images.description.get("settings", {})
    made_of = ", ".join(f"{key} {settings[key]}" for key in ("seed", "anomalies", "anomaly_density") if key in settings)
    return f"{images.root.name} ({made_of})" if made_of else images.root.name
