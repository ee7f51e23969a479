# SPDX-License-Identifier: Apache-2.0
"""Two cameras share one engine, in turns or at once: topics of each, zones of both, a word when one is missing."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from fault_drive import SOAK, TIMEOUT_S, add_record
from fault_engine import VARIABLE, command, helpers_on_the_path
from node_rig import NodeRig, optical_frame, time_of
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vl_anomaly_ros.msg import HazardZone, HazardZoneArray

pytestmark = pytest.mark.live
CAMERAS = ("front", "left")
OVERLOAD_S = 60.0 if SOAK else 5.0
SETTINGS = {
    "node.cameras": "[front, left]",
    "engine.threads": "1",
    "node.image_reliability": "reliable",
    "node.diagnostics_period_s": "0.2",
    "node.latency_budget_s": "60.0",
    "node.stale_after_s": "1.0",
    "sync.wait_s": "2.0",
}


@dataclass
class Vehicle:
    """Sends images of both cameras, with one stamp for both."""

    rig: NodeRig
    control: Path
    stamp_s: int = 0

    def send(self, *cameras: str) -> int:
        """An image of each of these cameras, the cloud with the first."""
        self.stamp_s += 1
        for camera in cameras:
            self.rig.send(self.stamp_s, camera=camera, points=camera == cameras[0])
        return self.stamp_s

    def drive(self, *cameras: str, until: Callable[[], Any], what: str, period_s: float = 0.15) -> None:
        """Send at a rate until it holds."""
        end_s = monotonic() + TIMEOUT_S
        next_s = 0.0
        while not until():
            assert monotonic() < end_s, f"{what}: not seen\n{self.rig.log.read_text()[-5000:]}"
            if monotonic() >= next_s:
                next_s = monotonic() + period_s
                self.send(*cameras)
            self.rig.executor.spin_once(timeout_sec=0.02)

    def newest(self) -> Any:
        """The newest zones."""
        heard = self.rig.received["hazard_zones"]
        return heard[-1] if heard else HazardZoneArray(status=HazardZoneArray.STATUS_UNKNOWN)

    def whole(self) -> bool:
        """Whether the newest zones are those of both cameras."""
        zones = self.newest()
        return bool(zones.status == HazardZoneArray.STATUS_OK and zones.header.stamp.sec > self.stamp_s - 5)


@pytest.fixture(scope="module", params=["1", "2"], ids=["in turns", "at once"])
def vehicle(
    request: pytest.FixtureRequest, node_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Vehicle]:
    """An active node with two cameras, and transforms for both; their images judged in turns, or at once."""
    folder = tmp_path_factory.mktemp("cameras")
    control = folder / "control.json"
    settings = {**SETTINGS, "engine.bundle": str(node_bundle), "engine.parallel": request.param}
    variables = {VARIABLE: str(control), **helpers_on_the_path()}
    with NodeRig(folder, settings, cameras=CAMERAS, module="fault_engine", variables=variables) as rig:
        rig.start()
        rig.send_tf()
        yield Vehicle(rig, control)
        command(control)
        assert rig.stop() == 0
        assert "Traceback" not in rig.log.read_text()


def test_until_a_camera_has_sent_the_zones_are_partial(vehicle: Vehicle) -> None:
    vehicle.drive("front", until=lambda: vehicle.newest().zones, what="zones of one camera")
    zones = vehicle.newest()
    assert zones.status == HazardZoneArray.STATUS_PARTIAL
    assert zones.reason == "left: no image judged for 1 s"
    assert list(zones.zones[0].cameras) == ["front"]


def test_one_thing_that_both_see_is_one_zone(vehicle: Vehicle) -> None:
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")
    stamp_s = vehicle.send(*CAMERAS)
    for camera in CAMERAS:
        outputs = vehicle.rig.answer(stamp_s, camera)
        assert (outputs["anomalies"].camera, outputs["anomalies"].status) == (camera, 0)
        assert outputs["anomalies"].header.frame_id == f"{camera}_optical"
        assert {"mask", "score", "instances", "segmentation", "overlay"} <= set(outputs)
    zones = vehicle.newest()
    assert (zones.header.stamp.sec, zones.status, zones.header.frame_id) == (stamp_s, 0, "base_link")
    assert len(zones.zones) == 1
    assert sorted(zones.zones[0].cameras) == ["front", "left"]
    assert zones.zones[0].depth_status == HazardZone.DEPTH_MEASURED
    assert zones.zones[0].distance_m == pytest.approx(10.0, abs=0.2)


def test_a_camera_that_stops_makes_the_zones_partial_until_it_is_back(vehicle: Vehicle) -> None:
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")
    stopped_s = monotonic()
    vehicle.drive("front", until=lambda: vehicle.newest().status == HazardZoneArray.STATUS_PARTIAL, what="partial")
    partial_after_s = monotonic() - stopped_s
    zones = vehicle.newest()
    assert zones.reason == "left: no image judged for 1 s"
    assert [list(zone.cameras) for zone in zones.zones] == [["front"]]
    vehicle.rig.received["diagnostics"].clear()
    vehicle.drive("front", until=lambda: degraded(vehicle, "left input") == "stale_camera", what="stale_camera")
    assert degraded(vehicle, "front input") == "no"
    assert vehicle.rig.set_parameter("node.stale_after_s", 0.9).successful
    vehicle.drive(
        "front", until=lambda: vehicle.newest().reason == "left: no image judged for 0.9 s", what="the changed limit"
    )
    assert vehicle.rig.set_parameter("node.stale_after_s", 1.0).successful
    back_s = monotonic()
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")
    figures = {"partial_after_s": round(partial_after_s, 3), "back_s": round(monotonic() - back_s, 3)}
    add_record({"fault": "one of two cameras stops", "diagnostics": "stale_camera", **figures})


def test_an_image_that_cannot_be_judged_makes_its_camera_unknown_and_no_other(vehicle: Vehicle) -> None:
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")
    stamp_s = vehicle.send("front")
    vehicle.rig.answer(stamp_s, "front")
    header = Header(stamp=time_of(stamp_s * 10**9), frame_id=optical_frame("left/"))
    bad = Image(header=header, height=160, width=320, step=960, encoding="rgb8", data=array.array("B", bytes(100)))
    vehicle.rig.publishers["/left/image"].publish(bad)
    unknown = vehicle.rig.answer(stamp_s, "left")["anomalies"]
    assert (unknown.status, unknown.camera) == (1, "left")
    vehicle.rig.until(lambda: vehicle.newest().camera == "left", "its zones")
    zones = vehicle.newest()
    assert zones.status == HazardZoneArray.STATUS_PARTIAL
    assert zones.reason == f"left: {unknown.reason}"
    assert [list(zone.cameras) for zone in zones.zones] == [["front"]]
    back_s = monotonic()
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")
    add_record({"fault": "one of two cameras cannot be decoded", "back_s": round(monotonic() - back_s, 3)})


def test_an_engine_that_fails_for_one_image_of_one_camera(vehicle: Vehicle) -> None:
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")
    settle(vehicle)
    command(vehicle.control, frame="nan")
    stamp_s = vehicle.send("left")
    assert vehicle.rig.answer(stamp_s, "left")["anomalies"].status == 1
    command(vehicle.control)
    assert vehicle.newest().status == HazardZoneArray.STATUS_PARTIAL
    assert "left: pixel_embeddings: expected finite" in vehicle.newest().reason
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")


def test_under_overload_both_are_served_alike(vehicle: Vehicle) -> None:
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")
    command(vehicle.control, slow_s=0.1)
    heard = {camera: vehicle.rig.received[f"{camera}/anomalies"] for camera in CAMERAS}
    for messages in heard.values():
        messages.clear()
    end_s = monotonic() + OVERLOAD_S
    vehicle.drive(*CAMERAS, until=lambda: monotonic() > end_s, what="time passes", period_s=1 / 30)
    counts = {camera: len(messages) for camera, messages in heard.items()}
    command(vehicle.control)
    add_record({"overload": "2 cameras at 30 Hz, engine 100 ms", "seconds": OVERLOAD_S, "answers": counts})
    assert min(counts.values()) >= 5
    assert max(counts.values()) <= max(1.1 * min(counts.values()), min(counts.values()) + 1)
    assert all(m.status == 0 for messages in heard.values() for m in messages)
    vehicle.drive(*CAMERAS, until=vehicle.whole, what="zones of both")


def settle(vehicle: Vehicle) -> None:
    """Wait until no image is under way."""
    stamp_s = vehicle.send(*CAMERAS)
    for camera in CAMERAS:
        vehicle.rig.answer(stamp_s, camera)


def degraded(vehicle: Vehicle, part: str) -> str:
    """Degraded modes in the newest diagnostics of a part."""
    found = [
        value.value
        for message in vehicle.rig.received["diagnostics"]
        for status in message.status
        if status.name.endswith(f" {part}")
        for value in status.values
        if value.key == "degraded"
    ]
    return found[-1] if found else ""
