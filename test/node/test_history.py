# SPDX-License-Identifier: Apache-2.0
"""The last messages of a topic, with the Cache at hand and with stand-ins for those of other ROS releases."""

from __future__ import annotations

import threading
from bisect import insort_right
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

import message_filters
import rclpy
from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.time import Time as RclTime
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from vl_anomaly_ros.errors import DataError
from vl_anomaly_ros.node import history as history_module
from vl_anomaly_ros.node.history import History, Received

Make = Callable[..., History[int]]


class ByArrival:
    """As the Cache of Humble and Jazzy: appends, drops what came first, raises on negative stamps."""

    def __init__(self, f: Any, cache_size: int = 1, allow_headerless: bool = False) -> None:
        del allow_headerless
        self.size = cache_size
        self.held: list[tuple[int, int, Any]] = []
        f.registerCallback(self.add)

    def add(self, message: Any) -> None:
        self.store(RclTime.from_msg(message.header.stamp).nanoseconds, message)
        if len(self.held) > self.size:
            del self.held[0]

    def store(self, stamp_ns: int, message: Any) -> None:
        self.held.append((stamp_ns, len(self.held), message))

    def getInterval(self, from_stamp: Any, to_stamp: Any) -> list[Any]:  # noqa: N802
        return [m for s, _, m in self.held if from_stamp.nanoseconds <= s <= to_stamp.nanoseconds]


class ByStamp(ByArrival):
    """As later ones: sorted, drops the smallest stamp."""

    def store(self, stamp_ns: int, message: Any) -> None:
        insort_right(self.held, (stamp_ns, id(message), message), key=lambda item: item[0])


@pytest.fixture(params=[message_filters.Cache, ByArrival, ByStamp], ids=["at hand", "by arrival", "by stamp"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(history_module, "Cache", request.param)
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    node = LifecycleNode("bench", context=context)

    def begin(size: int = 4, decode: Any = lambda message: message.width, **options: Any) -> History[int]:
        heard: list[Any] = []
        on_message = options.pop("on_message", heard.append)
        return History(node, CameraInfo, "info", QoSProfile(depth=1), size, decode, "info", on_message, **options)

    yield begin
    node.destroy_node()
    rclpy.shutdown(context=context)


def message(stamp_s: float, width: int = 7) -> CameraInfo:
    sec = int(stamp_s // 1)
    return CameraInfo(header=Header(stamp=Time(sec=sec, nanosec=round((stamp_s - sec) * 1e9))), width=width)


def stamps_s(history: History[int]) -> list[float]:
    return sorted(received.stamp_ns / 1e9 for received in history.all())


def feed(history: History[int], *at_s: float) -> None:
    for stamp_s in at_s:
        history.take(message(stamp_s))


def test_the_newest_are_kept(make: Make) -> None:
    history = make()
    feed(history, 1, 2, 3, 4, 5, 6)
    assert stamps_s(history) == [3, 4, 5, 6]


def test_what_came_out_of_order_is_kept_and_counted(make: Make) -> None:
    history = make()
    feed(history, 1.0, 1.2, 1.1, 1.3)
    assert stamps_s(history) == [1.0, 1.1, 1.2, 1.3]
    assert history.counts() == {"info: stamp went back": 1}


def test_a_recording_that_starts_again_is_followed(make: Make) -> None:
    history = make()
    feed(history, 50, 51, 52, 53)
    feed(history, 10, 11, 12, 13)
    assert stamps_s(history) == [12, 13]
    assert history.counts() == {"info: stamp jumped": 2, "info: time started again": 1}


def test_one_stamp_far_ahead_costs_nothing_but_itself(make: Make) -> None:
    history = make()
    feed(history, 10, 11, 3610, 12, 13)
    assert set(stamps_s(history)) >= {12, 13}
    assert history.counts() == {"info: stamp jumped": 1}


def test_a_negative_stamp_neither_raises_nor_stays(make: Make) -> None:
    history = make()
    feed(history, 10, -5)
    assert stamps_s(history) == [10]
    assert history.counts() == {"info: negative stamp": 1}


def test_the_last_one_can_be_kept_through_a_restart(make: Make) -> None:
    history = make(size=1, keep_last=True)
    feed(history, 50, 51)
    history.clear()
    assert stamps_s(history) == [51]
    feed(history, 10)
    assert 10 in stamps_s(history)
    feed(history, 11)
    assert 11 in stamps_s(history)
    plain = make()
    feed(plain, 50)
    plain.clear()
    assert stamps_s(plain) == []


def test_the_callback_gets_what_was_stored(make: Make) -> None:
    seen: list[Received[int]] = []
    history = make(on_message=seen.append)
    feed(history, 5)
    assert [received.stamp_ns for received in seen] == [5_000_000_000]
    assert seen == history.all()


def test_a_message_is_decoded_once_by_the_first_that_needs_it(make: Make) -> None:
    decoded: list[int] = []
    started = threading.Event()

    def slowly(m: CameraInfo) -> int:
        decoded.append(m.width)
        started.wait(0.05)
        return int(m.width)

    history = make(decode=slowly)
    feed(history, 1)
    (received,) = history.all()
    values: list[Any] = []
    threads = [threading.Thread(target=lambda: values.append(received.value())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert values == [(7, "")] * 8
    assert decoded == [7]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DataError("no focal length"), "no focal length"),
        (ZeroDivisionError("oh"), "ZeroDivisionError: oh"),
    ],
)
def test_what_cannot_be_decoded_says_why_each_time(make: Make, error: Exception, words: str) -> None:
    def refuse(m: CameraInfo) -> int:
        del m
        raise error

    history = make(decode=refuse)
    feed(history, 1)
    (received,) = history.all()
    for _ in range(2):
        value, fault = received.value()
        assert value is None
        assert words in fault


def test_reading_while_another_thread_fills(make: Make) -> None:
    history = make(size=16)
    stop = threading.Event()

    def fill() -> None:
        step = 0
        while not stop.is_set():
            step += 1
            history.take(message(1 + step / 100))

    thread = threading.Thread(target=fill)
    thread.start()
    lengths = [0]
    while len(lengths) < 300 or lengths[-1] < 16:
        lengths.append(len(history.all()))
    stop.set()
    thread.join(20)
    assert max(lengths) == 16
