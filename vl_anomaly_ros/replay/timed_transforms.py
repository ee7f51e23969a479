# SPDX-License-Identifier: Apache-2.0
"""When in a recording the transforms at a stamp are known."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from vl_anomaly_ros.decoding.payload import stamp_ns
from vl_anomaly_ros.replay.bag import Bag

LOOK_AHEAD_NS = 5_000_000_000  # less than the node keeps transforms


@dataclass(frozen=True)
class TimedTransforms:
    """The timed transforms of a recording, in the order of recording."""

    log_ns: list[int]
    items: list[list[Any]]
    static: list[Any]

    @staticmethod
    def of(bag: Bag) -> TimedTransforms:
        """Those of a recording."""
        timed = [(log_ns, list(m.transforms)) for static, log_ns, _, m in bag.transforms() if not static]
        static = [item for is_static, _, _, m in bag.transforms() if is_static for item in m.transforms]
        timed.sort(key=lambda pair: pair[0])
        return TimedTransforms([log for log, _ in timed], [items for _, items in timed], static)

    def known_at(self, image_ns: int, from_ns: int, until_ns: int) -> int:
        """Time of recording by which every pair of frames has a transform at or after a stamp, where that comes."""
        needed, covered = from_ns, set()
        first = bisect_left(self.log_ns, from_ns - LOOK_AHEAD_NS)
        for log_ns, items in zip(self.log_ns[first:], self.items[first:]):
            if log_ns > until_ns:
                break
            for item in items:
                pair = (item.header.frame_id, item.child_frame_id)
                if pair not in covered and stamp_ns(item.header.stamp) >= image_ns:
                    covered.add(pair)
                    needed = max(needed, log_ns)
        return needed
