# SPDX-License-Identifier: Apache-2.0
"""NaN and infinity among numbers that stay on the GPU.

They must never pass as "nothing there", and what the head says of them does not show them:

- The head ends in a clamp to 0..1 and takes maxima. ONNX Runtime on the CPU hands NaN on, but the GPU's own maximum and
  minimum return the other operand, so NaN becomes 0, which is "no anomaly". Without its flag STRICT_NANS TensorRT may
  even compute 0 * x as 0.
- Infinity in `mask_logits` is a mask of exactly 1 after the sigmoid, on every library: a pixel that a query is sure of.
- Minus infinity in `class_logits` is a class of probability 0 after the softmax, such as "no object".
- NaN in any of them, and infinity in the embeddings, makes probabilities NaN, which the clamp may swallow.

So every feature is looked through where it lies, by its bits: a float32 whose exponent is all ones is NaN or infinity,
whatever the library does with it. What is counted are the groups of threads that saw finite numbers alone, and all of
them are wanted: a kernel that did not run has seen none. It is written in the driver's assembly, because a vehicle has
no compiler. Before it is trusted it must find NaN and infinity that are put into memory on this GPU; where it cannot be
used, all features are copied to the host and looked through there.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from vl_anomaly_ros.engine.backend import not_finite
from vl_anomaly_ros.engine.tensorrt.device import Device
from vl_anomaly_ros.engine.tensorrt.network import Buffer
from vl_anomaly_ros.errors import EngineError

KERNEL = "count_finite"
_BLOCKS, _THREADS, _WARP = 256, 256, 32
_ALL = _BLOCKS * _THREADS // _WARP
PTX = """\
.version 6.3
.target sm_70
.address_size 64

// Add 1 to *total for each warp whose numbers are all finite, of `count` float32 at `values`.
// Each thread looks at every n-th number, of n threads.
.visible .entry count_finite(.param .u64 values, .param .u64 count, .param .u64 total)
{
    .reg .pred %done, %good, %first;
    .reg .b32 %block, %size, %thread, %blocks, %lane, %bits, %most;
    .reg .b64 %values, %count, %total, %index, %step, %place;

    ld.param.u64 %values, [values];
    ld.param.u64 %count, [count];
    ld.param.u64 %total, [total];
    cvta.to.global.u64 %values, %values;
    cvta.to.global.u64 %total, %total;
    mov.u32 %block, %ctaid.x;
    mov.u32 %size, %ntid.x;
    mov.u32 %thread, %tid.x;
    mov.u32 %blocks, %nctaid.x;
    mov.u32 %lane, %laneid;
    cvt.u64.u32 %index, %thread;
    mad.wide.u32 %index, %block, %size, %index;
    mul.wide.u32 %step, %blocks, %size;
    mov.u32 %most, 0;
NEXT:
    setp.ge.u64 %done, %index, %count;
    @%done bra DONE;
    shl.b64 %place, %index, 2;
    add.u64 %place, %values, %place;
    ld.global.u32 %bits, [%place];
    and.b32 %bits, %bits, 0x7F800000;
    max.u32 %most, %most, %bits;
    add.u64 %index, %index, %step;
    bra NEXT;
DONE:
    setp.ne.u32 %good, %most, 0x7F800000;
    vote.sync.all.pred %good, %good, 0xFFFFFFFF;
    setp.eq.u32 %first, %lane, 0;
    and.pred %good, %good, %first;
    @%good red.global.add.u32 [%total], 1;
    ret;
}
"""
_STRANGE = (np.nan, -np.nan, np.inf, -np.inf)
_LARGE = np.finfo(np.float32).max


class FiniteCheck:
    """Tells of each tensor whether all its numbers are finite; proven on the GPU that is there.

    Args:
        device: where the tensors lie.
        most: so many of them at once.

    Raises:
        EngineError: the driver refuses the kernel, or it does not find what it should.
    """

    def __init__(self, device: Device, most: int) -> None:
        self._device = device
        self._kernel = device.load(PTX, KERNEL)
        self._totals = device.allocate(4 * most)
        self._seen = device.pinned(4 * most)
        self._names: tuple[str, ...] = ()
        self._prove()

    def begin(self, buffers: Mapping[str, Buffer]) -> None:
        """Begin to look through float32 tensors, when what was begun before is done."""
        self._names = tuple(buffers)
        size = 4 * len(self._names)
        self._device.fill(self._totals, 0, size)
        for number, buffer in enumerate(buffers.values()):
            if buffer.dtype != np.float32:
                raise EngineError(f"{self._names[number]}: expected float32, got {buffer.dtype}")
            places = buffer.pointer, buffer.size // 4, self._totals + 4 * number
            self._device.start(self._kernel, _BLOCKS, _THREADS, *places)
        self._device.download(self._seen, self._totals, size)

    def check(self) -> None:
        """Judge what was begun; the caller has waited for the device.

        Raises:
            EngineError: a tensor holds NaN or infinity.
        """
        for name, total in zip(self._names, self._seen.view(np.uint32)):
            if total != _ALL:
                raise not_finite(name)

    def _prove(self) -> None:
        """Raise `EngineError` unless it finds each kind at the first, a middle and the last of many numbers."""
        count = _BLOCKS * _THREADS + 77  # so that some threads look at two numbers, and most at one
        pinned = self._device.pinned(4 * count)
        buffer = Buffer(self._device.allocate(4 * count), pinned, np.dtype(np.float32), (count,), (count,))
        numbers = pinned.view(np.float32)
        numbers[:] = np.resize(np.array([0, -0.0, 1e-45, _LARGE, -_LARGE], np.float32), count)
        for place, value in ((0, 1.0), *itertools.product((0, count // 2, count - 1), _STRANGE)):
            kept, numbers[place] = float(numbers[place]), value
            self._device.upload(buffer.pointer, pinned, buffer.size)
            self.begin({"proof": buffer})
            self._device.wait()
            numbers[place] = kept
            if (self._seen.view(np.uint32)[0] == _ALL) != np.isfinite(value):
                raise EngineError(f"{KERNEL}: expected it to tell whether {value} is finite, it does not")
