# SPDX-License-Identifier: Apache-2.0
"""Part of the bench of presets: random weights of a preset's real size, in a process of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def write(name: str, folder: Path) -> None:
    """Write the checkpoints and sources.json: option of `vl-anomaly export` -> path."""
    sys.path.insert(0, str(ROOT / "test" / "helpers"))
    import published_checkpoints as published

    from vl_anomaly_ros.model.presets import PRESETS

    preset = PRESETS[name]
    torch.manual_seed(0)
    if preset.backbone is None:
        sources = {"fcclip": published.save_fcclip(folder / "fcclip.pth", preset.clip, preset.fcclip)}
    else:
        sources = {
            "segmenter": published.save_mask2former(folder / "mask2former", preset.backbone),
            "clip": published.save_clip(folder / "open_clip_model.safetensors", preset.clip),
        }
    text = json.dumps({key: str(path) for key, path in sources.items()})
    (folder / "sources.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    write(sys.argv[1], Path(sys.argv[2]))
