# SPDX-License-Identifier: Apache-2.0
"""What is used of the CUDA runtime, through `cuda-python`; its error codes become `EngineError`."""

from __future__ import annotations

import importlib
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.types import ByteArray

if TYPE_CHECKING:
    from typing_extensions import Self

_MODULE = "cuda.bindings.runtime"
_NON_BLOCKING = 1  # cudaStreamNonBlocking
FIX = "pip install cuda-python, and use a driver that fits it"


class Device:
    """The first GPU that this process may use, and one stream on it. Everything taken is given back by `close`.

    Raises:
        EngineError: there is none, or its driver does not fit.
    """

    def __init__(self) -> None:
        self._runtime = _import()
        self._pointers: list[int] = []
        self._pinned: list[int] = []
        self.stream: Any = 0
        if not self._call("cudaGetDeviceCount")[0]:
            raise EngineError("CUDA: expected a GPU, found none")
        attributes = self._runtime.cudaDeviceAttr
        major = self._attribute(attributes.cudaDevAttrComputeCapabilityMajor)
        minor = self._attribute(attributes.cudaDevAttrComputeCapabilityMinor)
        self.compute_capability = f"{major}.{minor}"
        name = self._call("cudaGetDeviceProperties", 0)[0].name
        self.name = name.decode(errors="replace").rstrip("\0") if isinstance(name, bytes) else str(name)
        self.stream = self._call("cudaStreamCreateWithFlags", _NON_BLOCKING)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the GPU."""
        pointer = int(self._call("cudaMalloc", max(size, 1))[0])
        self._pointers.append(pointer)
        return pointer

    def pinned(self, size: int) -> ByteArray:
        """(size,) uint8 in memory of the host that the GPU copies from and to by itself."""
        pointer = int(self._call("cudaHostAlloc", max(size, 1), 0)[0])
        self._pinned.append(pointer)
        return np.asarray(_Memory(pointer, max(size, 1)))

    def upload(self, to: int, source: ByteArray, size: int) -> None:
        """Begin to copy the first `size` bytes of a pinned array to the GPU."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", to, _address(source), size, kind, self.stream)

    def download(self, to: ByteArray, source: int, size: int) -> None:
        """Begin to copy `size` bytes from the GPU to a pinned array."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", _address(to), source, size, kind, self.stream)

    def wait(self) -> None:
        """Until everything that was begun is done."""
        self._call("cudaStreamSynchronize", self.stream)

    def close(self) -> None:
        """Give back memory and stream. A lost device cannot take them any more; that is no error then."""
        for name, pointers in (("cudaFree", self._pointers), ("cudaFreeHost", self._pinned)):
            while pointers:
                getattr(self._runtime, name)(pointers.pop())
        if self.stream:
            self._runtime.cudaStreamDestroy(self.stream)
            self.stream = 0

    def _attribute(self, which: Any) -> int:
        return int(self._call("cudaDeviceGetAttribute", which, 0)[0])

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """Results of a call of the runtime, without its error code.

        Raises:
            EngineError: the code is another than success.
        """
        code, *results = getattr(self._runtime, name)(*arguments)
        if int(code) != 0:
            word = getattr(code, "name", str(code))
            raise EngineError(f"CUDA: {name}: expected success, got {word} ({int(code)})")
        return tuple(results)


class _Memory:
    """Memory that was taken elsewhere, for NumPy to look at."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__array_interface__ = {"data": (pointer, False), "shape": (size,), "typestr": "|u1", "version": 3}


def _address(array: ByteArray) -> int:
    return int(array.__array_interface__["data"][0])


def _import() -> Any:
    try:
        return importlib.import_module(_MODULE)
    except Exception as error:  # the package looks for the driver's libraries as it is imported
        raise EngineError(f"CUDA: expected the Python module {_MODULE}, got: {error}; {FIX}") from error
