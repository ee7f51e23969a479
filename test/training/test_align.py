# SPDX-License-Identifier: Apache-2.0
"""A PL-Aligner trained on made-up pictures in the layout of Cityscapes, for small networks in published layouts."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("open_clip")

import published_checkpoints as published  # noqa: E402

from vl_anomaly_ros.errors import TrainingError  # noqa: E402
from vl_anomaly_ros.model import presets  # noqa: E402
from vl_anomaly_ros.training import align_command  # noqa: E402
from vl_anomaly_ros.training.align import AlignConfig, AlignTask, align, load_align_config  # noqa: E402
from vl_anomaly_ros.training.cityscapes import CityscapesPictures  # noqa: E402
from vl_anomaly_ros.training.config import PhaseConfig  # noqa: E402
from vl_anomaly_ros.training.export_parts import Sources, assemble  # noqa: E402
from vl_anomaly_ros.training.export_preset import default_vocabulary  # noqa: E402

PHASE = PhaseConfig(
    steps=6, batch_size=2, crop_height_px=64, crop_width_px=128, learning_rate=3e-3, warmup_steps=1, checkpoint_every=3,
    log_every=1, bfloat16=False, validate_every=3, validation_images=1,
)  # fmt: skip
CONFIG = AlignConfig(seed=2, contexts=3, phase=PHASE)
ROAD, SKY, CAR = 7, 23, 26  # label ids


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of road and sky with two cars, 256 x 128."""
    root = tmp_path_factory.mktemp("cityscapes")
    for number in range(4):
        rng = np.random.default_rng(number)
        ids = np.full((128, 256), ROAD, np.uint16)
        ids[:60] = SKY
        ids[70:100, 20:60], ids[64:90, 150:190] = CAR * 1000, CAR * 1000 + 1
        ids[120:] = 1  # ego vehicle: not evaluated
        image = np.zeros((128, 256, 3), np.uint8)
        for value, colour in ((ROAD, (90, 90, 90)), (SKY, (220, 160, 110))):
            image[ids == value] = colour
        image[ids >= 1000] = (20, 30, 200)
        image = np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8)
        frame = f"aachen_{number:06d}_000019"
        for kind, name, picture in (("leftImg8bit", "leftImg8bit", image), ("gtFine", "gtFine_instanceIds", ids)):
            folder = root / kind / "train" / "aachen"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{frame}_{name}.png"), picture)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[presets.Preset, Sources]]:
    folder = tmp_path_factory.mktemp("weights")
    published.register_tiny_clips(folder)
    torch.manual_seed(0)
    return {
        "swin": (
            published.TINY_SWIN_VIT,
            Sources(
                published.save_tiny_mask2former(folder / "mask2former"),
                published.save_clip(folder / "clip.safetensors", "tiny-vit"),
            ),
        ),
        "fcclip": (
            published.TINY_FCCLIP_CONVNEXT,
            Sources(fcclip=published.save_fcclip(folder / "fcclip.pth", "tiny-convnext", published.TINY_FCCLIP)),
        ),
    }


def test_pictures_and_their_truth(cityscapes: Path) -> None:
    pictures = CityscapesPictures(cityscapes, "train", 128, 64)
    assert len(pictures) == 4
    picture = pictures.picture(1)
    road, sky, car = (pictures.classes.index(name) for name in ("road", "sky", "car"))
    assert picture.image.shape == (64, 128, 3)
    assert picture.image[40, 20, 0] > 150 > picture.image[40, 20, 2]  # the red car, as RGB
    assert [picture.semantic[y, x] for y, x in ((10, 5), (55, 64), (40, 20), (63, 5))] == [sky, road, car, 255]
    records = sorted(picture.objects.values(), key=lambda record: record["bbox"])
    assert [record["category"] for record in records] == ["car", "car"]
    assert records[0]["bbox"] == (10, 35, 30, 50)
    assert records[0]["area_px"] == 20 * 15
    assert (picture.instances > 0).sum() == sum(record["area_px"] for record in records)
    first, last = pictures.split(1)
    assert (len(first), len(last)) == (3, 1)
    assert len(CityscapesPictures(cityscapes, "train", 128, 64, count=2)) == 2
    with pytest.raises(TrainingError, match="found none; unpack Cityscapes"):
        CityscapesPictures(cityscapes, "val", 128, 64)
    with pytest.raises(TrainingError, match="validation_images"):
        pictures.split(4)


@pytest.mark.parametrize("name", ["swin", "fcclip"])
def test_the_aligner_learns_and_everything_else_stays(
    name: str, weights: dict[str, tuple[presets.Preset, Sources]], cityscapes: Path
) -> None:
    preset, sources = weights[name]
    network, parts = assemble(preset, sources, default_vocabulary(preset), 128, 64)
    pictures = CityscapesPictures(cityscapes, "train", 128, 64)
    torch.manual_seed(1)
    task = AlignTask(network, parts, pictures, ("animal",), CONFIG)
    frozen = {key: value.clone() for key, value in {**network.state_dict(), **parts.clip.state_dict()}.items()}
    contexts = task.aligner.contexts.detach().clone()

    def mean_loss() -> float:
        with torch.no_grad():
            return float(np.mean([float(task.loss(torch.Generator().manual_seed(s))[0]) for s in range(3)]))

    before = mean_loss()
    optimizer = torch.optim.Adam(task.module.parameters(), 1e-2)
    for step in range(15):
        optimizer.zero_grad()
        task.loss(torch.Generator().manual_seed(100 + step))[0].backward()
        optimizer.step()
    assert mean_loss() < 0.7 * before
    assert not torch.equal(task.aligner.contexts, contexts)
    now = {**network.state_dict(), **parts.clip.state_dict()}
    assert all(torch.equal(frozen[key], now[key]) for key in frozen)


def test_a_run_resumes_keeps_its_configuration_and_is_exported(
    weights: dict[str, tuple[presets.Preset, Sources]],
    cityscapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preset, sources = weights["swin"]
    monkeypatch.setitem(presets.PRESETS, "tiny-swin", preset)
    file = tmp_path / "align.yaml"
    file.write_text(
        yaml.safe_dump(
            {"seed": 2, "contexts": 3, "phase": {**dataclasses.asdict(PHASE), "batch_size": 1, "bfloat16": True}}
        ),
        encoding="utf-8",
    )
    words = [str(file), "--preset", "tiny-swin", "--segmenter", str(sources.segmenter), "--clip", str(sources.clip)]
    words += ["--root", str(cityscapes), "--out", str(tmp_path / "run")]
    parser = argparse.ArgumentParser()
    align_command.add_arguments(parser)
    for _ in range(2):  # the second finds it finished
        assert align_command.run(parser.parse_args(words)) == 0
    rows = (tmp_path / "run" / "aligner.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 6
    assert "validation_loss" in rows[0]
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert kept["contexts"] == 3
    assert kept["weights"]["clip"] == str(sources.clip)
    config = load_align_config(file)
    with pytest.raises(TrainingError, match="another configuration"):
        align(dataclasses.replace(config, seed=3), preset, sources, cityscapes, tmp_path / "run")
    aligned = dataclasses.replace(sources, aligner=tmp_path / "run" / "aligner.pt")
    network, parts = assemble(preset, aligned, default_vocabulary(preset), 128, 64)
    assert parts.learned_prompt == "<ctx0> <ctx1> <ctx2> {}"
    with torch.no_grad():
        outputs = network(torch.zeros(1, 64, 128, 3, dtype=torch.uint8))
    assert all(torch.isfinite(value).all() for value in outputs)
