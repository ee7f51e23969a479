# SPDX-License-Identifier: Apache-2.0
"""The engine of the live node fails: what is published meanwhile, and that it comes back by itself.

One node serves all tests of this file, so that each also shows that the one before has left nothing behind.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from fault_drive import SOAK, Drive, record
from fault_engine import VARIABLE, command, helpers_on_the_path
from node_rig import NodeRig
from tiny_bundle import build_tiny_bundle
from vl_anomaly_ros.msg import KnownClass
from vl_anomaly_ros.srv import GetVocabulary, SetVocabulary

pytestmark = pytest.mark.live
SETTINGS = {
    "engine.threads": "1",
    "engine.timeout_s": "2.5",
    "engine.max_backoff_s": "1.0",
    "node.image_reliability": "reliable",
    "node.diagnostics_period_s": "0.2",
    "node.latency_budget_s": "60.0",
    "node.stale_after_s": "60.0",
    "sync.wait_s": "0.2",
}
FAILURES = {  # fault of the backend: what the user reads
    "raise": "the accelerator has fallen off the bus",
    "foreign": "the engine failed: KeyError: 'injected'",
    "nan": "pixel_embeddings: expected finite numbers from the network, got NaN or infinity",
    "shape": "pixel_embeddings: expected 8x20x40 float32, got 8x19x40 float32",
    "dtype": "pixel_embeddings: expected 8x20x40 float32, got 8x20x40 float64",
}
DEAD_S = 3.0 if SOAK else 1.0
KNOWN = [KnownClass(name="road", synonyms=["street"]), KnownClass(name="vegetation"), KnownClass(name="sky")]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of our own: tests break it."""
    return build_tiny_bundle(tmp_path_factory.mktemp("fault_bundle") / "tiny", width=160, height=80)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The control file of the engine."""
    return tmp_path_factory.mktemp("fault_control") / "control.json"


@pytest.fixture(scope="module")
def node(bundle: Path, control: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    """An active node with the engine that the control file commands."""
    variables = {VARIABLE: str(control), **helpers_on_the_path()}
    settings = {**SETTINGS, "engine.bundle": str(bundle)}
    folder = tmp_path_factory.mktemp("engine_faults")
    with NodeRig(folder, settings, module="fault_engine", variables=variables) as rig:
        rig.start()
        rig.send_tf()
        yield Drive(rig)
        command(control)
        assert rig.stop() == 0
        assert "Traceback" not in rig.log.read_text()


@pytest.fixture
def drive(node: Drive, control: Path) -> Iterator[Drive]:
    """A healthy node, and one that has recovered at the end."""
    command(control)
    node.until_good()
    yield node
    command(control)
    node.until_good()


@pytest.mark.parametrize("fault", FAILURES)
def test_a_failing_engine_costs_only_the_images_it_failed_at(drive: Drive, control: Path, fault: str) -> None:
    begun = len(drive.answers)
    assert drive.judge().ok
    for _ in range(2):  # one failure less than engine.max_failures
        command(control, frame=fault)
        bad = drive.judge()
        assert not bad.ok
        assert FAILURES[fault] in bad.reason
    assert drive.degraded("camera processing", "not_judged", still=True)[0] == b"\x02"
    lifted_s = monotonic()
    command(control)
    assert all(a.ok for a in drive.until_good())
    assert drive.degraded("camera processing", "no")[0] == b"\x00"
    record(f"engine: {fault}", drive.answers[begun:], "not_judged", lifted_s)
    heard = drive.rig.received
    assert [m.status for m in heard["hazard_zones"] if m.header.stamp.sec == bad.stamp_s] == [1]
    for name in ("mask", "score", "instances", "segmentation", "obstacle_points"):  # what reads as "nothing there"
        assert bad.stamp_s not in [m.header.stamp.sec for m in heard[name]], name


def test_an_engine_that_goes_on_failing_is_loaded_anew_and_keeps_the_vocabulary(drive: Drive, control: Path) -> None:
    rebuilds = int(drive.degraded("engine", "no")[2]["rebuilds"])
    drive.judge()  # no image is under way when the names change
    request = SetVocabulary.Request(known=KNOWN, ood_prompts=["animal", "furniture"], candidates=["fox", "cone"])
    revision = drive.rig.call("set_vocabulary", request).revision
    drive.expected = ("fox",)
    begun = len(drive.answers)
    drive.until_good()
    command(control, frame="raise", loads=3)
    drive.stream(lambda: "loaded anew" in drive.answers[-1].reason, "the engine is given up")
    command(control, loads=3)
    level, message, _ = drive.degraded("engine", "engine_rebuilding")
    assert (level, "the accelerator is not there" in message) == (b"\x02", True)
    refused = drive.rig.call("set_vocabulary", request)
    assert (refused.success, "loaded anew" in refused.message) == (False, True)
    assert drive.rig.call("get_vocabulary", GetVocabulary.Request()).revision == revision
    assert drive.rig.set_parameter("regions.min_area_px", 50).successful
    assert drive.rig.state() == "active"
    answers = drive.until_good()
    assert all(
        "loaded anew: the engine cannot be loaded: EngineError: the accel" in a.reason for a in answers if not a.ok
    )
    assert answers[-1].revision == revision
    vocabulary = drive.rig.call("get_vocabulary", GetVocabulary.Request())
    assert (vocabulary.revision, list(vocabulary.candidates)) == (revision, ["fox", "cone"])
    assert int(drive.degraded("engine", "no")[2]["rebuilds"]) == rebuilds + 1
    record("engine: raises, then fails to load three times", drive.answers[begun:], "not_judged, engine_rebuilding")
    drive.judge()
    request.candidates = ["dog", "cone"]
    assert drive.rig.call("set_vocabulary", request).revision == revision + 1
    drive.expected = ("dog",)


@pytest.mark.parametrize("fault", ["hang", *(["busy"] if SOAK else [])])
def test_a_hanging_engine_is_answered_for_and_replaced(drive: Drive, control: Path, fault: str) -> None:
    drive.until_good()
    begun = len(drive.answers)
    drive.judge()
    command(control, frame=fault)
    hung = drive.send()
    heard = len(drive.rig.received["diagnostics"])
    assert drive.rig.call("get_vocabulary", GetVocabulary.Request()).success
    assert drive.rig.state() == "active"
    assert drive.rig.set_parameter("regions.min_area_px", 60).successful
    drive.wait(lambda: len(drive.rig.received["diagnostics"]) > heard, "diagnostics meanwhile")
    drive.listen()
    assert drive.answers[-1].stamp_s < hung, "all of this was answered while the engine hung"
    drive.wait(lambda: drive.answers[-1].stamp_s == hung, "the answer to the image that it hangs in")
    assert drive.answers[-1].reason == "the engine has not answered for 2.5 s"
    command(control)
    answers = drive.until_good()
    assert all("the engine is loaded anew: the engine has not answered" in a.reason for a in answers if not a.ok)
    record(f"engine: {fault}s", drive.answers[begun:], "not_judged, engine_rebuilding")


def test_a_process_that_was_halted_is_no_engine_that_hangs(drive: Drive, control: Path) -> None:
    rebuilds = drive.degraded("engine", "no")[2]["rebuilds"]
    drive.judge()
    command(control, frame="compute")
    begun = len(drive.answers)
    halted = drive.send()
    drive.wait(lambda: control.with_suffix(".seen").read_text() == "compute", "the image is in work")
    drive.rig.process.send_signal(signal.SIGSTOP)
    end_s = monotonic() + 1.5 * float(SETTINGS["engine.timeout_s"])
    drive.wait(lambda: monotonic() > end_s, "time passes")
    lifted_s = monotonic()
    drive.rig.process.send_signal(signal.SIGCONT)
    drive.wait(lambda: drive.answers[-1].stamp_s == halted, "the answer to the image in work")
    command(control)
    assert all(a.ok for a in drive.until_good())
    assert all(a.ok for a in drive.answers[begun:])
    assert drive.degraded("engine", "no")[2]["rebuilds"] == rebuilds
    record("process halted for 3.8 s (SIGSTOP, SIGCONT)", drive.answers[begun:], "nothing", lifted_s)


def test_deactivate_and_cleanup_return_though_the_engine_hangs(drive: Drive, control: Path) -> None:
    for last in ("deactivate", "cleanup"):
        command(control, frame="hang")
        hung = drive.send()
        # The image must be in work before the subscriptions end.
        drive.wait(lambda: control.with_suffix(".seen").read_text() == "hang", "the engine hangs")
        assert drive.rig.transition("deactivate")
        drive.wait(lambda s=hung: drive.answers[-1].stamp_s == s, "an answer to the image in work")  # type: ignore[misc]
        assert not drive.answers[-1].ok
        command(control)
        assert drive.rig.state() == "inactive"
        if last == "cleanup":
            assert drive.rig.transition("cleanup")
            assert drive.rig.transition("configure")
        sensors = [drive.rig.publishers[topic] for topic in ("/image", "/camera_info", "/points")]
        drive.rig.until(lambda s=sensors: not any(one.get_subscription_count() for one in s), "subscriptions gone")
        assert drive.rig.transition("activate")
        drive.rig.connected()
        assert drive.until_good()


def test_an_encoder_of_words_that_hangs_does_not_block_the_service_for_good(drive: Drive, control: Path) -> None:
    before = drive.rig.call("get_vocabulary", GetVocabulary.Request())
    command(control, text="hang")
    request = SetVocabulary.Request(known=KNOWN, ood_prompts=["animal"], candidates=["dog", "zebra"])
    reply = drive.rig.clients["set_vocabulary"].call_async(request)
    assert all(a.ok for a in drive.until_good()), "images are judged meanwhile"
    assert not reply.done()
    command(control, frame="hang", text="hang")
    drive.until_unknown()
    command(control)
    drive.wait(reply.done, "the reply of set_vocabulary")
    assert not reply.result().success
    assert "loaded anew" in reply.result().message
    drive.until_good()
    after = drive.rig.call("get_vocabulary", GetVocabulary.Request())
    assert (after.revision, after.candidates) == (before.revision, before.candidates)
    assert drive.rig.call("set_vocabulary", SetVocabulary.Request(known=KNOWN, candidates=["dog"])).success


def test_a_slow_engine_is_said_to_be_over_budget_and_its_answers_are_right(drive: Drive, control: Path) -> None:
    begun = len(drive.answers)
    assert drive.rig.set_parameter("node.latency_budget_s", 0.3).successful
    command(control, slow_s=0.6)
    level, message, values = drive.degraded("camera processing", "over_budget")
    assert level in (b"\x01", b"\x02")
    assert "latency over budget" in message
    assert float(values["latency_p99_ms"]) > 300.0
    lifted_s = monotonic()
    command(control)
    assert drive.rig.set_parameter("node.latency_budget_s", 60.0).successful
    drive.until_good()
    assert [a for a in drive.answers[begun:] if a.ok]
    assert {a.reason.split(" s for")[0][:17] for a in drive.answers[begun:] if not a.ok} <= {"the image waited "}
    record("engine: slow (0.6 s, budget 0.3 s)", drive.answers[begun:], "over_budget", lifted_s)


def test_a_broken_bundle_changes_nothing_until_it_is_needed(drive: Drive, control: Path, bundle: Path) -> None:
    begun = len(drive.answers)
    graph = (bundle / "head.onnx").read_bytes()
    (bundle / "head.onnx").write_bytes(graph[: len(graph) // 2])
    assert all(a.ok for a in drive.stream_for(1.0))
    command(control, frame="raise")
    drive.stream(lambda: "loaded anew" in drive.answers[-1].reason, "the engine is given up")
    command(control)
    assert "head.onnx" in drive.degraded("engine", "engine_rebuilding")[1]
    assert drive.rig.transition("deactivate")
    assert drive.rig.transition("cleanup")
    assert not drive.rig.transition("configure"), "a broken bundle"
    assert drive.rig.state() == "unconfigured"
    assert f"on_configure refused: {bundle / 'head.onnx'}: expected SHA-256" in drive.rig.log.read_text()
    (bundle / "head.onnx").write_bytes(graph)
    assert drive.rig.transition("configure")
    assert drive.rig.transition("activate")
    drive.rig.connected()
    drive.until_good()
    record("bundle: a file cut in half, then the engine fails", drive.answers[begun:], "engine_rebuilding")


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_an_engine_is_loaded_anew_only_from_the_bundle_that_was_configured(
    drive: Drive, control: Path, bundle: Path, tmp_path: Path, how: str
) -> None:
    begun = len(drive.answers)
    kept = shutil.copytree(bundle, tmp_path / "kept")
    shutil.rmtree(bundle)
    if how == "replaced":
        build_tiny_bundle(bundle, width=160, height=80, name="other")
    assert all(a.ok for a in drive.stream_for(0.5))
    command(control, frame="raise")
    drive.stream(lambda: "loaded anew" in drive.answers[-1].reason, "the engine is given up")
    command(control)
    words = {"deleted": "expected a bundle folder", "replaced": "that was configured, got"}
    drive.stream(lambda: words[how] in drive.answers[-1].reason, "why it cannot be loaded")
    assert str(bundle) in drive.answers[-1].reason
    if how == "replaced":
        shutil.rmtree(bundle)
    lifted_s = monotonic()
    shutil.copytree(kept, bundle)
    drive.until_good()
    record(f"bundle: {how}, then the engine fails", drive.answers[begun:], "engine_rebuilding", lifted_s)


def test_an_engine_that_dies_for_good_leaves_a_node_that_says_so(drive: Drive, control: Path) -> None:
    begun = len(drive.answers)
    command(control, frame="raise", load="raise")
    drive.stream(lambda: "loaded anew" in drive.answers[-1].reason, "the engine is given up")
    answers = drive.stream_for(DEAD_S)
    assert answers
    assert not any(a.ok for a in answers)
    assert drive.degraded("engine", "engine_rebuilding")[0] == b"\x02"
    assert drive.rig.state() == "active"
    lifted_s = monotonic()
    command(control)
    drive.until_good()
    record(f"engine: dead for {DEAD_S:g} s", drive.answers[begun:], "not_judged, engine_rebuilding", lifted_s)
