# SPDX-License-Identifier: Apache-2.0
"""The calibration report: a reliability diagram (SVG), the figures (JSON) and the comparison (Markdown)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vl_anomaly_ros.evaluation.calibration_compare import SetResult, table

_SIZE, _LEFT, _TOP = 320, 56, 40
_BARS = 60


def write_report(folder: Path, found: Mapping[str, Any], results: Sequence[SetResult]) -> None:
    """Write `reliability.svg`, one diagram more for each set compared, `calibration.json` and `comparison.md`.

    Args:
        folder: made where it is absent.
        found: what `calibrate` returned.
        results: of the sets compared; without any there is no `comparison.md`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = found["report"]["reliability"]
    (folder / "reliability.svg").write_text(reliability_svg(own, "held-out calibration images"), encoding="utf-8")
    for result in results:
        diagram = reliability_svg(result.reliability, result.name)
        (folder / f"reliability_{result.name}.svg").write_text(diagram, encoding="utf-8")
    values = {"calibration": dict(found), "compared": [result.to_mapping() for result in results]}
    (folder / "calibration.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    if results:
        (folder / "comparison.md").write_text(table(results) + "\n", encoding="utf-8")


def reliability_svg(block: Mapping[str, Any], title: str) -> str:
    """A reliability diagram: share of anomalies over probability given, and below it how many pixels are in each bin.

    Args:
        block: `bins` with `probability`, `observed` and `pixels`, `ece` and `ece_above`.
        title: of the diagram.
    """
    width, height = _LEFT + _SIZE + 24, _TOP + _SIZE + _BARS + 84
    bottom, bars_bottom = _TOP + _SIZE, _TOP + _SIZE + _BARS + 36

    def x(value: float) -> float:
        return _LEFT + value * _SIZE

    def y(value: float) -> float:
        return bottom - value * _SIZE

    def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'

    def text(at_x: float, at_y: float, words: str, anchor: str = "middle") -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'

    bins = block["bins"]
    most = max(one["pixels"] for one in bins)
    error = f"ECE {block['ece']:.4f}"
    if block["ece_above"] is not None:
        error += f"; above {block['above']:.2f}: {block['ece_above']:.3f}"
    box = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        text(x(0.5), 18, title),
        text(x(0.5), 33, error),
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIZE}" height="{_SIZE}" fill="none" stroke="black"/>',
        line(x(0), y(0), x(1), y(1), 'stroke="grey" stroke-dasharray="4 4"'),
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [text(x(tick), bottom + 15, f"{tick:g}"), text(_LEFT - 6, y(tick) + 4, f"{tick:g}", "end")]
    points = " ".join(f"{x(one['probability']):.1f},{y(one['observed']):.1f}" for one in bins)
    parts.append(f'<polyline points="{points}" fill="none" stroke="#1f5fa8" stroke-width="2"/>')
    for one in bins:
        parts.append(f'<circle cx="{x(one["probability"]):.1f}" cy="{y(one["observed"]):.1f}" r="3.5" fill="#1f5fa8"/>')
        tall = _BARS * _log_share(one["pixels"], most)
        parts.append(
            f'<rect x="{x(one["probability"]) - 6:.1f}" y="{bars_bottom - tall:.1f}" width="12" '
            f'height="{tall:.1f}" fill="#9db8d6"/>'
        )
    parts += [
        line(_LEFT, bars_bottom, _LEFT + _SIZE, bars_bottom, 'stroke="black"'),
        text(x(0.5), bars_bottom + 18, f"anomaly probability; bars: pixels (log), at most {most}"),
        f'<text transform="translate(14 {y(0.5):.1f}) rotate(-90)" text-anchor="middle">share of anomalies</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _log_share(count: int, most: int) -> float:
    """0 for no pixel, 1 for `most`."""
    return count.bit_length() / most.bit_length()
