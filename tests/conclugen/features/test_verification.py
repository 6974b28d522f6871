from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conclugen.features.manifest import Labels, Manifest, Modality
from conclugen.features.shards import FeatureWriter
from conclugen.features.verification import verify
from tests.conftest import write_planted

X = np.random.default_rng(0).normal(size=(6, 3))


def _set(folder: Path, *shards: tuple[str, list[str]], groups: tuple[str, ...] = (), **columns: Any) -> Path:
    """A set with one modality ``x``; the first letter of an identifier is its group."""
    with FeatureWriter(folder, [Modality(name="x", width=3, source="planted")], groups=groups) as writer:
        for split, ids in shards:
            columns_of_shard = {name: column[: len(ids)] for name, column in columns.items()}
            features = {"x": columns_of_shard.pop("x", X[: len(ids)] + len(split))}
            of_rows = {name: [identifier[0] for identifier in ids] for name in groups}
            writer.write(split, ids, features, groups=of_rows, **columns_of_shard)
    return folder


def test_a_good_set_has_no_problem(planted: Path) -> None:
    findings = verify(planted)
    assert findings.problems == []
    assert findings.notes == [
        "the set does not say who speaks: leakage by speaker cannot be seen; import with --speakers."
    ]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # statistics of infinite values
@pytest.mark.parametrize(("value", "bad"), [(np.nan, 2), (np.inf, 2), (-np.inf, 2), (1e4, 0)])
def test_values_that_are_not_finite_are_problems(tmp_path: Path, value: float, bad: int) -> None:
    x = X.copy()
    x[1, 2] = x[4, 0] = x[4, 1] = value
    problems = verify(_set(tmp_path, ("train", list("abcdef")), x=x)).problems
    expected = [f"shard {tmp_path}/train-00000.arrow: 2 of 6 rows of x hold NaN or infinite values"]
    assert [problem.partition(";")[0] for problem in problems] == (expected if bad else [])


def test_constants_are_noted_and_a_modality_of_constants_is_a_problem(tmp_path: Path) -> None:
    x = X.copy()
    x[:, 1] = 7
    findings = verify(_set(tmp_path / "one", ("train", list("abc")), ("train", list("def")), ("val", ["g"]), x=x))
    assert findings.problems == []
    assert "x: 1 of its 3 features are constant over the training rows and become 0." in findings.notes
    findings = verify(_set(tmp_path / "all", ("train", list("abcdef")), ("val", ["g"]), x=np.ones((6, 3))))
    assert findings.problems == [
        "x: all of its 3 features are constant over the training rows; leave the modality out."
    ]


class TestIdentities:
    def test_duplicates_within_and_between_shards(self, tmp_path: Path) -> None:
        (problem,) = verify(_set(tmp_path, ("train", ["a", "b", "a"]), ("train", ["c", "b"]), ("val", ["d"]))).problems
        assert problem.startswith("duplicate sample_id: 2 samples ('a', 'b') are more than once as clean rows")

    def test_leakage(self, tmp_path: Path) -> None:
        shards = ("train", ["a", "b", "c"]), ("val", ["d", "b"]), ("test", ["c", "a", "e"])
        assert [problem.partition(";")[0] for problem in verify(_set(tmp_path, *shards)).problems] == [
            "leakage: 2 samples ('a', 'c') are in test and train alike",
            "leakage: 1 samples ('b') are in train and val alike",
            "duplicate sample_id: 3 samples ('a', 'b', 'c') are more than once as clean rows",
        ]

    def test_an_augmented_version_leaks_too(self, tmp_path: Path) -> None:
        ids = ["a", "b", "c"]
        folder = _set(tmp_path, ("train", ids), ("test", ["d", "e", "b"]), augmentation=np.array([0, 0, 1]))
        first, second = verify(folder).problems
        assert first.startswith("leakage: 1 samples ('b') are in test and train alike")
        assert second.startswith("augmented versions without a clean row: 1 samples ('c')")

    def test_versions_of_one_sample_are_no_duplicates(self, tmp_path: Path) -> None:
        shards = ("train", ["a", "a", "b"]), ("train", ["c", "c", "d"])
        assert verify(_set(tmp_path, *shards, augmentation=np.array([0, 1, 0]))).problems == []

    def test_a_message_names_a_few_samples(self, tmp_path: Path) -> None:
        (problem,) = verify(_set(tmp_path, ("train", list("abcde")), ("train", list("abcde")))).problems
        assert "5 samples ('a', 'b', 'c', ...) are" in problem

    def test_samples_with_the_same_hash_are_told_apart(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "conclugen.features.verification.identifier_hashes", lambda texts: np.zeros(len(texts), np.uint64)
        )
        assert verify(_set(tmp_path / "good", ("train", ["a", "b"]), ("val", ["c"]))).problems == []
        (problem, _) = verify(_set(tmp_path / "bad", ("train", ["a", "b"]), ("val", ["b"]))).problems
        assert "('b') are in train and val alike" in problem


class TestSpeakers:
    def test_leakage_is_a_problem_unless_it_is_official(self, tmp_path: Path) -> None:
        folder = _set(tmp_path, ("train", ["a1", "b1"]), ("val", ["c1"]), ("test", ["b2", "a2"]), groups=("speaker",))
        (problem,) = verify(folder).problems
        assert problem.startswith("leakage by speaker: 2 speakers ('a', 'b') are in test and train alike")
        findings = verify(folder, shared=["speaker"])
        assert (findings.problems, findings.notes) == ([], [problem])

    def test_groups_in_several_splits_are_leakage_unless_they_may_be_shared(self, tmp_path: Path) -> None:
        folder = _set(tmp_path, ("train", ["a1", "b1"]), ("test", ["b2"]), groups=("speaker", "film"))
        by_speaker, by_film = verify(folder).problems
        assert by_film == (
            "leakage by film: 1 groups ('b') are in test and train alike; divide by film, or say --shared-groups film "
            "where the data set's official splits share groups."
        )
        findings = verify(folder, shared=["film"])
        assert (findings.problems, findings.notes[0]) == ([by_speaker], by_film)
        findings = verify(folder, shared=["speaker", "film"])
        assert (findings.problems, findings.notes[:2]) == ([], [by_speaker, by_film])

    def test_numbers_in_several_splits_may_be_those_of_other_groups(self, tmp_path: Path) -> None:
        """The dialogues of MELD are numbered anew in each split."""
        (problem,) = verify(_set(tmp_path, ("train", ["0a", "1a"]), ("test", ["0b"]), groups=("dialogue",))).problems
        assert problem.endswith("share groups. If numbers start anew in each split, import some that do not.")

    def test_groups_without_a_name_are_a_problem(self, tmp_path: Path) -> None:
        folder = _set(tmp_path, ("train", [" 1", "b1"]), ("test", ["c1"]), groups=("film",))
        (problem,) = verify(folder).problems
        assert problem == "groups 'film': ' ' stands for a missing value; name every film, or none."

    def test_speakers_within_one_split_are_no_leakage(self, tmp_path: Path) -> None:
        findings = verify(
            _set(tmp_path, ("train", ["a1", "a2"]), ("val", ["c1"]), ("train", ["a3"]), groups=("speaker",))
        )
        assert (findings.problems, findings.notes) == ([], [])

    def test_a_speaker_in_two_folds_is_leakage(self, tmp_path: Path) -> None:
        shards = [(f"fold-00{fold}", [f"{fold}-{row}" for row in range(2)]) for fold in range(3)]
        assert verify(_set(tmp_path / "good", *shards, groups=("speaker",))).problems == []
        (problem,) = verify(_set(tmp_path / "bad", *shards, ("fold-001", ["0-9"]), groups=("speaker",))).problems
        assert "1 speakers ('0') are in fold-000 and fold-001 alike" in problem


def _flip(folder: Path) -> None:
    file = folder / "train-00000.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _claim(folder: Path, **changes: Any) -> None:
    manifest = Manifest.read(folder)
    shards = tuple(shard.model_copy(update=changes) for shard in manifest.shards)
    manifest.model_copy(update={"shards": shards}).write(folder)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_flip, "train-00000.arrow is damaged: its checksum"),
        (lambda folder: (folder / "train-00000.arrow").unlink(), "train-00000.arrow cannot be read: No such file"),
        (lambda folder: (folder / "statistics.safetensors").unlink(), "statistics.safetensors cannot be read"),
        (lambda folder: _claim(folder, rows=5), "train-00000.arrow cannot be read: it holds 6 rows"),
        (lambda folder: _claim(folder, samples=5), "train-00000.arrow lacks the 5 clean rows"),
    ],
)
def test_damage_is_a_problem(tmp_path: Path, spoil: Callable[[Path], None], expected: str) -> None:
    folder = _set(tmp_path, ("train", list("abcdef")))
    assert verify(folder).problems == []
    spoil(folder)
    (problem,) = verify(folder).problems
    assert expected in problem


def test_labels_out_of_range_are_problems(tmp_path: Path) -> None:
    """Our writer refuses them, but another program may write them."""
    folder = tmp_path / "set"
    with FeatureWriter(
        folder, [Modality(name="x", width=3, source="planted")], labels=Labels(classes=("a", "b", "c"))
    ) as writer:
        writer.write("train", list("abcdef"), {"x": X}, np.array([0, 1, 2, 2, 1, 0]))
    assert verify(folder).problems == []
    manifest = Manifest.read(folder)
    manifest.model_copy(update={"labels": Labels(classes=("a", "b"))}).write(folder)
    assert verify(folder).problems == [
        f"shard {folder}/train-00000.arrow: 2 labels are not in 0..1; make the set again."
    ]


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    folder = write_planted(tmp_path / "set", groups={"speaker": np.arange(120) % 7})
    (folder / "val-00001.arrow").write_bytes(b"")
    problems = verify(folder).problems
    assert ["val-00001.arrow is damaged" in problems[0], "leakage by speaker: 7 speakers" in problems[1]] == [True] * 2
    assert len(problems) == 2


def test_classes_that_look_alike_or_are_missing_are_problems(tmp_path: Path) -> None:
    """Sets that another tool wrote, or an earlier version imported."""
    labels = Labels(classes=("anger", "Anger", "joy ", "nan"))
    with FeatureWriter(tmp_path, [Modality(name="x", width=3, source="planted")], labels=labels) as writer:
        writer.write("train", list("abcd"), {"x": X[:4]}, labels=np.arange(4))
    problems = verify(tmp_path).problems
    assert [problem.partition(";")[0] for problem in problems] == [
        "classes: 'joy ' has white space around it, or letters that are not composed (Unicode's NFC)",
        "classes: 'nan' stands for a missing value",
        "classes: 'Anger', 'anger' look alike",
    ]
    assert all("Import the set again, with --merge-labels" in problem for problem in problems)


def test_a_set_of_one_class_is_a_problem(tmp_path: Path) -> None:
    labels = Labels(classes=("anger",))
    with FeatureWriter(tmp_path, [Modality(name="x", width=3, source="planted")], labels=labels) as writer:
        writer.write("train", list("abcd"), {"x": X[:4]}, labels=np.zeros(4, int))
    (problem,) = verify(tmp_path).problems
    assert problem.startswith("classes: 'anger' is too few; there must be 2 classes or more.")


def test_samples_and_speakers_that_look_alike_leak(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path, [Modality(name="x", width=3, source="planted")], groups=("speaker",)) as writer:
        writer.write("train", ["a", "\u00e9", "B"], {"x": X[:3]}, groups={"speaker": ["Ann", "Bob", "Bob"]})
        writer.write("test", ["a ", "e\u0301", "b"], {"x": X[3:]}, groups={"speaker": ["ann", "", "Eve"]})
    problems = verify(tmp_path).problems
    assert [problem.partition(";")[0] for problem in problems] == [
        "leakage: 2 samples ('a', '\u00e9') are in test and train alike",
        "duplicate sample_id: 2 samples ('a', '\u00e9') are more than once as clean rows",
        "speakers: '' stands for a missing value",
        "leakage by speaker: 1 speakers ('Ann') are in test and train alike",
    ]
