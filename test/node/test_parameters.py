# SPDX-License-Identifier: Apache-2.0
"""ROS parameters and their file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from vl_anomaly_ros.config import Config, described, from_mapping, with_values
from vl_anomaly_ros.errors import ConfigError
from vl_anomaly_ros.node.parameters import changed_config, declare_parameters, read_config

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "config" / "vl_anomaly.yaml"
MakeNode = Callable[..., Node]


@pytest.fixture
def make_node() -> Iterator[MakeNode]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    nodes: list[Node] = []

    def make(*arguments: str) -> Node:
        node = rclpy.create_node(
            "vl_anomaly", context=context, cli_args=["--ros-args", *arguments], start_parameter_services=False
        )
        nodes.append(node)
        declare_parameters(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_the_file_holds_every_default_and_is_up_to_date() -> None:
    nested = yaml.safe_load(FILE.read_text())["/**"]["ros__parameters"]
    assert from_mapping(nested) == Config()
    assert {f"{section}.{key}" for section, values in nested.items() for key in values} == {
        item.name for item in described(Config())
    }
    spec = importlib.util.spec_from_file_location("write_parameters", ROOT / "tools" / "write_parameters.py")
    assert spec is not None
    assert spec.loader is not None
    writer: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.parameter_file() == FILE.read_text(), "run tools/write_parameters.py"
    assert writer.table() == (ROOT / "docs" / "parameters.md").read_text(), "run tools/write_parameters.py"
    rows = [line for line in writer.table().splitlines() if line.startswith("| `")]
    assert len(rows) == len(list(described(Config())))
    assert all(row.count(" | ") == 5 for row in rows), "a bar in a description would break the table"


def test_defaults_and_the_shipped_file_give_the_same_settings(make_node: MakeNode) -> None:
    assert read_config(make_node()) == Config()
    assert read_config(make_node("--params-file", str(FILE))) == Config()


def test_descriptors_tell_meaning_range_and_read_only(make_node: MakeNode) -> None:
    node = make_node()
    threshold = node.describe_parameter("regions.threshold")
    assert "probability" in threshold.description
    assert (threshold.floating_point_range[0].from_value, threshold.floating_point_range[0].to_value) == (-1.0, 1.0)
    assert not threshold.read_only
    assert node.describe_parameter("regions.min_area_px").integer_range[0].from_value == 1
    assert node.describe_parameter("engine.bundle").read_only
    weights = node.describe_parameter("method.source_weights")
    assert weights.type == Parameter.Type.DOUBLE_ARRAY.value == node.get_parameter("method.source_weights").type_.value
    assert node.describe_parameter("node.cameras").type == Parameter.Type.STRING_ARRAY.value
    for item in described(Config()):
        made = node.describe_parameter(item.name)
        assert made.read_only is item.meaning.read_only
        assert item.meaning.description in made.description
        assert made.type == node.get_parameter(item.name).type_.value, item.name
    assert "compressed" in node.describe_parameter("node.image_transport").additional_constraints


def test_an_int_is_taken_for_a_float(make_node: MakeNode) -> None:
    node = make_node("-p", "fusion.max_range_m:=50")
    assert read_config(node).fusion.max_range_m == 50.0
    assert isinstance(node.get_parameter("fusion.max_range_m").value, float)


@pytest.mark.parametrize(
    ("assignment", "name"),
    [
        ("regions.threshold:=7.0", "regions.threshold"),
        ("regions.min_area_px:=large", "regions.min_area_px"),
        ("node.cameras:=3", "node.cameras"),
        ("node.image_transport:=theora", "node.image_transport"),
        ("method.source_weights:=[1.0, 2.0]", "method.source_weights"),
        ("sync.wait_s:=-1.0", "sync.wait_s"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make_node: MakeNode, assignment: str, name: str) -> None:
    node = make_node("-p", assignment)
    with pytest.raises(ConfigError, match=f"^{name}: expected"):
        read_config(node)


def test_a_mistyped_name_is_refused_and_what_is_meant_is_named(make_node: MakeNode) -> None:
    node = make_node("-p", "regions.treshold:=0.5")
    with pytest.raises(ConfigError, match=r"^regions\.treshold: no such setting; did you mean"):
        read_config(node)
    with pytest.raises(ConfigError, match=r"^node\.camera: no such setting"):
        read_config(make_node("-p", "node.camera:=front"))


def test_parameters_of_other_nodes_in_a_shared_file_are_left_alone(make_node: MakeNode) -> None:
    node = make_node("-p", "frame_rate:=10", "-p", "driver.gain:=2", "-p", "qos_overrides./tf.subscription.depth:=5")
    assert read_config(node) == Config()


@pytest.mark.parametrize(
    ("assignment", "cameras"), [("[front, left]", ("front", "left")), ("[a1]", ("a1",)), ("['on']", ("on",))]
)
def test_lists_of_words(make_node: MakeNode, assignment: str, cameras: tuple[str, ...]) -> None:
    assert read_config(make_node("-p", f"node.cameras:={assignment}")).node.cameras == cameras


@pytest.mark.parametrize("assignment", ["[]", "['a b']", "[a, a]", "[a/b]", "['']", "[1, 2]", "['../x']", "word"])
def test_wrong_names_of_cameras(make_node: MakeNode, assignment: str) -> None:
    with pytest.raises(ConfigError, match=r"^node\.cameras: expected"):
        read_config(make_node("-p", f"node.cameras:={assignment}"))


def test_a_change_is_checked_as_a_whole() -> None:
    class Wanted:
        def __init__(self, name: str, value: Any) -> None:
            self.name, self.value = name, value

    config = with_values(Config(), {"regions.threshold": 0.4})
    changed = changed_config(config, [Wanted("use_sim_time", True), Wanted("fusion.min_points", 5)])
    assert changed == with_values(config, {"fusion.min_points": 5})
    with pytest.raises(ConfigError, match="expected a positive sum"):
        changed_config(config, [Wanted("fusion.min_points", 5), Wanted("method.source_weights", [0.0, 0.0, 0.0])])
