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


def test_a_methods_calibration_leaves_those_of_the_others(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    own = {key: value for key, value in CALIBRATION.items() if key != "methods"}
    for threshold, method in ((0.6, "vl_anomaly"), (0.7, "vl4ad"), (0.8, "clipomaly")):
        seal(folder, calibration={**own, "threshold": threshold}, method=method)
    bundle = load_bundle(folder)
    found = {method: bundle.calibration_for(method).threshold for method in bundle.calibrations}
    assert found == {"vl_anomaly": 0.6, "vl4ad": 0.7, "clipomaly": 0.8}
    assert bundle.calibration.threshold == 0.6
