# SPDX-License-Identifier: Apache-2.0
"""A long change of the vocabulary does not stop the node from hearing anything else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: ./run makes an environment that has it")
pytest.importorskip("vl_anomaly_ros.msg", reason="the messages are not built: ./run builds them")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import SetBool
from vl_anomaly_ros.msg import KnownClass
from vl_anomaly_ros.srv import SetVocabulary

from vl_anomaly_ros.node.services import Services

pytestmark = pytest.mark.live


class SlowPipeline:
    """Encodes until it is told to stop."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.vocabulary_revision = 0
        self.error: Exception | None = None

    def set_vocabulary(self, vocabulary: Any) -> int:
        del vocabulary
        self.go_on.wait(30)
        if self.error is not None:
            raise self.error
        self.vocabulary_revision += 1
        return self.vocabulary_revision


class Bench:
    def __init__(self, context: Any) -> None:
        self.node: Any = Node("vl_anomaly", context=context)
        self.pipeline = SlowPipeline()
        self.node.keeper = SimpleNamespace(pipeline=self.pipeline, latest=self.pipeline)
        self.node.worker = None
        self.node.set_enabled = lambda **_: None
        self.services = Services(self.node)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)
        self.vocabulary = self.node.create_client(SetVocabulary, "~/set_vocabulary")
        self.enable = self.node.create_client(SetBool, "~/enable")
        self.until(lambda: self.vocabulary.service_is_ready() and self.enable.service_is_ready())

    def until(self, condition: Any) -> None:
        end_s = monotonic() + 30
        while not condition():
            assert monotonic() < end_s, "no answer"
            self.executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=99)
    made = Bench(context)
    yield made
    made.pipeline.go_on.set()
    made.executor.shutdown()
    made.node.destroy_node()
    rclpy.shutdown(context=context)


def test_another_service_answers_while_words_are_encoded(bench: Bench) -> None:
    words = bench.vocabulary.call_async(SetVocabulary.Request(known=[KnownClass(name="road")]))
    enabled = bench.enable.call_async(SetBool.Request(data=True))
    bench.until(enabled.done)
    assert not words.done()
    bench.pipeline.go_on.set()
    bench.until(words.done)
    assert (words.result().success, words.result().message, words.result().revision) == (True, "", 1)


def test_an_unexpected_error_is_answered_too(bench: Bench) -> None:
    bench.pipeline.error = MemoryError("too many words")
    bench.pipeline.go_on.set()
    words = bench.vocabulary.call_async(SetVocabulary.Request(known=[KnownClass(name="road")]))
    bench.until(words.done)
    assert not words.result().success
    assert words.result().message == "MemoryError: too many words"


def test_while_the_engine_is_loaded_anew_the_vocabulary_stays_and_the_reply_says_so(bench: Bench) -> None:
    bench.node.keeper.pipeline = None
    words = bench.vocabulary.call_async(SetVocabulary.Request(known=[KnownClass(name="road")]))
    bench.until(words.done)
    assert not words.result().success
    assert "loaded anew" in words.result().message
