# SPDX-License-Identifier: Apache-2.0
"""A calibration made on pictures of the tiny bundle's world, and judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from tiny_bundle import build_tiny_bundle, picture

from vl_anomaly_ros.engine.bundle import load_bundle
from vl_anomaly_ros.engine.calibration import Calibration
from vl_anomaly_ros.errors import EvaluationError
from vl_anomaly_ros.evaluation.anomaly import BundleRunner
from vl_anomaly_ros.evaluation.calibration import CalibrationSettings, calibrate, held_out, name_threshold
from vl_anomaly_ros.evaluation.calibration_budget import BudgetSettings
from vl_anomaly_ros.evaluation.calibration_compare import SetResult, compare, table
from vl_anomaly_ros.evaluation.calibration_report import reliability_svg
from vl_anomaly_ros.evaluation.calibration_samples import HeadSetting, Samples, SettingGrid, choose
from vl_anomaly_ros.evaluation.image_set import ANOMALY, LabelledImage

GRID = SettingGrid((0.05, 0.2), (1.0, 4.0), (0.0, 1.0))


def pictures(count: int, first: int = 0, anomalies: bool = True) -> Iterable[LabelledImage]:
    """Noisy pictures of sky, vegetation and road, with two things that nobody knows, or without."""
    for index in range(first, first + count):
        rng = np.random.default_rng(index)
        image = picture()
        semantic, instances = np.zeros((160, 320), np.uint8), np.zeros((160, 320), np.uint16)
        if anomalies:
            for number, x in enumerate((40, 200), 1):
                semantic[80:140, x : x + 80], instances[80:140, x : x + 80] = ANOMALY, number
        else:
            image[80:] = image[150, 0]
        noisy = image + rng.normal(0, 12, image.shape)
        objects = tuple({"instance": n, "category": "crate", "known": False} for n in (1, 2) if anomalies)
        yield LabelledImage(index, np.clip(noisy, 0, 255).astype(np.uint8), semantic, instances, objects)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> BundleRunner:
    bundle = build_tiny_bundle(tmp_path_factory.mktemp("bundle") / "larger", width=320, height=160)
    return BundleRunner(load_bundle(bundle), threads=1)


@pytest.fixture(scope="module")
def found(runner: BundleRunner) -> dict[str, Any]:
    return calibrate(runner, pictures(6), CalibrationSettings(GRID), "six pictures")


def test_what_is_found_loads_and_says_why(found: dict[str, Any]) -> None:
    calibration = Calibration.from_mapping(found)
    assert sum(calibration.source_weights) == pytest.approx(1, abs=1e-3)
    assert "six pictures: 6 images of 320x160" in calibration.measured_on
    assert "0.5 false regions a frame" in calibration.measured_on
    report = found["report"]
    assert report["auprc"] > 0.9
    assert report["anomaly_share"]["of_the_images"] == pytest.approx(2 * 80 * 60 / 320 / 160, abs=1e-4)
    assert report["false_regions_per_frame"]["measured"] <= 0.5
    assert report["objects_found"] == {"share": 1.0, "of": 12}
    assert report["reliability"]["ece"] < 0.05


def test_a_stated_prior_lowers_the_probabilities_and_keeps_the_weights(
    runner: BundleRunner, found: dict[str, Any]
) -> None:
    rare = calibrate(runner, pictures(6), CalibrationSettings(GRID, prior=0.001))
    assert rare["source_weights"] == found["source_weights"]
    here, there = (np.array(one["probability"]["probability"]) for one in (rare, found))
    assert (here <= there + 1e-6).all()
    assert (here < there - 0.01).any()
    assert rare["report"]["anomaly_share"]["of_the_probabilities"] == 0.001
    Calibration.from_mapping(rare)


def test_a_calibration_judged_on_other_pictures(runner: BundleRunner, found: dict[str, Any]) -> None:
    result = compare(runner, "others", pictures(4, first=50), found, BudgetSettings())
    by_way = {row.way: row for row in result.rows}
    assert set(by_way) == {"learned", "equal", "logistic fit", "tuned on the set"}
    assert by_way["tuned on the set"].auprc >= max(row.auprc for row in result.rows)
    assert result.behind_tuned >= 0
    assert result.objects == 8
    text = table([result])
    assert text.count("| others |") == 5
    assert f"{by_way['learned'].auprc:.4f}" in text
    assert isinstance(result, SetResult)
    assert result.to_mapping()["behind_tuned"] == result.behind_tuned


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "no anomalous pixel"),
        (list(pictures(2, anomalies=False)), "no anomalous pixel"),
        (list(pictures(1)), "at least 2 images"),
    ],
)
def test_images_that_tell_nothing_are_refused(runner: BundleRunner, images: Any, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        calibrate(runner, images, CalibrationSettings(GRID))


def test_the_better_temperature_is_chosen() -> None:
    rng = np.random.default_rng(4)
    label = np.zeros((64, 128), np.uint8)
    label[32:40, 40:80] = 1
    anomalous = label[2::4, 2::4]
    good, other = ((0.4 * anomalous + 0.6 * rng.random((16, 32))).astype(np.float32) for _ in range(2))
    noise = rng.random((16, 32)).astype(np.float32)
    samples = Samples(
        label=[label],
        detector=[noise],
        text={0.1: [noise], 0.2: [good]},
        clip={(0.1, 0.0): [noise], (0.1, 1.0): [other]},
    )
    chosen = choose(samples)
    assert chosen.setting == HeadSetting(0.2, 0.1, 1.0)
    assert chosen.weights[0] < 0.2


def test_held_out_error_sees_a_map_that_does_not_carry_over() -> None:
    """Even images are anomalous where the score is high, odd ones where it is low: the maps are worth nothing."""
    score = np.tile(np.linspace(0, 1, 4096, dtype=np.float32), (6, 1)).reshape(6, 64, 64)
    same = (score > 0.8).astype(np.uint8)
    swapped = same.copy()
    swapped[1::2] = score[1::2] < 0.2
    assert held_out(score, same).ece < 0.02
    assert held_out(score, swapped).ece > 0.1


def test_name_threshold_keeps_the_wanted_precision() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, True, False, False])
    assert name_threshold(confidence, right, 0.75) == pytest.approx(0.6)  # 3 of 4
    assert name_threshold(confidence, right, 1.0) == pytest.approx(0.7)
    assert name_threshold(np.zeros(0), np.zeros(0, bool), 0.8, default=0.4) == 0.4


def test_the_diagram_draws_each_bin_where_it_belongs() -> None:
    bins = [
        {"probability": 0.0, "observed": 0.25, "pixels": 1000},
        {"probability": 1.0, "observed": 0.5, "pixels": 1},
    ]
    drawn = reliability_svg({"ece": 0.1234, "ece_above": None, "above": 0.07, "bins": bins}, "a < b")
    ET.fromstring(drawn)  # noqa: S314  (our own; well formed)
    assert "a &lt; b" in drawn
    assert "ECE 0.1234" in drawn
    assert '<polyline points="56.0,280.0 376.0,200.0"' in drawn  # 320 px a unit from (56, 360)
