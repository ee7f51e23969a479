# SPDX-License-Identifier: Apache-2.0
"""A clock that started again is told from a stamp that is wrong."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="the package's node needs ROS 2")

from vl_anomaly_ros.node.stamps import StampWatch, Verdict

S = 1_000_000_000
ON, BACK, DOUBTFUL, RESTARTED = Verdict.ON, Verdict.BACK, Verdict.DOUBTFUL, Verdict.RESTARTED


@pytest.mark.parametrize(
    ("stamps_s", "verdicts"),
    [
        ([100, 100.1, 100.1, 103], [ON, ON, ON, ON]),
        ([100, 99.5, 100.1], [ON, BACK, ON]),
        ([100, 20, 20.1, 20.2, 20.3], [ON, DOUBTFUL, DOUBTFUL, RESTARTED, ON]),
        ([100, 20, 100.1, 20.1, 100.2, 20.2, 100.3], [ON, DOUBTFUL, ON, DOUBTFUL, ON, DOUBTFUL, ON]),
        ([100, 20, 60, 40, 100.1], [ON, DOUBTFUL, DOUBTFUL, DOUBTFUL, ON]),
        ([100, 3700, 100.1, 100.2, 100.3], [ON, DOUBTFUL, ON, ON, ON]),
        ([100, 3700, 3700.1, 3700.2], [ON, DOUBTFUL, ON, ON]),
        ([100, 20, 3700, 100.1], [ON, DOUBTFUL, DOUBTFUL, ON]),
        ([100, 130, 160, 190, 220], [ON, DOUBTFUL, ON, DOUBTFUL, ON]),
        ([3700, 100, 100.1, 100.2], [ON, DOUBTFUL, DOUBTFUL, RESTARTED]),
    ],
    ids=[
        "goes on", "out of order", "a recording again", "two sources at odds", "wild stamps", "one far ahead",
        "an hour forward", "one behind, one ahead", "a slow source", "an hour back",
    ],
)  # fmt: skip
def test_verdicts(stamps_s: list[float], verdicts: list[Verdict]) -> None:
    watch = StampWatch()
    assert [watch.see(int(stamp_s * S)) for stamp_s in stamps_s] == verdicts
