# SPDX-License-Identifier: Apache-2.0
"""ROS parameters from `config.py`: names, defaults, descriptions, ranges and read-only flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from vl_anomaly_ros.config import Config, Described, described, with_values
from vl_anomaly_ros.errors import ConfigError

_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
    tuple[float, ...]: Parameter.Type.DOUBLE_ARRAY,
    tuple[str, ...]: Parameter.Type.STRING_ARRAY,
}
_LARGEST = {int: 2**63 - 1, float: 1.7976931348623157e308}


def descriptor(item: Described) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a setting.

    Lists stay dynamically typed: in YAML an empty one has no type, and one of whole numbers the wrong one.
    """
    meaning = item.meaning
    words = meaning.description + (f" [{meaning.unit}]" if meaning.unit else "")
    made = ParameterDescriptor(description=words, read_only=meaning.read_only)
    made.additional_constraints = f"one of: {', '.join(meaning.choices)}" if meaning.choices else ""
    made.dynamic_typing = isinstance(item.value, tuple)
    made.type = _type(item).value
    limited = meaning.minimum is not None or meaning.maximum is not None
    if limited and isinstance(item.value, (int, float)) and not isinstance(item.value, bool):
        kind = type(item.value)
        low = -_LARGEST[kind] if meaning.minimum is None else meaning.minimum
        high = _LARGEST[kind] if meaning.maximum is None else meaning.maximum
        if kind is int:
            made.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            made.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return made


def declare_parameters(node: Node) -> None:
    """Declare every setting on `node`.

    A value from the command line or a file that is not allowed does not stop the node from being made: it stays as it
    is, open to `ros2 param set`, and `read_config` refuses it by name.
    """
    defaults = Config()
    for item in described(defaults):
        node.declare_parameter(item.name, _plain(item.value), ParameterDescriptor(dynamic_typing=True))
        given = _value(node, item)
        try:
            good = {d.name: d.value for d in described(with_values(defaults, {item.name: given}))}[item.name]
        except ConfigError:
            words = f"{item.meaning.description} (the given value is not allowed)"
            node.set_descriptor(item.name, ParameterDescriptor(description=words, dynamic_typing=True))
            continue
        # By the type of the setting: an int given for a float is a float now, an empty list one of its kind.
        node.set_parameters([Parameter(item.name, _type(item), _plain(good))])
        node.set_descriptor(item.name, descriptor(item))
    for name in _unknown(node):
        node.get_logger().warning(f"{name}: no such parameter, not used; `ros2 param list` shows those that there are")


def read_config(node: Node) -> Config:
    """The settings as the parameters have them.

    Raises:
        ConfigError: a parameter is not allowed, or the name of one that was given is mistyped; the message names it.
    """
    sections = {item.name.partition(".")[0] for item in described(Config())}
    mistyped = {name: None for name in _unknown(node) if name.partition(".")[0] in sections}
    with_values(Config(), mistyped)
    return with_values(Config(), {item.name: _value(node, item) for item in described(Config())})


def changed_config(config: Config, parameters: Iterable[Any]) -> Config:
    """`config` with the parameters that a client wants to set. Names that are no setting (`use_sim_time`) are not ours.

    Raises:
        ConfigError: one of them is not allowed; the message names it.
    """
    names = {d.name for d in described(config)}
    return with_values(config, {p.name: p.value for p in parameters if p.name in names})


def _unknown(node: Node) -> list[str]:
    """Names that a file or the command line gives and nobody has declared; `/**` in a file may mean other nodes too."""
    given: dict[str, Any] = getattr(node, "_parameter_overrides", {})  # rclpy has no public way to ask
    return [name for name in given if not node.has_parameter(name) and not name.startswith("qos_overrides.")]


def _type(item: Described) -> Parameter.Type:
    """Type of a setting as ROS names it, by its annotation: the value of an empty list does not tell."""
    section, _, key = item.name.partition(".")
    return _TYPES[get_type_hints(type(getattr(Config(), section)))[key]]


def _value(node: Node, item: Described) -> Any:
    """The present value of a parameter. ROS reads an empty list in a file as 'not set'."""
    value = node.get_parameter(item.name).value
    return () if value is None and isinstance(item.value, tuple) else value


def _plain(value: Any) -> Any:
    """`value` as rclpy takes it."""
    return list(value) if isinstance(value, tuple) else value
