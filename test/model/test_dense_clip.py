# SPDX-License-Identifier: Apache-2.0
"""Published CLIP towers: loading open_clip's layouts, and dense features against open_clip's own modules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")

import published_checkpoints as published  # noqa: E402

from vl_anomaly_ros.errors import TrainingError  # noqa: E402
from vl_anomaly_ros.model.clip import encode_tokens  # noqa: E402
from vl_anomaly_ros.model.dense_clip import DenseConvNext, DenseViT, dense_clip  # noqa: E402
from vl_anomaly_ros.model.open_clip_weights import build_clip, extend_vocabulary, load_clip  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    published.register_tiny_clips(tmp_path_factory.mktemp("architectures"))


def test_a_vit_gives_what_its_tokens_give_when_each_attends_to_itself_alone() -> None:
    torch.manual_seed(0)
    visual = build_clip("tiny-vit").visual
    image = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        x = visual._embeds(image)
        alone = ~torch.eye(x.shape[1], dtype=torch.bool)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            x = block(x)
        x = last(x, attn_mask=torch.zeros(alone.shape).masked_fill(alone, float("-inf")))
        wanted = (visual.ln_post(x) @ visual.proj)[:, 1:]
        have = DenseViT(visual, 28, 28).eval()(image)
    assert have.shape == (1, 12, 2, 2)
    torch.testing.assert_close(have.flatten(2).transpose(1, 2), wanted)


def test_a_vit_takes_any_size_and_keeps_left_left() -> None:
    torch.manual_seed(0)
    visual = build_clip("tiny-vit").visual
    dense = DenseViT(visual, 64, 128).eval()
    assert dense.grid == (5, 9)  # 64 / 14 and 128 / 14, rounded
    assert dense.size == (70, 126)
    torch.testing.assert_close(dense.position[0, 0], visual.positional_embedding[0])
    image = torch.zeros(1, 3, 64, 128)
    marked = image.clone()
    marked[..., :40] = 1.0
    with torch.no_grad():
        change = (dense(marked) - dense(image)).norm(dim=1)[0]
    assert change.shape == (5, 9)
    assert change[:, :2].mean() > 2 * change[:, -2:].mean()


def test_interpolated_positions_follow_the_stored_ones() -> None:
    visual = build_clip("tiny-vit").visual
    with torch.no_grad():  # a ramp over the columns of the 2 x 2 grid, the same in all channels
        visual.positional_embedding[1:] = torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None]
    position = DenseViT(visual, 28, 84).position[0, 1:, 0].reshape(2, 6)
    torch.testing.assert_close(position[0], position[1])
    assert (position[0].diff() >= -1e-6).all()
    assert position[0, 0] < 0.2 < 0.8 < position[0, -1]


def test_a_convnext_projects_each_place_as_open_clip_projects_the_mean() -> None:
    torch.manual_seed(0)
    visual = build_clip("tiny-convnext").visual
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        top = DenseConvNext(visual).eval().levels(image)[-1]
        flat = top[:, :, :1, :1].expand_as(top)  # a map of one value: its mean is that value
        have = DenseConvNext(visual).eval().project(flat)
        wanted = visual.head(visual.trunk.forward_head(visual.trunk.norm_pre(flat)))
    assert have.shape == (1, 12, 2, 3)
    torch.testing.assert_close(have, wanted[:, :, None, None].expand_as(have))


def test_safetensors_torch_files_and_folders_give_the_same_clip(tmp_path: Path) -> None:
    state = published.clip_state("tiny-vit")
    published.save_file(state, tmp_path / "open_clip_model.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "epoch_32.pt")
    config = {
        "model_cfg": {**published.TINY_CLIPS["tiny-vit"], "quick_gelu": True},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    by_file = load_clip(tmp_path / "open_clip_model.safetensors", "tiny-vit")
    by_torch = load_clip(tmp_path / "epoch_32.pt", "tiny-vit")
    by_folder = load_clip(tmp_path, "tiny-vit")
    for loaded in (by_file, by_torch, by_folder):
        for key, value in loaded.model.state_dict().items():
            assert torch.equal(value, state[key]), key
    assert by_folder.mean == (0.5, 0.5, 0.5)
    assert by_file.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    # The activation is no tensor: the folder says it, a lone file cannot.
    one = torch.tensor(1.0)
    quick, exact = (c.model.visual.transformer.resblocks[0].mlp.gelu(one) for c in (by_folder, by_file))
    assert float(quick) == pytest.approx(0.845796, abs=1e-5)  # 1 / (1 + exp(-1.702))
    assert float(exact) == pytest.approx(0.841345, abs=1e-5)
    assert "QuickGELU" in by_folder.notes[0]


def test_sizes_that_openai_repeats_are_ignored_with_a_reason(tmp_path: Path) -> None:
    state = published.clip_state("tiny-vit")
    state |= {"input_resolution": torch.tensor(224), "context_length": torch.tensor(77)}
    state["logit_scale"] = state["logit_scale"].reshape(1)
    published.save_file(state, tmp_path / "clip.safetensors")
    loaded = load_clip(tmp_path / "clip.safetensors", "tiny-vit")
    assert any("2 x input_resolution" in note for note in loaded.notes)
    assert loaded.model.logit_scale.shape == ()


def test_weights_of_another_clip_are_refused_by_name(tmp_path: Path) -> None:
    state = published.clip_state("tiny-vit")
    state["visual.new"] = state.pop("visual.proj")
    state["text_projection"] = torch.ones(16, 13)
    published.save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(TrainingError) as caught:
        load_clip(tmp_path / "clip.safetensors", "tiny-vit")
    for part in ("missing: visual.proj", "unexpected: visual.new", "text_projection expected (16, 12), got (16, 13)"):
        assert part in str(caught.value)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 1}}), encoding="utf-8")
    with pytest.raises(TrainingError, match="expected embed_dim of tiny-vit, 12, got 1"):
        load_clip(tmp_path, "tiny-vit")
    with pytest.raises(TrainingError, match="expected an architecture that open_clip"):
        load_clip(tmp_path / "clip.safetensors", "no-such-clip")


def test_text_is_read_at_its_end_token_with_and_without_learned_contexts() -> None:
    torch.manual_seed(0)
    clip = build_clip("tiny-vit")
    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[0, :4] = torch.tensor([49406, 320, 1929, 49407])
    tokens[1, :3] = torch.tensor([49406, 1615, 49407])
    with torch.no_grad():
        wanted = clip.encode_text(tokens, normalize=True)
        torch.testing.assert_close(encode_tokens(clip, tokens), wanted)
        rows = torch.randn(2, 16)
        extend_vocabulary(clip, rows)
        torch.testing.assert_close(encode_tokens(clip, tokens), wanted)
        with_context = tokens.clone()
        with_context[0, 1] = 49408
        learned = encode_tokens(clip, with_context)
        torch.testing.assert_close(learned, encode_tokens(clip, tokens, {320: rows[0]}))
    assert not torch.allclose(learned[0], wanted[0])


def test_other_towers_are_refused() -> None:
    clip = build_clip("tiny-vit")
    clip.visual = torch.nn.Identity()
    with pytest.raises(TrainingError, match="expected a ViT or a ConvNeXt, got Identity"):
        dense_clip(clip, 64, 64)
