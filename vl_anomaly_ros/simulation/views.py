# SPDX-License-Identifier: Apache-2.0
"""One look at a scene: where the ego vehicle stands, and where the movable things are put this time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .camera import Intrinsics, Mounting, pose_on_ground
from .scene import FloatArray, Scene, SceneObject

Rng = np.random.Generator

_AHEAD_M = (5.0, 60.0)
_HARD_AHEAD_M = (3.5, 90.0)
_OCCLUDED = 0.5
_ASIDE_M = 20.0
"""How far to the left anomalies and people are put, where the surface is wider than any road."""
_TRAFFIC_SHARE = {"car": 0.55, "truck": 0.5, "person": 0.55, "cyclist": 0.5}


@dataclass(frozen=True)
class View:
    """Ego pose on the road, and the camera on it."""

    ego_s_m: float
    pose_world_base: FloatArray
    mounting: Mounting
    intrinsics: Intrinsics


def random_view(rng: Rng, scene: Scene, width_px: int, height_px: int) -> View:
    """Ego anywhere in its lane, the camera's height, pitch and field of view varied a little."""
    length = float(scene.line.s_m[-1])
    s = float(rng.uniform(4, length - 85))
    lane = int(rng.integers(scene.section.lanes_right))
    d = -(lane + 0.5) * scene.section.lane_m + float(rng.normal(0, 0.3))
    x, y, _ = scene.line.place(s, d)
    heading = float(scene.line.heading(s)) + float(rng.normal(0, 0.03))
    mounting = Mounting(
        up_m=float(rng.uniform(1.25, 1.85)), pitch_rad=float(rng.normal(0.03, 0.03)), yaw_rad=float(rng.normal(0, 0.04))
    )
    intrinsics = Intrinsics(width_px, height_px, float(np.radians(rng.uniform(65, 95))))
    return View(s, pose_on_ground(float(x), float(y), heading), mounting, intrinsics)


class _Placer:
    """Puts movable things down so that their footprints do not touch."""

    def __init__(self, rng: Rng, scene: Scene, view: View) -> None:
        self.rng, self.scene = rng, scene
        self.taken: list[tuple[FloatArray, float]] = [(view.pose_world_base[:3, 3], 3.0)]
        parked = [thing for thing in scene.objects if thing.instance and not thing.movable and thing.name == "car"]
        self.taken += [(thing.position_m, thing.radius_m * 0.8) for thing in parked]

    def put(self, thing: SceneObject, s_m: float, d_m: float, yaw_rad: float, speed_mps: float) -> bool:
        """Place `thing` unless something is there already."""
        scene = self.scene
        if not 0 < s_m < scene.line.s_m[-1]:
            return False
        position = scene.line.place(s_m, d_m, scene.section.height(d_m))
        radius = thing.radius_m
        if any(np.hypot(*(position - other)[:2]) < radius + reach for other, reach in self.taken):
            return False
        thing.position_m, thing.yaw_rad, thing.placed = position, float(scene.line.heading(s_m)) + yaw_rad, True
        thing.velocity_mps = speed_mps * np.array([np.cos(thing.yaw_rad), np.sin(thing.yaw_rad), 0.0])
        self.taken.append((position, radius))
        return True


def anomaly_number(rng: Rng, density: float) -> int:
    """How many anomalies to put into a picture: 1 to 2 * density - 1, evenly; below one, none or one.

    >>> import numpy as np
    >>> sorted({anomaly_number(np.random.default_rng(i), 2.0) for i in range(40)})
    [1, 2, 3]
    """
    if density < 1:
        return int(rng.random() < density)
    return int(rng.integers(1, max(1, round(2 * density - 1)) + 1))


def place_things(rng: Rng, scene: Scene, view: View, anomaly_density: float, *, hard: bool = False) -> None:
    """Give every movable thing of the scene its place (or none) for `view`.

    `hard` puts anomalies nearer and farther, half of them partly behind a known thing, and more traffic about.
    """
    for thing in scene.objects:
        if thing.movable:
            thing.placed = False
    placer = _Placer(rng, scene, view)
    pool = [thing for thing in scene.objects if thing.movable]
    anomalies = [thing for thing in pool if thing.split != "known"]
    if anomalies:
        count = min(anomaly_number(rng, anomaly_density), len(anomalies))
        for index in rng.choice(len(anomalies), count, replace=False):
            for _ in range(12):
                if _put_anomaly(rng, placer, anomalies[int(index)], view, _HARD_AHEAD_M if hard else _AHEAD_M):
                    break
    known = [thing for thing in pool if thing.split == "known"]
    if hard:
        hidden = [thing for thing in anomalies if thing.placed and rng.random() < _OCCLUDED]
        for thing in hidden:
            _put_before(rng, placer, thing, known, view)
    busy = float(rng.uniform(0.4, 1.7) if hard else rng.uniform(0.2, 1.3))
    _place_traffic(rng, placer, [thing for thing in known if not thing.placed], view, busy)


def _put_before(rng: Rng, placer: _Placer, hidden: SceneObject, known: list[SceneObject], view: View) -> bool:
    """Put a known thing between camera and `hidden`, aside enough that it covers only a part."""
    eye = view.pose_world_base[:3, 3] + view.mounting.forward_m * view.pose_world_base[:3, 0]
    towards = (hidden.position_m - eye)[:2]
    reach = float(np.hypot(*towards))
    across = np.array([-towards[1], towards[0]]) / max(reach, 1e-6)
    # Neither so large that nothing is left to see, nor so small that it hides nothing.
    fit = [thing for thing in known if not thing.placed and 0.3 < thing.radius_m / max(hidden.radius_m, 0.1) < 8]
    for _ in range(12 if fit else 0):
        thing = fit[int(rng.integers(len(fit)))]
        share = float(rng.uniform(0.45, 0.93))
        aside = (hidden.radius_m * share + 0.7 * thing.radius_m) * float(rng.uniform(0.45, 0.95))
        point = eye[:2] + share * towards + float(rng.choice([-1.0, 1.0])) * aside * across
        s, d = placer.scene.line.locate(point)
        with_traffic = 0.0 if d < 0 else np.pi
        turned = with_traffic if thing.name != "person" else float(rng.uniform(-np.pi, np.pi))
        yaw = turned + float(rng.normal(0, 0.1))
        if share * reach > 4.0 + thing.radius_m and placer.put(thing, s, d, yaw, float(rng.uniform(0, 3))):
            return True
    return False


def _place_traffic(rng: Rng, placer: _Placer, pool: list[SceneObject], view: View, busy: float) -> None:
    for thing in pool:
        if rng.random() < busy * _TRAFFIC_SHARE[thing.name]:
            for _ in range(4):
                if _put_known(rng, placer, thing, view):
                    break


def _put_anomaly(rng: Rng, placer: _Placer, thing: SceneObject, view: View, range_m: tuple[float, float]) -> bool:
    section = placer.scene.section
    near, far = range_m
    # Even in the logarithm of distance, small things nearer, so that near and far fill like shares of pictures.
    reach = min(far, 25 + 40 * float(thing.shape.size_m.max()))
    ahead = float(np.exp(rng.uniform(np.log(near), np.log(reach)))) + view.mounting.forward_m + thing.radius_m
    if rng.random() < 0.7:
        d = float(rng.uniform(-section.half_right_m + 0.3, min(section.half_left_m, _ASIDE_M) - 0.3))
    else:
        side = float(rng.choice([-1.0, 1.0]))
        edge = min(section.half_left_m, _ASIDE_M) if side > 0 else section.half_right_m
        d = side * (edge + float(rng.uniform(0.2, 2.0)))
    speed = float(rng.uniform(0, 2)) if rng.random() < 0.3 and thing.name in ("dog", "deer", "horse") else 0.0
    return placer.put(thing, view.ego_s_m + ahead, d, float(rng.uniform(-np.pi, np.pi)), speed)


def _put_known(rng: Rng, placer: _Placer, thing: SceneObject, view: View) -> bool:
    section = placer.scene.section
    ahead = float(rng.uniform(6, 85))
    oncoming = rng.random() < 0.6
    if thing.name in ("car", "truck"):
        lanes = section.lanes_left if oncoming else section.lanes_right
        offset = (int(rng.integers(lanes)) + 0.5) * section.lane_m + float(rng.normal(0, 0.2))
        yaw = (np.pi if oncoming else 0.0) + float(rng.normal(0, 0.04))
        if rng.random() < 0.08:
            yaw += float(rng.uniform(-1.6, 1.6))  # turning in or out
        return placer.put(thing, view.ego_s_m + ahead, offset if oncoming else -offset, yaw, float(rng.uniform(4, 14)))
    side = 1.0 if oncoming else -1.0
    edge = min(section.half_left_m, _ASIDE_M) if side > 0 else section.half_right_m
    walk = section.sidewalk_left_m if side > 0 else section.sidewalk_right_m
    yaw = (np.pi if rng.random() < 0.5 else 0.0) + float(rng.normal(0, 0.3))
    if thing.name == "cyclist":
        d = side * (edge - float(rng.uniform(0.4, 2.0)))
        return placer.put(thing, view.ego_s_m + ahead, d, (np.pi if oncoming else 0.0) + float(rng.normal(0, 0.1)), 4.0)
    if rng.random() < 0.25:  # crossing
        d = float(rng.uniform(-section.half_right_m, min(section.half_left_m, _ASIDE_M)))
        yaw = float(rng.choice([-1, 1])) * np.pi / 2 + float(rng.normal(0, 0.4))
    else:
        d = side * (edge + float(rng.uniform(0.3, max(walk, 1.5))))
    return placer.put(thing, view.ego_s_m + ahead * 0.7, d, yaw, float(rng.uniform(0.0, 1.6)))
