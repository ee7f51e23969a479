# SPDX-License-Identifier: Apache-2.0
"""A trained PL-Aligner from a checkpoint of training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.model.aligner import PLAligner
from vl_anomaly_ros.model.checkpoint import load_strictly, read_state

ALIGNER_PREFIX, SEGMENTER_PREFIX = "aligner.", "segmenter."


def load_aligner(
    path: Path, hidden_size: int, embedding_size: int, text_width: int, first_context_id: int
) -> tuple[PLAligner, dict[str, Tensor]]:
    """Return the aligner, and the weights of the segmenter that it was trained with (empty where the file has none).

    Args:
        path: a phase's checkpoint as training saves it, of which the averaged weights count, or the aligner's alone.
        hidden_size: width of the segmenter's features.
        embedding_size: D of CLIP.
        text_width: of CLIP's token embedding.
        first_context_id: token id of `<ctx0>`.

    Raises:
        TrainingError: it does not fit the segmenter or CLIP; every such key is named.
    """
    state = read_state(path)
    segmenter = {k.removeprefix(SEGMENTER_PREFIX): v for k, v in state.items() if k.startswith(SEGMENTER_PREFIX)}
    own = {k.removeprefix(ALIGNER_PREFIX): v for k, v in state.items() if not k.startswith(SEGMENTER_PREFIX)}
    contexts = own.get("contexts")
    if contexts is None or contexts.dim() != 2:
        raise TrainingError(
            f"{path}: expected the learned contexts under {ALIGNER_PREFIX}contexts, got {', '.join(sorted(state))}"
        )
    count = int(contexts.shape[0])
    rows = torch.zeros(count, text_width)
    aligner = PLAligner(hidden_size, embedding_size, rows, [first_context_id + index for index in range(count)])
    load_strictly(aligner, own, str(path))
    return aligner.eval(), segmenter
