# SPDX-License-Identifier: Apache-2.0
"""Which cloud and which calibration belong to an image.

The node and the offline replay both decide by these rules. Nothing here depends on the order of arrival or on a clock:
only stamps count. A stamp of 0 or less says nothing: such a cloud belongs to no image, and no cloud to such an image.

The policies of `sync.policy`; each takes only clouds within `sync.slop_s` of the image:

- newest: of the clouds that are not younger than the image the newest; where all are younger, the oldest of them.
  The node takes what is at hand and does not wait.
- nearest: the nearest in time, of two equally near ones the earlier. The node waits for a cloud that is not older than
  the image: before that one is here, the nearest is not known.
- exact: one of the same stamp. The node waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

FUSION_OFF = "LiDAR fusion is switched off (fusion.enabled is false)"
"""The clause for `Frame.missing` where clouds are not wanted; none is decoded then."""


def cloud_for(stamp_ns: int, cloud_stamps_ns: Sequence[int], policy: str, slop_s: float) -> int | None:
    """Index of the cloud that belongs to an image, None where none does; of equal stamps the first in the sequence.

    Args:
        stamp_ns: of the image.
        cloud_stamps_ns: of the clouds, in any order.
        policy: "newest", "nearest" or "exact".
        slop_s: a cloud farther from the image is not taken.

    >>> [cloud_for(100, [50, 90, 105, 200], policy, 1.0) for policy in ("newest", "nearest", "exact")]
    [1, 2, None]
    >>> cloud_for(5_000_000_000, [1, 1_000_000_000], "newest", 0.5) is None
    True
    """
    slop_ns = 0 if policy == "exact" else slop_s * 1e9
    usable = [i for i, cloud in enumerate(cloud_stamps_ns) if cloud > 0 and abs(cloud - stamp_ns) <= slop_ns]
    if stamp_ns <= 0 or not usable:
        return None

    def distance(index: int) -> tuple[bool, int, int]:
        cloud = cloud_stamps_ns[index]
        younger = cloud > stamp_ns and policy == "newest"
        return younger, abs(cloud - stamp_ns), cloud

    return min(usable, key=distance)


def cloud_due(stamp_ns: int, cloud_stamps_ns: Sequence[int], policy: str) -> bool:
    """Whether the choice of the cloud waits for one that is still to come.

    >>> cloud_due(100, [90], "nearest"), cloud_due(100, [90, 110], "nearest"), cloud_due(100, [90], "newest")
    (True, False, False)
    """
    return policy != "newest" and stamp_ns > 0 and all(cloud < stamp_ns for cloud in cloud_stamps_ns)


def why_no_cloud(stamp_ns: int, cloud_stamps_ns: Sequence[int], policy: str, slop_s: float) -> str:
    """The clause for `Frame.missing` where `cloud_for` found none.

    >>> why_no_cloud(2_000_000_000, [1_000_000_000], "newest", 0.5)
    'the nearest point cloud is 1.000 s older than the image, more than 0.5 s'
    """
    if stamp_ns <= 0:
        return "the image is not stamped, so that no point cloud can belong to it; let the camera driver stamp it"
    stamps = [cloud for cloud in cloud_stamps_ns if cloud > 0]
    if not stamps:
        return "no point cloud was received"
    nearest = min(stamps, key=lambda cloud: abs(stamp_ns - cloud))
    side = "younger" if nearest > stamp_ns else "older"
    limit = "sync.policy asks for the same stamp" if policy == "exact" else f"more than {slop_s:g} s"
    return f"the nearest point cloud is {abs(stamp_ns - nearest) * 1e-9:.3f} s {side} than the image, {limit}"


def calibration_for(stamp_ns: int, info_stamps_ns: Sequence[int]) -> int | None:
    """Index of the CameraInfo of an image: the same stamp, else the newest before it, else the earliest of all.

    >>> calibration_for(20, [10, 20, 30]), calibration_for(25, [10, 20, 30]), calibration_for(5, [10, 20])
    (1, 1, 0)
    """
    if not info_stamps_ns:
        return None
    indices = range(len(info_stamps_ns))
    before = [i for i in indices if info_stamps_ns[i] <= stamp_ns]
    if before:
        return max(before, key=lambda i: (info_stamps_ns[i], i))
    return min(indices, key=lambda i: (info_stamps_ns[i], i))
