# SPDX-License-Identifier: Apache-2.0
"""Who listens to nothing costs nothing; what a planner acts on comes first, pictures last."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import pytest
from results import make_result, make_zone

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.node import conversions, publishers
from vl_anomaly_ros.node.panorama import Panorama
from vl_anomaly_ros.node.publishers import CameraOutputs, Publishers, topics

HEADER = conversions.header_message(5, "optical")
NO_TRANSFORMS: Any = None
ZONES = ["~/hazard_zones", "~/anomalies", "~/markers", "~/obstacle_points"]


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

    def create_publisher(self, kind: Any, topic: str, qos: Any, event_callbacks: Any) -> FakePublisher:
        del kind, qos, event_callbacks
        self.made[topic] = FakePublisher(topic, self.log)
        return self.made[topic]

    def destroy_publisher(self, publisher: FakePublisher) -> None:
        del self.made[publisher.topic]

    def listen_to_all(self) -> None:
        for publisher in self.made.values():
            publisher.listeners = 1


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


def outputs_of(node: Any, *cameras: str) -> CameraOutputs:
    config = with_values(Config(), {"node.cameras": cameras or ("front",)})
    panorama = Panorama(config.node.cameras, config, NO_TRANSFORMS)
    return CameraOutputs(Publishers(node, config.node.cameras), panorama, "front", config)


def test_without_listeners_no_message_is_made(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = outputs_of(node)

    def forbidden(*_: Any) -> None:
        pytest.fail("a message was made for nobody")

    for name in ("image_message", "zones_message", "anomalies_message", "obstacle_points_message"):
        monkeypatch.setattr(conversions, name, forbidden)
    for name in ("draw_overlay", "marker_array"):
        monkeypatch.setattr(publishers, name, forbidden)
    outputs.publish(make_result(make_zone()), HEADER)
    outputs.publish_unknown(HEADER, "why")
    assert node.log == []


def test_what_a_planner_acts_on_comes_first(node: FakeNode) -> None:
    outputs = outputs_of(node)
    node.listen_to_all()
    outputs.publish(make_result(make_zone()), HEADER)
    assert node.log[:4] == ZONES
    assert sorted(node.log[4:]) == ["~/instances", "~/mask", "~/overlay", "~/score", "~/segmentation"]


def test_only_what_is_listened_to_is_published(node: FakeNode) -> None:
    outputs = outputs_of(node)
    node.made["~/mask"].listeners = 2
    outputs.publish(make_result(make_zone()), HEADER)
    assert node.log == ["~/mask"]


@pytest.mark.parametrize("frame_known", [True, False])
def test_a_failed_frame_gives_no_empty_images(node: FakeNode, frame_known: bool) -> None:
    outputs = outputs_of(node)
    node.listen_to_all()
    if frame_known:
        outputs.publish(make_result(ok=False, reason="NaN", regions=(), zone_frame="base_link"), HEADER)
    else:
        outputs.publish_unknown(HEADER, "NaN")
    assert node.log == ZONES[:3] + (["~/overlay"] if frame_known else [])


def test_several_cameras_have_their_own_pictures_and_share_the_zones(node: FakeNode) -> None:
    outputs = outputs_of(node, "front", "left")
    assert sorted(node.made) == sorted(f"~/{topic}" for topic in topics(["front", "left"]))
    assert {"~/front/mask", "~/left/mask", "~/hazard_zones"} <= node.made.keys()
    node.listen_to_all()
    outputs.publish(make_result(make_zone()), HEADER)
    assert node.log[:4] == ["~/hazard_zones", "~/front/anomalies", "~/markers", "~/obstacle_points"]
    assert not [topic for topic in node.log if "left" in topic]


def test_close_destroys_them_all(node: FakeNode) -> None:
    any_node: Any = node
    Publishers(any_node, ["front"]).close()
    assert node.made == {}


def test_a_newer_sight_is_never_overtaken_by_an_older_one(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another camera's thread that comes between asking what is seen and publishing it has to wait."""
    outputs = outputs_of(node, "front", "left")
    node.listen_to_all()
    asked, go_on = threading.Event(), threading.Event()
    of_sight = CameraOutputs._of_sight

    def slow(self: CameraOutputs, *arguments: Any) -> Any:
        if threading.current_thread().name == "first":
            asked.set()
            assert go_on.wait(20)
        return of_sight(self, *arguments)

    monkeypatch.setattr(CameraOutputs, "_of_sight", slow)
    order: list[str] = []
    zones = node.made["~/hazard_zones"]
    monkeypatch.setattr(zones, "publish", lambda _: order.append(threading.current_thread().name))
    publish = partial(outputs.publish, make_result(make_zone()), HEADER)
    first, second = (threading.Thread(target=publish, name=name) for name in ("first", "second"))
    first.start()
    assert asked.wait(20)
    second.start()
    second.join(0.1)
    assert order == []
    go_on.set()
    first.join(20)
    second.join(20)
    assert order == ["first", "second"]
