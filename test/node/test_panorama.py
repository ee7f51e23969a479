# SPDX-License-Identifier: Apache-2.0
"""What several cameras see together: one thing is one zone, and who cannot see is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from results import make_frame, make_result, make_zone

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from vl_anomaly_ros.msg import HazardZoneArray

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.geometry.transforms import TransformBuffer
from vl_anomaly_ros.node.panorama import Panorama
from vl_anomaly_ros.types import DoubleArray, FrameResult

OK, UNKNOWN, PARTIAL = HazardZoneArray.STATUS_OK, HazardZoneArray.STATUS_UNKNOWN, HazardZoneArray.STATUS_PARTIAL
STILL = np.array([0.0, 0.0, 0.0, 1.0])
SECOND = 1_000_000_000


class Transforms:
    """The ego vehicle drives along x of odom at 10 m/s, from 0 s to `known_until_s`."""

    def __init__(self, known_until_s: float = 10.0) -> None:
        self._buffer = TransformBuffer()
        for s in (0.0, known_until_s):
            self._buffer.set("odom", "base_link", int(s * SECOND), np.array([10.0 * s, 0.0, 0.0]), STILL)

    def lookup(self, target: str, source: str, stamp_ns: int) -> DoubleArray:
        return self._buffer.lookup(target, source, stamp_ns)

    def has_frame(self, frame: str) -> bool:
        return frame in self._buffer.frames


def panorama(transforms: Any = None, **settings: Any) -> Panorama:
    names = {name.replace("__", "."): value for name, value in settings.items()}
    config = with_values(Config(), {"node.cameras": ("front", "left"), **names})
    return Panorama(config.node.cameras, config, transforms or Transforms())


def said(camera: str, *zones: Any, stamp_s: float = 2.0, **more: Any) -> FrameResult:
    frame = make_frame(camera=camera, stamp_ns=int(stamp_s * SECOND), **more.pop("frame", {}))
    return make_result(*zones, frame=frame, **more)


def test_until_every_camera_has_spoken_the_picture_is_partial() -> None:
    both = panorama()
    sight = both.with_result(said("front", make_zone()))
    assert (sight.status, sight.reason) == (PARTIAL, "left: no image judged for 1 s")
    assert len(sight.zones) == 1
    sight = both.with_result(said("left"))
    assert (sight.status, sight.reason) == (OK, "")
    assert [seen.cameras for seen in sight.zones] == [("front",)]


def test_one_thing_seen_by_both_is_one_zone() -> None:
    both = panorama()
    both.with_result(said("front", make_zone(id=3)))
    (seen,) = both.with_result(said("left", make_zone(id=5))).zones
    assert sorted(seen.cameras) == ["front", "left"]
    assert len(seen.xyz) == seen.zone.num_points == 3


def test_what_was_seen_earlier_is_carried_by_the_ego_motion() -> None:
    """0.5 s at 10 m/s: what was 10 m ahead is 5 m ahead."""
    both = panorama()
    both.with_result(said("front", make_zone(), stamp_s=2.0))
    (seen,) = both.with_result(said("left", stamp_s=2.5)).zones
    assert seen.zone.center_m[:2] == pytest.approx((5.0, 0.5))
    assert seen.zone.distance_m == pytest.approx(4.0)
    assert seen.xyz[:, 0].tolist() == pytest.approx([5.0, 5.0, 5.0])


def test_an_unknown_motion_makes_the_other_camera_unknown_not_displaced() -> None:
    both = panorama(Transforms(known_until_s=2.2))
    both.with_result(said("front", make_zone(), stamp_s=2.0))
    sight = both.with_result(said("left", stamp_s=2.5))
    assert sight.status == PARTIAL
    assert sight.zones == ()
    assert sight.reason.startswith("front: ego motion since its image is not known")


def test_without_a_fixed_frame_zones_stay_where_they_are() -> None:
    both = panorama(frames__fixed_frame="")
    both.with_result(said("front", make_zone(), stamp_s=2.0))
    (seen,) = both.with_result(said("left", stamp_s=2.5)).zones
    assert seen.zone.center_m[0] == 10.0


def test_a_camera_that_cannot_be_judged_or_placed_is_named_and_the_others_zones_stay() -> None:
    both = panorama()
    both.with_result(said("front", make_zone()))
    sight = both.with_result(said("left", ok=False, reason="NaN in the score", regions=()))
    assert (sight.status, sight.reason, len(sight.zones)) == (PARTIAL, "left: NaN in the score", 1)
    sight = both.without_result("left", 2 * SECOND, "damaged image")
    assert (sight.status, sight.reason, len(sight.zones)) == (PARTIAL, "left: damaged image", 1)
    unplaced = {"T_output_camera": None, "missing": ("no transform left -> base_link",)}
    sight = both.with_result(said("left", make_zone(), zone_frame="optical", frame=unplaced))
    assert (sight.status, sight.reason) == (PARTIAL, "left: no transform left -> base_link")
    assert [seen.cameras for seen in sight.zones] == [("front",)]


def test_when_no_camera_can_see_all_is_unknown() -> None:
    both = panorama()
    both.without_result("front", 2 * SECOND, "dark")
    sight = both.without_result("left", 2 * SECOND, "damaged")
    assert (sight.status, sight.reason) == (UNKNOWN, "front: dark; left: damaged")


def test_after_a_jump_of_time_nothing_old_is_carried_along() -> None:
    both = panorama()
    both.with_result(said("front", make_zone()))
    both.clear()
    sight = both.with_result(said("left"))
    assert (sight.status, sight.zones) == (PARTIAL, ())
