# SPDX-License-Identifier: Apache-2.0
"""A drive over time as two lines of one drawing: the highest anomaly probability and the nearest zone of each frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from vl_anomaly_ros.overlay import STATUS_COLOURS
from vl_anomaly_ros.replay.records import FrameRecord, ZoneRecord
from vl_anomaly_ros.types import DepthStatus

WIDTH, LEFT, RIGHT = 1080, 46, 14
_TOP_1, _HEIGHT_1 = 22, 90
_TOP_2, _HEIGHT_2 = 140, 110
HEIGHT = _TOP_2 + _HEIGHT_2 + 30
_MIN_RANGE_M = 20.0
_BAR_PX = 22.0
_COLUMNS = 1000


def timeline(records: Sequence[FrameRecord]) -> str:
    """An SVG drawing of the frames of one camera, by stamp. Frames that could not be judged are grey bars."""
    if not records:
        return ""
    records = _merged(records)
    first, last = records[0].stamp_ns, records[-1].stamp_ns
    span = max(last - first, 1)
    inner = WIDTH - LEFT - RIGHT
    bar = min(max(inner / len(records) * 0.8, 1.0), _BAR_PX)

    def x_of(stamp_ns: int) -> float:
        return LEFT + bar / 2 + (inner - bar) * (stamp_ns - first) / span

    nearest = [_nearest(r, measured=False) + _nearest(r, measured=True) for r in records]
    top_m = max([_MIN_RANGE_M, *(z.distance_m for zones in nearest for z in zones)])
    top_m = math.ceil(top_m / 10) * 10
    parts = [
        _frame(_TOP_1, _HEIGHT_1, "highest anomaly probability", ("0", "1")),
        _frame(
            _TOP_2,
            _HEIGHT_2,
            "distance of the nearest zone with depth and the nearest without, m (colour: depth status)",
            ("0", f"{top_m:g}"),
        ),
    ]
    for record in records:
        x = x_of(record.stamp_ns)
        if not record.ok:
            parts.append(
                f'<rect class="failed" x="{x - bar / 2:.1f}" y="{_TOP_1}" width="{bar:.1f}" '
                f'height="{_TOP_2 + _HEIGHT_2 - _TOP_1}"><title>{escape(record.reason)}</title></rect>'
            )
            continue
        score = max((r.score for r in record.regions), default=0.0)
        if score > 0:
            height = _HEIGHT_1 * score
            parts.append(
                f'<rect class="score" x="{x - bar / 2:.1f}" y="{_TOP_1 + _HEIGHT_1 - height:.1f}" width="{bar:.1f}" '
                f'height="{height:.1f}"/>'
            )
    for record, zones in zip(records, nearest):
        for zone in zones:
            y = _TOP_2 + _HEIGHT_2 * (1 - min(zone.distance_m / top_m, 1.0))
            colour = "rgb({},{},{})".format(*STATUS_COLOURS[DepthStatus[zone.status]])
            words = escape(f"{zone.name or 'unnamed'}, {zone.distance_m:.1f} m, {zone.status}")
            radius = 3 if zone.num_points else 2
            parts.append(
                f'<circle cx="{x_of(record.stamp_ns):.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}">'
                f"<title>{words}</title></circle>"
            )
    ticks = [(first + span * i // 4, span * i / 4e9) for i in range(5)]
    parts += [
        f'<text x="{x_of(stamp):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{seconds:.1f} s</text>'
        for stamp, seconds in ticks
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="timeline">{"".join(parts)}</svg>'


def _merged(records: Sequence[FrameRecord]) -> Sequence[FrameRecord]:
    """As many records as can be told apart: of a long drive, neighbours together. A failed one is never lost in it."""
    size = -(-len(records) // _COLUMNS)
    if size == 1:
        return records
    merged: list[FrameRecord] = []
    for i in range(0, len(records), size):
        group = records[i : i + size]
        judged = [r for r in group if r.ok]
        if judged:
            regions = tuple(region for r in judged for region in r.regions)
            zones = tuple(zone for r in judged for zone in r.zones)
            merged.append(FrameRecord(judged[0].stamp_ns, judged[0].camera, ok=True, regions=regions, zones=zones))
        merged += [r for r in group if not r.ok][:1]
    return sorted(merged, key=lambda r: r.stamp_ns)


def _nearest(record: FrameRecord, *, measured: bool) -> list[ZoneRecord]:
    """The nearest zone with LiDAR points, or the nearest without, if there is one."""
    zones = [z for z in record.zones if math.isfinite(z.distance_m) and bool(z.num_points) == measured]
    return sorted(zones, key=lambda z: z.distance_m)[:1]


def _frame(top: int, height: int, title: str, ends: tuple[str, str]) -> str:
    """Axes of one of the two plots."""
    low, high = ends
    return (
        f'<rect class="axes" x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{height}"/>'
        f'<text x="{LEFT}" y="{top - 7}">{escape(title)}</text>'
        f'<text x="{LEFT - 6}" y="{top + height}" text-anchor="end">{low}</text>'
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{high}</text>'
    )
