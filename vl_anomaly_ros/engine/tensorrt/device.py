# SPDX-License-Identifier: Apache-2.0
"""What is used of the CUDA runtime and driver, through `cuda-python`; their error codes become `EngineError`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.types import ByteArray

if TYPE_CHECKING:
    from typing_extensions import Self

_MODULE = "cuda.bindings.runtime"
_DRIVER = "cuda.bindings.driver"  # for kernels of our own, which the runtime takes only from CUDA 13 on
_NON_BLOCKING = 1  # cudaStreamNonBlocking
FIX = "pip install cuda-python, and use a driver that fits it"


class Device:
    """The first GPU that this process may use, and one stream on it. Everything taken is given back by `close`.

    Raises:
        EngineError: there is none, or its driver does not fit.
    """

    def __init__(self) -> None:
        self._runtime = _import(_MODULE)
        self._pointers: list[int] = []
        self._pinned: list[int] = []
        self._graphs: list[Any] = []
        self._modules: list[Any] = []
        self._driver: Any = None
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

    def fill(self, to: int, byte: int, size: int) -> None:
        """Begin to set `size` bytes on the GPU to a value."""
        self._call("cudaMemsetAsync", to, byte, size, self.stream)

    def wait(self) -> None:
        """Until everything that was begun is done."""
        self._call("cudaStreamSynchronize", self.stream)

    def memory(self) -> tuple[int, int]:
        """Bytes of the GPU that are free, and all of them."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def capture(self, begin: Callable[[], None]) -> Any:
        """What `begin` begins, recorded in place of done, to be launched as a whole.

        Calls of other threads are not in its way.

        Raises:
            EngineError: `begin` raised it, or does what cannot be recorded, such as taking memory.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        try:
            begin()
        except BaseException:
            with suppress(EngineError):  # the stream leaves its state of recording all the same
                self._drop(self._call("cudaStreamEndCapture", self.stream)[0])
            raise
        recorded = self._call("cudaStreamEndCapture", self.stream)[0]
        try:
            graph = self._call("cudaGraphInstantiate", recorded, 0)[0]
        finally:
            self._drop(recorded)
        self._graphs.append(graph)
        return graph

    def launch(self, graph: Any) -> None:
        """Begin what was recorded."""
        self._call("cudaGraphLaunch", graph, self.stream)

    def release(self, graph: Any) -> None:
        """Give back what was recorded."""
        self._graphs.remove(graph)
        self._runtime.cudaGraphExecDestroy(graph)

    def forget_error(self) -> None:
        """Clear the error that was seen last: a library that asks for it would take it for its own."""
        self._runtime.cudaGetLastError()

    def load(self, assembly: str, name: str) -> Any:
        """A kernel of our own, from the driver's assembly (PTX).

        Raises:
            EngineError: the driver is not there or refuses it.
        """
        self._driver = self._driver or _import(_DRIVER)
        module = _called(self._driver, "cuModuleLoadData", assembly.encode() + b"\0")[0]
        self._modules.append(module)
        return _called(self._driver, "cuModuleGetFunction", module, name.encode())[0]

    def start(self, kernel: Any, blocks: int, threads: int, *arguments: int) -> None:
        """Begin a kernel of our own. Its arguments are numbers of 64 bits."""
        values = np.array(arguments, np.uint64)
        places = np.array([_address(values) + 8 * i for i in range(len(values))], np.uint64)  # read during the call
        shape = (blocks, 1, 1, threads, 1, 1, 0)
        _called(self._driver, "cuLaunchKernel", kernel, *shape, int(self.stream), _address(places), 0)

    def close(self) -> None:
        """Give back everything. A lost device cannot take it any more; that is no error then."""
        while self._graphs:
            self.release(self._graphs[-1])
        while self._modules:
            self._driver.cuModuleUnload(self._modules.pop())
        for name, pointers in (("cudaFree", self._pointers), ("cudaFreeHost", self._pinned)):
            while pointers:
                getattr(self._runtime, name)(pointers.pop())
        if self.stream:
            self._runtime.cudaStreamDestroy(self.stream)
            self.stream = 0

    def _attribute(self, which: Any) -> int:
        return int(self._call("cudaDeviceGetAttribute", which, 0)[0])

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        return _called(self._runtime, name, *arguments)

    def _drop(self, recorded: Any) -> None:
        self._runtime.cudaGraphDestroy(recorded)


def _called(module: Any, name: str, *arguments: Any) -> tuple[Any, ...]:
    """Results of a call of the runtime or the driver, without its error code.

    Raises:
        EngineError: the code is another than success.
    """
    code, *results = getattr(module, name)(*arguments)
    if int(code) != 0:
        word = getattr(code, "name", str(code))
        raise EngineError(f"CUDA: {name}: expected success, got {word} ({int(code)})")
    return tuple(results)


class _Memory:
    """Memory that was taken elsewhere, for NumPy to look at."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__array_interface__ = {"data": (pointer, False), "shape": (size,), "typestr": "|u1", "version": 3}


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:  # the package looks for the driver's libraries as it is imported
        raise EngineError(f"CUDA: expected the Python module {module}, got: {error}; {FIX}") from error
