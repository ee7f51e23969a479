# SPDX-License-Identifier: Apache-2.0
"""Settings from the command line and from YAML files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vl_anomaly_ros.config import METHODS, Config, with_values
from vl_anomaly_ros.errors import ConfigError
from vl_anomaly_ros.untrusted import MAX_YAML_BYTES, parse_yaml, plain, read_file


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--bundle`, `--method`, `--config` and `--set`."""
    group = parser.add_argument_group("settings")
    group.add_argument("--bundle", metavar="DIR", help="bundle folder (default: the shipped sim-nano)")
    group.add_argument("--method", choices=METHODS, help="how anomalies are scored (method.name)")
    group.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML settings: as config.yaml of a result, or a ROS parameter file"
    )
    group.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="one setting, such as regions.threshold=0.6; may be given several times",
    )


def config_from(args: argparse.Namespace, defaults: Config | None = None) -> Config:
    """The settings that the arguments ask for: the file, then `--set`, then the flags; the rest by `defaults`.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or out of range.
    """
    values: dict[str, Any] = {} if args.config is None else read_settings(args.config)
    for item in args.set:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"--set {item}: expected NAME=VALUE, such as regions.threshold=0.6")
        values[name.strip()] = parse_yaml(text, f"--set {plain(item[:64])}", ConfigError)
    if args.bundle is not None:
        values["engine.bundle"] = args.bundle
    if args.method is not None:
        values["method.name"] = args.method
    return with_values(defaults or Config(), values)


def read_settings(path: Path) -> dict[str, Any]:
    """Dotted settings of a YAML file: nested sections, or a ROS parameter file with `ros__parameters`.

    Raises:
        ConfigError: the file is absent or no such YAML.
    """
    what = plain(str(path))
    content = parse_yaml(read_file(path, MAX_YAML_BYTES, ConfigError), what, ConfigError) or {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{what}: expected sections with settings, got {type(content).__name__}")
    for value in content.values():
        if isinstance(value, Mapping) and isinstance(value.get("ros__parameters"), Mapping):
            return dict(_flat(value["ros__parameters"]))
    return dict(_flat(content))


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted names.

    >>> _flat({"regions": {"threshold": 0.5}, "naming.runners_up": 2})
    {'regions.threshold': 0.5, 'naming.runners_up': 2}
    """
    out: dict[str, Any] = {}
    for key, value in nested.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return out
