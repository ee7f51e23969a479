# SPDX-License-Identifier: Apache-2.0
"""The keeper loads engines anew, whatever loading and closing do, and knows when only a new process helps."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")

from vl_anomaly_ros.config import Config, with_values
from vl_anomaly_ros.cores import keep_to_half
from vl_anomaly_ros.node import keeper as module
from vl_anomaly_ros.node.keeper import EngineKeeper


class Pipeline:
    """Counts what is done with all of one family."""

    def __init__(self, config: Config, closed: list[Pipeline], *, fails_to_close: bool = False) -> None:
        self.config = config
        self.closed = closed
        self.fails_to_close = fails_to_close
        self.may_load = threading.Event()
        self.may_load.set()

    def successor(self) -> Pipeline:
        assert self.may_load.wait(20)
        return Pipeline(self.config, self.closed)

    def reconfigure(self, config: Config) -> None:
        self.config = config

    def close(self) -> None:
        self.closed.append(self)
        if self.fails_to_close:
            raise RuntimeError("the device is gone")


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, text: str, **_: Any) -> None:
        self.lines.append(text)

    fatal = warning = error


@contextmanager
def kept(**more: Any) -> Iterator[tuple[Any, Any, Log]]:
    """A keeper of a pipeline."""
    log: Any = Log()
    pipeline: Any = Pipeline(with_values(Config(), {"engine.max_backoff_s": 1.0}), [], **more)
    keeper = EngineKeeper(pipeline, log, 0.0)
    yield keeper, pipeline, log
    keeper.close()


def until(condition: Callable[[], Any]) -> None:
    end_s = monotonic() + 20
    while not condition():
        assert monotonic() < end_s
        sleep(0.01)


def test_an_engine_that_cannot_even_be_closed_is_replaced() -> None:
    with kept(fails_to_close=True) as (keeper, pipeline, _):
        keeper.give_up(pipeline, "NaN", hangs=False)
        until(lambda: keeper.pipeline)
        assert keeper.pipeline is not pipeline
        assert (keeper.rebuilds, pipeline.closed) == (1, [pipeline])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be kept to cores here")
def test_an_engine_that_the_worker_gives_up_is_loaded_with_all_cores() -> None:
    """The threads of its network begin where it is loaded."""
    cores: list[set[int]] = []

    class Loading(Pipeline):
        def successor(self) -> Pipeline:
            cores.append(os.sched_getaffinity(0))
            return super().successor()

    pipeline: Any = Loading(Config(), [])
    log: Any = Log()
    keeper = EngineKeeper(pipeline, log, 0.0)
    with ThreadPoolExecutor(1, initializer=keep_to_half, initargs=(0,)) as worker:
        worker.submit(keeper.give_up, pipeline, "NaN", hangs=False).result()
    until(lambda: keeper.pipeline)
    keeper.close()
    assert cores == [os.sched_getaffinity(0)]


def test_settings_that_change_while_it_is_loaded_are_kept() -> None:
    with kept() as (keeper, pipeline, _):
        pipeline.may_load.clear()
        keeper.give_up(pipeline, "NaN", hangs=False)
        changed = with_values(pipeline.config, {"regions.min_area_px": 7})
        keeper.reconfigure(changed)
        pipeline.may_load.set()
        until(lambda: keeper.pipeline)
        assert keeper.latest.config.regions.min_area_px == 7


def test_a_thread_that_comes_back_frees_its_engine_and_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HUNG", 1)
    with kept() as (keeper, pipeline, log):
        keeper.give_up(pipeline, "no answer", hangs=True)
        until(lambda: "start the process anew" in keeper.why)
        assert keeper.pipeline is None
        assert pipeline.closed == []
        assert any("start the process anew" in line for line in log.lines)
        keeper.returned(pipeline)
        until(lambda: keeper.pipeline)
        assert (keeper.hung, keeper.why, pipeline.closed) == (0, "", [pipeline])


def test_one_failure_is_not_answered_twice() -> None:
    with kept() as (keeper, pipeline, _):
        for _attempt in range(3):
            keeper.give_up(pipeline, "NaN", hangs=False)
        until(lambda: keeper.pipeline)
        assert keeper.rebuilds == 1
