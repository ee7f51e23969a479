# SPDX-License-Identifier: Apache-2.0
"""Vocabularies that come in requests: anybody on the network may send one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from vl_anomaly_ros.msg import KnownClass
from vl_anomaly_ros.srv import SetVocabulary

from vl_anomaly_ros.errors import VocabularyError
from vl_anomaly_ros.node.services import vocabulary_from


def known(*names: str, **more: Any) -> list[KnownClass]:
    return [KnownClass(name=name, **more) for name in names]


def test_a_plain_request() -> None:
    request = SetVocabulary.Request(
        known=[*known("road", group="ground", synonyms=["street"]), *known("sky")], ood_prompts=["animal"]
    )
    vocabulary = vocabulary_from(request)
    assert vocabulary.class_names == ("road", "sky", "animal")
    assert vocabulary.known[0].words == ("road", "street")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (SetVocabulary.Request(), "at least one"),
        (SetVocabulary.Request(known=known(*[f"c{i}" for i in range(257)])), "at most 256, got 257"),
        (SetVocabulary.Request(known=known("road"), candidates=["x"] * 1_000_000), "at most 4096, got 1000000"),
        (SetVocabulary.Request(known=known("road"), ood_prompts=["x"] * 1_000_000), "at most 256, got 1000000"),
        (SetVocabulary.Request(known=known("road", synonyms=["x"] * 1_000_000)), "at most 16, got 1000000"),
        (SetVocabulary.Request(known=known("road", group="a\nb")), "control characters"),
        (SetVocabulary.Request(known=known("\x1b[2J")), "control characters"),
        (SetVocabulary.Request(known=known("x" * 1_000_000)), "at most 64 characters, got 1000000"),
        (SetVocabulary.Request(known=known("road"), candidates=["<ctx0>"]), "plain text"),
        (SetVocabulary.Request(known=known("road"), ood_prompts=["{}"]), "plain text"),
        (SetVocabulary.Request(known=known("road", " ")), "without spaces"),
        (SetVocabulary.Request(known=known("road", "ROAD")), "twice"),
    ],
)
def test_what_is_refused_in_one_short_printable_line(request_: Any, said: str) -> None:
    with pytest.raises(VocabularyError, match=said) as caught:
        vocabulary_from(request_)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_million_classes_are_counted_and_not_looked_at() -> None:
    class Million:
        def __len__(self) -> int:
            return 1_000_000

        def __iter__(self) -> Iterator[Any]:
            raise AssertionError("looked at")

    class Request:
        known, ood_prompts, candidates = Million(), (), ()

    with pytest.raises(VocabularyError, match="at most 256, got 1000000"):
        vocabulary_from(Request())
