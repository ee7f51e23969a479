# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly simulate images` and `vl-anomaly simulate drive`."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from vl_anomaly_ros.console import Progress, say

from .drive import generate_drive
from .drive_settings import DriveSettings, demo_settings
from .hard_looks import HARD_LOOKS
from .images import generate_images
from .looks import LOOKS
from .places import HARD_STYLES, STYLES

EPILOG = """examples:
  vl-anomaly simulate images --out data/train --count 2000 --seed 2 --workers 2
  vl-anomaly simulate images --out data/test --count 200 --seed 9 --anomalies seen
  vl-anomaly simulate images --out data/hard --count 2000 --seed 3 --world hard --workers 2
  vl-anomaly simulate images --out data/fog --count 200 --seed 5 --world hard --looks fog rain --styles motorway
  vl-anomaly simulate drive --out data/drive --seed 4
  vl-anomaly simulate drive --out data/drive --seed 4 --lidar-beams 64 --truth-masks
  vl-anomaly simulate drive --out data/demo --preset demo
  vl-anomaly simulate drive --out data/turning --seed 4 --rolling --swerve-m 0.5 --truth-masks
"""
_SPLITS = ("none", "seen", "unseen", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the two forms of `vl-anomaly simulate`."""
    forms = parser.add_subparsers(dest="form", metavar="images|drive", required=True)
    images = forms.add_parser("images", help="pictures with class, instance and 3D truth")
    images.add_argument("--out", type=Path, required=True, help="folder to write")
    images.add_argument("--count", type=int, default=200, help="number of pictures (default 200)")
    images.add_argument("--seed", type=int, default=0, help="another seed shares no scene (default 0)")
    images.add_argument("--anomalies", choices=_SPLITS, default="none", help="split of the catalogue (default none)")
    images.add_argument("--density", type=float, default=2.0, help="mean number of anomalies a picture (default 2)")
    images.add_argument("--width", type=int, default=512, help="pixels (default 512)")
    images.add_argument("--height", type=int, default=256, help="pixels (default 256)")
    images.add_argument("--views-per-scene", type=int, default=10, help="pictures of one scene (default 10)")
    images.add_argument(
        "--world", choices=("standard", "hard"), default="standard", help="how difficult (default standard)"
    )
    images.add_argument("--looks", nargs="+", default=[], metavar="LOOK", help="light and weather to draw from; "
                        f"standard: {', '.join(LOOKS)}; hard: {', '.join(HARD_LOOKS)} (default: all)")  # fmt: skip
    images.add_argument("--styles", nargs="+", default=[], metavar="STYLE", help="surroundings to draw from; "
                        f"standard: {', '.join(STYLES)}; hard: {', '.join(HARD_STYLES)} (default: all)")  # fmt: skip
    images.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    drive = forms.add_parser("drive", help="a ROS 2 bag (MCAP) with the truth beside it")
    drive.add_argument("--out", type=Path, required=True, help="folder to make; must not exist")
    drive.add_argument("--preset", choices=("demo",), help="settings of the shipped demo drive; other options override")
    # No defaults here: what is not given comes from DriveSettings or the preset.
    drive.add_argument("--seed", type=int, help="scene, cast and noise (default 0)")
    drive.add_argument("--duration-s", type=float, help="seconds (default 12)")
    drive.add_argument("--rate-hz", type=float, help="camera (default 5)")
    drive.add_argument("--lidar-rate-hz", type=float, help="LiDAR (default 10)")
    drive.add_argument("--lidar-beams", type=int, choices=(16, 32, 64, 128), help="lasers (default 32)")
    drive.add_argument("--azimuth-steps", type=int, help="columns over the whole turn (default 1200)")
    drive.add_argument("--lidar-window-deg", type=float, help="angle kept, middle ahead (default 360)")
    drive.add_argument("--rolling", action="store_true", default=None, help="a sweep takes a turn, points have times")
    drive.add_argument("--swerve-m", type=float, help="the ego vehicle swerves to either side by this (default 0)")
    drive.add_argument("--image-size", type=int, nargs=2, metavar=("W", "H"), help="pixels (default 1024 512)")
    drive.add_argument("--jpeg-quality", type=int, help="1 to 100 (default 90)")
    drive.add_argument("--raw-images", action="store_true", default=None, help="sensor_msgs/Image instead of JPEG")
    drive.add_argument("--anomalies", choices=_SPLITS, help="split of the catalogue (default seen)")
    drive.add_argument("--anomaly-count", type=int, help="along the way (default 7)")
    drive.add_argument("--look", choices=LOOKS, help="light (default: from the seed)")
    drive.add_argument("--style", choices=STYLES, help="surroundings (default: from the seed)")
    drive.add_argument(
        "--truth-masks", dest="write_truth_masks", action="store_true", default=None, help="also write truth pictures"
    )


def run(args: argparse.Namespace) -> int:
    """Make what was asked for; returns the exit code.

    Raises:
        SimulationError: see `generate_images` and `generate_drive`.
    """
    return _images(args) if args.form == "images" else _drive(args)


def _images(args: argparse.Namespace) -> int:
    with Progress("pictures") as progress:
        path = generate_images(
            args.out,
            count=args.count,
            seed=args.seed,
            anomalies=args.anomalies,
            anomaly_density=args.density,
            width=args.width,
            height=args.height,
            views_per_scene=args.views_per_scene,
            workers=args.workers,
            world=args.world,
            looks=args.looks,
            styles=args.styles,
            progress=progress.update,
        )
    say(f"{args.count} pictures: {path}")
    return 0


def drive_settings(args: argparse.Namespace) -> DriveSettings:
    """Settings from the options given, over the preset or the defaults."""
    given: dict[str, Any] = {
        f.name: getattr(args, f.name) for f in fields(DriveSettings) if getattr(args, f.name, None) is not None
    }
    if "image_size" in given:
        given["image_size"] = tuple(given["image_size"])
    base = demo_settings() if args.preset == "demo" else DriveSettings(seed=0)
    return replace(base, **given)


def _drive(args: argparse.Namespace) -> int:
    settings = drive_settings(args)
    with Progress("messages") as progress:
        path = generate_drive(args.out, settings, progress=progress.update)
    say(f"drive of {settings.duration_s:g} s: {path.parent}")
    return 0
