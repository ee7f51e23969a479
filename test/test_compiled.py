# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numba
import numpy as np
import pytest

from vl_anomaly_ros.compiled import array, kernel, view


@kernel(numba.int64(view(numba.float32, 1), array(numba.float32, 1)))
def halved(
    values: np.ndarray[tuple[int], np.dtype[np.float32]], half: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> int:
    for i in range(len(values)):
        half[i] = values[i] / 2
    return len(values)


def test_an_input_may_be_read_only_and_the_output_is_written() -> None:
    values, half = np.array([1, 2], np.float32), np.zeros(2, np.float32)
    values.flags.writeable = False
    assert halved(values, half) == 2
    assert half.tolist() == [0.5, 1.0]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="kernels run as plain Python")
def test_other_types_are_refused_and_never_compiled_in_the_middle_of_a_frame() -> None:
    half = np.zeros(2, np.float32)
    with pytest.raises(TypeError):
        halved(np.zeros(2, np.float64), half)
    half.flags.writeable = False
    with pytest.raises(TypeError):
        halved(np.zeros(2, np.float32), half)


def test_where_nothing_can_be_kept_on_the_disk_it_is_compiled_all_the_same() -> None:
    """A function of standard input has no file, so no place beside it nor in the user's cache."""
    script = dedent("""
        import numba
        from vl_anomaly_ros.compiled import kernel
        @kernel(numba.int64(numba.int64))
        def twice(n):
            return 2 * n
        print(twice(21))
    """)
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "42", done.stderr
    assert "NUMBA_CACHE_DIR" in done.stderr


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="kernels run as plain Python")
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [0, 10, 200])
def test_a_damaged_file_is_replaced_and_ends_no_start(tmp_path: Path, kind: str, left: int) -> None:
    """As after a power cut. A file with the index, and one with the machine code."""
    script = tmp_path / "kernels.py"
    script.write_text(
        dedent("""
        import numba
        from vl_anomaly_ros.compiled import kernel
        @kernel(numba.int64(numba.int64))
        def twice(n):
            return 2 * n
        print(twice(21))
    """)
    )

    def start() -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "42", done.stderr
        return done.stderr

    assert start() == ""
    (kept,) = tmp_path.glob(f"kept/*/*.{kind}")
    kept.write_bytes(kept.read_bytes()[:left])
    assert "cannot be used" in start()
    start()  # keeps it
    assert start() == ""
    assert len(list(tmp_path.glob(f"kept/*/*.{kind}"))) == 1
