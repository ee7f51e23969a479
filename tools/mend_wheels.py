# SPDX-License-Identifier: Apache-2.0
"""Point the CMake exports of the ROS 2 wheels at this machine's Python and NumPy headers.

The wheels' exported targets name include folders of the machine they were built on; CMake refuses a target whose
include folder does not exist. Running this twice changes nothing.

Usage: python tools/mend_wheels.py PREFIX [PYTHON_INCLUDE]
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

NUMPY_INCLUDE = re.compile(r"/opt/python/[^/;\"]+/lib/python3\.\d+/site-packages/numpy/_?core/include")
PYTHON_INCLUDE = re.compile(r"/opt/python/[^/;\"]+/include/python3\.\d+")


def mend(prefix: Path, python_include: str) -> int:
    """Return how many export files under `prefix` were changed."""
    changed = 0
    for path in sorted(prefix.glob("share/*/cmake/*.cmake")):
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        after = NUMPY_INCLUDE.sub(lambda _: np.get_include(), before)
        after = PYTHON_INCLUDE.sub(lambda _: python_include, after)
        if after != before:
            path.write_text(after, encoding="utf-8", errors="surrogateescape")
            changed += 1
    return changed


if __name__ == "__main__":
    include = sys.argv[2] if len(sys.argv) > 2 else sysconfig.get_path("include")
    print(f"mended {mend(Path(sys.argv[1]), include)} CMake exports of the ROS 2 wheels")
