# SPDX-License-Identifier: Apache-2.0
"""The report, its drawings, and the view from above."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.errors import ReplayError
from vl_anomaly_ros.overlay import STATUS_COLOURS
from vl_anomaly_ros.replay.birdseye import TrueObject, View, draw_birdseye, read_truth, rectangle_m
from vl_anomaly_ros.replay.records import FrameRecord, RegionRecord, ZoneRecord
from vl_anomaly_ros.replay.report import Report, choose
from vl_anomaly_ros.replay.summary import summarise
from vl_anomaly_ros.replay.timeline import timeline
from vl_anomaly_ros.types import DepthStatus

VOID_TAGS = {"meta", "img", "br"}


def zone(
    x: float, y: float, status: str = "MEASURED", name: str = "dog", points: int = 50, half: float = 1.0
) -> ZoneRecord:
    corners = tuple((float(a), float(b)) for a, b in rectangle_m((x, y, 0), (2 * half, 2 * half, 1), 0.0))
    return ZoneRecord(
        id=1, region=1, status=status, reason="why", center_m=(x, y, 0.5), size_m=(2.0, 2.0, 1.0), yaw_rad=0.0,
        distance_m=math.hypot(x, y), num_points=points, frame_id="base_link", name=name, footprint_m=corners,
    )  # fmt: skip


def record(i: int, *zones: ZoneRecord, score: float = 0.8) -> FrameRecord:
    regions = tuple(RegionRecord(n, z.name, "dictionary", score, (0, 0, 5, 5), 25) for n, z in enumerate(zones, 1))
    return FrameRecord(i * 200_000_000, "camera", ok=True, regions=regions, zones=zones, engine_ms=5.0, total_ms=9.0)


class Checker(HTMLParser):
    """Every tag is closed, and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID_TAGS:
            self.open.append(tag)
        self.loaded += [str(v) for k, v in attrs if k in ("src", "href") and not str(v).startswith("data:")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "picture.jpg"), np.full((300, 900, 3), 90, np.uint8))
    records = [
        record(0),
        record(1, zone(12, 1, name="<script>alert(1)</script>"), zone(30, -4, "SPARSE", "", 4)),
        FrameRecord(400_000_000, "camera", ok=False, reason="the <engine> failed"),
        record(3, zone(8, 0, "UNKNOWN", "sofa", 0)),
    ]
    summary = summarise(
        records, frames_in=4, dropped=0, method="vl4ad", backend="onnxruntime-cpu", bundle_sha256="ab" * 32
    )
    config = with_values(Config(), {"regions.threshold": 0.61})
    page = Report("My & drive", config, {}).render(records, summary, lambda _: tmp_path / "picture.jpg")
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.loaded == []
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "My &amp; drive" in page
    assert "the &lt;engine&gt; failed" in page
    assert '<tr class="changed"><td><code>regions.threshold</code></td><td>0.61' in page
    assert page.count("data:image/jpeg") == 2  # the frames with regions
    assert "3 / 4" in page


@pytest.mark.parametrize("records", [[], [record(0)], [record(0), record(1)]], ids=["none", "one", "nothing found"])
def test_a_page_about_nothing(records: list[FrameRecord]) -> None:
    summary = summarise(records, frames_in=len(records), dropped=0, method="vl4ad", backend="", bundle_sha256="")
    page = Report("nothing", Config(), {}).render(records, summary, lambda _: None)
    assert "No anomaly was found in any frame that could be judged." in page


def test_the_frames_that_are_shown() -> None:
    records = [record(i, zone(300 - i, 0)) if i % 2 else record(i) for i in range(200)]
    records[91] = record(91, zone(2, 0))
    shown = choose(records, 10)
    assert len(shown) == 10
    assert records[91] in shown
    assert all(r.regions for r in shown)
    assert shown == sorted(shown, key=lambda r: r.stamp_ns)
    assert choose(records[:4], 10) == [records[1], records[3]]


def test_timeline_marks_scores_zones_and_failures() -> None:
    assert timeline([]) == ""
    failed = FrameRecord(10**9, "camera", ok=False, reason="a<b")
    drawing = timeline([record(0, zone(10, 0), zone(5, 0, "UNKNOWN", points=0)), record(1), failed])
    assert drawing.count("<circle") == 2  # the nearest with depth and the nearest without
    assert drawing.count('class="score"') == 1
    assert drawing.count('class="failed"') == 1
    assert "a&lt;b" in drawing


def test_timeline_of_a_long_drive_keeps_its_peaks_and_failures() -> None:
    records = [record(i) for i in range(30_000)]
    records[12_345] = record(12_345, zone(7, 0), score=0.9)
    records[20_001] = FrameRecord(20_001 * 200_000_000, "camera", ok=False, reason="torn cable")
    drawing = timeline(records)
    assert len(drawing) < 5000
    assert drawing.count("<circle") == drawing.count('class="score"') == 1
    assert "torn cable" in drawing


def colour_at(picture: Any, view: View, x_m: float, y_m: float) -> tuple[int, ...]:
    (u, v), *_ = view.pixels(np.array([[x_m, y_m]]))
    return tuple(int(c) for c in picture[round(v), round(u)])


@pytest.mark.parametrize("status", list(DepthStatus))
def test_zones_are_drawn_where_they_are_in_the_colour_of_their_status(status: DepthStatus) -> None:
    view = View()
    empty = draw_birdseye([])
    picture = draw_birdseye([zone(20, 5, status.name, half=2.0)])
    towards = np.array(STATUS_COLOURS[status]) - np.array(colour_at(empty, view, 21, 6))
    change = np.array(colour_at(picture, view, 21, 6)) - np.array(colour_at(empty, view, 21, 6))
    assert np.dot(change, towards) > 0.08 * np.dot(towards, towards)
    assert colour_at(picture, view, 20, -5) == colour_at(empty, view, 20, -5)  # left is left
    assert colour_at(picture, view, 9, 5) == colour_at(empty, view, 9, 5)  # ahead is up


def test_truth_is_drawn_and_far_things_do_no_harm() -> None:
    truth = [TrueObject(1, "dog", (20.0, 0.0, 0.5), (4.0, 2.0, 1.0), 0.0, True)]
    picture = draw_birdseye([zone(1e9, 1e9)], truth)
    assert colour_at(picture, View(), 22, 0.0) == (70, 200, 120)


def test_reading_the_truth(tmp_path: Path) -> None:
    thing = {
        "instance": 7, "name": "dog", "is_anomaly": True, "size_m": [1, 0.5, 0.6], "center_m": [0, 0, 0],
        "base_link": {"center_m": [9, 1, 0.3], "yaw_rad": 0.2},
    }  # fmt: skip
    path = tmp_path / "truth.jsonl"
    path.write_text(json.dumps({"stamp_ns": 5, "objects": [thing]}) + "\n")
    assert read_truth(path) == {5: (TrueObject(7, "dog", (9.0, 1.0, 0.3), (1.0, 0.5, 0.6), 0.2, True),)}
    path.write_text('{"stamp_ns": 5}\n')
    with pytest.raises(ReplayError, match="expected stamp_ns and objects"):
        read_truth(path)
    with pytest.raises(ReplayError, match="cannot be read"):
        read_truth(tmp_path / "nope")
