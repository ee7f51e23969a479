# SPDX-License-Identifier: Apache-2.0
"""One engine on the GPU: its buffers, taken once, and how it is run."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vl_anomaly_ros.engine.tensorrt.device import Device
from vl_anomaly_ros.engine.tensorrt.library import Library
from vl_anomaly_ros.errors import EngineError
from vl_anomaly_ros.types import ByteArray

Array = npt.NDArray[Any]
_NAN = 0xFF  # each byte of a float32 that is NaN, and of an int32 that is -1

logger = logging.getLogger(__name__)


@dataclass
class Buffer:
    """A tensor's place on the GPU and on the host.

    Attributes:
        pointer: on the GPU.
        pinned: (bytes,) of the host.
        dtype: of its numbers.
        most: largest shape.
        shape: present one.
    """

    pointer: int
    pinned: ByteArray
    dtype: np.dtype[Any]
    most: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes at the present shape."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Loaded:
    """An engine on the GPU, for several networks: its weights are there once.

    Attributes:
        runtime: must live as long as the engine.
        engine: of the library.
    """

    runtime: Any
    engine: Any

    @staticmethod
    def of(library: Library, plan: bytes, device: Device, name: str) -> Loaded:
        """Load an engine.

        Args:
            library: that it was built with.
            plan: what the cache has given out.
            device: where it runs.
            name: for messages.

        Raises:
            EngineError: the engine is of another version or device, or the memory does not suffice.
        """
        trt = library.module
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise _refused(library, device, name)
        return Loaded(runtime, engine)


class Network:
    """An engine's execution context, with memory for its largest shapes. One thread at a time.

    Args:
        library: that the engine was built with.
        loaded: the engine.
        device: where it runs, with the stream on which it does.
        name: for messages.
        placed: inputs that lie on the GPU already, as outputs of another network: their buffers.
        graph: whether runs that follow each other with the same shapes are worth a CUDA graph: the second one is
            recorded, later ones launch the whole at once, and another shape throws it away.

    Raises:
        EngineError: the memory does not suffice.
    """

    def __init__(
        self,
        library: Library,
        loaded: Loaded,
        device: Device,
        name: str,
        placed: Mapping[str, Buffer] | None = None,
        *,
        graph: bool = False,
    ) -> None:
        trt = library.module
        self._device, self._name, self._placed = device, name, frozenset(placed or ())
        self._wants_graph, self._steady, self._graph = graph, False, None
        self._loaded, self._engine = loaded, loaded.engine
        context = self._engine.create_execution_context()
        if context is None:
            raise _refused(library, device, name)
        self._context: Any = context
        self.inputs: dict[str, Buffer] = {}
        self.outputs: dict[str, Buffer] = {}
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        for tensor in names:
            if self._engine.get_tensor_mode(tensor) == trt.TensorIOMode.INPUT:
                most = tuple(self._engine.get_tensor_shape(tensor))
                if -1 in most:
                    most = tuple(self._engine.get_tensor_profile_shape(tensor, 0)[2])
                given = (placed or {}).get(tensor)
                self.inputs[tensor] = given or self._buffer(trt, tensor, most)
                if given is not None and given.most != most:
                    raise EngineError(f"{name}: {tensor}: expected {given.most} as it lies on the GPU, got {most}")
                self._reshape(tensor, most)
        for tensor in names:
            if tensor not in self.inputs:
                most = tuple(self._context.get_tensor_shape(tensor))  # at the largest inputs
                self.outputs[tensor] = self._buffer(trt, tensor, most)
        for tensor, buffer in {**self.inputs, **self.outputs}.items():
            self._context.set_tensor_address(tensor, buffer.pointer)

    def check(self, tensor: str, value: Array) -> Buffer:
        """The place of an input.

        Raises:
            EngineError: its type, its number of dimensions or its size does not fit the engine.
        """
        buffer = self.inputs[tensor]
        fits = value.ndim == len(buffer.most) and all(n <= most for n, most in zip(value.shape, buffer.most))
        if value.dtype != buffer.dtype or not fits:
            raise EngineError(
                f"{self._name}: {tensor}: expected {buffer.dtype} of at most {buffer.most}, got {value.dtype} "
                f"{value.shape}; a larger vocabulary needs an engine that is built for it (--max-vocabulary)"
            )
        return buffer

    def put(self, tensor: str, value: Array) -> None:
        """Begin to copy an input to the GPU.

        Raises:
            EngineError: as `check`.
        """
        buffer = self.check(tensor, value)
        if buffer.shape != value.shape:
            self._reshape(tensor, value.shape)
        place: Array = buffer.pinned[: buffer.size].view(buffer.dtype).reshape(value.shape)
        place[...] = value
        self._device.upload(buffer.pointer, buffer.pinned, buffer.size)

    def run(self) -> None:
        """Begin a run on what was put.

        Raises:
            EngineError: the library refuses it.
        """
        if self._graph is not None:
            self._device.launch(self._graph)
            return
        self._execute()
        if self._wants_graph and self._steady:
            self._record()
        self._steady = True

    def get(self, *tensors: str) -> dict[str, Array]:
        """Outputs by name, or all of them, when the run is over; the next run does not change these arrays.

        Raises:
            EngineError: the run failed on the GPU.
        """
        buffers = {tensor: self.outputs[tensor] for tensor in tensors or self.outputs}
        for tensor, buffer in buffers.items():
            buffer.shape = tuple(self._context.get_tensor_shape(tensor))
            self._device.download(buffer.pinned, buffer.pointer, buffer.size)
        self._device.wait()
        return {
            tensor: buffer.pinned[: buffer.size].view(buffer.dtype).reshape(buffer.shape).copy()
            for tensor, buffer in buffers.items()
        }

    @property
    def replays(self) -> bool:
        """Whether runs launch a CUDA graph now."""
        return self._graph is not None

    def _execute(self) -> None:
        if not self._context.execute_async_v3(int(self._device.stream)):
            raise EngineError(f"{self._name}: expected the engine to run, the library refused it")

    def _record(self) -> None:
        """Make a CUDA graph of the run that was just begun, if it can be had and does the same.

        A graph can be recorded without an error and yet do nothing, or not all: outputs would then be those of an
        earlier image for ever. So they are filled with NaN, the graph is launched, and they have to be the same bytes
        as before. Where anything of this fails, this network is run as ever.
        """
        plain = self.get()
        try:
            graph = self._recorded()
        except EngineError as error:
            self._refuse(str(error))
            return
        try:
            for buffer in self.outputs.values():
                self._device.fill(buffer.pointer, _NAN, buffer.size)
            self._device.launch(graph)
            wrong = [tensor for tensor, value in self.get().items() if value.tobytes() != plain[tensor].tobytes()]
            why = f"what was recorded gives another {wrong[0]}" if wrong else ""
        except EngineError as error:
            why = str(error)
        if why:
            self._device.release(graph)
            self._refuse(why)
        else:
            self._graph = graph
            logger.info("%s: runs as a CUDA graph", self._name)

    def _recorded(self) -> Any:
        ask = getattr(self._context, "is_stream_capturable", None)  # TensorRT-RTX knows beforehand
        if ask is not None and not ask(int(self._device.stream)):
            raise EngineError("the library cannot record this engine")
        return self._device.capture(self._execute)

    def _refuse(self, why: str) -> None:
        logger.info("%s: runs without a CUDA graph: %s", self._name, why)
        self._wants_graph = False
        self._device.forget_error()
        self._execute()  # in place of what recording may have left

    def _buffer(self, trt: Any, tensor: str, most: tuple[int, ...]) -> Buffer:
        dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(tensor)))
        size = math.prod(most) * dtype.itemsize
        return Buffer(self._device.allocate(size), self._device.pinned(size), dtype, most, most)

    def _reshape(self, tensor: str, shape: tuple[int, ...]) -> None:
        self._steady = False
        if self._graph is not None:  # it is of the old shapes
            self._device.release(self._graph)
            self._graph = None
        if not self._context.set_input_shape(tensor, shape):
            raise EngineError(f"{self._name}: {tensor}: expected a shape that the engine was built for, got {shape}")
        if tensor not in self._placed:
            self.inputs[tensor].shape = shape


def _refused(library: Library, device: Device, name: str) -> EngineError:
    return EngineError(
        f"{name}: expected an engine that {library.name} {library.version} runs on {device.name} (compute capability "
        f"{device.compute_capability}), it refused it; remove it from the cache, or see that memory of the GPU is free"
    )
