# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the node bench, on records whose figures are known."""

from __future__ import annotations

import pytest

from bench.node_parts.figures import answered, cpu_percent, drops, figures, memory, overheads, trend
from bench.node_parts.processes import Cost
from bench.node_parts.records import Received, Sent
from bench.node_parts.scene import Rig
from bench.node_parts.segment import FULL, NODE, TINY, Load, Segment

MS = 1_000_000


def node_segment(cameras: int = 1, images: int = 10) -> Segment:
    """Each image is answered 20 ms after the call of publish, its pictures 5 ms later; exposed 25 ms before it."""
    rig = Rig(cameras)
    segment = Segment(NODE, Load(cameras=cameras), 10.0, outputs=rig.outputs())
    for number in range(images):
        for index, camera in enumerate(rig.cameras):
            stamp, before = 10**18 + number * 100 * MS + index, number * 100 * MS + 7
            segment.sent.append(Sent(camera, stamp, before, before + 3 * MS, before - 25 * MS))
            for topic, (own, kind) in rig.outputs().items():
                if own in (camera, ""):
                    late = 5 * MS if kind == "score" else 0
                    segment.received.append(Received(topic, stamp, before + 20 * MS + late, 1000))
    return segment


def test_latency_and_age() -> None:
    made = figures(node_segment())
    assert made["images_sent"] == made["images_answered"] == 10
    assert made["small_answers"] == {"median_ms": 20.0, "p99_ms": 20.0}
    assert made["last_output"] == {"median_ms": 25.0, "p99_ms": 25.0}
    assert made["age"] == {"median_ms": 45.0, "p99_ms": 45.0, "max_ms": 45.0}
    assert made["publish_call"]["median_ms"] == 3.0
    assert made["interval_p99_ms"] == 100.0
    assert made["answer_bytes"] == 8 * 1000


def test_an_image_without_one_of_its_outputs_is_not_answered() -> None:
    segment = node_segment()
    lost = segment.sent[3].stamp_ns
    segment.received = [m for m in segment.received if m.stamp_ns != lost or not m.topic.endswith("mask")]
    assert lost not in answered(segment)
    assert figures(segment)["images_answered"] == 9


def test_with_several_cameras_zones_may_be_published_once_for_all() -> None:
    segment = node_segment(cameras=4)
    shared = segment.sent[0].stamp_ns
    segment.received = [m for m in segment.received if not m.topic.endswith("hazard_zones") or m.stamp_ns == shared]
    made = figures(segment)
    assert made["images_answered"] == 40
    assert made["fairness_max_over_min"] == 1.0


def test_fairness_is_the_most_served_over_the_least_served() -> None:
    segment = node_segment(cameras=2)
    gone = {image.stamp_ns for image in segment.sent if image.camera == "left"} - {segment.sent[1].stamp_ns}
    segment.received = [m for m in segment.received if m.stamp_ns not in gone]
    assert figures(segment)["fairness_max_over_min"] == 10.0
    segment.received = [m for m in segment.received if "/left/" not in m.topic]
    assert figures(segment)["fairness_max_over_min"] is None  # one camera was never served


def test_floors_answer_by_their_own_topics() -> None:
    outputs = {"/floor/camera/answer": ("camera", "floor"), "/floor/camera/output_0": ("camera", "floor_image")}
    segment = Segment(FULL, Load(), 1.0, outputs=outputs)
    segment.sent = [Sent("camera", 5, 0, MS, 0), Sent("camera", 6, 0, MS, 0)]
    segment.received = [
        Received("/floor/camera/answer", 5, 4 * MS, 20),
        Received("/floor/camera/output_0", 5, 9 * MS, 8_000_000),
        Received("/floor/camera/answer", 6, 4 * MS, 20),
    ]
    assert answered(segment) == {5: (4 * MS, 9 * MS)}
    assert segment.sizes == [20, 8_000_000]


def test_a_stretch_without_answers_says_so() -> None:
    segment = Segment(TINY, Load(), 1.0, failure="no answer within 90 s of the start")
    made = figures(segment)
    assert made["images_answered"] == 0
    assert made["failure"] == "no answer within 90 s of the start"
    assert "small_answers" not in made


def test_the_trend_of_a_rising_age_is_found_and_of_a_steady_one_is_not() -> None:
    at_s = [0.1 * i for i in range(6000)]
    noise = [3.0 if i % 2 else -3.0 for i in range(6000)]
    rising = trend(at_s, [100 + t / 60 * 2 + n for t, n in zip(at_s, noise)])
    steady = trend(at_s, [100 + n for n in noise])
    assert rising is not None
    assert steady is not None
    assert rising["slope_per_min"] == pytest.approx(2.0, abs=0.2)
    assert abs(rising["slope_per_min"]) > 3 * rising["standard_error"]
    assert abs(steady["slope_per_min"]) <= 0.01
    assert trend([0.0, 1.0], [1.0, 2.0]) is None  # too short for one


def test_processor_and_memory() -> None:
    costs = [Cost(float(s), 0.25 * s, 1000 + (30 if s > 300 else 0), 500) for s in range(361)]
    assert cpu_percent(costs) == 25.0
    made = memory(costs)
    assert made["rss_last_over_second_minute_percent"] == pytest.approx(3.0, abs=0.01)
    assert made["anonymous_last_over_second_minute_percent"] == 0.0
    assert "rss_last_over_second_minute_percent" not in memory(costs[:100])  # a minute and a half shows no trend


def test_drops_are_summed_over_the_cameras() -> None:
    diagnostics = {
        "/n: front input": {"message": "ok", "dropped: replaced by a newer image": "3", "images_dropped": "3"},
        "/n: left input": {"message": "ok", "dropped: replaced by a newer image": "4", "dropped: disabled": "1"},
    }
    assert drops(diagnostics) == {"replaced by a newer image": 7, "disabled": 1}


def test_overheads_are_differences_of_the_medians_over_the_stretches() -> None:
    def made(small: float, last: float) -> dict[str, object]:
        return {
            "small_answers": {"median_ms": small, "p99_ms": 2 * small},
            "last_output": {"median_ms": last, "p99_ms": 2 * last},
        }

    over = overheads([made(10, 20), made(14, 24), made(12, 22)], [made(4, 4)], [made(5, 15), {}])
    assert over["small_answers_above_tiny_floor"] == {"median_ms": 8.0, "p99_ms": 16.0}
    assert over["last_output_above_full_floor"] == {"median_ms": 7.0, "p99_ms": 14.0}
    assert overheads([made(10, 20)], [], [])["last_output_above_full_floor"] == {"median_ms": None, "p99_ms": None}
