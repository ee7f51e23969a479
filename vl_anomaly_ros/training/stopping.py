# SPDX-License-Identifier: Apache-2.0
"""When a phase of training ends before its last step, and which settings of it do not go together."""

from __future__ import annotations

import math

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.training.config import PhaseConfig


class Stopper:
    """Ends a phase that no longer gets better.

    Args:
        patience: validations in a row without a lower loss that are borne; 0: any number.

    >>> stopper = Stopper(patience=2)
    >>> for loss in (0.5, 0.4, 0.6, 0.4):
    ...     stopper.see(loss)
    >>> stopper.best, stopper.stopped
    (0.4, True)
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best, self.waited = math.inf, 0

    @property
    def stopped(self) -> bool:
        """Whether the patience is used up."""
        return 0 < self.patience <= self.waited

    def see(self, loss: float) -> None:
        """Take in a validation."""
        self.waited = 0 if loss < self.best else self.waited + 1
        self.best = min(self.best, loss)


def check_phase(name: str, phase: PhaseConfig) -> None:
    """Raise `TrainingError` where settings of a phase do not fit each other."""
    if phase.accumulate < 1:
        raise TrainingError(f"{name}: accumulate: expected 1 or more, got {phase.accumulate}")
    if phase.patience and not phase.validate_every:
        raise TrainingError(f"{name}: patience: expected validate_every with it, got {phase.patience} without")
    if bool(phase.validate_every) != bool(phase.validation_images):
        raise TrainingError(
            f"{name}: validate_every and validation_images: expected both or neither, got {phase.validate_every} and "
            f"{phase.validation_images}"
        )
