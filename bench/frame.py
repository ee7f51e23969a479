# SPDX-License-Identifier: Apache-2.0
"""Time what a frame costs besides the network and the LiDAR fusion, stage by stage, and the making of its messages.

./run bench frame [--frames N] [--size WxH] [--regions N]
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from bench.report import percentiles, write_result
from vl_anomaly_ros.engine.preprocess import Letterbox
from vl_anomaly_ros.overlay import draw_overlay
from vl_anomaly_ros.perception.naming import name_regions
from vl_anomaly_ros.perception.pictures import PicturesOnDemand
from vl_anomaly_ros.perception.regions import find_regions
from vl_anomaly_ros.perception.scoring import score_map_of
from vl_anomaly_ros.perception.segmentation import extended_names
from vl_anomaly_ros.text.bank import Candidates
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary
from vl_anomaly_ros.types import DepthStatus, Frame, FrameResult, HazardZone, PointCloud, Region, Timing

MASK_STRIDE = 4
NETWORK = (512, 256)
EMBEDDING_SIZE = 128
NUM_POINTS = 120_000
POINTS_A_ZONE = 200
CORNERS = 12
WARM_UP = 20


class Stages:
    """Durations by stage, in the order in which the stages first ran."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, list[float]] = {}

    def time(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` returns; its duration is kept."""
        started = perf_counter()
        value = work()
        self.milliseconds.setdefault(name, []).append((perf_counter() - started) * 1e3)
        return value


class Scene:
    """What the network would say of one image with a number of round anomalies, and the image itself."""

    def __init__(self, width: int, height: int, regions: int) -> None:
        rng = np.random.default_rng(0)
        self.width, self.height = width, height
        coarse = rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8)
        image = np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1))
        self.cloud = PointCloud(rng.uniform(-40, 40, (NUM_POINTS, 3)).astype(np.float32), 0, "lidar")
        self.frame = Frame(
            1, "camera", "optical", image, "base_link", None, self.cloud, np.eye(4), np.eye(4), tf_age_s=0.0
        )
        box = Letterbox.fit(width, height, *NETWORK)
        h, w = box.height // MASK_STRIDE, box.width // MASK_STRIDE
        rows, columns = np.mgrid[:h, :w]
        self.score = rng.uniform(0, 0.05, (h, w)).astype(np.float32)
        across = max(1, int(np.ceil(np.sqrt(regions * 16 / 9))))
        down = max(1, -(-regions // across))
        for i in range(regions):
            y, x = (i // across + 0.5) * h / down, (i % across + 0.5) * w / across
            near = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (0.03 * (h / down) ** 2))
            self.score = np.maximum(self.score, near.astype(np.float32))
        self.sources = np.stack([self.score] * 3)
        self.class_map = rng.integers(0, 14, (h, w)).astype(np.int32)
        self.clip_features = rng.normal(size=(EMBEDDING_SIZE, h // 4, w // 4)).astype(np.float32)
        self.vocabulary = Vocabulary(
            tuple(KnownClass(f"known {i}") for i in range(14)), candidates=tuple(f"candidate {i}" for i in range(24))
        )
        rows_of_bank = rng.normal(size=(24, EMBEDDING_SIZE)).astype(np.float32)
        rows_of_bank /= np.linalg.norm(rows_of_bank, axis=1, keepdims=True)
        self.candidates = Candidates(self.vocabulary.candidates, rows_of_bank)
        self.curve = (list(np.linspace(0, 1, 31)), list(np.linspace(0, 1, 31) ** 0.5))


def judge(scene: Scene, stages: Stages) -> FrameResult:
    """One frame through every stage but the network and the fusion."""
    image = scene.frame.image
    letterbox = Letterbox.fit(scene.width, scene.height, *NETWORK)
    stages.time("preprocess", lambda: letterbox.apply(image, (0.48, 0.46, 0.41)))
    score_map = stages.time(
        "score_map_of",
        lambda: score_map_of(
            scene.score,
            scene.sources,
            scene.class_map,
            scene.clip_features,
            curve=scene.curve,
            width=scene.width,
            height=scene.height,
        ),
    )
    found = stages.time("find_regions", lambda: find_regions(score_map, threshold=0.5, min_area_px=60, max_regions=64))
    regions = stages.time(
        "name_regions",
        lambda: name_regions(
            found,
            score_map.clip_features,
            scene.vocabulary,
            scene.candidates,
            logit_scale=13.0,
            min_confidence=0.05,
            runners_up=3,
        ),
    )
    class_names, _ = stages.time("extended_names", lambda: extended_names(regions, scene.vocabulary.known_names))
    pictures = PicturesOnDemand(
        score_map.probability, score_map.class_map, found, regions, scene.vocabulary.known_names
    )
    return FrameResult(
        frame=scene.frame,
        ok=True,
        pictures=pictures,
        class_names=class_names,
        regions=regions,
        zones=tuple(zone_of(region) for region in regions),
        zone_frame="base_link",
        engine="none/none",
        timing=Timing(0.0, 0.0),
    )


def zone_of(region: Region) -> HazardZone:
    """A zone of a usual size for a region; every fifth is of unknown depth."""
    known = region.id % 5 != 0
    turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    return HazardZone(
        id=region.id,
        region_id=region.id,
        status=DepthStatus.MEASURED if known else DepthStatus.UNKNOWN,
        reason="" if known else "no LiDAR point on the region within range",
        center_m=(10.0 + region.id, 0.5, 0.7),
        size_m=(1.2, 0.8, 1.4),
        yaw_rad=0.3,
        position_covariance=np.diag([0.04, 0.01, 0.09]),
        footprint_m=np.column_stack([10.0 + region.id + np.cos(turn), 0.5 + np.sin(turn)]),
        z_range_m=(0.0, 1.4),
        distance_m=9.0,
        point_indices=np.arange(POINTS_A_ZONE if known else 0, dtype=np.int64) * 7 + region.id,
    )


class Outputs:
    """A publisher for each message of a frame, and what makes the message."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image, PointCloud2
        from visualization_msgs.msg import MarkerArray
        from vl_anomaly_ros.msg import AnomalyArray, HazardZoneArray

        from vl_anomaly_ros.node.conversions import header_message

        kinds = {"hazard_zones": HazardZoneArray, "anomalies": AnomalyArray, "markers": MarkerArray}
        kinds |= {"obstacle_points": PointCloud2, "score": Image, "mask": Image, "instances": Image}
        kinds |= {"segmentation": Image}
        rclpy.init()
        self._node = rclpy.create_node("frame_bench")
        self._header = header_message(1, "optical")
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE)
        self._publishers = {topic: self._node.create_publisher(kinds[topic], f"~/{topic}", qos) for topic in kinds}

    def makers(self, result: FrameResult) -> dict[str, Callable[[], Any]]:
        """What makes each message."""
        from vl_anomaly_ros.geometry.merging import seen_zones
        from vl_anomaly_ros.node import conversions as convert
        from vl_anomaly_ros.node.markers import marker_array
        from vl_anomaly_ros.node.panorama import Sight

        header = self._header
        sight = Sight("camera", seen_zones(result), 0, "", result.frame, result.zone_frame, result.R_zone_level)
        return {
            "hazard_zones": lambda: convert.zones_message(sight, header, "base_link"),
            "anomalies": lambda: convert.anomalies_message(result, header),
            "markers": lambda: marker_array(sight, header),
            "obstacle_points": lambda: convert.obstacle_points_message(sight.zones, header),
            "mask": lambda: convert.image_message(result.mask, header, "mono8"),
            "instances": lambda: convert.image_message(result.instances, header),
            "segmentation": lambda: convert.image_message(result.segmentation, header),
            "score": lambda: convert.image_message(result.probability, header),
        }

    def publish(self, result: FrameResult, stages: Stages) -> None:
        """Make and publish every message. Nobody listens: serialised it is all the same."""
        for topic, make in self.makers(result).items():
            message = stages.time(f"make {topic}", make)
            stages.time(f"publish {topic}", partial(self._publishers[topic].publish, message))

    def close(self) -> None:
        """End the ROS node."""
        import rclpy

        self._node.destroy_node()
        rclpy.shutdown()


def run(scene: Scene, frames: int, outputs: Outputs | None) -> Stages:
    """`frames` frames after some to warm up. Every result lives until the next is there, as in the node."""
    stages = Stages()
    for number in range(frames + WARM_UP):
        if number == WARM_UP:
            stages = Stages()
            gc.collect()
            gc.freeze()
        result = judge(scene, stages)
        if outputs is not None:
            outputs.publish(result, stages)
        if number % 10 == 0:
            stages.time("overlay", partial(draw_overlay, result))
    return stages


def summary(milliseconds: Sequence[float]) -> dict[str, float]:
    """Percentiles, and the least: what the work itself takes where others share the machine."""
    return {**percentiles(milliseconds), "least_ms": round(min(milliseconds), 2)}


SUMS = {
    "judging": ("preprocess", "score_map_of", "find_regions", "name_regions", "extended_names"),
    "making the small messages": ("make anomalies", "make hazard_zones", "make markers"),
    "publishing the small messages": ("publish anomalies", "publish hazard_zones", "publish markers"),
    "making the images": ("make score", "make mask", "make instances", "make segmentation"),
    "publishing the images": ("publish score", "publish mask", "publish instances", "publish segmentation"),
}


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", default="1920x1080", help="of the camera image")
    parser.add_argument("--regions", type=int, default=20)
    parser.add_argument("--no-write", action="store_true", help="do not keep the result")
    args = parser.parse_args()
    width, height = (int(n) for n in args.size.split("x"))
    outputs = Outputs() if importlib.util.find_spec("rclpy") else None  # without ROS the messages are left out
    stages = run(Scene(width, height, args.regions), args.frames, outputs).milliseconds
    if outputs is not None:
        outputs.close()
    sums = {
        name: summary([sum(frame) for frame in zip(*(stages[part] for part in parts))])
        for name, parts in SUMS.items()
        if all(part in stages for part in parts)
    }
    data = {
        "frames": args.frames,
        "image": args.size,
        "regions": args.regions,
        "malloc": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
        "together": sums,
        "stages": {name: summary(times) for name, times in stages.items()},
    }
    if not args.no_write:
        write_result("frame", data)
    print(json.dumps(data, indent=2))


if __name__ == "__main__":
    main()
