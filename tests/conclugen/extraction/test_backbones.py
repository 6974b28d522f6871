"""Each kind of backbone against its model called directly; features that do not depend on the neighbours."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from conclugen.datasets.clips import Clip
from conclugen.extraction.backbones import Encoder, describe
from conclugen.extraction.inputs import Block, Pictures, Preparation, Sound, Text, reader_of
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


def encoder(chosen: Backbone) -> Encoder:
    return Encoder(chosen, torch.device("cpu"))


def some_blocks(reader: Pictures | Sound | Text) -> list[Block]:
    """Blocks of clips of different lengths."""
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
def test_features_do_not_depend_on_the_neighbours(make: MakeModel, kind: str, store: Path) -> None:
    chosen = backbone(make, store, kind)
    blocks = some_blocks(reader_of(chosen))
    encode = encoder(chosen)
    sums, weights = encode(blocks)
    alone = [encode([block]) for block in blocks]
    assert len(blocks) > 3
    assert (weights > 0).all()
    np.testing.assert_allclose(weights, [weight[0] for _, weight in alone])
    np.testing.assert_allclose(
        sums / weights[:, None], np.stack([total[0] / weight[0] for total, weight in alone]), rtol=0, atol=1e-4
    )
    spread = (sums / weights[:, None]).std(axis=0).max()
    assert spread > 1e-3  # else any comparison would hold


def direct(folder: str, **inputs: Any) -> Any:
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**inputs)


@pytest.mark.parametrize("make", [models.wav2vec2, models.hubert, models.wavlm])
def test_sound_is_the_mean_over_time_of_the_unpadded_waveform(make: MakeModel, store: Path) -> None:
    chosen = backbone(make, store, "audio")
    rng = np.random.default_rng(2)
    waves = [rng.uniform(-0.5, 0.5, samples).astype(np.float32) for samples in (5_000, 12_345)]
    reader = reader_of(chosen)
    assert isinstance(reader, Sound)
    sums, weights = encoder(chosen)([block for wave in waves for block in reader.blocks(wave)])
    for wave, total, weight in zip(waves, sums, weights, strict=True):
        normalised = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        states = direct(chosen.model, input_values=torch.from_numpy(normalised)[None]).last_hidden_state[0]
        assert weight == len(states)
        np.testing.assert_allclose(total / weight, states.mean(0), atol=1e-4)


def test_a_spectrogram_counts_where_there_is_sound(store: Path) -> None:
    """0.5 s fill 50 of 104 columns. A patch each 10 columns: the 5 that begin in them count, in each of 2 bands."""
    chosen = backbone(models.ast, store, "audio")
    reader = reader_of(chosen)
    assert isinstance(reader, Sound)
    wave = np.random.default_rng(3).uniform(-0.5, 0.5, 8_000).astype(np.float32)
    (block,) = reader.blocks(wave)
    sums, weights = encoder(chosen)([block])
    states = direct(chosen.model, input_values=torch.from_numpy(block["input_values"])[None]).last_hidden_state[0]
    columns = 9  # (104 - 16) // 10 + 1
    heard = [0, 1, *(2 + band * columns + column for band in range(2) for column in range(5))]
    assert weights.tolist() == [12]
    np.testing.assert_allclose(sums[0] / 12, states[heard].mean(0), atol=1e-5)


def test_text_is_the_mean_over_its_tokens_and_blocks(store: Path) -> None:
    """A model that takes 8 tokens reads 11 words as 6 and 5, each between its own special tokens."""
    chosen = backbone(models.distilbert, store, "text")
    reader = reader_of(chosen)
    assert isinstance(reader, Text)
    blocks = list(reader.blocks("dogs are sitting by the door and one two three dogs"))
    assert [len(block["input_ids"]) for block in blocks] == [8, 7]
    sums, weights = encoder(chosen)(blocks)
    states = [
        direct(chosen.model, input_ids=torch.from_numpy(block["input_ids"])[None]).last_hidden_state[0]
        for block in blocks
    ]
    np.testing.assert_allclose(sums.sum(0) / weights.sum(), torch.cat(states).mean(0), atol=1e-5)


def test_pictures_are_scaled_as_the_processor_says(store: Path) -> None:
    chosen = backbone(models.resnet, store, "frames")
    reader = reader_of(chosen)
    assert isinstance(reader, Pictures)
    reader.begin()
    picture = np.random.default_rng(4).integers(0, 256, (32, 32, 3), np.uint8)
    (block,) = reader.add(picture)
    assert block["pixels"].dtype == np.uint8
    sums, weights = encoder(chosen)([block])
    scaled = (picture / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.25, 0.3]
    out = direct(chosen.model, pixel_values=torch.from_numpy(scaled).permute(2, 0, 1)[None].float())
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
def test_windows_are_cut_by_stride(store: Path, pictures: int, stride: int | None, expected: list[list[int]]) -> None:
    reader = reader_of(backbone(models.videomae, store, "clips", stride=stride))
    assert isinstance(reader, Pictures)
    reader.begin()
    blocks = [b for i in range(pictures) for b in reader.add(np.full((32, 32, 3), 10 * i, np.uint8))]
    blocks += reader.end()
    assert [(block["pixels"].mean(axis=(1, 2, 3)) / 10).tolist() for block in blocks] == expected


def test_a_description_knows_width_and_weights(store: Path) -> None:
    chosen = [backbone(models.vit, store, "frames"), backbone(models.resnet, store, "frames")]
    found = describe(Recipe(modalities={"video": tuple(chosen)}))
    assert [d.width for d in found] == [16, 12]
    assert found[0].weights != found[1].weights
    again = describe(Recipe(modalities={"video": tuple(chosen)}))
    assert again == found


def refusals(chosen: Sequence[Backbone]) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        describe(Recipe(modalities={f"m{index}": (b,) for index, b in enumerate(chosen)}))
    return caught.value.problems


def test_every_backbone_that_does_not_do_is_listed(store: Path, tmp_path: Path) -> None:
    random = models.model_folder(models.distilbert, tmp_path)
    weights = load_file(random / "model.safetensors")
    lacking = {name: value for name, value in weights.items() if "layer.1.ffn.lin1" not in name}
    save_file(lacking, random / "model.safetensors", metadata={"format": "pt"})
    problems = refusals(
        [
            Backbone(model=str(random), kind="text"),
            backbone(models.vit, store, "frames", pooling="pooler"),
            backbone(models.resnet, store, "clips"),
            backbone(models.ast, store, "audio", window=5.0),
        ]
    )
    assert len(problems) == 4
    for problem, part in zip(problems, ("lin1", "random", "clips of frames", "1.04 seconds"), strict=True):
        assert part in problem


def test_a_backbone_that_runs_code_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "custom"
    folder.mkdir()
    (folder / "config.json").write_text(
        '{"model_type": "custom", "auto_map": {"AutoModel": "m.M", "AutoConfig": "m.C"}}'
    )
    (folder / "m.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n")
    assert len(refusals([Backbone(model=str(folder), kind="text")])) == 1
    assert not (tmp_path / "ran").exists()


def test_a_clip_without_transcript_has_no_text(store: Path) -> None:
    recipe = Recipe(modalities={"text": (backbone(models.distilbert, store, "text"),)})
    with pytest.raises(Exception, match="no transcript"):
        list(Preparation(recipe).portions(Clip(sample_id="a", video="a.mp4"), Path("a.mp4")))
