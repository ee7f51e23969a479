# SPDX-License-Identifier: Apache-2.0
"""The mailboxes with one slot for each camera."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")

from vl_anomaly_ros.node.mailbox import Mailboxes


def taken_from(boxes: Mailboxes[int]) -> tuple[str, int] | None:
    """What is taken, and answered at once."""
    taken = boxes.take()
    if taken is not None:
        boxes.done(taken[0])
    return taken


def test_the_newest_wins_and_the_replaced_are_told() -> None:
    boxes: Mailboxes[int] = Mailboxes(["a"])
    assert [boxes.put("a", i) for i in (1, 2, 3)] == [False, True, True]
    assert boxes.waiting("a")
    assert taken_from(boxes) == ("a", 3)
    assert not boxes.waiting("a")
    assert boxes.put("a", 4) is False


def test_senders_do_not_replace_each_other() -> None:
    boxes: Mailboxes[int] = Mailboxes(["a", "b"])
    assert boxes.put("a", 1) is boxes.put("b", 2) is False
    assert [taken_from(boxes), taken_from(boxes)] == [("a", 1), ("b", 2)]


def test_under_overload_all_are_served_in_turn_whatever_their_rates() -> None:
    boxes: Mailboxes[int] = Mailboxes("abcd")
    served: Counter[str] = Counter()
    for i in range(400):
        for sender, rate in (("a", 4), ("b", 1), ("c", 2), ("d", 1)):
            for _ in range(rate):
                boxes.put(sender, i)
        taken = taken_from(boxes)
        assert taken is not None
        served[taken[0]] += 1
    assert set(served.values()) == {100}


def test_who_has_waited_longest_for_a_turn_is_next() -> None:
    boxes: Mailboxes[int] = Mailboxes("abc")
    for sender in "abc":
        boxes.put(sender, 1)
    assert [taken_from(boxes), taken_from(boxes)] == [("a", 1), ("b", 1)]
    boxes.put("a", 2)
    boxes.put("b", 2)
    assert [taken_from(boxes) for _ in range(3)] == [("c", 1), ("a", 2), ("b", 2)]


def test_close_wakes_who_waits_and_drops_what_comes() -> None:
    boxes: Mailboxes[int] = Mailboxes(["a"])
    taken: list[tuple[str, int] | None] = []
    thread = threading.Thread(target=lambda: taken.append(taken_from(boxes)))
    thread.start()
    boxes.close()
    thread.join(10)
    assert taken == [None]
    assert boxes.put("a", 1) is False
    assert taken_from(boxes) is None


def test_nothing_is_lost_in_lock_step() -> None:
    boxes: Mailboxes[int] = Mailboxes(["a"])
    answers: Mailboxes[int] = Mailboxes(["a"])

    def work() -> None:
        while (taken := taken_from(boxes)) is not None:
            answers.put(*taken)

    thread = threading.Thread(target=work)
    thread.start()
    for i in range(200):
        assert boxes.put("a", i) is False
        assert taken_from(answers) == ("a", i)
    boxes.close()
    thread.join(10)
    assert not thread.is_alive()


def test_a_newer_item_that_is_sooner_than_the_old_one_is_old_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("vl_anomaly_ros.node.mailbox.monotonic", lambda: now_s[0])
    boxes: Mailboxes[int] = Mailboxes(["a", "b"])
    taken: list[tuple[str, int] | None] = []

    def put(sender: str, item: int, at_s: float) -> None:
        now_s[0] = at_s
        boxes.put(sender, item)

    def take_at(at_s: float) -> threading.Thread:
        now_s[0] = at_s
        thread = threading.Thread(target=lambda: taken.append(taken_from(boxes)))
        thread.start()
        return thread

    put("a", 1, 0.00)
    put("a", 2, 0.08)
    take_at(0.11).join(10)  # 30 ms old, the next is 50 ms away: taken at once
    assert taken == [("a", 2)]
    put("a", 3, 0.16)
    waits = take_at(0.22)  # 60 ms old, the next is 20 ms away
    waits.join(0.005)
    put("a", 4, 0.24)
    waits.join(10)
    assert taken[1:] == [("a", 4)]
    put("a", 5, 0.32)
    put("b", 6, 0.33)
    take_at(0.38).join(10)  # somebody else waits too
    assert taken[2:] == [("b", 6)]


def test_a_sender_that_has_stopped_is_not_waited_for_long() -> None:
    boxes: Mailboxes[int] = Mailboxes(["a"])
    boxes.put("a", 1)
    threading.Event().wait(0.06)
    boxes.put("a", 2)
    threading.Event().wait(0.04)
    assert taken_from(boxes) == ("a", 2)


def test_a_sender_is_in_work_once_and_others_are_taken_meanwhile() -> None:
    boxes: Mailboxes[int] = Mailboxes("abc")
    for item, sender in enumerate("aabcc"):
        boxes.put(sender, item)
    assert boxes.take() == ("a", 1)
    assert boxes.put("a", 5) is False
    assert boxes.take() == ("b", 2)
    assert boxes.take() == ("c", 4)
    assert boxes.waiting("a")  # until it is answered
    taken: list[tuple[str, int] | None] = []
    thread = threading.Thread(target=lambda: taken.append(boxes.take()))
    thread.start()
    boxes.done("b")
    thread.join(0.05)
    assert not taken
    assert boxes.put("a", 6) is True
    boxes.done("a")
    thread.join(10)
    assert taken == [("a", 6)]


def test_several_threads_take_everything_once_and_in_order() -> None:
    boxes: Mailboxes[int] = Mailboxes("abc")
    answers: dict[str, list[int]] = {sender: [] for sender in "abc"}
    at_work: Counter[str] = Counter()
    answered = threading.Semaphore(0)

    def work() -> None:
        while (taken := boxes.take()) is not None:
            sender, item = taken
            at_work[sender] += 1
            assert at_work[sender] == 1
            answers[sender].append(item)
            at_work[sender] -= 1
            boxes.done(sender)
            answered.release()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    kept = 0
    for item in range(300):
        kept += sum(not boxes.put(sender, item) for sender in "abc")
    for _ in range(kept):  # what replaced another is answered in its place
        assert answered.acquire(timeout=10)
    boxes.close()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert all(each == sorted(set(each)) and each[-1] == 299 for each in answers.values())
