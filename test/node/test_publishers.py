# SPDX-License-Identifier: Apache-2.0
"""Who listens to nothing costs nothing; who listens gets ~/anomalies last."""

from __future__ import annotations

from typing import Any

import pytest
from results import make_result, make_zone

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.node import conversions, publishers
from vl_anomaly_ros.node.publishers import Outputs

HEADER = conversions.header_message(5, "optical")


class FakePublisher:
    def __init__(self, topic: str, log: list[str]) -> None:
        self.topic, self.log, self.listeners = topic, log, 0

    def get_subscription_count(self) -> int:
        return self.listeners

    def publish(self, message: Any) -> None:
        assert message is not None
        self.log.append(self.topic)


class FakeNode:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.made: dict[str, FakePublisher] = {}

    def create_publisher(self, kind: Any, topic: str, qos: Any) -> FakePublisher:
        del kind, qos
        self.made[topic] = FakePublisher(topic, self.log)
        return self.made[topic]

    def destroy_publisher(self, publisher: FakePublisher) -> None:
        del self.made[publisher.topic]


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


def outputs_of(node: Any) -> Outputs:
    return Outputs(node, Config())


def test_without_listeners_no_message_is_made(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = outputs_of(node)

    def forbidden(*_: Any) -> None:
        pytest.fail("a message was made for nobody")

    for name in ("image_message", "zones_message", "anomalies_message", "obstacle_points_message"):
        monkeypatch.setattr(conversions, name, forbidden)
    for name in ("draw_overlay", "marker_array", "unknown_markers"):
        monkeypatch.setattr(publishers, name, forbidden)
    outputs.publish(make_result(make_zone()), HEADER)
    outputs.publish_unknown(HEADER, "why")
    assert node.log == []


def test_anomalies_come_last(node: FakeNode) -> None:
    outputs = outputs_of(node)
    for publisher in node.made.values():
        publisher.listeners = 1
    outputs.publish(make_result(make_zone()), HEADER)
    assert len(node.log) == 9
    assert node.log[-1] == "~/anomalies"


def test_only_what_is_listened_to_is_published(node: FakeNode) -> None:
    outputs = outputs_of(node)
    node.made["~/mask"].listeners = 2
    outputs.publish(make_result(make_zone()), HEADER)
    assert node.log == ["~/mask"]


@pytest.mark.parametrize("frame_known", [True, False])
def test_a_failed_frame_gives_no_empty_images(node: FakeNode, frame_known: bool) -> None:
    outputs = outputs_of(node)
    for publisher in node.made.values():
        publisher.listeners = 1
    if frame_known:
        outputs.publish(make_result(ok=False, reason="NaN", regions=(), zone_frame="base_link"), HEADER)
    else:
        outputs.publish_unknown(HEADER, "NaN")
    assert node.log == (["~/overlay"] if frame_known else []) + ["~/markers", "~/hazard_zones", "~/anomalies"]


def test_close_destroys_them_all(node: FakeNode) -> None:
    outputs_of(node).close()
    assert node.made == {}
