# SPDX-License-Identifier: Apache-2.0
"""The three methods as settings of one head: which terms of the score count, and how much.

Sources: VL-Anomaly (arXiv 2603.01029), VL4AD (2024), Clipomaly (arXiv 2512.01427); the exponents of the ensemble are
FC-CLIP's (arXiv 2308.02487). That the default adds VL4AD's OOD prompts, merge groups and maximum over prompts to
VL-Anomaly's score is our choice, and so is Clipomaly's unknown mask as one minus the best known class's probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vl_anomaly_ros.config import MethodConfig, NamingConfig
from vl_anomaly_ros.engine.backend import HeadSettings
from vl_anomaly_ros.engine.calibration import Calibration
from vl_anomaly_ros.text.bank import TextBank
from vl_anomaly_ros.types import FloatArray


@dataclass(frozen=True)
class BankTerms:
    """How the text bank is made of the vocabulary.

    Attributes:
        ood_prompts: outlier words compete with the known classes.
        merging: the classes of a merge group share their probability.
        max_logit: the best prompt of a class counts; else the mean of its prompts' embeddings.
        learned_prompts: the aligned embeddings are compared with learned prompts; else with the hand-written ones.
    """

    ood_prompts: bool = True
    merging: bool = True
    max_logit: bool = True
    learned_prompts: bool = True


@dataclass(frozen=True)
class Terms:
    """Everything that tells one way of scoring from another.

    Attributes:
        source_weights: of the detector, text and CLIP scores.
        temperatures: of the aligned and the CLIP softmax.
        text_pixel_weight: share of the pixel alignment against the mask alignment in the text score, 0..1.
        clip_dense_weight: share of CLIP at each pixel against CLIP under each mask in the CLIP score, 0..1.
        ensemble: share of VL4AD's ensemble score against the weighted sources; and the exponents of frozen CLIP in it,
            for classes that the detector was trained on and for all others; each 0..1.
        bank: how the text bank is made.
    """

    source_weights: tuple[float, ...]
    temperatures: tuple[float, ...]
    text_pixel_weight: float
    clip_dense_weight: float
    ensemble: tuple[float, float, float]
    bank: BankTerms

    def head_settings(self) -> HeadSettings:
        """As the head takes them."""
        return HeadSettings(
            np.array(self.source_weights, np.float32),
            np.array(self.temperatures, np.float32),
            np.array([self.text_pixel_weight], np.float32),
            np.array([self.clip_dense_weight], np.float32),
            np.array(self.ensemble, np.float32),
        )


@dataclass(frozen=True)
class _Method:
    """A method; None: as the bundle's calibration says."""

    source_weights: tuple[float, ...] | None = None
    clip_dense_weight: float | None = None
    ensemble_weight: float = 0.0
    ood_prompts: bool = True
    growth: bool = False


_METHODS: Mapping[str, _Method] = {
    "vl_anomaly": _Method(),
    "vl4ad": _Method(ensemble_weight=1.0),
    "clipomaly": _Method(source_weights=(0.0, 0.0, 1.0), clip_dense_weight=1.0, ood_prompts=False, growth=True),
}


def terms_of(config: MethodConfig, calibration: Calibration) -> Terms:
    """What the settings ask for; what they leave open is the method's, or the calibration's."""
    method = _METHODS[config.name]

    def chosen(own: float, of_method: float | None, measured: float) -> float:
        if own >= 0:
            return own
        return measured if of_method is None else of_method

    return Terms(
        source_weights=config.source_weights or method.source_weights or calibration.source_weights,
        temperatures=calibration.temperatures,
        text_pixel_weight=config.text_pixel_weight,
        clip_dense_weight=chosen(config.clip_dense_weight, method.clip_dense_weight, calibration.clip_dense_weight),
        ensemble=(
            chosen(config.ensemble_weight, method.ensemble_weight, 0.0),
            config.seen_exponent,
            config.unseen_exponent,
        ),
        bank=BankTerms(
            ood_prompts=method.ood_prompts if config.ood_prompts == "method" else config.ood_prompts == "on",
            merging=config.merging,
            max_logit=config.max_logit,
            learned_prompts=config.learned_prompts,
        ),
    )


def growth_wanted(naming: NamingConfig, method: MethodConfig) -> bool:
    """Whether names that images suggest are added to the vocabulary: as the settings say, or else the method."""
    return naming.growth == "on" or (naming.growth == "method" and _METHODS[method.name].growth)


def bank_with(terms: BankTerms, bank: TextBank) -> TextBank:
    """The bank without what `terms` switch off; the bank itself where that is nothing.

    Args:
        terms: what counts.
        bank: with everything.
    """
    if terms == BankTerms():
        return bank
    if not terms.learned_prompts:
        bank = replace(bank, aligned_mask=bank.clip_mask)
    if not terms.max_logit:
        bank = _averaged(bank)
    if not terms.ood_prompts:
        known = bank.group_matrix.max(axis=0)[:, None]  # OOD classes are in no group
        bank = replace(bank, aligned_mask=bank.aligned_mask * known, clip_mask=bank.clip_mask * known)
    if not terms.merging:
        known_count = int(np.count_nonzero(bank.group_matrix.max(axis=0)))
        bank = replace(bank, group_matrix=np.eye(known_count, bank.group_matrix.shape[1], dtype=np.float32))
    return bank


def _averaged(bank: TextBank) -> TextBank:
    """One learned and one hand-written row a class: the unit mean of its prompts."""

    def mean(mask: FloatArray) -> FloatArray:
        rows = np.einsum("cr,crd->cd", mask, bank.text_bank)
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6), np.float32)

    def first(mask: FloatArray, column: int) -> FloatArray:
        made = np.zeros((len(mask), 2), np.float32)
        made[:, column] = mask.max(axis=1)
        return made

    rows = np.stack([mean(bank.aligned_mask), mean(bank.clip_mask)], axis=1)
    return replace(bank, text_bank=rows, aligned_mask=first(bank.aligned_mask, 0), clip_mask=first(bank.clip_mask, 1))
