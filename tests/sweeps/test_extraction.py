"""Clips through the whole path: video, sound and text to a feature set; what is wrong with some of them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from typer.testing import CliRunner

from conclugen.clips import Clip, ClipList
from conclugen.extraction import inputs
from conclugen.extraction.backbones import Description, describe
from conclugen.extraction.recipe import Recipe, load_recipe
from conclugen.features import FeatureSet
from conclugen.manifest import Labels, Manifest
from sweeps import extraction
from sweeps.cli import app
from sweeps.cli.extract import _allowed
from sweeps.extraction import _clips, _Copy, _decode, _packed, _shares, _unpacked
from sweeps.nodes import Node
from sweeps.settings import ConfigError
from tests.conclugen.extraction import models
from tests.conclugen.extraction.faces import drawn_face
from tests.media import grey, speech, write_clip

SAID = "Kids are talking by the door."
REASONS = {
    "silent": "silent",
    "corrupt": "corrupt",
    "gone": "missing",
    "faceless": "no face",
    "wordless": "no transcript",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with a drawn face that speaks with espeak-ng's voice, some with a flaw; a recipe of tiny models."""
    root = tmp_path_factory.mktemp("extraction")
    said, rate = speech(SAID)
    shown = [drawn_face(240, 320, 150 + i, 120, 120) for i in range(20)]
    stereo = np.concatenate([said, 0.5 * said])
    write_clip(root / "plain.mkv", shown, sound=said, sound_rate=rate)
    write_clip(root / "stereo.mkv", shown, sound=stereo, sound_rate=rate)
    write_clip(
        root / "uneven.mp4", shown[:8], times=[0, 0.1, 0.3, 0.4, 0.9, 1.4, 1.5, 1.9], sound=said, sound_rate=rate
    )
    write_clip(root / "other.mp4", shown[::-1], sound=said[:, ::-1].copy(), sound_rate=rate)
    write_clip(root / "silent.mp4", shown, sound=0 * said, sound_rate=rate)
    write_clip(root / "faceless.mp4", [grey(90, 240, 320)] * 20, sound=said, sound_rate=rate)
    (root / "corrupt.mp4").write_bytes(b"no video " * 500)
    (root / "wordless.mp4").symlink_to("plain.mkv")
    text = SAID.lower().removesuffix(".")
    names = ["plain.mkv", "stereo.mkv", "uneven.mp4", "other.mp4", *(f"{name}.mp4" for name in REASONS)]
    clips = [
        Clip(
            sample_id=Path(name).stem,
            split="val" if name == "other.mp4" else "train",
            video=name,
            transcript=None if name == "wordless.mp4" else text,
            labels=(index % 2,),
        )
        for index, name in enumerate(names)
    ]
    labels = Labels(classes=("no", "yes"))
    ClipList.of(clips, dataset="spoken", root=root, labels=labels).write(root / "clips.parquet")
    for make in (models.resnet, models.videomae, models.wavlm, models.distilbert):
        models.made(make, root)
    recipe = {
        "modalities": {
            "video": [
                {"model": "resnet", "kind": "frames", "rate": 2},
                {"model": "videomae", "kind": "clips", "rate": 8},
            ],
            "audio": [{"model": "wavlm", "kind": "audio", "window": 1.0}],
            "text": [{"model": "distilbert", "kind": "text"}],
        },
        "faces": {"margin": 0.2},
        "augmented": 1,
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return root


def in_process(
    clips: ClipList, recipe: Recipe, rows: Sequence[int], *, versions: int = 1, together: bool = True
) -> dict[int, Any]:
    """Features, or why there are none, by the pipeline's own stages, without Ray."""
    descriptions = describe(recipe)
    jobs = clips.table.select(["sample_id", "video", "start", "end", "transcript"]).take(list(rows))
    jobs = jobs.append_column("clip", pa.array(rows)).append_column("root", pa.array([clips.header.root] * len(rows)))
    jobs = pa.concat_tables([jobs.append_column("version", pa.array([v] * len(rows))) for v in range(versions)])
    settings = recipe.model_dump_json()
    tables = list(_decode(jobs, settings))
    if together:
        tables = [pa.concat_tables(tables)]
    for index, description in enumerate(descriptions):
        copy = _Copy(settings, index, description.width, 1)
        tables = [copy(table) for table in tables]
    return dict(_clips(tables[::-1], descriptions, lambda _: versions))


def test_clips_become_features_and_flaws_their_reasons(folder: Path) -> None:
    clips, recipe = ClipList.read(folder / "clips.parquet"), load_recipe(str(folder / "recipe.yaml"))
    names = [clip.sample_id for clip in clips]
    found = {names[row]: what for row, what in in_process(clips, recipe, range(len(clips))).items()}
    assert {name: what[0] for name, what in found.items() if isinstance(what, tuple)} == REASONS
    features = {name: what[0] for name, what in found.items() if isinstance(what, dict)}
    assert set(features) == {"plain", "stereo", "uneven", "other"}
    assert all(row.shape == (12 + 16 + 16 + 16,) and np.isfinite(row).all() for row in features.values())
    video, audio, text = slice(0, 28), slice(28, 44), slice(44, 60)
    np.testing.assert_allclose(features["plain"][text], features["stereo"][text], atol=1e-6)
    # One of the two channels is softer: the mean is the same sound, whose level the backbone's processor removes.
    same, another = (np.abs(features["plain"][audio] - features[name][audio]).max() for name in ("stereo", "other"))
    assert same < another / 4
    assert np.abs(features["plain"][video] - features["other"][video]).max() > 1e-4


def test_portions_and_neighbours_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, recipe = ClipList.read(folder / "clips.parquet"), load_recipe(str(folder / "recipe.yaml"))
    whole = in_process(clips, recipe, [0, 1, 2, 3], versions=2)
    monkeypatch.setattr(inputs, "_PORTION_BYTES", 1)
    for rows, together in (([0, 1, 2, 3], True), ([2], False)):
        for row, versions in in_process(clips, recipe, rows, versions=2, together=together).items():
            assert set(versions) == {0, 1}
            for version, features in versions.items():
                np.testing.assert_allclose(features, whole[row][version], atol=1e-4)
    assert np.abs(whole[0][0] - whole[0][1]).max() > 1e-3  # an augmented version is another one


def test_a_clip_of_a_file_is_what_the_file_of_the_clip_is(folder: Path) -> None:
    """The second half of a recording, named by its times, has the features of that half in a file of its own."""
    said, rate = speech(SAID)
    shown = [drawn_face(240, 320, 120 + 3 * i, 120, 120) for i in range(20)]
    half = said[:, rate : 2 * rate]
    write_clip(folder / "long.mkv", shown, sound=said[:, : 2 * rate], sound_rate=rate)
    write_clip(folder / "half.mkv", shown[10:], sound=half, sound_rate=rate)
    clips = ClipList.of(
        [
            Clip(sample_id="a", split="train", video="long.mkv", start=1.0, end=2.0, transcript="kids"),
            Clip(sample_id="b", split="train", video="half.mkv", transcript="kids"),
        ],
        dataset="halves", root=folder, labels=None,
    )  # fmt: skip
    found = in_process(clips, load_recipe(str(folder / "recipe.yaml")), [0, 1])
    np.testing.assert_allclose(found[0][0], found[1][0], atol=0.02)


def test_blocks_travel_unchanged() -> None:
    blocks: list[inputs.Block] = [
        {"pixels": np.arange(12, dtype=np.uint8).reshape(1, 3, 4)},
        {"input_ids": np.array([2, 5, 3]), "attention_mask": np.ones(3, np.int64)},
        *({"input_values": np.full(i, i, np.float32), "seconds": np.array(0.5, np.float32)} for i in range(1, 12)),
    ]
    back = _unpacked(_packed(blocks))
    assert [set(block) for block in back] == [set(block) for block in blocks]
    for block, other in zip(blocks, back, strict=True):
        for name, array in block.items():
            assert other[name].dtype == array.dtype
            np.testing.assert_array_equal(other[name], array)
    assert _unpacked(_packed([])) == []


def rows(*cells: tuple[int, int, int, bool, str, float, float]) -> pa.Table:
    clip, version, portion, last, reason, total, weight = zip(*cells, strict=True)
    return pa.table(
        {
            "clip": clip, "version": version, "portion": portion, "last": last, "reason": reason, "details": reason,
            "sum_0": pa.FixedSizeListArray.from_arrays(pa.array(total, pa.float64()), 1), "weight_0": weight,
        }
    )  # fmt: skip


def test_portions_of_clips_are_put_together_in_any_order() -> None:
    tables = [
        rows((1, 0, 1, True, "", 3.0, 1.0), (0, 0, 0, True, "", 4.0, 2.0)),
        rows((2, 0, 1, True, "corrupt", 0.0, 0.0), (1, 1, 0, True, "", 5.0, 5.0)),
        rows((2, 1, 0, True, "", 1.0, 1.0), (1, 0, 0, False, "", 5.0, 3.0), (0, 1, 0, True, "", 6.0, 2.0)),
        rows((2, 0, 0, False, "", 1.0, 1.0)),
    ]
    found = list(_clips(tables, [Description(1, "", "")], lambda _: 2))
    assert [clip for clip, _ in found] == [1, 0, 2]
    features = [what if isinstance(what, tuple) else {v: x.tolist() for v, x in what.items()} for _, what in found]
    assert features == [{0: [2.0], 1: [1.0]}, {0: [2.0], 1: [3.0]}, ("corrupt", "corrupt")]


def shares(monkeypatch: pytest.MonkeyPatch, recipe: Recipe, *nodes: tuple[int, int]) -> Any:
    there = [Node(str(i), "", cpus, gpus) for i, (cpus, gpus) in enumerate(nodes)]
    monkeypatch.setattr(extraction, "alive_nodes", lambda: there)
    return _shares(recipe)


def test_gpus_are_shared_and_cpus_left_to_decode(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(str(folder / "recipe.yaml"))
    for nodes in ([(1, 0)], [(2, 0)], [(16, 0)], [(8, 1)], [(64, 4), (64, 4)]):
        cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
        found = shares(monkeypatch, recipe, *nodes)
        assert found.copies * sum(found.gpus) <= gpus
        assert found.copies * found.cpus * 4 + found.decode_cpus <= cpus
        assert found.copies == max(1, gpus) or not gpus
        assert (min(found.gpus) > 0) == (gpus > 0)


def test_more_gpus_than_there_are_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(str(folder / "recipe.yaml"))
    greedy = {n: tuple(b.model_copy(update={"gpus": 0.5}) for b in bs) for n, bs in recipe.modalities.items()}
    with pytest.raises(ConfigError, match="take 2 together"):
        shares(monkeypatch, recipe.model_copy(update={"modalities": greedy}), (8, 1))


def conclugen(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeps", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_bad_input_is_told_at_once_and_nothing_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("modalities: {a: [{model: ./none, kind: text}], b: [{model: /no, kind: text}]}")
    clips, recipe = str(folder / "clips.parquet"), str(folder / "recipe.yaml")
    for arguments, problems, part in (
        ([clips, "--backbones", "bad.yaml"], 2, "modalities.b.0.model: '/no' is neither a folder nor a hub id"),
        (["clips.none", "--backbones", "paper"], 1, "there is no such file"),
        ([clips, "--backbones", recipe, "--max-failed", "many"], 1, "--max-failed many"),
        ([clips, "--backbones", recipe, "--dtype", "int8"], 1, "--dtype int8"),
    ):
        result = CliRunner().invoke(app, ["extract", *arguments, "--out", "out"])
        assert (result.exit_code, result.stderr.count("\n")) == (2, problems + 1)
        assert part in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize(("text", "clips", "allowed"), [("0", 9, 0), ("12", 9, 12), ("1%", 250, 2), ("2.5%", 1000, 25)])
def test_what_may_fail_is_a_number_or_a_share(text: str, clips: int, allowed: int) -> None:
    assert _allowed(text, clips) == allowed


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "%", "1.2.3%", "."])
def test_what_may_fail_is_nothing_else(text: str) -> None:
    with pytest.raises(ConfigError, match="--max-failed"):
        _allowed(text, 10)


@pytest.mark.slow(seconds=150)
@pytest.mark.timeout(600)
def test_the_command_stops_goes_on_and_finishes(folder: Path) -> None:
    """Too many failures stop it; allowed, it goes on; finished, it has nothing to do. As in process, clip by clip."""
    command = ["extract", "clips.parquet", "--out", "out", "--backbones", "recipe.yaml", "--clips-per-shard", "2"]
    stopped = conclugen(*command, "--max-failed", "1", cwd=folder)
    assert stopped.returncode == 1, stopped.stderr
    assert "more than --max-failed allows (1)" in stopped.stderr
    assert not (folder / "out" / "manifest.json").exists()
    finished = conclugen(*command, "--max-failed", "5", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    assert "features of 4 of 9 clips" in finished.stdout
    assert "1 silent" in finished.stdout
    again = conclugen(*command, "--max-failed", "5", cwd=folder)
    assert (again.returncode, "all there before" in again.stdout) == (0, True)

    manifest = Manifest.read(folder / "out")
    assert manifest.widths == {"video": 28, "audio": 16, "text": 16}
    assert (manifest.rows("train"), manifest.rows("val")) == (6, 1)
    kept = json.loads((folder / "out" / "extraction.json").read_text())
    assert [backbone["model_type"] for backbone in kept["backbones"]] == ["resnet", "videomae", "wavlm", "distilbert"]
    clips, recipe = ClipList.read(folder / "clips.parquet"), load_recipe(str(folder / "recipe.yaml"))
    expected = in_process(clips, recipe, [0, 1, 2], versions=2)
    split = FeatureSet(folder / "out").split("train")
    assert split.sample_ids == ["plain", "plain", "stereo", "stereo", "uneven", "uneven"]
    for place, (row, version) in enumerate((row, version) for row in range(3) for version in range(2)):
        stored = np.concatenate([split.gather(m, split.clean_rows.new_tensor([place]))[0] for m in manifest.widths])
        np.testing.assert_allclose(stored, expected[row][version], atol=1e-4)
    reasons = {
        line.split(",")[0]: line.split(",")[1] for line in (folder / "out" / "failures.csv").read_text().splitlines()
    }
    assert reasons == {"sample_id": "reason", **REASONS}
    assert pc.all(pc.is_valid(clips.table["labels"])).as_py()
