# SPDX-License-Identifier: Apache-2.0
"""Launch file, RViz configuration and DDS profiles, as far as they can be read without launch and RViz.

Neither is on the Python package index, so nothing here starts them: the launch file is run against stand-ins that keep
what it asks for, the others are parsed, and the names in them are compared with those of the node and of package.xml.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from vl_anomaly_ros.config import Config, from_mapping, with_values

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


class Arguments:
    """Stand-in of a LaunchContext: the values of the launch arguments."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values


class LaunchConfiguration:
    """Stand-in of the substitution of that name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def perform(self, context: Arguments) -> str:
        return context.values[self.name]


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The launch file as a module, with stand-ins for launch and launch_ros."""

    def keep(*positional: Any, **named: Any) -> Any:
        return types.SimpleNamespace(positional=positional, **named)

    modules: dict[str, dict[str, Any]] = {
        "ament_index_python": {},
        "ament_index_python.packages": {"get_package_share_directory": lambda package: f"{ROOT}" if package else ""},
        "launch": {"LaunchDescription": lambda entities: entities},
        "launch.actions": {"DeclareLaunchArgument": keep, "OpaqueFunction": keep},
        "launch.conditions": {"IfCondition": keep},
        "launch.launch_context": {"LaunchContext": Arguments},
        "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
        "launch_ros": {},
        "launch_ros.actions": {"LifecycleNode": keep, "Node": keep},
    }
    for name, content in modules.items():
        stand_in = types.ModuleType(name)
        vars(stand_in).update(content)
        monkeypatch.setitem(sys.modules, name, stand_in)
    dds = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    for name in (*dds, "OPENBLAS_NUM_THREADS", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("launched", LAUNCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def launched(launch_file: Any, **arguments: str) -> Any:
    """The node as the launch file asks for it, given these launch arguments."""
    declared = [one for one in launch_file.generate_launch_description() if hasattr(one, "default_value")]
    defaults = {one.positional[0]: one.default_value for one in declared}
    assert set(arguments) <= set(defaults)
    node, _ = launch_file.start(Arguments({**defaults, **arguments}))
    return node


def test_launched_without_arguments_the_node_has_its_own_defaults(launch_file: Any) -> None:
    """All but one: a plain launch has no lifecycle manager, so it starts the node; `autostart:=false` leaves that."""
    node = launched(launch_file)
    file, given = node.parameters
    assert file.name == "params_file"
    values = yaml.safe_load(Path(launch_file.ARGUMENTS["params_file"][0]).read_text())
    assert from_mapping(values["/**"]["ros__parameters"]) == Config()
    assert given.pop("use_sim_time") is False
    assert with_values(Config(), given) == with_values(Config(), {"node.autostart": True})
    assert dict(node.remappings) == {t: t for t in ("image", "image/compressed", "camera_info", "points")}
    assert launched(launch_file, autostart="false").parameters[1]["node.autostart"] is False
    assert node.additional_env["OPENBLAS_NUM_THREADS"] == "1"
    assert node.additional_env["MALLOC_TRIM_THRESHOLD_"]


def test_one_camera_is_remapped(launch_file: Any) -> None:
    node = launched(launch_file, image="/cam/image_raw", camera_info="/cam/info", points="/lidar")
    assert dict(node.remappings) == {
        "image": "/cam/image_raw",
        "image/compressed": "image/compressed",
        "camera_info": "/cam/info",
        "points": "/lidar",
    }
    named = launched(launch_file, cameras="front", image="/sensing/{camera}/image_raw")
    assert named.parameters[1]["node.cameras"] == ["front"]
    assert dict(named.remappings)["image"] == "/sensing/front/image_raw"


def test_the_method_is_handed_on(launch_file: Any) -> None:
    assert launched(launch_file, method="vl4ad").parameters[1]["method.name"] == "vl4ad"
    assert "method.name" not in launched(launch_file).parameters[1]


def test_several_cameras_are_remapped_by_a_pattern(launch_file: Any) -> None:
    node = launched(launch_file, cameras="front, left", image="/sensing/{camera}/image_raw")
    assert with_values(Config(), {"node.cameras": node.parameters[1]["node.cameras"]}).node.cameras == ("front", "left")
    assert dict(node.remappings) == {
        "points": "points",
        "front/image": "/sensing/front/image_raw",
        "left/image": "/sensing/left/image_raw",
        **{f"{c}/{t}": f"{c}/{t}" for c in ("front", "left") for t in ("image/compressed", "camera_info")},
    }
    with pytest.raises(ValueError, match="autostart: expected true or false, got ture"):
        launched(launch_file, autostart="ture")
    with pytest.raises(ValueError, match=r"image: expected \{camera\} in it"):
        launched(launch_file, cameras="front,left", image="/sensing/image_raw")


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
    outputs = set(re.findall(r'"(?:~/)?(\w+)": (?:Image|PointCloud2|MarkerArray)\b', NODE_SOURCES))
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
