# SPDX-License-Identifier: Apache-2.0
"""One training loop: warm-up and cosine schedule, EMA, atomic checkpoints, resume to the same weights.

A batch is a function of (seed, step, process) alone, so a resumed run sees the batches an uninterrupted one would.
"""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.training.config import PhaseConfig
from vl_anomaly_ros.training.parallel import average_gradients, rank, wait_for_all, world_size

log = logging.getLogger(__name__)


class Task(Protocol):
    """What a phase trains."""

    name: str
    module: nn.Module

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of the step's batch and figures for the log."""


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
    on_checkpoint: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    """Train (or resume) a phase and return the averaged weights.

    Args:
        task: module and loss.
        phase: optimisation settings.
        folder: where `{task.name}.pt` and `{task.name}.csv` live.
        seed: of the batches and of dropout-like randomness.
        stop_after: leave after this step with a checkpoint (as an interruption would).
        on_checkpoint: called with the step after each checkpoint.

    Raises:
        TrainingError: the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint_path = folder / f"{task.name}.pt"
    # SGD-style exclusions: norms, biases and embeddings-like vectors are not decayed.
    decayed = [p for p in task.module.parameters() if p.requires_grad and p.ndim >= 2]
    plain = [p for p in task.module.parameters() if p.requires_grad and p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": phase.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=phase.learning_rate,
    )
    average = Average(task.module, phase.ema_decay)
    start = 0
    if checkpoint_path.exists():
        start = _restore(checkpoint_path, task, optimizer, average)
        log.info("%s: resumed at step %d", task.name, start)
    wait_for_all()
    rows = _MetricsFile(folder / f"{task.name}.csv" if rank() == 0 else None, start)
    began = time.monotonic()
    with _progress() as bar:
        line = bar.add_task(task.name, total=phase.steps, completed=start, note="")
        for step in range(start, phase.steps):
            batch_seed = (seed * 1_000_003 + step) * world_size() + rank()
            generator = torch.Generator().manual_seed(batch_seed)
            torch.manual_seed(batch_seed)
            task.module.train()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, phase)
            loss, figures = task.loss(step, generator)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"{task.name}: the loss is {float(loss)} at step {step}; lower the learning rate and resume"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            trained = [p for group in optimizer.param_groups for p in group["params"]]
            average_gradients(trained)
            nn.utils.clip_grad_norm_(trained, phase.gradient_norm)
            optimizer.step()
            average.update(task.module, step)
            done = step + 1
            if rank() == 0 and (done % phase.log_every == 0 or done == phase.steps):
                rate = (done - start) / (time.monotonic() - began)
                rows.write(done, {"loss": float(loss), **figures, "steps_per_s": rate})
                note = " ".join(f"{k} {v:.3f}" for k, v in {"loss": float(loss), **figures}.items())
                bar.update(line, completed=done, note=note)
                if not bar.console.is_terminal:
                    log.info("%s %d/%d %s (%.2f steps/s)", task.name, done, phase.steps, note, rate)
            stopping = stop_after is not None and done >= stop_after
            if done % phase.checkpoint_every == 0 or done == phase.steps or stopping:
                if rank() == 0:
                    _save(checkpoint_path, done, task, optimizer, average)
                wait_for_all()
                if on_checkpoint is not None:
                    on_checkpoint(done)
            if stopping:
                break
    return average.state


def load_average(path: Path) -> dict[str, Tensor]:
    """Read the averaged weights of a checkpoint."""
    return dict(_load(path)["average"])


def _load(path: Path) -> dict[str, Any]:
    try:
        return dict(torch.load(path, weights_only=True))
    except Exception as error:
        raise TrainingError(f"cannot read the checkpoint {path}: {error}; delete it to start anew") from error


def _restore(path: Path, task: Task, optimizer: torch.optim.Optimizer, average: Average) -> int:
    stored = _load(path)
    task.module.load_state_dict(stored["module"])
    optimizer.load_state_dict(stored["optimizer"])
    average.state = dict(stored["average"])
    return int(stored["step"])


def _save(path: Path, step: int, task: Task, optimizer: torch.optim.Optimizer, average: Average) -> None:
    """Write to a neighbour first, so that a crash never leaves half a checkpoint."""
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "step": step,
            "module": task.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "average": average.state,
        },
        partial,
    )
    os.replace(partial, path)


class _MetricsFile:
    """A CSV of figures; on resume the rows after the checkpoint are dropped."""

    def __init__(self, path: Path | None, start: int) -> None:
        self.path = path
        self.empty = True
        if path is None:
            return
        kept: list[list[str]] = []
        if start and path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.reader(file) if row and (row[0] == "step" or int(row[0]) <= start)]
        self.empty = not kept
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(kept)

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Append one row; without a path, none."""
        if self.path is None:
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if self.empty:
                writer.writerow(["step", *figures])
                self.empty = False
            writer.writerow([step, *(f"{value:.5g}" for value in figures.values())])


def _progress() -> Progress:
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    progress.disable = rank() > 0 or not progress.console.is_terminal
    return progress
