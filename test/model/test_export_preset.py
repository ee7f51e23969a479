# SPDX-License-Identifier: Apache-2.0
"""`vl-anomaly export --preset` on small checkpoints in the published layouts: from the files to the running engine."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("open_clip")
onnx = pytest.importorskip("onnx")

import published_checkpoints as published  # noqa: E402

from vl_anomaly_ros.engine.bundle import load_bundle  # noqa: E402
from vl_anomaly_ros.engine.engine import Engine  # noqa: E402
from vl_anomaly_ros.engine.onnxruntime import OnnxRuntimeBackend  # noqa: E402
from vl_anomaly_ros.engine.tensorrt.build import GRAPHS, BuildSettings, build_engine  # noqa: E402
from vl_anomaly_ros.engine.tensorrt.library import load_library  # noqa: E402
from vl_anomaly_ros.errors import TrainingError  # noqa: E402
from vl_anomaly_ros.evaluation.seal import seal, write_yaml  # noqa: E402
from vl_anomaly_ros.model import presets  # noqa: E402
from vl_anomaly_ros.model.aligner import PLAligner  # noqa: E402
from vl_anomaly_ros.model.mask2former_weights import load_mask2former  # noqa: E402
from vl_anomaly_ros.text.tokenizer import Tokenizer  # noqa: E402
from vl_anomaly_ros.text.vocabulary import KnownClass, Vocabulary  # noqa: E402
from vl_anomaly_ros.training import export_command, export_parity, export_preset  # noqa: E402
from vl_anomaly_ros.training.export_graph import gather_weights, whole_or_not_at_all  # noqa: E402
from vl_anomaly_ros.training.export_parts import Sources, assemble  # noqa: E402

SWIN, FCCLIP = published.TINY_SWIN_VIT, published.TINY_FCCLIP_CONVNEXT
TINY = {"tiny-swin": SWIN, "tiny-fcclip": FCCLIP}
# What TensorRT cannot compile: their output's shape depends on values, or they loop.
NO_FIXED_SHAPE = {"NonZero", "Unique", "Loop", "If", "Scan", "Compress", "NonMaxSuppression"}


@dataclasses.dataclass(frozen=True)
class Files:
    """Small checkpoints."""

    segmenter: Path
    clip: Path
    fcclip: Path
    aligner: Path
    vocabulary: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("weights")
    published.register_tiny_clips(folder)
    torch.manual_seed(0)
    made = Files(
        published.save_tiny_mask2former(folder / "mask2former", as_torch=True),
        published.save_clip(folder / "clip.safetensors", "tiny-vit"),
        published.save_fcclip(folder / "fcclip.pth", "tiny-convnext", published.TINY_FCCLIP),
        folder / "segment-0.pt",
        folder / "vocabulary.yaml",
    )
    words = Vocabulary(
        tuple(KnownClass(name, synonyms=("automobile",) if name == "car" else ()) for name in presets.CITYSCAPES),
        ("animal",),
    )
    write_yaml(made.vocabulary, words.to_mapping())
    # As training saves a phase: the segmenter that it went on training, and the aligner.
    segmenter = load_mask2former(made.segmenter, published.TINY_SWIN, presets.CITYSCAPES).module
    with torch.no_grad():
        segmenter.network.class_predictor.bias.fill_(0.25)
    both = torch.nn.ModuleDict({"segmenter": segmenter, "aligner": aligner()})
    state = both.state_dict()
    torch.save({"step": 3, "module": {}, "optimizer": {}, "average": state}, made.aligner)
    return made


def aligner() -> PLAligner:
    """Two learned contexts; the same at each call."""
    torch.manual_seed(7)
    return PLAligner(32, 12, torch.randn(2, 16), [49408, 49409])


def arguments(name: str, files: Files, out: Path) -> list[str]:
    """With an aligner for the Mask2Former, without one for FC-CLIP."""
    words = ["--fcclip", str(files.fcclip)]
    if name == "tiny-swin":
        words = ["--segmenter", str(files.segmenter), "--clip", str(files.clip), "--aligner", str(files.aligner)]
    words += ["--vocabulary", str(files.vocabulary)]
    return ["--preset", name, "--size", "128x64", "--threads", "1", "--out", str(out), *words]


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    export_command.add_arguments(parser)
    return export_command.run(parser.parse_args(words))


@pytest.fixture(scope="module")
def bundles(files: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each preset, made by the command."""
    made = {}
    for name, preset in TINY.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(presets.PRESETS, name, preset)
            made[name] = tmp_path_factory.mktemp("bundles") / name
            assert command(*arguments(name, files, made[name])) == 0
    return made


@pytest.fixture(params=list(TINY))
def exported(request: pytest.FixtureRequest, bundles: dict[str, Path]) -> Path:
    """One of them."""
    return bundles[request.param]


def figures(bundle: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((bundle / "bundle.yaml").read_text(encoding="utf-8"))["figures"]["export"]
    return values


def test_the_bundle_carries_its_parity_sizes_and_times(exported: Path) -> None:
    have = figures(exported)
    assert have["score_max_abs"] <= 1e-3
    assert have["head_alone_max_abs"] <= 1e-3
    assert have["text_max_abs"] <= 1e-3
    assert have["score_spread"][1] - have["score_spread"][0] > 0.01  # or parity would say nothing
    assert set(have["megabytes"]) >= {"visual.onnx", "head.onnx", "text.onnx"}
    assert min(have[key] for key in ("visual_s", "eager_visual_s", "export_visual_s", "peak_memory_gb")) > 0


def test_the_engine_runs_the_bundle(exported: Path) -> None:
    bundle = load_bundle(exported)
    assert bundle.detector_classes == presets.CITYSCAPES
    engine = Engine(bundle, OnnxRuntimeBackend(bundle, threads=1))
    scores = engine.run(np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8))
    assert scores.score.shape == (16, 32)
    assert 0 <= scores.score.min() < scores.score.max() <= 1
    engine.close()


def test_nobody_can_take_it_for_calibrated(exported: Path) -> None:
    calibration = load_bundle(exported).calibration
    assert calibration.measured_on.startswith("NOT CALIBRATED")
    assert (calibration.score, calibration.probability) == ((0.0, 1.0), (0.0, 1.0))
    assert calibration.threshold == 0.5


def test_provenance_says_what_it_was_made_of(exported: Path) -> None:
    text = load_bundle(exported).provenance
    assert ("No PL-Aligner" in text) == ("fcclip" in exported.name)
    assert "weights of the training loss" in text  # what was ignored, and why
    assert text.count("SHA-256") >= 1


def test_outputs_are_unit_vectors_where_the_contract_says_so(exported: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 128, 3), dtype=np.uint8)
    out = OnnxRuntimeBackend(load_bundle(exported), threads=1).visual(image)
    np.testing.assert_allclose(np.linalg.norm(out.mask_embeddings, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(out.pixel_embeddings, axis=0), 1, atol=1e-4)
    assert out.mask_logits.shape[1:] == out.pixel_embeddings.shape[1:] == (16, 32)
    assert out.clip_features.shape[1:] == ((5, 9) if "swin" in exported.name else (2, 4))


def test_the_graph_holds_nothing_that_tensorrt_cannot_compile(exported: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(exported / "visual.onnx"))
    values = [*model.graph.value_info, *model.graph.output]
    assert values
    assert not [v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE]
    assert not [w.name for w in model.graph.initializer if w.data_type == onnx.TensorProto.DOUBLE]
    assert not NO_FIXED_SHAPE & {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_compiles_it(precision: str, exported: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed here")
    library, bundle = load_library("tensorrt-rtx"), load_bundle(exported)
    for graph in GRAPHS:
        assert build_engine(library, bundle, graph, BuildSettings(precision, "8.9"))


def test_a_large_graph_is_divided_and_gives_the_same(bundles: dict[str, Path], tmp_path: Path) -> None:
    exported = bundles["tiny-fcclip"]
    image = np.random.default_rng(2).integers(0, 256, (1, 64, 128, 3), dtype=np.uint8)
    wanted = OnnxRuntimeBackend(load_bundle(exported), threads=1).visual(image)
    folder, made = tmp_path / "divided", tmp_path / "made"
    for path in (folder, made):
        path.mkdir()
    for file in exported.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "visual.onnx").replace(made / "visual.onnx")
    gather_weights(made / "visual.onnx", folder / "visual.onnx", inline_bytes=1000)
    seal(folder)
    assert (folder / "visual.onnx.data").stat().st_size > (folder / "visual.onnx").stat().st_size // 4
    assert (folder / "visual.onnx.data").stat().st_mode == (folder / "visual.onnx").stat().st_mode
    have = OnnxRuntimeBackend(load_bundle(folder), threads=1).visual(image)
    for name, value in vars(wanted).items():
        np.testing.assert_array_equal(getattr(have, name), value, err_msg=name)


def test_a_trained_aligner_is_used_with_its_segmenter_and_contexts(files: Files, bundles: dict[str, Path]) -> None:
    sources = Sources(files.segmenter, files.clip, aligner=files.aligner)
    bundle = load_bundle(bundles["tiny-swin"])
    assert bundle.learned_prompt == "<ctx0> <ctx1> {}"
    assert "PL-Aligner from segment-0.pt, with the segmenter's weights" in bundle.provenance
    network, parts = assemble(SWIN, sources, export_preset.default_vocabulary(SWIN), 128, 64)
    assert torch.equal(network.segmenter.network.class_predictor.bias, torch.full((20,), 0.25))
    backend = OnnxRuntimeBackend(bundle, threads=1)
    image = np.random.default_rng(3).integers(0, 256, (1, 64, 128, 3), dtype=np.uint8)
    with torch.no_grad():
        inside = network.segmenter(network.segmenter_input(torch.from_numpy(image)))
        by_mask = aligner().mask_embeddings(inside.queries)[0]
        by_pixel = aligner().pixel_embeddings(inside.pixels)[0]
    out_of_graph = backend.visual(image)
    np.testing.assert_allclose(out_of_graph.mask_embeddings, by_mask, atol=1e-4)
    np.testing.assert_allclose(out_of_graph.pixel_embeddings, by_pixel, atol=1e-4)
    tokenizer = Tokenizer(bundle.read("tokenizer.json"), bundle.context_length)
    tokens = tokenizer([bundle.learned_prompt.format("car"), "a photo of a car."])
    plain = assemble(SWIN, Sources(files.segmenter, files.clip), export_preset.default_vocabulary(SWIN), 128, 64)[1]
    with torch.no_grad():
        learned = aligner().class_embeddings(parts.clip, torch.from_numpy(tokens[:1]))
    rows = backend.text(tokens)
    np.testing.assert_allclose(rows[:1], learned, atol=1e-5)
    np.testing.assert_allclose(rows[1:], plain.encode(["a photo of a car."]), atol=1e-5)


def test_an_aligner_of_another_network_is_refused_by_name(files: Files, tmp_path: Path) -> None:
    torch.save(PLAligner(32, 13, torch.randn(2, 16), [0, 1]).state_dict(), tmp_path / "other.pt")
    with pytest.raises(TrainingError, match=r"other\.pt.*pixel_adapter\.0\.weight expected \(12, 32, 1, 1\)"):
        load_parts(files, aligner=tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="expected the learned contexts"):
        load_parts(files, aligner=files.clip)


def load_parts(files: Files, **others: Path) -> None:
    chosen = {"segmenter": files.segmenter, "clip": files.clip, **others}
    assemble(SWIN, Sources(**chosen), export_preset.default_vocabulary(SWIN), 128, 64)


def test_segmenter_weights_that_do_not_fit_are_refused_by_name(files: Files, tmp_path: Path) -> None:
    state = torch.load(files.segmenter / "pytorch_model.bin", weights_only=True)
    state["class_predictor.other"] = state.pop("class_predictor.weight")
    state["model.transformer_module.queries_embedder.weight"] = torch.ones(4, 32)
    layer = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self.query.weight"
    assert layer in state  # the published name
    del state[layer]
    (tmp_path / "config.json").write_bytes((files.segmenter / "config.json").read_bytes())
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(TrainingError) as caught:
        load_parts(files, segmenter=tmp_path)
    said = str(caught.value)
    assert "2 missing" in said
    assert "class_predictor.weight" in said
    assert "layers.0.blocks.0.attention" in said
    assert "1 unexpected: class_predictor.other" in said
    assert "queries_embedder.weight expected (5, 32), got (4, 32)" in said


def test_another_segmenter_is_refused(files: Files, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="choose the preset of these weights"):
        load_mask2former(files.segmenter, presets.Backbone(128, (2, 2, 18, 2)), presets.CITYSCAPES)
    with pytest.raises(TrainingError, match="expected the classes aircraft as id2label"):
        load_mask2former(files.segmenter, published.TINY_SWIN, ("aircraft",))
    with pytest.raises(TrainingError, match="expected a JSON file"):
        load_mask2former(tmp_path, published.TINY_SWIN, presets.CITYSCAPES)


def test_without_an_aligner_the_embeddings_are_clips_own(files: Files) -> None:
    sources = Sources(files.segmenter, files.clip)
    network, parts = assemble(SWIN, sources, export_preset.default_vocabulary(SWIN), 128, 64)
    with torch.no_grad():
        masks, _, by_mask, by_pixel, clip = network(torch.randint(0, 256, (1, 64, 128, 3), dtype=torch.uint8))
    assert "No PL-Aligner" in parts.provenance
    assert parts.learned_prompt == "a photo of a {}."
    shares = torch.nn.functional.interpolate(masks.sigmoid()[None], clip.shape[1:], mode="bilinear")[0]
    pooled = torch.einsum("qhw,dhw->qd", shares, clip)
    torch.testing.assert_close(by_mask, pooled / pooled.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)
    near = clip[:, 2, 4] / clip[:, 2, 4].norm()  # the middle of 5 x 9 places, and of 16 x 32
    assert float(near @ by_pixel[:, 8, 16]) > 0.9


def test_a_difference_fails_the_export(bundles: dict[str, Path]) -> None:
    bundle = load_bundle(bundles["tiny-fcclip"])
    backend = OnnxRuntimeBackend(bundle, threads=1)
    image = np.random.default_rng(4).integers(0, 256, (1, 64, 128, 3), dtype=np.uint8)
    outputs = tuple(vars(backend.visual(image)).values())
    texts = ("a photo of a car.",)
    rows = backend.text(Tokenizer(bundle.read("tokenizer.json"), bundle.context_length)(texts))
    right = export_parity.Reference(image, outputs, texts, rows, 0.1)
    assert export_parity.check_parity(bundle.path, right, threads=1)["score_max_abs"] < 1e-5
    for wrong, said in (
        (dataclasses.replace(right, outputs=(outputs[0] - 3, *outputs[1:])), "score_max_abs"),
        (dataclasses.replace(right, embeddings=np.full_like(rows, np.nan)), "text_max_abs of at most 0.001, got nan"),
    ):
        with pytest.raises(TrainingError, match=f"parity: expected {said}"):
            export_parity.check_parity(bundle.path, wrong, threads=1)


def test_a_failed_export_leaves_the_old_bundle(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    for content in ("old", "new"):
        with whole_or_not_at_all(out) as partial:
            (partial / content).touch()

    def fail() -> None:
        with whole_or_not_at_all(out) as partial:
            (partial / "half").touch()
            raise TrainingError("no parity")

    with pytest.raises(TrainingError, match="no parity"):
        fail()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["bundle", "bundle/new"]


@pytest.mark.parametrize(
    ("preset", "given", "said"),
    [
        (SWIN, ("segmenter",), "expected --segmenter and --clip"),
        (SWIN, ("segmenter", "clip", "fcclip"), "without --fcclip"),
        (FCCLIP, ("segmenter", "clip"), "expected --fcclip"),
        (FCCLIP, ("fcclip", "segmenter"), "without --segmenter"),
    ],
)
def test_files_that_do_not_belong_to_the_preset_are_refused(
    files: Files, preset: presets.Preset, given: tuple[str, ...], said: str
) -> None:
    sources = Sources(**{name: getattr(files, name) for name in given})
    with pytest.raises(TrainingError, match=said):
        assemble(preset, sources, export_preset.default_vocabulary(preset), 128, 64)


def test_wrong_usage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 2
    assert command(str(tmp_path), "--preset", "swin_b-vit_b_16") == 2
    assert command("--preset", "swin_b-vit_b_16") == 2
    assert command("--preset", "swin_b-vit_b_16", "--size", "100x64", "--out", str(tmp_path / "b")) == 1
    with pytest.raises(SystemExit):
        command("--preset", "swin_b-vit_b_16", "--size", "large", "--out", str(tmp_path))
    assert "expected WIDTHxHEIGHT" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_shipped_vocabulary_knows_every_class_of_the_detectors() -> None:
    for preset in presets.PRESETS.values():
        vocabulary = export_preset.default_vocabulary(preset)
        assert set(vocabulary.known_names) >= set(preset.classes)
        assert vocabulary.ood_prompts


def test_the_presets_are_those_of_the_published_networks() -> None:
    assert list(presets.PRESETS) == ["swin_b-vit_b_16", "swin_l-vit_l_14", "fcclip-convnext_large_d_320"]
    assert [p.clip for p in presets.PRESETS.values()] == ["ViT-B-16", "ViT-L-14", "convnext_large_d_320"]
    assert all(p.width_px % 32 == p.height_px % 32 == 0 and len(p.classes) == 19 for p in presets.PRESETS.values())
