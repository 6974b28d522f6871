"""ConCluGen's own layout, and that of MERTools: an .npy file for each clip, a folder for each modality."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from conclugen.features.manifest import SPLITS, FeatureSetError
from conclugen.formats.importing import import_files
from conclugen.formats.options import Options
from tests.conclugen.formats.reading import imported, planned, refused

RNG = np.random.default_rng(0)


def _write(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return arrays


def _vectors(width: int, *clips: str) -> dict[str, np.ndarray]:
    return {clip: RNG.normal(size=width).astype("f4") for clip in clips}


def test_one_vector_per_clip_under_a_folder_per_modality(tmp_path: Path) -> None:
    """ConCluGen's authors: 2D and 3D frame features, averaged over time."""
    clips = ("id00012_a", "id00012_b", "id00013_a")
    two = _write(tmp_path / "features" / "2D", _vectors(6, *clips))
    text = _write(tmp_path / "features" / "text", _vectors(4, *clips))
    rows = imported(tmp_path, tmp_path / "features")
    assert rows.manifest.widths == {"features_2D": 6, "text": 4}
    assert rows.same("features_2D", two)
    assert rows.same("text", text)
    assert (rows.manifest.labels, set(rows.splits.values()), rows.plan.left_out) == (None, {"train"}, {})


def test_frames_are_averaged_over_each_clip_own_length(tmp_path: Path) -> None:
    frames = _write(
        tmp_path / "clip-vit-large",
        {
            "a": RNG.normal(size=(3, 5)),
            "b": RNG.normal(size=(7, 5)),
            "c": RNG.normal(size=5),
            "d": RNG.normal(size=(1, 2, 5)),
        },
    )
    rows = imported(tmp_path, tmp_path / "clip-vit-large")
    assert rows.same("clip_vit_large", {key: np.reshape(array, (-1, 5)).mean(axis=0) for key, array in frames.items()})


def test_other_ways_to_pool_have_other_widths(tmp_path: Path) -> None:
    frames = _write(tmp_path / "audio", {"a": RNG.normal(size=(3, 5)), "b": RNG.normal(size=(4, 5))})
    rows = imported(tmp_path, tmp_path / "audio", pool="mean_std")
    expected = {key: np.concatenate([array.mean(axis=0), array.std(axis=0)]) for key, array in frames.items()}
    assert rows.same("audio", expected)


def test_clips_that_lack_a_modality_or_cannot_be_read_are_left_out_and_listed(tmp_path: Path) -> None:
    names = [f"clip{number:03d}" for number in range(300)]
    _write(tmp_path / "f" / "video", _vectors(4, *names))
    _write(tmp_path / "f" / "audio", _vectors(3, *names[1:]) | {"extra": np.ones(3)})
    folder = tmp_path / "f" / "video"
    (folder / "clip001.npy").write_bytes(b"")
    (folder / "clip002.npy").write_bytes((folder / "clip002.npy").read_bytes()[:40])
    np.save(folder / "clip003.npy", np.empty((0, 4)))
    np.save(folder / "clip004.npy", np.ones(5))
    np.save(folder / "clip005.npy", np.array(["a"]))
    np.save(folder / "clip006.npy", np.array([{"a": 1}]))  # an object, which is not read
    (folder / "notes.txt").write_text("x", "utf-8")
    (folder / ".hidden.npy").write_bytes(b"")
    rows = imported(tmp_path, tmp_path / "f")
    assert len(rows.splits) == 293
    reasons = {reason: ids for reason, ids in rows.plan.left_out.items() if "cannot be read" not in reason}
    assert reasons == {
        "no audio": ["clip000"],
        "no video (its file is empty (0 bytes))": ["clip001"],
        "no video (it has no frame)": ["clip003"],
        "no video (its shape is (5,), the others' width is 4)": ["clip004"],
        "no video (it holds no numbers)": ["clip005"],
        "no video": ["extra"],
    }
    unreadable = [key for reason, ids in rows.plan.left_out.items() if "cannot be read" in reason for key in ids]
    assert sorted(unreadable) == ["clip002", "clip006"]


def test_files_of_two_backbones_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "video", _vectors(4, *"abcdef") | _vectors(5, *"ghijk"))
    (problem,) = refused(tmp_path / "video")
    assert "modality 'video': video: 5 of 11 arrays have another shape than most, such as (5,) (5)" in problem


def test_frames_in_columns_are_told(tmp_path: Path) -> None:
    _write(tmp_path / "video", {name: np.ones((4, 7 + number)) for number, name in enumerate("abcdefgh")})
    assert "arrays are (4, T), so their frames are columns; save array.T of each." in refused(tmp_path / "video")[0]


def test_folders_of_frames_are_asked_about(tmp_path: Path) -> None:
    """MERTools' faces: a folder for each clip, a file for each frame."""
    frames = {name: RNG.normal(size=(number, 3)) for number, name in enumerate(("s1", "s2"), 2)}
    for name, array in frames.items():
        _write(tmp_path / "faces" / name, {f"{number:04d}": frame for number, frame in enumerate(array)})
    (question,) = refused(tmp_path / "faces")
    assert "files are frames: give --rows frames. Or each folder is a modality" in question
    rows = imported(tmp_path, tmp_path / "faces", rows="frames")
    assert rows.same("faces", {name: array.mean(axis=0) for name, array in frames.items()})
    assert list(planned(tmp_path / "faces", rows="clips").modalities) == ["s1", "s2"]


def test_folders_of_splits_give_the_splits(tmp_path: Path) -> None:
    for part, clips in (("train", "ab"), ("dev", "c"), ("test", "d")):
        _write(tmp_path / "features" / "video" / part, _vectors(4, *clips))
    rows = imported(tmp_path, tmp_path / "features" / "video")
    assert rows.splits == {"a": "train", "b": "train", "c": "val", "d": "test"}
    np.save(tmp_path / "features" / "video" / "test" / "a.npy", np.ones(4))
    assert "a is in several parts" in refused(tmp_path / "features" / "video")[0]


def test_a_file_that_changes_under_the_import_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "video", {name: np.ones((2, 4)) for name in "abc"})
    plan = planned(tmp_path / "video")
    (tmp_path / "video" / "b.npy").write_bytes(b"")
    from conclugen.formats.importing import write

    write(plan, tmp_path / "set")
    assert list(plan.left_out.values()) == [["b"]]


def test_values_that_are_not_finite_are_asked_about(tmp_path: Path) -> None:
    """MMSA's loader takes 0 in their place."""
    arrays = _write(tmp_path / "audio", {name: RNG.normal(size=(3, 2)) for name in "abc"})
    arrays["b"][1] = -np.inf
    np.save(tmp_path / "audio" / "b.npy", arrays["b"])
    with pytest.raises(FeatureSetError, match="1 of 3 rows hold NaN or infinite values, such as 'b'"):
        imported(tmp_path, tmp_path / "audio")
    assert not (tmp_path / "set").exists()
    dropped = imported(tmp_path, tmp_path / "audio", non_finite="drop")
    assert dropped.plan.left_out == {"no audio (holds NaN or infinite values)": ["b"]}
    arrays["b"][1] = 0
    (tmp_path / "set").rename(tmp_path / "dropped")
    zero = imported(tmp_path, tmp_path / "audio", non_finite="zero")
    assert zero.same("audio", {key: array.mean(axis=0) for key, array in arrays.items()})


def _import_until_killed(folder: Path, out: Path) -> None:
    """Be killed while pooled vectors wait on disk."""
    import_files([folder], out, Options(), tick=lambda _: os.kill(os.getpid(), signal.SIGKILL))


def test_what_a_killed_import_left_is_removed_by_the_next_and_a_running_one_keeps_its_own(tmp_path: Path) -> None:
    _write(tmp_path / "features" / "audio", _vectors(4, "a", "b"))
    _write(tmp_path / "features" / "text", _vectors(3, "a", "b"))
    out = tmp_path / "sets" / "own"
    out.parent.mkdir()
    child = multiprocessing.get_context("fork").Process(target=_import_until_killed, args=(tmp_path / "features", out))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (left,) = out.parent.iterdir()
    running = out.parent / ".own.import-running"
    other = out.parent / ".own2.import-x"
    for folder in (running, other):
        folder.mkdir()
    notes: list[str] = []
    with FileLock(running / "lock"):
        import_files([tmp_path / "features"], out, Options(), note=notes.append)
    assert notes == [f"Removed {left}, which an import that was killed left behind."]
    assert sorted(out.parent.iterdir()) == [running, other, out]


def test_a_dictionary_keeps_clips_of_the_same_name_in_several_folders(tmp_path: Path) -> None:
    arrays = {f"/data/s{speaker}/{clip}.wav": np.array([speaker, clip]) for speaker in (1, 2) for clip in (3, 4)}
    np.savez(tmp_path / "x.npz", **arrays)
    expected = {"s1/3": [1, 3], "s1/4": [1, 4], "s2/3": [2, 3], "s2/4": [2, 4]}
    assert imported(tmp_path, tmp_path / "x.npz", format="by_clip").same("x", expected)


def test_folders_of_splits_may_hold_the_folders_of_modalities(tmp_path: Path) -> None:
    """The rows of all of them were train."""
    root = tmp_path / "features"
    for part in ("train", "dev", "test"):
        for modality in ("video", "audio"):
            _write(root / part / modality, _vectors(3, f"{part}_a", f"{part}_b"))
    expected = {
        f"{part}_{clip}": split for part, split in zip(("train", "dev", "test"), SPLITS, strict=True) for clip in "ab"
    }
    assert imported(tmp_path, root).splits == expected
    plan = planned(*(root / part for part in ("train", "dev", "test")))
    assert dict(zip(plan.ids, plan.splits or (), strict=True)) == expected
    assert planned(root / "test").splits is None  # a folder for tests, perhaps


def test_arrays_in_folders_of_splits_are_matched_within_each(tmp_path: Path) -> None:
    for part, rows in (("train", 3), ("test", 2)):
        for modality in ("video", "audio"):
            (tmp_path / "arrays" / part).mkdir(parents=True, exist_ok=True)
            np.savez(tmp_path / "arrays" / part / f"{modality}.npz", **{modality: RNG.normal(size=(rows, 4))})
    plan = planned(tmp_path / "arrays")
    assert plan.splits == ["test"] * 2 + ["train"] * 3
    assert set(plan.modalities) == {"video", "audio"}


def test_a_dictionary_of_clips_for_each_part_is_one_modality(tmp_path: Path) -> None:
    for part in ("train", "test"):
        np.savez(tmp_path / f"wavlm_{part}.npz", **{f"{part}{clip}": np.array([clip, 1]) for clip in range(4)})
    rows = imported(tmp_path, *sorted(tmp_path.glob("*.npz")), format="by_clip")
    assert rows.same("wavlm", {f"{part}{clip}": [clip, 1] for part in ("train", "test") for clip in range(4)})
    assert (rows.splits["train0"], rows.splits["test0"]) == ("train", "test")
