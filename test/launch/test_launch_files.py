# SPDX-License-Identifier: Apache-2.0
"""Launch file, RViz configuration and DDS profiles, as far as they can be read without launch and RViz.

Neither is on the Python package index, so nothing here starts them: the files are parsed, and the names in them are
compared with those of the node and of package.xml.
"""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch" / "vl_anomaly.launch.py"
RVIZ = ROOT / "rviz" / "vl_anomaly.rviz"
NODE_SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "vl_anomaly_ros" / "node").glob("*.py")))


def strings_of(path: Path) -> set[str]:
    """Return all string constants of a Python file; raise SyntaxError if it does not compile."""
    tree = ast.parse(path.read_text(), str(path))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def rviz_displays() -> list[dict[str, Any]]:
    displays: list[dict[str, Any]] = yaml.safe_load(RVIZ.read_text())["Visualization Manager"]["Displays"]
    return displays


@pytest.mark.parametrize("topic", ["image", "image/compressed", "camera_info", "points"])
def test_the_launch_file_remaps_what_the_node_subscribes_to(topic: str) -> None:
    assert topic in strings_of(LAUNCH)
    assert f'"{topic}"' in NODE_SOURCES


def test_the_launch_file_starts_what_is_installed() -> None:
    assert {"vl_anomaly_ros", "vl_anomaly_node", "node.autostart", "generate_launch_description"} <= (
        strings_of(LAUNCH) | {node.name for node in ast.parse(LAUNCH.read_text()).body if hasattr(node, "name")}
    )
    assert "tools/ros/vl_anomaly_node" in (ROOT / "CMakeLists.txt").read_text()
    assert "vl_anomaly_ros.node" in strings_of(ROOT / "tools" / "ros" / "vl_anomaly_node")
    assert (ROOT / "vl_anomaly_ros" / "node" / "__main__.py").is_file()
    for folder, name in (("config", "vl_anomaly.yaml"), ("config", "fastdds_network.xml"), ("rviz", "vl_anomaly.rviz")):
        assert {folder, name} <= strings_of(LAUNCH)
        assert (ROOT / folder / name).is_file()


def test_rviz_shows_every_output_of_the_node() -> None:
    outputs = set(re.findall(r'"~/(\w+)": (?:Image|PointCloud2|MarkerArray)\b', NODE_SOURCES))
    assert len(outputs) >= 7
    shown = {display["Topic"]["Value"] for display in rviz_displays() if "Topic" in display}
    assert {f"/vl_anomaly/{name}" for name in outputs} <= shown


def test_rviz_displays_are_of_the_standard_plugins() -> None:
    kinds = {display["Class"] for display in rviz_displays()}
    assert {f"rviz_default_plugins/{name}" for name in ("Grid", "TF", "MarkerArray", "PointCloud2", "Image")} <= kinds
    assert len({display["Name"] for display in rviz_displays()}) == len(rviz_displays())


@pytest.mark.parametrize(("name", "kinds"), [("fastdds.xml", ["SHM"]), ("fastdds_network.xml", ["SHM", "UDPv4"])])
def test_dds_profiles_hold_full_hd_images(name: str, kinds: list[str]) -> None:
    root = ET.parse(ROOT / "config" / name).getroot()  # noqa: S314
    space = {"dds": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    transports = root.findall("dds:transport_descriptors/dds:transport_descriptor", space)
    assert [one.findtext("dds:type", namespaces=space) for one in transports] == kinds
    image_bytes = 1920 * 1080 * 3
    assert int(transports[0].findtext("dds:maxMessageSize", "0", space)) > image_bytes
    assert int(transports[0].findtext("dds:segment_size", "0", space)) > 8 * image_bytes
    participant = root.find("dds:participant", space)
    assert participant is not None
    assert participant.get("is_default_profile") == "true"
    used = [one.text for one in participant.findall("dds:rtps/dds:userTransports/dds:transport_id", space)]
    assert used == [one.findtext("dds:transport_id", namespaces=space) for one in transports]


def test_package_xml_names_every_ros_package_that_is_imported() -> None:
    sources = NODE_SOURCES + LAUNCH.read_text()
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", sources, re.MULTILINE))
    ros = {name for name in imported if name.endswith(("_msgs", "_srvs", "_ros", "_filters", "_interfaces"))}
    ros |= imported & {"rclpy", "cv_bridge", "launch", "launch_ros"}
    named = {
        dependency.text
        for kind in ("depend", "exec_depend", "build_depend")
        for dependency in ET.parse(ROOT / "package.xml").getroot().findall(kind)  # noqa: S314
    }
    assert ros - {"vl_anomaly_ros"} <= named


@pytest.mark.parametrize("folder", [ROOT, *sorted((ROOT / "ros_overlay").iterdir())], ids=lambda path: path.name)
def test_each_package_has_a_valid_manifest(folder: Path) -> None:
    package = ET.parse(folder / "package.xml").getroot()  # noqa: S314
    name = package.findtext("name")
    maintainer = package.find("maintainer")
    assert f"project({name}" in (folder / "CMakeLists.txt").read_text()
    assert folder in (ROOT, ROOT / "ros_overlay" / str(name))
    assert package.findtext("license") == "Apache-2.0"
    assert package.findtext("export/build_type") == "ament_cmake"
    assert maintainer is not None
    # catkin_pkg takes a package whose address it finds invalid for plain Python.
    assert re.fullmatch(r"[\w.+-]+@[\w-]+\.\w{2,}", maintainer.get("email", ""))
