# SPDX-License-Identifier: Apache-2.0
"""How well hazard zones agree with the truth: tables by object and by distance, and a command that prints them.

python -m vl_anomaly_ros.evaluation.zones --kitti DIR
python -m vl_anomaly_ros.evaluation.zones --drive DIR
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.evaluation.drive import judge_drive
from vl_anomaly_ros.evaluation.judging import Judgement
from vl_anomaly_ros.evaluation.kitti import judge_kitti
from vl_anomaly_ros.types import DepthStatus

COLUMNS = (
    ("object", 14), ("region", 7), ("range m", 8), ("points", 7), ("status", 10), ("dist m", 8), ("whole m", 8),
    ("bear deg", 9), ("box deg", 8), ("recall", 7), ("foreign", 8),
)  # fmt: skip
FIGURES: tuple[tuple[str, Callable[[Judgement], float], bool], ...] = (
    ("dist m", lambda j: abs(j.distance_error_m), True),
    ("bear deg", lambda j: abs(j.bearing_error_deg), True),
    ("recall", lambda j: j.recall, False),
    ("foreign", lambda j: j.foreign, True),
)
"""Name, value, and whether the largest is the worst."""
EDGES_M = (0.0, 20.0, 40.0, 60.0)


def table(judgements: Sequence[Judgement]) -> str:
    """One line an object, as text; a star marks what misses the required bounds."""
    lines = ["".join(name.rjust(width) for name, width in COLUMNS)]
    for j in judgements:
        cells = [j.name, j.kind, f"{j.range_m:.1f}", str(j.object_points), j.status.name, f"{j.distance_error_m:+.2f}"]
        cells += [f"{j.whole_distance_error_m:+.2f}", f"{j.bearing_error_deg:+.2f}", f"{j.box_bearing_error_deg:+.2f}"]
        cells += [f"{j.recall:.2f}", f"{j.foreign:.2f}"]
        lines.append("".join(c.rjust(width) for c, (_, width) in zip(cells, COLUMNS)) + ("" if j.good else " *"))
    return "\n".join(lines)


def summary(judgements: Sequence[Judgement], edges_m: Sequence[float] = EDGES_M) -> str:
    """Median and worst by distance, as text. Missed are zones without depth; the figures are of the others."""
    header = ["range m", "objects", "missed", *(f"{name} {of}" for name, _, _ in FIGURES for of in ("median", "worst"))]
    lines = [[*header, "good"]]
    for low, high in itertools.pairwise(edges_m):
        chosen = [j for j in judgements if low <= j.range_m < high]
        placed = [j for j in chosen if j.status is not DepthStatus.UNKNOWN]
        line = [f"{low:.0f}-{high:.0f}", str(len(chosen)), str(len(chosen) - len(placed))]
        for _, value, largest in FIGURES:
            values = [value(j) for j in placed] or [float("nan")]
            line += [f"{np.median(values):.2f}", f"{max(values) if largest else min(values):.2f}"]
        lines.append([*line, str(sum(j.good for j in placed))])
    widths = [max(len(line[i]) for line in lines) + 2 for i in range(len(header) + 1)]
    return "\n".join("".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)


def report(judgements: Sequence[Judgement]) -> str:
    """Every object, then the summary of each kind of region, as text."""
    kinds = sorted({j.kind for j in judgements})
    parts = [f"{kind}\n{summary([j for j in judgements if j.kind == kind], (*EDGES_M, 80.0))}" for kind in kinds]
    return "\n\n".join([table(judgements), *parts])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of one data set; 0 done, 1 refused."""
    parser = argparse.ArgumentParser(prog="python -m vl_anomaly_ros.evaluation.zones", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--kitti", type=Path, metavar="DIR", help="the KITTI test pack")
    source.add_argument("--drive", type=Path, metavar="DIR", help="a simulated drive with true masks")
    options = parser.parse_args(arguments)
    try:
        judgements = judge_kitti(options.kitti) if options.kitti else judge_drive(options.drive)
    except VlAnomalyError as error:
        sys.stderr.write(f"ERROR: {error}\n")
        return 1
    sys.stdout.write(report(judgements) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
