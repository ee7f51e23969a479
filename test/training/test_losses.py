# SPDX-License-Identifier: Apache-2.0
"""Losses on cases whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vl_anomaly_ros.training.config import LossConfig  # noqa: E402
from vl_anomaly_ros.training.losses import (  # noqa: E402
    Targets,
    aligner_loss,
    make_targets,
    match,
    most_specific,
    multi_positive_contrast,
    outlier_exposure,
    segmentation_loss,
)

WEIGHTS = LossConfig()


def test_contrast_is_plain_cross_entropy_for_one_positive_each() -> None:
    logits = torch.randn(5, 5)
    wanted = 0.5 * sum(torch.nn.functional.cross_entropy(x, torch.arange(5)) for x in (logits, logits.T))
    torch.testing.assert_close(multi_positive_contrast(logits, torch.eye(5, dtype=torch.bool)), wanted)


def test_two_true_captions_do_not_push_each_other_away() -> None:
    """A dog is a "dog" and an "animal": raising one of the two costs the other nothing."""
    logits = torch.tensor([[2.0, 1.0, 0.0]], requires_grad=True)
    positive = torch.tensor([[True, True, False]])
    loss = multi_positive_contrast(torch.cat([logits, torch.tensor([[0.0, 0.0, 3.0]])]),
                                   torch.cat([positive, ~positive]))  # fmt: skip
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[0, :2] < 0).all()
    assert logits.grad[0, 2] > 0


def test_regions_without_a_true_or_a_false_caption_count_for_nothing() -> None:
    assert float(multi_positive_contrast(torch.randn(2, 3), torch.zeros(2, 3, dtype=torch.bool))) == 0.0
    assert float(multi_positive_contrast(torch.randn(2, 3), torch.ones(2, 3, dtype=torch.bool))) == 0.0


def test_the_specific_name_is_to_beat_the_general_one() -> None:
    own = torch.tensor([[True, False]])
    good, bad = torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    assert float(most_specific(good, own)) < 0.01
    assert float(most_specific(bad, own)) > 4.9


GROUPS = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])  # two known classes of one group, one of its own


def exposure(cosines: list[float], share: float) -> float:
    one = torch.ones(1)
    return float(outlier_exposure(torch.tensor([cosines]), GROUPS, torch.tensor(10.0), share * one, one))


def test_outlier_exposure_is_the_cross_entropy_of_the_score() -> None:
    shares = torch.softmax(10.0 * torch.tensor([0.5, 0.45, 0.1, 0.4]), 0)
    score = 1.0 - float(shares[0] + shares[1])
    assert exposure([0.5, 0.45, 0.1, 0.4], 0.0) == pytest.approx(-np.log(1.0 - score), rel=1e-5)
    assert exposure([0.5, 0.45, 0.1, 0.4], 1.0) == pytest.approx(-np.log(score), rel=1e-5)
    assert exposure([0.5, 0.45, 0.1, 0.4], 0.25) == pytest.approx(
        -0.25 * np.log(score) - 0.75 * np.log(1.0 - score), rel=1e-5
    )


def test_outlier_exposure_asks_for_one_known_group_and_not_for_which() -> None:
    assert exposure([0.9, 0.0, 0.0, 0.0], 0.0) == pytest.approx(exposure([0.0, 0.0, 0.9, 0.0], 0.0), abs=1e-3)
    assert exposure([0.5, 0.0, 0.5, 0.0], 0.0) > 10 * exposure([0.5, 0.5, 0.0, 0.0], 0.0)  # between groups is doubt


def test_outlier_exposure_stays_finite_where_the_network_is_certain() -> None:
    for cosines in ([1.0, -1.0, -1.0, -1.0], [-1.0, -1.0, -1.0, 1.0]):
        for share in (0.0, 1.0):
            values = torch.tensor([cosines], requires_grad=True)
            one = torch.ones(1)
            loss = outlier_exposure(values, GROUPS, torch.tensor(100.0), share * one, one)
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(values.grad).all()


def test_outlier_exposure_leaves_void_cells_out() -> None:
    cosines = torch.tensor([[0.9, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.9]])
    scale, share = torch.tensor(10.0), torch.zeros(2)
    first = outlier_exposure(cosines[:1], GROUPS, scale, share[:1], torch.ones(1))
    torch.testing.assert_close(outlier_exposure(cosines, GROUPS, scale, share, torch.tensor([1.0, 0.0])), first)


def test_targets_share_border_cells_and_leave_void_out() -> None:
    labels = torch.zeros(1, 4, 8, dtype=torch.long)
    labels[:, :, 6:] = 1
    labels[:, :2, 6:] = 255
    targets = make_targets(labels, 2)
    torch.testing.assert_close(targets.share[0, :, 0], torch.tensor([[1.0, 0.5], [0.0, 0.25]]))
    torch.testing.assert_close(targets.valid[0, 0], torch.tensor([1.0, 0.75]))


def perfect(targets: Targets, queries: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of queries that found each class, shuffled; and the query of each class."""
    batch, classes, height, width = targets.share.shape
    order = torch.from_numpy(np.random.default_rng(seed).permutation(queries)[:classes])
    masks = torch.full((batch, queries, height, width), -8.0)
    logits = torch.zeros(batch, queries, classes + 1)
    logits[..., -1] = 8.0
    for c, q in enumerate(order):
        masks[:, q] = (targets.share[:, c] > 0.5).float() * 16 - 8
        logits[:, q] = 0.0
        logits[:, q, c] = 8.0
    return masks, logits, order


def test_matching_finds_the_query_of_each_class() -> None:
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (2, 16, 24))).repeat_interleave(4, 1)
    targets = make_targets(labels.repeat_interleave(4, 2)[:, :16, :24], 3)
    masks, logits, order = perfect(targets, queries=7)
    for rows, columns in match(masks, logits, targets, WEIGHTS):
        assert order[columns].tolist() == rows.tolist()


def test_matching_is_optimal() -> None:
    rng = torch.Generator().manual_seed(2)
    targets = make_targets(torch.randint(0, 3, (1, 16, 16), generator=rng), 3)
    masks, logits = torch.randn(1, 4, 4, 4, generator=rng), torch.randn(1, 4, 4, generator=rng)
    ((rows, columns),) = match(masks, logits, targets, WEIGHTS)

    def cost(query: int, label: int) -> float:
        s, t, v = masks[0, query].flatten(), targets.share[0, label].flatten(), targets.valid[0].flatten()
        bce = (torch.nn.functional.binary_cross_entropy_with_logits(s, t, reduction="none") * v).sum() / v.sum()
        p = s.sigmoid() * v
        dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        return float(
            -WEIGHTS.class_weight * logits[0, query].softmax(0)[label]
            + WEIGHTS.mask_weight * bce + WEIGHTS.dice_weight * dice
        )  # fmt: skip

    have = sum(cost(q, c) for q, c in zip(rows.tolist(), columns.tolist()))
    best = min(
        sum(cost(q, c) for c, q in enumerate(chosen)) for chosen in itertools.permutations(range(4), len(columns))
    )
    assert have == pytest.approx(best, abs=1e-4)


def test_segmentation_loss_is_small_when_right_and_grows_with_each_mistake() -> None:
    targets = make_targets(torch.arange(2).repeat_interleave(8).repeat(16, 1)[None], 2)
    masks, logits, _ = perfect(targets, queries=4)

    def loss(masks: torch.Tensor, logits: torch.Tensor) -> float:
        return float(segmentation_loss(masks, logits, targets, match(masks, logits, targets, WEIGHTS), WEIGHTS))

    right = loss(masks, logits)
    assert right < 0.05
    assert loss(-masks, logits) > right + 1
    assert loss(masks, logits.roll(1, dims=-1)) > right + 1


def test_void_pixels_do_not_matter() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, 8:] = 255
    targets = make_targets(labels, 2)
    masks, logits, _ = perfect(targets, queries=3)
    changed = masks.clone()
    changed[:, :, 2:] = torch.randn_like(changed[:, :, 2:]) * 9
    losses = [
        float(segmentation_loss(m, logits, targets, match(m, logits, targets, WEIGHTS), WEIGHTS))
        for m in (masks, changed)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_aligner_loss_falls_as_embeddings_meet_their_prompt() -> None:
    texts = torch.eye(4)
    targets = make_targets(torch.full((1, 8, 8), 1), 2)  # rows 2 and 3 are words that no pixel has
    matches = [(torch.tensor([0]), torch.tensor([1]))]

    def loss(row: int) -> float:
        pixels = texts[row][None, :, None, None].expand(1, 4, 2, 2)
        return float(sum(aligner_loss(pixels, texts[row][None, None], texts, targets, matches, 0.1)))

    assert loss(1) < 0.01
    assert loss(0) > 5
    assert loss(3) > 5
