# SPDX-License-Identifier: Apache-2.0
"""Filters and synchronisers without DDS; holds for the standard package too."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: start the tests by ./run test")

from builtin_interfaces.msg import Time as TimeMessage
from message_filters import ApproximateTimeSynchronizer, Cache, SimpleFilter, TimeSynchronizer
from rclpy.time import Time
from std_msgs.msg import Header, String

MS = 1_000_000


class Stamped:
    """A message with a header, as far as filters look."""

    def __init__(self, stamp_ms: float) -> None:
        self.stamp_ms = stamp_ms
        seconds, nanoseconds = divmod(int(stamp_ms * MS), 1_000 * MS)
        self.header = Header(stamp=TimeMessage(sec=seconds, nanosec=nanoseconds))


def collected(filter_: Any) -> list[tuple[float, ...]]:
    """Return a list that fills with the stamps of every set that `filter_` signals."""
    sets: list[tuple[float, ...]] = []
    filter_.registerCallback(lambda *messages: sets.append(tuple(m.stamp_ms for m in messages)))
    return sets


def send(source: Any, *stamps_ms: float) -> None:
    for stamp_ms in stamps_ms:
        source.signalMessage(Stamped(stamp_ms))


def test_callbacks_get_the_message_and_their_own_arguments() -> None:
    source, heard = SimpleFilter(), []
    source.registerCallback(lambda *args: heard.append(args), "a", 2)
    source.registerCallback(lambda *args: heard.append(args))
    source.signalMessage("m")
    assert heard == [("m", "a", 2), ("m",)]


def test_equal_stamps_make_a_set_in_the_order_of_the_inputs() -> None:
    image, cloud = SimpleFilter(), SimpleFilter()
    sets = collected(TimeSynchronizer([image, cloud], 10))
    send(image, 10, 20)
    assert sets == []
    send(cloud, 20, 15)
    assert sets == [(20, 20)]
    send(cloud, 10)
    assert sets == [(20, 20), (10, 10)]


def test_a_full_queue_forgets_its_oldest() -> None:
    image, cloud = SimpleFilter(), SimpleFilter()
    sets = collected(TimeSynchronizer([image, cloud], 2))
    send(image, 1, 2, 3)
    send(cloud, 1, 3)
    assert sets == [(3, 3)]


def test_a_message_is_used_once() -> None:
    image, cloud = SimpleFilter(), SimpleFilter()
    sets = collected(ApproximateTimeSynchronizer([image, cloud], 10, 0.05))
    send(image, 100)
    send(cloud, 110, 105)
    assert sets == [(100, 110)]


@pytest.mark.parametrize(("delay_ms", "matches"), [(0, True), (49, True), (51, False), (-49, True), (-51, False)])
def test_slop_bounds_the_difference(delay_ms: float, matches: bool) -> None:
    image, cloud = SimpleFilter(), SimpleFilter()
    sets = collected(ApproximateTimeSynchronizer([image, cloud], 10, 0.05))
    send(cloud, 1000 + delay_ms)
    send(image, 1000)
    assert bool(sets) == matches


def test_the_nearest_candidate_is_taken() -> None:
    image, cloud = SimpleFilter(), SimpleFilter()
    sets = collected(ApproximateTimeSynchronizer([image, cloud], 10, 0.1))
    send(cloud, 940, 990, 1030)
    send(image, 1000)
    assert sets == [(1000, 990)]


def test_three_inputs_must_all_lie_within_the_slop() -> None:
    inputs = [SimpleFilter() for _ in range(3)]
    sets = collected(ApproximateTimeSynchronizer(inputs, 10, 0.05))
    send(inputs[0], 960)
    send(inputs[1], 1040)
    send(inputs[2], 1000)  # within the slop of each, but these two are 80 ms apart
    assert sets == []
    send(inputs[0], 1010)
    assert sets == [(1010, 1040, 1000)]


def test_messages_without_a_header_need_leave() -> None:
    image, text = SimpleFilter(), SimpleFilter()
    strict, free = [], []
    ApproximateTimeSynchronizer([image, text], 10, 5.0).registerCallback(lambda *m: strict.append(m))
    ApproximateTimeSynchronizer([image, text], 10, 5.0, allow_headerless=True).registerCallback(
        lambda *m: free.append(m)
    )
    text.signalMessage(String(data="one"))
    text.signalMessage(String(data="two"))
    assert strict == []
    other = SimpleFilter()
    both: list[Any] = []
    ApproximateTimeSynchronizer([text, other], 10, 5.0, allow_headerless=True).registerCallback(
        lambda *m: both.append([s.data for s in m])
    )
    text.signalMessage(String(data="a"))
    other.signalMessage(String(data="b"))
    assert both == [["a", "b"]]


def test_cache_answers_by_time() -> None:
    source = SimpleFilter()
    cache = Cache(source, cache_size=3)
    send(source, 1, 2, 3, 4)

    def at(stamp_ms: float) -> Any:
        return Time.from_msg(Stamped(stamp_ms).header.stamp)

    assert [m.stamp_ms for m in cache.getInterval(at(0), at(3))] == [2, 3]
    assert cache.getElemAfterTime(at(2.5)).stamp_ms == 3
    assert cache.getElemBeforeTime(at(2.5)).stamp_ms == 2
    assert cache.getElemBeforeTime(at(1.5)) is None
    assert cache.getOldestTime().nanoseconds == 2 * MS
    assert cache.getLastestTime().nanoseconds == 4 * MS
    assert cache.getLast().stamp_ms == 4
