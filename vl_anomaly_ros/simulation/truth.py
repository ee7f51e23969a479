# SPDX-License-Identifier: Apache-2.0
"""What is true about a picture: the objects seen in it, their boxes in pixels and in metres."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scene import FloatArray, Scene, SceneObject

_ROAD_USERS = ("car", "truck", "person", "cyclist")


def pixel_boxes(instances: NDArray[np.uint16]) -> dict[int, tuple[list[int], int]]:
    """Instance number -> ([x0, y0, x1, y1], area), x1 and y1 exclusive, pixels; 0 is left out.

    >>> import numpy as np
    >>> pixel_boxes(np.array([[0, 7, 7], [0, 0, 7]], np.uint16))
    {7: ([1, 0, 3, 2], 3)}
    """
    rows, columns = np.nonzero(instances)
    if len(rows) == 0:
        return {}
    numbers = instances[rows, columns]
    order = np.argsort(numbers, kind="stable")
    rows, columns, numbers = rows[order], columns[order], numbers[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=np.uint16(0)))
    result: dict[int, tuple[list[int], int]] = {}
    for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        x, y = columns[start:end], rows[start:end]
        box = [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]
        result[int(numbers[start])] = (box, int(end - start))
    return result


def _rounded(values: Iterable[float], digits: int = 3) -> list[float]:
    return [round(float(value), digits) + 0.0 for value in values]


def pose_in(thing: SceneObject, pose_world_frame: FloatArray) -> dict[str, Any]:
    """Middle of the box, heading and velocity of `thing` in a frame that stands upright in the world."""
    rotation, origin = pose_world_frame[:3, :3], pose_world_frame[:3, 3]
    frame_yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    yaw = (thing.yaw_rad - frame_yaw + np.pi) % (2 * np.pi) - np.pi
    return {
        "center_m": _rounded(rotation.T @ (thing.center_m() - origin)),
        "yaw_rad": round(float(yaw), 4),
        "velocity_mps": _rounded(rotation.T @ thing.velocity_mps),
    }


def footprint_distance_m(thing: SceneObject, origin_m: FloatArray) -> float:
    """Distance on the ground from `origin_m` to the nearest point of the object's box, metres."""
    offset = (np.asarray(origin_m, float) - thing.center_m())[:2]
    cosine, sine = np.cos(thing.yaw_rad), np.sin(thing.yaw_rad)
    local = np.array([cosine * offset[0] + sine * offset[1], -sine * offset[0] + cosine * offset[1]])
    return float(np.hypot(*np.maximum(np.abs(local) - thing.shape.size_m[:2] / 2, 0.0)))


def size_of(thing: SceneObject) -> list[float]:
    """Length, width and height of the object's box, metres."""
    return _rounded(thing.shape.size_m)


def truth_line(
    scene: Scene, stamp_ns: int, pose_odom: FloatArray, pose_base: FloatArray, instances: NDArray[np.uint16]
) -> dict[str, Any]:
    """What a line of `truth.jsonl` says of one picture.

    Args:
        scene: as it is at the picture's time.
        stamp_ns: of the picture.
        pose_odom: (4, 4) T_world_odom.
        pose_base: (4, 4) T_world_base at that time.
        instances: (H, W) true instances of the picture.
    """
    by_number: dict[int, SceneObject] = {thing.instance: thing for thing in scene.objects if thing.instance}
    objects = []
    for number, (box, area) in pixel_boxes(instances).items():
        thing = by_number[number]
        if thing.split == "known" and thing.name not in _ROAD_USERS:
            continue
        objects.append(
            {"instance": number, "name": thing.name, "split": thing.split, "is_anomaly": thing.split != "known",
             **pose_in(thing, pose_odom), "base_link": pose_in(thing, pose_base), "size_m": size_of(thing), "bbox": box,
             "area_px": area, "distance_m": round(footprint_distance_m(thing, pose_base[:3, 3]), 3)}
        )  # fmt: skip
    return {"stamp_ns": stamp_ns, "frame_id": "odom", "objects": objects}


def add_lidar_counts(lines: list[dict[str, Any]], clouds: dict[int, dict[int, int]]) -> None:
    """Give each object of the truth lines its number of LiDAR points in the sweep nearest in time.

    Args:
        lines: of `truth_line`.
        clouds: of each sweep's stamp, the points on each instance.
    """
    stamps = np.array(sorted(clouds))
    for line in lines:
        nearest = int(stamps[np.abs(stamps - line["stamp_ns"]).argmin()]) if len(stamps) else None
        line["lidar_stamp_ns"] = nearest
        for thing in line["objects"]:
            thing["lidar_points"] = clouds[nearest].get(thing["instance"], 0) if nearest is not None else 0


def overlay_labels(semantic: NDArray[np.uint8], colour: NDArray[np.uint8], weight: float = 0.5) -> NDArray[np.uint8]:
    """Picture for people: classes as colours over the image, (H, W, 3) uint8; anomalies are red."""
    rng = np.random.default_rng(4)
    palette = rng.integers(30, 225, (256, 3))
    palette[254] = (255, 0, 0)
    return np.asarray(weight * palette[semantic] + (1 - weight) * colour, dtype=np.uint8)
