# SPDX-License-Identifier: Apache-2.0
"""Transitions over and over, in the middle of work, by signals, and as a lifecycle manager makes them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from fault_drive import SOAK, Drive, add_record
from fault_engine import VARIABLE, command, helpers_on_the_path
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions
from node_rig import NodeRig

pytestmark = pytest.mark.live
Start = Callable[..., NodeRig]
CYCLES, SETTLED = (100, 10) if SOAK else (20, 10)
SIGNALS = [  # every state; `active` in test_node_control.py
    ("unconfigured", signal.SIGINT),
    ("inactive", signal.SIGTERM),
]
MORE_SIGNALS = [
    ("unconfigured", signal.SIGTERM),
    ("inactive", signal.SIGINT),
    ("finalized", signal.SIGTERM),
    ("finalized", signal.SIGINT),
    ("active", signal.SIGINT),
    ("active", signal.SIGTERM),
]


def resources(rig: NodeRig) -> dict[str, int]:
    """Threads, open files and resident memory in KiB of the node."""
    process = Path("/proc") / str(rig.process.pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    resident_kb = int(status["VmRSS"].split()[0])
    return {"threads": int(status["Threads"]), "files": len(list((process / "fd").iterdir())), "memory_kb": resident_kb}


def test_many_cycles_leave_nothing_behind(start_node: Start) -> None:
    rig = start_node(sync__wait_s="5.0", node__latency_budget_s="60.0")
    rig.send_tf()
    used = []
    for cycle in range(1, CYCLES + 1):
        assert rig.transition("configure")
        assert rig.transition("activate")
        rig.until(lambda: rig.publishers["/image"].get_subscription_count() == 1, "the node hears images")
        rig.connected()
        rig.send(cycle)
        rig.until(lambda: rig.received["hazard_zones"] and rig.received["anomalies"], "the answer")
        anomalies = rig.received["anomalies"][-1]
        assert (anomalies.header.stamp.sec, anomalies.status) == (cycle, 0), anomalies.reason
        assert [label.name for label in anomalies.labels] == ["dog"]
        assert rig.transition("deactivate")
        assert rig.transition("cleanup")
        sensors = [rig.publishers[topic] for topic in ("/image", "/camera_info", "/points")]
        rig.until(lambda s=sensors: not any(one.get_subscription_count() for one in s), "subscriptions gone")
        for heard in rig.received.values():
            heard.clear()
        used.append(resources(rig))
    add_record({"cycles": CYCLES, **{str(n): used[n - 1] for n in (SETTLED, CYCLES // 2, CYCLES)}})
    before, after = used[SETTLED - 1], used[-1]
    for kind in ("threads", "files"):  # a library may start a thread late; what a cycle leaks, it leaks each time
        assert after[kind] - before[kind] < (CYCLES - SETTLED) / 2, f"{kind}: {[one[kind] for one in used]}"
    # Each activation starts a thread, and malloc gives some of them an arena of their own: once, in the first cycles.
    settled, growth = (used[CYCLES // 2 - 1], 1.03) if SOAK else (before, 1.3)
    assert after["memory_kb"] < settled["memory_kb"] * growth
    assert rig.stop() == 0


@pytest.mark.parametrize(("state", "number"), SIGNALS + (MORE_SIGNALS if SOAK else []))
def test_a_signal_ends_the_node_in_every_state_with_0(start_node: Start, state: str, number: int) -> None:
    rig = start_node()
    if state != "unconfigured":
        assert rig.transition("configure")
    if state == "active":
        assert rig.transition("activate")
    if state == "finalized":
        shutdown = Transition(id=Transition.TRANSITION_INACTIVE_SHUTDOWN)
        assert rig.call("change_state", ChangeState.Request(transition=shutdown)).success
    assert rig.state() == state
    assert rig.stop(number) == 0
    assert "Traceback" not in rig.log.read_text()
    assert "terminate" not in rig.log.read_text()


@pytest.mark.parametrize("fault", ["hang", "slow", *(["busy", "loading"] if SOAK else [])])
def test_a_shutdown_in_the_middle_of_an_inference_is_clean(node_bundle: Path, tmp_path: Path, fault: str) -> None:
    control = tmp_path / "control.json"
    settings = {
        "engine.bundle": str(node_bundle),
        "engine.threads": "1",
        "node.image_reliability": "reliable",
        "node.latency_budget_s": "60.0",
    }
    variables = {VARIABLE: str(control), **helpers_on_the_path()}
    with NodeRig(tmp_path, settings, module="fault_engine", variables=variables) as rig:
        rig.start()
        rig.send_tf()
        drive = Drive(rig)
        drive.until_good()
        drive.judge()
        if fault == "slow":
            command(control, frame="slow", slow_s=1.0)
        elif fault == "loading":  # it is loaded anew, and that never ends
            command(control, frame="raise", load="hang")
            drive.stream(lambda: "loaded anew" in drive.answers[-1].reason, "the engine is given up")
        else:
            command(control, frame=fault)
        in_work = drive.send()
        if fault != "loading":
            seen = control.with_suffix(".seen")
            drive.wait(lambda: seen.read_text() == fault, "the image is in work")
        if fault == "slow":
            assert rig.transition("shutdown")
            drive.wait(lambda: drive.answers[-1].stamp_s == in_work, "the answer to the image in work")
            assert drive.answers[-1].ok
        assert rig.stop() == 0
        log = rig.log.read_text()
        assert "Traceback" not in log
        if fault in ("hang", "busy"):
            assert "the node was stopped while this image was judged" in log


class Manager:
    """Brings a node up and down by its services alone, as Nav2's lifecycle manager does."""

    def __init__(self, rig: NodeRig) -> None:
        self.rig = rig

    def change(self, name: str, expected: str) -> bool:
        """Make a transition by its id in the node's own list, and look whether the node is where it should be."""
        able = self.rig.call("get_available_transitions", GetAvailableTransitions.Request()).available_transitions
        ids = {one.transition.label: one.transition.id for one in able}
        if name not in ids:
            return False
        reply = self.rig.call("change_state", ChangeState.Request(transition=Transition(id=ids[name])))
        return bool(reply.success) and self.rig.state() == expected

    def startup(self) -> bool:
        """Configure and activate; where that fails, back to unconfigured."""
        if self.change("configure", "inactive") and self.change("activate", "active"):
            return True
        self.change("cleanup", "unconfigured")
        return False

    def reset(self) -> bool:
        """Deactivate and clean up."""
        return self.change("deactivate", "inactive") and self.change("cleanup", "unconfigured")


def test_a_lifecycle_manager_drives_it_and_a_failure_can_be_mended(
    start_node: Start, node_bundle: Path, tmp_path: Path
) -> None:
    import shutil

    bundle = shutil.copytree(node_bundle, tmp_path / "bundle")
    kept = (bundle / "text.onnx").read_bytes()
    (bundle / "text.onnx").unlink()
    rig = start_node(engine__bundle=str(bundle))
    manager = Manager(rig)
    states = rig.call("get_available_states", GetAvailableStates.Request()).available_states
    assert {"unconfigured", "inactive", "active", "finalized"} <= {state.label for state in states}
    assert not manager.startup()
    assert rig.state() == "unconfigured"
    assert "text.onnx" in rig.log.read_text()
    (bundle / "text.onnx").write_bytes(kept)
    assert manager.startup()
    rig.connected()
    rig.send_tf()
    drive = Drive(rig)
    drive.until_good()
    drive.judge()
    assert manager.change("deactivate", "inactive"), "pause"
    assert manager.change("activate", "active"), "resume"
    rig.connected()
    drive.until_good()
    assert manager.reset()
    assert not _accepted(rig, Transition.TRANSITION_ACTIVATE), "not configured"
    assert rig.state() == "unconfigured"
    assert manager.startup()
    assert not _accepted(rig, Transition.TRANSITION_CONFIGURE), "configured already"
    assert rig.state() == "active"
    assert manager.reset()
    assert manager.change("shutdown", "finalized")
    assert rig.stop() == 0


def _accepted(rig: NodeRig, transition: int) -> Any:
    return rig.call("change_state", ChangeState.Request(transition=Transition(id=transition))).success
