"""Clip lists: rules, counts, labels, and files that are read back as written."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conclugen.datasets.clips import Clip, ClipList, ClipListError
from conclugen.features.manifest import Labels
from conclugen.names import MISSING

_EMOTIONS = Labels(classes=("joy", "anger", "fear"))
_SEVERAL = Labels(kind="multilabel", classes=("joy", "anger", "fear"))


def _clip(name: str, **changes: Any) -> Clip:
    return Clip(**{"sample_id": name, "split": "train", "video": f"{name}.mp4", **changes})


def _list(*clips: Clip, labels: Labels | None = None, root: Path = Path()) -> ClipList:
    return ClipList.of(clips, dataset="planted", root=root, labels=labels)


def _refused(make: Callable[[], object]) -> list[str]:
    with pytest.raises(ClipListError) as caught:
        make()
    assert str(caught.value).splitlines() == caught.value.problems
    return caught.value.problems


_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(str.strip)
_names = _text.filter(lambda name: name.strip().lower() not in MISSING and not re.search("[\u2028\u2029]", name))
_times = st.none() | st.floats(0, 1e6).map(lambda start: (start, start + 1.5))


@st.composite
def _lists(draw: st.DrawFn) -> ClipList:
    labels = draw(st.sampled_from([None, _EMOTIONS, _SEVERAL]))
    folded = draw(st.booleans())
    clips = []
    group_names = draw(st.lists(st.sampled_from(["dialogue", "video", "x_1"]), unique=True))
    for index, name in enumerate(draw(st.lists(_text, min_size=3, max_size=8, unique=True))):
        times = draw(_times) or (None, None)
        clip_labels = None
        if labels is not None:
            most = 1 if labels.kind == "multiclass" else 3
            indices = draw(st.sets(st.integers(0, 2), min_size=1 if most == 1 else 0, max_size=most))
            clip_labels = tuple(sorted(indices))
        video = draw(st.none() | _text)
        clips.append(
            Clip(
                sample_id=name,
                split=None if folded else "train" if index == 0 else draw(st.sampled_from(["train", "val", "test"])),
                fold=index % 3 if folded else None,
                video=video,
                transcript=draw(_text) if video is None else draw(st.none() | _text),
                start=times[0],
                end=times[1],
                labels=clip_labels,
                speaker=draw(st.none() | _names),
                groups={group: draw(_names) for group in sorted(group_names)},
            )
        )
    return ClipList.of(clips, dataset=draw(_text), root=Path(draw(_text)), labels=labels)


@settings(max_examples=50, deadline=None)
@given(_lists())
def test_a_list_is_read_back_as_written(tmp_path_factory: pytest.TempPathFactory, clips: ClipList) -> None:
    file = tmp_path_factory.mktemp("clips") / "clips.parquet"
    clips.write(file)
    copy = ClipList.read(file)
    assert list(copy) == list(clips)
    assert copy.header == clips.header
    assert sum(total for total, _ in copy.counts().values()) == len(clips)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sample_id": " "}, "sample_id: missing in row 2 (' '); give every clip one."),
        ({"sample_id": "a"}, "sample_id: the same in rows 1, 2 ('a'); make them unique."),
        ({"sample_id": "a "}, "sample_id: the same in rows 1, 2 ('a', 'a '); make them unique."),
        (
            {"sample_id": "b\n1"},
            r"sample_id: with a line break or another control character in row 2 ('b\n1'); rename it.",
        ),
        ({"speaker": " "}, "speaker: blank, or a word for that, in row 2 (' '); an unknown speaker is null."),
        ({"speaker": "NaN"}, "speaker: blank, or a word for that, in row 2 ('NaN'); an unknown speaker is null."),
        ({"groups": {"film": "N/A"}}, "group:film: missing, or a word for that, in row 2 ('N/A'); give every clip its"),
        (
            {"groups": {"film": None}},
            "group:film: missing, or a word for that, in row 2; give every clip its group, or",
        ),
        ({"groups": {"film": "a\nb"}}, r"group:film: with a line break or another control character in row 2 ('a\nb')"),
        ({"split": "dev"}, "split: none of train, val, test in row 2 ('dev');"),
        ({"split": None}, "split: none of train, val, test in row 2;"),
        ({"video": ""}, "video: blank in row 2 ('');"),
        ({"video": None}, "video: missing, as is the transcript, in row 2;"),
        ({"transcript": "\n"}, r"transcript: blank in row 2 ('\n');"),
        ({"start": -0.5}, "start: negative or not finite in row 2 (-0.5);"),
        ({"start": float("nan")}, "start: negative or not finite in row 2 (nan);"),
        ({"end": float("inf")}, "end: negative or not finite in row 2 (inf);"),
        ({"start": 2.0, "end": 2.0}, "end: not after the start in row 2 (2.0);"),
        ({"end": 0.0}, "end: not after the start in row 2 (0.0);"),
        ({"labels": None}, "labels: missing in row 2;"),
        ({"labels": ()}, "labels: not one index in row 2 ("),
        ({"labels": (0, 1)}, "labels: not one index in row 2 ("),
        ({"labels": (3,)}, "labels: not in 0..2 in row 2 ([3]); give indices of joy, anger, fear."),
        ({"labels": (-1,)}, "labels: not in 0..2 in row 2 ([-1]);"),
    ],
)
def test_each_broken_rule_is_named_with_its_row(changes: dict[str, Any], expected: str) -> None:
    good = _clip("a", labels=(0,)), _clip("b", labels=(1,)), _clip("c", labels=(2,), start=1.0, end=2.0)
    good = tuple(replace(clip, groups=dict.fromkeys(changes.get("groups", ()), "Up")) for clip in good)
    assert len(_list(*good, labels=_EMOTIONS)) == 3
    (problem,) = _refused(lambda: _list(good[0], _clip("b", **{"labels": (1,), **changes}), good[2], labels=_EMOTIONS))
    assert problem.startswith(expected)


@pytest.mark.parametrize("labels", [(1, 0), (1, 1)])
def test_several_labels_must_be_in_ascending_order(labels: tuple[int, ...]) -> None:
    """The order matters within a clip only, not from one clip to the next."""
    clips = [_clip("a", labels=(0, 2)), _clip("b", labels=()), _clip("c", labels=(1,))]
    assert _list(*clips, labels=_SEVERAL).counts() == {"train": (3, (1, 1, 1))}
    (problem,) = _refused(lambda: _list(*clips, _clip("d", labels=labels), labels=_SEVERAL))
    assert problem.startswith("labels: not in ascending order in row 4 (")


def test_all_problems_are_listed_with_their_first_rows() -> None:
    clips = [_clip("a", split="test", labels=(0,)), *(_clip(f"x{i}", split="dev", start=-1.0) for i in range(1200))]
    assert _refused(lambda: _list(*clips)) == [
        "split: none of train, val, test in rows 2, 3, 4, 5, 6 and 1,195 more ('dev'); "
        "correct it; a list that has folds has them everywhere.",
        "start: negative or not finite in rows 2, 3, 4, 5, 6 and 1,195 more (-1.0); "
        "give seconds from the file's beginning, or null.",
        "labels: given without classes in row 1 ([0]); name the classes in the metadata, or give null.",
        "split: no clip is 'train'; the standardisation of features needs training clips.",
    ]


@pytest.mark.parametrize(
    ("folds", "split", "expected"),
    [
        ((0, 1, None), None, "fold: missing in row 3;"),
        ((0, 1, 1000), None, "fold: not in 0..999 in row 3 (1000);"),
        ((0, -1, 1), None, "fold: not in 0..999 in row 2 (-1);"),
        ((0, 1, 1), None, "fold: 2 are too few; train, val and test take 3 at least."),
        ((0, 1, 2), "train", "split: given beside a fold in rows 1, 2, 3 ('train');"),
    ],
)
def test_each_broken_rule_of_folds_is_named(folds: tuple[int | None, ...], split: str | None, expected: str) -> None:
    clips = [_clip(str(i), fold=fold, split=split) for i, fold in enumerate(folds)]
    assert any(problem.startswith(expected) for problem in _refused(lambda: _list(*clips)))


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        (("joy",), "classes: 'joy' is too few"),
        (("joy", "joy"), "classes: 'joy' is given more than once"),
        (("joy", " "), "classes: ' ' stands for a missing value"),
        (("joy", "nan"), "classes: 'nan' stands for a missing value"),
        (("joy", "Joy"), "classes: 'Joy', 'joy' look alike"),
        (("joy", "anger "), "classes: 'anger ' has white space around it"),
        (("joy", "an\nger"), r"classes: 'an\nger' holds a line break"),
    ],
)
def test_classes_are_two_or_more_names_that_differ(classes: tuple[str, ...], problem: str) -> None:
    problems = _refused(lambda: _list(_clip("a", labels=(0,)), labels=Labels(classes=classes)))
    assert any(line.startswith(problem) for line in problems)


def test_an_empty_list_is_refused() -> None:
    assert _refused(_list) == ["clips: there is none."]


def test_labels_are_encoded_as_feature_sets_store_them() -> None:
    single = _list(_clip("a", labels=(2,)), _clip("b", labels=(0,)), labels=_EMOTIONS)
    several = _list(_clip("a", labels=(0, 2)), _clip("b", labels=()), labels=_SEVERAL)
    for clips, expected in ((single, [2, 0]), (several, [[1, 0, 1], [0, 0, 0]])):
        encoded = clips.encode(list(clips))
        assert encoded is not None
        np.testing.assert_array_equal(encoded, expected)
    assert _list(_clip("a")).encode([_clip("a")]) is None


def test_parts_are_named_as_in_feature_sets() -> None:
    splits = _list(_clip("a", split="test"), _clip("b"))
    folds = _list(*(_clip(str(i), split=None, fold=fold) for i, fold in enumerate((12, 0, 3))))
    assert (splits.parts, folds.parts) == (("train", "test"), ("fold-000", "fold-003", "fold-012"))
    assert [clip.part for clip in folds] == ["fold-012", "fold-000", "fold-003"]


def test_messages_give_the_lines_of_the_csv_that_a_list_was_made_of() -> None:
    clips = [_clip("a"), _clip("b"), _clip("a"), _clip("c", split="no")]
    problems = _refused(lambda: ClipList.of(clips, dataset="x", root=Path("/"), labels=None, lines=[2, 3, 7, 8]))
    assert problems[0].startswith("sample_id: the same in lines 2, 7 ('a');")
    assert problems[1].startswith("split: none of train, val, test in line 8 ('no');")


def test_a_root_whose_name_is_no_text_is_refused() -> None:
    root = Path(os.fsdecode(b"/data/caf\xe9"))
    (problem,) = _refused(lambda: _list(_clip("a"), root=root))
    assert problem == r"--root '/data/caf\udce9': its name is not UTF-8; rename the folder."


class TestFiles:
    def _write(
        self, file: Path, table: pa.Table, header: str | None = '{"dataset": "x", "root": "/", "labels": null}'
    ) -> Path:
        pq.write_table(table.replace_schema_metadata({"conclugen.clips": header} if header is not None else None), file)
        return file

    def _table(self) -> pa.Table:
        return _list(_clip("a"), _clip("b")).table

    def test_a_list_by_another_program_is_cast(self, tmp_path: Path) -> None:
        """Other libraries write large strings, int64 and null columns."""
        table = self._table()
        table = table.set_column(0, "sample_id", table["sample_id"].cast(pa.large_string()))
        table = table.set_column(8, "fold", pa.nulls(2)).set_column(6, "labels", pa.nulls(2, pa.list_(pa.int64())))
        assert list(ClipList.read(self._write(tmp_path / "x.parquet", table))) == [_clip("a"), _clip("b")]

    def test_every_wrong_column_is_named(self, tmp_path: Path) -> None:
        table = self._table().drop_columns(["speaker"]).append_column("age", pa.array([1, 2]))
        table = table.set_column(3, "start", pa.array(["soon", "late"]))
        problems = _refused(lambda: ClipList.read(self._write(tmp_path / "x.parquet", table)))
        assert [problem.split(": ")[1] for problem in problems] == ["speaker", "age", "start"]

    def test_columns_of_groups_are_read_and_those_that_look_alike_are_refused(self, tmp_path: Path) -> None:
        table = self._table().append_column("group:film", pa.array(["Up", "Alien"], pa.large_string()))
        clips = ClipList.read(self._write(tmp_path / "x.parquet", table))
        assert [clip.groups for clip in clips] == [{"film": "Up"}, {"film": "Alien"}]
        table = table.append_column("group:Film", pa.array(["Up", "Alien"])).append_column("group:2", pa.nulls(2))
        problems = _refused(lambda: ClipList.read(self._write(tmp_path / "y.parquet", table)))
        assert [problem.partition(": ")[2] for problem in problems] == [
            "group:2: is no column of a clip list, or is there twice; leave it out.",
            "group:Film, group:film: look alike; rename all but one.",
        ]

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            (None, "is no clip list, since its metadata lacks 'conclugen.clips'"),
            ("{}", "dataset: is required"),
            ('{"dataset": "x", "root": "", "labels": null}', "root: '': must not be empty"),
            ('{"schema_version": 2, "dataset": "x", "root": "/", "labels": null}', "schema_version: 2: must be 1"),
            ("no JSON", "expected ident at line 1"),
        ],
    )
    def test_wrong_metadata_is_refused(self, tmp_path: Path, header: str | None, expected: str) -> None:
        file = self._write(tmp_path / "x.parquet", self._table(), header)
        assert any(expected in problem for problem in _refused(lambda: ClipList.read(file)))

    def test_files_that_cannot_be_read_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "text.parquet").write_text("sample_id,split\n", encoding="utf-8")
        assert "there is no such file" in _refused(lambda: ClipList.read(tmp_path / "none.parquet"))[0]
        assert "cannot be read as Parquet" in _refused(lambda: ClipList.read(tmp_path / "text.parquet"))[0]

    def test_an_existing_file_is_not_overwritten(self, tmp_path: Path) -> None:
        file = tmp_path / "clips.parquet"
        _list(_clip("a")).write(file)
        before = file.read_bytes()
        with pytest.raises(FileExistsError):
            _list(_clip("b")).write(file)
        assert (file.read_bytes(), list(tmp_path.iterdir())) == (before, [file])
