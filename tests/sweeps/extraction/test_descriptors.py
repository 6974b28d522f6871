"""Extraction with descriptors: decoding computes them, models run beside them, and users hear what is left out."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from conclugen.datasets.clips import Clip, ClipList
from conclugen.extraction.descriptors.packages import missing_packages
from conclugen.extraction.recipe import Recipe, load_recipe
from conclugen.features.manifest import Manifest
from conclugen.features.shards import FeatureSet
from sweeps.cli import app
from sweeps.estimate.room import Node
from sweeps.extraction import extract as extraction
from sweeps.extraction.pipeline import share_cluster
from tests.conclugen.extraction import models
from tests.conclugen.extraction.faces import drawn_face
from tests.conclugen.extraction.onnx_files import FLOAT, node, write_model
from tests.media import film, speech
from tests.sweeps.extraction.test_extract import in_process, without_ray

SENTENCES = ("Kids are talking by the door.", "Dogs are sitting by the door.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of a drawn face that speaks, with and without transcripts, and a tiny model."""
    root = tmp_path_factory.mktemp("descriptors")
    clips = []
    for index, text in enumerate(SENTENCES):
        sound, rate = speech(text)
        film(
            root / f"{index}.mp4", [drawn_face(240, 320, 150 + i + 9 * index, 120, 120) for i in range(20)], sound, rate
        )
        clips.append(Clip(sample_id=f"clip-{index}", split="train", video=f"{index}.mp4", transcript=text))
    for name, transcripts in (("spoken", True), ("mute", False)):
        rows = [
            clip if transcripts else Clip(sample_id=clip.sample_id, split="train", video=clip.video) for clip in clips
        ]
        ClipList.of(rows, dataset=name, root=root, labels=None).write(root / f"{name}.parquet")
    models.model_folder(models.resnet, root)
    mean = node("ReduceMean", "x", "y", axes=[2, 3], keepdims=0)
    write_model(root / "m.onnx", [mean], [("x", FLOAT, ("b", 3, 8, 8))], [("y", FLOAT, ("b", 3))])
    return root


def features(folder: Path, **modalities: Any) -> dict[int, Any]:
    """Return the features of both clips by a recipe of ``modalities``."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"modalities": modalities, "faces": {"margin": 0.3}}), encoding="utf-8")
    results = in_process(ClipList.read(folder / "spoken.parquet"), load_recipe(str(recipe)), [0, 1])
    return {row: versions[0] for row, versions in results.items()}


def test_descriptors_and_models_of_one_recipe_do_not_disturb_each_other(folder: Path) -> None:
    colour = {"descriptor": "colour", "rate": 2}
    model = {"model": "resnet", "kind": "frames", "rate": 2}
    onnx = [] if missing_packages(("onnxruntime",)) else [{"onnx": "m.onnx", "kind": "frames", "rate": 1}]
    together = features(folder, a=colour, b=[model, *onnx], c={"descriptor": "char_ngrams"})
    alone = [features(folder, a=entry) for entry in (colour, model, *onnx, {"descriptor": "char_ngrams"})]
    for row, vector in together.items():
        np.testing.assert_allclose(vector, np.concatenate([one[row] for one in alone]), atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_all_cpus_decode_if_a_recipe_has_descriptors_only() -> None:
    recipe = load_recipe("local")
    shares = share_cluster(recipe, [Node("n", "10.0.0.1", cpus=2, gpus=0)])
    assert (shares.copies, shares.cpus, shares.decode_cpus) == (0, 0.0, 1.0)


def stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def extract(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["extract", *arguments])


def test_text_is_left_out_and_said_so_if_no_clip_has_a_transcript(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes: list[Recipe] = []
    monkeypatch.setattr(extraction, "extract", lambda _clips, recipe, *_, **__: recipes.append(recipe) or stopped())
    for name in ("mute", "spoken"):
        result = extract(str(folder / f"{name}.parquet"), "--out", str(tmp_path / "out"), "--backbones", "local")
        assert ("backbones of text are left out" in result.stdout) == (name == "mute")
        assert "Licence of egemaps: openSMILE is free for research and private use only" in result.stdout
    assert [list(recipe.modalities) for recipe in recipes] == [["video", "audio"], ["video", "audio", "text"]]


def test_an_interrupt_says_the_whole_command_to_go_on_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "extract", stopped)
    command = ["mute.parquet", "--out", "my out", "--backbones", "local", "--root", str(folder), "--max-failed", "5%"]
    command += ["--clips-per-shard", "7", "--dtype", "float16", "--retry-failed", "--keep-incomplete"]
    monkeypatch.chdir(tmp_path)
    Path("mute.parquet").symlink_to(folder / "mute.parquet")
    result = extract(*command)
    assert result.exit_code == 130
    again = re.search("go on with: conclugen (extract .*)", result.stderr)
    assert again is not None
    for option in ("--out 'my out'", f"--root {folder}", "--max-failed 5%", "--clips-per-shard 7", "--dtype float16"):
        assert option in again[1]
    assert again[1].endswith("--retry-failed --keep-incomplete")


def test_a_set_of_descriptors_names_their_sources_and_licences(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := missing_packages(("opensmile", "skimage")):
        pytest.skip(f"{', '.join(missing)} is not installed: pip install '.[local]'")
    without_ray(monkeypatch.setattr)
    out = tmp_path / "out"
    result = extract(str(folder / "spoken.parquet"), "--out", str(out), "--backbones", "local")
    assert (result.exit_code, "features of 2 of 2 clips" in result.stdout) == (0, True), result.output
    manifest = Manifest.read(out)
    assert manifest.widths == {"video": 887, "audio": 248, "text": 512}
    source = next(modality.source for modality in manifest.modalities if modality.name == "audio")
    assert "eGeMAPSv02" in source
    assert "licence: openSMILE is free for research and private use only" in source
    assert "opensmile 2." in source
    first = FeatureSet(out).split("train").sample_ids
    assert first == ["clip-0", "clip-1"]


def test_a_clip_without_words_keeps_its_descriptors_of_face_and_sound(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := missing_packages(("opensmile", "skimage")):
        pytest.skip(f"{', '.join(missing)} is not installed: pip install '.[local]'")
    without_ray(monkeypatch.setattr)
    spoken, mute = (list(ClipList.read(folder / f"{name}.parquet")) for name in ("spoken", "mute"))
    ClipList.of([spoken[0], mute[1]], dataset="half", root=folder, labels=None).write(tmp_path / "half.parquet")
    out = tmp_path / "out"
    result = extract(str(tmp_path / "half.parquet"), "--out", str(out), "--backbones", "local", "--keep-incomplete")
    assert (result.exit_code, "features of 2 of 2 clips" in result.stdout) == (0, True), result.output
    train = FeatureSet(out).split("train")
    assert {name: mask.tolist() for name, mask in train.present.items()} == {"text": [True, False]}
