# SPDX-License-Identifier: Apache-2.0
"""The one-slot mailbox."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")

from vl_anomaly_ros.node.mailbox import Mailbox


def test_the_newest_wins_and_the_replaced_are_told() -> None:
    box: Mailbox[int] = Mailbox()
    assert [box.put(i) for i in (1, 2, 3)] == [False, True, True]
    assert box.waiting
    assert box.take() == 3
    assert not box.waiting
    assert box.put(4) is False


def test_close_wakes_who_waits_and_drops_what_comes() -> None:
    box: Mailbox[int] = Mailbox()
    taken: list[int | None] = []
    thread = threading.Thread(target=lambda: taken.append(box.take()))
    thread.start()
    box.close()
    thread.join(10)
    assert taken == [None]
    assert box.put(1) is False
    assert box.take() is None


def test_nothing_is_lost_in_lock_step() -> None:
    box: Mailbox[int] = Mailbox()
    answers: Mailbox[int] = Mailbox()

    def work() -> None:
        while (item := box.take()) is not None:
            answers.put(item)

    thread = threading.Thread(target=work)
    thread.start()
    for i in range(200):
        assert box.put(i) is False
        assert answers.take() == i
    box.close()
    thread.join(10)
    assert not thread.is_alive()
