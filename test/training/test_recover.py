# SPDX-License-Identifier: Apache-2.0
"""A bundle's weights come back out of its graphs, and a run goes on from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("transformers")

import small_training  # noqa: E402

from vl_anomaly_ros.engine.bundle import load_bundle  # noqa: E402
from vl_anomaly_ros.errors import TrainingError  # noqa: E402
from vl_anomaly_ros.evaluation.anomaly import BundleRunner  # noqa: E402
from vl_anomaly_ros.training.config import TrainingConfig, load_config  # noqa: E402
from vl_anomaly_ros.training.loop import load_average  # noqa: E402
from vl_anomaly_ros.training.pipeline import START, Run  # noqa: E402
from vl_anomaly_ros.training.recover import measure_norms, recover  # noqa: E402


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of a few steps, so that batch normalisation has statistics of its own."""
    root = tmp_path_factory.mktemp("from")
    config = root / "tiny.yaml"
    config.write_text(small_training.CONFIG, encoding="utf-8")
    run = Run(load_config(config), root / "run", small_training.make_world(root / "world"))
    run.train()
    run.export(root / "bundle")
    return root / "bundle"


@pytest.fixture
def going_on(bundle: Path, tmp_path: Path) -> Run:
    """A run that starts from the bundle; CLIP's first phase is left out."""
    config = load_config(bundle / "training.yaml")
    left_out = dataclasses.replace(config.clip_phase, steps=0)
    config = dataclasses.replace(config, start=str(bundle), clip_phase=left_out, clip_refinements=(), segment_phases=())
    return Run(config, tmp_path / "run", bundle.parent / "world")


def outputs(bundle: Path) -> dict[str, np.ndarray]:
    runner = BundleRunner(load_bundle(bundle), threads=1)
    image = np.random.default_rng(1).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    return {**runner.visual(image), "text": runner.encode(["a dog", "the road"])}


def test_a_run_without_a_step_writes_the_bundle_that_it_started_from(going_on: Run, bundle: Path) -> None:
    going_on.train()
    again = going_on.folder / "bundle"
    going_on.export(again)
    before, after = outputs(bundle), outputs(again)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=1e-3 * max(1.0, float(np.abs(value).max())), err_msg=name)
    assert (going_on.folder / "tokenizer.json").read_bytes() == (bundle / "tokenizer.json").read_bytes()


def test_measured_norms_see_a_batch_as_training_would(going_on: Run, bundle: Path) -> None:
    """In training mode a norm uses the batch's statistics: the outputs hardly change then."""
    going_on.train()
    clip, _, _ = recover(bundle, going_on.config)
    batch = torch.randn(6, 3, 64, 128, generator=torch.Generator().manual_seed(2))
    trunk = clip.visual.trunk
    with torch.no_grad():
        before = trunk.eval().forward_features(batch)
        measure_norms(trunk, lambda: trunk.forward_features(batch))
        after = trunk.eval().forward_features(batch)
        trained = trunk.train().forward_features(batch)
    scale = float(before.abs().max())
    assert float((after - before).abs().max()) < 1e-3 * scale
    assert float((trained - before).abs().max()) < 1e-2 * scale


def test_another_size_is_refused(going_on: Run, bundle: Path) -> None:
    wider = dataclasses.replace(going_on.config.segmenter, queries=7)
    with pytest.raises(TrainingError, match="of the configured sizes"):
        recover(bundle, dataclasses.replace(going_on.config, segmenter=wider))


def test_recovery_happens_once(going_on: Run) -> None:
    going_on.train()
    path = going_on.folder / START
    stamp = path.stat().st_mtime_ns
    going_on.train()
    assert path.stat().st_mtime_ns == stamp


def test_refined_weights_are_drawn_back_towards_those_of_the_start(bundle: Path, tmp_path: Path) -> None:
    config = load_config(bundle / "training.yaml")
    left_out = dataclasses.replace(config.clip_phase, steps=0)
    config = dataclasses.replace(
        config, start=str(bundle), start_share=0.25, clip_phase=left_out, segment_phases=(),
        clip_refinements=(dataclasses.replace(config.clip_phase, steps=2, learning_rate=0.05, ema_decay=0.1),),
    )  # fmt: skip
    run = Run(config, tmp_path / "run", bundle.parent / "world")
    run.train()
    begun = torch.load(run.folder / "start.pt", weights_only=True)["clip"]
    trained = load_average(run.folder / "clip-refined-0.pt")
    got = run.load_clip().state_dict()
    moved = [name for name in trained if not torch.equal(trained[name], begun[name])]
    assert any(name.endswith("conv.weight") or "first.weight" in name for name in moved)
    for name, value in got.items():
        wanted = 0.75 * trained[name] + 0.25 * begun[name] if value.is_floating_point() else trained[name]
        torch.testing.assert_close(value, wanted, msg=name)
    for name, value in run.load_clip(refined=False).state_dict().items():
        torch.testing.assert_close(value, begun[name], msg=name)


@pytest.mark.parametrize(("share", "start"), [(0.5, ""), (1.0, "bundle"), (-0.1, "bundle")])
def test_a_share_of_no_start_or_of_all_is_refused(share: float, start: str) -> None:
    with pytest.raises(TrainingError, match="start_share: expected a number from 0 to below 1"):
        TrainingConfig(start=start, start_share=share)
