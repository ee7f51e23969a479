# SPDX-License-Identifier: Apache-2.0
"""docs/hostile_input.md tells the words that are really said."""

from __future__ import annotations

import pytest
from hostile_cases import SECTIONS

from tools.write_hostile_words import PAGE, table


@pytest.mark.parametrize("name", list(SECTIONS))
def test_the_page_says_what_the_code_says(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert table(name) in page, "run python tools/write_hostile_words.py and read the difference"


def test_there_are_enough_cases_and_each_has_words() -> None:
    said = [words() for cases in SECTIONS.values() for words in cases.values()]
    assert len(said) >= 30
    assert all(len(words) >= 10 for words in said)
    assert not any("|" in words or "\n" in words for words in said)
