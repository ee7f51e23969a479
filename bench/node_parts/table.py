# SPDX-License-Identifier: Apache-2.0
"""The figures as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.node_parts.segment import NODE

_HALT_S = 1.0


def header_line() -> str:
    """Heads of the columns of `line`."""
    return (
        f"{'':42}{'small answers':>16}{'last output':>16}{'answered / sent':>18}{'cameras':>9}{'CPU':>7}{'RSS':>7}\n"
        f"{'':42}{'median / p99 ms':>16}{'median / p99 ms':>16}{'':>18}{'max/min':>9}{'%':>7}{'MiB':>7}"
    )


def line(figures: dict[str, Any]) -> str:
    """One stretch."""
    if "failure" in figures and "small_answers" not in figures:
        return f"{figures['load']} - {figures['kind']}: {figures['failure']}"
    title = f"{figures['load']} - {figures['kind']}"
    memory = figures.get("memory", {}).get("rss_mib", "")
    made = (
        f"{title:42}{_pair(figures.get('small_answers')):>16}{_pair(figures.get('last_output')):>16}"
        f"{figures['images_answered']:>10} / {figures['images_sent']:<5}{figures.get('fairness_max_over_min') or '':>9}"
        f"{figures.get('cpu_percent', ''):>7}{memory:>7}"
    )
    if figures.get("dropped"):
        made += "\n    dropped: " + ", ".join(f"{count} {reason}" for reason, count in figures["dropped"].items())
    if figures["longest_halt_s"] > _HALT_S:
        made += f"\n    the machine halted for {figures['longest_halt_s']} s: measure again"
    if "failure" in figures:
        made += f"\n    ended early: {figures['failure']}"
    return made


def overhead_lines(overhead: dict[str, dict[str, float | None]]) -> list[str]:
    """What the node adds to the floors, where both were measured."""
    return [
        f"  {name.replace('_', ' '):34}{_pair(values):>16} ms"
        for name, values in overhead.items()
        if values["median_ms"] is not None
    ]


def age_lines(stretches: Sequence[dict[str, Any]], engine_ms: float) -> list[str]:
    """Age and memory of the node over time."""
    made = []
    for figures in stretches:
        if figures["kind"] != NODE or "age" not in figures:
            continue
        age, trend = figures["age"], figures["age_trend"]
        text = f"  age of the small answers: {_pair(age)} ms, at most {age['max_ms']} ms"
        floors = [s["age"]["median_ms"] for s in stretches if s["kind"] != NODE and "age" in s]
        if engine_ms and floors:
            periods = [(age[which] - min(floors)) / engine_ms for which in ("median_ms", "p99_ms", "max_ms")]
            text += "; above the floor in engine periods: {:.2f} / {:.2f}, at most {:.2f}".format(*periods)
        if trend:
            text += f"; trend {trend['slope_per_min']} +- {trend['standard_error']} ms a minute"
        made.append(text)
        growth = figures.get("memory", {}).get("rss_last_over_second_minute_percent")
        if growth is not None:
            made.append(f"  memory of the last minute above the second: {growth} %")
    return made


def _pair(values: dict[str, Any] | None) -> str:
    return f"{values['median_ms']} / {values['p99_ms']}" if values else ""
