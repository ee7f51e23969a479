# SPDX-License-Identifier: Apache-2.0
"""Print the dependencies that pyproject.toml lists, with those of the extras named: one requirement a line.

Usage: python tools/requirements.py [EXTRA ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib  # Python 3.10 has no TOML reader of its own; pip brings one


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Return the requirements of the project and of its `extras`, in their order."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]


if __name__ == "__main__":
    print("\n".join(requirements(Path(__file__).parents[1] / "pyproject.toml", sys.argv[1:])))
