# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly calibrate` from end to end on the tiny bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from tiny_bundle import build_tiny_bundle, picture

from vl_anomaly_ros.cli import main
from vl_anomaly_ros.engine.bundle import load_bundle


def write_set(root: Path, count: int, seed: int) -> Path:
    """An image set of the tiny bundle's world with two unknown things a picture."""
    for folder in ("images", "semantic", "instances"):
        (root / folder).mkdir(parents=True)
    lines = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        semantic, instances, objects = np.zeros((160, 320), np.uint8), np.zeros((160, 320), np.uint16), []
        for number, x in enumerate((40, 200), 1):
            semantic[80:140, x : x + 80], instances[80:140, x : x + 80] = 254, number
            box = [x, 80, x + 80, 140]
            objects.append({"instance": number, "category": "crate", "known": False, "bbox": box, "area_px": 4800})
        noisy = np.clip(picture() + rng.normal(0, 12, (160, 320, 3)), 0, 255).astype(np.uint8)
        for folder, image in (("images", noisy[..., ::-1]), ("semantic", semantic), ("instances", instances)):
            cv2.imwrite(str(root / folder / f"{index:06d}.png"), image)
        lines.append(json.dumps({"frame": index, "objects": objects}) + "\n")
    (root / "objects.jsonl").write_text("".join(lines))
    (root / "dataset.yaml").write_text(yaml.safe_dump({"version": 2}))
    return root


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `first` and `second` of labelled pictures and `normal` of plain ones."""
    root = tmp_path_factory.mktemp("sets")
    write_set(root / "first", 4, 1)
    write_set(root / "second", 2, 2)
    (root / "normal").mkdir()
    for index in range(4):
        image = picture()
        image[80:] = image[150, 0]
        cv2.imwrite(str(root / "normal" / f"{index}.png"), image[..., ::-1])
    return root


@pytest.fixture(scope="module")
def larger_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle for pictures of 320 x 160 pixels; read only."""
    return build_tiny_bundle(tmp_path_factory.mktemp("bundle") / "larger", width=320, height=160)


def test_a_bundle_is_calibrated_and_compared(sets: Path, larger_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(larger_bundle, tmp_path / "bundle"))
    words = ["calibrate", str(bundle), "--images", str(sets / "first"), "--compare", str(sets / "second")]
    assert main([*words, "--report", str(tmp_path / "report"), "--false-positives-per-frame", "0.25"]) == 0
    calibration = load_bundle(bundle).calibration  # sealed again
    assert "0.25 false regions a frame" in calibration.measured_on
    written = json.loads((tmp_path / "report" / "calibration.json").read_text())
    assert written["calibration"]["threshold"] == calibration.threshold
    assert [one["name"] for one in written["compared"]] == ["second"]
    assert (tmp_path / "report" / "comparison.md").read_text().count("| second |") == 5
    for name in ("reliability.svg", "reliability_second.svg"):
        assert (tmp_path / "report" / name).read_text().startswith("<svg")


@pytest.mark.parametrize("method", ["vl4ad", "clipomaly"])
def test_a_bundle_is_calibrated_for_another_method(
    sets: Path, larger_bundle: Path, tmp_path: Path, method: str
) -> None:
    """The default method's calibration stays; the new one's probabilities follow the method's own score."""
    bundle = Path(shutil.copytree(larger_bundle, tmp_path / "bundle"))
    before = load_bundle(bundle)
    words = ["calibrate", str(bundle), "--images", str(sets / "first"), "--method", method]
    assert main([*words, "--false-positives-per-frame", "4"]) == 0
    after = load_bundle(bundle)
    assert after.calibration == before.calibration
    found = after.calibration_for(method)
    assert found != before.calibration_for(method)
    assert f"Temperatures of {method}" in found.measured_on
    assert main([*words, "--compare", str(sets / "second")]) == 1


def test_a_share_that_was_made_by_pasting_is_pointed_out(
    sets: Path, larger_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibrate", str(larger_bundle), "--normal", str(sets / "normal"), "--paste", "--seed", "3"]
    assert main([*words, "--out", str(tmp_path / "c.yaml"), "--false-positives-per-frame", "4"]) == 0
    assert "state yours with --prior" in capsys.readouterr().err


@pytest.mark.parametrize("cut_out", [False, True])
def test_normal_pictures_with_pasted_outliers(sets: Path, larger_bundle: Path, tmp_path: Path, cut_out: bool) -> None:
    before = load_bundle(larger_bundle).calibration
    words = ["calibrate", str(larger_bundle), "--normal", str(sets / "normal"), "--out", str(tmp_path / "c.yaml")]
    paste = ["--paste", str(sets / "first")] if cut_out else ["--paste"]
    assert main([*words, *paste, "--prior", "0.002", "--false-positives-per-frame", "4"]) == 0
    found = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert ("8 cut-outs of first" if cut_out else "made-up shapes") in found["measured_on"]
    assert found["report"]["anomaly_share"]["of_the_probabilities"] == 0.002
    if not cut_out:
        assert found["min_name_confidence"] == before.min_name_confidence
    assert load_bundle(larger_bundle).calibration == before  # --out leaves the bundle alone


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--normal", "{sets}/normal"], "add --paste"),
        (["--images", "{sets}/first", "--paste"], "--paste: expected with --normal"),
        (["--normal", "{sets}/first", "--paste"], "expected a normal picture"),
        (["--images", "{sets}/first", "--compare", "{sets}/second", "{sets}/./second"], "different names"),
        (["--images", "{sets}/first", "--false-positives-per-frame", "0"], "expected a number above 0"),
        (["--images", "{sets}/first", "--prior", "0"], "above 0 and below 1"),
        (["--images", "{sets}/absent"], "expected an image set"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    sets: Path, larger_bundle: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    before = (larger_bundle / "calibration.yaml").read_bytes()
    words: list[Any] = [option.format(sets=sets) for option in options]
    assert main(["calibrate", str(larger_bundle), *words]) == 1
    assert said in capsys.readouterr().err
    assert (larger_bundle / "calibration.yaml").read_bytes() == before
