# SPDX-License-Identifier: Apache-2.0
"""Functions whose small values count, in forms that every runtime computes alike."""

from __future__ import annotations

from torch import Tensor


def small_sigmoid(x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x)) with small values that are right to the last digits.

    ONNX Runtime's own operator is off by up to 6e-8 and gives 0 below -20: where no mask claims a pixel, that is more
    than the sum of all masks, by which the head divides.
    """
    return x.clamp(max=0.0).exp() * x.abs().sigmoid()
