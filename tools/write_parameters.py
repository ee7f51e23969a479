# SPDX-License-Identifier: Apache-2.0
"""Writes config/vl_anomaly.yaml from the settings in config.py: `python tools/write_parameters.py`."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vl_anomaly_ros.config import Config, Described, described

TARGET = Path(__file__).resolve().parents[1] / "config" / "vl_anomaly.yaml"
HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Parameters of the node vl_anomaly: every one, with its default. Leave out what you do not change.
# Written by tools/write_parameters.py from vl_anomaly_ros/config.py.
# [fixed]: read when the node is started; the others may be changed at any time with `ros2 param set`.
/**:
  ros__parameters:
"""


def comment(item: Described) -> str:
    """Meaning, range and changeability of one setting."""
    meaning = item.meaning
    words = meaning.description + (f" [{meaning.unit}]" if meaning.unit else "")
    if meaning.minimum is not None or meaning.maximum is not None:
        low = "" if meaning.minimum is None else f"{meaning.minimum:g}"
        high = "" if meaning.maximum is None else f"{meaning.maximum:g}"
        words += f"; {low}..{high}"
    if meaning.choices:
        words += f"; one of {', '.join(meaning.choices)}"
    return words + (" [fixed]" if meaning.read_only else "")


def parameter_file() -> str:
    """The whole file."""
    lines = [HEAD.rstrip("\n")]
    section = ""
    for item in described(Config()):
        here, _, name = item.name.partition(".")
        if here != section:
            lines.append(f"    {here}:")
            section = here
        lines += [f"      # {line}" for line in textwrap.wrap(comment(item), 110)]
        value = list(item.value) if isinstance(item.value, tuple) else item.value
        lines.append(f"      {name}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(parameter_file())
