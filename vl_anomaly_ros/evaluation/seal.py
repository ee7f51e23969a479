# SPDX-License-Identifier: Apache-2.0
"""Renewing the hashes of a bundle after a file of it was changed on purpose."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from vl_anomaly_ros.engine.bundle import DATA_FILES, FILES
from vl_anomaly_ros.engine.calibration import DEFAULT_METHOD


def seal(
    folder: Path,
    figures: dict[str, Any] | None = None,
    calibration: dict[str, Any] | None = None,
    method: str = DEFAULT_METHOD,
) -> None:
    """Write new figures or a new calibration where given, and the hashes of all files, into a bundle.

    Args:
        folder: of the bundle.
        figures: replace the old ones.
        calibration: replaces that of `method`; those of the others stay.
        method: as `method.name` of the settings.
    """
    if calibration is not None:
        write_yaml(folder / "calibration.yaml", with_calibration(folder / "calibration.yaml", calibration, method))
    path = folder / "bundle.yaml"
    description = yaml.safe_load(path.read_text(encoding="utf-8"))
    if figures is not None:
        description["figures"] = figures
    names = [*FILES, *(name for name in DATA_FILES if (folder / name).is_file())]
    description["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    write_yaml(path, description)


def with_calibration(path: Path, calibration: dict[str, Any], method: str) -> dict[str, Any]:
    """Content of calibration.yaml with one method's part replaced."""
    old = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
    if method != DEFAULT_METHOD:
        return {**old, "methods": {**(old.get("methods") or {}), method: calibration}}
    return {**calibration, "methods": old["methods"]} if old.get("methods") else calibration


class _Plain(yaml.SafeDumper):
    """Writes a list that comes twice twice, not as an alias: bundles with aliases are refused."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def write_yaml(path: Path, values: Any) -> None:
    """Write plain values, keys in the order given."""
    text = yaml.dump(values, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
    path.write_text(text, encoding="utf-8")
