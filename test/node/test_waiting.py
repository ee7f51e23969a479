# SPDX-License-Identifier: Apache-2.0
"""How long a frame waits, and for what not again. What would hang waits half a minute, and fails the test by that."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="the package's node needs ROS 2")

from vl_anomaly_ros.errors import GeometryError
from vl_anomaly_ros.node import patience as patience_module
from vl_anomaly_ros.node.misses import Miss, Misses, RecordingSource
from vl_anomaly_ros.node.patience import Patience
from vl_anomaly_ros.node.waiting import CLOUD, INFO, INFO_OF_IMAGE, Waiting
from vl_anomaly_ros.types import DoubleArray, Frame

S = 1_000_000_000
LONG_S = 0.9  # the longest wait that is not insisted on


class Tf:
    """Answers for stamps from `since_ns` to `until_ns`."""

    def __init__(self) -> None:
        self.since_ns, self.until_ns, self.frames = 0, -1, {"odom"}

    def lookup(self, target: str, source: str, stamp_ns: int) -> DoubleArray:
        if not self.since_ns <= stamp_ns <= self.until_ns:
            raise GeometryError(f"no transform {source} -> {target}")
        return np.eye(4)

    def has_frame(self, frame: str) -> bool:
        return frame in self.frames


def picture(stamp_ns: int) -> Frame:
    return Frame(stamp_ns, "camera", "optical", np.zeros((1, 1, 3), np.uint8), "base_link")


class Asker:
    """Makes frames that ask TF once and lack the things of `lacking`; counts the attempts."""

    def __init__(self, tf: Tf, asks: bool = True) -> None:
        self.lacking: set[str] = set()
        self.attempts = 0
        self.asks = asks
        self.stamp_ns = S
        self.waiting = Waiting(tf)

    def attempt(self, source: RecordingSource) -> tuple[Frame, set[str]]:
        self.attempts += 1
        if self.asks:
            with contextlib.suppress(GeometryError):
                source.lookup("base_link", "optical", self.stamp_ns)
        return picture(self.stamp_ns), set(self.lacking)

    def waits(self, wait_s: float, stamp_ns: int = S) -> bool:
        """Whether a frame that lacks something waited; it may wait for `wait_s`."""
        self.attempts, self.stamp_ns = 0, stamp_ns
        self.waiting.whole(self.attempt, monotonic(), wait_s)
        return self.attempts > 1


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience_module, "_PAUSE_S", 0.0)


def test_nothing_is_waited_for_where_all_is_at_hand() -> None:
    assert not Asker(Tf(), asks=False).waits(30.0)


def test_a_frame_that_is_past_its_limit_goes_at_once() -> None:
    asker = Asker(Tf())
    asker.waiting.whole(asker.attempt, monotonic() - 30.0, 30.0)
    assert asker.attempts == 1


@pytest.mark.parametrize("name", [CLOUD, INFO, INFO_OF_IMAGE, "frame odom"])
def test_what_one_wait_has_not_brought_is_not_waited_for_again(name: str) -> None:
    asker = Asker(Tf(), asks=False)
    asker.lacking = {name}
    assert asker.waits(0.25)
    assert not any(asker.waits(LONG_S) for _ in range(5))
    asker.lacking = set()
    assert not asker.waits(LONG_S)  # it was at hand
    asker.lacking = {name}
    assert asker.waits(0.25)


def test_a_sign_of_life_makes_it_worth_one_wait(no_pause: None) -> None:
    del no_pause
    asker = Asker(Tf(), asks=False)
    asker.lacking = {CLOUD}
    assert asker.waits(0.25)
    asker.waiting.alive(CLOUD)
    assert asker.waits(0.25)
    assert not asker.waits(LONG_S)


def test_signs_of_life_cost_one_wait_a_second_at_most() -> None:
    patience = Patience()
    patience.vain("cloud", 10.0)
    waits = 0
    for step in range(100):  # ten seconds of frames, a sign before each, every wait in vain
        now_s = 10.0 + step / 10
        patience.alive("cloud")
        if patience.worth("cloud", now_s):
            waits += 1
            patience.vain("cloud", now_s)
    assert waits == 9


def test_waiting_for_more_than_a_second_means_to_have_all() -> None:
    """So replay through the node waits for cloud and transforms each time, but not for a frame that TF lacks."""
    patience_of: dict[str, bool] = {}
    for name in (CLOUD, "transform lidar -> optical", "frame odom", INFO_OF_IMAGE):
        waiting = Waiting(Tf())
        waiting._patience.vain(name, 0.0)
        patience_of[name] = waiting._worth(name, 100.0, 1.5)
        assert not waiting._worth(name, 100.0, 1.0)
    assert list(patience_of.values()) == [True, True, False, False]


def test_a_wait_ends_with_the_transform() -> None:
    tf = Tf()
    asker = Asker(tf)
    thread = _started(lambda: asker.waiting.whole(asker.attempt, monotonic(), 30.0))
    tf.until_ns = S
    asker.waiting.wake()
    thread.join(20)
    assert not thread.is_alive()


def test_stop_ends_a_wait_and_teaches_nothing() -> None:
    asker = Asker(Tf())
    thread = _started(lambda: asker.waiting.whole(asker.attempt, monotonic(), 30.0))
    asker.waiting.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert asker.waiting._patience.worth("transform optical -> base_link", monotonic())


def test_a_transform_that_comes_later_than_the_next_image_is_noticed(no_pause: None) -> None:
    """Images every 33 ms, TF 50 ms late: the second image cannot know yet, the third one does."""
    del no_pause
    tf = Tf()
    asker = Asker(tf)
    assert asker.waits(0.25, S)
    assert not asker.waits(LONG_S, S + 33_000_000)
    tf.until_ns = S + 16_000_000
    assert asker.waits(0.25, S + 66_000_000)


def test_tf_that_begins_after_the_first_miss_is_noticed(no_pause: None) -> None:
    del no_pause
    tf = Tf()
    asker = Asker(tf)
    assert asker.waits(0.25, S)
    tf.since_ns, tf.until_ns = 3 * S, 3 * S - 1
    waited = []
    for step in range(60):
        stamp_ns = 3 * S + step * 33_000_000
        tf.until_ns = stamp_ns - 50_000_000  # always late
        waited.append(asker.waits(0.06, stamp_ns))
    assert any(waited)


def test_a_frame_that_tf_names_late_is_noticed() -> None:
    tf, misses = Tf(), Misses()
    source = RecordingSource(tf)
    assert not source.has_frame("map")
    assert source.has_frame("odom")
    misses.update(source.missed)
    assert misses.answered(tf) == []
    tf.frames.add("map")
    assert misses.answered(tf) == ["frame map"]
    assert misses.answered(tf) == []


def test_what_was_answered_since_is_no_miss() -> None:
    tf, misses = Tf(), Misses()
    miss = Miss("base_link", "optical", S)
    misses.update({miss.name: miss})
    misses.update({})
    tf.until_ns = 2 * S
    assert misses.answered(tf) == []


def _started(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread
