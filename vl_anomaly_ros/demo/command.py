# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly demo`: the shipped simulated drive through the live node, with pictures at the end."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np

from vl_anomaly_ros.console import note, say
from vl_anomaly_ros.demo.film import contact_sheet, film, truth_sheet
from vl_anomaly_ros.demo.score import score
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.options import add_setting_arguments, config_from
from vl_anomaly_ros.replay.birdseye import read_truth
from vl_anomaly_ros.replay.command import summary_lines
from vl_anomaly_ros.replay.frames import REPLAY_CONFIG
from vl_anomaly_ros.replay.interfaces import PACKAGE
from vl_anomaly_ros.replay.live import live_refusal
from vl_anomaly_ros.replay.records import FrameRecord
from vl_anomaly_ros.replay.runner import ReplayJob, replay

EPILOG = """examples:
  vl-anomaly demo
  vl-anomaly demo --out out/other --bundle bundles/my-bundle
  vl-anomaly demo --offline
"""
_LINE_PERIOD_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR", help="default: out/demo")
    parser.add_argument("--drive", type=Path, metavar="BAG", help="another simulated drive, with its truth.jsonl")
    parser.add_argument("--offline", action="store_true", help="without ROS, in this process")
    add_setting_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Play the drive and make the pictures; 0 when every frame could be judged."""
    config = config_from(args, REPLAY_CONFIG)
    drive = args.drive or drive_folder()
    refusal = None if args.offline else live_refusal()
    if refusal is not None:
        note(f"the live node cannot be used here: {refusal}\nthe demo runs offline, in this process")
    live = not args.offline and refusal is None
    truth_path = drive / "truth.jsonl"
    truth = read_truth(truth_path) if truth_path.exists() else {}
    say(f"drive: {drive}, {'through the live node' if live else 'offline'}; the engine is being loaded")
    job = ReplayJob(
        bag=drive,
        out=args.out,
        config=config,
        live=live,
        title="Demo: a simulated drive",
        truth=truth_path if truth else None,
    )
    done = replay(job, live_line())
    records = done.records
    stamps = [r.stamp_ns for r in records]
    fps = 1e9 / float(np.median(np.diff(stamps))) if len(stamps) > 1 else 5.0
    pictures = [
        (contact_sheet(args.out, records), "frames with anomalies"),
        (film(args.out, records, truth, fps=fps), "the drive with regions and zones"),
        (truth_sheet(args.out, records, truth), "hazard zones against the truth, from above"),
        (args.out / "report.html", "everything on one page"),
        (args.out / "results", "a recording of all outputs, for RViz or Foxglove"),
    ]
    say("")
    for line in [*summary_lines(done.summary), *(score(records, truth).lines() if truth else [])]:
        say(line)
    say("")
    width = max(len(str(path)) for path, _ in pictures)
    for path, words in pictures:
        say(f"{path!s:<{width}}  {words}")
    say("\nnext: open the report, then judge your own recording:\n  ./run vl-anomaly replay YOUR_BAG --out out/mine")
    return 0 if done.summary["frames_failed"] == 0 else 1


def live_line() -> Callable[[FrameRecord, int, int], None]:
    """A progress callback that says at most one line a second."""
    said_at, first_ns = -_LINE_PERIOD_S, -1

    def on_frame(record: FrameRecord, done: int, total: int) -> None:
        nonlocal said_at, first_ns
        first_ns = record.stamp_ns if first_ns < 0 else first_ns
        if monotonic() - said_at >= _LINE_PERIOD_S or done == total or not record.ok:
            said_at = monotonic()
            say(line_of(record, (record.stamp_ns - first_ns) * 1e-9, done, total))

    return on_frame


def line_of(record: FrameRecord, seconds: float, done: int, total: int) -> str:
    """What is said of a frame: time in the drive, frames, regions, nearest zone, milliseconds."""
    head = f"{seconds:6.1f} s  frame {done:>3}/{total}"
    if not record.ok:
        return f"{head}  UNKNOWN: {record.reason}"
    with_depth = sorted((z for z in record.zones if z.num_points), key=lambda z: z.distance_m)
    nearest = "nothing anomalous"
    if with_depth:
        zone = with_depth[0]
        nearest = f"nearest: {zone.name or 'unnamed'} at {zone.distance_m:.1f} m, {zone.status}"
    elif record.zones:
        nearest = "depth unknown"
    return f"{head}  {len(record.regions):>2} regions  {nearest:<44}  {record.total_ms:6.0f} ms"


def drive_folder() -> Path:
    """Folder of the shipped drive: of the checkout or of the installed package.

    Raises:
        ReplayError: there is none.
    """
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    places = [Path(__file__).resolve().parents[2], *(Path(p) / "share" / PACKAGE for p in prefixes)]
    for place in places:
        if (place / "demo" / "drive" / "metadata.yaml").is_file():
            return place / "demo" / "drive"
    raise ReplayError(
        "the drive of the demo is not here: expected demo/drive in the checkout; "
        "make one with `vl-anomaly simulate` and name it with --drive"
    )
