# SPDX-License-Identifier: Apache-2.0
"""Which cloud and which calibration belong to an image."""

from __future__ import annotations

import itertools

import pytest

from vl_anomaly_ros.matching import calibration_for, cloud_due, cloud_for, why_no_cloud

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
def test_nearest(stamps: list[int], expected: int | None, remark: str) -> None:
    assert cloud_for(10 * S, stamps, "nearest", 0.5) == expected, remark


@pytest.mark.parametrize(
    ("stamps", "expected", "remark"),
    [
        ([], None, "nothing received"),
        ([9_700_000_000, 9_900_000_000, 10_000_000_001], 1, "the newest that is not younger, though another is nearer"),
        ([10_300_000_000, 10_100_000_000], 1, "only younger ones: the oldest of them"),
        ([10_500_000_001], None, "a younger one past the limit"),
        ([9_400_000_000, 10_400_000_000], 1, "the older one is too old, so that the younger one is all there is"),
        ([10 * S, 10 * S], 0, "of equal stamps the first"),
        ([10 * S + 3600 * S], None, "a LiDAR whose clock is an hour ahead"),
    ],
)
def test_newest(stamps: list[int], expected: int | None, remark: str) -> None:
    assert cloud_for(10 * S, stamps, "newest", 0.5) == expected, remark


def test_exact() -> None:
    assert cloud_for(10 * S, [9 * S, 10 * S, 11 * S], "exact", 5.0) == 1
    assert cloud_for(10 * S, [10 * S - 1, 10 * S + 1], "exact", 5.0) is None


@pytest.mark.parametrize("policy", ["newest", "nearest", "exact"])
def test_what_is_not_stamped_belongs_to_nothing(policy: str) -> None:
    """Two stamps of 0 are equal, and still tell nothing."""
    for stamp in (0, -S):
        assert cloud_for(stamp, [stamp, S], policy, 5.0) is None
        assert cloud_for(10_000_000, [stamp], policy, 5.0) is None
        assert not cloud_due(stamp, [], policy)
    assert "the image is not stamped" in why_no_cloud(0, [0], policy, 5.0)
    assert why_no_cloud(S, [0], policy, 5.0) == "no point cloud was received"


@pytest.mark.parametrize("policy", ["newest", "nearest"])
def test_the_order_of_arrival_does_not_matter(policy: str) -> None:
    stamps = [9_700_000_000, 9_900_000_000, 10_100_000_000, 10_300_000_000]
    chosen = set()
    for order in itertools.permutations(stamps):
        index = cloud_for(10 * S, order, policy, 0.5)
        assert index is not None
        chosen.add(order[index])
    assert chosen == {9_900_000_000}


def test_which_policies_wait() -> None:
    for policy in ("nearest", "exact"):
        assert cloud_due(10 * S, [], policy)
        assert cloud_due(10 * S, [9 * S], policy)
        assert not cloud_due(10 * S, [9 * S, 10 * S], policy)
        assert not cloud_due(10 * S, [3600 * S], policy)
    assert not cloud_due(10 * S, [], "newest")


def test_why_no_cloud_says_how_far_and_on_which_side() -> None:
    assert "2.000 s younger than the image, more than 0.5 s" in why_no_cloud(10 * S, [S, 12 * S], "nearest", 0.5)
    assert "3600.000 s older" in why_no_cloud(3610 * S, [10 * S], "newest", 0.5)
    assert "sync.policy asks for the same stamp" in why_no_cloud(10 * S, [9 * S], "exact", 0.5)


@pytest.mark.parametrize(
    ("stamps", "expected", "remark"),
    [
        ([], None, "nothing received"),
        ([9, 10, 11], 1, "the same stamp"),
        ([8, 9, 11], 1, "the newest before"),
        ([11, 12], 0, "only later ones: the earliest"),
        ([10, 10], 1, "sent twice: the later message"),
        ([0], 0, "not stamped: a calibration holds at any time"),
    ],
)
def test_calibration_for(stamps: list[int], expected: int | None, remark: str) -> None:
    assert calibration_for(10, stamps) == expected, remark
