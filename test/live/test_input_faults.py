# SPDX-License-Identifier: Apache-2.0
"""What the live node hears stops, jumps, starts again or comes from somebody else: what it says, and that it recovers.

One node serves all tests of this file; its images and clocks go on from test to test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from time import monotonic
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from fault_drive import SOAK, Drive, add_record, record
from fault_engine import helpers_on_the_path
from node_rig import NodeRig, time_of
from rosgraph_msgs.msg import Clock
from vl_anomaly_ros.msg import HazardZone

pytestmark = pytest.mark.live
SETTINGS = {
    "use_sim_time": "true",
    "engine.threads": "1",
    "node.image_reliability": "reliable",
    "node.diagnostics_period_s": "0.2",
    "node.latency_budget_s": "60.0",
    "node.stale_after_s": "0.8",
    "sync.wait_s": "1.0",
}
HOUR_S = 3600


@pytest.fixture(scope="module")
def drive(node_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    """An active node that has heard no transform yet."""
    folder = tmp_path_factory.mktemp("input_faults")
    with NodeRig(folder, {**SETTINGS, "engine.bundle": str(node_bundle)}) as rig:
        rig.start()
        yield Drive(rig, stamp_s=10_000)
        assert rig.stop() == 0
        assert "Traceback" not in rig.log.read_text()


@contextmanager
def peer(rig: NodeRig, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Another process in the node's domain; killed at the end."""
    domain = str(rig.context.get_domain_id())
    environment = {**os.environ, **helpers_on_the_path(), "ROS_DOMAIN_ID": domain}
    process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def zones_at(drive: Drive, stamp_s: int) -> Any:
    """The hazard zones of an image."""
    heard = drive.rig.received["hazard_zones"]
    drive.wait(lambda: any(m.header.stamp.sec == stamp_s for m in heard), f"zones at {stamp_s} s")
    return next(m for m in heard if m.header.stamp.sec == stamp_s)


def until_measured(drive: Drive, **how: Any) -> Any:
    """Send images until one sent from now on has its zone measured by LiDAR; returns the zones."""
    first, heard = drive.stamp_s, drive.rig.received["hazard_zones"]

    def measured() -> list[Any]:
        depths = [
            (m, [z.depth_status for z in m.zones]) for m in heard[-5:] if first < m.header.stamp.sec <= drive.stamp_s
        ]
        return [m for m, depth in depths if depth == [HazardZone.DEPTH_MEASURED]]

    drive.stream(measured, "a measured zone", **how)
    zones = measured()[0]
    drive.wait(lambda: any(a.stamp_s == zones.header.stamp.sec for a in drive.answers[-5:]), "its anomalies")
    return zones


def test_without_transforms_nothing_is_placed_until_they_come(drive: Drive) -> None:
    zones = zones_at(drive, drive.judge().stamp_s)
    assert drive.answers[-1].ok
    assert (zones.tf_used, zones.header.frame_id) == (False, "camera_optical")
    level, message, _ = drive.degraded("camera sync", "no_tf")
    assert (level, "no transform camera_optical -> base_link" in message) == (b"\x02", True)
    lifted_s = monotonic()
    drive.rig.send_tf()
    zones = until_measured(drive)
    assert (zones.tf_used, zones.header.frame_id) == (True, "base_link")
    assert zones.zones[0].distance_m == pytest.approx(10.0, abs=0.2)
    drive.degraded("camera sync", "no")
    record("static TF: none until it is sent", drive.answers, "no_tf", lifted_s)


def test_ego_motion_that_stops_leaves_the_depth_unknown(drive: Drive) -> None:
    old_clouds: dict[str, Any] = {"points_age_ns": 100_000_000}
    until_measured(drive, motion=True, **old_clouds)
    begun = len(drive.answers)
    drive.degraded("camera sync", "no_tf", **old_clouds)
    zones = zones_at(drive, drive.judge(**old_clouds).stamp_s)
    assert [zone.depth_status for zone in zones.zones] == [HazardZone.DEPTH_UNKNOWN]
    assert "odom" in zones.zones[0].depth_reason
    lifted_s = monotonic()
    until_measured(drive, motion=True, **old_clouds)
    add_times(drive, "TF: odometry stops", begun, "no_tf", lifted_s)
    drive.degraded("camera sync", "no")


def test_a_lidar_that_stops_leaves_anomalies_without_depth(drive: Drive) -> None:
    until_measured(drive)
    begun = len(drive.answers)
    level, message, _ = drive.degraded("camera sync", "no_lidar", points=False)
    assert (level, "point cloud" in message) == (b"\x01", True)
    zones = zones_at(drive, drive.judge(points=False).stamp_s)
    assert [zone.depth_status for zone in zones.zones] == [HazardZone.DEPTH_UNKNOWN]
    assert "cloud" in zones.zones[0].depth_reason
    assert not zones.points_used
    lifted_s = monotonic()
    until_measured(drive)
    add_times(drive, "LiDAR stops", begun, "no_lidar", lifted_s)
    drive.degraded("camera sync", "no")


def test_without_new_camera_infos_the_last_one_holds(drive: Drive) -> None:
    until_measured(drive)
    begun = len(drive.answers)
    until_measured(drive, info=False)
    assert all(a.ok for a in drive.stream_for(0.5, info=False))
    assert drive.degraded("camera sync", "no", info=False)[0] == b"\x00"
    add_times(drive, "CameraInfo stops", begun, "nothing: the last one holds", None)


def test_a_camera_that_stops_is_reported_and_taken_up_again(drive: Drive) -> None:
    drive.judge()
    begun = len(drive.answers)
    level, message, _ = drive.degraded("camera input", "stale_camera", still=True)
    assert (level, "no image for" in message) == (b"\x02", True)
    assert len(drive.answers) == begun, "nothing is made up"
    lifted_s = monotonic()
    until_measured(drive)
    assert all(a.ok for a in drive.answers[begun:])
    add_times(drive, "camera stops", begun, "stale_camera", lifted_s)
    drive.degraded("camera input", "no")


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_clock_that_jumps_by_an_hour(drive: Drive, jump_s: int) -> None:
    clock = drive.rig.publishers["/clock"]
    drive.rig.until(lambda: clock.get_subscription_count() > 0, "the node hears the clock")
    clock.publish(Clock(clock=time_of(drive.stamp_s * 10**9)))
    until_measured(drive, motion=True, points_age_ns=100_000_000)
    begun, jumps = len(drive.answers), drive.rig.log.read_text().count("time jumped")
    drive.stamp_s += jump_s
    clock.publish(Clock(clock=time_of(drive.stamp_s * 10**9)))
    jumped_s = monotonic()
    until_measured(drive, motion=True, points_age_ns=100_000_000)
    assert all(a.ok for a in drive.answers[begun:])
    assert drive.rig.log.read_text().count("time jumped") > jumps
    add_times(drive, f"clock jumps by {jump_s} s (use_sim_time)", begun, "time_jumps counted", jumped_s)
    drive.degraded("camera sync", "no", motion=True)


def test_a_bag_that_loops_without_a_clock(drive: Drive) -> None:
    how: dict[str, Any] = {"motion": True, "points_age_ns": 100_000_000}
    until_measured(drive, **how)
    begun = len(drive.answers)
    drive.stamp_s -= 300
    looped_s = monotonic()
    until_measured(drive, **how)
    assert all(a.ok for a in drive.answers[begun:])
    add_times(drive, "bag loops: stamps 300 s back", begun, "counted (went back)", looped_s)
    drive.degraded("camera sync", "no", motion=True)


def test_a_sender_that_is_killed_and_another_that_takes_over(drive: Drive) -> None:
    rig = drive.rig
    first_s = drive.stamp_s + 100
    heard = rig.received["hazard_zones"]

    def measured_from(stamp_s: int) -> bool:
        return any(
            m.header.stamp.sec >= stamp_s and [z.depth_status for z in m.zones] == [HazardZone.DEPTH_MEASURED]
            for m in heard
        )

    with peer(rig, "-m", "fault_peers", "send", str(first_s)) as sender:
        rig.until(lambda: measured_from(first_s), "the scene of the sender")
        sender.send_signal(signal.SIGKILL)
        sender.wait()
    killed_s = monotonic()
    assert drive.degraded("camera input", "stale_camera", still=True)[0] == b"\x02"
    stale_after_s = monotonic() - killed_s
    second_s = max(m.header.stamp.sec for m in heard) + 50
    with peer(rig, "-m", "fault_peers", "send", str(second_s)):
        rig.until(lambda: measured_from(second_s), "the scene of the other sender")
    assert all(m.status == 0 for m in rig.received["anomalies"] if m.header.stamp.sec >= first_s)
    figures = {"diagnostics": "stale_camera", "stale_after_s": round(stale_after_s, 3)}
    add_record({"fault": "sender killed (SIGKILL), another started", **figures})
    drive.stamp_s = second_s + 1000
    until_measured(drive)


def test_a_second_node_of_the_same_name_does_not_disturb(drive: Drive, node_bundle: Path) -> None:
    rig = drive.rig
    until_measured(drive)
    begun = len(drive.answers)
    twin = ["-m", "vl_anomaly_ros.node", "--ros-args", "-p", "node.autostart:=true", "-p", "engine.threads:=1"]
    with peer(rig, *twin, "-p", f"engine.bundle:={node_bundle}", "-p", "node.image_reliability:=reliable"):
        rig.until(lambda: rig.publishers["/image"].get_subscription_count() == 2, "the second node")
        rig.until(lambda: rig.node.count_publishers("/vl_anomaly/anomalies") == 2, "its publishers")

        def both_answer() -> bool:
            stamps = [a.stamp_s for a in drive.answers[begun:]]
            return len(set(stamps)) < len(stamps)

        drive.stream(both_answer, "two answers to one image")
        drive.stream_for(1.0)
    until_measured(drive)
    assert all(a.ok for a in drive.answers[begun:])
    add_times(drive, "second node of the same name, killed", begun, "nothing", None)


def test_a_subscriber_that_does_not_read_holds_nothing_up(drive: Drive) -> None:
    with peer(drive.rig, "-m", "fault_peers", "stall") as viewer:
        until_measured(drive)
        said = viewer.stdout
        assert said is not None
        drive.stream(lambda: select([said], [], [], 0)[0], "the viewer hears an answer")
        assert said.readline() == "stalls\n"
        before = delays_ms(drive, 1.5)
        begun = len(drive.answers)
        drive.stream_for(30.0 if SOAK else 2.0)
        assert all(a.ok for a in drive.answers[begun:])
        after = delays_ms(drive, 1.5)
    add_record({"fault": "subscriber stalls (SIGSTOP)", "answer_after_ms_at_first": before, "and_later": after})


def delays_ms(drive: Drive, seconds: float) -> dict[str, float]:
    """From sending an image to hearing its answer: median and largest."""
    times = sorted((a.heard_s - a.sent_s) * 1e3 for a in drive.stream_for(seconds))
    return {"median": round(times[len(times) // 2], 1), "largest": round(times[-1], 1), "answers": len(times)}


def add_times(drive: Drive, fault: str, begun: int, diagnostics: str, lifted_s: float | None) -> None:
    """As `record`, but good again means that the zone is measured again."""
    figures = {"fault": fault, "answers": len(drive.answers) - begun, "diagnostics": diagnostics}
    figures["unknown"] = sum(not a.ok for a in drive.answers[begun:])
    depths = {
        m.header.stamp.sec: [zone.depth_status for zone in m.zones] == [HazardZone.DEPTH_MEASURED]
        for m in drive.rig.received["hazard_zones"]
    }
    figures["depth_unknown"] = sum(not depths.get(a.stamp_s, True) for a in drive.answers[begun:])
    if lifted_s is not None:
        good = [a for a in drive.answers[begun:] if a.sent_s >= lifted_s and depths.get(a.stamp_s, False)]
        figures["back_s"] = round(good[0].heard_s - lifted_s, 3) if good else None
        figures["images_until_back"] = sum(lifted_s <= a.sent_s <= good[0].sent_s for a in drive.answers)
    add_record(figures)
