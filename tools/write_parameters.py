# SPDX-License-Identifier: Apache-2.0
"""Writes config/vl_anomaly.yaml and docs/parameters.md from config.py: `python tools/write_parameters.py`."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vl_anomaly_ros.config import Config, Described, described

ROOT = Path(__file__).resolve().parents[1]
PARAMETER_FILE = ROOT / "config" / "vl_anomaly.yaml"
TABLE = ROOT / "docs" / "parameters.md"
FILE_HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Parameters of the node vl_anomaly: every one, with its default. Leave out what you do not change.
# Written by tools/write_parameters.py from vl_anomaly_ros/config.py.
# [fixed]: read when the node is started; the others may be changed at any time with `ros2 param set`.
/**:
  ros__parameters:
"""
TABLE_HEAD = """\
# Parameters

Every parameter of the node `vl_anomaly`, with its default. `config/vl_anomaly.yaml` holds the same as a file to start
from; `--set NAME=VALUE` and `--config FILE` of `vl-anomaly` take the same names.

- **Fixed** parameters are read when the node is configured, from the file or the command line that the node was started
  with. The others may be changed at any time with `ros2 param set`: the change is checked as a whole and in force from
  the next frame on.
- A value that is not allowed, or a mistyped name, is refused by name when the node is configured.
- `ros2 param dump /vl_anomaly` writes a file that `--params-file` takes.
- `engine.bundle` is the only path. It names a folder as the operating system takes it: `~` and variables are not
  expanded. What is read from it is in [security.md](security.md).

Written by tools/write_parameters.py from vl_anomaly_ros/config.py.
"""


def bounds(item: Described) -> str:
    """Range or choices of one setting, or nothing."""
    meaning = item.meaning
    if meaning.choices:
        return "one of " + ", ".join(meaning.choices)
    if meaning.minimum is None and meaning.maximum is None:
        return ""
    low = "" if meaning.minimum is None else f"{meaning.minimum:g}"
    high = "" if meaning.maximum is None else f"{meaning.maximum:g}"
    return f"{low}..{high}"


def comment(item: Described) -> str:
    """Meaning, unit, range and changeability of one setting."""
    unit = f" [{item.meaning.unit}]" if item.meaning.unit else ""
    limits = f"; {bounds(item)}" if bounds(item) else ""
    return item.meaning.description + unit + limits + (" [fixed]" if item.meaning.read_only else "")


def plain(value: Any) -> str:
    """A value as YAML and JSON both have it."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def parameter_file() -> str:
    """All of config/vl_anomaly.yaml."""
    lines = [FILE_HEAD.rstrip("\n")]
    section = ""
    for item in described(Config()):
        here, _, name = item.name.partition(".")
        if here != section:
            lines.append(f"    {here}:")
            section = here
        lines += [f"      # {line}" for line in textwrap.wrap(comment(item), 110)]
        lines.append(f"      {name}: {plain(item.value)}")
    return "\n".join(lines) + "\n"


def table() -> str:
    """All of docs/parameters.md."""
    lines = [TABLE_HEAD.rstrip("\n")]
    section = ""
    for item in described(Config()):
        here = item.name.partition(".")[0]
        if here != section:
            about = (type(getattr(Config(), here)).__doc__ or "").strip()
            lines += ["", f"## {here}", "", about, ""]
            lines += ["| name | default | unit | allowed | fixed | meaning |", "|---|---|---|---|---|---|"]
            section = here
        fixed = "fixed" if item.meaning.read_only else ""
        cells = (f"`{item.name}`", f"`{plain(item.value)}`", item.meaning.unit, bounds(item), fixed)
        lines.append(f"| {' | '.join(cells)} | {item.meaning.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PARAMETER_FILE.write_text(parameter_file())
    TABLE.write_text(table())
