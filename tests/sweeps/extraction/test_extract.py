"""Extraction from end to end: clips with video, sound and text become a feature set, flawed clips become failures."""

import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from typer.testing import CliRunner

from conclugen.datasets.clips import Clip, ClipList
from conclugen.extraction import inputs
from conclugen.extraction.descriptions import Description, describe
from conclugen.extraction.folder import ExtractionFolder, Result
from conclugen.extraction.readers import Block
from conclugen.extraction.recipe import Recipe, load_recipe
from conclugen.features.manifest import Labels, Manifest
from conclugen.features.shards import FeatureSet
from sweeps.cli import app
from sweeps.cli.extract import allowed_failures
from sweeps.config import ConfigError
from sweeps.estimate.room import Node
from sweeps.execution.code import code_here, origin
from sweeps.extraction import extract as extraction
from sweeps.extraction.assembly import ClipResult, Gaps, assembled_clips
from sweeps.extraction.pipeline import BackboneActor, decode, pack_blocks, share_cluster, to_result, unpack_blocks
from sweeps.interrupts import Interrupts
from tests.conclugen.extraction import models
from tests.conclugen.extraction.faces import drawn_face
from tests.media import ffmpeg, film, grey, speech, write_clip
from tests.strays import write_strays

CODE = origin(code_here())
SENTENCE = "Kids are talking by the door."
REASONS = {
    "silent": "silent",
    "cut": "corrupt",
    "gone": "missing",
    "faceless": "no face",
    "wordless": "no transcript",
}
"""The flawed clips of :func:`folder` and the reasons why they have no features."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of a drawn face that speaks with espeak-ng's voice, some of them flawed, and a recipe of tiny models."""
    root = tmp_path_factory.mktemp("extraction")
    sound, rate = speech(SENTENCE)
    pictures = [drawn_face(240, 320, 150 + i, 120, 120) for i in range(20)]
    stereo = np.concatenate([sound, 0.5 * sound])
    film(root / "plain.mkv", pictures, sound, rate, "-c:a", "pcm_s16le")
    film(root / "stereo.mkv", pictures, stereo, rate, "-c:a", "pcm_s16le", "-ar", "44100")
    film(root / "uneven.mp4", pictures, sound, rate, "-vf", "select=not(mod(n\\,3))+lt(n\\,6)", "-fps_mode", "vfr")
    film(root / "lying.mp4", pictures, sound, rate, "-vf", "transpose=clock")
    ffmpeg("-display_rotation", "90", "-i", root / "lying.mp4", "-c", "copy", root / "turned.mp4")
    film(root / "other.mp4", [picture // 2 for picture in pictures], sound[:, ::-1], rate)
    film(root / "silent.mp4", pictures, sound, rate, "-af", "volume=0")
    film(root / "faceless.mp4", [grey(90, 240, 320)] * 20, sound, rate)
    content = (root / "other.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(content[: len(content) // 2])
    (root / "wordless.mp4").symlink_to("plain.mkv")
    text = SENTENCE.lower().removesuffix(".")
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
        models.model_folder(make, root)
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
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return root


def in_process(
    clips: ClipList, recipe: Recipe, rows: Sequence[int], *, versions: int = 1, together: bool = True
) -> dict[int, ClipResult]:
    """Run the pipeline's own stages without Ray; give the features of each row, or why it has none.

    Args:
        clips: the clip list.
        recipe: the recipe.
        rows: of the clip list, to extract.
        versions: of each clip.
        together: whether the actors get all portions in one table, or each in a table of its own.
    """
    return {clip: result for clip, result, _ in staged(clips, recipe, rows, versions=versions, together=together)}


def staged(
    clips: ClipList,
    recipe: Recipe,
    rows: Sequence[int],
    *,
    versions: int = 1,
    together: bool = True,
    keep_incomplete: bool = False,
) -> list[tuple[int, ClipResult, Gaps]]:
    """Run the pipeline's own stages without Ray; give each row with its features, and with its gaps."""
    descriptions = describe(recipe)
    table = clips.table.select(["sample_id", "video", "start", "end", "transcript"]).take(list(rows))
    table = table.append_column("clip", pa.array(rows)).append_column("root", pa.array([clips.header.root] * len(rows)))
    table = pa.concat_tables([table.append_column("version", pa.array([v] * len(rows))) for v in range(versions)])
    settings = recipe.model_dump_json()
    tables = list(decode(table, settings, CODE, keep_incomplete=keep_incomplete))
    if together:
        tables = [pa.concat_tables(tables)]
    for index, description in enumerate(descriptions):
        if recipe.backbones[index].descriptor is not None:
            continue
        actor = BackboneActor(settings, CODE, index, description.width, 1)
        tables = [actor(table) for table in tables]
    return list(assembled_clips(tables[::-1], descriptions, lambda _: versions))


def test_good_clips_become_features_and_flawed_clips_name_their_reasons(folder: Path) -> None:
    clips, recipe = ClipList.read(folder / "clips.parquet"), load_recipe(str(folder / "recipe.yaml"))
    names = [clip.sample_id for clip in clips]
    results = {names[row]: result for row, result in in_process(clips, recipe, range(len(clips))).items()}
    assert {name: result[0] for name, result in results.items() if isinstance(result, tuple)} == REASONS
    features = {name: result[0] for name, result in results.items() if isinstance(result, dict)}
    assert set(features) == {"plain", "stereo", "uneven", "turned", "other"}
    assert all(row.shape == (12 + 16 + 16 + 16,) and np.isfinite(row).all() for row in features.values())

    def distance(name: str, columns: slice) -> float:
        return float(np.abs(features["plain"][columns] - features[name][columns]).max())

    video, audio, text = slice(0, 28), slice(28, 44), slice(44, 60)
    # One of the two channels is softer: the mean is the same sound, whose level the backbone's processor removes.
    assert distance("stereo", audio) < distance("other", audio) / 4
    for name in ("stereo", "uneven", "turned"):
        assert distance(name, video) < distance("other", video) / 20
        assert distance(name, text) < 1e-6


def test_features_do_not_depend_on_portions_or_neighbours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, recipe = ClipList.read(folder / "clips.parquet"), load_recipe(str(folder / "recipe.yaml"))
    in_one_portion = in_process(clips, recipe, [0, 1, 2, 3], versions=2)
    monkeypatch.setattr(inputs, "PORTION_BYTES", 1)
    for rows, together in (([0, 1, 2, 3], True), ([2], False)):
        for row, versions in in_process(clips, recipe, rows, versions=2, together=together).items():
            assert set(versions) == {0, 1}
            for version, features in versions.items():
                np.testing.assert_allclose(features, in_one_portion[row][version], atol=1e-4)
    assert np.abs(in_one_portion[0][0] - in_one_portion[0][1]).max() > 1e-3  # the augmented version differs


def test_a_clip_named_by_its_times_has_the_features_of_the_same_clip_in_its_own_file(folder: Path) -> None:
    """The clip is the second half of a recording."""
    sound, rate = speech(SENTENCE)
    pictures = [drawn_face(240, 320, 120 + 3 * i, 120, 120) for i in range(20)]
    half = sound[:, rate : 2 * rate]
    write_clip(folder / "long.mkv", pictures, sound=sound[:, : 2 * rate], sound_rate=rate)
    write_clip(folder / "half.mkv", pictures[10:], sound=half, sound_rate=rate)
    clips = ClipList.of(
        [
            Clip(sample_id="a", split="train", video="long.mkv", start=1.0, end=2.0, transcript="kids"),
            Clip(sample_id="b", split="train", video="half.mkv", transcript="kids"),
        ],
        dataset="halves", root=folder, labels=None,
    )  # fmt: skip
    results = in_process(clips, load_recipe(str(folder / "recipe.yaml")), [0, 1])
    np.testing.assert_allclose(results[0][0], results[1][0], atol=0.02)


def test_packing_keeps_blocks_unchanged() -> None:
    blocks: list[Block] = [
        {"pixels": np.arange(12, dtype=np.uint8).reshape(1, 3, 4)},
        {"input_ids": np.array([2, 5, 3]), "attention_mask": np.ones(3, np.int64)},
        *({"input_values": np.full(i, i, np.float32), "seconds": np.array(0.5, np.float32)} for i in range(1, 12)),
    ]
    unpacked = unpack_blocks(pack_blocks(blocks))
    assert [set(block) for block in unpacked] == [set(block) for block in blocks]
    for block, copy in zip(blocks, unpacked, strict=True):
        for name, array in block.items():
            assert copy[name].dtype == array.dtype
            np.testing.assert_array_equal(copy[name], array)
    assert unpack_blocks(pack_blocks([])) == []


def portions(*rows: tuple[int, int, int, bool, str, float, float]) -> pa.Table:
    """Make a table of portions as the actors of one backbone of width 1 would leave it."""
    clip, version, portion, last, reason, total, weight = zip(*rows, strict=True)
    return pa.table(
        {
            "clip": clip, "version": version, "portion": portion, "last": last, "reason": reason, "details": reason,
            "gaps": ["[]"] * len(clip),
            "sum_0": pa.FixedSizeListArray.from_arrays(pa.array(total, pa.float64()), 1), "weight_0": weight,
        }
    )  # fmt: skip


def test_portions_are_assembled_to_clips_in_any_order() -> None:
    tables = [
        portions((1, 0, 1, True, "", 3.0, 1.0), (0, 0, 0, True, "", 4.0, 2.0)),
        portions((2, 0, 1, True, "corrupt", 0.0, 0.0), (1, 1, 0, True, "", 5.0, 5.0)),
        portions((2, 1, 0, True, "", 1.0, 1.0), (1, 0, 0, False, "", 5.0, 3.0), (0, 1, 0, True, "", 6.0, 2.0)),
        portions((2, 0, 0, False, "", 1.0, 1.0)),
    ]
    clips = list(assembled_clips(tables, [Description(1, "", "")], lambda _: 2))
    assert [clip for clip, _, _ in clips] == [1, 0, 2]
    results = [r if isinstance(r, tuple) else {v: x.tolist() for v, x in r.items()} for _, r, _ in clips]
    assert results == [{0: [2.0], 1: [1.0]}, {0: [2.0], 1: [3.0]}, ("corrupt", "corrupt")]


def cluster(*nodes: tuple[int, int]) -> list[Node]:
    """Make the nodes of a cluster from their numbers of CPUs and GPUs."""
    return [Node(str(i), "", cpus, gpus) for i, (cpus, gpus) in enumerate(nodes)]


def test_backbones_share_the_gpus_and_leave_cpus_to_decoding(folder: Path) -> None:
    recipe = load_recipe(str(folder / "recipe.yaml"))
    for nodes in ([(1, 0)], [(2, 0)], [(16, 0)], [(8, 1)], [(64, 4), (64, 4)]):
        cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
        shares = share_cluster(recipe, cluster(*nodes))
        assert shares.copies * sum(shares.gpus) <= gpus
        assert shares.copies * shares.cpus * 4 + shares.decode_cpus <= cpus
        assert shares.copies == max(1, gpus) or not gpus
        assert (min(shares.gpus) > 0) == (gpus > 0)


def test_a_recipe_that_needs_more_gpus_than_the_cluster_has_is_refused(folder: Path) -> None:
    recipe = load_recipe(str(folder / "recipe.yaml"))
    greedy = {n: tuple(b.model_copy(update={"gpus": 0.5}) for b in bs) for n, bs in recipe.modalities.items()}
    with pytest.raises(ConfigError, match="take 2 together"):
        share_cluster(recipe.model_copy(update={"modalities": greedy}), cluster((8, 1)))


def test_bad_input_lists_every_problem_and_writes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(
        "modalities: {a: [{model: ./none, kind: text}], b: [{model: /no, kind: text}]}", encoding="utf-8"
    )
    clips, recipe = str(folder / "clips.parquet"), str(folder / "recipe.yaml")
    for arguments, problems, part in (
        ([clips, "--backbones", "bad.yaml"], 2, "modalities.b.0.model: '/no': is neither a folder nor a hub id"),
        (["clips.none", "--backbones", "paper"], 1, "there is no such file"),
        ([clips, "--backbones", recipe, "--max-failed", "many"], 1, "--max-failed many"),
        ([clips, "--backbones", recipe, "--dtype", "int8"], 1, "--dtype int8"),
    ):
        result = CliRunner().invoke(app, ["extract", *arguments, "--out", "out"])
        assert (result.exit_code, result.stderr.count("\n")) == (2, problems + 1)
        assert part in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize(("text", "clips", "allowed"), [("0", 9, 0), ("12", 9, 12), ("1%", 250, 2), ("2.5%", 1000, 25)])
def test_max_failed_takes_a_number_or_a_percentage(text: str, clips: int, allowed: int) -> None:
    assert allowed_failures(text, clips) == allowed


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "%", "1.2.3%", "."])
def test_max_failed_refuses_everything_else(text: str) -> None:
    with pytest.raises(ConfigError, match="--max-failed"):
        allowed_failures(text, 10)


def without_ray(replace: Callable[[Any, str, Any], None]) -> None:
    """Let extractions run without Ray: clip by clip in this process, as an actor would get them."""

    def results(
        clips: ClipList, recipe: Recipe, _descriptions: object, folder: ExtractionFolder, todo: Sequence[int]
    ) -> Generator[Result, None, None]:
        for row in todo:
            versions, keep_incomplete = len(folder.versions(row)), folder.keep_incomplete
            ((_, *found),) = staged(clips, recipe, [row], versions=versions, keep_incomplete=keep_incomplete)
            yield to_result(clips, recipe, row, *found)

    replace(extraction, "results", results)
    replace(extraction, "connect", lambda address: None)
    replace(extraction, "disconnect", lambda: None)
    replace(Interrupts, "install", lambda interrupts: None)
    replace(extraction, "alive_nodes", list)
    replace(extraction, "check_code", lambda nodes: None)


def test_too_many_failures_stop_the_extraction_and_a_higher_limit_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_incomplete_clips_are_kept_on_request(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence, a missing face and missing words are gaps; a file that is cut off or gone stays a fault."""
    without_ray(monkeypatch.setattr)
    out = tmp_path / "out"
    command = ["extract", str(folder / "clips.parquet"), "--out", str(out), "--clips-per-shard", "2"]
    command += ["--backbones", str(folder / "recipe.yaml"), "--max-failed", "2"]
    result = CliRunner().invoke(app, [*command, "--keep-incomplete"])
    assert result.exit_code == 0, result.output
    assert "features of 8 of 10 clips" in result.stdout
    assert (
        "With gaps: 3 clips: 1 without audio (silent), 1 without video (no face), 1 without text (no transcript)"
        in (result.stdout)
    )
    manifest = Manifest.read(out)
    assert manifest.rows_by_modalities("train") == {
        "video+audio+text": 8, "audio+text": 2, "video+audio": 2, "video+text": 2,
    }  # fmt: skip
    assert manifest.rows_by_modalities("val") == {"video+audio+text": 1}
    rows = (out / "incomplete.csv").read_text(encoding="utf-8").splitlines()
    assert [row.rpartition(",")[0].split(",")[:3] for row in rows] == [
        ["sample_id", "modality", "reason"],
        ["silent", "audio", "silent"],
        ["faceless", "video", "no face"],
        ["wordless", "text", "no transcript"],
    ]
    split = FeatureSet(out).split("train")
    for name, modality in (("silent", "audio"), ("faceless", "video"), ("wordless", "text")):
        places = torch.tensor([row for row, sample in enumerate(split.sample_ids) if sample == name])
        assert not split.present[modality][places].any()
        assert all(split.gather(other, places).any() == (other != modality) for other in manifest.widths)
    whole = CliRunner().invoke(app, command)
    assert whole.exit_code == 2
    assert "holds an extraction with other keep_incomplete" in " ".join(whole.output.split())


def test_a_clip_that_has_nothing_is_no_row(folder: Path) -> None:
    recipe = load_recipe(str(folder / "recipe.yaml"))
    clips = ClipList.of(
        [
            Clip(sample_id="words", split="train", transcript="kids"),
            Clip(sample_id="silence", split="train", video="silent.mp4"),
        ],
        dataset="gaps", root=folder, labels=None,
    )  # fmt: skip
    only_sound = Recipe(modalities={"audio": recipe.modalities["audio"]})
    for row, reason in enumerate(("missing", "silent")):
        ((_, *found),) = staged(clips, only_sound, [row], keep_incomplete=True)
        failure = to_result(clips, only_sound, row, *found).failure
        assert failure is not None
        assert failure.reason == reason
    ((_, *found),) = staged(clips, recipe, [0], keep_incomplete=True)
    assert [(gap.modality, gap.reason) for gap in to_result(clips, recipe, 0, *found).gaps] == [
        ("video", "missing"),
        ("audio", "missing"),
    ]


KILLED_AT_SECOND_SHARD = """
import os, signal, sys
from sweeps.__main__ import main

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
"""Runs `conclugen` and kills it just before its second shard gets its name."""


def file_versions(*files: Path) -> dict[Path, tuple[int, int]]:
    """Give the inode and the modification time of each file, which differ once it is written again."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.mark.slow(seconds=80)
@pytest.mark.timeout(600)
def test_a_killed_extraction_ends_with_the_set_of_an_undisturbed_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the finished shard, leaves no half-written file, and imports nothing of its working directory."""
    out = tmp_path / "out"
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    del recipe["modalities"]["video"][1]  # each backbone costs one more process that imports transformers
    (folder / "fewer.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    command = ["extract", folder / "clips.parquet", "--backbones", folder / "fewer.yaml", "--max-failed", "5"]
    command = [*map(str, command), "--clips-per-shard", "2", "--out"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_SECOND_SHARD, *command, out],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [file.name for file in out.glob("*.arrow")] == ["train-00000.arrow"]
    assert not (out / "manifest.json").exists()
    finished_files = file_versions(out / "train-00000.arrow", out / "parts" / "00000.json")
    goes_on = [*write_strays(tmp_path / "strays"), *command, out]
    finished = subprocess.run(goes_on, capture_output=True, encoding="utf-8", check=False, cwd=tmp_path / "strays")
    assert finished.returncode == 0, finished.stderr
    assert "features of 5 of 10 clips, 8 of them now" in finished.stdout
    assert "1 silent" in finished.stdout
    assert file_versions(*finished_files) == finished_files
    assert not list(out.glob(".*.partial"))

    without_ray(monkeypatch.setattr)
    repeated = CliRunner().invoke(app, [*command, str(out)])
    assert (repeated.exit_code, "all there before" in repeated.stdout) == (0, True)
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
    failures = [line.split(",")[:2] for line in (out / "failures.csv").read_text(encoding="utf-8").splitlines()]
    assert dict(failures) == {"sample_id": "reason", **REASONS}
