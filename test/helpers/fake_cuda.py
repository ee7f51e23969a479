# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802, N815  (names are those of the libraries)
"""A GPU that is none: memory of the host, whose addresses are said to be the GPU's, and copies that are done at once.

Calls and results have the signatures of cuda-python 13.4. It shows which bytes go where and in what order; it says
nothing about what a GPU computes or how fast.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np


class Code(enum.IntEnum):
    """Of `cudaError_t`."""

    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorInvalidPtx = 218
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureInvalidated = 901


RECORDING: dict[int, list[Callable[[], None]]] = {}
"""What a stream records now, if it does."""


class FakeRuntime:
    """`cuda.bindings.runtime`."""

    cudaDeviceAttr = SimpleNamespace(cudaDevAttrComputeCapabilityMajor=75, cudaDevAttrComputeCapabilityMinor=76)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, devices: int = 1, memory: int = 1 << 32) -> None:
        self.devices, self.memory = devices, memory
        self.held: dict[int, Any] = {}
        self.copied: list[tuple[int, int]] = []  # kind, bytes
        self.streams: set[int] = set()
        self.fails: dict[str, Code] = {}
        self.recorded = 0  # that nobody has given back
        self.made = 0
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launched: list[int] = []

    def _code(self, name: str) -> Code:
        return self.fails.get(name, Code.cudaSuccess)

    def cudaGetDeviceCount(self) -> tuple[Code, int]:
        return (Code.cudaSuccess if self.devices else Code.cudaErrorNoDevice), self.devices

    def cudaDeviceGetAttribute(self, which: int, device: int) -> tuple[Code, int]:
        assert device == 0
        return Code.cudaSuccess, {75: 8, 76: 9}[which]

    def cudaGetDeviceProperties(self, device: int) -> tuple[Code, Any]:
        assert device == 0
        return Code.cudaSuccess, SimpleNamespace(name=b"Fake GPU\0\0")

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Code, int]:
        assert flags == 1
        stream = next(number for number in range(77, 99) if number not in self.streams)
        self.streams.add(stream)
        return Code.cudaSuccess, stream

    def cudaStreamDestroy(self, stream: int) -> tuple[Code]:
        self.streams.remove(stream)
        return (Code.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Code]:
        assert stream in self.streams
        return (self._code("cudaStreamSynchronize"),)

    def cudaMalloc(self, size: int) -> tuple[Code, int]:
        if self.memory < size:
            return Code.cudaErrorMemoryAllocation, 0
        self.memory -= size
        return Code.cudaSuccess, self._take(size)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Code, int]:
        assert flags == 0
        return Code.cudaSuccess, self._take(size)

    def cudaFree(self, pointer: int) -> tuple[Code]:
        self.memory += len(self.held.pop(pointer))
        return (Code.cudaSuccess,)

    def cudaFreeHost(self, pointer: int) -> tuple[Code]:
        del self.held[pointer]
        return (Code.cudaSuccess,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Code]:
        assert stream in self.streams
        self.copied.append((kind, size))
        self._do(stream, lambda: ctypes.memmove(to, source, size))
        return (self._code("cudaMemcpyAsync"),)

    def cudaMemsetAsync(self, to: int, value: int, size: int, stream: int) -> tuple[Code]:
        assert stream in self.streams
        self._do(stream, lambda: ctypes.memset(to, value, size))
        return (Code.cudaSuccess,)

    def cudaMemGetInfo(self) -> tuple[Code, int, int]:
        return Code.cudaSuccess, self.memory, 1 << 32

    def cudaGetLastError(self) -> tuple[Code]:
        return (Code.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Code]:
        assert stream in self.streams
        assert mode == 1
        if (code := self._code("cudaStreamBeginCapture")) == Code.cudaSuccess:
            assert stream not in RECORDING
            RECORDING[stream] = []
        return (code,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Code, Any]:
        steps = RECORDING.pop(stream)
        if (code := self._code("cudaStreamEndCapture")) != Code.cudaSuccess:
            return code, None
        self.recorded += 1
        return code, steps

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Code, int]:
        assert flags == 0
        if (code := self._code("cudaGraphInstantiate")) != Code.cudaSuccess:
            return code, 0
        self.made += 1
        self.graphs[self.made] = graph
        return code, self.made

    def cudaGraphDestroy(self, graph: Any) -> tuple[Code]:
        assert graph is not None
        self.recorded -= 1
        return (Code.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Code]:
        del self.graphs[graph]
        return (Code.cudaSuccess,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Code]:
        assert stream in self.streams
        self.launched.append(graph)
        for step in self.graphs[graph]:
            step()
        return (self._code("cudaGraphLaunch"),)

    @staticmethod
    def _do(stream: int, step: Callable[[], Any]) -> None:
        if stream in RECORDING:
            RECORDING[stream].append(step)
        else:
            step()

    def _take(self, size: int) -> int:
        memory = np.zeros(size, np.uint8)
        pointer = int(memory.ctypes.data)
        self.held[pointer] = memory
        return pointer


class FakeDriver:
    """`cuda.bindings.driver`: does what the kernel `count_finite` says that it does."""

    def __init__(self) -> None:
        self.fails = Code.cudaSuccess
        self.modules = 0
        self.counts: Callable[[Any], bool] = lambda numbers: bool(np.isfinite(numbers).all())

    def cuModuleLoadData(self, image: bytes) -> tuple[Code, int]:
        assert image.endswith(b"}\n\0")
        if self.fails == Code.cudaSuccess:
            self.modules += 1
        return self.fails, 5

    def cuModuleGetFunction(self, module: int, name: bytes) -> tuple[Code, int]:
        assert (module, name) == (5, b"count_finite")
        return Code.cudaSuccess, 6

    def cuModuleUnload(self, module: int) -> tuple[Code]:
        assert module == 5
        self.modules -= 1
        return (Code.cudaSuccess,)

    def cuLaunchKernel(self, kernel: int, *arguments: int) -> tuple[Code]:
        assert kernel == 6
        blocks, rows, layers, threads, *rest, stream, places, extra = arguments
        assert (rows, layers, rest, extra) == (1, 1, [1, 1, 0], 0)
        assert stream not in RECORDING
        pointers = (ctypes.POINTER(ctypes.c_uint64) * 3).from_address(places)
        values, count, total = (pointer[0] for pointer in pointers)
        numbers = np.ctypeslib.as_array((ctypes.c_float * count).from_address(values))
        ctypes.c_uint32.from_address(total).value += blocks * threads // 32 - (not self.counts(numbers))
        return (Code.cudaSuccess,)
