import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conclugen.features import importing
from conclugen.features.importing import import_arrays, import_npz
from conclugen.features.manifest import MANIFEST_FILE, SPLITS, FeatureSetError, Labels, Manifest
from conclugen.features.shards import FeatureSet


def _arrays(rows: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"video": rng.normal(size=(rows, 4)), "text": rng.normal(size=(rows, 3))}


def _import(out: Path, features: dict[str, np.ndarray] | None = None, **options: Any) -> Manifest:
    features = _arrays() if features is None else features
    arguments: dict[str, Any] = {"labels": None, "class_names": None, "split": None, "dtype": "float32", **options}
    return import_arrays(features, out, sources=dict.fromkeys(features, "planted"), **arguments)


def _problems(out: Path, features: dict[str, np.ndarray] | None = None, **options: Any) -> list[str]:
    """The messages of a refused import, which must leave no file."""
    with pytest.raises(FeatureSetError) as caught:
        _import(out, features, **options)
    assert not out.exists()
    return str(caught.value).splitlines()


def _arrays_with(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    return {**_arrays(), name: array}


def _arrays_named(*names: str) -> dict[str, Any]:
    return {"features": {name: np.ones((6, 2)) for name in names}}


def _array_with(value: float, rows: list[int]) -> np.ndarray:
    array = np.ones((6, 3))
    array[rows, 1] = value
    return array


class TestRules:
    @pytest.mark.parametrize(
        ("features", "expected"),
        [
            (
                _arrays_with("text", np.ones(6)),
                "modality 'text': expected numbers of shape (samples, width), neither of them 0, got float64 (6,)",
            ),
            (_arrays_with("video", np.ones((6, 2, 2))), "modality 'video': expected numbers of shape"),
            (_arrays_with("text", np.full((6, 3), "a")), "modality 'text': expected numbers of shape"),
            (_arrays_with("text", np.ones((6, 3), bool)), "got bool (6, 3)"),
            (_arrays_with("text", np.ones((6, 3), complex)), "got complex128 (6, 3)"),
            (_arrays_with("text", np.ones((6, 3), bool)), "got bool (6, 3); give array.astype('float32')."),
            (
                _arrays_with("text", np.ones(6)),
                "got float64 (6,); give array[:, None] if it is one feature per sample.",
            ),
            (
                _arrays_with("text", np.ones((6, 9, 3))),
                "(6, 9, 3); give one vector per sample, such as by array.mean(axis=1)",
            ),
            ({**_arrays(), "audio": np.ones((6, 2)), "text": np.ones((3, 6))}, "another array has 6; give array.T."),
            (_arrays_with("text", np.ones((5, 3))), "modality 'text': has 5 rows, another array has 6"),
            (_arrays_with("video", np.array(1.0)), "modality 'video': expected numbers of shape"),
            (_arrays_with("video", np.ones((0, 4))), "modality 'video': expected numbers of shape"),
            (_arrays_with("text", np.ones((6, 0))), "modality 'text': expected numbers of shape"),
            (_arrays_with("2d-frames", np.ones((6, 2))), "modality '2d-frames': rename it; names start with a letter"),
            (_arrays_with("text\n", np.ones((6, 2))), "modality 'text\\n': rename it"),
            (_arrays_with("label", np.ones((6, 2))), "modality 'label': rename it"),
            ({}, "modalities: there is none"),
            (
                _arrays_with("text", _array_with(np.nan, [1])),
                "modality 'text': 1 of 6 rows hold NaN or infinite values in float32, the first is array[1]; leave",
            ),
            (_arrays_with("text", _array_with(-np.inf, [0, 5])), "modality 'text': 2 of 6 rows hold NaN or infinite"),
            (
                _arrays_with("text", _array_with(1e39, [0, 2, 5])),
                "values up to 1e+39 are too large for float32, so scale",
            ),
        ],
    )
    def test_bad_features_are_refused(self, tmp_path: Path, features: dict[str, np.ndarray], expected: str) -> None:
        (problem,) = _problems(tmp_path / "set", features)
        assert expected in problem

    def test_a_value_must_fit_the_stored_precision(self, tmp_path: Path) -> None:
        """The largest float16 is 65504."""
        for value, fits in ((65504.0, True), (70000.0, False)):
            out, features = tmp_path / str(value), _arrays_with("text", _array_with(value, [3]))
            if fits:
                assert _import(out, features, dtype="float16").dtype == "float16"
            else:
                assert _problems(out, features, dtype="float16") == [
                    "modality 'text': 1 of 6 rows hold NaN or infinite values in float16, the first is array[3]; "
                    "values up to 7e+04 are too large for float16, so store float32."
                ]

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"split": np.array(["train"] * 5)}, "split: expected 6 names, got shape (5,)"),
            ({"split": np.array([["train"]] * 6)}, "split: expected 6 names, got shape (6, 1)"),
            ({"split": np.array("train")}, "split: expected 6 names, got shape ()"),
            (
                {"split": np.array(["train"] * 4 + ["tset", "dve"])},
                "split: 'dve' (1), 'tset' (1) is none of train, val",
            ),
            ({"split": np.arange(6) % 3}, "such as numpy.array(['train', 'val', 'test'])[split]."),
            ({"split": np.arange(6) < 4}, "such as numpy.where(split, 'train', 'test')."),
            ({"split": np.array([["train"]] * 6)}, "got shape (6, 1); give split[:, 0]."),
            ({"groups": {"speaker": np.array([["Ann"]] * 6)}}, "got <U3 (6, 1); give speakers[:, 0]."),
            ({"groups": {"speaker": np.arange(6.0)}}, "got float64 (6,); give speakers.astype(int)."),
            (
                {"groups": {"speaker": np.array([1, np.nan] * 3)}},
                "3 of them NaN; leave these rows out, and give speakers.astype",
            ),
            ({"split": None, "folds": np.arange(6.0)}, "got float64 (6,); give folds.astype(int)."),
            (
                {"split": None, "folds": np.array(["f1", "f2"] * 3)},
                "; give numpy.unique(folds, return_inverse=True)[1].",
            ),
            ({"split": None, "folds": np.arange(6) * 500}, "in 0..999, got int64 (6,) from 0 to 2500."),
            (
                {"labels": np.ones((6, 2), "f4"), "class_names": ["a", "b"]},
                "got float32 (6, 2) and 2 names. Give labels.astype(int). For one label per sample",
            ),
            ({"split": np.array(["val", "test"] * 3)}, "split: no row is 'train'"),
            ({"labels": np.zeros(5, int)}, "labels: expected 6 values, got shape (5,)"),
            ({"labels": np.array(0)}, "labels: expected 6 values, got shape ()"),
            ({"labels": np.zeros((6, 2), int)}, "with as many class_names; got int64 (6, 2) and 0 names"),
            (
                {"labels": np.full((6, 2), 2), "class_names": ["a", "b"]},
                "labels: several labels per sample are 0 or 1",
            ),
            ({"labels": np.zeros((6, 2), int), "class_names": ["a", "b", "c"]}, "got int64 (6, 2) and 3 names"),
            ({"labels": np.zeros((5, 2), int), "class_names": ["a", "b"]}, "got int64 (5, 2) and 2 names"),
            ({"labels": np.full((6, 2), 0.5), "class_names": ["a", "b"]}, "give labels.argmax(axis=1)"),
            ({"labels": np.eye(2, dtype=int)[[0, 1] * 3], "class_names": ["a", "b"]}, "every row has exactly one 1"),
            ({"labels": np.array([[0], [1]] * 3)}, "expected 6 values, got shape (6, 1); give labels[:, 0]"),
            ({"labels": np.array([["a"], ["b"]] * 3)}, "expected 6 values, got shape (6, 1); give labels[:, 0]"),
            ({"split": None, "folds": np.zeros(5, int)}, "folds: expected 6 integers in 0..999, got int64 (5,)"),
            ({"split": None, "folds": np.array([0, 1, 2, -1, 0, 1])}, "folds: expected 6 integers in 0..999"),
            ({"split": None, "folds": np.zeros(6)}, "folds: expected 6 integers in 0..999, got float64"),
            ({"split": None, "folds": np.array([0, 1] * 3)}, "folds: 2 are too few; train, val and test take 3"),
            (
                {"split": np.array(["train"] * 6), "folds": np.array([0, 1, 2] * 2)},
                "folds: a set has splits or folds; give one of the two",
            ),
            ({"labels": np.zeros(6)}, "labels: expected integers or strings, got float64"),
            (
                {"labels": np.array([1.0, 2.0, np.nan] * 2), "class_names": ["a", "b"]},
                "labels: expected integers or strings, got float64, 2 of them NaN; leave these rows out",
            ),
            (
                {"labels": np.zeros(6, bool)},
                "labels: expected integers or strings, got bool; give labels.astype(int)",
            ),
            ({"labels": np.full(6, 0.5)}, "got float64, not all of them whole; labels are classes, so divide a scale"),
            ({"labels": np.zeros(6, "datetime64[D]")}, "labels: expected integers or strings, got datetime64[D]."),
            ({"labels": np.array(["a" * 201, "b"] * 3)}, "... has 201 characters, more than 200 (in 3); leave these"),
            ({"labels": np.array([b"joy", b"\xfc"] * 3)}, "labels: holds bytes that are not UTF-8 (b'\\xfc')"),
            ({"labels": np.zeros(6, int)}, "labels: all rows are of one class, '0'; give 2 classes or more"),
            ({"labels": np.array(["a "] * 6)}, "labels: all rows are of one class, 'a'; give 2 classes or more"),
            (
                {"groups": {"speaker": np.array(["Ann", " ", "Bob"] * 2)}},
                "speakers: '' stands for a missing value (in 2); name every speaker, or leave --speakers out.",
            ),
            (
                {"groups": {"film": np.arange(5)}},
                "groups 'film': expected 6 integers or strings, got int64 (5,); give one",
            ),
            ({"groups": {"film": np.arange(6.0)}}, "got float64 (6,); give film.astype(int)."),
            (
                {"groups": {"film": np.array(["Up", "nan"] * 3)}},
                "groups 'film': 'nan' stands for a missing value (in 3); name every film, or leave --groups film out.",
            ),
            ({"groups": {"a film": np.arange(6)}}, "groups 'a film': rename them; names start with a letter"),
            ({"groups": {"label": np.arange(6)}}, "and are not sample_id, augmentation or label."),
            (
                {"groups": {"film": np.arange(6), "Film": np.arange(6)}},
                "groups Film, film: look alike; rename all but one.",
            ),
            (
                {"labels": np.array([0, 1, 2, -1, 9, 9]), "class_names": ["a", "b"]},
                "labels: [-1, 2, 9] are none of [0, 1], which class_names allows",
            ),
            (
                {"labels": np.array(["a", "b", "c"] * 2), "class_names": ["b", "d"]},
                "labels: ['a', 'c'] are none of ['b', 'd'], which class_names allows",
            ),
            ({"labels": np.array([0, 1] * 3), "class_names": ["a", "A"]}, "class_names: 'A', 'a' look alike; rename"),
            ({"labels": np.array([0, 0] * 3), "class_names": ["a"]}, "class_names: 'a' is too few; there must be 2"),
            (_arrays_named("text", "Text"), "modalities Text, text: look alike; rename all but one."),
            ({"labels": np.array([0, 1, -1, -2, 1, 0])}, "labels: [-2, -1] are negative; drop these rows"),
            (
                {"labels": np.array([0, 1] * 3), "class_names": ["b", "a", "b"]},
                "class_names: 'b' is given more than once",
            ),
            ({"dtype": "float64"}, "dtype: expected float16 or float32, got 'float64'"),
            ({"dtype": "no such"}, "dtype: expected float16 or float32, got 'no such'"),
        ],
    )
    def test_bad_splits_and_labels_are_refused(self, tmp_path: Path, options: dict[str, Any], expected: str) -> None:
        (problem,) = _problems(tmp_path / "set", **options)
        assert expected in problem

    def test_groups_may_have_the_name_of_a_modality(self, tmp_path: Path) -> None:
        """Clips of one video go together, and the set has features of video, too."""
        manifest = _import(tmp_path / "set", groups={"video": np.array([7, 7, 7, 8, 8, 8])})
        assert manifest.groupings == ("video",)
        split = FeatureSet(tmp_path / "set").split("train")
        assert split.groups == {"video": ["7", "7", "7", "8", "8", "8"]}
        assert split.gather("video", torch.arange(6)).shape == (6, 4)

    def test_all_problems_are_reported_at_once(self, tmp_path: Path) -> None:
        features = {
            "video": np.ones(6),
            "audio": np.ones((4, 2)),
            "text": _array_with(np.nan, [2]),
            "good": np.ones((6, 1)),
            "2d-frames": np.ones((6, 1)),
            "none": np.array(1.0),
        }
        problems = _problems(
            tmp_path / "set",
            features,
            labels=np.array([0, 1, 2, 3, 4, 5]),
            class_names=["a", "b", "b"],
            split=np.array(["val", "trian"] * 3),
            dtype="float8",
        )
        assert [problem.partition(":")[0] for problem in problems] == [
            "dtype",
            "modality 'video'",
            "modality 'audio'",
            "modality 'text'",
            "modality '2d-frames'",
            "modality 'none'",
            "split",
            "class_names",
            "labels",
        ]

    def test_arrays_without_rows_are_refused(self, tmp_path: Path) -> None:
        empty = {"split": np.array([], str), "labels": np.array([], int)}
        problems = _problems(tmp_path / "set", {"video": np.ones((0, 4))}, **empty)
        assert [problem.partition(":")[0] for problem in problems] == ["modality 'video'", "split"]

    def test_an_existing_set_is_left_alone(self, tmp_path: Path) -> None:
        manifest = _import(tmp_path / "set")
        before = {file.name: file.read_bytes() for file in (tmp_path / "set").iterdir()}
        with pytest.raises(FeatureSetError, match="already holds a feature set"):
            _import(tmp_path / "set", {"other": np.ones((2, 2))})
        assert {file.name: file.read_bytes() for file in (tmp_path / "set").iterdir()} == before
        assert Manifest.read(tmp_path / "set") == manifest


class TestSplits:
    def test_without_names_every_row_is_train(self, tmp_path: Path) -> None:
        manifest = _import(tmp_path / "set")
        assert [manifest.rows(split) for split in SPLITS] == [6, 0, 0]

    @pytest.mark.parametrize("kind", [np.str_, np.bytes_])
    def test_aliases_of_val_are_understood(self, tmp_path: Path, kind: type) -> None:
        names = np.array(["Train ", "dev", "VALID", "validation", " val", "test"], kind)
        _import(tmp_path / "set", split=names)
        features = FeatureSet(tmp_path / "set")
        assert [features.split(split).sample_ids for split in SPLITS] == [["0"], ["1", "2", "3", "4"], ["5"]]

    def test_the_fingerprint_follows_from_the_arrays(self, tmp_path: Path) -> None:
        names, labels = np.array(["train", "val", "test"] * 2), np.array([0, 1] * 3)
        first, again = (_import(tmp_path / name, split=names, labels=labels) for name in ("first", "again"))
        assert first.fingerprint == again.fingerprint
        variants = [
            _import(tmp_path / "a", split=names[::-1], labels=labels),
            _import(tmp_path / "b", split=names, labels=1 - labels),
            _import(tmp_path / "c", _arrays_with("text", np.ones((6, 3))), split=names, labels=labels),
            _import(tmp_path / "d", split=names, labels=labels, dtype="float16"),
        ]
        assert len({manifest.fingerprint for manifest in (first, *variants)}) == 5


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "class_names", "codes", "classes"),
        [
            (["joy", "anger", "joy", "fear"], None, [2, 0, 2, 1], ["anger", "fear", "joy"]),
            (["joy", "anger", "joy", "joy"], ["joy", "fear", "anger"], [0, 2, 0, 0], ["joy", "fear", "anger"]),
            ([7, 3, 7, 10], None, [1, 0, 1, 2], ["3", "7", "10"]),
            ([1, 0, 1, 3], ["joy", "anger", "fear", "calm"], [1, 0, 1, 3], ["joy", "anger", "fear", "calm"]),
            ([0, 0, 0, 0], ["only", "never"], [0, 0, 0, 0], ["only", "never"]),
            ([b"joy", b"\xc3\xbc", b"joy", b"joy"], None, [0, 1, 0, 0], ["joy", "ü"]),
            (["a", " a", "b\t", "\u200bb"], None, [0, 0, 1, 1], ["a", "b"]),
            (["é", "e\u0301", "b", "b"], ["b", "e\u0301"], [1, 1, 0, 0], ["b", "é"]),
        ],
        ids=["strings", "names", "integers", "indices", "one of two", "bytes", "space", "composed"],
    )
    def test_labels_become_codes_of_their_classes(
        self, tmp_path: Path, labels: list[Any], class_names: list[str] | None, codes: list[int], classes: list[str]
    ) -> None:
        """The classes are the given names in their order, or else the sorted values."""
        manifest = _import(tmp_path / "set", _arrays(4), labels=np.array(labels), class_names=class_names)
        assert manifest.labels is not None
        assert list(manifest.labels.classes) == classes
        assert FeatureSet(tmp_path / "set").split("train").labels.tolist() == codes

    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64])
    def test_labels_may_be_any_integers(self, tmp_path: Path, dtype: type[np.integer]) -> None:
        _import(tmp_path / "set", labels=np.array([2, 0, 1, 1, 2, 0], dtype), class_names=["a", "b", "c"])
        assert FeatureSet(tmp_path / "set").split("train").labels.tolist() == [2, 0, 1, 1, 2, 0]

    def test_labels_that_look_alike_are_refused_with_their_counts(self, tmp_path: Path) -> None:
        labels = np.array(["joy", "Joy", "joy", "ｊoy", "1", "1.0", "jo\u200by", "nan", ""])
        problems = _problems(tmp_path / "set", _arrays(9), labels=labels)
        assert problems == [
            "labels: '' stands for a missing value (in 1); leave these rows out, or name their class.",
            "labels: 'nan' stands for a missing value (in 1); leave these rows out, or name their class.",
            "labels: '1' (1), '1.0' (1) look alike; make them one class by --merge-labels, or rename them.",
            "labels: 'Joy' (1), 'joy' (2), 'jo\\u200by' (1), 'ｊoy' (1) look alike; make them one class by "
            "--merge-labels, or rename them.",
        ]

    def test_labels_that_look_alike_are_merged_on_request(self, tmp_path: Path) -> None:
        notes: list[str] = []
        labels = np.array(["Joy", "joy", "joy", "fear", "FEAR", "FEAR"])
        manifest = _import(tmp_path / "set", labels=labels, merge_labels=True, note=notes.append)
        assert manifest.labels is not None
        assert manifest.labels.classes == ("FEAR", "joy")
        assert FeatureSet(tmp_path / "set").split("train").labels.tolist() == [1, 1, 1, 0, 0, 0]
        assert notes == ["'fear' (1) became 'FEAR'.", "'Joy' (1) became 'joy'."]

    def test_labels_that_look_like_a_named_class_are_merged_into_it(self, tmp_path: Path) -> None:
        options = {"labels": np.array(["JOY", "JOY", "fear"] * 2), "class_names": ["joy", "fear"]}
        (problem,) = _problems(tmp_path / "set", **options)
        assert problem.startswith("labels: 'JOY' (4), 'joy' (0) look alike; make them one class by --merge-labels")
        manifest = _import(tmp_path / "set", **options, merge_labels=True)
        assert manifest.labels is not None
        assert manifest.labels.classes == ("joy", "fear")
        assert FeatureSet(tmp_path / "set").split("train").labels.tolist() == [0, 0, 1] * 2

    def test_without_labels_the_set_is_unlabelled(self, tmp_path: Path) -> None:
        assert _import(tmp_path / "set", class_names=["a"]).labels is None


@settings(deadline=None, max_examples=50)
@given(
    splits=st.lists(st.sampled_from(SPLITS), max_size=30),
    kind=st.sampled_from([None, "integers", "strings"]),
    dtype=st.sampled_from(["float16", "float32"]),
    source=st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint16]),
    rows_per_shard=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_imported_set_reads_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory,
    splits: list[str],
    kind: str | None,
    dtype: str,
    source: type[np.number],
    rows_per_shard: int,
    seed: int,
) -> None:
    """Each split keeps the input's order over any number of shards; sample ids are input rows."""
    rng = np.random.default_rng(seed)
    names, classes = np.array([*splits, "train"]), ["y", "z", "x"]
    rng.shuffle(names)
    n, out = len(names), tmp_path_factory.mktemp("sets") / "set"
    features = {name: rng.uniform(0, 100, size=(n, width)).astype(source) for name, width in (("b", 3), ("a", 2))}
    codes = rng.integers(0, 3, n)
    labels = None if kind is None else codes if kind == "integers" else np.array(classes)[codes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "SHARD_BYTES", rows_per_shard * 5 * np.dtype(dtype).itemsize)
        manifest = _import(
            out,
            features,
            labels=labels,
            class_names=None if kind is None else classes,
            split=names,
            dtype=dtype,
        )
    assert manifest == Manifest.read(out)
    assert list(manifest.widths.items()) == [("b", 3), ("a", 2)]
    assert all(shard.rows <= rows_per_shard for shard in manifest.shards)
    for split in SPLITS:
        rows = np.flatnonzero(names == split)
        assert sum(shard.split == split for shard in manifest.shards) == -(-len(rows) // rows_per_shard)
        assert manifest.rows(split) == len(rows)
        if not len(rows):
            continue
        read = FeatureSet(out).split(split)
        assert read.sample_ids == [str(row) for row in rows]
        assert len(read.clean_rows) == len(rows)
        for name, x in features.items():
            assert np.array_equal(read.gather(name, torch.arange(len(rows))).numpy(), x[rows].astype(dtype))
        if labels is not None:
            assert manifest.labels is not None
            assert list(manifest.labels.classes) == classes
            assert read.labels.tolist() == codes[rows].tolist()


class TestNpz:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "arrays.npz"
        np.savez(
            path,
            frames=np.arange(12.0).reshape(6, 2),
            words=np.arange(6.0)[:, None],
            y=np.array([1, 0, 1, 1, 0, 0]),
            part=np.array(["train", "train", "dev", "test", "train", "dev"]),
            class_names=np.array(["sad", "glad"]),
        )
        return path

    def test_arrays_are_found_by_their_keys(self, tmp_path: Path, file: Path) -> None:
        out = tmp_path / "set"
        manifest = import_npz(file, out, {"video": "frames", "text": "words"}, labels="y", split="part")
        assert [(m.name, m.width, m.source) for m in manifest.modalities] == [
            ("video", 2, "arrays.npz:frames"),
            ("text", 1, "arrays.npz:words"),
        ]
        assert manifest.labels is not None
        assert manifest.labels.classes == ("sad", "glad")
        assert [manifest.rows(split) for split in SPLITS] == [3, 2, 1]
        val = FeatureSet(out).split("val")
        assert val.gather("video", torch.arange(2)).tolist() == [[4, 5], [10, 11]]
        assert val.labels.tolist() == [1, 0]

    def test_labels_and_splits_are_optional(self, tmp_path: Path, file: Path) -> None:
        manifest = import_npz(file, tmp_path / "set", {"text": "words"}, dtype="float16")
        assert (manifest.labels, manifest.rows("train"), manifest.dtype) == (None, 6, "float16")

    def test_every_missing_key_is_named(self, tmp_path: Path, file: Path) -> None:
        with pytest.raises(FeatureSetError) as caught:
            import_npz(file, tmp_path / "set", {"video": "frame", "text": "words"}, labels="z", split="parts")
        has = "it has class_names, frames, part, words, y."
        assert str(caught.value).splitlines() == [
            f"modality 'video': {file} has no array 'frame'; {has}",
            f"--labels: {file} has no array 'z'; {has}",
            f"--split: {file} has no array 'parts'; {has}",
        ]
        assert not (tmp_path / "set").exists()

    def test_problems_of_the_arrays_are_passed_on(self, tmp_path: Path, file: Path) -> None:
        with pytest.raises(FeatureSetError, match="modality 'video': expected numbers") as caught:
            import_npz(file, tmp_path / "set", {"video": "y", "text": "words"}, labels="words")
        assert len(str(caught.value).splitlines()) == 2
        assert not (tmp_path / "set").exists()

    @pytest.mark.parametrize(
        "names", [np.array("sad"), np.array([["sad", "glad"]]), np.array([0.5, 1.5])], ids=["0-d", "2-d", "numbers"]
    )
    def test_class_names_must_be_a_list_of_names(self, tmp_path: Path, names: np.ndarray) -> None:
        file = tmp_path / "arrays.npz"
        np.savez(file, frames=np.ones((2, 2)), y=np.array([0, 1]), class_names=names)
        with pytest.raises(FeatureSetError) as caught:
            import_npz(file, tmp_path / "set", {"video": "frame"}, labels="y")
        missing, shape = str(caught.value).splitlines()
        assert missing.startswith(f"modality 'video': {file} has no array 'frame'")
        assert shape == f"class_names: expected names of shape (classes,), {file} has {names.dtype} {names.shape}."
        assert import_npz(file, tmp_path / "set", {"video": "frames"}).labels is None

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    @pytest.mark.parametrize("damage", ["truncated", "overwritten"])
    def test_a_damaged_archive_is_refused_or_read_whole(
        self, tmp_path: Path, save: Callable[..., None], damage: str
    ) -> None:
        file = tmp_path / "arrays.npz"
        save(file, frames=np.arange(12.0).reshape(6, 2))
        whole = file.read_bytes()
        for position in range(0, len(whole), 7):
            rest = b"" if damage == "truncated" else b"\xff" + whole[position + 1 :]
            file.write_bytes(whole[:position] + rest)
            out = tmp_path / str(position)
            try:
                import_npz(file, out, {"video": "frames"})
            except FeatureSetError as error:
                assert str(file) in str(error)  # noqa: PT017
                assert not out.exists()
            else:
                assert FeatureSet(out).split("train").gather("video", torch.arange(6)).flatten().tolist() == [
                    *range(12)
                ]

    def test_a_single_array_is_refused(self, tmp_path: Path) -> None:
        np.save(tmp_path / "frames.npy", np.ones((6, 2)))
        with pytest.raises(
            FeatureSetError, match=r"frames\.npy cannot be read .* it holds a single array, without a key"
        ):
            import_npz(tmp_path / "frames.npy", tmp_path / "set", {"video": "frames"})

    def test_members_that_are_not_arrays_are_ignored(self, tmp_path: Path, file: Path) -> None:
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("notes", "read me")
        with pytest.raises(FeatureSetError, match="has no array 'notes'; it has class_names, frames, part, words, y"):
            import_npz(file, tmp_path / "set", {"video": "notes"})
        assert import_npz(file, tmp_path / "set", {"video": "frames"}).widths == {"video": 2}

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04"])
    def test_an_archive_that_was_cut_short_is_refused(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "arrays.npz"
        file.write_bytes(content)
        with pytest.raises(FeatureSetError, match=rf"{file} cannot be read as an \.npz file"):
            import_npz(file, tmp_path / "set", {"video": "frames"})

    def test_nothing_in_an_archive_is_executed(self, tmp_path: Path) -> None:
        """Object arrays are pickles."""
        file, touched = tmp_path / "arrays.npz", tmp_path / "touched"

        class Trap:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (touched,)

        np.savez(file, frames=np.ones((2, 2)), trap=np.array([Trap()], dtype=object))
        with pytest.raises(FeatureSetError, match=r"array 'trap' holds Python objects, which are not read; .*\.astype"):
            import_npz(file, tmp_path / "set", {"video": "frames"}, labels="trap")
        assert not (tmp_path / "set" / MANIFEST_FILE).exists()
        import_npz(file, tmp_path / "set", {"video": "frames"})
        assert not touched.exists()


def test_several_labels_and_folds_are_imported(tmp_path: Path) -> None:
    labels = np.array([[1, 0], [0, 0], [1, 1], [0, 1]])
    manifest = import_arrays(
        {"video": np.arange(4.0)[:, None]},
        tmp_path,
        labels=labels,
        class_names=["a", "b"],
        split=None,
        folds=np.array([7, 2, 7, 10]),
        sources={"video": "x"},
    )
    assert manifest.labels == Labels(kind="multilabel", classes=("a", "b"))
    assert manifest.folds == ("fold-002", "fold-007", "fold-010")
    fold = FeatureSet(tmp_path, manifest.folds).split("fold-007")
    assert fold.labels.tolist() == [[1, 0], [1, 1]]
    assert fold.gather("video", torch.arange(2)).squeeze(1).tolist() == [0, 2]
