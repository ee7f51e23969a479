# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime, on the CPU or on a GPU through CUDA."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from vl_anomaly_ros.engine.backend import HeadOutput, HeadSettings, VisualOutput, closed
from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.contract import Ports, check_graph
from vl_anomaly_ros.engine.graph_file import data_file
from vl_anomaly_ros.errors import BundleError, EngineError
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import ByteArray, FloatArray

logger = logging.getLogger(__name__)

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
}
CUDA = "CUDAExecutionProvider"
_TEXT_BATCH = 256  # bounds the memory of a long dictionary


class OnnxRuntimeBackend:
    """The graphs as ONNX Runtime sessions. Same bits for the same input on one machine and thread count.

    Args:
        bundle: verified bundle.
        threads: CPU threads for an image, 0: one for each core that this process may use, shared out among `parallel`.
        cuda: on the GPU.
        parallel: so many threads will call it at once.

    Raises:
        BundleError: a graph cannot be loaded or does not have the agreed inputs and outputs.
        EngineError: this ONNX Runtime has no CUDA, or does not get it to run.
    """

    name = "onnxruntime-cpu"
    precision = "fp32"
    device = "cpu"

    def __init__(self, bundle: Bundle, threads: int = 0, *, cuda: bool = False, parallel: int = 1) -> None:
        threads = threads or max(_usable_cores() // parallel, 1)
        if cuda:
            self.name, self.device = "onnxruntime-cuda", "cuda"
            check_cuda()
        self._visual = _session(bundle, "visual.onnx", threads, cuda=cuda)
        self._head = _session(bundle, "head.onnx", threads, cuda=cuda)
        self._text = _session(bundle, "text.onnx", threads, cuda=cuda)
        logger.info("ONNX Runtime %s, %s, fp32, %d threads", ort.__version__, self.device, threads)

    def visual(self, image: ByteArray) -> VisualOutput:
        """Features of a (1, H, W, 3) uint8 RGB network input."""
        names = ["mask_logits", "class_logits", "mask_embeddings", "pixel_embeddings", "clip_features"]
        return VisualOutput(*run_session(self._visual, names, {"image": image}))

    def head(self, features: VisualOutput, bank: TextBank, settings: HeadSettings) -> HeadOutput:
        """Scores of features against a text bank."""
        inputs = {
            "mask_logits": features.mask_logits,
            "class_logits": features.class_logits,
            "mask_embeddings": features.mask_embeddings,
            "pixel_embeddings": features.pixel_embeddings,
            "clip_features": features.clip_features,
            "text_bank": bank.text_bank,
            "aligned_mask": bank.aligned_mask,
            "clip_mask": bank.clip_mask,
            "group_matrix": bank.group_matrix,
            "detector_matrix": bank.detector_matrix,
            **vars(settings),
        }
        return HeadOutput(*run_session(self._head, ["score", "sources", "class_map"], inputs))

    def check(self, bank: TextBank) -> None:
        """Any bank is taken."""

    def text(self, tokens: npt.NDArray[np.int64]) -> FloatArray:
        """(N, D) unit embeddings of (N, L) token ids."""
        batches = [tokens[start : start + _TEXT_BATCH] for start in range(0, len(tokens), _TEXT_BATCH)]
        return np.concatenate([run_session(self._text, ["embeddings"], {"tokens": batch})[0] for batch in batches])

    def close(self) -> None:
        """Free the sessions."""
        self._visual = self._head = self._text = None


def check_cuda() -> None:
    """Raise `EngineError` unless this ONNX Runtime was built for CUDA."""
    available = ort.get_available_providers()
    if CUDA not in available:
        raise EngineError(
            f"onnxruntime-cuda: expected ONNX Runtime with {CUDA}, got {', '.join(available)}; "
            "pip install onnxruntime-gpu in place of onnxruntime"
        )


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.use_deterministic_compute = True
    # Idle threads that spin double the CPU time of a frame, which conversions, LiDAR and others then lack.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def open_session(
    file: str, content: bytes, threads: int = 0, data: bytes = b"", *, cuda: bool = False, as_rounded: bool = False
) -> Any:
    """A session of ONNX Runtime.

    Args:
        file: name of the graph, for messages and for that of its data file.
        content: the graph, verified.
        threads: 0: one for each core that this process may use.
        data: what its data file holds. The runtime itself opens no file, so nobody can exchange what was verified.
        cuda: on the GPU.
        as_rounded: round to 8 bits where the graph says so and compute in float32, in place of the runtime's own 8-bit
            arithmetic.

    Raises:
        BundleError: the runtime cannot load it.
        EngineError: it was loaded on the CPU where the GPU was asked for, as this runtime does without a word.
    """
    options = _options(threads or _usable_cores())
    if as_rounded:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        if data:
            options.add_external_initializers_from_files_in_memory([data_file(file)], [data], [len(data)])
        session = ort.InferenceSession(content, options, providers=[*([CUDA] if cuda else []), "CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no base class
        raise BundleError(
            f"{file}: expected a graph that ONNX Runtime {ort.__version__} can load, got: {error}"
        ) from error
    if cuda and CUDA not in session.get_providers():
        raise EngineError(f"{file}: expected ONNX Runtime to use {CUDA}, it did not; check its version, CUDA and cuDNN")
    return session


def run_session(session: Any, outputs: list[str], inputs: dict[str, npt.NDArray[Any]]) -> list[Any]:
    """The named outputs of a session.

    Raises:
        EngineError: the runtime failed, or the session is None because it was closed.
    """
    if session is None:
        raise closed()
    try:
        values: list[Any] = session.run(outputs, inputs)
    except Exception as error:
        raise EngineError(f"ONNX Runtime failed: {error}") from error
    return values


def _session(bundle: Bundle, file: str, threads: int, *, cuda: bool) -> Any:
    weights = data_file(file)
    data = bundle.read(weights) if weights in bundle.hashes else b""
    session = open_session(file, bundle.read(file), threads, data, cuda=cuda)
    check_graph(file, _ports(session.get_inputs()), _ports(session.get_outputs()), bundle)
    return session


def _ports(nodes: Any) -> Ports:
    return {node.name: (_DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes}
