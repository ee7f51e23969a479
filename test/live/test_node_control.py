# SPDX-License-Identifier: Apache-2.0
"""The real node over DDS: lifecycle, parameters, services, diagnostics, signals."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from builtin_interfaces.msg import Time
from node_rig import OUTPUTS, NodeRig
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool
from vl_anomaly_ros.msg import KnownClass
from vl_anomaly_ros.srv import GetVocabulary, SetVocabulary

pytestmark = pytest.mark.live
Start = Callable[..., NodeRig]


def names_at(rig: NodeRig, stamp_s: int) -> list[str]:
    """Names of the anomalies of a scene sent at that stamp."""
    rig.send(stamp_s)
    anomalies = rig.answer(stamp_s)["anomalies"]
    assert anomalies.status == 0, anomalies.reason
    return [label.name for label in anomalies.labels]


def diagnostics(rig: NodeRig, part: str, level: bytes) -> Any:
    """The first status of that part, from now on, that has that level."""
    heard = rig.received["diagnostics"]
    heard.clear()

    def found() -> list[Any]:
        return [s for m in heard for s in m.status if s.name.endswith(f" {part}") and s.level == level]

    rig.until(found, f"diagnostics of {part} at level {level!r}")
    return found()[0]


def test_lifecycle_three_times_and_no_publisher_is_left(start_node: Start) -> None:
    rig = start_node()
    tasks = Path("/proc") / str(rig.process.pid) / "task"
    threads = []
    for cycle in (1, 2, 3):
        rig.start()
        rig.send_tf()
        assert names_at(rig, cycle) == ["dog"]
        assert rig.transition("deactivate")
        assert rig.state() == "inactive"
        # The old subscriptions must be seen to go, or `connected` takes them for the new ones.
        sensors = [rig.publishers[topic] for topic in ("/image", "/camera_info", "/points")]
        rig.until(lambda p=sensors: not any(one.get_subscription_count() for one in p), "subscriptions gone")
        assert rig.transition("activate")
        rig.connected()
        assert names_at(rig, cycle + 10) == ["dog"]
        assert rig.transition("deactivate")
        assert rig.transition("cleanup")
        assert rig.state() == "unconfigured"
        topics = [f"/vl_anomaly/{name}" for name in OUTPUTS]
        rig.until(lambda t=topics: not any(rig.node.count_publishers(n) for n in t), "publishers gone")
        rig.until(lambda: rig.publishers["/image"].get_subscription_count() == 0, "subscriptions gone")
        threads.append(len(list(tasks.iterdir())))
    # A library may start a thread late, and one that ends is there for a moment; what a cycle leaves stays.
    rig.until(lambda: len(list(tasks.iterdir())) < threads[0] + 2, f"the threads of the cycles before gone: {threads}")
    assert rig.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_active_node_with_0(start_node: Start, number: int) -> None:
    rig = start_node(node__autostart="true")
    rig.until(lambda: rig.state() == "active", "autostart")
    assert rig.stop(number) == 0
    assert "Traceback" not in rig.log.read_text()


def test_a_wrong_parameter_is_refused_by_name_and_can_be_mended(start_node: Start) -> None:
    rig = start_node(regions__threshold="7.0")
    assert not rig.transition("configure")
    assert rig.state() == "unconfigured"
    assert "regions.threshold: expected -1.0 to 1.0" in rig.log.read_text()
    refused = rig.set_parameter("regions.threshold", -3.0)
    assert not refused.successful
    assert "regions.threshold" in refused.reason
    assert rig.set_parameter("regions.threshold", 0.5).successful
    rig.start()
    rig.send_tf()
    assert names_at(rig, 1) == ["dog"]


def test_a_missing_bundle_is_named_and_the_node_stays(start_node: Start) -> None:
    rig = start_node(engine__bundle="/no/such/bundle", node__autostart="true")
    assert rig.state() == "unconfigured"
    assert "/no/such/bundle" in rig.log.read_text()
    assert not rig.transition("configure")
    assert rig.stop() == 0


def test_thresholds_change_while_running_and_read_only_ones_do_not(start_node: Start) -> None:
    rig = start_node()
    rig.start()
    rig.send_tf()
    assert names_at(rig, 1) == ["dog"]
    assert rig.set_parameter("regions.min_area_px", 100_000).successful
    assert names_at(rig, 2) == []
    assert rig.set_parameter("regions.min_area_px", 60).successful
    assert names_at(rig, 3) == ["dog"]
    weights = rig.set_parameter("method.source_weights", [1.0, 2.0])
    assert not weights.successful
    assert "method.source_weights: expected 3 numbers" in weights.reason
    assert not rig.set_parameter("node.cameras", ["other"]).successful


def test_the_method_is_switched_while_running(start_node: Start) -> None:
    """By the node's own parameter service; the next image is judged by the new method, a wrong name changes nothing."""
    rig = start_node()
    rig.start()
    rig.send_tf()
    seen = []
    for stamp_s, method in enumerate(("vl_anomaly", "vl4ad", "clipomaly"), start=1):
        assert rig.set_parameter("method.name", method).successful
        rig.send(stamp_s)
        anomalies = rig.answer(stamp_s)["anomalies"]
        seen.append(anomalies.labels[0].probability)
        assert (anomalies.method, anomalies.status) == (method, 0)
    assert len(set(seen)) == 3
    refused = rig.set_parameter("method.name", "rba")
    assert not refused.successful
    assert "expected one of vl_anomaly, vl4ad, clipomaly, got 'rba'" in refused.reason


def test_a_vocabulary_changes_the_next_frame_and_a_bad_one_is_refused(start_node: Start) -> None:
    rig = start_node()
    assert "not configured" in rig.call("get_vocabulary", GetVocabulary.Request()).message
    rig.start()
    rig.send_tf()
    assert names_at(rig, 1) == ["dog"]
    before = rig.call("get_vocabulary", GetVocabulary.Request())
    assert before.success
    assert [known.name for known in before.known] == ["road", "vegetation", "sky"]

    bad = rig.call("set_vocabulary", SetVocabulary.Request(known=[KnownClass(name="road"), KnownClass(name="Road")]))
    assert not bad.success
    assert "twice" in bad.message
    assert names_at(rig, 2) == ["dog"]

    words = [*before.known, KnownClass(name="dog", synonyms=["fox"])]
    ood = [word for word in before.ood_prompts if word != "animal"]
    good = rig.call("set_vocabulary", SetVocabulary.Request(known=words, ood_prompts=ood, candidates=["sofa", "cone"]))
    assert (good.success, good.message) == (True, "")
    assert good.revision > before.revision
    rig.send(3)
    after = rig.answer(3)["anomalies"]
    assert after.vocabulary_revision == good.revision
    first = rig.answer(1)["anomalies"]
    assert not after.labels or after.labels[0].probability < first.labels[0].probability


def test_disabled_images_are_dropped_and_counted(start_node: Start) -> None:
    rig = start_node(node__stale_after_s="60.0", node__diagnostics_period_s="0.2")
    rig.start()
    rig.send_tf()
    assert names_at(rig, 1) == ["dog"]
    assert rig.call("enable", SetBool.Request(data=False)).success
    rig.send(2)
    status = diagnostics(rig, "input", b"\x01")
    assert "disabled" in status.message
    rig.until(
        lambda: {v.key: v.value for v in diagnostics(rig, "input", b"\x01").values}.get("dropped: disabled") == "1",
        "the dropped image",
    )
    assert rig.call("enable", SetBool.Request(data=True)).success
    assert names_at(rig, 3) == ["dog"]
    assert not [m for m in rig.received["anomalies"] if m.header.stamp.sec == 2]


def test_diagnostics_say_what_is_wrong(start_node: Start) -> None:
    limits = {"node__stale_after_s": "0.5", "node__latency_budget_s": "100.0"}  # a busy machine is no fault here
    rig = start_node(node__diagnostics_period_s="0.2", sync__wait_s="2.0", **limits)
    rig.start()
    assert "no image" in diagnostics(rig, "input", b"\x02").message
    rig.send(1)
    rig.answer(1)
    assert "transform" in diagnostics(rig, "sync", b"\x02").message
    rig.send_tf()
    rig.send(2)
    rig.answer(2)
    assert diagnostics(rig, "sync", b"\x00").message == "ok"
    engine = {value.key: value.value for value in diagnostics(rig, "engine", b"\x00").values}
    assert engine["engine"] == "onnxruntime-cpu/tiny"
    assert len(engine["bundle_sha256"]) == 64
    processing = {value.key: value.value for value in diagnostics(rig, "processing", b"\x00").values}
    assert float(processing["engine_p50_ms"]) > 0
    rig.send(3, points=False)
    rig.answer(3)
    missing = diagnostics(rig, "sync", b"\x01")
    assert "point cloud" in missing.message


def test_shutdown_from_active_and_then_a_signal(start_node: Start) -> None:
    rig = start_node()
    rig.start()
    assert rig.transition("shutdown")
    assert rig.state() == "finalized"
    assert rig.stop() == 0
    assert "Unable to start transition" not in rig.log.read_text()


def test_time_that_jumps_back_is_noticed_and_work_goes_on(start_node: Start) -> None:
    rig = start_node(use_sim_time="true", sync__wait_s="0.5")
    rig.start()
    rig.send_tf()
    clock = rig.publishers["/clock"]
    rig.until(lambda: clock.get_subscription_count() > 0, "the node hears the clock")
    clock.publish(Clock(clock=Time(sec=100)))
    assert names_at(rig, 100) == ["dog"]
    clock.publish(Clock(clock=Time(sec=10)))
    rig.until(lambda: "time jumped by -90.000 s" in rig.log.read_text(), "the jump in the log")
    assert names_at(rig, 10) == ["dog"]
    assert rig.answer(10)["hazard_zones"].points_used
