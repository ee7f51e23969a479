# SPDX-License-Identifier: Apache-2.0
"""Parameters of the real node: as `ros2 param` sees them, and out to a file and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from node_rig import NodeRig
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import Parameter, parameter_value_to_python

from vl_anomaly_ros.config import Config, described

pytestmark = pytest.mark.live
Start = Callable[..., NodeRig]
DEPTH = ListParameters.Request.DEPTH_RECURSIVE
SETTINGS = {item.name: item for item in described(Config())}


def ask(rig: NodeRig, kind: Any, service: str, request: Any) -> Any:
    """The reply of one of the node's parameter services."""
    client = rig.node.create_client(kind, f"/vl_anomaly/{service}")
    rig.until(client.service_is_ready, service)
    future = client.call_async(request)
    rig.until(future.done, f"reply of {service}")
    return future.result()


def parameters_of(rig: NodeRig) -> dict[str, Any]:
    """Every parameter, as `ros2 param list` and `get` show them."""
    names = sorted(ask(rig, ListParameters, "list_parameters", ListParameters.Request(depth=DEPTH)).result.names)
    values = ask(rig, GetParameters, "get_parameters", GetParameters.Request(names=names)).values
    plain = [parameter_value_to_python(value) for value in values]
    return {name: list(v) if hasattr(v, "tolist") else v for name, v in zip(names, plain)}


def dumped(parameters: dict[str, Any]) -> str:
    """The file that `ros2 param dump` writes: names split at the dots, in PyYAML's block style."""
    nested: dict[str, Any] = {}
    for name, value in parameters.items():
        *sections, key = name.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return yaml.dump({"/vl_anomaly": {"ros__parameters": nested}}, default_flow_style=False)


def test_every_setting_is_described_as_declared(start_node: Start) -> None:
    rig = start_node()
    names = list(SETTINGS)
    found = ask(rig, DescribeParameters, "describe_parameters", DescribeParameters.Request(names=names)).descriptors
    assert [one.name for one in found] == names
    for one in found:
        meaning = SETTINGS[one.name].meaning
        assert meaning.description in one.description
        assert f"[{meaning.unit}]" in one.description or not meaning.unit
        assert one.read_only is meaning.read_only
        ranges = [*one.floating_point_range, *one.integer_range]
        if ranges and meaning.minimum is not None:
            assert ranges[0].from_value == meaning.minimum
        if ranges and meaning.maximum is not None:
            assert ranges[0].to_value == meaning.maximum
        assert all(choice in one.additional_constraints for choice in meaning.choices)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "method.source_weights": "[0.5, 1.0, 2.0]",
            "node.cameras": "[front, left]",
            "regions.threshold": "0.1",
            "fusion.max_range_m": "1.0e+2",
            "frames.fixed_frame": "''",
            "frames.output_frame": "'12'",
            "node.points": "false",
            "use_sim_time": "true",
        },
    ],
    ids=["defaults", "changed"],
)
def test_param_dump_goes_out_and_back(
    start_node: Start, tmp_path: Path, node_bundle: Path, changes: dict[str, str]
) -> None:
    first = start_node(**{name.replace(".", "__"): value for name, value in changes.items()})
    assert first.set_parameter("regions.min_area_px", 77).successful
    before = parameters_of(first)
    assert set(SETTINGS) <= set(before)
    assert before["regions.min_area_px"] == 77
    assert before["engine.bundle"] == str(node_bundle)
    if changes:
        assert before["frames.output_frame"] == "12"
        assert before["method.source_weights"] == [0.5, 1.0, 2.0]
        assert before["node.cameras"] == ["front", "left"]
    else:
        assert before["method.source_weights"] == []

    file = tmp_path / "dumped.yaml"
    file.write_text(dumped(before))
    with NodeRig(tmp_path, {}, ("--params-file", str(file))) as second:
        assert parameters_of(second) == before
        assert second.transition("configure"), second.log.read_text()
        assert parameters_of(second) == before


def test_changes_are_taken_as_a_whole_or_not_at_all(start_node: Start) -> None:
    rig = start_node()
    assert rig.transition("configure"), rig.log.read_text()
    before = parameters_of(rig)
    request = SetParameters.Request()
    for name, value in {
        "regions.min_area_px": 5,
        "engine.bundle": "/elsewhere",
        "no.such": 1,
        "naming.runners_up": 21,
    }.items():
        request.parameters.append(Parameter(name, value=value).to_parameter_msg())
    results = ask(rig, SetParameters, "set_parameters", request).results
    assert [one.successful for one in results] == [True, False, False, False]
    assert all(one.reason for one in results[1:])
    assert parameters_of(rig) == {**before, "regions.min_area_px": 5}

    for name, value in {
        "method.source_weights": [0.0, 0.0, 0.0],
        "regions.threshold": float("nan"),
        "fusion.max_range_m": float("inf"),
        "node.cameras": ["other"],
        "engine.timeout_s": "soon",
    }.items():
        refused = rig.set_parameter(name, value)
        assert not refused.successful, name
        assert refused.reason, name
    assert rig.set_parameter("method.source_weights", [1, 0, 2]).successful  # as `ros2 param set` reads "[1, 0, 2]"
    assert rig.set_parameter("method.source_weights", []).successful
    assert parameters_of(rig) == {**before, "regions.min_area_px": 5}


def test_a_mistyped_parameter_is_refused_by_name_at_configure(start_node: Start) -> None:
    rig = start_node(regions__treshold="0.9")
    assert not rig.transition("configure")
    assert "regions.treshold: no such setting" in rig.log.read_text()
