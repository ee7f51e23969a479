# SPDX-License-Identifier: Apache-2.0
"""The anomaly score of frozen text as a loss of CLIP's dense features: outlier exposure at every cell.

The contrast with captions asks which word is nearest; the score at run time asks how sure the best known group is.
Trained by the first alone, a cell between two known things is doubtful, and doubt is what the score shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.evaluation.image_set import ANOMALY, VOID
from vl_anomaly_ros.model.clip import encode_tokens
from vl_anomaly_ros.text.bank import group_matrix
from vl_anomaly_ros.text.vocabulary import Vocabulary
from vl_anomaly_ros.training.captions import TEMPLATES
from vl_anomaly_ros.training.data import Window
from vl_anomaly_ros.training.losses import outlier_exposure

_TEMPLATES = 2  # of a step, drawn at random; all of them would cost as much as the convolutions


class ScoreLoss:
    """Scores of a vocabulary whose embeddings do not change.

    Args:
        clip: its text tower, which must be locked.
        tokenizer: of CLIP.
        vocabulary: contents of the vocabulary.yaml that the bundle will ship with.
    """

    def __init__(self, clip: CLIP, tokenizer: Tokenizer, vocabulary: dict[str, Any]) -> None:
        shipped = Vocabulary.from_mapping(vocabulary)
        classes = [*(item.words for item in shipped.known), *((word,) for word in shipped.ood_prompts)]
        most = max(map(len, classes))
        # A class with fewer words repeats its last one, which changes no maximum.
        words = [words[min(i, len(words) - 1)] for words in classes for i in range(most)]
        device = clip.logit_scale.device
        with torch.no_grad():
            self.rows = torch.stack(
                [
                    encode_tokens(clip, torch.tensor([tokenizer.encode(t.format(w)).ids for w in words]).to(device))
                    for t in TEMPLATES
                ]
            ).view(len(TEMPLATES), len(classes), most, -1)
        self.groups = torch.from_numpy(group_matrix(shipped)).to(device)

    def __call__(self, maps: Tensor, windows: list[Window], scale: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss.

        Args:
            maps: [B, D, cells] dense features.
            windows: B, what the cells of 4 by 4 pixels show.
            scale: inverse temperature.
            generator: draws the templates.
        """
        semantic = torch.from_numpy(np.stack([window.semantic for window in windows])).to(maps.device)
        share = F.avg_pool2d((semantic == ANOMALY).float()[:, None], 4).flatten()
        valid = F.avg_pool2d((semantic != VOID).float()[:, None], 4).flatten()
        cells = F.normalize(maps.transpose(1, 2).flatten(0, 1), dim=1)
        rows = self.rows[torch.randperm(len(self.rows), generator=generator)[:_TEMPLATES]]  # [T, C, R, D]
        classes = rows.shape[1]
        cosines = cells @ rows.permute(1, 0, 2, 3).flatten(0, 2).T
        return outlier_exposure(
            cosines.view(len(cells), classes, -1).amax(2), self.groups, scale, share / valid.clamp(min=1e-6), valid
        )
