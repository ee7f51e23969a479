# SPDX-License-Identifier: Apache-2.0
"""`report.html`: one page that holds everything and loads nothing."""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vl_anomaly_ros import __version__
from vl_anomaly_ros.config import Config, described
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.replay.birdseye import TrueObject, draw_birdseye, legend
from vl_anomaly_ros.replay.records import FrameRecord
from vl_anomaly_ros.replay.timeline import timeline
from vl_anomaly_ros.types import ByteArray, DepthStatus

_PICTURES = 16
_PICTURE_WIDTH_PX = 560
_FAILED_SHOWN = 20


@dataclass(frozen=True)
class Report:
    """Makes the page.

    Attributes:
        title: heading.
        config: resolved settings.
        truth: objects that are really there, by stamp; empty: not known.
    """

    title: str
    config: Config
    truth: Mapping[int, Sequence[TrueObject]]

    def render(
        self, records: Sequence[FrameRecord], summary: Mapping[str, Any], picture: Callable[[FrameRecord], Path | None]
    ) -> str:
        """The page as HTML.

        Args:
            records: of all frames, by stamp.
            summary: content of summary.json.
            picture: where the overlay of a frame lies, None where there is none.
        """
        folder = Path(__file__).parent / "templates"
        environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
        environment.filters["figure"] = _figure
        defaults = {item.name: item.value for item in described(Config())}
        failed = [r for r in records if not r.ok]
        return environment.get_template("report.html.j2").render(
            title=self.title,
            version=__version__,
            summary=summary,
            cameras=sorted({r.camera for r in records}),
            seconds=(records[-1].stamp_ns - records[0].stamp_ns) * 1e-9 if records else 0.0,
            statuses=_by_status(records),
            names=_by_name(records),
            timelines=[
                (c, timeline([r for r in records if r.camera == c])) for c in sorted({r.camera for r in records})
            ],
            shown=[self._shown(r, records[0].stamp_ns, picture) for r in choose(records, _PICTURES)],
            legend={name: f"rgb{colour}" for name, colour in legend().items() if self.truth or "truth" not in name},
            failed=failed[:_FAILED_SHOWN],
            failed_more=max(len(failed) - _FAILED_SHOWN, 0),
            settings_of={item.name: item.value for item in described(self.config)},
            settings=[(i.name, i.value, i.meaning, i.value != defaults[i.name]) for i in described(self.config)],
        )

    def _shown(
        self, record: FrameRecord, first_ns: int, picture: Callable[[FrameRecord], Path | None]
    ) -> dict[str, Any]:
        """What the template needs of one frame."""
        path = picture(record)
        return {
            "record": record,
            "time_s": (record.stamp_ns - first_ns) * 1e-9,
            "picture": None if path is None else _embedded(_small(path)),
            "birdseye": _embedded(draw_birdseye(record.zones, self.truth.get(record.stamp_ns, ())), ".png"),
        }


def choose(records: Sequence[FrameRecord], count: int) -> list[FrameRecord]:
    """At most `count` frames worth seeing, by stamp: spread over those with regions, the nearest zone among them."""
    found = [r for r in records if r.regions]
    if len(found) <= count:
        return found
    nearest = min(found, key=lambda r: min((z.distance_m for z in r.zones), default=math.inf))
    spread = [found[round(i * (len(found) - 1) / (count - 2))] for i in range(count - 1)]
    return sorted({r.key: r for r in [*spread, nearest]}.values(), key=lambda r: r.key)


def _by_status(records: Sequence[FrameRecord]) -> list[dict[str, Any]]:
    """Count, nearest and farthest zone of each depth status."""
    rows = []
    for status in DepthStatus:
        zones = [z for r in records for z in r.zones if z.status == status.name]
        distances = [z.distance_m for z in zones if math.isfinite(z.distance_m)]
        rows.append(
            {
                "status": status.name,
                "count": len(zones),
                "nearest_m": min(distances, default=math.nan),
                "farthest_m": max(distances, default=math.nan),
                "points": sum(z.num_points for z in zones) / len(zones) if zones else math.nan,
                "reasons": sorted({z.reason for z in zones if z.reason})[:3],
            }
        )
    return rows


def _by_name(records: Sequence[FrameRecord]) -> list[dict[str, Any]]:
    """How often each name was given, the most frequent first."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    nearest: dict[tuple[str, str], float] = defaultdict(lambda: math.inf)
    for record in records:
        distance = {z.region: z.distance_m for z in record.zones if z.num_points}
        for region in record.regions:
            key = region.name, region.name_source
            scores[key].append(region.score)
            nearest[key] = min(nearest[key], distance.get(region.id, math.inf))
    return [
        {
            "name": name or "(no name fits)",
            "source": source,
            "count": len(values),
            "score": sum(values) / len(values),
            "nearest_m": nearest[name, source],
        }
        for (name, source), values in sorted(scores.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _figure(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number for people; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}{unit}"


def _small(path: Path) -> ByteArray:
    """A picture of the report's width, RGB."""
    read = cv2.imread(str(path))
    if read is None:
        raise ReplayError(f"{path}: the picture that was just written cannot be read; is the disk full?")
    picture = cv2.cvtColor(read, cv2.COLOR_BGR2RGB).astype(np.uint8)
    height, width = picture.shape[:2]
    if width > _PICTURE_WIDTH_PX:
        size = (_PICTURE_WIDTH_PX, round(height * _PICTURE_WIDTH_PX / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return picture


def _embedded(picture: ByteArray, kind: str = ".jpg") -> str:
    """A picture as a data URI."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 82] if kind == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    _, data = cv2.imencode(kind, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    mime = "jpeg" if kind == ".jpg" else "png"
    return f"data:image/{mime};base64,{base64.b64encode(data.tobytes()).decode()}"
