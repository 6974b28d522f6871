"""Backbones of each kind equal their model called directly, and features do not depend on neighbours."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from conclugen.datasets.clips import Clip
from conclugen.extraction.backbones import Encoder
from conclugen.extraction.descriptions import describe
from conclugen.extraction.inputs import Preparation, reader_of
from conclugen.extraction.readers import Block, Pictures, Sound, Text
from conclugen.extraction.recipe import Backbone, Recipe, RecipeError
from tests.conclugen.extraction import models

MakeModel = Callable[[Path], Path]
ALL = [
    *((make, "frames") for make in models.FRAMES),
    *((make, "clips") for make in models.CLIPS),
    *((make, "audio") for make in models.SOUNDS),
    (models.distilbert, "text"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def backbone(make: MakeModel, store: Path, kind: Any, **settings: Any) -> Backbone:
    if kind == "audio":
        settings.setdefault("window", 1.0)
    return Backbone(model=str(models.model_folder(make, store)), kind=kind, **settings)


def encoder(spec: Backbone) -> Encoder:
    return Encoder(spec, torch.device("cpu"))


def some_blocks(reader: Pictures | Sound | Text) -> list[Block]:
    """Make blocks of clips of different lengths."""
    rng = np.random.default_rng(1)
    blocks: list[Block] = []
    if isinstance(reader, Text):
        for text in ("kids", "kids are talking", "dogs are sitting by the door and one two three dogs"):
            blocks += reader.blocks(text)
    elif isinstance(reader, Sound):
        for samples in (7_000, 15_999, 9_001, 33_000, 7_000):
            blocks += reader.blocks(rng.uniform(-0.5, 0.5, samples).astype(np.float32))
    else:
        for pictures in (2, 5, 8):
            reader.begin()
            for _ in range(pictures):
                blocks += reader.add(rng.integers(0, 256, (40, 50, 3), np.uint8))
            blocks += reader.end()
    return blocks


@pytest.mark.parametrize(("make", "kind"), ALL, ids=lambda value: getattr(value, "__name__", value))
def test_features_do_not_depend_on_other_blocks_of_the_batch(make: MakeModel, kind: str, store: Path) -> None:
    spec = backbone(make, store, kind)
    blocks = some_blocks(reader_of(spec))
    encode = encoder(spec)
    sums, weights = encode(blocks)
    alone = [encode([block]) for block in blocks]
    assert len(blocks) > 3
    assert (weights > 0).all()
    np.testing.assert_allclose(weights, [weight[0] for _, weight in alone])
    np.testing.assert_allclose(
        sums / weights[:, None], np.stack([total[0] / weight[0] for total, weight in alone]), rtol=0, atol=1e-4
    )
    spread = (sums / weights[:, None]).std(axis=0).max()
    assert spread > 1e-3  # without spread, any comparison would hold


def direct(folder: str, **inputs: Any) -> Any:
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**inputs)


@pytest.mark.parametrize("make", [models.wav2vec2, models.hubert, models.wavlm])
def test_sound_is_the_mean_over_time_of_the_unpadded_waveform(make: MakeModel, store: Path) -> None:
    spec = backbone(make, store, "audio")
    rng = np.random.default_rng(2)
    waves = [rng.uniform(-0.5, 0.5, samples).astype(np.float32) for samples in (5_000, 12_345)]
    reader = reader_of(spec)
    assert isinstance(reader, Sound)
    sums, weights = encoder(spec)([block for wave in waves for block in reader.blocks(wave)])
    for wave, total, weight in zip(waves, sums, weights, strict=True):
        normalised = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        states = direct(spec.name, input_values=torch.from_numpy(normalised)[None]).last_hidden_state[0]
        assert weight == len(states)
        np.testing.assert_allclose(total / weight, states.mean(0), atol=1e-4)


def test_only_the_columns_of_a_spectrogram_with_sound_count(store: Path) -> None:
    """0.5 s fill 50 of 104 columns. A patch begins each 10 columns, so 5 patches count in each of 2 bands."""
    spec = backbone(models.ast, store, "audio")
    reader = reader_of(spec)
    assert isinstance(reader, Sound)
    wave = np.random.default_rng(3).uniform(-0.5, 0.5, 8_000).astype(np.float32)
    (block,) = reader.blocks(wave)
    sums, weights = encoder(spec)([block])
    states = direct(spec.name, input_values=torch.from_numpy(block["input_values"])[None]).last_hidden_state[0]
    columns = 9  # (104 - 16) // 10 + 1
    audible = [0, 1, *(2 + band * columns + column for band in range(2) for column in range(5))]
    assert weights.tolist() == [12]
    np.testing.assert_allclose(sums[0] / 12, states[audible].mean(0), atol=1e-5)


def test_text_is_the_mean_over_the_tokens_of_all_blocks(store: Path) -> None:
    """A model of 8 tokens reads 11 words as 6 and 5, and each block has its own special tokens."""
    spec = backbone(models.distilbert, store, "text")
    reader = reader_of(spec)
    assert isinstance(reader, Text)
    blocks = list(reader.blocks("dogs are sitting by the door and one two three dogs"))
    assert [len(block["input_ids"]) for block in blocks] == [8, 7]
    sums, weights = encoder(spec)(blocks)
    states = [
        direct(spec.name, input_ids=torch.from_numpy(block["input_ids"])[None]).last_hidden_state[0] for block in blocks
    ]
    np.testing.assert_allclose(sums.sum(0) / weights.sum(), torch.cat(states).mean(0), atol=1e-5)


def test_pictures_are_scaled_as_by_the_model_s_processor(store: Path) -> None:
    spec = backbone(models.resnet, store, "frames")
    reader = reader_of(spec)
    assert isinstance(reader, Pictures)
    reader.begin()
    picture = np.random.default_rng(4).integers(0, 256, (32, 32, 3), np.uint8)
    (block,) = reader.add(picture)
    assert block["pixels"].dtype == np.uint8
    sums, weights = encoder(spec)([block])
    scaled = (picture / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.25, 0.3]
    out = direct(spec.name, pixel_values=torch.from_numpy(scaled).permute(2, 0, 1)[None].float())
    assert weights.tolist() == [1]
    np.testing.assert_allclose(sums[0], out.pooler_output.flatten(), atol=1e-4)


@pytest.mark.parametrize(
    ("pictures", "stride", "expected"),
    [
        (8, None, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (7, None, [[0, 1, 2, 3]]),
        (7, 2, [[0, 1, 2, 3], [2, 3, 4, 5]]),
        (10, 6, [[0, 1, 2, 3], [6, 7, 8, 9]]),
        (2, None, [[0, 0, 1, 1]]),
        (1, None, [[0, 0, 0, 0]]),
    ],
)
def test_windows_start_every_stride_frames(
    store: Path, pictures: int, stride: int | None, expected: list[list[int]]
) -> None:
    reader = reader_of(backbone(models.videomae, store, "clips", stride=stride))
    assert isinstance(reader, Pictures)
    reader.begin()
    blocks = [b for i in range(pictures) for b in reader.add(np.full((32, 32, 3), 10 * i, np.uint8))]
    blocks += reader.end()
    assert [(block["pixels"].mean(axis=(1, 2, 3)) / 10).tolist() for block in blocks] == expected


def test_a_description_has_the_width_and_a_checksum_of_the_weights(store: Path) -> None:
    backbones = [backbone(models.vit, store, "frames"), backbone(models.resnet, store, "frames")]
    descriptions = describe(Recipe(modalities={"video": tuple(backbones)}))
    assert [d.width for d in descriptions] == [16, 12]
    assert descriptions[0].weights != descriptions[1].weights
    assert describe(Recipe(modalities={"video": tuple(backbones)})) == descriptions


def refusals(backbones: Sequence[Backbone]) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        describe(Recipe(modalities={f"m{index}": (b,) for index, b in enumerate(backbones)}))
    return caught.value.problems


def test_every_unusable_backbone_is_listed(store: Path, tmp_path: Path) -> None:
    incomplete = models.model_folder(models.distilbert, tmp_path)
    weights = load_file(incomplete / "model.safetensors")
    remaining = {name: value for name, value in weights.items() if "layer.1.ffn.lin1" not in name}
    save_file(remaining, incomplete / "model.safetensors", metadata={"format": "pt"})
    problems = refusals(
        [
            Backbone(model=str(incomplete), kind="text"),
            backbone(models.vit, store, "frames", pooling="pooler"),
            backbone(models.resnet, store, "clips"),
            backbone(models.ast, store, "audio", window=5.0),
        ]
    )
    assert len(problems) == 4
    for problem, part in zip(problems, ("lin1", "random", "clips of frames", "1.04 seconds"), strict=True):
        assert part in problem


def test_a_model_that_brings_its_own_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    folder = tmp_path / "custom"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "custom", "auto_map": {"AutoModel": "m.M", "AutoConfig": "m.C"}}', encoding="utf-8"
    )
    (folder / "m.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n", encoding="utf-8"
    )
    assert len(refusals([Backbone(model=str(folder), kind="text")])) == 1
    assert not (tmp_path / "ran").exists()


def test_a_clip_without_a_transcript_is_refused_by_text_backbones(store: Path) -> None:
    recipe = Recipe(modalities={"text": (backbone(models.distilbert, store, "text"),)})
    with pytest.raises(Exception, match="no transcript"):
        list(Preparation(recipe).portions(Clip(sample_id="a", video="a.mp4"), Path("a.mp4")))
