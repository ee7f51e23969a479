# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly export`: the newest checkpoints of a run folder to a bundle (not calibrated)."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.training.config import load_config
from vl_anomaly_ros.training.pipeline import Run

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("run_folder", type=Path, help="folder that vl-anomaly train was given as --out")
    parser.add_argument("bundle", type=Path, help="bundle folder to write")


def run(args: argparse.Namespace) -> int:
    """Export; any checkpoint will do. Returns 0, or 1 after one sentence on what went wrong."""
    try:
        Run(load_config(args.run_folder / "config.yaml"), args.run_folder).export(args.bundle)
    except VlAnomalyError as error:
        log.error("export: %s", error)  # noqa: TRY400  (a sentence, no trace)
        return 1
    log.info("bundle in %s; calibrate it next: vl-anomaly calibrate %s --images DIR", args.bundle, args.bundle)
    return 0
