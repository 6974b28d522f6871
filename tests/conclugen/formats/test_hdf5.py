"""HDF5: MFN's file for each modality and split, and computational sequences of the CMU-MultimodalSDK."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conclugen.formats.sequences import overlapping
from tests.conclugen.formats.reading import imported, planned, refused

RNG = np.random.default_rng(0)


SIZES = {"train": 5, "valid": 2, "test": 3}
SPLITS = {"train": "train", "valid": "val", "test": "test"}


class TestMfn:
    def _write(self, folder: Path, key: str = "d1") -> dict[str, np.ndarray]:
        arrays = {}
        for part, rows in SIZES.items():
            for name, width in (("text", 4), ("covarep", 3)):
                arrays[f"{name}_{part}"] = RNG.normal(size=(rows, 20, width))
            arrays[f"y_{part}"] = np.resize([-1.2, 2.0], rows)
        folder.mkdir(exist_ok=True)
        for name, array in arrays.items():
            with h5py.File(folder / f"{name}.h5", "w") as file:
                file[key] = array
        return arrays

    @pytest.mark.parametrize("key", ["d1", "data"])
    def test_a_file_for_each_modality_and_split(self, tmp_path: Path, key: str) -> None:
        arrays = self._write(tmp_path / "mosi", key)
        rows = imported(tmp_path, tmp_path / "mosi", label_map="mosi-2")
        assert rows.manifest.widths == {"covarep": 3, "text": 4}
        assert [rows.manifest.samples(split) for split in ("train", "val", "test")] == [5, 2, 3]
        expected = {
            f"{SPLITS[part]}{row:07d}": arrays[f"text_{part}"][row].mean(axis=0)
            for part, count in SIZES.items()
            for row in range(count)
        }
        assert rows.same("text", expected)
        assert rows.labels["val0000001"] == "non-negative"

    def test_parts_with_other_numbers_of_rows_are_told(self, tmp_path: Path) -> None:
        self._write(tmp_path / "mosi")
        with h5py.File(tmp_path / "mosi" / "y_test.h5", "w") as file:
            file["d1"] = np.zeros(2)
        problems = refused(tmp_path / "mosi", label_map="mosi-2")
        assert (
            "rows of test are matched by their order, but covarep_test has 3, text_test has 3, y_test has 2"
            in problems[0]
        )

    def test_rows_of_a_part_that_lacks_a_file_are_left_out(self, tmp_path: Path) -> None:
        self._write(tmp_path / "mosi")
        (tmp_path / "mosi" / "covarep_valid.h5").unlink()
        (tmp_path / "mosi" / "y_test.h5").unlink()
        plan = planned(tmp_path / "mosi", label_map="mosi-2")
        assert {reason: len(ids) for reason, ids in plan.left_out.items()} == {"no covarep": 2, "no label": 3}
        assert plan.splits == ["train"] * 5

    def test_padding_in_front_is_asked_about(self, tmp_path: Path) -> None:
        self._write(tmp_path / "mosi")
        with h5py.File(tmp_path / "mosi" / "text_test.h5", "a") as file:
            file["d1"][0, :5] = 0
        problems = refused(tmp_path / "mosi", label_map="mosi-2")
        assert ["1 of 3 sequences begin or end with frames of zeros" in problem for problem in problems] == [True]


VIDEOS = {"vid_a": [(0.0, 2.0), (2.0, 5.0)], "vid_b": [(1.0, 3.0)], "vid_c": [(0.0, 1.0)]}
NAMES = ["sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear"]


def _sequence(file: Path, title: str, data: dict[str, tuple[Any, Any]], names: list[str] | None = None) -> Path:
    file.parent.mkdir(exist_ok=True)
    with h5py.File(file, "w") as content:
        for video, (features, intervals) in data.items():
            content[f"{title}/data/{video}/features"] = features
            content[f"{title}/data/{video}/intervals"] = intervals
        content[f"{title}/metadata/md5"] = np.array([json.dumps("x")], dtype=h5py.string_dtype())
        if names is not None:
            content[f"{title}/metadata/dimension names"] = np.array([json.dumps(names)], dtype=h5py.string_dtype())
    return file


class TestSequences:
    def _write(self, folder: Path) -> dict[str, np.ndarray]:
        labels = {
            video: (RNG.normal(size=(len(times), 7)).round(2), np.array(times)) for video, times in VIDEOS.items()
        }
        _sequence(folder / "CMU_MOSEI_Labels.csd", "All Labels", labels, NAMES)
        times = np.stack([np.arange(50) / 10, np.arange(1, 51) / 10], axis=1)
        features = {video: RNG.normal(size=(50, 4)).astype("f4") for video in VIDEOS}
        _sequence(
            folder / "CMU_MOSEI_COVAREP.csd", "COVAREP", {video: (array, times) for video, array in features.items()}
        )
        (folder / "cmu_mosei_std_folds.py").write_text(
            "standard_train_fold=['vid_a', 'vid_z']\nstandard_valid_fold=['vid_b']\nstandard_test_fold=['vid_c']\nx = "
            "print(1)\n",
            "utf-8",
        )
        return features

    def test_frames_are_aligned_to_the_labelled_intervals(self, tmp_path: Path) -> None:
        features = self._write(tmp_path / "mosei")
        rows = imported(tmp_path, tmp_path / "mosei", labels="sentiment", label_map="mosi-2")
        expected = {
            f"{video}[{number}]": features[video][round(start * 10) : round(end * 10)].mean(axis=0)
            for video, times in VIDEOS.items()
            for number, (start, end) in enumerate(times)
        }
        assert rows.same("CMU_MOSEI_COVAREP", expected)
        assert rows.splits == {"vid_a[0]": "train", "vid_a[1]": "train", "vid_b[0]": "val", "vid_c[0]": "test"}
        assert rows.plan.columns["labels"] == "sentiment"
        assert len(rows.manifest.modalities) == 1

    def test_the_columns_of_the_labels_are_asked_about(self, tmp_path: Path) -> None:
        self._write(tmp_path / "mosei")
        (question,) = refused(tmp_path / "mosei")
        assert question.startswith("labels: may be in several columns: --labels sentiment (numbers from")

    def test_sequences_without_labels_are_asked_about(self, tmp_path: Path) -> None:
        features = self._write(tmp_path / "mosei")
        (question,) = refused(tmp_path / "mosei" / "CMU_MOSEI_COVAREP.csd")
        assert "Or each whole video is a sample: give --rows clips." in question
        rows = imported(tmp_path, tmp_path / "mosei" / "CMU_MOSEI_COVAREP.csd", rows="clips")
        assert rows.same("CMU_MOSEI_COVAREP", {video: array.mean(axis=0) for video, array in features.items()})

    def test_videos_without_features_and_intervals_without_frames_are_left_out(self, tmp_path: Path) -> None:
        self._write(tmp_path / "mosei")
        with h5py.File(tmp_path / "mosei" / "CMU_MOSEI_COVAREP.csd", "a") as file:
            del file["COVAREP/data/vid_b"]
            file["COVAREP/data/vid_c/intervals"][...] += 60
            del file["COVAREP/data/vid_a/intervals"]
            file["COVAREP/data/vid_a/intervals"] = np.tile([0.0, 1.0], (50, 1))
        rows = imported(tmp_path, tmp_path / "mosei", labels="none")
        assert rows.plan.left_out == {
            "no CMU_MOSEI_COVAREP (its video is not there)": ["vid_b[0]"],
            "no CMU_MOSEI_COVAREP (no frame lies in its interval)": ["vid_a[1]", "vid_c[0]"],
        }

    def test_a_file_of_words_is_no_modality(self, tmp_path: Path) -> None:
        self._write(tmp_path / "mosei")
        words = {video: (np.array([[b"hello"], [b"you"]], "S5"), np.array([[0, 1], [1, 2]])) for video in VIDEOS}
        _sequence(tmp_path / "mosei" / "CMU_MOSEI_Words.csd", "words", words)
        assert "CMU_MOSEI_Words" in refused(tmp_path / "mosei", labels="none")[0]

    def test_a_video_in_two_lists_is_refused(self, tmp_path: Path) -> None:
        self._write(tmp_path / "mosei")
        (tmp_path / "mosei" / "cmu_mosei_std_folds.py").write_text("train_fold=['a']\ntest_fold=['a']\n", "utf-8")
        assert "a is in train_fold and in test_fold" in refused(tmp_path / "mosei", labels="none")[0]


@given(
    st.floats(0, 10), st.floats(0.1, 5), st.lists(st.tuples(st.floats(0, 10), st.floats(0, 2)), min_size=1, max_size=6)
)
def test_a_frame_overlaps_an_interval_as_the_sdk_says(
    start: float, length: float, frames: list[tuple[float, float]]
) -> None:
    end = start + length
    times = np.array([(begin, begin + duration) for begin, duration in frames])
    for (begin, stop), inside in zip(times, overlapping(times, start, end), strict=True):
        shared = min(stop, end) - max(begin, start)
        assert inside == (start <= begin < end if begin == stop else shared > 0)
