# SPDX-License-Identifier: Apache-2.0
"""When each point of a cloud was measured, by the field that the LiDAR's driver gives for it.

No standard says what such a field means. Drivers differ (read in their sources and documentation):

- `t`, uint32: nanoseconds after the stamp of the header (ouster-ros, `ouster_ros::Point`).
- `time`, float32: seconds after the stamp, mostly negative where the stamp is that of the last packet
  (ros-drivers/velodyne, `PointXYZIRT`).
- `timestamp`, float64: seconds of the clock (RoboSense rslidar_sdk, `PointXYZIRT`), or nanoseconds of the clock
  (Livox-SDK/livox_ros_driver2, src/lddc.cpp: the 64-bit time of the point as a double).
- `offset_time`, uint32: nanoseconds after the first point (Livox CustomMsg, where it is made into a cloud).
- `time_stamp`, uint32: nanoseconds after the stamp (tier4 nebula, `PointXYZIRCAEDT`).

So the name does not settle it; datatype and magnitude do. A reading counts where it puts every point within a second
of the header's stamp, and it has to be the only one that does.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

TIME_FIELDS = ("t", "time", "timestamp", "time_stamp", "offset_time", "t_offset")
"""In this order: the first that can be read is taken."""

TIME_TYPES = {5: "i4", 6: "u4", 7: "f4", 8: "f8", 9: "i8", 10: "u8"}
"""sensor_msgs/PointField datatypes; 9 and 10 are INT64 and UINT64 of newer distributions."""

MAX_OFFSET_NS = 1_000_000_000
"""A cloud takes 0.05 to 0.2 s. What lies farther from its stamp was misread, or another clock's."""

_S = 1_000_000_000
_LARGEST = 2**63 - 1  # a float64 may hold 1e300, an int64 not
# Of each dtype the readings that occur: nanoseconds a unit, and whether it is a time of the clock.
_READINGS: dict[str, tuple[tuple[int, bool], ...]] = {
    "i4": ((1, False),),
    "u4": ((1, False),),
    "f4": ((_S, False),),
    "f8": ((_S, False), (_S, True), (1, True)),
    "i8": ((1, False), (1, True)),
    "u8": ((1, False), (1, True)),
}


def offsets_ns(name: str, values: npt.NDArray[np.generic], stamp_ns: int) -> tuple[npt.NDArray[np.int64] | None, str]:
    """Time of each point minus the stamp of the cloud.

    Args:
        name: of the field, for the note.
        values: (N,) of a dtype in `TIME_TYPES`.
        stamp_ns: of the header.

    Returns:
        (N,) int64 nanoseconds and "", or None and a clause that says why the times are not used.

    >>> offsets_ns("t", np.array([0, 50_000_000], np.uint32), 7_000_000_000)[0].tolist()
    [0, 50000000]
    >>> offsets_ns("timestamp", np.array([7.0, 7.25]), 7_000_000_000)[0].tolist()
    [0, 250000000]
    >>> offsets_ns("time", np.array([0.0, 40.0], np.float32), 7_000_000_000)[1]
    'times of the points: expected field time within 1 s of the stamp 7.000 s, got 0 to 40 (float32)'
    """
    if len(values) == 0:
        return np.zeros(0, np.int64), ""
    low, high = values.min().item(), values.max().item()
    readings = _READINGS[values.dtype.str[1:]]
    fits = [r for r in readings if all(_within(v, *r, stamp_ns) for v in (low, high))]
    if len(fits) == 1:
        return _read(values, *fits[0], stamp_ns), ""
    got = f"got {low:g} to {high:g} ({values.dtype.name})"
    if fits:
        return None, (
            f"times of the points: expected field {name} to be either a time of the clock or one after the stamp, "
            f"{got}, which may be both at {stamp_ns * 1e-9:.3f} s"
        )
    return None, f"times of the points: expected field {name} within 1 s of the stamp {stamp_ns * 1e-9:.3f} s, {got}"


def _within(value: float, unit_ns: int, clock: bool, stamp_ns: int) -> bool:
    if not math.isfinite(value) or abs(value) > _LARGEST:
        return False
    since = int(value * unit_ns) if isinstance(value, float) else value * unit_ns
    return abs(since - (stamp_ns if clock else 0)) <= MAX_OFFSET_NS


def _read(values: npt.NDArray[np.generic], unit_ns: int, clock: bool, stamp_ns: int) -> npt.NDArray[np.int64]:
    if unit_ns == 1:
        return values.astype(np.int64) - (stamp_ns if clock else 0)
    whole_s, rest_ns = divmod(stamp_ns if clock else 0, _S)  # a float64 holds seconds of the clock to 0.2 us only
    return np.asarray(np.rint((values.astype(np.float64) - whole_s) * _S), np.int64) - rest_ns
