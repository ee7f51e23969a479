# SPDX-License-Identifier: Apache-2.0
"""A bundle that was changed on purpose loads again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_bundle import CALIBRATION

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.errors import BundleError
from vl_anomaly_ros.evaluation.seal import seal


def test_new_figures_and_calibration(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    (folder / "head.onnx").write_bytes((folder / "head.onnx").read_bytes() + b"\x22\x00")  # an empty field more
    with pytest.raises(BundleError, match="altered"):
        load_bundle(folder)
    curve = [0.1, 0.2, 0.7, 0.9]  # one list at two places, which YAML would write as an alias
    calibration = {**CALIBRATION, "probability": {"score": curve, "probability": curve}}
    seal(folder, figures={"first": curve, "second": curve}, calibration=calibration)
    bundle = load_bundle(folder)
    assert bundle.figures == {"first": curve, "second": curve}
    assert bundle.calibration.probability == tuple(curve)
