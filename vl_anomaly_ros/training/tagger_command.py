# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly tagger`: a small tagger on a bundle's frozen CLIP."""

from __future__ import annotations

import argparse
from pathlib import Path

from vl_anomaly_ros.console import Progress, say
from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.evaluation.image_set import ImageSet
from vl_anomaly_ros.training.tagger import train_tagger

EPILOG = """examples:
  vl-anomaly simulate images --out out/tags --count 500 --seed 1700 --anomalies seen --density 3
  vl-anomaly tagger bundles/mine --images out/tags --out bundles/mine-tagger
  vl-anomaly replay drive_bag --out out/drive --set naming.tagger=bundles/mine-tagger --set naming.strategy=tagger
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("bundle", type=Path, help="bundle folder, whose CLIP sees and whose candidates are the tags")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="labelled image set")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the tagger")


def run(args: argparse.Namespace) -> int:
    """Train and write. Returns 0; errors are raised before anything is written."""
    images = ImageSet(args.images)
    made = images.description.get("settings") or {"folder": args.images.name}
    described = f"{len(images)} images ({', '.join(f'{key} {value}' for key, value in made.items())})"
    with Progress("images") as progress:
        figures = train_tagger(
            load_bundle(args.bundle),
            images,
            args.out,
            described,
            progress=lambda done: progress.update(done, len(images)),
        )
    for name, value in figures.items():
        say(f"{name}: {value}")
    return 0
