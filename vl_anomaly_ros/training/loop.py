# SPDX-License-Identifier: Apache-2.0
"""One training loop: warm-up and cosine schedule, EMA, validation, atomic checkpoints, resume to the same weights.

A batch is a function of (seed, step, process) alone, so a resumed run sees the batches an uninterrupted one would.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.training.config import PhaseConfig
from vl_anomaly_ros.training.parallel import average_gradients, mean_over_processes, rank, wait_for_all, world_size
from vl_anomaly_ros.training.stopping import Stopper, check_phase

log = logging.getLogger(__name__)


class Task(Protocol):
    """What a phase trains."""

    name: str
    module: nn.Module

    def loss(self, generator: torch.Generator, *, held_out: bool = False) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of the step's batch and figures for the log; `held_out`: of a batch of validation images."""


class Average:
    """Exponential moving average of a module's parameters and buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {key: value.detach().clone() for key, value in module.state_dict().items()}

    def update(self, module: nn.Module, step: int) -> None:
        """Blend the module in; early steps weigh more, so that the start is soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, value in module.state_dict().items():
                if value.dtype.is_floating_point:
                    self.state[key].lerp_(value, 1.0 - decay)
                else:
                    self.state[key].copy_(value)


def learning_rate_at(step: int, phase: PhaseConfig) -> float:
    """Return the learning rate: linear warm-up, then a cosine down to 1 % of the peak."""
    warm = min(1.0, (step + 1) / max(1, phase.warmup_steps))
    progress = min(1.0, step / max(1, phase.steps))
    return phase.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))


def run_phase(
    task: Task,
    phase: PhaseConfig,
    folder: Path,
    seed: int,
    stop_after: int | None = None,
) -> dict[str, Tensor]:
    """Train (or resume) a phase and return the averaged weights.

    Args:
        task: module and loss.
        phase: optimisation settings.
        folder: where `{task.name}.pt` and `{task.name}.csv` live.
        seed: of the batches and of dropout-like randomness.
        stop_after: leave after this step with a checkpoint (as an interruption would).

    Raises:
        TrainingError: the loss is not finite, or the phase's settings do not fit each other.
    """
    check_phase(task.name, phase)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint_path = folder / f"{task.name}.pt"
    optimizer = make_optimizer(task.module, phase)
    average = Average(task.module, phase.ema_decay)
    stopper = Stopper(phase.patience)
    start = 0
    if checkpoint_path.exists():
        start = _restore(checkpoint_path, task, optimizer, average, stopper)
        log.info("%s: resumed at step %d", task.name, start)
    wait_for_all()
    validated = math.nan
    report = _Report(task.name, phase, folder if rank() == 0 else None, start)
    last = phase.steps if stop_after is None else min(stop_after, phase.steps)
    with report:
        for step in range(start, last):
            if stopper.stopped:
                break
            loss, figures = train_step(task, phase, optimizer, seed, step)
            average.update(task.module, step)
            if phase.validate_every and (step + 1) % phase.validate_every == 0:
                validated = validation_loss(task, average, seed)
                stopper.see(validated)
            if phase.validate_every:
                figures["validation_loss"] = validated
            report.step(step + 1, loss, figures)
            if (step + 1) % phase.checkpoint_every == 0 or step + 1 == last or stopper.stopped:
                if rank() == 0:
                    _save(checkpoint_path, step + 1, task, optimizer, average, stopper)
                wait_for_all()
    if stopper.stopped:
        log.info("%s: stopped, %d validations without a lower loss than %.4g", task.name, phase.patience, stopper.best)
    return average.state


VALIDATION_BATCHES = 8


@torch.no_grad()
def validation_loss(task: Task, average: Average, seed: int) -> float:
    """Mean loss of the averaged weights over batches of validation images, the same ones each time."""
    trained = {key: value.detach().clone() for key, value in task.module.state_dict().items()}
    task.module.load_state_dict(average.state)
    task.module.eval()
    total = torch.zeros(1)
    for batch in range(VALIDATION_BATCHES):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + batch) * world_size() + rank())
        total += task.loss(generator, held_out=True)[0].cpu()
    task.module.load_state_dict(trained)
    return float(mean_over_processes(total / VALIDATION_BATCHES))


def make_optimizer(module: nn.Module, phase: PhaseConfig) -> torch.optim.Optimizer:
    """Return AdamW; vectors (biases, norms, scales) are not decayed."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": phase.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=phase.learning_rate,
    )


def train_step(
    task: Task, phase: PhaseConfig, optimizer: torch.optim.Optimizer, seed: int, step: int
) -> tuple[float, dict[str, float]]:
    """Take one optimisation step and return the loss and the task's figures.

    Raises:
        TrainingError: the loss is not finite.
    """
    batch_seed = (seed * 1_000_003 + step) * world_size() + rank()
    torch.manual_seed(batch_seed)
    task.module.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, phase)
    generator = torch.Generator().manual_seed(batch_seed)
    optimizer.zero_grad(set_to_none=True)
    value, figures = 0.0, {}
    for _ in range(phase.accumulate):
        loss, figures = task.loss(generator)
        value += float(loss.detach()) / phase.accumulate
        if not math.isfinite(value):
            raise TrainingError(f"{task.name}: the loss is {value} at step {step}; lower the learning rate and resume")
        (loss / phase.accumulate).backward()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    average_gradients(trained)
    nn.utils.clip_grad_norm_(trained, phase.gradient_norm)
    optimizer.step()
    return value, figures


def load_average(path: Path) -> dict[str, Tensor]:
    """Read the averaged weights of a checkpoint."""
    return dict(_load(path)["average"])


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise TrainingError(f"cannot read the checkpoint {path}: {error}; delete it to start anew") from error


def _restore(path: Path, task: Task, optimizer: torch.optim.Optimizer, average: Average, stopper: Stopper) -> int:
    stored = _load(path)
    task.module.load_state_dict(stored["module"])
    optimizer.load_state_dict(stored["optimizer"])
    for key, value in stored["average"].items():
        average.state[key].copy_(value)
    stopper.best, stopper.waited = float(stored["best"]), int(stored["waited"])
    return int(stored["step"])


def _save(
    path: Path, step: int, task: Task, optimizer: torch.optim.Optimizer, average: Average, stopper: Stopper
) -> None:
    """Write to a neighbour first, so that a crash never leaves half a checkpoint."""
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "step": step,
            "module": task.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average.state,
            "best": stopper.best,
            "waited": stopper.waited,
        },
        partial,
    )
    partial.replace(path)


class _Report:
    """Progress for people (a bar on a terminal, plain lines elsewhere) and a CSV of figures.

    On resume the CSV's rows after the checkpoint are dropped. Without a folder nothing is reported.
    """

    def __init__(self, name: str, phase: PhaseConfig, folder: Path | None, start: int) -> None:
        self.name, self.phase, self.start = name, phase, start
        self.path = None if folder is None else folder / f"{name}.csv"
        self.began = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        self.bar.disable = folder is None or not self.bar.console.is_terminal
        self.line = self.bar.add_task(name, total=phase.steps, completed=start, note="")
        kept = []
        if self.path is not None and self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                kept = [r for r in csv.reader(file) if r and (r[0] == "step" or int(r[0]) <= start)]
        self.has_header = bool(kept)
        if self.path is not None:
            with self.path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(kept)

    def __enter__(self) -> None:
        self.bar.start()

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, done: int, loss: float, figures: dict[str, float]) -> None:
        """Report a step, if it is one to be reported."""
        if self.path is None or (done % self.phase.log_every and done != self.phase.steps):
            return
        rate = (done - self.start) / (time.monotonic() - self.began)
        row = {"loss": loss, **figures, "steps_per_s": rate}
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not self.has_header:
                writer.writerow(["step", *row])
                self.has_header = True
            writer.writerow([done, *(f"{value:.5g}" for value in row.values())])
        note = " ".join(f"{key} {value:.3f}" for key, value in row.items())
        self.bar.update(self.line, completed=done, note=note)
        if self.bar.disable:
            log.info("%s %d/%d %s", self.name, done, self.phase.steps, note)
