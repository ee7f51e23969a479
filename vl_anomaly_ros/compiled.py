# SPDX-License-Identifier: Apache-2.0
"""Loops over pixels and points, compiled by Numba: one pass over the data.

A kernel names the types of its arguments, so it is compiled when its module is imported and never in the middle of a
frame, and the machine code is kept on the disk: the first import on a machine takes seconds, every later one
milliseconds. NUMBA_DISABLE_JIT=1 runs kernels as plain Python, for a debugger.

Rules for kernels, which hold because Numba sees only one file when it looks whether the code on the disk is old:
a kernel calls kernels of its own file only, and takes every number that is a setting as an argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numba

logger = logging.getLogger(__name__)

_Function = TypeVar("_Function", bound=Callable[..., Any])


def view(dtype: Any, dimensions: int) -> Any:
    """Type of an array that a kernel reads, C-contiguous; one that may be written will do."""
    return numba.types.Array(dtype, dimensions, "C", readonly=True)


def array(dtype: Any, dimensions: int) -> Any:
    """Type of an array that a kernel writes into or returns, C-contiguous."""
    return numba.types.Array(dtype, dimensions, "C")


def kernel(*signatures: Any, long: bool = False) -> Callable[[_Function], _Function]:
    """Compile a function for these types of arguments; others are refused with `TypeError`.

    Divisions by zero give infinity or NaN, as in NumPy. Sums keep their order: the result is the same on each call.

    Args:
        signatures: such as `numba.float64(view(numba.float32, 2))`; a tuple of types where the result is to be found.
        long: it runs for 0.2 ms or more, and lets other threads run Python meanwhile. A short one keeps the
            interpreter's lock: to get it back from another thread would take longer than the kernel itself.

    Example:
        @kernel(numba.float64(view(numba.float64, 1)))
        def total(values): ...
    """

    def compiled(function: _Function) -> _Function:
        if numba.config.DISABLE_JIT:
            return function
        try:
            return _compiled(function, signatures, cache=True, nogil=long)
        except Exception as error:  # also what reading a damaged file may raise, which is anything
            logger.warning(
                "%s.%s: what Numba keeps on the disk cannot be used (%s: %s); it is compiled anew, in some seconds. "
                "If that is said at each start, set NUMBA_CACHE_DIR to a folder that can be written",
                *(function.__module__, function.__qualname__, type(error).__name__, error),
            )
            return _compiled(function, signatures, cache=False, nogil=long)

    return compiled


def _compiled(function: _Function, signatures: Sequence[Any], *, cache: bool, nogil: bool) -> _Function:
    dispatcher = numba.njit(function, cache=cache, nogil=nogil, error_model="numpy")
    try:
        for signature in signatures:
            dispatcher.compile(signature)
    except Exception:
        if cache:  # a process was ended, or the power cut, while it was written: else no start would ever succeed again
            for file in Path(dispatcher.stats.cache_path).glob(f"*.{function.__qualname__}-*.nb?"):
                file.unlink(missing_ok=True)
        raise
    dispatcher.disable_compile()
    return dispatcher  # type: ignore[no-any-return]
