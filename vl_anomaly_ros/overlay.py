# SPDX-License-Identifier: Apache-2.0
"""A picture for people: what was found in an image, drawn over it."""

from __future__ import annotations

import math
from typing import cast

import cv2
import numpy as np

from vl_anomaly_ros.types import ByteArray, DepthStatus, FrameResult, HazardZone, Region, bgr_behind

# RGB. The markers use the same colours.
STATUS_COLOURS: dict[DepthStatus, tuple[int, int, int]] = {
    DepthStatus.MEASURED: (255, 64, 64),
    DepthStatus.SPARSE: (255, 160, 32),
    DepthStatus.STALE: (255, 224, 64),
    DepthStatus.UNKNOWN: (224, 64, 255),
}
_MASK_COLOUR = (255, 64, 64)
_MASK_WEIGHT = 0.4
# (1, 256, 3): what each value of each channel becomes.
_TINTED = np.uint8(np.arange(256)[None, :, None] * (1.0 - _MASK_WEIGHT) + np.array(_MASK_COLOUR) * _MASK_WEIGHT)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def zone_text(zone: HazardZone | None) -> str:
    """How far a zone is, in words: `12.3 m`, with its status where that is not MEASURED, or `depth unknown`."""
    if zone is None or zone.status is DepthStatus.UNKNOWN:
        return "depth unknown"
    distance: str = f"{zone.distance_m:.1f} m" if math.isfinite(zone.distance_m) else "distance unknown"
    return distance if zone.status is DepthStatus.MEASURED else f"{distance} {zone.status.name.lower()}"


def zone_name(region: Region) -> str:
    """The name of a region for people."""
    return f"{region.merged} more areas" if region.merged > 1 else region.label.name or "unnamed"


def region_text(region: Region, zone: HazardZone | None) -> str:
    """The line beside a region: name, probability, distance."""
    return f"{zone_name(region)} {region.probability:.2f}, {zone_text(zone)}"


def draw_overlay(result: FrameResult) -> ByteArray:
    """The image with mask, contours, boxes and a line of text for each region.

    Args:
        result: of one frame. One that could not be judged gets a banner with the reason.

    Returns:
        (H, W, 3) uint8 RGB, of the image's size; the frame's own image is not changed.
    """
    image, bgr = result.frame.image, bgr_behind(result.frame.image)
    picture = image.copy() if bgr is None else cast("ByteArray", cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    if not result.ok:
        _banner(picture, f"UNKNOWN: {result.reason}")
        return picture
    insides = {region.id: _inside(result, region) for region in result.regions}
    for region in result.regions:
        _shade(picture, _box(region), insides[region.id])
    zones = {zone.region_id: zone for zone in sorted(result.zones, key=lambda z: -z.distance_m)}  # the nearest stays
    scale, thick = _text_size(picture)
    taken: list[tuple[int, int, int, int]] = []
    words = []
    for region in sorted(result.regions, key=lambda r: r.area_px):
        zone = zones.get(region.id)
        colour = STATUS_COLOURS[DepthStatus.UNKNOWN if zone is None else zone.status]
        words.append((region_text(region, zone), region.bbox[:2], colour))
        x0, y0, x1, y1 = region.bbox
        contours, _ = cv2.findContours(insides[region.id], cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0))
        cv2.drawContours(picture, contours, -1, colour, thick)
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), colour, 1)
    for line, corner, colour in words:  # last, so that no contour runs through them
        _text(picture, line, corner, colour, scale, thick, taken)
    return picture


def _box(region: Region) -> tuple[slice, slice]:
    x0, y0, x1, y1 = region.bbox
    return slice(y0, y1), slice(x0, x1)


def _inside(result: FrameResult, region: Region) -> ByteArray:
    """Which pixels of the region's box belong to it."""
    inside: ByteArray = (result.instances[_box(region)] == region.id).view(np.uint8)
    return inside


def _shade(picture: ByteArray, box: tuple[slice, slice], inside: ByteArray) -> None:
    """Tint the pixels of a box that are not 0 in `inside`, in place."""
    cv2.copyTo(cv2.LUT(picture[box], _TINTED), inside, picture[box])


def _text_size(picture: ByteArray) -> tuple[float, int]:
    """Scale and thickness of the font that can be read at this image size."""
    scale = min(max(picture.shape[0] / 900.0, 0.35), 1.2)
    return scale, max(1, round(scale * 1.6))


def _text(
    picture: ByteArray,
    words: str,
    corner: tuple[int, int],
    colour: tuple[int, int, int],
    scale: float,
    thick: int,
    taken: list[tuple[int, int, int, int]],
) -> None:
    """A line of text above `corner` on a dark ground, moved so that it is inside the picture and on no other line."""
    height, width = picture.shape[:2]
    (text_width, text_height), below = cv2.getTextSize(words, _FONT, scale, thick)
    row = text_height + below + 2
    x = min(max(corner[0], 0), max(width - text_width - 2, 0))
    y = max(corner[1] - row, 0)
    for _ in range(len(taken) + 1):
        hit = next((t for t in taken if x < t[2] and x + text_width > t[0] and y < t[3] and y + row > t[1]), None)
        if hit is None or hit[3] + row > height:
            break
        y = hit[3]
    taken.append((x, y, x + text_width, y + row))
    cv2.rectangle(picture, (x, y), (x + text_width + 1, y + row - 1), (24, 24, 24), cv2.FILLED)
    cv2.putText(picture, words, (x + 1, y + text_height), _FONT, scale, colour, thick, cv2.LINE_AA)


def _banner(picture: ByteArray, words: str) -> None:
    """One line over the top of the picture, made small enough to fit."""
    scale, thick = _text_size(picture)
    (text_width, _), _ = cv2.getTextSize(words, _FONT, scale, thick)
    scale = max(scale * min(1.0, (picture.shape[1] - 4) / max(text_width, 1)), 0.3)
    _text(picture, words, (0, 0), STATUS_COLOURS[DepthStatus.UNKNOWN], scale, thick, [])
