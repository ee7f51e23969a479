# SPDX-License-Identifier: Apache-2.0
"""Hazard zones from above, with the truth where it is known: x forward is up, y left is left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.overlay import STATUS_COLOURS
from vl_anomaly_ros.replay.records import ZoneRecord
from vl_anomaly_ros.types import ByteArray, DepthStatus, DoubleArray

_GROUND, _GRID, _INK, _TRUTH, _KNOWN = (24, 27, 33), (52, 58, 68), (200, 205, 212), (70, 200, 120), (90, 98, 110)
_SHIFT = 3  # cv2 draws at 1/8 pixel
_LABEL_SHIFT_PX = 30
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class TrueObject:
    """An object that is really there: `center_m`, `size_m` and `yaw_rad` as of a hazard zone, in the ego frame.

    `number` is the same in every frame.
    """

    number: int
    name: str
    center_m: tuple[float, float, float]
    size_m: tuple[float, float, float]
    yaw_rad: float
    anomaly: bool


@dataclass(frozen=True)
class View:
    """The part of the ground that is drawn, metres."""

    x_min_m: float = -4.0
    x_max_m: float = 46.0
    half_width_m: float = 14.0
    pixels_per_m: float = 9.0

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        width = round(2 * self.half_width_m * self.pixels_per_m)
        return width, round((self.x_max_m - self.x_min_m) * self.pixels_per_m)

    def pixels(self, xy_m: DoubleArray) -> DoubleArray:
        """(n, 2) metres as (n, 2) pixels."""
        xy = np.asarray(xy_m, np.float64).reshape(-1, 2)
        metres: DoubleArray = np.stack([self.half_width_m - xy[:, 1], self.x_max_m - xy[:, 0]], axis=1)
        return metres * self.pixels_per_m


def read_truth(path: Path) -> dict[int, tuple[TrueObject, ...]]:
    """The objects of each stamp from a truth file of the simulated world (`truth.jsonl`).

    Raises:
        ReplayError: the file cannot be read.
    """
    truth: dict[int, tuple[TrueObject, ...]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            truth[int(values["stamp_ns"])] = tuple(
                TrueObject(
                    number=int(item["instance"]),
                    name=str(item["name"]),
                    center_m=_three(item["base_link"]["center_m"]),
                    size_m=_three(item["size_m"]),
                    yaw_rad=float(item["base_link"]["yaw_rad"]),
                    anomaly=bool(item["is_anomaly"]),
                )
                for item in values["objects"]
            )
    except OSError as error:
        raise ReplayError(f"{path}: the truth cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ReplayError(f"{path}: expected stamp_ns and objects in each line of the truth; got {error!r}") from error
    return truth


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def rectangle_m(center_m: Sequence[float], size_m: Sequence[float], yaw_rad: float) -> DoubleArray:
    """(4, 2) corners of a box on the ground.

    >>> rectangle_m((1.0, 2.0, 0.0), (4.0, 2.0, 1.0), 0.0).tolist()
    [[3.0, 3.0], [-1.0, 3.0], [-1.0, 1.0], [3.0, 1.0]]
    """
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    half = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * np.asarray(size_m[:2], np.float64) / 2
    corners: DoubleArray = half @ np.array([[c, s], [-s, c]]) + np.asarray(center_m[:2], np.float64)
    return corners


def draw_birdseye(
    zones: Sequence[ZoneRecord], truth: Sequence[TrueObject] = (), title: str = "", view: View | None = None
) -> ByteArray:
    """(H, W, 3) uint8 RGB picture of zones and truth around the ego vehicle.

    Args:
        zones: of one frame, in the ego frame.
        truth: of the same stamp.
        title: line of text at the top.
        view: what is drawn.
    """
    view = view or View()
    width, height = view.size_px
    picture = np.full((height, width, 3), _GROUND, np.uint8)
    _rings(picture, view)
    _fill_zones(picture, zones, view)
    for thing in truth:
        corners = rectangle_m(thing.center_m, thing.size_m, thing.yaw_rad)
        _polygon(picture, view.pixels(corners), _TRUTH if thing.anomaly else _KNOWN, 2 if thing.anomaly else 1)
    for zone in zones:
        colour = STATUS_COLOURS[DepthStatus[zone.status]]
        _polygon(picture, view.pixels(np.array(zone.footprint_m)), colour, 1)
    _words(picture, zones, truth, view)
    _ego(picture, view)
    if title:
        cv2.putText(picture, title, (6, 16), _FONT, 0.42, _INK, 1, cv2.LINE_AA)
    return picture


def legend() -> Mapping[str, tuple[int, int, int]]:
    """What the colours mean, RGB."""
    return {
        "truth: anomaly": _TRUTH,
        "truth: known object": _KNOWN,
        **{f"zone: {status.name}": colour for status, colour in STATUS_COLOURS.items()},
    }


def _rings(picture: ByteArray, view: View) -> None:
    """Distances from the ego vehicle, every 10 m."""
    (x, y), width = view.pixels(np.zeros((1, 2)))[0], picture.shape[1]
    for radius_m in range(10, int(view.x_max_m) + 10, 10):
        radius = round(radius_m * view.pixels_per_m)
        cv2.circle(picture, (round(x), round(y)), radius, _GRID, 1, cv2.LINE_AA)
        row = round(y) - radius + 12
        if row > 20:
            cv2.putText(picture, f"{radius_m} m", (width - 38, row), _FONT, 0.34, _KNOWN, 1, cv2.LINE_AA)


def _ego(picture: ByteArray, view: View) -> None:
    corners = np.array([[2.0, 0.0], [-1.0, 0.9], [-0.4, 0.0], [-1.0, -0.9]])
    cv2.fillPoly(picture, [_fixed(view.pixels(corners))], _INK, cv2.LINE_AA, _SHIFT)


def _fill_zones(picture: ByteArray, zones: Sequence[ZoneRecord], view: View) -> None:
    """Tint the ground that zones cover; a wedge of unknown depth stays faint."""
    for zone in zones:
        if len(zone.footprint_m) < 3:
            continue
        layer = picture.copy()
        status = DepthStatus[zone.status]
        cv2.fillPoly(
            layer, [_fixed(view.pixels(np.array(zone.footprint_m)))], STATUS_COLOURS[status], cv2.LINE_AA, _SHIFT
        )
        weight = 0.12 if status is DepthStatus.UNKNOWN else 0.5
        cv2.addWeighted(layer, weight, picture, 1 - weight, 0, dst=picture)


def _words(picture: ByteArray, zones: Sequence[ZoneRecord], truth: Sequence[TrueObject], view: View) -> None:
    """Names that are known: zones at their right, truth at its left, one below the other where they would meet."""
    taken: list[tuple[float, float, float, float]] = []
    named = [z for z in zones if z.num_points and z.name]
    items = [(z.center_m, z.name, STATUS_COLOURS[DepthStatus[z.status]], 8) for z in named]
    items += [(t.center_m, t.name, _TRUTH, -8) for t in truth if t.anomaly]
    for center, words, colour, side in items:
        (x, y), *_ = view.pixels(np.array([center[:2]]))
        if not (0 <= x < picture.shape[1] and 0 <= y < picture.shape[0]):
            continue
        (width, row), _ = cv2.getTextSize(words, _FONT, 0.38, 1)
        left = x + side if side > 0 else x + side - width
        left = min(max(left, 2.0), picture.shape[1] - width - 2.0)
        lowest = y + _LABEL_SHIFT_PX
        while any(left < t[2] and left + width > t[0] and y - row < t[3] and y > t[1] for t in taken):
            y += row + 3
        if y > lowest:  # so far from its object a name misleads
            continue
        taken.append((left, y - row, left + width, y))
        cv2.putText(picture, words, (round(left), round(y)), _FONT, 0.38, colour, 1, cv2.LINE_AA)


def _polygon(picture: ByteArray, pixels: DoubleArray, colour: tuple[int, int, int], thick: int) -> None:
    if len(pixels):
        cv2.polylines(picture, [_fixed(pixels)], True, colour, thick, cv2.LINE_AA, _SHIFT)


def _fixed(pixels: DoubleArray) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Pixels as the fixed-point numbers of cv2; far points are brought to where these still hold them."""
    return np.rint(np.clip(pixels, -20000, 20000) * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)
