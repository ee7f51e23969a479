# SPDX-License-Identifier: Apache-2.0
"""What was learned about the scores: weights, temperatures, the map to a probability, thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

import numpy as np

from vl_anomaly_ros.config import METHODS
from vl_anomaly_ros.engine.description import MAX_NOTE_CHARACTERS
from vl_anomaly_ros.errors import BundleError

MAX_CURVE_POINTS = 4096
DEFAULT_METHOD = METHODS[0]


@dataclass(frozen=True)
class Calibration:
    """What calibration.yaml says of one method.

    Attributes:
        source_weights: of the detector, text and CLIP scores; not negative, with a positive sum.
        temperatures: of the aligned and the CLIP softmax; positive.
        clip_dense_weight: share of the per-pixel CLIP probability against the per-mask one, 0..1.
        score: (n,) increasing fused scores.
        probability: (n,) non-decreasing anomaly probabilities at those scores, linear in between, constant outside.
        threshold: probability from which a pixel counts as anomalous.
        min_name_confidence: a name below is not given.
        measured_on: for people.
    """

    source_weights: tuple[float, float, float]
    temperatures: tuple[float, float]
    clip_dense_weight: float
    score: tuple[float, ...]
    probability: tuple[float, ...]
    threshold: float
    min_name_confidence: float
    measured_on: str = ""

    def __post_init__(self) -> None:
        weights, curve_x, curve_y = self.source_weights, np.array(self.score), np.array(self.probability)
        _expect(
            len(weights) == 3 and min(weights) >= 0 and sum(weights) > 0,
            "source_weights",
            "3 numbers, none negative, with a positive sum",
            weights,
        )
        _expect(
            len(self.temperatures) == 2 and min(self.temperatures) > 0,
            "temperatures",
            "2 positive numbers",
            self.temperatures,
        )
        _expect(0 <= self.clip_dense_weight <= 1, "clip_dense_weight", "0..1", self.clip_dense_weight)
        _expect(
            2 <= len(curve_x) == len(curve_y) <= MAX_CURVE_POINTS,
            "probability",
            f"as many scores as probabilities, 2 to {MAX_CURVE_POINTS}",
            (len(curve_x), len(curve_y)),
        )
        _expect(bool((np.diff(curve_x) > 0).all()), "probability.score", "increasing numbers", self.score)
        _expect(
            bool((np.diff(curve_y) >= 0).all()), "probability.probability", "numbers that never fall", self.probability
        )
        _expect(bool(curve_y[0] >= 0 and curve_y[-1] <= 1), "probability.probability", "0..1", self.probability)
        _expect(0 < self.threshold <= 1, "threshold", "above 0 and up to 1", self.threshold)
        _expect(0 <= self.min_name_confidence <= 1, "min_name_confidence", "0..1", self.min_name_confidence)

    @classmethod
    def by_method(cls, values: Any) -> Mapping[str, Calibration]:
        """From the plain values of calibration.yaml: of the default method, and of those under `methods`.

        Raises:
            BundleError: as `from_mapping`, or a method is unknown.
        """
        made = {DEFAULT_METHOD: cls.from_mapping(values)}
        others = values.get("methods") or {}
        if not isinstance(others, Mapping) or not set(others) <= set(METHODS[1:]):
            raise BundleError(
                f"calibration.yaml: methods: expected some of {', '.join(METHODS[1:])} with what was learned for them, "
                f"got {brief(others)}; calibrate again"
            )
        return made | {name: cls._of_method(name, block) for name, block in others.items()}

    @classmethod
    def _of_method(cls, name: str, block: Any) -> Calibration:
        try:
            return cls.from_mapping(block)
        except BundleError as error:
            raise BundleError(f"{error} (under methods: {name})") from error

    @classmethod
    def from_mapping(cls, values: Any) -> Calibration:
        """From the plain values of one method.

        Raises:
            BundleError: a key is absent, of the wrong type or out of range.
        """
        note = values.get("measured_on", "") if isinstance(values, Mapping) else ""
        if not isinstance(note, str) or len(note) > MAX_NOTE_CHARACTERS or not note.replace("\n", "").isprintable():
            _expect(False, "measured_on", f"up to {MAX_NOTE_CHARACTERS} printable characters", note)
        if not isinstance(values, Mapping) or not isinstance(values.get("probability"), Mapping):
            raise BundleError("calibration.yaml: expected keys with a mapping `probability`, got something else")
        curve = values["probability"]
        return cls(
            source_weights=_numbers(values, "source_weights"),
            temperatures=_numbers(values, "temperatures"),
            clip_dense_weight=_number(values, "clip_dense_weight"),
            score=_numbers(curve, "score"),
            probability=_numbers(curve, "probability"),
            threshold=_number(values, "threshold"),
            min_name_confidence=_number(values, "min_name_confidence"),
            measured_on=note,
        )


def _expect(holds: bool, key: str, expected: str, got: Any) -> None:
    if not holds:
        raise BundleError(f"calibration.yaml: {key}: expected {expected}, got {brief(got)}; calibrate again")


def _number(values: Mapping[str, Any], key: str) -> float:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BundleError(f"calibration.yaml: {key}: expected a number, got {brief(value)}")
    return float(value)


def _numbers(values: Mapping[str, Any], key: str) -> Any:
    items = values.get(key)
    if not isinstance(items, list):
        raise BundleError(f"calibration.yaml: {key}: expected a list of numbers, got {brief(items)}")
    return tuple(_number({key: item}, key) for item in items)
