# SPDX-License-Identifier: Apache-2.0
"""The start of an engine, as others may look at it while it goes on: building one may take minutes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TypeVar

from vl_anomaly_ros.config import EngineConfig
from vl_anomaly_ros.engine.engine import Engine
from vl_anomaly_ros.engine.progress import Step

T = TypeVar("T")


@dataclass(frozen=True)
class Start:
    """How far an engine is that is being started.

    Attributes:
        since_s: when it began, monotonic clock.
        step: the last that was reported, None before the first.
        step_since_s: when that was.
        built: whether some of the engine that is tried was built, and not all found.
    """

    since_s: float
    step: Step | None = None
    step_since_s: float = 0.0
    built: bool = False


class EngineStart:
    """Makes the engines of one configuration, one at a time. `now` may be read from any thread meanwhile.

    Args:
        make: makes the engine that the settings describe; None: `Engine.from_config`, which reports its steps.
    """

    def __init__(self, make: Callable[[EngineConfig], Engine] | None = None) -> None:
        self._make = make or partial(Engine.from_config, report=self._report)
        self.begun_s = monotonic()
        self.now: Start | None = None
        self.built = False

    def __call__(self, config: EngineConfig) -> Engine:
        """The engine; `built` then says whether some of it was built, and not all found.

        Raises:
            BundleError, EngineError: as `make`.
        """
        self.now = Start(monotonic())
        try:
            engine = self._make(config)
            self.built = self.now.built
        finally:
            self.now = None
        return engine

    def _report(self, step: Step) -> None:
        before = self.now or Start(monotonic())
        same = before.step is not None and before.step.backend == step.backend
        self.now = Start(before.since_s, step, monotonic(), built=bool(step.graph) or (same and before.built))


def in_another_thread(make: Callable[[], T], meanwhile: Callable[[], None], period_s: float) -> T:
    """What `make` returns or raises; this thread calls `meanwhile` every so many seconds until then."""
    with ThreadPoolExecutor(1, "vl_anomaly_engine") as other:
        made = other.submit(make)
        while wait([made], period_s).not_done:
            meanwhile()
    return made.result()
