# SPDX-License-Identifier: Apache-2.0
"""A tiny image set and configuration that the training tests share."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import yaml

CLASSES = ("road", "sky", "car")
COLOURS = {"road": (90, 90, 95), "sky": (120, 170, 230), "car": (30, 60, 170), "dog": (160, 110, 60)}


def make_images(folder: Path, count: int, seed: int, anomalies: bool, size: tuple[int, int] = (64, 128)) -> Path:
    """Write pictures of road, sky, a car and, where asked for, a dog, in the simulation's layout."""
    for part in ("images", "semantic", "instances"):
        (folder / part).mkdir(parents=True)
    height, width = size
    lines = []
    for frame in range(count):
        rng = np.random.default_rng([seed, frame])
        semantic = np.zeros(size, np.uint8)
        semantic[: height // 2] = 1
        picture = np.where(semantic[..., None] == 0, COLOURS["road"], COLOURS["sky"]).astype(np.float64)
        instances = np.zeros(size, np.uint16)
        objects = []
        for number, name in enumerate(["car", "dog"] if anomalies else ["car"], 1):
            h, w = int(rng.integers(12, 24)), int(rng.integers(16, 32))
            y, x = int(rng.integers(height // 2 - 6, height - h)), int(rng.integers(0, width // 2 - w))
            x += (number - 1) * width // 2
            box = (slice(y, y + h), slice(x, x + w))
            semantic[box], instances[box], picture[box] = (2 if name == "car" else 254), number, COLOURS[name]
            known = name == "car"
            objects.append(
                {"instance": number, "category": name, "known": known, "split": "known" if known else "seen",
                 "bbox": [x, y, x + w, y + h], "area_px": h * w}
            )  # fmt: skip
        picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        name = f"{frame:06d}.png"
        cv2.imwrite(str(folder / "images" / name), picture[..., ::-1])
        cv2.imwrite(str(folder / "semantic" / name), semantic)
        cv2.imwrite(str(folder / "instances" / name), instances)
        lines.append(json.dumps({"frame": frame, "objects": objects}))
    (folder / "objects.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "dataset.yaml").write_text(yaml.safe_dump({"classes": list(CLASSES)}), encoding="utf-8")
    return folder


def make_world(root: Path) -> Path:
    """Write the four sets of a run."""
    for seed, (name, anomalies) in enumerate({"clip": True, "seg": False, "calib": True, "test": True}.items(), 1):
        make_images(root / name, 6, seed, anomalies)
    return root


CONFIG = """
seed: 3
processes: 1
data:
  clip: {path: clip, count: 6, seed: 1, anomalies: seen}
  segment: {path: seg, count: 6, seed: 2, anomalies: none}
  calibration: {path: calib, count: 6, seed: 3, anomalies: seen}
  test: {path: test, count: 6, seed: 4, anomalies: seen}
clip: {embedding_size: 16, vision_widths: [16, 16, 16, 16], vision_fusion_width: 16, text_width: 16, text_heads: 2,
       text_layers: 1, context_length: 12}
segmenter: {stem_width: 8, backbone_widths: [8, 8, 16, 16], backbone_depths: [1, 1, 1, 1], hidden_size: 32,
            feedforward_size: 32, query_decoder_layers: 2, heads: 2, queries: 6}
clip_phase: {steps: 4, batch_size: 2, crop_height_px: 64, crop_width_px: 64, warmup_steps: 1, checkpoint_every: 2,
             bfloat16: false, log_every: 1}
clip_refinements:
  - {steps: 2, batch_size: 2, crop_height_px: 64, crop_width_px: 64, warmup_steps: 1, checkpoint_every: 2,
     bfloat16: false, log_every: 1}
segment_phases:
  - {steps: 4, batch_size: 2, crop_height_px: 64, crop_width_px: 64, warmup_steps: 1, checkpoint_every: 2,
     bfloat16: false, log_every: 1}
  - {steps: 2, batch_size: 1, crop_height_px: 64, crop_width_px: 128, warmup_steps: 1, checkpoint_every: 2,
     bfloat16: false, log_every: 1}
loss: {clip_texts: 24}
bundle: {name: tiny, width_px: 128, height_px: 64}
"""
