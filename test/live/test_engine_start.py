# SPDX-License-Identifier: Apache-2.0
"""What the diagnostics say while the node builds its engine at configure; the GPU and TensorRT are stand-ins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from diagnostic_msgs.msg import DiagnosticStatus
from fake_gpu_node import VARIABLE
from fault_engine import helpers_on_the_path
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_rig import NodeRig

pytestmark = pytest.mark.live
CONFIGURE = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))


@pytest.fixture
def rig(node_bundle: Path, tmp_path: Path) -> Iterator[NodeRig]:
    """A node whose builder waits for the file `go_on`."""
    settings = {"engine.bundle": str(node_bundle), "engine.threads": "1", "engine.backend": "tensorrt"}
    settings["node.diagnostics_period_s"] = "0.2"
    variables = {VARIABLE: str(tmp_path / "go_on"), "XDG_CACHE_HOME": str(tmp_path / "cache"), **helpers_on_the_path()}
    with NodeRig(tmp_path, settings, module="fake_gpu_node", variables=variables) as made:
        yield made
        assert made.stop() == 0


def engines(rig: NodeRig) -> list[Any]:
    """Statuses of the engine that were heard."""
    heard = [status for message in rig.received["diagnostics"] for status in message.status]
    return [status for status in heard if status.name == "/vl_anomaly: engine"]


def newest(rig: NodeRig, words: str) -> Any:
    """The newest status of the engine, once it says these words."""
    rig.until(lambda: engines(rig) and words in engines(rig)[-1].message, words)
    return engines(rig)[-1]


def test_a_build_is_told_while_the_node_configures_and_is_found_the_next_time(rig: NodeRig, tmp_path: Path) -> None:
    reply = rig.clients["change_state"].call_async(CONFIGURE)
    status = newest(rig, "tensorrt: building the engine of visual.onnx: tactics, step 3 of 12, for ")
    assert (status.level, reply.done()) == (DiagnosticStatus.WARN, False)
    said = {value.key: value.value for value in status.values}
    assert (said["degraded"], said["graph"], said["step"]) == ("engine_starting", "visual", "3 of 12")
    heard = len(engines(rig))
    rig.until(lambda: len(engines(rig)) > heard + 2, "more of them while no step is made")
    (tmp_path / "go_on").touch()
    rig.until(reply.done, "the node is configured")
    assert reply.result().success, rig.log.read_text()
    status = newest(rig, "ready: tensorrt, fp32 on Fake GPU (compute capability 8.9), built in ")
    assert status.level == DiagnosticStatus.OK
    rig.received["diagnostics"].clear()
    (tmp_path / "go_on").unlink()
    assert rig.transition("cleanup")
    assert rig.transition("configure")
    newest(rig, "found in ")
    assert rig.log.read_text().count("computing the scores of the CPU") == 1


def test_a_refused_engine_is_an_error_in_the_diagnostics(rig: NodeRig, tmp_path: Path) -> None:
    ours = tmp_path / "cache" / "vl_anomaly_ros"
    ours.mkdir(parents=True, exist_ok=True)
    (ours / "engines").write_text("a file in the way")
    assert not rig.transition("configure")
    status = newest(rig, "degraded (engine_refused): ")
    assert (status.level, "folder for built engines" in status.message) == (DiagnosticStatus.ERROR, True)
    assert rig.state() == "unconfigured"
