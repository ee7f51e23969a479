# SPDX-License-Identifier: Apache-2.0
"""Which cloud and which calibration belong to an image."""

from __future__ import annotations

import itertools

import pytest

from vl_anomaly_ros.matching import calibration_for, nearest_cloud, why_no_cloud

S = 1_000_000_000


@pytest.mark.parametrize(
    ("stamps", "expected", "remark"),
    [
        ([], None, "nothing received"),
        ([10 * S], 0, "the same stamp"),
        ([9_900_000_000, 10_200_000_000], 0, "the nearer one is before"),
        ([9_800_000_000, 10_100_000_000], 1, "the nearer one is after"),
        ([9_900_000_000, 10_100_000_000], 0, "a tie goes to the earlier"),
        ([10_100_000_000, 9_900_000_000], 1, "a tie goes to the earlier stamp, not to the first received"),
        ([9_500_000_000], 0, "exactly at the limit"),
        ([9_499_999_999], None, "one nanosecond past the limit"),
        ([0, 20 * S], None, "all too far"),
    ],
)
def test_nearest_cloud(stamps: list[int], expected: int | None, remark: str) -> None:
    assert nearest_cloud(10 * S, stamps, 0.5) == expected, remark


def test_the_order_of_arrival_does_not_matter() -> None:
    stamps = [9_700_000_000, 9_900_000_000, 10_100_000_000, 10_300_000_000]
    chosen = set()
    for order in itertools.permutations(stamps):
        index = nearest_cloud(10 * S, order, 0.5)
        assert index is not None
        chosen.add(order[index])
    assert chosen == {9_900_000_000}


def test_why_no_cloud_says_how_far() -> None:
    assert why_no_cloud(S, [], 0.5) == "no point cloud was received"
    assert "2.000 s" in why_no_cloud(10 * S, [0, 12 * S], 0.5)


@pytest.mark.parametrize(
    ("stamps", "expected", "remark"),
    [
        ([], None, "nothing received"),
        ([9, 10, 11], 1, "the same stamp"),
        ([8, 9, 11], 1, "the newest before"),
        ([11, 12], 0, "only later ones: the earliest"),
        ([10, 10], 1, "sent twice: the later message"),
    ],
)
def test_calibration_for(stamps: list[int], expected: int | None, remark: str) -> None:
    assert calibration_for(10, stamps) == expected, remark
