# SPDX-License-Identifier: Apache-2.0
"""Keeps an engine at work: one that hangs or fails is given up and loaded anew, with growing pauses."""

from __future__ import annotations

import threading
from time import monotonic, perf_counter

from rclpy.impl.rcutils_logger import RcutilsLogger

from vl_anomaly_ros.config import Config
from vl_anomaly_ros.cores import use_all
from vl_anomaly_ros.pipeline import Pipeline

FIRST_BACKOFF_S = 1.0
MAX_HUNG = 8
"""A thread that hangs in an engine cannot be ended and keeps its memory. After so many only a new process helps."""


class EngineKeeper:
    """The pipeline in use, None while its engine is loaded anew.

    Args:
        pipeline: ready.
        logger: of the node.
        load_s: how long loading it took, in seconds.
    """

    def __init__(self, pipeline: Pipeline, logger: RcutilsLogger, load_s: float) -> None:
        self.load_s = load_s
        self.rebuilds = 0
        self.hung = 0
        self.why = ""
        self._pipeline: Pipeline = pipeline
        self._ready = True
        self._healthy_since_s = monotonic()
        self._backoff_s = 0.0
        self._ros_log = logger
        self._changed = threading.Condition()
        self._closed = False

    @property
    def pipeline(self) -> Pipeline | None:
        """To judge by; None while the engine is loaded anew (`why` says what went wrong)."""
        with self._changed:
            return self._pipeline if self._ready else None

    @property
    def latest(self) -> Pipeline:
        """The pipeline in use or, while there is none, the last one: its settings and names still hold."""
        return self._pipeline

    def give_up(self, pipeline: Pipeline, why: str, *, hangs: bool) -> None:
        """Replace the engine of `pipeline`, in a thread of its own; only once, however many threads say so.

        Args:
            pipeline: whose.
            why: for people.
            hangs: the caller's image hangs in it. It is then not freed before `returned`.
        """
        with self._changed:
            self.hung += hangs
            if self._closed or not self._ready or pipeline is not self._pipeline:
                return
            self._ready, self.why = False, why
            longest_s = pipeline.config.engine.max_backoff_s
            if monotonic() - self._healthy_since_s > longest_s:
                self._backoff_s = 0.0
        self._ros_log.error(f"the engine is given up and loaded anew: {why}")
        threading.Thread(
            target=self._rebuild, args=(pipeline, hangs, longest_s), name="vl_anomaly_engine", daemon=True
        ).start()

    def returned(self, pipeline: Pipeline) -> None:
        """The thread that hung in this engine, which was given up, has come back after all: free it."""
        with self._changed:
            self.hung -= 1
        pipeline.close()

    def reconfigure(self, config: Config) -> None:
        """Take new run-time settings, also while the engine is loaded anew.

        Raises:
            ConfigError: as `Pipeline.reconfigure`.
        """
        with self._changed:
            self._pipeline.reconfigure(config)

    def close(self) -> None:
        """Free the engine, end the attempts. One that hangs is left behind."""
        with self._changed:
            self._closed = True
            ready, self._ready = self._ready, False
            self._changed.notify_all()
        if ready:
            self._pipeline.close()

    def _rebuild(self, old: Pipeline, hangs: bool, longest_s: float) -> None:
        use_all()  # the worker, which may have started this, keeps to half; the network's threads will come from here
        to_close = not hangs
        while self._pause(longest_s):
            if self.hung >= MAX_HUNG:
                self.why = f"{self.hung} images hang in engines: start the process anew"
                self._ros_log.fatal(self.why)
                continue
            started = perf_counter()
            try:
                if to_close:  # two of them may not fit
                    to_close = False
                    old.close()
                new = old.successor()
            except Exception as error:
                self.why = f"the engine cannot be loaded: {type(error).__name__}: {error}"
                self._ros_log.error(self.why)
                continue
            with self._changed:
                if not self._closed:
                    new.reconfigure(old.config)  # it may have changed meanwhile
                    self._pipeline, self._ready, self.why = new, True, ""
                    self._healthy_since_s = monotonic()
                    self.load_s = perf_counter() - started
                    self.rebuilds += 1
                    self._ros_log.warning(f"the engine is ready again after {self.load_s:.1f} s of loading")
                    return
            new.close()
            return

    def _pause(self, longest_s: float) -> bool:
        """Wait before the next attempt; returns whether there is to be one."""
        with self._changed:
            pause_s = self._backoff_s
            self._backoff_s = min(max(2 * self._backoff_s, FIRST_BACKOFF_S), longest_s)
            return not self._changed.wait_for(lambda: self._closed, pause_s)
