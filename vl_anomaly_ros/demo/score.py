# SPDX-License-Identifier: Apache-2.0
"""How the zones of a drive compare with what really stood there, for the last lines of the demo."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vl_anomaly_ros.replay.birdseye import TrueObject
from vl_anomaly_ros.replay.records import FrameRecord, ZoneRecord

REACH_M = 1.0
"""A zone belongs to an object when its middle lies in the object's box, grown by this on all sides."""
RANGE_M = 40.0
"""Farther objects are not asked for."""


@dataclass(frozen=True)
class Score:
    """The figures.

    Attributes:
        objects: true anomalies that were seen within `RANGE_M`.
        found: those that a zone with depth belonged to at least once.
        first_seen_m: median over the found objects of the distance at which that was so first; NaN without any.
        distance_error_m: median of |zone distance - true nearest distance| over all matched zones; NaN without any.
        elsewhere: zones with depth that belong to no true anomaly.
        zones: all zones with depth.
    """

    objects: int
    found: int
    first_seen_m: float
    distance_error_m: float
    elsewhere: int
    zones: int

    def lines(self) -> list[str]:
        """The figures in words."""
        if not self.objects:
            return ["truth:   no anomaly came into view"]
        text = f"truth:   {self.found} of {self.objects} anomalies within {RANGE_M:g} m got a measured zone"
        if self.found:
            text += f", first at {self.first_seen_m:.0f} m, distance error {self.distance_error_m:.2f} m (medians)"
        return [text, f"         {self.elsewhere} of {self.zones} zones with depth stand where no anomaly is"]


def score(records: Sequence[FrameRecord], truth: Mapping[int, Sequence[TrueObject]]) -> Score:
    """Compare zones with the truth of the same stamps."""
    asked: set[int] = set()
    first_m: dict[int, float] = {}
    errors: list[float] = []
    elsewhere = zones = 0
    for record in records:
        things = [t for t in truth.get(record.stamp_ns, ()) if t.anomaly]
        asked |= {t.number for t in things if distance_m(t, (0.0, 0.0)) <= RANGE_M}
        for zone in record.zones:
            if not zone.num_points:
                continue
            zones += 1
            thing = _owner(zone, things)
            if thing is None:
                elsewhere += 1
                continue
            away_m = distance_m(thing, (0.0, 0.0))
            errors.append(abs(zone.distance_m - away_m))
            first_m.setdefault(thing.number, away_m)
    found = [first_m[number] for number in asked if number in first_m]
    return Score(
        objects=len(asked),
        found=len(found),
        first_seen_m=float(np.median(found)) if found else math.nan,
        distance_error_m=float(np.median(errors)) if errors else math.nan,
        elsewhere=elsewhere,
        zones=zones,
    )


def distance_m(thing: TrueObject, point_m: tuple[float, float]) -> float:
    """Distance on the ground from a point to the nearest point of an object's box, 0 inside.

    >>> distance_m(TrueObject(1, "box", (5.0, 0.0, 0.5), (2.0, 4.0, 1.0), 0.0, True), (0.0, 0.0))
    4.0
    """
    dx, dy = point_m[0] - thing.center_m[0], point_m[1] - thing.center_m[1]
    c, s = math.cos(thing.yaw_rad), math.sin(thing.yaw_rad)
    along, across = abs(c * dx + s * dy) - thing.size_m[0] / 2, abs(c * dy - s * dx) - thing.size_m[1] / 2
    return math.hypot(max(along, 0.0), max(across, 0.0))


def _owner(zone: ZoneRecord, things: Sequence[TrueObject]) -> TrueObject | None:
    """The object that a zone belongs to, the nearest of several."""
    middle = zone.center_m[0], zone.center_m[1]
    near = min(things, key=lambda thing: distance_m(thing, middle), default=None)
    return near if near is not None and distance_m(near, middle) <= REACH_M else None
