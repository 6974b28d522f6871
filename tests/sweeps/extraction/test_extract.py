"""Clips through the whole path: video, sound and text to a feature set; what is wrong with some of them."""

import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from conclugen.datasets.clips import Clip, ClipList
from conclugen.extraction import inputs
from conclugen.extraction.backbones import Description, describe
from conclugen.extraction.folder import ExtractionFolder, Result
from conclugen.extraction.recipe import Recipe, load_recipe
from conclugen.features.manifest import Labels, Manifest
from conclugen.features.shards import FeatureSet
from sweeps.cli import app
from sweeps.cli.extract import _allowed
from sweeps.config import ConfigError
from sweeps.execution.cluster import Node
from sweeps.extraction import pipeline as extraction
from sweeps.extraction.assembly import assembled_clips
from sweeps.extraction.pipeline import _Copy, _decode, _packed, _shares, _unpacked
from tests.conclugen.extraction import models
from tests.conclugen.extraction.faces import drawn_face
from tests.media import ffmpeg, film, grey, speech, write_clip

SAID = "Kids are talking by the door."
REASONS = {
    "silent": "silent",
    "cut": "corrupt",
    "gone": "missing",
    "faceless": "no face",
    "wordless": "no transcript",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of a drawn face that speaks with espeak-ng's voice, some with a flaw; a recipe of tiny models."""
    root = tmp_path_factory.mktemp("extraction")
    said, rate = speech(SAID)
    shown = [drawn_face(240, 320, 150 + i, 120, 120) for i in range(20)]
    film(root / "plain.mkv", shown, said, rate, "-c:a", "pcm_s16le")
    film(root / "stereo.mkv", shown, np.concatenate([said, 0.5 * said]), rate, "-c:a", "pcm_s16le", "-ar", "44100")
    film(root / "uneven.mp4", shown, said, rate, "-vf", "select=not(mod(n\\,3))+lt(n\\,6)", "-fps_mode", "vfr")
    film(root / "lying.mp4", shown, said, rate, "-vf", "transpose=clock")
    ffmpeg("-display_rotation", "90", "-i", root / "lying.mp4", "-c", "copy", root / "turned.mp4")
    film(root / "other.mp4", [picture // 2 for picture in shown], said[:, ::-1], rate)
    film(root / "silent.mp4", shown, said, rate, "-af", "volume=0")
    film(root / "faceless.mp4", [grey(90, 240, 320)] * 20, said, rate)
    whole = (root / "other.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "wordless.mp4").symlink_to("plain.mkv")
    text = SAID.lower().removesuffix(".")
    names = ["plain.mkv", "stereo.mkv", "uneven.mp4", "turned.mp4", "other.mp4", *(f"{name}.mp4" for name in REASONS)]
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
    return dict(assembled_clips(tables[::-1], descriptions, lambda _: versions))


def test_clips_become_features_and_flaws_their_reasons(folder: Path) -> None:
    clips, recipe = ClipList.read(folder / "clips.parquet"), load_recipe(str(folder / "recipe.yaml"))
    names = [clip.sample_id for clip in clips]
    found = {names[row]: what for row, what in in_process(clips, recipe, range(len(clips))).items()}
    assert {name: what[0] for name, what in found.items() if isinstance(what, tuple)} == REASONS
    features = {name: what[0] for name, what in found.items() if isinstance(what, dict)}
    assert set(features) == {"plain", "stereo", "uneven", "turned", "other"}
    assert all(row.shape == (12 + 16 + 16 + 16,) and np.isfinite(row).all() for row in features.values())

    def apart(name: str, columns: slice) -> float:
        return float(np.abs(features["plain"][columns] - features[name][columns]).max())

    video, audio, text = slice(0, 28), slice(28, 44), slice(44, 60)
    # One of the two channels is softer: the mean is the same sound, whose level the backbone's processor removes.
    assert apart("stereo", audio) < apart("other", audio) / 4
    for name in ("stereo", "uneven", "turned"):
        assert apart(name, video) < apart("other", video) / 20
        assert apart(name, text) < 1e-6


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
    found = list(assembled_clips(tables, [Description(1, "", "")], lambda _: 2))
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


def without_ray(replace: Callable[[Any, str, Any], None]) -> None:
    """Have an extraction do all it does, but for Ray: clip by clip in this process, as an actor would be given them."""

    def results(
        clips: ClipList, recipe: Recipe, _descriptions: object, folder: ExtractionFolder, todo: Sequence[int]
    ) -> Generator[Result, None, None]:
        for row in todo:
            ((_, what),) = in_process(clips, recipe, [row], versions=len(folder.versions(row))).items()
            yield extraction._result(clips, row, what)

    replace(extraction, "results", results)
    replace(extraction, "connect", lambda address: None)
    replace(extraction, "disconnect", lambda: None)
    replace(extraction, "Interrupts", lambda farewell: None)


def test_too_many_failures_stop_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished stays, and the same command goes on once more may fail."""
    without_ray(monkeypatch.setattr)
    command = ["extract", str(folder / "clips.parquet"), "--out", str(tmp_path / "out"), "--clips-per-shard", "2"]
    command += ["--backbones", str(folder / "recipe.yaml")]
    stopped = CliRunner().invoke(app, [*command, "--max-failed", "1"])
    assert stopped.exit_code == 1
    assert "more than --max-failed allows (1)" in stopped.stderr
    assert "cut: corrupt:" in stopped.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()
    finished = CliRunner().invoke(app, [*command, "--max-failed", "5"])
    assert (finished.exit_code, "features of 5 of 10 clips, 4 of them now" in finished.stdout) == (0, True)


MORTAL = """
import os, signal, sys
from sweeps.cli import main

shards = 0

def note(event, arguments):
    global shards
    if event == "os.rename" and str(arguments[1]).endswith(".arrow"):
        shards += 1
        if shards == 2:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(note)
main()
"""
"""`conclugen` in a process that is killed as its second shard is about to get its name."""


def written(*files: Path) -> dict[Path, tuple[int, int]]:
    """Which file each is, and when it was written: what differs once it is made again."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.mark.slow(seconds=80)
@pytest.mark.timeout(600)
def test_killed_it_goes_on_as_if_nothing_had_been(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is done twice or by halves, and it ends with the set that an undisturbed run in this process gives."""
    out, recipe = tmp_path / "out", yaml.safe_load((folder / "recipe.yaml").read_text())
    del recipe["modalities"]["video"][1]  # each backbone is a process more that imports transformers
    (folder / "fewer.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    command = ["extract", folder / "clips.parquet", "--backbones", folder / "fewer.yaml", "--max-failed", "5"]
    command = [*map(str, command), "--clips-per-shard", "2", "--out"]
    killed = subprocess.run([sys.executable, "-c", MORTAL, *command, out], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [file.name for file in out.glob("*.arrow")] == ["train-00000.arrow"]
    assert not (out / "manifest.json").exists()
    kept = written(out / "train-00000.arrow", out / "parts" / "00000.json")
    goes_on = [sys.executable, "-m", "sweeps", *command, out]
    finished = subprocess.run(goes_on, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "features of 5 of 10 clips, 8 of them now" in finished.stdout
    assert "1 silent" in finished.stdout
    assert written(*kept) == kept
    assert not list(out.glob(".*.partial"))

    without_ray(monkeypatch.setattr)
    again = CliRunner().invoke(app, [*command, str(out)])
    assert (again.exit_code, "all there before" in again.stdout) == (0, True)
    undisturbed = tmp_path / "undisturbed"
    assert CliRunner().invoke(app, [*command, str(undisturbed)]).exit_code == 0
    assert Manifest.read(out) == Manifest.read(undisturbed)  # checksums of all shards included
    for name in ("extraction.json", "failures.csv"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    manifest = Manifest.read(out)
    assert manifest.widths == {"video": 12, "audio": 16, "text": 16}
    assert (manifest.rows("train"), manifest.rows("val")) == (8, 1)
    train = FeatureSet(out).split("train")
    assert train.sample_ids == [name for name in ("plain", "stereo", "uneven", "turned") for _ in range(2)]
    listed = [line.split(",")[:2] for line in (out / "failures.csv").read_text().splitlines()]
    assert dict(listed) == {"sample_id": "reason", **REASONS}
