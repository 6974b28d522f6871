"""Tables: openSMILE, OpenFace, CSV with a header or none, ARFF, Parquet, Arrow, data sets of Hugging Face."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conclugen.formats.reading import imported, planned, refused

RNG = np.random.default_rng(0)


def _write(file: Path, text: str, encoding: str = "utf-8") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding)
    return file


class TestOpenSmile:
    """Semicolons, names in single quotes, one row per clip or, with frameTime, per frame."""

    def test_one_row_per_clip(self, tmp_path: Path) -> None:
        file = _write(
            tmp_path / "egemaps.csv",
            "name;F0_mean;F0_std;loudness\n'a.wav';1.5;2;3\n'b.wav';-1;1e-3;4\n",
        )
        assert imported(tmp_path, file).same("egemaps", {"a": [1.5, 2, 3], "b": [-1, 1e-3, 4]})

    def test_one_row_per_frame(self, tmp_path: Path) -> None:
        file = _write(
            tmp_path / "lld.csv",
            "name;frameTime;F0;mfcc\n'a';0.0;1;2\n'a';0.01;3;4\n'b';0.0;5;6\n'b';0.01;7;8\n'b';0.02;9;1\n",
        )
        rows = imported(tmp_path, file)
        assert rows.same("lld", {"a": [2, 3], "b": [7, 5]})
        assert rows.plan.modalities["lld"][0].column.lengths == "rows with the same name"

    def test_labels_that_are_all_blank_make_an_unlabelled_set(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "x.csv", "id,label,F0,F1\nx1,,1,2\nx2,,3,4\n")
        rows = imported(tmp_path, file)
        assert rows.same("x", {"x1": [1, 2], "x2": [3, 4]})
        assert rows.manifest.labels is None
        assert "label is blank in every row: the set is unlabelled, fit for pretraining." in rows.plan.notes

    def test_columns_are_chosen_by_a_pattern(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "x.csv", "name;F0_mean;F0_std;loud\na;1;2;3\nb;4;5;6\n")
        rows = imported(tmp_path, file, modalities={"pitch": "F0*", "loud": "x:lou?"})
        assert rows.same("pitch", {"a": [1, 2], "b": [4, 5]})
        assert rows.same("loud", {"a": [3], "b": [6]})

    def test_rows_of_one_name_that_are_not_together_are_refused(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "x.csv", "name,frameTime,F0\na,0,1\nb,0,1\na,1,2\n")
        assert "rows of 'a' are not together (1 such clips)" in refused(file)[0]

    def test_names_that_come_back_without_times_are_asked_about(self, tmp_path: Path) -> None:
        """openSMILE without -instname calls every clip `unknown`."""
        file = _write(tmp_path / "x.csv", "name,F0\nunknown,1\nunknown,2\n")
        (question,) = refused(file)
        assert (
            "is a frame: give --rows frames. Or each is a clip, and names have to differ: give --ids COLUMN."
            in question
        )
        assert planned(file, rows="frames").ids == ["unknown"]
        assert "2 times" in refused(file, rows="clips")[0]

    @pytest.mark.parametrize("rows", ["frames", "clips", None])
    def test_rows_without_a_name_are_refused(self, tmp_path: Path, rows: Any) -> None:
        """They would be one clip of the name None."""
        (tmp_path / "F0.csv").write_text("name;frameTime;F0\n'a.wav';0.0;1\n;0.1;2\n;0.2;3\n", "utf-8")
        (problem,) = refused(tmp_path / "F0.csv", rows=rows)
        assert problem.endswith("F0.csv: 2 rows have no name, such as row 2; fill the column, or remove these rows.")

    def test_the_same_name_in_every_row_is_asked_about(self, tmp_path: Path) -> None:
        """openSMILE without -instname: functionals of several clips are no frames of one."""
        file = _write(tmp_path / "x.csv", "name;frameTime;F0\n'unknown';0.0;1\n'unknown';0.0;2\n")
        assert "all 2 rows have the name 'unknown'. Either they are the frames of one clip" in refused(file)[0]
        assert planned(file, rows="frames").ids == ["unknown"]

    def test_a_folder_with_a_table_of_frames_for_each_clip_ignores_the_name_in_it(self, tmp_path: Path) -> None:
        header = "name;frameTime;F0\n"
        for clip in "ab":
            _write(tmp_path / "lld" / f"{clip}.csv", f"{header}'unknown';0.0;1\n'unknown';0.01;{ord(clip)}\n")
        _write(tmp_path / "lld" / "c.csv", f"{header}'x';0.0;1\n'y';0.0;2\n")
        rows = imported(tmp_path, tmp_path / "lld")
        assert rows.same("lld", {"a": [(1 + ord("a")) / 2], "b": [(1 + ord("b")) / 2]})
        assert rows.plan.left_out == {"no lld (its table has rows of several clips)": ["c"]}

    def test_files_of_the_same_name_in_several_folders_are_several_clips(self, tmp_path: Path) -> None:
        file = _write(
            tmp_path / "x.csv",
            "file,start,end,F0\n/d/s1/1.wav,0 days,0 days 00:00:01,1\n/d/s2/1.wav,0 days,0 days 00:00:01,2\n",
        )
        assert imported(tmp_path, file).same("x", {"s1/1": [1], "s2/1": [2]})

    def test_labels_that_differ_within_a_name_are_asked_about(self, tmp_path: Path) -> None:
        """Rows are frames, or labelled segments of a recording."""
        file = _write(
            tmp_path / "x.csv", "file,start,end,F0,emotion\na.wav,0,1,1,joy\na.wav,1,2,2,anger\nb.wav,0,1,3,joy\n"
        )
        assert "rows of the same name have several values of emotion. Either each row is a frame" in refused(file)[0]
        assert planned(file, rows="frames").ids == ["a", "b"]

    def test_arff(self, tmp_path: Path) -> None:
        file = _write(
            tmp_path / "is09.arff",
            "@relation openSMILE\n\n@attribute name string\n@attribute F0_mean numeric\n"
            "@attribute emotion {joy,anger}\n\n@data\n\n'a.wav',1.5,joy\n'b.wav',2.5,anger\n",
        )
        rows = imported(tmp_path, file)
        assert rows.same("is09", {"a": [1.5], "b": [2.5]})
        assert rows.labels == {"a": "joy", "b": "anger"}


class TestOpenFace:
    """A table of frames for each clip, with spaces behind the commas; success is 0 where no face was found."""

    HEADER = "frame, face_id, timestamp, confidence, success, gaze_0_x, AU01_r\n"

    def test_frames_without_a_face_do_not_count(self, tmp_path: Path) -> None:
        folder = tmp_path / "openface"
        _write(
            folder / "a.csv",
            self.HEADER + "1, 0, 0.0, 0.98, 1, 0.5, 2\n2, 0, 0.04, 0.1, 0, 9, 9\n3, 0, 0.08, 0.9, 1, 1.5, 4\n",
        )
        _write(folder / "b.csv", self.HEADER + "1, 0, 0.0, 0.98, 1, 1, 1\n")
        rows = imported(tmp_path, folder)
        assert rows.same("openface", {"a": [1, 3], "b": [1, 1]})

    def test_clips_without_a_face_with_several_or_with_damage_are_listed(self, tmp_path: Path) -> None:
        folder = tmp_path / "openface"
        good = self.HEADER + "1, 0, 0.0, 0.98, 1, 1, 1\n"
        for name, text in {
            "a": good,
            "none": self.HEADER + "1, 0, 0.0, 0, 0, 0, 0\n",
            "two": good + "1, 1, 0.0, 0.9, 1, 2, 2\n",
            "empty": "",
            "other": "frame, timestamp, success, x\n1, 0, 1, 1\n",
        }.items():
            _write(folder / f"{name}.csv", text)
        assert imported(tmp_path, folder).plan.left_out == {
            "no openface (it has no true frame)": ["none"],
            "no openface (its table has several faces)": ["two"],
            "no openface (its table cannot be read)": ["empty"],
            "no openface (its table has no column gaze_0_x)": ["other"],
        }


class TestCsv:
    def test_a_table_of_labels_joins_a_table_of_features(self, tmp_path: Path) -> None:
        features = _write(tmp_path / "audio.csv", "file,f0,f1\nclips/a.wav,1,2\nclips/b.wav,3,4\nclips/c.wav,5,6\n")
        labels = _write(
            tmp_path / "labels.csv",
            "file,emotion,split,speaker\na.mp4,joy,train,Ann\nb.mp4,anger,dev,Ann\nc.mp4,,test,Bob\nd.mp4,joy,test,Bob\n",
        )
        rows = imported(tmp_path, features, labels)
        assert (rows.labels, rows.splits) == ({"a": "joy", "b": "anger"}, {"a": "train", "b": "val"})
        assert rows.plan.left_out == {"no label": ["c"], "no features": ["d"]}

    def test_a_table_without_a_header(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "x.csv", "a,1.5,2\nb,3,4\n")
        assert imported(tmp_path, file).same("x", {"a": [1.5, 2], "b": [3, 4]})

    def test_a_first_line_of_numbers_in_order_is_asked_about(self, tmp_path: Path) -> None:
        """pandas names columns so, and a row may look so."""
        file = _write(tmp_path / "x.csv", "name,0,1,2\na,1.5,2,3\nb,3,4,5\n")
        assert "Either these are names of columns: give --header yes. Or it is the first row" in refused(file)[0]
        assert planned(file, header="yes").ids == ["a", "b"]
        assert planned(file, header="no").ids == ["name", "a", "b"]

    def test_the_count_of_rows_that_pandas_writes_is_no_feature(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(RNG.normal(size=(3, 2)))
        frame.to_csv(tmp_path / "named.csv")
        assert "its first line is 0, 1, ..." in refused(tmp_path / "named.csv")[0]
        frame.to_csv(tmp_path / "nameless.csv", header=False)
        expected = {f"{row:07d}": frame.loc[row] for row in range(3)}
        (tmp_path / "x").mkdir()
        assert imported(tmp_path / "x", tmp_path / "named.csv", header="yes").same("named", expected)
        assert imported(tmp_path, tmp_path / "nameless.csv").same("nameless", expected)

    def test_columns_with_another_role_are_no_features(self, tmp_path: Path) -> None:
        file = _write(
            tmp_path / "x.csv",
            "Unnamed: 0,name,label,start,end,f0,valence,age\n0,a,1,0.1,2,5,0.5,7\n1,b,0,3,4,6,0.7,8\n",
        )
        (question,) = refused(file)
        assert (
            "--labels label (0, 1); --labels valence (numbers from 0.5 to 0.7; with --label-map); or --labels none"
            in question
        )
        rows = imported(tmp_path, file, labels="label", groups={"age": "age"})
        assert rows.same("x", {"a": [5], "b": [6]})
        assert rows.groups["age"] == {"a": "7", "b": "8"}

    @pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig"])
    def test_encodings(self, tmp_path: Path, encoding: str) -> None:
        file = _write(tmp_path / "x.csv", "name,emotion,f0\na,高兴,1\nb,悲伤,2\n", encoding)
        if encoding == "gb18030":
            assert "such as --encoding cp1252" in refused(file)[0]
        rows = imported(tmp_path, file, encoding=encoding if encoding == "gb18030" else None)
        assert rows.labels == {"a": "高兴", "b": "悲伤"}

    def test_cells_and_rows_that_cannot_be_read_are_told(self, tmp_path: Path) -> None:
        good = "".join(f"clip{row},1,2\n" for row in range(100))
        bad = _write(tmp_path / "bad.csv", f"name,f0,f1\n{good}z,1,x\n")
        with pytest.raises(ValueError, match="invalid value 'x'"):
            imported(tmp_path, bad)
        short = _write(tmp_path / "short.csv", f"name,f0,f1\n{good}z,1\n")
        assert "Expected 3 columns, got 2" in refused(short)[0]
        assert "is there 2 times" in refused(_write(tmp_path / "twice.csv", "name,f,f\na,1,2\n"))[0]

    def test_identifiers_of_digits_stay_as_they_are_written(self, tmp_path: Path) -> None:
        features = _write(tmp_path / "audio.csv", "id,f0\n001,1\n010,2\n")
        assert imported(tmp_path, features).same("audio", {"001": [1], "010": [2]})
        (tmp_path / "video").mkdir()
        np.save(tmp_path / "video" / "001.npy", np.ones(2))
        assert planned(features, tmp_path / "video").ids == ["001"]

    def test_numbers_of_dialogues_and_utterances_are_no_features(self, tmp_path: Path) -> None:
        """MELD's table."""
        file = _write(tmp_path / "x.csv", "Sr No.,Dialogue_ID,Utterance_ID,f0\n1,0,0,5\n2,0,1,6\n3,1,0,7\n")
        rows = imported(tmp_path, file)
        assert rows.same("x", {f"{row:07d}": [5 + row] for row in range(3)})
        assert list(rows.groups["Dialogue_ID"].values()) == ["0", "0", "1"]

    def test_a_column_without_values_in_the_first_lines_is_what_its_later_values_are(self, tmp_path: Path) -> None:
        blank = "".join(f"a{row},1,,\n" for row in range(60))
        file = _write(tmp_path / "x.csv", f"id,f0,f1,emotion\n{blank}b,2,3,joy\nc,4,5,anger\n")
        rows = imported(tmp_path, file)
        assert rows.same("x", {"b": [2, 3], "c": [4, 5]})
        assert rows.labels == {"b": "joy", "c": "anger"}

    def test_decimal_commas_are_told(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "x.csv", "name;f0;f1\na;1,5;2,5\nb;-3,0;4,5\n")
        assert "numbers of f0 have a comma for a point, such as 1,5" in refused(file)[0]

    def test_a_table_for_each_part_is_one_modality(self, tmp_path: Path) -> None:
        for part in ("train", "devel", "test"):
            _write(tmp_path / "x" / f"{part}.csv", f"id,f0,fold\n{part}1,1,3\n{part}2,2,4\n")
        rows = imported(tmp_path, tmp_path / "x")
        expected = {f"{part}{row}": [row] for part in ("train", "devel", "test") for row in (1, 2)}
        assert rows.same("features", expected)
        assert (rows.splits["train1"], rows.splits["devel1"], rows.splits["test1"]) == ("train", "val", "test")

    def test_a_column_may_have_the_name_of_its_file(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "emotion.csv", "id,emotion,f0\na,joy,1\nb,anger,2\n")
        rows = imported(tmp_path, file)
        assert rows.same("emotion_features", {"a": [1], "b": [2]})
        assert rows.labels == {"a": "joy", "b": "anger"}

    def test_splits_may_be_numbers(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "x.csv", "name,f0,split\na,1,0\nb,2,1\n")
        assert "'0' (1 rows), '1' (1 rows) may be train, val or test" in refused(file)[0]
        assert imported(tmp_path, file, split_map={"0": "train", "1": "val"}).splits == {"a": "train", "b": "val"}

    def test_two_columns_of_names_are_asked_about(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "x.csv", "left,right,f0\na,x,1\nb,y,2\n")
        assert "names of clips may be in column 'left', 'right'; give --ids COLUMN." in refused(file)[0]
        assert planned(file, ids="right").ids == ["x", "y"]

    def test_missing_cells_are_values_that_are_not_finite(self, tmp_path: Path) -> None:
        file = _write(tmp_path / "x.csv", "name,f0\na,1\nb,\nc,nan\n")
        assert imported(tmp_path, file, non_finite="drop").plan.left_out == {
            "no x (holds NaN or infinite values)": ["b", "c"]
        }

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
    @given(
        st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=2), min_size=1, max_size=8),
        st.sampled_from(",;\t"),
        st.booleans(),
    )
    def test_any_table_of_numbers_comes_back(
        self, tmp_path: Path, cells: list[list[float]], separator: str, header: bool
    ) -> None:
        lines = [separator.join([f"clip{row}", *map(repr, of_row)]) for row, of_row in enumerate(cells)]
        file = _write(
            tmp_path / "x.csv", "\n".join(([separator.join(["name", "f0", "f1"])] if header else []) + lines) + "\n"
        )
        plan = planned(file, header="yes" if header else "no")
        (place,) = plan.modalities["x"]
        blocks = [np.asarray(block["x"]) for block in place.table.blocks(["x"])]
        assert np.array_equal(np.concatenate(blocks), np.array(cells))


FRAME: dict[str, Any] = {
    "id": ["a", "b", "c"],
    "video": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "audio": [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]], None],
    "label": [0, 1, 1],
    "text": ["hi", "you", "there"],
}
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("video", pa.list_(pa.float32(), 2)),
        ("audio", pa.list_(pa.list_(pa.float32()))),
        ("label", pa.int64()),
        ("text", pa.string()),
    ]
)


class TestArrow:
    def test_columns_of_lists_in_parquet(self, tmp_path: Path) -> None:
        pq.write_table(pa.table(FRAME, SCHEMA), tmp_path / "train-00000-of-00001.parquet")
        rows = imported(tmp_path, tmp_path / "train-00000-of-00001.parquet")
        assert rows.same("video", {"a": [1, 2], "b": [3, 4]})
        assert rows.same("audio", {"a": [2, 3], "b": [5, 6]})
        assert rows.plan.left_out == {"no audio (there is none)": ["c"]}
        assert (rows.labels, rows.splits["a"]) == ({"a": "0", "b": "1"}, "train")

    def test_columns_of_numbers_in_parquet(self, tmp_path: Path) -> None:
        pd.DataFrame({"name": ["a", "b"], "f0": [1, 2], "f1": [0.5, 1.5]}).to_parquet(tmp_path / "audio.parquet")
        assert imported(tmp_path, tmp_path / "audio.parquet").same("audio", {"a": [1, 0.5], "b": [2, 1.5]})

    def test_parts_in_several_files(self, tmp_path: Path) -> None:
        for part, names in (("train", "ab"), ("validation", "c"), ("test", "d")):
            table = pa.table({"id": list(names), "video": [[1.0, 2.0]] * len(names)})
            pq.write_table(table, tmp_path / f"{part}-00000-of-00001.parquet")
        rows = imported(tmp_path, *sorted(tmp_path.glob("*.parquet")))
        assert rows.splits == {"a": "train", "b": "train", "c": "val", "d": "test"}

    def test_rows_without_a_column_of_names_are_counted(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"video": [[1.0, 2.0], [3.0, 4.0]], "label": [0, 1]}), tmp_path / "x.parquet")
        rows = imported(tmp_path, tmp_path / "x.parquet")
        assert rows.same("video", {"0000000": [1, 2], "0000001": [3, 4]})
        assert rows.labels == {"0000000": "0", "0000001": "1"}

    def test_lists_of_several_widths_are_told(self, tmp_path: Path) -> None:
        pq.write_table(
            pa.table({"id": list("abcdefgh"), "v": [[1.0] * (2 + row % 2) for row in range(8)]}), tmp_path / "x.parquet"
        )
        assert "lists have several widths, 2 (4 rows), 3 (4 rows)" in refused(tmp_path / "x.parquet")[0]

    def test_a_data_set_of_hugging_face(self, tmp_path: Path) -> None:
        """`save_to_disk` of a DatasetDict: Arrow streams, with the classes in the schema."""
        root = tmp_path / "hf"
        names = {"label": {"names": ["neutral", "joy"], "_type": "ClassLabel"}}
        schema = SCHEMA.with_metadata({"huggingface": json.dumps({"info": {"features": names}})})
        for part, first in (("train", 0), ("validation", 2)):
            folder = root / part
            folder.mkdir(parents=True)
            rows = pa.table(FRAME, schema).slice(first, 2 - first // 2)
            for number in range(2):
                file = f"data-0000{number}-of-00002.arrow"
                with pa.OSFile(str(folder / file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
                    writer.write_table(rows.slice(number, 1))
            files = [{"filename": f"data-0000{number}-of-00002.arrow"} for number in range(2)]
            (folder / "state.json").write_text(json.dumps({"_data_files": files}), "utf-8")
            (folder / "dataset_info.json").write_text("{}", "utf-8")
        (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}), "utf-8")
        read = imported(tmp_path, root, modalities={"video": "video"})
        assert read.labels == {"a": "neutral", "b": "joy", "c": "joy"}
        assert read.splits == {"a": "train", "b": "train", "c": "val"}
        first = str(root / "validation" / "data-00000-of-00002.arrow")
        with pa.OSFile(first, "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:  # a row without a class
            writer.write_table(pa.table({**FRAME, "label": [-1] * 3}, schema).slice(2, 1))
        assert planned(root, modalities={"video": "video"}).left_out == {"no label": ["c"]}
        (root / "train" / "data-00001-of-00002.arrow").unlink()
        assert "data-00001-of-00002.arrow is not there (1 such files)" in refused(root)[0]

    def test_wrong_offsets_of_lists_are_told(self, tmp_path: Path) -> None:
        """Arrow ends the process at a list that begins beyond its content."""
        offsets = pa.py_buffer(np.array([0, 2_000_000_000, 2], np.int32))  # Arrow's own check is of the last one
        lists = pa.Array.from_buffers(pa.list_(pa.float64()), 2, [None, offsets], children=[pa.array([1.0, 2.0])])
        file = tmp_path / "x.arrow"
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, pa.schema([("v", lists.type)])) as writer:
            writer.write_batch(pa.record_batch([lists], ["v"]))
        assert "x.arrow cannot be read" in refused(file)[0]

    def test_damaged_files_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing else")
        (tmp_path / "x.arrow").write_bytes(b"ARROW1\0\0 and nothing else")
        problems = refused(tmp_path / "x.parquet", tmp_path / "x.arrow")
        assert all("cannot be read" in problem for problem in problems)
