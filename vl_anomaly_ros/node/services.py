# SPDX-License-Identifier: Apache-2.0
"""The services of the node. Each reply says whether it worked, and why not."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool

from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.msg import KnownClass as KnownClassMessage
from vl_anomaly_ros.node.keeper import EngineKeeper
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.srv import GetVocabulary, SetVocabulary
from vl_anomaly_ros.text.vocabulary import MAX_KNOWN, KnownClass, Vocabulary, check_count

if TYPE_CHECKING:
    from vl_anomaly_ros.node.lifecycle import VlAnomalyNode

_NOT_CONFIGURED = "the node is not configured; configure it first"
_GIVEN_UP = "the engine failed meanwhile and is loaded anew: ask for the vocabulary once /diagnostics says ok"
ENCODING_LIMIT_S = 60.0
"""A text encoder that takes longer for a vocabulary hangs."""
_LOOK_EVERY_S = 0.05
_REBUILDING = "the engine is being loaded anew; the vocabulary stays as it is: try again when /diagnostics says ok"


class Services:
    """`~/set_vocabulary`, `~/get_vocabulary` and `~/enable`, in every state of the node."""

    def __init__(self, node: VlAnomalyNode) -> None:
        self._node = node
        # A group of its own: a callback that awaits keeps its group, and everything else in it, waiting.
        alone = MutuallyExclusiveCallbackGroup()
        node.create_service(SetVocabulary, "~/set_vocabulary", self._set_vocabulary, callback_group=alone)
        node.create_service(GetVocabulary, "~/get_vocabulary", self._get_vocabulary)
        node.create_service(SetBool, "~/enable", self._enable)

    async def _set_vocabulary(self, request: Any, response: Any) -> Any:
        """Encoding many words takes seconds: that is done in a thread, while images come in and are judged."""
        keeper = self._node.keeper
        if keeper is None or keeper.pipeline is None:
            response.success, response.message = False, _NOT_CONFIGURED if keeper is None else _REBUILDING
            return response
        pipeline = keeper.pipeline
        done = Future(executor=self._node.executor)
        threading.Thread(target=lambda: done.set_result(_replaced(keeper, pipeline, request)), daemon=True).start()
        response.message = await done
        response.success = not response.message
        response.revision = keeper.latest.vocabulary_revision
        return response

    def _get_vocabulary(self, request: Any, response: Any) -> Any:
        del request
        keeper = self._node.keeper
        if keeper is None:
            response.success, response.message = False, _NOT_CONFIGURED
            return response
        pipeline = keeper.latest
        vocabulary = pipeline.vocabulary
        response.known = [
            KnownClassMessage(name=k.name, group=k.group, synonyms=list(k.synonyms)) for k in vocabulary.known
        ]
        response.ood_prompts, response.candidates = list(vocabulary.ood_prompts), list(vocabulary.candidates)
        response.revision, response.success = pipeline.vocabulary_revision, True
        return response

    def _enable(self, request: Any, response: Any) -> Any:
        self._node.set_enabled(enabled=request.data)
        response.success = True
        response.message = "images are judged" if request.data else "images are dropped"
        if self._node.worker is None:
            response.message += " once the node is active"
        return response


def _replaced(keeper: EngineKeeper, pipeline: Pipeline, request: Any) -> str:
    """Replace the vocabulary; returns why not, or nothing. An engine that is given up meanwhile is not waited for."""
    outcome: list[str] = []
    encoding = threading.Thread(target=lambda: outcome.append(_encoded(pipeline, request)), daemon=True)
    encoding.start()
    end_s = monotonic() + ENCODING_LIMIT_S
    while encoding.is_alive() and keeper.pipeline is pipeline and monotonic() < end_s:
        encoding.join(_LOOK_EVERY_S)
    if outcome and keeper.pipeline is pipeline:
        return outcome[0]
    if keeper.pipeline is pipeline:
        reason = f"the text encoder has not answered for {ENCODING_LIMIT_S:g} s"
        keeper.give_up(pipeline, reason, hangs=True)
        return reason
    return _GIVEN_UP


def _encoded(pipeline: Pipeline, request: Any) -> str:
    """Replace the vocabulary; returns why it was refused, or nothing. The caller waits for an answer in any case."""
    try:
        pipeline.set_vocabulary(vocabulary_from(request))
    except VlAnomalyError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def vocabulary_from(request: Any) -> Vocabulary:
    """The vocabulary of a SetVocabulary request.

    Raises:
        VocabularyError: it cannot be used.
    """
    check_count("known classes", request.known, MAX_KNOWN)
    return Vocabulary(
        known=tuple(KnownClass(k.name, k.group, tuple(k.synonyms)) for k in request.known),
        ood_prompts=tuple(request.ood_prompts),
        candidates=tuple(request.candidates),
    )
