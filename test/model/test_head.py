# SPDX-License-Identifier: Apache-2.0
"""The head graph: against formulas written out in NumPy, against ONNX Runtime, and with changing vocabularies."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from vl_anomaly_ros.model.head import INPUT_NAMES, OUTPUT_NAMES, Head  # noqa: E402
from vl_anomaly_ros.training.export import export_graph, head_example  # noqa: E402

Q, K, D, H, W, HC, WC = 5, 3, 8, 6, 10, 3, 5


def visual(seed: int = 0, clip_size: tuple[int, int] = (HC, WC)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = rng.normal(0, 3, (Q, H, W))
    classes = rng.normal(0, 2, (Q, K + 1))
    queries, pixels = rng.normal(size=(Q, D)), rng.normal(size=(D, H, W))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    pixels /= np.linalg.norm(pixels, axis=0, keepdims=True)
    return [x.astype(np.float32) for x in (masks, classes, queries, pixels, rng.normal(size=(D, *clip_size)))]


def vocabulary(known: int = K, ood: int = 2, rows: int = 3, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = known + ood
    bank = rng.normal(size=(classes, rows, D))
    bank /= np.linalg.norm(bank, axis=-1, keepdims=True)
    aligned = np.zeros((classes, rows))
    aligned[:, 0] = 1
    clip = np.zeros((classes, rows))
    clip[:, 1:] = 1
    clip[0, -1] = 0
    bank[0, -1] = 0  # a padded row
    groups = np.zeros((known - 1, classes))
    groups[0, 0] = groups[0, 1] = 1  # the first two classes share a group
    for c in range(2, known):
        groups[c - 1, c] = 1
    detector = np.eye(classes, K) * (np.arange(classes) < known)[:, None]
    return [x.astype(np.float32) for x in (bank, aligned, clip, groups, detector)]


def settings(
    weights: tuple[float, ...] = (1, 2, 3),
    taus: tuple[float, ...] = (0.2, 0.1),
    pixels: float = 0.5,
    dense: float = 0.3,
    ensemble: tuple[float, ...] = (0.0, 0.4, 0.8),
) -> list[np.ndarray]:
    return [np.array(x, np.float32) for x in (weights, taus, [pixels], [dense], ensemble)]


def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
    with torch.no_grad():
        return [x.numpy() for x in Head()(*(torch.from_numpy(x) for x in inputs))]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def by_the_book(inputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Score and sources, pixel by pixel, with loops; CLIP features at the masks' size."""
    masks, classes, queries, pixels, features, bank, aligned, clip, groups, detector = (
        x.astype(np.float64) for x in inputs[:10]
    )
    weights, taus, of_pixels, dense, (share, of_seen, of_unseen) = (x.astype(np.float64) for x in inputs[10:])
    m, c = sigmoid(masks), softmax(classes, 1)
    n_classes = len(bank)

    def probabilities(embedding: np.ndarray, rows: np.ndarray, tau: float) -> np.ndarray:
        logits = np.full(n_classes, -np.inf)
        for i in range(n_classes):
            cosines = [bank[i, r] @ embedding for r in range(bank.shape[1]) if rows[i, r]]
            if cosines:
                logits[i] = max(cosines)
        e = np.where(np.isfinite(logits), np.exp(np.where(np.isfinite(logits), logits, 0) / tau), 0)
        return e / e.sum()

    sources, doubt = np.zeros((3, H, W)), np.zeros((H, W))
    exponents = np.where(detector.max(1) > 0, of_seen, of_unseen)
    for y in range(H):
        for x in range(W):
            claims = c[:, :-1].T @ m[:, y, x]
            det = detector @ (claims / max(claims.sum(), 1))
            claim = (1 - c[:, -1]) * m[:, y, x]

            def per_mask(by_query: list[np.ndarray], claim: np.ndarray = claim) -> np.ndarray:
                return np.sum([claim[q] * by_query[q] for q in range(Q)], 0) / max(claim.sum(), 0.1)

            learned = [probabilities(queries[q], aligned, taus[0]) for q in range(Q)]
            text = of_pixels * probabilities(pixels[:, y, x], aligned, taus[0])
            text += (1 - of_pixels) * per_mask(learned)
            pooled = [(m[q] * features).sum((1, 2)) for q in range(Q)]
            by_query = [probabilities(g / np.linalg.norm(g), clip, taus[1]) for g in pooled]
            at_pixel = features[:, y, x] / np.linalg.norm(features[:, y, x])
            near = (1 - dense[0]) * per_mask(by_query) + dense[0] * probabilities(at_pixel, clip, taus[1])
            for s, p in enumerate((det, text, near)):
                sources[s, y, x] = np.clip(1 - (groups @ p).max(), 0, 1)
            both = [a ** (1 - exponents) * b**exponents for a, b in zip(learned, by_query)]
            doubt[y, x] = 1 - (groups @ per_mask([p / p.sum() for p in both])).max()
    return (1 - share) * np.tensordot(weights / weights.sum(), sources, 1) + share * doubt, sources


@pytest.mark.parametrize(
    ("pixels", "ensemble"),
    [(0.5, (0.0, 0.4, 0.8)), (0.0, (0.0, 0.4, 0.8)), (1.0, (1.0, 0.4, 0.8)), (0.5, (0.3, 1.0, 0.0))],
)
def test_head_follows_the_formulas(pixels: float, ensemble: tuple[float, ...]) -> None:
    inputs = visual(clip_size=(H, W)) + vocabulary() + settings(pixels=pixels, ensemble=ensemble)
    score, sources, _ = run(inputs)
    expected_score, expected_sources = by_the_book(inputs)
    np.testing.assert_allclose(sources, expected_sources, atol=2e-5)
    np.testing.assert_allclose(score, expected_score, atol=2e-5)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("head") / "head.onnx"
    example = head_example(tuple(torch.from_numpy(x) for x in visual()), D, K)
    export_graph(
        Head().eval(), example, path, list(INPUT_NAMES), list(OUTPUT_NAMES),
        {
            "text_bank": {0: "C", 1: "R"}, "aligned_mask": {0: "C", 1: "R"}, "clip_mask": {0: "C", 1: "R"},
            "group_matrix": {0: "G", 1: "C"}, "detector_matrix": {0: "C"},
        },
    )  # fmt: skip
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("known", "ood", "rows"), [(3, 2, 3), (7, 0, 2), (2, 30, 9)])
def test_exported_head_equals_eager_for_any_vocabulary(
    session: onnxruntime.InferenceSession, known: int, ood: int, rows: int
) -> None:
    inputs = visual(seed=known) + vocabulary(known, ood, rows) + settings()
    score, sources, class_map = session.run(list(OUTPUT_NAMES), dict(zip(INPUT_NAMES, inputs)))
    eager = run(inputs)
    np.testing.assert_allclose(score, eager[0], atol=1e-4)
    np.testing.assert_allclose(sources, eager[1], atol=1e-4)
    assert class_map.dtype == np.int32
    assert (class_map == eager[2]).mean() > 0.99
    assert class_map.max() < known


def test_a_new_known_class_changes_the_score_without_a_rebuild(session: onnxruntime.InferenceSession) -> None:
    """What only the OOD class explained becomes normal once the same words are a known class."""
    seen = visual(seed=4)
    bank, aligned, clip, groups, detector = vocabulary(known=3, ood=2)
    features = np.broadcast_to(bank[4, 1][:, None, None], (D, HC, WC)).astype(np.float32)
    seen[4] = features  # the whole image looks like the last OOD class
    score_of = lambda *words: session.run(  # noqa: E731
        ["score"], dict(zip(INPUT_NAMES, seen + list(words) + settings(weights=(0, 0, 1), taus=(0.2, 0.02))))
    )[0]
    before = score_of(bank, aligned, clip, groups, detector)
    promoted = np.zeros((len(groups) + 1, bank.shape[0]), np.float32)
    promoted[:-1] = groups
    promoted[-1, 4] = 1
    after = score_of(bank, aligned, clip, promoted, detector)
    assert before.min() > 0.9
    assert after.max() < 0.1


def test_a_source_without_prompts_gives_no_nan_and_explains_nothing() -> None:
    bank, aligned, clip, groups, detector = vocabulary()
    score, sources, _ = run([*visual(), bank, aligned * 0, clip, groups, detector, *settings()])
    assert np.isfinite(score).all()
    np.testing.assert_allclose(sources[1], 1.0)


def test_a_detector_class_no_longer_known_is_unexplained() -> None:
    seen = visual()
    seen[0][:] = -20.0
    seen[0][0] = 20.0  # one query claims everything
    seen[1][:] = 0.0
    seen[1][0, 2] = 50.0  # and is sure that it is detector class 2
    bank, aligned, clip, groups, detector = vocabulary()
    assert run([*seen, bank, aligned, clip, groups, detector, *settings()])[1][0].max() < 1e-3
    detector[:, 2] = 0
    assert run([*seen, bank, aligned, clip, groups, detector, *settings()])[1][0].min() > 0.999


def test_many_queries_that_hardly_claim_a_pixel_do_not_explain_it() -> None:
    """250 queries at a logit of -9 claim 3 % of it together, and each of them is sure of its class."""
    seen, words = visual(), vocabulary()
    seen[0] = np.full((250, H, W), -9, np.float32)
    seen[1] = np.tile(np.array([[20, 0, 0, 0]], np.float32), (250, 1))
    seen[2] = np.tile(words[0][0, :1], (250, 1))  # the learned prompt of the first class
    seen[4] = np.broadcast_to(words[0][0, 1][:, None, None], (D, HC, WC)).astype(np.float32)
    masks_alone = settings(taus=(0.02, 0.02), pixels=0.0, dense=0.0, ensemble=(1.0, 0.4, 0.8))
    score, sources, _ = run([*seen, *words, *masks_alone])
    assert min(score.min(), sources.min()) > 0.65
    seen[0][:] = 9
    score, sources, _ = run([*seen, *words, *masks_alone])
    assert max(score.max(), sources.max()) < 0.1


def test_sources_and_score_stay_in_range_under_extreme_inputs() -> None:
    seen = [x * 50 if i in (0, 1, 4) else x for i, x in enumerate(visual())]
    score, sources, _ = run([*seen, *vocabulary(), *settings(taus=(0.001, 0.001))])
    for values in (score, sources):
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= 1
