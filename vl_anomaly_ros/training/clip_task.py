# SPDX-License-Identifier: Apache-2.0
"""CLIP pre-training on windows of simulated frames: regions of an image against captions.

A region is an object's mask, its box, or a piece of a stuff class; its embedding is the mean of CLIP's dense
features there, which is what mask pooling computes at run time. Single cells of the dense features are matched
with captions too, so that small things and borders come out right where nothing is pooled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from open_clip.model import CLIP
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name everyone knows)

from vl_anomaly_ros.errors import TrainingError
from vl_anomaly_ros.evaluation.image_set import ANOMALY
from vl_anomaly_ros.model.clip import dense_features, encode_tokens, freeze
from vl_anomaly_ros.training.captions import SYNONYMS, TEMPLATES, true_words
from vl_anomaly_ros.training.config import PhaseConfig, TrainingConfig
from vl_anomaly_ros.training.data import (
    ImageSet,
    Picture,
    Window,
    augment,
    draw_picture,
    normalise,
    random_window,
    to_tensor,
)
from vl_anomaly_ros.training.device import autocast, device_of
from vl_anomaly_ros.training.losses import contrast_with_captions, most_specific, multi_positive_contrast
from vl_anomaly_ros.training.parallel import world_size
from vl_anomaly_ros.training.pasted import PASTED, with_pasted
from vl_anomaly_ros.training.score_loss import ScoreLoss
from vl_anomaly_ros.training.vocabulary import make_vocabulary

HELD_OUT_SPLITS = ("unseen", 3)
MIN_OBJECT_PX = 24
MIN_STUFF_PX = 256
MAX_PER_CATEGORY = 2  # regions of one category in a window


class ClipTask:
    """CLIP, its image set and its captions.

    Args:
        name: of the phase's files.
        clip: trained here.
        tokenizer: of CLIP.
        images: a set with anomalies that CLIP may see.
        config: the run.
        phase: this phase.
        text_locked: train the image tower only, so that what was aligned with the text stays aligned.
        false_words: further captions; where they are true of nothing in the set, nothing may come to resemble them.
    """

    def __init__(
        self, name: str, clip: CLIP, tokenizer: Tokenizer, images: ImageSet, config: TrainingConfig,
        phase: PhaseConfig, text_locked: bool = False, false_words: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.name = name
        self.phase = phase
        self.points, self.balanced_share = config.loss.points, 1.0
        if text_locked:
            self.points, self.balanced_share = config.loss.refinement_points, config.loss.refinement_balanced_share
            freeze(clip)
            for parameter in clip.visual.parameters():
                parameter.requires_grad_(True)
        self.device = device_of(config.device)
        self.clip = clip.to(self.device)
        self.module: nn.Module = clip
        self.images, self.held_out = images.split(phase.validation_images)
        self.config = config
        self.categories = categories_of(images)
        names = sorted({*self.categories, *([PASTED] if phase.pasted else [])})
        self.row = {name: i for i, name in enumerate(names)}
        words = [true_words(name, self.categories.get(name, False)) for name in names]
        self.words = sorted({word for group in words for word in group}.union(false_words))
        self.truth = torch.tensor([[word in group for word in self.words] for group in words]).to(self.device)
        own = [{name, *SYNONYMS.get(name, ())} for name in names]
        self.own = torch.tensor([[word in group for word in self.words] for group in own]).to(self.device)
        self.tokens = torch.tensor(
            [[tokenizer.encode(t.format(word)).ids for t in TEMPLATES] for word in self.words]
        ).to(self.device)  # [words, templates, L]
        self.embedded = self._embedded() if text_locked else None
        self.score = None
        if text_locked and config.loss.outlier_weight:
            taught = [name for name, known in self.categories.items() if not known]
            self.score = ScoreLoss(clip, tokenizer, make_vocabulary(images.classes, taught))

    def loss(self, generator: torch.Generator, *, held_out: bool = False) -> tuple[Tensor, dict[str, float]]:
        """Contrast the regions of a batch of windows with captions, true and false."""
        config, phase = self.config, self.phase
        images = self.held_out if held_out else self.images
        windows, shares, categories, points = [], [], [], []
        for _ in range(phase.batch_size // world_size()):
            picture = with_pasted(draw_picture(images, generator), phase.pasted, generator)
            window = random_window(picture, phase, generator, about_objects=0.8)
            windows.append(window)
            masks, names = window_regions(window, picture, generator)
            if masks:
                shares.append(F.avg_pool2d(torch.from_numpy(np.stack(masks))[:, None], 4).flatten(1))
            else:
                shares.append(torch.zeros(0, phase.crop_height_px * phase.crop_width_px // 16))
            categories += [self.row[name] for name in names]
            points.append(self._points(window, picture, generator))
        pixels = augment(to_tensor(windows), generator).to(self.device)
        pixels = normalise(pixels, config.bundle.mean, config.bundle.std)
        all_rows = torch.cat([torch.tensor(categories, dtype=torch.long), *(rows for _, rows in points)])
        positive = self.truth[all_rows]
        chosen = self._choose_words(positive.cpu(), generator)
        template = torch.randint(len(TEMPLATES), (len(chosen),), generator=generator)
        with autocast(self.device, phase.bfloat16):
            features = dense_features(self.clip, pixels)
            if self.embedded is None:
                captions = encode_tokens(self.clip, self.tokens[chosen, template])
            else:
                captions = self.embedded[chosen, template]
        maps = features.float().flatten(2)  # [B, D, cells]
        pooled = F.normalize(
            torch.cat([share.to(self.device) @ cells.T for share, cells in zip(shares, maps.unbind())]), dim=-1
        )
        cells = torch.cat([f[:, where].T for f, (where, _) in zip(maps.unbind(), points, strict=True)])
        scale = self.clip.logit_scale.clamp(max=float(np.log(60.0))).exp()
        logits = scale * pooled @ captions.float().T
        point_logits = scale * F.normalize(cells, dim=-1) @ captions.float().T
        positive, own = positive[:, chosen], self.own[all_rows][:, chosen]
        n = len(categories)
        loss = multi_positive_contrast(logits, positive[:n])
        loss = loss + config.loss.specific_weight * most_specific(logits, own[:n])
        loss = loss + config.loss.point_weight * (
            contrast_with_captions(point_logits, positive[n:])
            + config.loss.specific_weight * most_specific(point_logits, own[n:])
        )
        if self.score is not None:
            loss = loss + config.loss.outlier_weight * self.score(maps, windows, scale, generator)
        with torch.no_grad():
            right = own.gather(1, torch.cat([logits, point_logits]).argmax(1, keepdim=True)).float()[:, 0]
        return loss, {
            "regions_right": float(right[:n].mean()),
            "points_right": float(right[n:].mean()),
            "scale": float(scale.detach()),
        }

    @torch.no_grad()
    def _embedded(self) -> Tensor:
        """Every caption's embedding [words, templates, D], for a text tower that does not change."""
        return torch.stack([encode_tokens(self.clip, tokens) for tokens in self.tokens])

    def _points(self, window: Window, picture: Picture, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw cells of the window: their places and category rows.

        A share is drawn with every category present as likely, the rest as the pixels come, which teaches how rare
        anomalies are.
        """
        semantic = window.semantic[2::4, 2::4].ravel()
        rows = np.full(semantic.shape, -1, np.int64)
        for value, name in enumerate(self.images.classes):
            rows[semantic == value] = self.row[name]
        ids = window.instances[2::4, 2::4].ravel()
        for instance in np.unique(ids[semantic == ANOMALY]).tolist():
            if instance in picture.objects:
                name = str(picture.objects[instance]["category"])
                rows[(ids == instance) & (semantic == ANOMALY)] = self.row[name]
        labelled = np.flatnonzero(rows >= 0)
        if len(labelled) == 0:
            return torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
        places = [np.flatnonzero(rows == category) for category in np.unique(rows[labelled])]
        draws = torch.rand(self.points, 2, generator=generator).tolist()
        where = []
        for i, (u, v) in enumerate(draws):
            group = places[int(u * len(places))] if i < self.balanced_share * self.points else labelled
            where.append(int(group[int(v * len(group))]))
        return torch.tensor(where), torch.from_numpy(rows[where])

    def _choose_words(self, positive: Tensor, generator: torch.Generator) -> Tensor:
        """Take words that are true of some region first, then others at random, up to the configured number."""
        order = positive.any(0).float() + torch.rand(positive.shape[1], generator=generator)
        return order.argsort(descending=True)[: self.config.loss.clip_texts]


def categories_of(images: ImageSet) -> dict[str, bool]:
    """Return category -> known to the segmenter, over the set.

    Raises:
        TrainingError: the set holds a category of the split that no network may ever see.
    """
    found = dict.fromkeys(images.classes, True)
    for objects in images.objects:
        for item in objects.values():
            if item.get("split") in HELD_OUT_SPLITS:
                raise TrainingError(
                    f"the CLIP image set holds {item['category']!r}, a category that no network may "
                    "be trained on; make the set with the anomalies 'seen' only"
                )
            found[str(item["category"])] = bool(item["known"])
    return found


def window_regions(window: Window, picture: Picture, generator: torch.Generator) -> tuple[list[np.ndarray], list[str]]:
    """List the regions of a window: masks (h, w) float32 and their categories."""
    masks: list[np.ndarray] = []
    names: list[str] = []
    objects = picture.objects
    ids, counts = np.unique(window.instances, return_counts=True)
    taken: Counter[str] = Counter()
    for place in np.argsort(-counts).tolist():
        instance, count = int(ids[place]), int(counts[place])
        if instance not in objects or count < MIN_OBJECT_PX:
            continue
        name = str(objects[instance]["category"])
        if taken[name] >= MAX_PER_CATEGORY:
            continue
        mask = window.instances == instance
        taken[name] += 1
        masks.append(mask.astype(np.float32))
        names.append(name)
        if torch.rand((), generator=generator) < 0.25:  # the box too, as CLIP crops hold background
            ys, xs = np.nonzero(mask)
            box = np.zeros(mask.shape, np.float32)
            box[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = 1.0
            if box.sum() < 2.0 * count:
                masks.append(box)
                names.append(name)
    for value in np.unique(window.semantic).tolist():
        if value >= ANOMALY or picture.classes[value] in taken:
            continue
        mask = (window.semantic == value).astype(np.float32)
        if torch.rand((), generator=generator) < 0.7:  # a piece, so that dense features are right everywhere
            mask *= _random_box(mask.shape[0], mask.shape[1], generator)
        if mask.sum() >= MIN_STUFF_PX:
            masks.append(mask)
            names.append(picture.classes[value])
    return masks, names


def _random_box(height: int, width: int, generator: torch.Generator) -> np.ndarray:
    y, x, v, u = torch.rand(4, generator=generator).tolist()
    box_height, box_width = int(height * (0.15 + 0.5 * v)), int(width * (0.15 + 0.5 * u))
    top, left = int(y * (height - box_height)), int(x * (width - box_width))
    box = np.zeros((height, width), np.float32)
    box[top : top + box_height, left : left + box_width] = 1.0
    return box
