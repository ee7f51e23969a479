# SPDX-License-Identifier: Apache-2.0
"""Features that stay on the GPU: what few ask for is copied to the host only when somebody does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Protocol

from vl_anomaly_ros.engine.backend import VisualOutput
from vl_anomaly_ros.types import FloatArray

FEATURES = tuple(field.name for field in fields(VisualOutput))


class Holder(Protocol):
    """Where on the GPU features lie."""

    def fetch(self, features: FeaturesOnGpu, name: str) -> FloatArray:
        """Copy one of them; raises `EngineError` where another image lies there by then."""


class FeaturesOnGpu(VisualOutput):
    """Features of one image. What is not at hand is fetched when it is first read, and kept.

    Args:
        at_hand: those that are on the host already, by name.
        lane: holds the others.
    """

    __slots__ = ("lane",)
    lane: Holder

    def __init__(
        self, at_hand: Mapping[str, FloatArray], lane: Holder
    ) -> None:  # in place of that of the frozen dataclass, which takes all of them
        object.__setattr__(self, "lane", lane)
        vars(self).update(at_hand)

    def __getattr__(self, name: str) -> FloatArray:
        """Called by Python only for what `vars` does not hold."""
        if name not in FEATURES:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        value = self.lane.fetch(self, name)
        vars(self)[name] = value
        return value
