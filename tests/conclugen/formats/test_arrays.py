"""Arrays by name and single arrays: .npz, .npy, .pt, pickles, HDF5."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from conclugen.features.manifest import FeatureSetError
from conclugen.features.shards import FeatureSet
from conclugen.formats.importing import import_files
from conclugen.formats.options import Options
from tests.conclugen.formats.reading import imported, planned, refused

RNG = np.random.default_rng(0)
ROWS = 12


def _arrays() -> dict[str, Any]:
    return {
        "video": RNG.normal(size=(ROWS, 4)),
        "audio": RNG.normal(size=(ROWS, 5, 3)),
        "audio_lengths": np.arange(ROWS) % 5 + 1,
        "labels": np.arange(ROWS) % 2,
        "class_names": np.array(["sad", "happy"]),
        "split": np.array(["train"] * 8 + ["valid"] * 2 + ["test"] * 2),
        "id": np.array([f"clip_{row}" for row in range(ROWS)]),
        "speaker": np.array(["Ann", "Bob", "Eve"] * 4),
    }


def _hdf5(file: Path, arrays: dict[str, Any]) -> None:
    with h5py.File(file, "w") as content:
        for key, array in arrays.items():
            content[key] = array.astype("S") if array.dtype.kind == "U" else array


def _torch(file: Path, arrays: dict[str, Any], **options: Any) -> None:
    torch.save(
        {k: a.tolist() if a.dtype.kind == "U" else torch.from_numpy(a) for k, a in arrays.items()}, file, **options
    )


WRITERS: dict[str, Callable[[Path, dict[str, Any]], object]] = {
    "x.npz": lambda file, arrays: np.savez(file, **arrays),
    "compressed.npz": lambda file, arrays: np.savez_compressed(file, **arrays),
    "x.pkl": lambda file, arrays: file.write_bytes(pickle.dumps(arrays)),
    "lists.pkl": lambda file, arrays: file.write_bytes(pickle.dumps({k: a.tolist() for k, a in arrays.items()})),
    "x.h5": _hdf5,
    "x.pt": _torch,
    "legacy.pt": lambda file, arrays: _torch(file, arrays, _use_new_zipfile_serialization=False),
    "numpy.pt": lambda file, arrays: torch.save(arrays, file),
}


@pytest.mark.parametrize("name", WRITERS)
def test_arrays_by_name_are_read_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    arrays = _arrays()
    WRITERS[name](tmp_path / name, arrays)
    rows = imported(tmp_path, tmp_path / name)
    ids = arrays["id"].tolist()
    assert rows.same("video", dict(zip(ids, arrays["video"], strict=True)))
    means = [
        sequence[:length].mean(axis=0)
        for sequence, length in zip(arrays["audio"], arrays["audio_lengths"], strict=True)
    ]
    assert rows.same("audio", dict(zip(ids, means, strict=True)))
    assert rows.labels == dict(zip(ids, ["sad", "happy"] * 6, strict=True))
    assert rows.manifest.labels is not None
    assert rows.manifest.labels.classes == ("sad", "happy")
    assert [rows.manifest.samples(split) for split in ("train", "val", "test")] == [8, 2, 2]
    assert rows.groups["speaker"]["clip_1"] == "Bob"


def test_padding_is_asked_about_where_no_length_says_it(tmp_path: Path) -> None:
    arrays = {"audio": RNG.normal(size=(4, 5, 3)), "id": np.array(list("abcd"))}
    np.savez(tmp_path / "whole.npz", **arrays)
    assert imported(tmp_path, tmp_path / "whole.npz").same(
        "audio", dict(zip("abcd", arrays["audio"].mean(axis=1), strict=True))
    )
    arrays["audio"][1, 3:] = 0
    arrays["audio"][2, 0] = 0
    np.savez(tmp_path / "padded.npz", **arrays)
    (question,) = refused(tmp_path / "padded.npz")
    assert "audio: 2 of 4 sequences begin or end with frames of zeros" in question
    assert "Give --padding zeros if these frames are padding, or --padding none if they count." in question
    for padding, expected in (
        ("zeros", [arrays["audio"][0].mean(0), arrays["audio"][1, :3].mean(0), arrays["audio"][2, 1:].mean(0)]),
        ("none", list(arrays["audio"].mean(axis=1)[:3])),
    ):
        folder = tmp_path / padding
        folder.mkdir()
        rows = imported(folder, tmp_path / "padded.npz", padding=padding)
        assert np.allclose([rows.vectors["audio"][key] for key in "abc"], expected, atol=1e-6)


def test_an_array_by_name_or_by_clip_is_asked_about(tmp_path: Path) -> None:
    torch.save({name: torch.ones(6, 4) * place for place, name in enumerate("abcd")}, tmp_path / "x.pt")
    (question,) = refused(tmp_path / "x.pt")
    assert "give --format stack; or a dictionary with an array for each clip" in question
    assert list(planned(tmp_path / "x.pt", format="stack").modalities) == ["a", "b", "c", "d"]
    assert planned(tmp_path / "x.pt", format="by_clip").ids == ["a", "b", "c", "d"]


def test_a_dictionary_by_clip_is_read(tmp_path: Path) -> None:
    arrays = {f"clips/{name}.wav": RNG.normal(size=(length, 4)) for length, name in enumerate("abcde", 2)}
    np.save(tmp_path / "wavlm.npy", np.array(arrays, dtype=object))
    rows = imported(tmp_path, tmp_path / "wavlm.npy")
    assert rows.same("wavlm", {key[6:7]: array.mean(axis=0) for key, array in arrays.items()})


def test_single_arrays_are_matched_by_their_order(tmp_path: Path) -> None:
    video, text = RNG.normal(size=(ROWS, 4)), RNG.normal(size=(ROWS, 3))
    np.save(tmp_path / "video.npy", video)
    torch.save(torch.from_numpy(text), tmp_path / "text.pt")
    np.save(tmp_path / "labels.npy", np.array(["a", "b"] * 6))
    files = [tmp_path / name for name in ("video.npy", "text.pt", "labels.npy")]
    rows = imported(tmp_path, *files)
    assert list(rows.vectors["video"].values()) == video.astype("f4").tolist()
    assert list(rows.vectors["text"].values()) == text.astype("f4").tolist()
    np.save(tmp_path / "labels.npy", np.array(["a", "b"] * 5))
    (problem,) = refused(*files)
    assert "rows are matched by their order, but video has 12, text has 12, labels has 10" in problem


def test_files_with_and_without_identifiers_are_matched_on_request(tmp_path: Path) -> None:
    np.save(tmp_path / "video.npy", RNG.normal(size=(3, 4)))
    pd.DataFrame({"name": list("abc"), "emotion": ["x", "y", "x"]}).to_csv(tmp_path / "list.csv", index=False)
    (question,) = refused(tmp_path / "video.npy", tmp_path / "list.csv")
    assert "if all have their 3 rows in the same order, give --join position" in question
    assert imported(tmp_path, tmp_path / "video.npy", tmp_path / "list.csv", join="position").labels["b"] == "y"


def test_rows_of_other_lengths_and_columns_that_are_not_there_are_told(tmp_path: Path) -> None:
    arrays = _arrays() | {"text": np.ones((ROWS - 1, 3))}
    np.savez(tmp_path / "x.npz", **arrays)
    assert "text: has 11 rows, id has 12" in refused(tmp_path / "x.npz", modalities={"text": "text"})[0]
    assert planned(tmp_path / "x.npz", modalities={"video": "video", "audio": "audio"}).ids
    problems = refused(tmp_path / "x.npz", modalities={"video": "vidoe"}, labels="label", groups={"film": "x"})
    assert "nothing is called 'vidoe'; there are video" in problems[0]
    assert problems[0].endswith("Did you mean video?")
    assert [problem.partition(":")[0] for problem in problems] == ["modality 'video'", "--labels", "--groups film"]


def test_identifiers_that_come_twice_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **(_arrays() | {"id": np.array(["a", "a", *"bcdefghijk"])}))
    assert "1 identifiers come more than once, such as 'a' (2 times)" in refused(tmp_path / "x.npz")[0]


def test_a_scale_of_labels_needs_a_map(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **(_arrays() | {"labels": np.linspace(-1, 1, ROWS)}))
    (question,) = refused(tmp_path / "x.npz")
    assert "labels holds numbers from -1 to 1, a scale and no classes; give --label-map with thresholds" in question
    plan = planned(tmp_path / "x.npz", label_map="sims-3")
    assert plan.classes == ["negative", "neutral", "positive"]
    assert plan.labels is not None
    assert (plan.labels[0], plan.labels[-1]) == ("negative", "positive")


def test_files_are_read_in_parts(tmp_path: Path) -> None:
    video = RNG.normal(size=(5000, 2)).astype("f4")
    np.save(tmp_path / "video.npy", video)
    ticks: list[int] = []
    plan, _ = import_files([tmp_path / "video.npy"], tmp_path / "set", Options(), tick=ticks.append)
    assert len(ticks) > 1
    assert sum(ticks) == plan.blocks == 5000
    assert np.array_equal(
        FeatureSet(tmp_path / "set").split("train").gather("video", torch.arange(5000)).numpy(), video
    )


def test_values_beyond_the_stored_precision_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "video.npy", np.array([[1.0, 2.0], [70000.0, 1.0]]))
    with pytest.raises(FeatureSetError, match="too large for float16, so store float32"):
        imported(tmp_path, tmp_path / "video.npy", dtype="float16")
    assert not (tmp_path / "set").exists()


def test_damaged_and_other_files_are_told(tmp_path: Path) -> None:
    files = {
        "empty.npy": b"",
        "packed.pkl": b"\x1f\x8b\x08\x00",
        "half.npy": b"\x93NUMPY\x01\x00",
        "zip.npz": b"PK\x03\x04 ",
        "lfs.pkl": b"version https://git-lfs.github.com/spec/v1\n",
        "h.h5": b"\x89HDF\r\n\x1a\n",
        "t.pkl": b"\x80\x04.",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    problems = refused(*(tmp_path / name for name in files), tmp_path / "nowhere")
    assert len(problems) == len(files) + 1
    for problem, part in zip(
        problems,
        (
            "is empty",
            "packed by gzip",
            "cannot be read",
            "is damaged",
            "pointer of Git LFS",
            "cannot be read",
            "damaged",
            "not there",
        ),
        strict=True,
    ):
        assert part in problem


def test_an_executable_file_of_torch_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "trap",)

    for new in (True, False):
        torch.save({"a": Trap()}, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
        (problem,) = refused(tmp_path / "x.pt")
        assert "nothing was executed" in problem
    assert not (tmp_path / "trap").exists()


def test_features_with_other_rows_are_never_left_out_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "own.pt"
    torch.save({"video": torch.zeros(4, 3), "text": torch.zeros(3, 2), "ids": list("abcd")}, file)
    (problem,) = refused(file)
    assert "text: has 3 rows, ids has 4; rows cannot be matched, so mend the file, or name the modalities" in problem
    assert planned(file, modalities={"video": "video"}).ids == ["a", "b", "c", "d"]
