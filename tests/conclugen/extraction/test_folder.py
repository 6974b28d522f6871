"""The folder of an extraction: the same results give the same feature set after any interruption."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conclugen.datasets.clips import Clip, ClipList
from conclugen.extraction.folder import ExtractionFolder, Failure, Gap, Identity, Result, fingerprint
from conclugen.extraction.recipe import Backbone, Recipe, RecipeError
from conclugen.features.manifest import Labels, Manifest, damaged_shards
from conclugen.features.shards import FeatureSet

RECIPE = Recipe(
    modalities={
        "video": (Backbone(model="a/b", kind="frames"), Backbone(model="a/c", kind="clips")),
        "text": (Backbone(model="a/d", kind="text"),),
    },
    augmented=2,
)
WIDTHS = (2, 1, 3)


def clip_list(count: int = 11) -> ClipList:
    """Make a list in which every fourth clip is val and the others are train."""
    clips = [
        Clip(sample_id=f"clip{i}", split="val" if i % 4 == 3 else "train", transcript="said", labels=(i % 2,))
        for i in range(count)
    ]
    return ClipList.of(clips, dataset="test", root=Path("/"), labels=Labels(classes=("no", "yes")))


def identity(clips: ClipList, **changes: Any) -> Identity:
    descriptions = tuple({"width": width, "weights": "0" * 64, "model_type": "t"} for width in WIDTHS)
    fields = {
        "clips": fingerprint(clips), "recipe": RECIPE.model_dump(mode="json"), "backbones": descriptions,
        "dtype": "float32", "clips_per_shard": 3, "versions": {"torch": "1"}, **changes,
    }  # fmt: skip
    return Identity(**fields)


def open_folder(root: Path, clips: ClipList, *, retry_failed: bool = False, **changes: Any) -> ExtractionFolder:
    return ExtractionFolder(root, clips, RECIPE, identity(clips, **changes), retry_failed=retry_failed)


def result(folder: ExtractionFolder, clip: int, failed: Sequence[int] = ()) -> Result:
    if clip in failed:
        return Result(clip, failure=Failure(sample_id=f"clip{clip}", reason="silent", details="x"))
    features = {v: np.array([clip, v, 0.5, clip * clip, 1, v], np.float64) for v in folder.versions(clip)}
    return Result(clip, features)


def run(
    root: Path, clips: ClipList, order: Sequence[int], *, stop: int | None = None, failed: Sequence[int] = ()
) -> int:
    """Add results in ``order`` until there are ``stop``, or finish without ``stop``; return the number added."""
    with open_folder(root, clips) as folder:
        todo = set(folder.todo)
        added = [clip for clip in order if clip in todo][:stop]
        for clip in added:
            folder.add(result(folder, clip, failed))
        if stop is None:
            folder.finish()
        return len(added)


def test_a_finished_folder_is_a_feature_set(tmp_path: Path) -> None:
    clips = clip_list()
    assert run(tmp_path / "out", clips, range(11), failed=[4]) == 11
    manifest = Manifest.read(tmp_path / "out")
    assert manifest.widths == {"video": 3, "text": 3}
    assert "a/b (frames" in manifest.modalities[0].source
    assert "a/c (clips" in manifest.modalities[0].source
    assert "torch 1" in manifest.modalities[1].source
    assert damaged_shards(tmp_path / "out") == []
    assert (manifest.samples("train"), manifest.rows("train")) == (8, 24)  # all but clip 4, in three versions
    assert (manifest.samples("val"), manifest.rows("val")) == (2, 2)
    split = FeatureSet(tmp_path / "out").split("train")
    assert split.sample_ids[:4] == ["clip0"] * 3 + ["clip1"]
    assert split.labels[:4].tolist() == [0, 0, 0, 1]
    assert split.gather("video", split.clean_rows[1:2]).tolist() == [[1.0, 0.0, 0.5]]
    assert split.gather("text", split.versions[2]).tolist() == [[4.0, 1.0, float(v)] for v in range(3)]
    assert (tmp_path / "out" / "failures.csv").read_text(encoding="utf-8").splitlines()[1:] == ["clip4,silent,x"]


def test_groups_of_the_clips_go_into_the_features_if_all_are_known(tmp_path: Path) -> None:
    """The speaker of one clip is unknown; a dialogue has two clips."""
    clips = [
        replace(clip, speaker=None if row == 5 else "Ann", groups={"dialogue": f"d{row // 2}"})
        for row, clip in enumerate(clip_list())
    ]
    listed = ClipList.of(clips, dataset="test", root=Path("/"), labels=Labels(classes=("no", "yes")))
    run(tmp_path / "out", listed, range(11))
    assert Manifest.read(tmp_path / "out").groupings == ("dialogue",)
    split = FeatureSet(tmp_path / "out").split("train")
    assert set(zip(split.sample_ids, split.groups["dialogue"], strict=True)) == {
        (f"clip{row}", f"d{row // 2}") for row in (0, 1, 2, 4, 5, 6, 8, 9, 10)
    }


def test_a_list_without_groups_keeps_its_fingerprint() -> None:
    """So an extraction that an earlier version began goes on."""
    assert fingerprint(clip_list()).startswith("df106dd5a9d6bc7c")


def test_clips_with_gaps_survive_interruptions(tmp_path: Path) -> None:
    """Every third clip lacks text; one run is stopped twice."""
    clips = clip_list()

    def run_with_gaps(root: Path, stop: int | None = None) -> None:
        with open_folder(root, clips, keep_incomplete=True) as folder:
            for clip in folder.todo[:stop]:
                gap = Gap(sample_id=f"clip{clip}", modality="text", reason="no transcript", details="")
                folder.add(replace(result(folder, clip), gaps=(gap,) if clip % 3 == 0 else ()))
            if stop is None:
                assert folder.incomplete == 4
                folder.finish()

    run_with_gaps(tmp_path / "straight")
    for stop in (4, 5, None):
        run_with_gaps(tmp_path / "interrupted", stop)
    straight, interrupted = (Manifest.read(tmp_path / name) for name in ("straight", "interrupted"))
    assert straight == interrupted
    assert straight.rows_by_modalities("train") == {"video+text": 18, "video": 9}
    assert straight.rows_by_modalities("val") == {"video+text": 1, "video": 1}
    for name in ("statistics.safetensors", "incomplete.csv"):
        assert (tmp_path / "straight" / name).read_bytes() == (tmp_path / "interrupted" / name).read_bytes()
    rows = (tmp_path / "straight" / "incomplete.csv").read_text(encoding="utf-8").splitlines()
    assert rows == ["sample_id,modality,reason,details", *(f"clip{row},text,no transcript," for row in (0, 6, 9, 3))]


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(11)), stops=st.lists(st.integers(0, 11), max_size=3), failed=st.sets(st.integers(0, 9))
)
def test_order_and_interruptions_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], stops: list[int], failed: set[int]
) -> None:
    clips = clip_list()
    base = tmp_path_factory.mktemp("runs")
    failed -= {0}  # a feature set needs a training row
    run(base / "straight", clips, range(11), failed=sorted(failed))
    for stop in stops:
        run(base / "interrupted", clips, order, stop=stop, failed=sorted(failed))
    run(base / "interrupted", clips, order, failed=sorted(failed))
    straight, interrupted = (Manifest.read(base / name) for name in ("straight", "interrupted"))
    assert straight == interrupted
    for name in ("statistics.safetensors", "failures.csv"):
        assert (base / "straight" / name).read_bytes() == (base / "interrupted" / name).read_bytes()


def test_finished_shards_are_not_extracted_again(tmp_path: Path) -> None:
    clips = clip_list()
    run(tmp_path / "out", clips, range(11), stop=5)  # clips 0, 1, 2 are a shard; 3 is val; 4 alone is no whole shard
    with open_folder(tmp_path / "out", clips) as folder:
        assert folder.todo == [4, 5, 6, 8, 9, 10, 3, 7]
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "part"])
def test_a_damaged_shard_is_extracted_again(tmp_path: Path, damage: str) -> None:
    clips = clip_list()
    run(tmp_path / "out", clips, range(11), stop=7)
    path = tmp_path / "out" / ("parts/00000.json" if damage == "part" else "train-00000.arrow")
    content = bytearray(path.read_bytes())
    if damage in ("flip", "part"):
        content[len(content) // 2] ^= 1
    path.unlink() if damage == "remove" else path.write_bytes(content[: 100 if damage == "cut" else None])
    with open_folder(tmp_path / "out", clips) as folder:
        assert folder.todo[:3] == [0, 1, 2]
    run(tmp_path / "out", clips, range(11))
    run(tmp_path / "straight", clips, range(11))
    assert Manifest.read(tmp_path / "out").fingerprint == Manifest.read(tmp_path / "straight").fingerprint


def test_failed_clips_of_a_finished_set_can_be_retried(tmp_path: Path) -> None:
    clips = clip_list()
    run(tmp_path / "out", clips, range(11), failed=[0, 1, 2, 9])  # the whole first shard, and one more
    assert Manifest.read(tmp_path / "out").samples("train") == 5
    with open_folder(tmp_path / "out", clips, retry_failed=True) as folder:
        assert folder.todo == [0, 1, 2, 8, 9, 10]
        assert not (tmp_path / "out" / "manifest.json").exists()
        for clip in folder.todo:
            folder.add(result(folder, clip))
        folder.finish()
    run(tmp_path / "straight", clips, range(11))
    assert Manifest.read(tmp_path / "out") == Manifest.read(tmp_path / "straight")


def test_clips_with_features_that_are_not_finite_fail(tmp_path: Path) -> None:
    clips = clip_list()
    with open_folder(tmp_path / "out", clips, dtype="float16") as folder:
        folder.add(Result(0, {v: np.full(6, 1e6) for v in range(3)}))
        (failure,) = folder.failures
        assert folder.failed == 1
    assert (failure.sample_id, failure.reason) == ("clip0", "not finite")


def test_another_extraction_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    clips = clip_list()
    run(tmp_path / "out", clips, range(11), stop=4)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for changes, part in (({"dtype": "float16"}, "dtype"), ({"versions": {"torch": "2"}}, "versions")):
        with pytest.raises(RecipeError, match=part):
            open_folder(tmp_path / "out", clips, **changes)
    with pytest.raises(RecipeError, match="clips"):
        open_folder(tmp_path / "out", clip_list(10))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RecipeError, match="not empty"):
        open_folder(tmp_path, clip_list())


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    clips = clip_list()
    with (
        open_folder(tmp_path / "out", clips),
        pytest.raises(RecipeError, match="another process"),
        open_folder(tmp_path / "out", clips),
    ):
        pass
