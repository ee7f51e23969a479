# SPDX-License-Identifier: Apache-2.0
"""A whole tiny run: it learns, resumes to the same weights, and writes a bundle that the engine accepts."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("transformers")

import small_training  # noqa: E402

from vl_anomaly_ros.engine.bundle import FILES, load_bundle  # noqa: E402
from vl_anomaly_ros.errors import TrainingError  # noqa: E402
from vl_anomaly_ros.evaluation.anomaly import BundleRunner  # noqa: E402
from vl_anomaly_ros.model.clip import build_clip, dense_features, encode_tokens  # noqa: E402
from vl_anomaly_ros.model.segmenter import Segmenter  # noqa: E402
from vl_anomaly_ros.text.bank import TextBankBuilder  # noqa: E402
from vl_anomaly_ros.text.vocabulary import Vocabulary  # noqa: E402
from vl_anomaly_ros.training import command, export_command  # noqa: E402
from vl_anomaly_ros.training.captions import TEMPLATES  # noqa: E402
from vl_anomaly_ros.training.clip_task import ClipTask  # noqa: E402
from vl_anomaly_ros.training.config import PhaseConfig, TrainingConfig, load_config  # noqa: E402
from vl_anomaly_ros.training.data import Window, load_image_set, normalise  # noqa: E402
from vl_anomaly_ros.training.loop import run_phase  # noqa: E402
from vl_anomaly_ros.training.pipeline import Run  # noqa: E402
from vl_anomaly_ros.training.score_loss import ScoreLoss  # noqa: E402
from vl_anomaly_ros.training.segment_task import SegmentTask, build_aligner  # noqa: E402
from vl_anomaly_ros.training.vocabulary import make_vocabulary  # noqa: E402


def segment_task(run: Run, phase: PhaseConfig) -> SegmentTask:
    """The first phase of segmenter training from its seeded start."""
    torch.manual_seed(5)
    clip = build_clip(run.config.clip, run.tokenizer.get_vocab_size())
    images = load_image_set(run.data / "seg")
    segmenter = Segmenter(run.config.segmenter, len(images.classes))
    aligner = build_aligner(clip, run.tokenizer, run.config)
    return SegmentTask("segment", segmenter, aligner, clip, run.tokenizer, images, ["dog"], run.config, phase)


def bundle_norms(config: TrainingConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return config.bundle.mean, config.bundle.std


@pytest.fixture
def run(world: Path, config_file: Path, tmp_path: Path) -> Run:
    return Run(load_config(config_file), tmp_path / "run", world)


def test_an_interrupted_phase_ends_in_the_same_weights(run: Run, tmp_path: Path) -> None:
    phase = run.config.segment_phases[0]
    whole = run_phase(segment_task(run, phase), phase, tmp_path / "whole", seed=1)
    run_phase(segment_task(run, phase), phase, tmp_path / "parts", seed=1, stop_after=2)
    resumed = run_phase(segment_task(run, phase), phase, tmp_path / "parts", seed=1)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    rows = (tmp_path / "parts" / "segment.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4"]


def test_another_seed_gives_other_weights(run: Run, tmp_path: Path) -> None:
    phase = dataclasses.replace(run.config.segment_phases[0], steps=1)
    states = [run_phase(segment_task(run, phase), phase, tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_segmenter_and_aligner_learn_a_few_pictures_and_clip_stays_frozen(run: Run, tmp_path: Path) -> None:
    first = run.config.segment_phases[0]
    phase = dataclasses.replace(first, steps=60, batch_size=4, learning_rate=3e-3, warmup_steps=5)
    task = segment_task(run, phase)
    frozen = {key: value.clone() for key, value in task.clip.state_dict().items()}
    contexts = task.aligner.contexts.detach().clone()

    def mean_loss() -> float:
        with torch.no_grad():
            return float(np.mean([float(task.loss(torch.Generator().manual_seed(s))[0]) for s in range(4)]))

    before = mean_loss()
    run_phase(task, phase, tmp_path, seed=1)
    assert mean_loss() < 0.6 * before
    assert not torch.equal(task.aligner.contexts, contexts)
    assert all(torch.equal(value, frozen[key]) for key, value in task.clip.state_dict().items())


def test_clip_learns_to_tell_regions_apart(run: Run, tmp_path: Path) -> None:
    phase = dataclasses.replace(run.config.clip_phase, steps=60, batch_size=4, learning_rate=5e-3, warmup_steps=5)
    config = dataclasses.replace(run.config, clip_phase=phase)
    torch.manual_seed(0)
    clip = build_clip(config.clip, run.tokenizer.get_vocab_size())
    task = ClipTask("clip", clip, run.tokenizer, load_image_set(run.data / "clip"), config, phase)

    def mean_loss() -> float:
        with torch.no_grad():
            return float(np.mean([float(task.loss(torch.Generator().manual_seed(s))[0]) for s in range(4)]))

    before = mean_loss()
    run_phase(task, phase, tmp_path, seed=1)
    assert mean_loss() < 0.6 * before


def test_refining_clip_leaves_its_text_tower_alone(run: Run, tmp_path: Path) -> None:
    phase = dataclasses.replace(run.config.clip_phase, steps=3)
    clip = build_clip(run.config.clip, run.tokenizer.get_vocab_size())
    start = {key: value.clone() for key, value in clip.state_dict().items()}
    images = load_image_set(run.data / "clip")
    task = ClipTask("refined", clip, run.tokenizer, images, run.config, phase, text_locked=True)
    average = run_phase(task, phase, tmp_path, seed=1)
    changed = {key for key in start if not torch.equal(average[key], start[key])}
    assert changed
    assert all(key.startswith("visual.") for key in changed)


def test_the_score_as_a_loss_raises_the_anomalies_above_the_rest(run: Run, tmp_path: Path) -> None:
    config = dataclasses.replace(run.config, loss=dataclasses.replace(run.config.loss, outlier_weight=20.0))
    phase = dataclasses.replace(config.clip_phase, steps=40, batch_size=4, learning_rate=5e-3, warmup_steps=5)
    images = load_image_set(run.data / "clip")
    torch.manual_seed(0)
    clip = build_clip(config.clip, run.tokenizer.get_vocab_size())
    task = ClipTask("refined", clip, run.tokenizer, images, config, phase, text_locked=True)
    score = task.score
    assert score is not None
    # An untrained text tower says nearly the same of every word; a trained one does not.
    score.rows = torch.nn.functional.normalize(torch.randn_like(score.rows[:1]), dim=-1).expand_as(score.rows)

    def gap() -> float:
        """Mean score of the dogs above that of everything else."""
        clip.eval()
        pixels = normalise(torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255.0, *bundle_norms(config))
        with torch.no_grad():
            cells = torch.nn.functional.normalize(dense_features(clip, pixels), dim=1).flatten(2).transpose(1, 2)
            cosines = torch.einsum("bnd,tcrd->bncrt", cells, score.rows).amax((3, 4))
            known = ((clip.logit_scale.exp() * cosines).softmax(2) @ score.groups.T).amax(2)
        dogs = torch.from_numpy(images.semantic[:, 2::4, 2::4] == 254).flatten(1)
        return float((1.0 - known)[dogs].mean() - (1.0 - known)[~dogs].mean())

    before = gap()
    clip.load_state_dict(run_phase(task, phase, tmp_path, seed=1))
    assert gap() > before + 0.2


def test_the_score_as_a_loss_is_that_of_the_text_bank(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every template it takes the best prompt of each class that the engine's bank would have."""
    monkeypatch.setattr("vl_anomaly_ros.training.score_loss._TEMPLATES", len(TEMPLATES))
    clip = build_clip(run.config.clip, run.tokenizer.get_vocab_size()).eval()
    contents = make_vocabulary(small_training.CLASSES, ["dog"])
    loss = ScoreLoss(clip, run.tokenizer, contents)
    image = run.data / "clip"
    window = Window(*(getattr(load_image_set(image), part)[0] for part in ("images", "semantic", "instances")))
    maps = torch.randn(1, 16, 16 * 32)

    def encode(texts: Sequence[str]) -> np.ndarray:
        tokens = torch.tensor([run.tokenizer.encode(text).ids for text in texts])
        with torch.no_grad():
            return encode_tokens(clip, tokens).numpy()

    bank = TextBankBuilder(encode, small_training.CLASSES, "{}", TEMPLATES).build(Vocabulary.from_mapping(contents))
    cells = torch.nn.functional.normalize(maps[0].T, dim=1).numpy()
    cosines = np.where(bank.clip_mask > 0, np.einsum("nd,crd->ncr", cells, bank.text_bank), -9.0).max(2)
    shares = np.exp(5.0 * cosines) / np.exp(5.0 * cosines).sum(1, keepdims=True)
    score = 1.0 - (shares @ bank.group_matrix.T).max(1)
    share = (window.semantic == 254).reshape(16, 4, 32, 4).mean((1, 3)).ravel()
    wanted = -(share * np.log(score) + (1.0 - share) * np.log(1.0 - score)).mean()
    assert float(loss(maps, [window], torch.tensor(5.0), torch.Generator())) == pytest.approx(float(wanted), rel=1e-4)


def test_held_out_categories_are_refused(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(run.data / "clip", folder)
    lines = (folder / "objects.jsonl").read_text(encoding="utf-8").replace('"split": "seen"', '"split": "unseen"')
    (folder / "objects.jsonl").write_text(lines, encoding="utf-8")
    clip = build_clip(run.config.clip, run.tokenizer.get_vocab_size())
    with pytest.raises(TrainingError, match="no network may"):
        ClipTask("clip", clip, run.tokenizer, load_image_set(folder), run.config, run.config.clip_phase)


def test_anomalies_are_refused_in_the_segmenters_set(run: Run) -> None:
    shown = dataclasses.replace(load_image_set(run.data / "clip"))
    clip = build_clip(run.config.clip, run.tokenizer.get_vocab_size())
    aligner = build_aligner(clip, run.tokenizer, run.config)
    segmenter = Segmenter(run.config.segmenter, 3)
    with pytest.raises(TrainingError, match="anomalies"):
        SegmentTask("s", segmenter, aligner, clip, run.tokenizer, shown, [], run.config, run.config.segment_phases[0])


@pytest.fixture(scope="module")
def bundle(world: Path, config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle from the whole command: two processes, every stage."""
    folder = tmp_path_factory.mktemp("command")
    text = config_file.read_text(encoding="utf-8").replace("processes: 1", "processes: 2")
    text = text.replace("batch_size: 1,", "batch_size: 2,")
    (folder / "tiny.yaml").write_text(text, encoding="utf-8")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = [str(folder / "tiny.yaml"), "--out", str(folder / "run"), "--data", str(world)]
    assert command.run(parser.parse_args(arguments)) == 0
    return folder / "run" / "bundle"


def test_the_command_writes_a_bundle_that_the_engine_accepts(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert loaded.detector_classes == small_training.CLASSES
    assert loaded.hashes == {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in FILES}
    assert {"auprc", "fpr95", "auroc", "sources", "test_set"} <= set(loaded.figures)
    assert "dog" in loaded.vocabulary.ood_prompts
    assert "dog" in loaded.vocabulary.candidates
    assert "6 images" in loaded.calibration.measured_on
    recorded = yaml.safe_load((bundle / "training.yaml").read_text(encoding="utf-8"))
    assert recorded["seed"] == 3


def test_the_graphs_of_the_bundle_have_the_promised_shapes(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    runner = BundleRunner(loaded, threads=1)
    visual = runner.visual(np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8))
    assert {name: value.shape for name, value in visual.items()} == {
        "mask_logits": (6, 16, 32), "class_logits": (6, 4), "mask_embeddings": (6, 16),
        "pixel_embeddings": (16, 16, 32), "clip_features": (16, 16, 32),
    }  # fmt: skip
    score, sources, class_map = runner.head(visual)
    assert (score.shape, sources.shape, class_map.shape) == ((16, 32), (3, 16, 32), (16, 32))
    texts = runner.encode(["a dog", loaded.learned_prompt.format("dog"), "quite another thing"])
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1.0, atol=1e-5)
    assert not np.allclose(texts[0], texts[1])


def test_an_export_without_the_images_makes_none(bundle: Path, tmp_path: Path) -> None:
    """Weights may be exported on a machine that never held the images."""
    run_folder = shutil.copytree(bundle.parent, tmp_path / "run")
    parser = argparse.ArgumentParser()
    export_command.add_arguments(parser)
    assert export_command.run(parser.parse_args([str(run_folder), str(tmp_path / "exported")])) == 0
    assert not list(tmp_path.rglob("dataset.yaml"))
    assert (tmp_path / "exported" / "visual.onnx").is_file()


def test_a_run_folder_refuses_another_configuration(run: Run) -> None:
    with pytest.raises(TrainingError, match="another configuration"):
        Run(dataclasses.replace(run.config, seed=99), run.folder, run.data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede: 3", "unknown setting 'sede'"),
        ("clip: {width: 3}", "unknown setting 'width'"),
        ("clip: {vision_widths: [8, 16]}", "expected a first width of 16 or more, got .8, 16."),
        ("seed: many", "expected int"),
        ("seed: [", "cannot read"),
    ],
)
def test_wrong_settings_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=message):
        load_config(path)


def test_the_shipped_configuration_is_valid() -> None:
    config = load_config(Path(__file__).parents[2] / "config" / "training" / "sim_nano.yaml")
    assert isinstance(config, TrainingConfig)
    sets = (config.data.clip, config.data.segment, config.data.calibration, config.data.test)
    assert len({s.seed for s in sets}) == len(sets)
    assert all(s.anomalies in ("none", "seen") for s in sets)
    assert config.data.segment.anomalies == "none"
