# SPDX-License-Identifier: Apache-2.0
"""Many images in a row: nothing is lost in lock-step, and of too many the newest are judged and the rest counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from node_rig import NodeRig

pytestmark = pytest.mark.live
Start = Callable[..., NodeRig]


def test_in_lock_step_no_frame_is_lost(start_node: Start) -> None:
    rig = start_node()
    rig.start()
    rig.send_tf()
    sent = list(range(1, 61))
    for stamp_s in sent:
        rig.send(stamp_s)
        rig.until(lambda s=stamp_s: [m for m in rig.received["anomalies"] if m.header.stamp.sec == s], f"{stamp_s} s")
    assert [m.header.stamp.sec for m in rig.received["anomalies"]] == sent
    assert all(m.status == 0 and len(m.labels) == 1 for m in rig.received["anomalies"])
    rig.until(lambda: len(rig.received["hazard_zones"]) == len(sent), "all zones")
    assert all(m.points_used and m.tf_used for m in rig.received["hazard_zones"])
    (drops,) = {
        value.value
        for message in rig.received["diagnostics"][-1:]
        for status in message.status
        for value in status.values
        if value.key == "images_dropped"
    } or {"0"}
    assert drops == "0"


def test_of_a_burst_the_newest_is_judged_and_the_rest_is_counted(start_node: Start) -> None:
    rig = start_node(sync__wait_s="3.0", node__diagnostics_period_s="0.2")
    rig.start()
    for stamp_s in range(1, 6):  # without transforms each frame waits for three seconds
        rig.send(stamp_s)
    rig.until(lambda: [m for m in rig.received["anomalies"] if m.header.stamp.sec == 5], "the newest image")
    judged = [m.header.stamp.sec for m in rig.received["anomalies"]]
    assert judged == sorted(judged)
    assert len(judged) < 5

    def drops() -> list[int]:
        return [
            int(value.value)
            for message in rig.received["diagnostics"]
            for status in message.status
            for value in status.values
            if value.key == "dropped: replaced by a newer image"
        ]

    rig.until(lambda: drops() and drops()[-1] + len(judged) == 5, "the count of dropped images")
