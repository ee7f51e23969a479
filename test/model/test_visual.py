# SPDX-License-Identifier: Apache-2.0
"""The visual and text graphs: shapes, unit lengths, pooling, and parity with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("open_clip")
pytest.importorskip("transformers")

from vl_anomaly_ros.model.aligner import PLAligner, write_contexts  # noqa: E402
from vl_anomaly_ros.model.clip import ClipConfig, TextEncoder, build_clip, dense_features, freeze  # noqa: E402
from vl_anomaly_ros.model.segmenter import Segmenter, SegmenterConfig, semantic_probabilities  # noqa: E402
from vl_anomaly_ros.model.visual import OUTPUT_NAMES, Visual  # noqa: E402
from vl_anomaly_ros.training.export_graph import export_graph  # noqa: E402

CLIP = ClipConfig(
    embedding_size=16,
    vision_widths=(16, 16, 16, 16),
    vision_fusion_width=8,
    text_width=16,
    text_heads=2,
    text_layers=1,
    context_length=8,
)
SEGMENTER = SegmenterConfig(
    stem_width=8,
    backbone_widths=(8, 8, 16, 16),
    backbone_depths=(1, 1, 1, 1),
    hidden_size=32,
    feedforward_size=32,
    query_decoder_layers=2,
    heads=2,
    queries=6,
)
CLASSES = 4


@pytest.fixture(scope="module")
def network() -> Visual:
    torch.manual_seed(0)
    clip = build_clip(CLIP, vocab_size=40)
    aligner = PLAligner(SEGMENTER.hidden_size, CLIP.embedding_size, torch.randn(2, CLIP.text_width), [4, 5])
    return Visual(Segmenter(SEGMENTER, CLASSES), aligner, clip, [0.5] * 3, [0.25] * 3).eval()


def test_shapes_and_unit_lengths(network: Visual) -> None:
    with torch.no_grad():
        out = dict(zip(OUTPUT_NAMES, network(torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8))))
    shapes = {name: tuple(value.shape) for name, value in out.items()}
    assert shapes == {
        "mask_logits": (6, 16, 24), "class_logits": (6, CLASSES + 1), "mask_embeddings": (6, 16),
        "pixel_embeddings": (16, 16, 24), "clip_features": (16, 16, 24),
    }  # fmt: skip
    torch.testing.assert_close(out["mask_embeddings"].norm(dim=1), torch.ones(6))
    torch.testing.assert_close(out["pixel_embeddings"].norm(dim=0), torch.ones(16, 24))


def test_exported_visual_equals_eager(network: Visual, tmp_path: Path) -> None:
    path = tmp_path / "visual.onnx"
    image = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    export_graph(network, (image,), path, ["image"], list(OUTPUT_NAMES))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    other = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        eager = network(other)
    for name, want, have in zip(OUTPUT_NAMES, eager, session.run(None, {"image": other.numpy()})):
        np.testing.assert_allclose(have, want.numpy(), atol=1e-4, err_msg=name)


def test_graph_computes_in_float32(network: Visual, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "visual.onnx"
    export_graph(network, (torch.zeros(1, 64, 96, 3, dtype=torch.uint8),), path, ["image"], list(OUTPUT_NAMES))
    model = onnx.load(path)
    sampled = {name for node in model.graph.node if node.op_type == "GridSample" for name in node.input}
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info if v.name in sampled}
    assert types
    assert set(types.values()) == {onnx.TensorProto.FLOAT}


def test_image_embedding_is_the_mean_of_dense_features() -> None:
    torch.manual_seed(1)
    clip = build_clip(CLIP, vocab_size=40).eval()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(clip.encode_image(image), dense_features(clip, image).mean((2, 3)))


def test_text_graph_equals_open_clip_for_any_number_of_texts(tmp_path: Path) -> None:
    torch.manual_seed(2)
    clip = build_clip(CLIP, vocab_size=40).eval()
    tokens = torch.zeros(5, 8, dtype=torch.long)
    for row in range(5):
        tokens[row, : row + 3] = torch.tensor([1, *range(10, 11 + row), 2])
    with torch.no_grad():
        wanted = clip.encode_text(tokens, normalize=True)
    export_graph(
        TextEncoder(clip).eval(),
        (tokens[:2],),
        tmp_path / "text.onnx",
        ["tokens"],
        ["embeddings"],
        {"tokens": {0: "N"}, "embeddings": {0: "N"}},
    )
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (have,) = session.run(None, {"tokens": tokens[:count].numpy()})
        np.testing.assert_allclose(have, wanted[:count].numpy(), atol=1e-5)


def test_learned_contexts_get_gradients_while_clip_stays_frozen_to_the_bit() -> None:
    torch.manual_seed(3)
    clip = build_clip(CLIP, vocab_size=40)
    freeze(clip)
    before = {key: value.clone() for key, value in clip.state_dict().items()}
    aligner = PLAligner(SEGMENTER.hidden_size, CLIP.embedding_size, torch.randn(2, CLIP.text_width), [4, 5])
    tokens = torch.tensor([[1, 4, 5, 20 + i, 2, 0, 0, 0] for i in range(3)])
    start = aligner.contexts.detach().clone()
    optimizer = torch.optim.SGD(aligner.parameters(), lr=1.0)
    pixels = torch.randn(1, SEGMENTER.hidden_size, 4, 4)
    for _ in range(3):
        texts = aligner.class_embeddings(clip, tokens)
        cosines = torch.einsum("kd,bdhw->bkhw", texts, aligner.pixel_embeddings(pixels))
        loss = torch.nn.functional.cross_entropy(cosines / 0.1, torch.zeros(1, 4, 4, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        assert aligner.contexts.grad is not None
        assert aligner.contexts.grad.abs().min(dim=1).values.max() > 0
        optimizer.step()
    assert not torch.equal(aligner.contexts, start)
    assert all(torch.equal(value, before[key]) for key, value in clip.state_dict().items())


def test_written_contexts_give_the_learned_prompts_at_run_time() -> None:
    torch.manual_seed(4)
    clip = build_clip(CLIP, vocab_size=40).eval()
    aligner = PLAligner(SEGMENTER.hidden_size, CLIP.embedding_size, torch.randn(2, CLIP.text_width), [4, 5])
    tokens = torch.tensor([[1, 4, 5, 20, 2, 0, 0, 0], [1, 21, 2, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        learned = aligner.class_embeddings(clip, tokens)
        plain = clip.encode_text(tokens, normalize=True)
        write_contexts(clip, aligner)
        stored = clip.encode_text(tokens, normalize=True)
    torch.testing.assert_close(stored, learned)
    torch.testing.assert_close(stored[1], plain[1])  # a prompt without contexts is not touched
    assert not torch.allclose(stored[0], plain[0])


def test_semantic_probabilities_are_probabilities(network: Visual) -> None:
    with torch.no_grad():
        out = network.segmenter(torch.randn(2, 3, 64, 64))
    assert len(out.mask_logits) == len(out.class_logits) == SEGMENTER.query_decoder_layers
    values = semantic_probabilities(out)
    assert values.shape == (2, CLASSES, 16, 16)
    assert values.min() >= 0
    assert values.max() <= 1
