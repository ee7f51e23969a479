# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from unittest.mock import patch

import pytest

from vl_anomaly_ros.cores import keep_to_half, use_all

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be kept to cores here")


def cores_of_a_thread_kept_to(half: int) -> set[int]:
    with ThreadPoolExecutor(1, initializer=partial(keep_to_half, half)) as pool:
        return pool.submit(os.sched_getaffinity, 0).result()


def test_two_threads_share_the_cores_of_the_process_and_no_core_between_them() -> None:
    before = os.sched_getaffinity(0)
    first, second = cores_of_a_thread_kept_to(0), cores_of_a_thread_kept_to(1)
    assert first | second == before
    assert len(before) == 1 or not first & second
    assert os.sched_getaffinity(0) == before, "other threads go on as they were"


def test_a_thread_that_one_of_them_starts_can_have_all_cores() -> None:
    def started_in_half() -> set[int]:
        keep_to_half(0)
        with ThreadPoolExecutor(1, initializer=use_all) as pool:
            return pool.submit(os.sched_getaffinity, 0).result()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(started_in_half).result() == os.sched_getaffinity(0)


def test_on_one_core_nothing_changes() -> None:
    with patch.object(os, "sched_getaffinity", return_value={3}), patch.object(os, "sched_setaffinity") as kept:
        keep_to_half(1)
    kept.assert_not_called()


def test_where_it_is_forbidden_nothing_fails() -> None:
    with patch.object(os, "sched_setaffinity", side_effect=PermissionError):
        keep_to_half(0)
