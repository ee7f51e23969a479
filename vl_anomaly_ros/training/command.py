# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly train`: one command from a configuration to a calibrated, measured bundle."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.training.config import load_config
from vl_anomaly_ros.training.pipeline import Run, describe, figures, shortened

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("config", type=Path, help="training configuration, such as config/training/sim_nano.yaml")
    parser.add_argument("--out", type=Path, required=True, help="run folder, resumed if used before")
    parser.add_argument("--bundle", type=Path, help="where the bundle is written (default: OUT/bundle)")
    parser.add_argument("--data", type=Path, help="folder of the image sets (default: the run folder)")
    parser.add_argument("--only-steps", type=int, metavar="N", help="cut every phase to N steps, to try the machinery")


def run(args: argparse.Namespace) -> int:
    """Train, export, calibrate, evaluate. Returns 0, or 1 after one sentence on what went wrong."""
    try:
        config = load_config(args.config)
        if args.only_steps:
            config = shortened(config, args.only_steps)
        training = Run(config, args.out, args.data)
        bundle = args.bundle or args.out / "bundle"
        training.train()
        training.export(bundle)
        training.calibrate(bundle)
        result = training.evaluate(bundle)
    except VlAnomalyError as error:
        log.error("train: %s", error)  # noqa: TRY400  (a sentence, no trace)
        return 1
    for key, value in figures(result, describe(config.data.test)).items():
        log.info("%s: %s", key, value)
    log.info("%.0f ms a frame; bundle in %s", result.engine_ms, bundle)
    return 0
