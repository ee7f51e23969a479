# SPDX-License-Identifier: Apache-2.0
"""Requests to the real node that nobody of good will would send: each is answered in words, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

from node_rig import NodeRig
from vl_anomaly_ros.msg import KnownClass
from vl_anomaly_ros.srv import GetVocabulary, SetVocabulary

pytestmark = pytest.mark.live
ROAD = [KnownClass(name="road")]


def test_hostile_vocabularies_are_refused_in_words_and_the_old_one_stays(start_node: Callable[..., NodeRig]) -> None:
    rig = start_node()
    assert rig.transition("configure"), rig.log.read_text()
    before = rig.call("get_vocabulary", GetVocabulary.Request())
    requests: dict[str, Any] = {
        "candidates: expected at most 4096, got 200000": {"known": ROAD, "candidates": ["x"] * 200_000},
        "known classes: expected at most 256, got 20000": {"known": ROAD * 20_000},
        "synonyms of known class 'road': expected at most 16, got 100000": {
            "known": [KnownClass(name="road", synonyms=["x"] * 100_000)]
        },
        "at most 64 characters, got 4000000": {"known": [KnownClass(name="x" * 4_000_000)]},
        "control characters": {"known": [KnownClass(name="road\x1b]0;owned\x07\n[ERROR] all is well")]},
        "without <, >": {"known": ROAD, "ood_prompts": ["<ctx0>"]},
        "at least one": {},
    }
    for said, fields in requests.items():
        reply = rig.call("set_vocabulary", SetVocabulary.Request(**fields))
        assert not reply.success
        assert said in reply.message
        assert reply.message.isprintable()
        assert len(reply.message) < 300
        assert reply.revision == before.revision
    assert rig.call("get_vocabulary", GetVocabulary.Request()) == before
    assert rig.transition("activate"), rig.log.read_text()
    assert "\x1b]0;" not in rig.log.read_text()
    assert rig.stop() == 0
