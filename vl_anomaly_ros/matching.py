# SPDX-License-Identifier: Apache-2.0
"""Which cloud and which calibration belong to an image.

The node and the offline replay both decide by these rules, so that the same messages give the same frames. Nothing here
depends on the order of arrival or on a clock: only stamps count.
"""

from __future__ import annotations

from collections.abc import Sequence


def nearest_cloud(stamp_ns: int, cloud_stamps_ns: Sequence[int], max_offset_s: float) -> int | None:
    """Index of the cloud nearest in time to an image, None where none lies within `max_offset_s`.

    Of two equally near clouds the earlier one is taken; of two with the same stamp the first in the sequence.

    >>> nearest_cloud(100, [0, 90, 110, 200], 1.0)
    1
    >>> nearest_cloud(5_000_000_000, [0, 1_000_000_000], 0.5) is None
    True
    """
    if not cloud_stamps_ns:
        return None
    best = min(range(len(cloud_stamps_ns)), key=lambda i: (abs(cloud_stamps_ns[i] - stamp_ns), cloud_stamps_ns[i]))
    return best if abs(cloud_stamps_ns[best] - stamp_ns) <= max_offset_s * 1e9 else None


def why_no_cloud(stamp_ns: int, cloud_stamps_ns: Sequence[int], max_offset_s: float) -> str:
    """The clause for `Frame.missing` where `nearest_cloud` found none.

    >>> why_no_cloud(2_000_000_000, [1_000_000_000], 0.5)
    'the nearest point cloud is 1.000 s away from the image, more than 0.5 s'
    """
    if not cloud_stamps_ns:
        return "no point cloud was received"
    offset_s = min(abs(stamp_ns - s) for s in cloud_stamps_ns) * 1e-9
    return f"the nearest point cloud is {offset_s:.3f} s away from the image, more than {max_offset_s:g} s"


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
