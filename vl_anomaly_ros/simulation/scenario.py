# SPDX-License-Identifier: Apache-2.0
"""A drive's cast: anomalies in the ego vehicle's way and beside it, and traffic that keeps clear of everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vl_anomaly_ros.errors import SimulationError

from .catalogue import ANOMALIES, anomaly_categories
from .motion import EgoPath, Track, keeps_clear, make_ego_path
from .scene import Scene, SceneObject
from .world import make_scene

Rng = np.random.Generator

_START_M = 25.0
_TOP_SPEED_MPS = 12.5
_SPEED_MPS = {row.name: row.speed_mps for row in ANOMALIES}


@dataclass(frozen=True)
class Scenario:
    """A scene, the ego vehicle's path in it, and the tracks of the movable things that take part."""

    scene: Scene
    ego: EgoPath
    tracks: tuple[tuple[SceneObject, Track], ...]


def make_scenario(
    seed: int,
    duration_s: float,
    *,
    anomalies: str,
    anomaly_count: int,
    look: str | None,
    style: str | None,
    swerve_m: float = 0.0,
) -> Scenario:
    """The drive of `seed`, `duration_s` long, past `anomaly_count` anomalies of the split `anomalies`.

    The ego vehicle swerves by `swerve_m` to either side.

    Raises:
        SimulationError: no layout was found that the ego vehicle can pass.
    """
    categories = anomaly_categories(anomalies)
    count = anomaly_count if categories else 0
    length = _START_M + _TOP_SPEED_MPS * duration_s + 110
    scene = make_scene(seed, categories=categories, anomaly_count=count, length_m=length, style=style, look=look)
    rng = np.random.default_rng([seed, 0xD21])
    pool = [thing for thing in scene.objects if thing.movable]
    odd = [thing for thing in pool if thing.split != "known"]
    for _ in range(60):
        tracks = _lay_out(rng, scene, odd, duration_s)
        circles = [(track, thing.radius_m) for thing, track in zip(odd, tracks, strict=True)]
        ego = make_ego_path(rng, scene, duration_s, _START_M, circles, swerve_m)
        in_road = ego.d_m.max() < scene.section.half_left_m - 1.1 and ego.d_m.min() > -scene.section.half_right_m + 1.1
        parked = [(Track(float(s), float(d)), thing.radius_m * 0.6) for thing, s, d in _parked(scene)]
        if (
            in_road
            and all(keeps_clear(scene, ego, duration_s, track, radius, parked) for track, radius in circles)
            and all(keeps_clear(scene, ego, duration_s, track, radius * 0.6, ()) for track, radius in parked)
        ):
            break
    else:
        raise SimulationError(f"seed {seed}: found no way past {count} anomalies; take fewer or another seed")
    cast = list(zip(odd, tracks, strict=True))
    taken = circles + parked
    for thing in pool:
        if thing.split == "known" and rng.random() < 0.75:
            for _ in range(8):
                track = _traffic_track(rng, scene, thing, duration_s)
                if keeps_clear(scene, ego, duration_s, track, thing.radius_m * 0.9, taken):
                    cast.append((thing, track))
                    taken.append((track, thing.radius_m * 0.9))
                    break
    return Scenario(scene, ego, tuple(cast))


def _parked(scene: Scene) -> list[tuple[SceneObject, float, float]]:
    """Cars that stand for good, with arc length and offset."""
    found = []
    for thing in scene.objects:
        if thing.name == "car" and not thing.movable:
            points = scene.line.place(scene.line.s_m, 0.0)
            index = int(np.hypot(*(points - thing.position_m).T[:2]).argmin())
            heading = float(scene.line.heading_rad[index])
            offset = thing.position_m - points[index]
            along = offset[0] * np.cos(heading) + offset[1] * np.sin(heading)
            found.append(
                (
                    thing,
                    float(scene.line.s_m[index] + along),
                    float(-offset[0] * np.sin(heading) + offset[1] * np.cos(heading)),
                )
            )
    return found


def _lay_out(rng: Rng, scene: Scene, odd: list[SceneObject], duration_s: float) -> list[Track]:
    """One try at placing the anomalies, from near to far along the way the ego vehicle will go."""
    section = scene.section
    reach = 10.0 * duration_s + 20
    step = reach / max(len(odd), 1)
    lane = -(section.lanes_right - 0.5) * section.lane_m
    tracks = []
    for index, thing in enumerate(odd):
        s = _START_M + 17 + (index + float(rng.uniform(0.0, 0.6))) * step
        place = rng.random()
        half = float(thing.shape.size_m[:2].max()) / 2
        if place < 0.4:  # in the lane, towards its right edge
            edge = -section.half_right_m + 0.2 + half * 0.5
            d = float(rng.uniform(edge, max(lane - 0.6, edge)))
        elif place < 0.6:  # at the right kerb
            d = -section.half_right_m - float(rng.uniform(0.0, 1.0)) - half
        elif place < 0.85:  # on the other side
            d = float(rng.uniform(0.6 + half, max(section.half_left_m - 0.3, 0.6 + half)))
        else:
            d = section.half_left_m + float(rng.uniform(0.2, 1.2)) + half
        speed = _SPEED_MPS[thing.name]
        if speed >= 1.0 and rng.random() < 0.7:  # crosses before the ego vehicle comes by
            met = (s - _START_M) / 10.0
            pace = float(rng.uniform(0.5, 1.0)) * min(speed, 1.6)
            side = float(rng.choice([-1.0, 1.0]))
            clear = lane + 1.6 + half + (0.4 if side > 0 else 0.0) if side > 0 else lane - 1.6 - half
            start = max(0.0, met - 4.0)
            tracks.append(Track(s, clear - side * pace * (met - start), 0.0, side * pace, start, side * np.pi / 2))
        else:
            tracks.append(Track(s, d, yaw_rad=float(rng.uniform(-np.pi, np.pi))))
    return tracks


def _traffic_track(rng: Rng, scene: Scene, thing: SceneObject, duration_s: float) -> Track:
    section, way = scene.section, 10.0 * duration_s
    side = 1.0 if rng.random() < 0.6 else -1.0
    edge = section.half_left_m if side > 0 else section.half_right_m
    walk = section.sidewalk_left_m if side > 0 else section.sidewalk_right_m
    if thing.name in ("car", "truck"):
        lanes = section.lanes_left if side > 0 else section.lanes_right
        d = side * (int(rng.integers(lanes)) + 0.5) * section.lane_m
        speed = float(rng.uniform(7, 13))
        if side > 0:
            return Track(_START_M + float(rng.uniform(30, 2 * way)), d, -speed, yaw_rad=np.pi)
        return Track(_START_M + float(rng.uniform(15, 60)), d, speed)
    s = _START_M + float(rng.uniform(5, way + 40))
    if thing.name == "cyclist":
        return Track(s, side * (edge - 0.6), -side * float(rng.uniform(3, 6)), yaw_rad=np.pi if side > 0 else 0.0)
    speed = float(rng.choice([0.0, 1.2, 1.5])) * float(rng.choice([-1.0, 1.0]))
    d = side * (edge + float(rng.uniform(0.4, max(walk - 0.2, 1.2))))
    return Track(s, d, speed, yaw_rad=np.pi if speed < 0 else 0.0)
