# SPDX-License-Identifier: Apache-2.0
"""What the bench of compiling keeps of a build, of a refusal, and of older figures."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from bench import report
from bench.compile import compile_bundle, compiled, figures, with_row

ABOUT = {"size": "1024x512", "graphs": {"visual.onnx": "0123"}}
REPORT = {
    "library": "tensorrt-rtx",
    "version": "1.7.1",
    "max_vocabulary": 1024,
    "built": True,
    "bytes": {"visual.engine": 22_944_012, "head.engine": 50_000},
    "seconds": {"visual": 26.12, "head": 3.75},
    "peak_memory_mb": 1000.0,
}


def row(precision: str, capability: str, wall_s: float = 1.0) -> dict[str, object]:
    return {"precision": precision, "compute_capability": capability, "wall_s": wall_s}


def test_a_build_says_seconds_sizes_and_memory_in_the_units_of_their_names() -> None:
    made = figures(CompletedProcess([], 0, stdout=json.dumps(REPORT), stderr=""))
    assert made["library"] == "tensorrt-rtx 1.7.1"
    assert made["seconds"] == {"visual": 26.12, "head": 3.75}
    assert made["megabytes"] == {"visual.engine": 22.9, "head.engine": 0.1}
    assert made["peak_memory_gb"] == pytest.approx(1000 * 1024**2 / 1e9, abs=0.01)
    assert "refused" not in made


@pytest.mark.parametrize(
    ("status", "said", "kept"),
    [
        (1, "warning: slow\nvisual.onnx: expected a graph\n", "visual.onnx: expected a graph"),
        (-9, "", "exit status -9"),  # killed for memory
    ],
)
def test_a_refusal_is_kept_and_brings_no_figures(status: int, said: str, kept: str) -> None:
    made = figures(CompletedProcess([], status, stdout=json.dumps(REPORT), stderr=said))
    assert made == {"refused": kept}


def test_a_row_replaces_only_that_of_its_gpu_and_precision() -> None:
    known = with_row({}, "a", ABOUT, row("fp32", "12.0"))
    known = with_row(known, "a", ABOUT, row("fp32", "8.6"))
    known = with_row(known, "a", ABOUT, row("fp16", "8.6"))
    known = with_row(known, "b", ABOUT, row("fp32", "8.6"))
    known = with_row(known, "a", ABOUT, row("fp32", "8.6", wall_s=9.0))
    assert known["a"]["engines"] == [row("fp16", "8.6"), row("fp32", "8.6", wall_s=9.0), row("fp32", "12.0")]
    assert known["b"]["engines"] == [row("fp32", "8.6")]


def test_figures_of_other_graphs_do_not_stay_under_the_same_name() -> None:
    known = with_row({}, "a", ABOUT, row("fp32", "12.0"))
    other = {**ABOUT, "graphs": {"visual.onnx": "4567"}}
    assert with_row(known, "a", other, row("fp32", "8.6"))["a"] == {**other, "engines": [row("fp32", "8.6")]}


def test_the_command_is_run_and_its_refusal_kept(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No library builds for compute capability 1.0, and where none is installed that is what is said."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr("bench.compile.RESULTS", tmp_path)
    rows = compile_bundle(tiny_bundle, ["1.0"], ["fp32"], tmp_path)
    assert "expected" in rows[0]["refused"]
    assert [path.name for path in tmp_path.iterdir()] == ["compile.json"]
    kept = json.loads((tmp_path / "compile.json").read_text())
    (bundle,) = kept["bundles"].values()
    assert bundle["engines"] == rows
    assert set(bundle["graphs"]) == {"visual.onnx", "head.onnx", "text.onnx"}


def test_an_engine_is_built_where_the_library_is(tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed here; .venv-train has it")
    made = compiled(tiny_bundle, "8.9", "fp32", tmp_path)
    assert set(made["megabytes"]) == {"visual.engine", "head.engine", "text.engine"}
    assert min(made["peak_memory_gb"], *made["seconds"].values()) > 0
    assert not list(tmp_path.iterdir())
