"""ONNX files: their inputs are read and checked, and their outputs become sums and weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from conclugen.extraction.descriptions import describe
from conclugen.extraction.inputs import reader_of
from conclugen.extraction.readers import Block, Pictures, Sound, Text
from conclugen.extraction.recipe import Backbone, RecipeError, load_recipe
from tests.conclugen.extraction.onnx_files import FLOAT, INT64, node, write_model

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")
onnx = pytest.importorskip("conclugen.extraction.onnx")


def frames_model(path: Path, shape: Sequence[int | str] = ("b", 3, 4, 4)) -> Path:
    """Write a model that gives the mean of each channel, or of each row if the channels come last."""
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    mean = node("ReduceMean", "pixels", "y", axes=axes, keepdims=0)
    return write_model(path, [mean], [("pixels", FLOAT, shape)], [("y", FLOAT, ("b", 3))])


def blocks_of(reader: Pictures, pictures: Sequence[Any]) -> list[Block]:
    reader.begin()
    return [block for picture in pictures for block in reader.add(picture)] + list(reader.end())


@pytest.mark.parametrize("shape", [("b", 3, 4, 4), ("b", 4, 4, 3), (1, 3, 4, 4)])
def test_frames_are_resized_scaled_and_normalised(shape: Sequence[int | str], tmp_path: Path) -> None:
    file = frames_model(tmp_path / "m.onnx", shape)
    backbone = Backbone(onnx=str(file), kind="frames", mean=(0.2, 0.4, 0.0), std=(1.0, 0.5, 2.0))
    reader = reader_of(backbone)
    assert isinstance(reader, Pictures)
    colours = [(255, 0, 0), (51, 102, 255)]
    blocks = blocks_of(reader, [np.broadcast_to(np.array(c, np.uint8), (9, 12, 3)) for c in colours])
    sums, weights = onnx.OnnxEncoder(backbone)(blocks)
    np.testing.assert_allclose(sums, [[0.8, -0.8, 0.0], [0.0, 0.0, 0.5]], atol=1e-6)
    assert weights.tolist() == [1, 1]


def test_sound_of_any_length_is_run_unpadded(tmp_path: Path) -> None:
    """The model gives the sum of a stretch, which zeros would not change, and the stretch's length would."""
    file = write_model(
        tmp_path / "m.onnx",
        [node("ReduceMean", "wave", "y", axes=[1], keepdims=1)],
        [("wave", FLOAT, ("b", "samples"))],
        [("y", FLOAT, ("b", 1))],
    )
    backbone = Backbone(onnx=str(file), kind="audio", sample_rate=1000, window=1.0)
    reader = reader_of(backbone)
    assert isinstance(reader, Sound)
    assert reader.rate == 1000
    wave = np.concatenate([np.full(900, 0.25, np.float32), np.full(900, 0.75, np.float32)])
    sums, weights = onnx.OnnxEncoder(backbone)([*reader.blocks(wave), *reader.blocks(wave[:500])])
    np.testing.assert_allclose(sums / weights[:, None], [[0.25], [0.75], [0.25]], atol=1e-6)


def test_sound_of_a_fixed_length_is_padded(tmp_path: Path) -> None:
    file = write_model(
        tmp_path / "m.onnx",
        [node("ReduceMean", "wave", "y", axes=[1, 2], keepdims=0), node("Unsqueeze", "y", "z", axes=[1])],
        [("wave", FLOAT, ("b", 1, 2000))],
        [("z", FLOAT, ("b", 1))],
    )
    backbone = Backbone(onnx=str(file), kind="audio", sample_rate=1000)
    reader = reader_of(backbone)
    assert isinstance(reader, Sound)
    sums, _ = onnx.OnnxEncoder(backbone)(list(reader.blocks(np.ones(3000, np.float32))))
    np.testing.assert_allclose(sums, [[0.75], [0.75]])  # two stretches of 1,500 samples in 2,000


def test_text_is_the_mean_over_all_tokens(tmp_path: Path) -> None:
    """The model gives each token's number as its state: "one three" has 1 and 3."""
    tokens = Tokenizer(WordLevel({"?": 0, "one": 1, "two": 2, "three": 3}, unk_token="?"))  # noqa: S106
    tokens.pre_tokenizer = Whitespace()
    tokens.enable_truncation(2)
    tokens.save(str(tmp_path / "tokenizer.json"))
    file = write_model(
        tmp_path / "m.onnx",
        [node("Cast", "input_ids", "y", to=FLOAT), node("Unsqueeze", "y", "z", axes=[2])],
        [("input_ids", INT64, ("b", "t"))],
        [("z", FLOAT, ("b", "t", 1))],
    )
    backbone = Backbone(onnx=str(file), kind="text")
    reader = reader_of(backbone)
    assert isinstance(reader, Text)
    blocks = list(reader.blocks("one three two"))
    sums, weights = onnx.OnnxEncoder(backbone)(blocks)
    assert (sums.tolist(), weights.tolist()) == ([[4.0], [2.0]], [2.0, 1.0])
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"needs its tokenizer beside it, but there is no file .*tokenizer\.json"):
        reader_of(backbone)


def test_a_recipe_describes_its_onnx_file(tmp_path: Path) -> None:
    frames_model(tmp_path / "m.onnx", ("b", 3, "h", "w"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("modalities: {video: {onnx: m.onnx, kind: frames, size: 8}}", encoding="utf-8")
    (description,) = describe(load_recipe(str(recipe)))
    assert (description.width, description.model_type) == (3, "onnx")
    recipe.write_text("modalities: {video: {onnx: m.onnx, kind: frames}}", encoding="utf-8")
    with pytest.raises(
        RecipeError, match=r"takes pictures of any size, pixels float \(b, 3, h, w\); give one by `size`"
    ):
        describe(load_recipe(str(recipe)))


@pytest.mark.parametrize(
    ("kind", "settings", "problem"),
    [
        ("audio", {}, r"takes \(b, samples\), .* but this one has pixels float \(b, 3, 4, 4\)"),
        ("text", {}, "takes input_ids, attention_mask, token_type_ids of int64, but this one has pixels float"),
        ("frames", {"output": "z"}, "has no output 'z'; its outputs are y"),
    ],
)
def test_a_file_of_another_kind_is_refused(kind: Any, settings: dict[str, Any], problem: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    frames_model(tmp_path / "m.onnx")
    entry = {"onnx": "m.onnx", "kind": kind, **settings}
    recipe.write_text(json.dumps({"modalities": {"x": entry}}), encoding="utf-8")
    with pytest.raises(RecipeError, match=problem):
        describe(load_recipe(str(recipe)))


def test_a_broken_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("modalities: {video: {onnx: m.onnx, kind: frames}}", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        describe(load_recipe(str(recipe)))
    (problem,) = caught.value.problems
    assert "m.onnx' cannot be a backbone of frames: it cannot be read as an ONNX model" in problem
    recipe.write_text("modalities: {video: {onnx: n.onnx, kind: frames}}", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"video\.0\.onnx: .*there is no file .*n\.onnx"):
        load_recipe(str(recipe))


def test_settings_of_models_that_an_onnx_file_has_not_are_refused(tmp_path: Path) -> None:
    frames_model(tmp_path / "m.onnx")
    recipe = tmp_path / "recipe.yaml"
    for entry, problem in (
        ("onnx: m.onnx, kind: clips", "kind of an ONNX model is frames, audio or text, not clips"),
        ("onnx: m.onnx, kind: frames, pooling: pooler", "name the pooled output by `output`"),
        ("onnx: m.onnx, kind: frames, sample_rate: 8000", "sample_rate is for audio, not for frames"),
        ("onnx: m.onnx, model: a/b, kind: frames", "model and onnx is given; a backbone has one of"),
        ("model: a/b, kind: frames, size: 8", "size is for ONNX models; leave it out"),
    ):
        recipe.write_text(f"modalities: {{video: {{{entry}}}}}", encoding="utf-8")
        with pytest.raises(RecipeError, match=problem):
            load_recipe(str(recipe))
