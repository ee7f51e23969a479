# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/hostile_input.md by making each case: `python tools/write_hostile_words.py`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "helpers")]

from hostile_cases import SECTIONS  # noqa: E402

PAGE = ROOT / "docs" / "hostile_input.md"
_TABLE = re.compile(r"<!-- (?P<name>[a-z ]+) -->\n.*?<!-- end -->\n", re.DOTALL)


def table(name: str) -> str:
    """The table of one section, between its marks."""
    rows = "".join(f"| {case} | {words()} |\n" for case, words in SECTIONS[name].items())
    return f"<!-- {name} -->\n| what comes | what is said |\n| --- | --- |\n{rows}<!-- end -->\n"


def filled(page: str) -> str:
    """The page with every table made anew."""
    return _TABLE.sub(lambda found: table(found["name"]), page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
