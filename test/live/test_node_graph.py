# SPDX-License-Identifier: Apache-2.0
"""What the real node opens on the network is what its SROS 2 policy allows: nothing more, and nothing less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

import xml.etree.ElementTree as ET

from node_rig import NodeRig
from rclpy.expand_topic_name import expand_topic_name

from tools.write_policy import policy
from vl_anomaly_ros.config import Config, with_values

pytestmark = pytest.mark.live
Start = Callable[..., NodeRig]
NOT_IN_JAZZY = {"/vl_anomaly/get_type_description"}
Opened = dict[str, set[str]]


def allowed(text: str) -> Opened:
    """What a policy allows, by its attribute (publish, subscribe, reply), with names as ROS expands them."""
    profile = ET.fromstring(text).find("enclaves/enclave/profiles/profile")  # noqa: S314 - our own file
    assert profile is not None
    found: Opened = {}
    for rules in profile:
        ((what, verdict),) = rules.attrib.items()
        assert verdict == "ALLOW"
        names = {expand_topic_name(str(one.text), profile.attrib["node"], profile.attrib["ns"]) for one in rules}
        assert len(names) == len(rules), "a name stands twice"
        found.setdefault(what, set()).update(names)
    return found


def opened(rig: NodeRig, namespace: str = "/") -> Opened:
    """What another node sees of the node."""
    who = ("vl_anomaly", namespace)
    node = rig.node
    return {
        "publish": {name for name, _ in node.get_publisher_names_and_types_by_node(*who)},
        "subscribe": {name for name, _ in node.get_subscriber_names_and_types_by_node(*who)},
        "reply": {name for name, _ in node.get_service_names_and_types_by_node(*who)},
        "request": {name for name, _ in node.get_client_names_and_types_by_node(*who)},
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"node.image_transport": "compressed", "node.points": False},
        {"node.cameras": ["front", "left"]},
    ],
    ids=["default", "compressed", "two-cameras"],
)
def test_an_active_node_opens_exactly_what_the_policy_allows(start_node: Start, settings: dict[str, object]) -> None:
    config = with_values(Config(), settings)
    may = {**allowed(policy(config)), "request": set[str]()}
    given = {name.replace(".", "__"): str(value).replace("'", "").lower() for name, value in settings.items()}
    rig = start_node(use_sim_time="true", **given)
    assert rig.transition("configure"), rig.log.read_text()
    assert rig.transition("activate"), rig.log.read_text()

    def lacking() -> Opened:
        return {what: names - opened(rig)[what] - NOT_IN_JAZZY for what, names in may.items()}

    rig.until(lambda: not any(lacking().values()), "everything that the policy names")
    beyond = {what: names - may[what] for what, names in opened(rig).items()}
    assert not any(beyond.values()), f"opened, but not in the policy: {beyond}"

    assert rig.transition("deactivate")
    heard = may["subscribe"] - {"/tf", "/tf_static", "/clock"}
    rig.until(lambda: not heard & opened(rig)["subscribe"], "sensors are not heard while inactive")
    assert rig.transition("cleanup")
    rig.until(lambda: opened(rig)["subscribe"] == {"/clock"}, "TF is not heard while unconfigured")
    assert opened(rig)["reply"] <= may["reply"]
    assert opened(rig)["publish"] <= may["publish"]


def test_several_cameras_remapped_as_the_launch_file_does(node_bundle: Path, tmp_path: Path) -> None:
    remap = {f"{c}/{t}": f"/sensing/{c}/{t}_raw" for c in ("front", "left") for t in ("image", "camera_info")}
    remap["points"] = "/lidar/points"
    config = with_values(Config(), {"node.cameras": ["front", "left"]})
    may = allowed(policy(config, remap=remap))
    settings = {"engine.bundle": str(node_bundle), "engine.threads": "1", "node.cameras": "[front, left]"}
    words = tuple(word for one, other in remap.items() for word in ("-r", f"{one}:={other}"))
    with NodeRig(tmp_path, settings, words, cameras=("front", "left")) as rig:
        assert rig.transition("configure"), rig.log.read_text()
        assert rig.transition("activate"), rig.log.read_text()
        rig.until(lambda: opened(rig)["subscribe"] == may["subscribe"] - {"/clock"}, "exactly the remapped topics")
        assert set(remap.values()) <= opened(rig)["subscribe"]


def test_the_policy_that_is_shipped_is_current() -> None:
    from tools.write_policy import TARGET

    assert TARGET.read_text(encoding="utf-8") == policy(Config()), "run tools/write_policy.py"


def test_a_policy_for_a_vehicle(tmp_path: Path) -> None:
    from tools.write_policy import main

    out = tmp_path / "p.xml"
    words = ["--cameras", "front,left", "--namespace", "/perception", "--enclave", "/a/b", "--out", str(out)]
    assert main([*words, "--remap", "points:=/lidar/points", "--set", "node.image_transport=compressed"]) == 0
    may = allowed(out.read_text())
    assert may["subscribe"] == {
        *(f"/perception/{c}/{t}" for c in ("front", "left") for t in ("image/compressed", "camera_info")),
        "/lidar/points",
        "/tf",
        "/tf_static",
        "/clock",
    }
    assert "/perception/vl_anomaly/front/score" in may["publish"]
    assert "/perception/vl_anomaly/hazard_zones" in may["publish"]
    assert "/perception/vl_anomaly/set_vocabulary" in may["reply"]
    assert 'enclave path="/a/b"' in out.read_text()
    for wrong in (["--remap", "no_such:=/x"], ["--remap", "points"], ["--cameras", "a,a"], ["--namespace", "x"]):
        with pytest.raises(SystemExit):
            main([*words, *wrong])


def test_names_in_a_policy_cannot_break_out_of_it() -> None:
    text = policy(Config(), remap={"points": "/x</topic></topics><topics publish='ALLOW'><topic>*"}, enclave='/a" b="')
    root = ET.fromstring(text)  # noqa: S314 - our own file
    enclave = root.find("enclaves/enclave")
    assert enclave is not None
    assert enclave.attrib == {"path": '/a" b="'}
    assert len(root.findall(".//topics")) == 2
