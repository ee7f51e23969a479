# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly calibrate`: learn a bundle's calibration from labelled images. Needs no PyTorch."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.evaluation.anomaly import BundleRunner
from vl_anomaly_ros.evaluation.calibration import calibrate
from vl_anomaly_ros.evaluation.image_set import ImageSet
from vl_anomaly_ros.evaluation.seal import seal, write_yaml

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("--images", type=Path, required=True, help="labelled image set that was not trained on")
    parser.add_argument("--out", type=Path, help="write calibration.yaml here instead of into the bundle")
    parser.add_argument("--threads", type=int, default=2, help="for ONNX Runtime")


def run(args: argparse.Namespace) -> int:
    """Calibrate. Returns 0, or 1 after one sentence on what went wrong."""
    try:
        images = ImageSet(args.images)
        runner = BundleRunner(load_bundle(args.bundle), args.threads)
        found = calibrate(runner, images, measured_on=str(images.description.get("settings", args.images.name)))
    except VlAnomalyError as error:
        log.error("calibrate: %s", error)  # noqa: TRY400  (a sentence, no trace)
        return 1
    if args.out is None:
        seal(args.bundle, calibration=found)
    else:
        write_yaml(args.out, found)
    log.info("weights %s, threshold %s", found["source_weights"], found["threshold"])
    return 0
