# SPDX-License-Identifier: Apache-2.0
"""FC-CLIP against its formulas, written out here on the published keys, so that no two keys can be swapped unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("open_clip")

import published_checkpoints as published  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding  # noqa: E402

from vl_anomaly_ros.errors import TrainingError  # noqa: E402
from vl_anomaly_ros.model.dense_clip import DenseConvNext  # noqa: E402
from vl_anomaly_ros.model.fcclip import class_logits  # noqa: E402
from vl_anomaly_ros.model.fcclip_weights import load_fcclip  # noqa: E402

SIZES = published.TINY_FCCLIP
CLIP = "tiny-convnext"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fcclip")
    published.register_tiny_clips(folder)
    torch.manual_seed(0)
    return published.save_fcclip(folder / "fcclip.pth", CLIP, SIZES)


def linear(state: State, key: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{key}.weight"], state[f"{key}.bias"])


def norm(state: State, key: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{key}.weight"], state[f"{key}.bias"])


def perceptron(state: State, key: str, x: Tensor) -> Tensor:
    for index in range(3):
        x = linear(state, f"{key}.layers.{index}", x)
        x = x.relu() if index < 2 else x
    return x


def attention(state: State, key: str, q: Tensor, k: Tensor, v: Tensor, blocked: Tensor | None = None) -> Tensor:
    """[N, C] each."""
    wq, wk, wv = state[f"{key}.in_proj_weight"].chunk(3)
    bq, bk, bv = state[f"{key}.in_proj_bias"].chunk(3)
    q, k, v = (F.linear(x, w, b).unflatten(1, (SIZES.heads, -1)).transpose(0, 1)
               for x, w, b in ((q, wq, bq), (k, wk, bk), (v, wv, bv)))  # fmt: skip
    logits = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    if blocked is not None:
        logits = logits.masked_fill(blocked[None], float("-inf"))
    return linear(state, f"{key}.out_proj", (logits.softmax(-1) @ v).transpose(0, 1).flatten(1))


def sine(x: Tensor) -> Tensor:
    """[1, C, h, w] -> [h * w, C]."""
    made: Tensor = Mask2FormerSinePositionEmbedding(x.shape[1] // 2, normalize=True)(x.shape, x.device, x.dtype)
    return made[0].flatten(1).T


def deformable(state: State, key: str, query: Tensor, value: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """[N, C]: each query samples 4 points in each of 3 levels around its own place."""
    values = linear(state, f"{key}.value_proj", value).unflatten(1, (SIZES.heads, -1))
    offsets = linear(state, f"{key}.sampling_offsets", query).unflatten(1, (SIZES.heads, 3, 4, 2))
    weights = linear(state, f"{key}.attention_weights", query).unflatten(1, (SIZES.heads, 12)).softmax(-1)
    centres = torch.cat([
        torch.stack([(torch.arange(h * w) % w + 0.5) / w, (torch.arange(h * w) // w + 0.5) / h], -1) for h, w in shapes
    ])  # fmt: skip
    sampled = []
    for level, ((h, w), part) in enumerate(zip(shapes, values.split([h * w for h, w in shapes]), strict=True)):
        places = centres[:, None, None] + offsets[:, :, level] / torch.tensor([w, h])
        maps = part.permute(1, 2, 0).unflatten(2, (h, w))
        sampled.append(F.grid_sample(maps, 2 * places.transpose(0, 1) - 1, align_corners=False))
    together = torch.cat(sampled, -1) * weights.transpose(0, 1)[:, None]  # [heads, C / heads, N, 12]
    return linear(state, f"{key}.output_proj", together.sum(-1).flatten(0, 1).T)


def pixel_decoder(state: State, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Mask features [1, C, h, w] and the three coarse maps, coarsest first."""
    at = "sem_seg_head.pixel_decoder"
    shapes, flat, positions = [], [], []
    for index, top in enumerate(reversed(maps[1:])):
        x = F.conv2d(top, state[f"{at}.input_proj.{index}.0.weight"], state[f"{at}.input_proj.{index}.0.bias"])
        key = f"{at}.input_proj.{index}.1"
        x = F.group_norm(x, 32, state[f"{key}.weight"], state[f"{key}.bias"])
        shapes.append((x.shape[2], x.shape[3]))
        flat.append(x[0].flatten(1).T)
        positions.append(sine(x) + state[f"{at}.transformer.level_embed"][index])
    x, position = torch.cat(flat), torch.cat(positions)
    for index in range(SIZES.pixel_layers):
        key = f"{at}.transformer.encoder.layers.{index}"
        x = norm(state, f"{key}.norm1", x + deformable(state, f"{key}.self_attn", x + position, x, shapes))
        x = norm(state, f"{key}.norm2", x + linear(state, f"{key}.linear2", linear(state, f"{key}.linear1", x).relu()))
    coarse = [part.T.unflatten(1, s)[None] for part, s in zip(x.split([h * w for h, w in shapes]), shapes, strict=True)]
    side = F.conv2d(maps[0], state[f"{at}.adapter_1.weight"])
    side = F.group_norm(side, 32, state[f"{at}.adapter_1.norm.weight"], state[f"{at}.adapter_1.norm.bias"])
    x = side + F.interpolate(coarse[-1], size=side.shape[-2:], mode="bilinear", align_corners=False)
    x = F.conv2d(x, state[f"{at}.layer_1.weight"], padding=1)
    x = F.group_norm(x, 32, state[f"{at}.layer_1.norm.weight"], state[f"{at}.layer_1.norm.bias"]).relu()
    return F.conv2d(x, state[f"{at}.mask_features.weight"], state[f"{at}.mask_features.bias"]), coarse


def query_decoder(state: State, features: Tensor, coarse: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mask logits [Q, h, w] and unit mask embeddings [Q, D]."""
    at = "sem_seg_head.predictor"
    x, place = state[f"{at}.query_feat.weight"], state[f"{at}.query_embed.weight"]

    def masks_of(x: Tensor) -> Tensor:
        embedded = perceptron(state, f"{at}.mask_embed", norm(state, f"{at}.decoder_norm", x))
        return torch.einsum("qc,chw->qhw", embedded, features[0])

    for index in range(SIZES.query_layers):
        level = coarse[index % 3]
        memory = level[0].flatten(1).T + state[f"{at}.level_embed.weight"][index % 3]
        small = F.interpolate(masks_of(x)[None], size=level.shape[-2:], mode="bilinear", align_corners=False)[0]
        blocked = small.flatten(1) < 0
        blocked = blocked & ~blocked.all(1, keepdim=True)
        key = f"{at}.transformer_cross_attention_layers.{index}"
        step = attention(state, f"{key}.multihead_attn", x + place, memory + sine(level), memory, blocked)
        x = norm(state, f"{key}.norm", x + step)
        key = f"{at}.transformer_self_attention_layers.{index}"
        x = norm(state, f"{key}.norm", x + attention(state, f"{key}.self_attn", x + place, x + place, x))
        key = f"{at}.transformer_ffn_layers.{index}"
        x = norm(state, f"{key}.norm", x + linear(state, f"{key}.linear2", linear(state, f"{key}.linear1", x).relu()))
    masks = masks_of(x)
    inside = (masks > 0).float().flatten(1)
    pooled = inside @ features[0].flatten(1).T / (inside.sum(1, keepdim=True) + 1e-8)
    pooled = linear(state, f"{at}._mask_pooling_proj.1", norm(state, f"{at}._mask_pooling_proj.0", pooled))
    embedded = perceptron(state, f"{at}.class_embed", pooled + norm(state, f"{at}.decoder_norm", x))
    return masks, F.normalize(embedded, dim=-1)


def test_masks_and_embeddings_are_those_of_the_formulas(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["model"]
    loaded = load_fcclip(checkpoint, None, CLIP, SIZES)
    with torch.no_grad():
        maps = DenseConvNext(loaded.clip.model.visual).levels(torch.randn(1, 3, 64, 96))
        out = loaded.decoders(maps)
        masks, embeddings = query_decoder(state, *pixel_decoder(state, maps))
    torch.testing.assert_close(out.mask_logits, masks, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(out.mask_embeddings, embeddings, atol=1e-4, rtol=1e-4)
    assert float(masks.std()) > 0.1  # or the comparison would say nothing


def test_a_class_takes_its_best_text_and_void_comes_last(checkpoint: Path) -> None:
    decoders = load_fcclip(checkpoint, None, CLIP, SIZES).decoders
    texts = F.normalize(torch.randn(3, 2, 12), dim=-1)
    embeddings = F.normalize(torch.randn(4, 12), dim=-1)
    logits = class_logits(embeddings, decoders.classifier(texts), 2)
    scale = float(torch.exp(torch.tensor(3.0)))  # as the checkpoint has it
    void = F.normalize(torch.load(checkpoint, weights_only=True)["model"]["void_embedding.weight"], dim=-1)
    torch.testing.assert_close(logits[:, :3], scale * torch.einsum("qd,ksd->qks", embeddings, texts).amax(-1))
    torch.testing.assert_close(logits[:, 3], scale * (embeddings @ void[0]))


def test_clip_may_come_from_its_own_file(checkpoint: Path, tmp_path: Path) -> None:
    alone = published.save_fcclip(tmp_path / "alone.pth", CLIP, SIZES, with_clip=False)
    clip = published.save_clip(tmp_path / "clip.safetensors", CLIP)
    have = load_fcclip(alone, clip, CLIP, SIZES).clip.model.state_dict()
    wanted = published.load_file(clip)
    assert all(torch.equal(have[key], wanted[key]) for key in wanted)
    with pytest.raises(TrainingError, match=r"expected CLIP under backbone\.clip_model\."):
        load_fcclip(alone, None, CLIP, SIZES)
    with pytest.raises(TrainingError, match="holds CLIP already"):
        load_fcclip(checkpoint, clip, CLIP, SIZES)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("sem_seg_head.predictor.query_feat.weight", "missing: query_decoder.queries_features.weight"),
        ("sem_seg_head.pixel_decoder.adapter_1.norm.bias", "missing: pixel_decoder.adapter_1.1.bias"),
        ("void_embedding.weight", "missing: void_embedding"),
        ("backbone.clip_model.visual.trunk.stem.0.weight", "missing: visual.trunk.stem.0.weight"),
    ],
)
def test_a_key_that_is_absent_is_named(checkpoint: Path, tmp_path: Path, key: str, said: str) -> None:
    state = torch.load(checkpoint, weights_only=True)["model"]
    del state[key]
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(TrainingError) as caught:
        load_fcclip(tmp_path / "w.pth", None, CLIP, SIZES)
    assert said in str(caught.value)


def test_keys_without_a_place_and_of_another_shape_are_named(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)["model"]
    state["sem_seg_head.predictor.surprise.weight"] = torch.ones(1)
    state["sem_seg_head.predictor.query_feat.weight"] = torch.ones(3, 32)
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(TrainingError) as caught:
        load_fcclip(tmp_path / "w.pth", None, CLIP, SIZES)
    assert "1 unexpected: sem_seg_head.predictor.surprise.weight" in str(caught.value)
    assert "query_decoder.queries_features.weight expected (6, 32), got (3, 32)" in str(caught.value)
