# SPDX-License-Identifier: Apache-2.0
"""The services of the node. Each reply says whether it worked, and why not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool

from vl_anomaly_ros.errors import VlAnomalyError
from vl_anomaly_ros.msg import KnownClass as KnownClassMessage
from vl_anomaly_ros.pipeline import Pipeline
from vl_anomaly_ros.srv import GetVocabulary, SetVocabulary
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary

if TYPE_CHECKING:
    from vl_anomaly_ros.node.lifecycle import VlAnomalyNode

_NOT_CONFIGURED = "the node is not configured; configure it first"


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
        pipeline = self._node.pipeline
        if pipeline is None:
            response.success, response.message = False, _NOT_CONFIGURED
            return response
        done = Future(executor=self._node.executor)
        threading.Thread(target=lambda: done.set_result(_replaced(pipeline, request)), daemon=True).start()
        response.message = await done
        response.success = not response.message
        response.revision = pipeline.vocabulary_revision
        return response

    def _get_vocabulary(self, request: Any, response: Any) -> Any:
        del request
        pipeline = self._node.pipeline
        if pipeline is None:
            response.success, response.message = False, _NOT_CONFIGURED
            return response
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


def _replaced(pipeline: Pipeline, request: Any) -> str:
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
    return Vocabulary(
        known=tuple(KnownClass(k.name, k.group, tuple(k.synonyms)) for k in request.known),
        ood_prompts=tuple(request.ood_prompts),
        candidates=tuple(request.candidates),
    )
