# SPDX-License-Identifier: Apache-2.0
"""The training loop on a task of one number: accumulation, validation, early stopping, resuming."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from vl_anomaly_ros.errors import TrainingError  # noqa: E402
from vl_anomaly_ros.training.config import PhaseConfig  # noqa: E402
from vl_anomaly_ros.training.device import device_of  # noqa: E402
from vl_anomaly_ros.training.loop import make_optimizer, run_phase, train_step  # noqa: E402

PHASE = PhaseConfig(
    steps=20, batch_size=1, learning_rate=0.1, weight_decay=0.0, warmup_steps=1, gradient_norm=1e9, ema_decay=0.0,
    checkpoint_every=5, log_every=1,
)  # fmt: skip


class Guess(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))


class Task:
    """Guesses the mean of a random number; on validation images it gets worse the better the guess is, where asked."""

    name = "guess"

    def __init__(self, *, spoils: bool = False) -> None:
        self.module = Guess()
        self.spoils = spoils
        self.drawn: list[float] = []

    def loss(self, generator: torch.Generator, *, held_out: bool = False) -> tuple[Tensor, dict[str, float]]:
        if held_out:
            assert not self.module.training
            distance = (self.module.value - 1.0).square().sum()
            return (-distance if self.spoils else distance), {}
        self.drawn.append(float(torch.rand((), generator=generator)))
        return (self.module.value - 2 * self.drawn[-1]).square().sum(), {"drawn": self.drawn[-1]}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "guess.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_gradients_of_several_batches_make_one_step() -> None:
    task, phase = Task(), replace(PHASE, accumulate=3)
    value, _ = train_step(task, phase, make_optimizer(task.module, phase), seed=1, step=0)
    assert len(set(task.drawn)) == 3
    assert value == pytest.approx(sum(4 * d * d for d in task.drawn) / 3)
    assert task.module.value.grad is not None
    assert float(task.module.value.grad) == pytest.approx(-4 * sum(task.drawn) / 3, rel=1e-5)


def test_a_phase_that_gets_no_better_ends_and_stays_ended(tmp_path: Path) -> None:
    phase = replace(PHASE, validate_every=2, validation_images=1, patience=2)
    run_phase(Task(spoils=True), phase, tmp_path, seed=1)
    steps = [int(row["step"]) for row in rows(tmp_path)]
    assert steps == list(range(1, 7))  # the first validation is the best, two more are borne
    again = Task(spoils=True)
    run_phase(again, phase, tmp_path, seed=1)
    assert again.drawn == []
    better = Task()
    run_phase(better, phase, tmp_path / "better", seed=1)
    assert len(better.drawn) > 6


def test_the_validation_loss_is_in_the_figures(tmp_path: Path) -> None:
    run_phase(Task(), replace(PHASE, steps=5, validate_every=2, validation_images=1), tmp_path, seed=1)
    losses = [float(row["validation_loss"]) for row in rows(tmp_path)]
    assert math.isnan(losses[0])
    assert losses[1] == losses[2] != losses[3]
    run_phase(Task(), replace(PHASE, steps=2), tmp_path / "without", seed=1)
    assert "validation_loss" not in rows(tmp_path / "without")[0]


def test_validating_does_not_change_what_is_learned(tmp_path: Path) -> None:
    plain = run_phase(Task(), PHASE, tmp_path / "plain", seed=1)
    watched = run_phase(Task(), replace(PHASE, validate_every=3, validation_images=1), tmp_path / "watched", seed=1)
    assert torch.equal(plain["value"], watched["value"])


def test_patience_survives_an_interruption(tmp_path: Path) -> None:
    phase = replace(PHASE, validate_every=2, validation_images=1, patience=2)
    run_phase(Task(spoils=True), phase, tmp_path, seed=1, stop_after=5)
    run_phase(Task(spoils=True), phase, tmp_path, seed=1)
    assert [int(row["step"]) for row in rows(tmp_path)] == list(range(1, 7))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accumulate": 0}, "accumulate: expected 1 or more, got 0"),
        ({"patience": 2}, "patience: expected validate_every with it"),
        ({"validate_every": 2}, "validate_every and validation_images: expected both or neither, got 2 and 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, values: dict[str, int], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        run_phase(Task(), replace(PHASE, **values), tmp_path, seed=1)


def test_devices() -> None:
    assert device_of("cpu").type == "cpu"
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(TrainingError, match="device: expected cpu, cuda or auto, got 'tpu'"):
        device_of("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="found none"):
            device_of("cuda")
