# SPDX-License-Identifier: Apache-2.0
"""How far a network's time is from what a GPU's arithmetic and memory allow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from vl_anomaly_ros.engine.bundle import Bundle
from vl_anomaly_ros.engine.tensorrt.precision import whole_model

_SIDE = 4096  # of the square matrices whose product is timed
_BYTES = 1 << 28  # of the copy within the GPU's memory that is timed
_REPEATS = 20


@dataclass(frozen=True)
class Work:
    """What a graph has to do at least.

    Attributes:
        operations: of its convolutions and matrix products, a multiplication and an addition being two.
        bytes_moved: weights, inputs and outputs, each once, as float32. What lies in between may stay in caches.
    """

    operations: int
    bytes_moved: int


@dataclass(frozen=True)
class Limits:
    """What this GPU was seen to reach, by PyTorch.

    Attributes:
        operations_per_s: of a product of square matrices, by precision.
        bytes_per_s: read and written by a copy within its memory.
    """

    operations_per_s: dict[str, float]
    bytes_per_s: float


def work_of(bundle: Bundle) -> Work:
    """The work of a bundle's image graph, from the shapes of its tensors."""
    graph = whole_model(bundle, "visual.onnx", shapes=True).graph
    shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    shapes |= {weight.name: tuple(weight.dims) for weight in graph.initializer}
    operations = 0
    for node in graph.node:
        given, made = [shapes.get(name, ()) for name in node.input], shapes.get(node.output[0], ())
        if node.op_type == "Conv":
            operations += 2 * math.prod(made) * math.prod(given[1][1:])
        elif node.op_type == "ConvTranspose":
            operations += 2 * math.prod(given[0]) * math.prod(given[1][1:])
        elif node.op_type == "MatMul":
            operations += 2 * math.prod(made) * given[0][-1]
        elif node.op_type == "Gemm":
            turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            operations += 2 * math.prod(made) * given[0][0 if turned else 1]
    numbers = sum(math.prod(weight.dims) for weight in graph.initializer)
    ports = sum(math.prod(shapes[value.name]) for value in (*graph.input, *graph.output))
    return Work(operations, 4 * (numbers + ports))


def limits() -> Limits | str:
    """Measure them, or say why not."""
    try:
        import torch
    except ImportError as error:
        return f"no PyTorch: {error}"
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds no CUDA"
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        a, b = (torch.randn(_SIDE, _SIDE, device="cuda", dtype=dtype) for _ in range(2))
        rates[name] = 2 * _SIDE**3 / _fastest_s(lambda a=a, b=b: a @ b, torch.cuda.synchronize)  # type: ignore[misc]
    here, there = (torch.zeros(_BYTES, dtype=torch.uint8, device="cuda") for _ in range(2))
    return Limits(rates, 2 * _BYTES / _fastest_s(lambda: there.copy_(here), torch.cuda.synchronize))


def reached(work: Work, limit: Limits | str, precision: str, seconds: float) -> dict[str, Any]:
    """What a network that takes so long reaches, and its shares of the limits where these are known."""
    operations_per_s, bytes_per_s = work.operations / seconds, work.bytes_moved / seconds
    row: dict[str, Any] = {
        "gflop": round(work.operations * 1e-9, 3),
        "least_megabytes": round(work.bytes_moved * 1e-6, 2),
        "tflop_per_s": round(operations_per_s * 1e-12, 3),
        "least_gigabytes_per_s": round(bytes_per_s * 1e-9, 2),
    }
    if isinstance(limit, str):
        return {**row, "no_limits": limit}
    return {
        **row,
        "share_of_matrix_rate": round(operations_per_s / limit.operations_per_s[precision], 4),
        "least_share_of_bandwidth": round(bytes_per_s / limit.bytes_per_s, 4),
    }


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)


def _fastest_s(work: Callable[[], Any], wait: Callable[[], Any]) -> float:
    times = []
    for _ in range(_REPEATS):
        wait()
        began = perf_counter()
        work()
        wait()
        times.append(perf_counter() - began)
    return float(np.min(times))
