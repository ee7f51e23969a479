# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly replay`: a recorded drive into results, pictures and a report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vl_anomaly_ros.config import with_values
from vl_anomaly_ros.console import Progress, note, say
from vl_anomaly_ros.options import add_setting_arguments, config_from
from vl_anomaly_ros.replay.frames import REPLAY_CONFIG
from vl_anomaly_ros.replay.records import FrameRecord
from vl_anomaly_ros.replay.runner import ReplayJob, replay
from vl_anomaly_ros.replay.topics import TopicChoice

EPILOG = """examples:
  vl-anomaly replay drive_bag --out out/drive
  vl-anomaly replay drive.mcap --out out/drive --camera front --frames 100
  vl-anomaly replay drive_bag --out out/drive --live
  vl-anomaly replay drive_bag --out out/drive --points-topic /lidar_top/points --output-frame base_footprint
  vl-anomaly replay drive_bag --out out/drive --set regions.threshold=0.7 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("bag", type=Path, help="bag folder, .mcap or .db3 file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--live", action="store_true", help="through the real node over DDS (needs ROS 2)")
    parser.add_argument("--camera", metavar="NAME", help="only this camera (default: every camera of the bag)")
    parser.add_argument("--frames", type=_positive, metavar="N", help="at most so many frames of each camera")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON and nothing else")
    topics = parser.add_argument_group("topics and frames (default: found by type)")
    topics.add_argument("--image-topic", metavar="TOPIC")
    topics.add_argument("--info-topic", metavar="TOPIC")
    topics.add_argument("--points-topic", metavar="TOPIC")
    topics.add_argument("--output-frame", metavar="FRAME", help="frame of the hazard zones (frames.output_frame)")
    topics.add_argument("--fixed-frame", metavar="FRAME", help="frame at rest in the world (frames.fixed_frame)")
    topics.add_argument("--ego-frame", metavar="FRAME", help="frame that distances start from (frames.ego_frame)")
    add_setting_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Replay; 0 when every frame could be judged, 1 otherwise."""
    named = {f"frames.{key}": getattr(args, key) for key in ("output_frame", "fixed_frame", "ego_frame")}
    config = with_values(
        config_from(args, REPLAY_CONFIG), {name: value for name, value in named.items() if value is not None}
    )
    if args.output_frame is not None and args.ego_frame is None:
        config = with_values(config, {"frames.ego_frame": args.output_frame})
    job = ReplayJob(
        bag=args.bag,
        out=args.out,
        config=config,
        topics=TopicChoice(args.camera, args.image_topic, args.info_topic, args.points_topic),
        limit=args.frames,
        live=args.live,
    )
    with Progress("frames", quiet=args.json) as progress:

        def on_frame(record: FrameRecord, done: int, total: int) -> None:
            if not record.ok:
                note(f"camera {record.camera}, stamp {record.stamp_ns} ns: UNKNOWN: {record.reason}")
            progress.update(done, total)

        summary = replay(job, on_frame).summary
    if args.json:
        say(json.dumps(summary))
    else:
        for line in summary_lines(summary):
            say(line)
        say(f"results: {args.out}    look at: {args.out / 'report.html'}")
    return 0 if summary["frames_failed"] == 0 else 1


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary in words."""
    timing = summary["timing_ms"]
    by_status = ", ".join(f"{count} {status}" for status, count in summary["zones_by_status"].items() if count)

    def figure(name: str) -> str:
        p50, p99 = timing[name]["p50"], timing[name]["p99"]
        return f"{name} -" if p50 is None else f"{name} {p50:.1f}/{p99:.1f}"

    frames = f"{summary['frames_in']} in, {summary['frames_out']} judged, {summary['frames_failed']} failed"
    found = f"{summary['regions']} regions, {summary['zones']} zones"
    return [
        f"frames:  {frames}, {summary['dropped']} dropped",
        f"found:   {found} ({by_status})" if by_status else f"found:   {found}",
        f"time:    {figure('engine')} ms, {figure('overhead')} ms, {figure('total')} ms (median/p99)",
        f"engine:  {summary['backend']}, bundle {summary['bundle_sha256'][:12]}",
    ]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {value}")
    return value
