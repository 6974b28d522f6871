"""Readers of datasets, each on a small folder in the official layout; MELD also on its real annotations."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest

from conclugen.datasets import caer, meld, mosei, ravdess, table, voxceleb2
from conclugen.datasets.clips import Clip, ClipList, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.datasets.survey import missing_files
from conclugen.features.manifest import Labels
from conclugen.files.tables import TableError

_REAL_MELD = Path(__file__).parents[4] / "shared" / "data" / "meld_utterances.csv"


def _files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\0")  # an empty file would be left out
    return root


def _clips(listing: Listing, root: Path) -> dict[str, Clip]:
    """Return name -> clip; a clip list must accept the clips, and their videos must exist."""
    clips = ClipList.of(listing.clips, dataset="planted", root=root, labels=listing.labels)
    assert missing_files(clips, root) == []
    return {clip.sample_id: clip for clip in clips}


def _refused(read: Callable[[], object]) -> list[str]:
    with pytest.raises((ClipListError, TableError)) as caught:
        read()
    return caught.value.problems


class TestVoxCeleb2:
    def _root(self, root: Path) -> Path:
        dev = (f"dev/mp4/id{speaker:05d}/v{speaker}/0000{clip}.mp4" for speaker in range(60) for clip in (1, 2))
        return _files(root, *dev, "test/mp4/id00900/w/00001.mp4", "dev/mp4/id00001/v1/._00001.mp4", "dev/mp4/x.txt")

    def test_each_dev_speaker_is_in_train_or_val_only(self, tmp_path: Path) -> None:
        clips = _clips(voxceleb2.read(self._root(tmp_path), val_share=0.25), tmp_path)
        assert len(clips) == 121
        assert clips["id00900/w/00001"] == Clip(
            sample_id="id00900/w/00001", split="test", video="test/mp4/id00900/w/00001.mp4", speaker="id00900"
        )
        splits_of: dict[str | None, set[str | None]] = {}
        for clip in clips.values():
            splits_of.setdefault(clip.speaker, set()).add(clip.split)
        assert all(len(splits) == 1 for splits in splits_of.values())
        counts = Counter(split for splits in splits_of.values() for split in splits)
        assert counts["test"] == 1
        assert 5 <= counts["val"] <= 25  # 15 of 60 expected

    def test_a_val_speaker_stays_val_with_other_speakers_and_a_larger_share(self, tmp_path: Path) -> None:
        def val(share: float) -> set[str | None]:
            return {clip.speaker for clip in voxceleb2.read(tmp_path, val_share=share).clips if clip.split == "val"}

        self._root(tmp_path)
        few, more = val(0.2), val(0.4)
        assert few < more
        _files(tmp_path, *(f"dev/mp4/id9{speaker:04d}/v/00001.mp4" for speaker in range(20)))
        assert {speaker for speaker in val(0.2) if speaker is not None and not speaker.startswith("id9")} == few
        assert (val(0.0), len(val(1.0))) == (set(), 80)

    def test_transcripts_come_from_a_csv(self, tmp_path: Path) -> None:
        root, file = self._root(tmp_path / "data"), tmp_path / "transcripts.csv"
        file.write_text(
            'sample_id,transcript\nid00900/w/00001,"well, hello"\nid7/x/00001,gone\nid00001/v1/00001,\n',
            encoding="utf-8",
        )
        listing = voxceleb2.read(root, transcripts=file)
        assert _clips(listing, root)["id00900/w/00001"].transcript == "well, hello"
        assert listing.missing == ["*/mp4/id7/x/00001.mp4"]
        assert listing.notes == [f"{file} was read as UTF-8.", f"120 clips have no transcript in {file}."]
        file.write_text("sample_id,transcript\nid7/x/00001,a\nid7/x/00001,b\n", encoding="utf-8")
        assert _refused(lambda: voxceleb2.read(root, transcripts=file)) == [
            f"{file}: line 3: id7/x/00001 has a transcript already; leave one out."
        ]

    def test_sound_alone_beside_the_videos_is_left_out(self, tmp_path: Path) -> None:
        _files(tmp_path, "dev/aac/id1/v/00001.m4a")
        (problem,) = _refused(lambda: voxceleb2.read(tmp_path))
        assert "dev/aac holds sound alone; unpack the archives vox2_dev_mp4 beside it." in problem
        root = _files(tmp_path, "vox2_test/test/mp4/id2/w/00001.MP4", "dev/mp4/id1/v/00001.mp4", "dev/mp4/id1/v/2.wav")
        _files(root, "old/mp4/id3/v/00001.mp4")
        listing = voxceleb2.read(root, val_share=0)
        assert {name: clip.split for name, clip in _clips(listing, root).items()} == {
            "id1/v/00001": "train", "id2/w/00001": "test",
        }  # fmt: skip
        assert listing.left_out == {
            "no video by the ending of its name": ["dev/mp4/id1/v/2.wav"],
            "a folder of sound alone, as the mp4 files have sound": ["dev/aac"],
            "a folder mp4 that lies neither in dev nor in test, or is there again": ["old/mp4"],
        }

    def test_another_folder_is_refused(self, tmp_path: Path) -> None:
        (problem,) = _refused(lambda: voxceleb2.read(tmp_path))
        assert "has no folder dev/mp4, which holds speakers' folders" in problem


class TestCAER:
    _ORDER = ("Neutral", "Surprise", "Fear", "Sad", "Happy", "Disgust", "Anger")

    def test_two_folders_of_one_split_are_refused(self, tmp_path: Path) -> None:
        _files(tmp_path, *(f"{s}/{e}/0001.avi" for s in ("train", "val", "validation") for e in self._ORDER))
        (problem,) = _refused(lambda: caer.read(tmp_path))
        assert problem == f"{tmp_path / 'val'} and {tmp_path / 'validation'}: could both be val; take one away."

    def test_classes_are_in_the_paper_s_order(self, tmp_path: Path) -> None:
        _files(tmp_path, *(f"{s}/{e}/0001.avi" for s in ("train", "validation", "test") for e in self._ORDER))
        listing = caer.read(_files(tmp_path, "train/Fear/0003.avi", "train/Fear/.DS_Store"))
        clips = _clips(listing, tmp_path)
        assert len(clips) == 22
        assert listing.missing == []
        assert listing.labels is not None
        assert listing.labels.classes == ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
        assert [clips[f"test/{emotion}/0001"].labels for emotion in self._ORDER] == [(i,) for i in range(7)]
        assert clips["train/Fear/0003"].video == "train/Fear/0003.avi"
        assert clips["validation/Sad/0001"].split == "val"

    def test_missing_folders_are_listed(self, tmp_path: Path) -> None:
        _files(tmp_path, *(f"{s}/{e}/0001.avi" for s in ("train", "test") for e in self._ORDER if e != "Sad"))
        missing = caer.read(tmp_path).missing
        assert missing[0] == "train/Sad/*.avi"
        assert len(missing) == 9
        assert "has no folder train" in _refused(lambda: caer.read(tmp_path / "train"))[0]

    def test_videos_of_any_ending_are_listed_and_other_files_are_named(self, tmp_path: Path) -> None:
        for split in ("train", "validation", "test"):
            _files(tmp_path, *(f"{split}/{emotion}/0001.AVI" for emotion in self._ORDER))
        _files(
            tmp_path, "train/Fear/2.mp4", "train/Fear/2.avi", "train/Fear/3.mkv", "train/Fear/notes.txt", "train/x.zip"
        )
        _files(tmp_path, "train/Fear/._4.avi", "train/Fear/in/5.avi", "train/__MACOSX/Fear/1.avi", "train/Bored/1.avi")
        (tmp_path / "train/Fear/6.avi").touch()
        (tmp_path / "train/Fear/7.avi").symlink_to("gone.avi")
        listing = caer.read(tmp_path)
        clips = _clips(listing, tmp_path)
        assert len(clips) == 3 * 7 + 2
        assert [clips[f"train/Fear/{name}"].video for name in ("0001", "2", "3")] == [
            "train/Fear/0001.AVI", "train/Fear/2.avi", "train/Fear/3.mkv",
        ]  # fmt: skip
        assert listing.left_out == {
            "a file where folders of emotions should lie": ["train/x.zip"],
            "a folder that is no emotion": ["train/Bored"],
            "empty (0 bytes)": ["train/Fear/6.avi"],
            "a link to nothing": ["train/Fear/7.avi"],
            "the same clip in another format": ["train/Fear/2.mp4"],
            "a folder where videos should lie": ["train/Fear/in"],
            "no video by the ending of its name": ["train/Fear/notes.txt"],
        }

    def test_a_folder_that_an_archive_added_is_passed(self, tmp_path: Path) -> None:
        _files(tmp_path, *(f"CAER/CAER/Train/{emotion.lower()}/1.avi" for emotion in self._ORDER))
        _files(tmp_path, "CAER/__MACOSX/train/Fear/1.avi", "CAER/test.zip")
        listing = caer.read(tmp_path)
        assert _clips(listing, tmp_path)["train/Fear/1"].video == "CAER/CAER/Train/fear/1.avi"
        assert listing.notes == ["Not unpacked yet: CAER/test.zip."]

    def test_a_split_may_have_another_of_its_names_and_other_folders_are_named(self, tmp_path: Path) -> None:
        _files(
            tmp_path, *(f"{s}/{e}/1.avi" for s in ("train", "Val", "test") for e in self._ORDER), "frames/Fear/1.avi"
        )
        (tmp_path / "train" / "Fear" / "2.avi").symlink_to("2.avi")
        listing = caer.read(tmp_path)
        assert _clips(listing, tmp_path)["validation/Sad/1"].video == "Val/Sad/1.avi"
        assert listing.left_out == {
            "a folder that is no split": ["frames"],
            "not to be read (Too many levels of symbolic links)": ["train/Fear/2.avi"],
        }

    def test_a_folder_without_videos_is_refused_with_what_lies_there(self, tmp_path: Path) -> None:
        (problem,) = _refused(lambda: caer.read(_files(tmp_path, "train/Fear/1.png", "train/Fear/2.png")))
        assert problem.endswith(" Left out: 2 (no video by the ending of its name), such as train/Fear/1.png.")

    def test_two_folders_that_could_be_meant_are_refused(self, tmp_path: Path) -> None:
        _files(tmp_path, "CAER/train/Fear/1.avi", "CAER-S/train/Fear/1.avi")
        (problem,) = _refused(lambda: caer.read(tmp_path))
        assert "CAER/train and CAER-S/train could both be meant" in problem or "CAER-S/train and CAER/train" in problem

    def test_misnamed_emotions_are_refused_with_the_name_that_is_meant(self, tmp_path: Path) -> None:
        names = {"Happy": "Happiness", "Anger": "Angry"}
        _files(tmp_path, *(f"train/{names.get(emotion, emotion)}/1.avi" for emotion in self._ORDER))
        problems = _refused(lambda: caer.read(tmp_path))
        assert [problem.partition("; ")[2] for problem in problems] == [
            "rename it to Anger, or take it away.", "rename it to Happy, or take it away.",
        ]  # fmt: skip

    def test_archives_that_are_not_unpacked_are_named(self, tmp_path: Path) -> None:
        (problem,) = _refused(lambda: caer.read(_files(tmp_path, "CAER.zip")))
        assert problem.endswith("give the dataset's own folder. Not unpacked yet: CAER.zip.")


class TestMELD:
    _HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"

    def _annotations(self, root: Path, encoding: str = "utf-8", **rows: list[str]) -> Path:
        root.mkdir(exist_ok=True)
        for part in ("train", "dev", "test"):
            lines = [self._HEADER, *rows.get(part, ["1,Hi.,Joey,joy,positive,0,0,4,7,x,y"])]
            (root / f"{part}_sent_emo.csv").write_bytes("\n".join(lines).encode(encoding))
        return root

    def test_videos_are_found_in_all_published_places(self, tmp_path: Path) -> None:
        root = self._annotations(
            tmp_path,
            train=['1,"No, wait!",Ross,anger,negative,0,0,4,7,"00:20:57,256","00:21:00,049"'],
            test=[f"{i},Hi.,Joey,joy,positive,0,{i},4,7,x,y" for i in range(3)],
        )
        _files(root, "train_splits/dia0_utt0.mp4", "output_repeated_splits_test/final_videos_testdia0_utt2.mp4")
        _files(root, "dev/dev_splits_complete/dia0_utt0.mp4", "output_repeated_splits_test/dia0_utt0.mp4")
        listing = meld.read(root)
        clips = _clips(listing, root)
        assert list(clips) == ["train/dia0_utt0", "val/dia0_utt0", "test/dia0_utt0", "test/dia0_utt2"]
        assert clips["train/dia0_utt0"] == Clip(
            sample_id="train/dia0_utt0", split="train", video="train_splits/dia0_utt0.mp4", transcript="No, wait!",
            labels=(6,), speaker="Ross", groups={"dialogue": "train/dia0"},
        )  # fmt: skip
        assert clips["val/dia0_utt0"].video == "dev/dev_splits_complete/dia0_utt0.mp4"
        assert clips["test/dia0_utt2"].video == "output_repeated_splits_test/final_videos_testdia0_utt2.mp4"
        assert listing.missing == ["output_repeated_splits_test/dia0_utt1.mp4"]

    def test_dialogues_of_two_parts_are_not_the_same(self, tmp_path: Path) -> None:
        """Each part begins with a dialogue 0."""
        clips = meld.read(self._annotations(tmp_path), text_only=True).clips
        dialogues: dict[str | None, set[str | None]] = {}
        for clip in clips:
            dialogues.setdefault(clip.groups["dialogue"], set()).add(clip.split)
        assert {name: len(splits) for name, splits in dialogues.items()} == dict.fromkeys(dialogues, 1)
        assert {"train/dia0", "val/dia0", "test/dia0"} <= dialogues.keys()

    def test_sentiment_may_become_the_labels(self, tmp_path: Path) -> None:
        listing = meld.read(self._annotations(tmp_path), labels="sentiment", text_only=True)
        assert listing.labels is not None
        assert listing.labels.classes == ("negative", "neutral", "positive")
        assert {clip.labels for clip in listing.clips} == {(2,)}

    @pytest.mark.parametrize(
        ("utterance", "encoding"),
        [("I\x92m \x93fine\x94 \x85", "utf-8"), ("I’m “fine” …", "cp1252"), ("I’m “fine” …", "utf-8-sig")],
    )
    def test_punctuation_of_any_encoding_is_restored(self, tmp_path: Path, utterance: str, encoding: str) -> None:
        """The cases: Windows-1252 mistaken for Latin-1, real Windows-1252, and real UTF-8."""
        root = self._annotations(tmp_path, encoding, train=[f"1,{utterance},Joey,joy,positive,0,0,4,7,x,y"])
        listing = meld.read(root, text_only=True, encoding=encoding)
        assert listing.clips[0].transcript == "I’m “fine” …"
        assert f"{root / 'train_sent_emo.csv'} was read as {encoding.upper()}." in listing.notes

    def test_an_encoding_is_not_guessed(self, tmp_path: Path) -> None:
        root = self._annotations(tmp_path, "cp1252", train=["1,I’m fine,Joey,joy,positive,0,0,4,7,x,y"])
        (problem,) = _refused(lambda: meld.read(root, text_only=True))
        assert problem.startswith(f"{root / 'train_sent_emo.csv'}: line 2: byte 0x92 is not UTF-8;")
        assert "--encoding cp1252" in problem

    def test_annotations_that_cannot_be_understood_are_listed(self, tmp_path: Path) -> None:
        self._annotations(
            tmp_path,
            train=["1,Hi,Joey,bored,positive,0,0,4,7,x,y", "2,Hi,Joey,joy,positive,0,1,4,7,x,y"],
            dev=["1,Hi,Joey,happy,positive,0,0,4,7,x,y"],
        )
        problems = _refused(lambda: meld.read(tmp_path, text_only=True))
        assert [problem.split(": ", 1)[1][:20] for problem in problems] == [
            "line 2: emotion: 'bo",
            "line 2: emotion: 'ha",
        ]

    def test_annotations_that_are_there_again_are_accounted_for(self, tmp_path: Path) -> None:
        _files(tmp_path, "train_splits/dia0_utt0.mp4")
        header = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
        for part, folder in product(("train", "dev", "test"), (tmp_path, tmp_path / "data")):
            folder.mkdir(exist_ok=True)
            row = "Hi,Joey,joy,positive,0,0\n" if part == "train" else ""
            (folder / f"{part}_sent_emo.csv").write_text(header + row, encoding="utf-8")
        listing = meld.read(tmp_path)
        assert [clip.transcript for clip in listing.clips] == ["Hi"]
        assert listing.left_out == {
            "annotations that are there again, farther from the root": [
                f"data/{part}_sent_emo.csv" for part in ("train", "dev", "test")
            ]
        }

    def test_repeated_and_unnumbered_utterances_are_listed_with_their_lines(self, tmp_path: Path) -> None:
        row = "1,Hi,Joey,joy,positive,{},{},4,7,x,y"
        rows = [row.format(0, 0), row.format("0.0", "00"), row.format("x", 1), row.format(1, "")]
        problems = _refused(lambda: meld.read(self._annotations(tmp_path, train=rows), text_only=True))
        file = tmp_path / "train_sent_emo.csv"
        assert [problem.removeprefix(f"{file}: ") for problem in problems] == [
            f"line 3: dia0_utt0 of train is there already, in {file}: line 2; leave one out.",
            "line 4: dialogue_id: 'x' is no whole number; correct it.",
            "line 5: utterance_id: '' is no whole number; correct it.",
        ]

    def test_videos_are_matched_whatever_their_ending_and_the_others_are_named(self, tmp_path: Path) -> None:
        root = self._annotations(tmp_path / "MELD.Raw", test=["1,Hi.,Joey,joy,positive,0,0,4,7,x,y"])
        test = "MELD.Raw/test/output_repeated_splits_test"
        _files(tmp_path, "MELD.Raw/train_splits/dia0_utt0.MP4", "MELD.Raw/dev_splits_complete/dia0_utt0.avi")
        _files(tmp_path, f"{test}/dia0_utt0.mp4", f"{test}/final_videos_testdia0_utt0.mp4", f"{test}/._dia0_utt0.mp4")
        _files(tmp_path, f"{test}/dia9_utt9.mp4", "MELD.Raw/train_splits/dia0_utt0.srt", "MELD.Raw/train.tar.gz")
        listing = meld.read(tmp_path)
        assert [clip.video for clip in _clips(listing, tmp_path).values()] == [
            "MELD.Raw/train_splits/dia0_utt0.MP4",
            "MELD.Raw/dev_splits_complete/dia0_utt0.avi",
            f"{test}/dia0_utt0.mp4",
        ]
        assert listing.left_out == {
            "no video by the ending of its name": ["MELD.Raw/train_splits/dia0_utt0.srt"],
            "the same clip again": [f"{test}/final_videos_testdia0_utt0.mp4"],
            "a video without annotation": [f"{test}/dia9_utt9.mp4"],
        }
        assert root.is_dir()

    def test_an_utterance_without_text_is_left_out_of_a_list_of_texts(self, tmp_path: Path) -> None:
        rows = ["1,Hi,Joey,joy,positive,0,0,4,7,x,y", "2,,Joey,joy,positive,0,1,4,7,x,y"]
        listing = meld.read(self._annotations(tmp_path, train=rows), text_only=True)
        assert listing.left_out == {"an utterance without text": ["train/dia0_utt1"]}
        assert "train/dia0_utt1" not in _clips(listing, tmp_path)

    def test_without_any_video_text_only_is_proposed(self, tmp_path: Path) -> None:
        (problem,) = _refused(lambda: meld.read(self._annotations(tmp_path)))
        assert "none of 3 videos exists, such as train_splits/dia0_utt0.mp4" in problem
        assert "--text-only" in problem

    def test_missing_annotations_are_refused(self, tmp_path: Path) -> None:
        self._annotations(tmp_path)
        (tmp_path / "dev_sent_emo.csv").unlink()
        (problem,) = _refused(lambda: meld.read(tmp_path))
        assert "has no dev_sent_emo.csv;" in problem

    @pytest.mark.skipif(not _REAL_MELD.is_file(), reason=f"{_REAL_MELD} is not there")
    @pytest.mark.parametrize("official", [True, False], ids=["three official files", "one file"])
    def test_the_real_annotations_have_the_published_counts(self, tmp_path: Path, official: bool) -> None:
        root = self._official(tmp_path) if official else _REAL_MELD.parent
        listing = meld.read(root, text_only=True)
        clips = ClipList.of(listing.clips, dataset="meld", root=root, labels=listing.labels)
        assert clips.counts() == {  # the statistics in MELD's README, its classes in our order
            "train": (9989, (4710, 1205, 268, 683, 1743, 271, 1109)),
            "val": (1109, (470, 150, 40, 111, 163, 22, 153)),
            "test": (2610, (1256, 281, 50, 208, 402, 68, 345)),
        }
        with _REAL_MELD.open(encoding="utf-8", newline="") as stream:
            texts = [row["text"].strip() for row in csv.DictReader(stream)]
        assert [clip.transcript for clip in clips] == texts

    def _official(self, root: Path) -> Path:
        """Write the real annotations in the columns and files that MELD publishes."""
        with _REAL_MELD.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for part, split in (("train", "train"), ("dev", "val"), ("test", "test")):
            with (root / f"{part}_sent_emo.csv").open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(self._HEADER.split(","))
                for number, row in enumerate((row for row in rows if row["split"] == split), 1):
                    cells = [
                        row[name] for name in ("text", "speaker", "emotion", "sentiment", "dialogue_id", "utterance_id")
                    ]
                    writer.writerow([number, *cells, 4, 7, "00:20:57,256", "00:21:00,049"])
        return root


class TestMOSEI:
    _COLUMNS = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")

    def _root(self, root: Path, columns: tuple[str, ...] | None = _COLUMNS, **lists: Any) -> Path:
        _files(root, *(f"Raw/Videos/Full/Combined/{video}.mp4" for video in ("aa", "-b", "cc")))
        folder = root / "Raw/Transcript/Segmented/Combined"
        folder.mkdir(parents=True)
        (folder / "aa.txt").write_text(
            "aa___0___0.0___3.1___Oh, well___really.\naa___1___2.95___7.5___Bad.\n", encoding="utf-8"
        )
        (folder / "-b.txt").write_text("-b___0___0.0___3.1___Fine.\n", encoding="utf-8")
        folds = {"train": ["aa", "nolabels"], "valid": ["-b"], "test": ["gone"], **lists}
        lines = [f"standard_{name}_fold = {videos!r}" for name, videos in folds.items()]
        (root / "cmu_mosei_std_folds.py").write_text("\n".join(lines), encoding="utf-8")
        sequences = {
            "aa": ([[-1.0, 0, 0.33, 0, 0, 0, 0.67], [2.0, 1, 0, 0, 2, 0, 0]], [[2.9, 7.45], [0.0, 3.1]]),
            "-b": ([[0.0] * 7, [1.0] * 7], [[-0.5, 8.0], [-2.0, -0.5]]),
            "gone": ([[1.0] * 7], [[0.0, 1.0]]),
            "unsplit": ([[1.0] * 7], [[0.0, 1.0]]),
        }
        with h5py.File(root / "CMU_MOSEI_Labels.csd", "w") as file:
            for video, (features, intervals) in sequences.items():
                group = file.create_group(f"All Labels/data/{video}")
                group["features"], group["intervals"] = np.array(features, "f4"), np.array(intervals)
            if columns is not None:
                file["All Labels/metadata/dimension names"] = [json.dumps(columns)]
        return root

    @pytest.mark.parametrize("named", [True, False])
    def test_clips_are_the_labelled_intervals(self, tmp_path: Path, named: bool) -> None:
        listing = mosei.read(self._root(tmp_path, self._COLUMNS if named else None))
        clips = _clips(listing, tmp_path)
        assert listing.labels is not None
        assert listing.labels.classes == ("happiness", "sadness", "anger", "fear", "disgust", "surprise")
        video = "Raw/Videos/Full/Combined/aa.mp4"
        texts, labels = ("Bad.", "Oh, well___really."), ((1, 3), (0, 5))
        assert clips == {
            **{
                f"aa[{i}]": Clip(
                    sample_id=f"aa[{i}]",
                    split="train",
                    video=video,
                    start=(2.9, 0.0)[i],
                    end=(7.45, 3.1)[i],
                    transcript=texts[i],
                    labels=labels[i],
                    groups={"video": "aa"},
                )
                for i in (0, 1)
            },
            "-b[0]": Clip(
                sample_id="-b[0]",
                split="val",
                video="Raw/Videos/Full/Combined/-b.mp4",
                start=0.0,
                end=8.0,
                labels=(),
                groups={"video": "-b"},
            ),
        }
        assert listing.missing == ["Raw/Videos/Full/Combined/gone.mp4"]
        assert [note.split()[0] for note in listing.notes] == ["1", "1", "1"]
        assert listing.left_out == {"a labelled interval that lies before its video": ["-b[1]"]}

    def test_columns_are_found_by_name(self, tmp_path: Path) -> None:
        root = self._root(tmp_path, ("fear", "disgust", "surprise", "anger", "sad", "happy", "sentiment"))
        clips = _clips(mosei.read(root), root)
        assert [clips[name].labels for name in ("aa[0]", "aa[1]")] == [(5,), (1, 3, 4)]

    def test_sentiment_is_the_sign_of_its_intensity(self, tmp_path: Path) -> None:
        listing = mosei.read(self._root(tmp_path), labels="sentiment")
        assert {name: clip.labels for name, clip in _clips(listing, tmp_path).items()} == {
            "aa[0]": (0,), "aa[1]": (2,), "-b[0]": (1,),
        }  # fmt: skip

    def test_everything_missing_is_listed_at_once(self, tmp_path: Path) -> None:
        parts = (
            "Videos/Full/Combined",
            "Transcript/Segmented/Combined",
            "cmu_mosei_std_folds.py",
            "CMU_MOSEI_Labels.csd",
        )
        problems = _refused(lambda: mosei.read(tmp_path))
        assert len(problems) == len(parts)
        assert all(part in problem for part, problem in zip(parts, problems, strict=True))

    def test_the_file_of_splits_is_not_executed(self, tmp_path: Path) -> None:
        root = self._root(tmp_path)
        trace = tmp_path / "trace"
        file = root / "cmu_mosei_std_folds.py"
        file.write_text(f"standard_train_fold = [open({str(trace)!r}, 'w').name]\n", encoding="utf-8")
        problems = _refused(lambda: mosei.read(root))
        assert (
            problems[1] == f"{file}: standard_train_fold is no list of videos; copy the file of the CMU Multimodal SDK."
        )
        file.write_text("standard_train_fold = [\n", encoding="utf-8")
        assert "is not the SDK's file of lists: '[' was never closed" in _refused(lambda: mosei.read(root))[0]
        assert not trace.exists()

    def test_bad_files_are_refused_with_their_faults(self, tmp_path: Path) -> None:
        root = self._root(tmp_path, ("happy",) * 7, test=["aa"])
        (root / "Raw/Transcript/Segmented/Combined/aa.txt").write_text("aa___0___zero___3.1___x\n", encoding="utf-8")
        overlap, columns = _refused(lambda: mosei.read(root))
        assert "aa is in train and in test" in overlap
        assert "lack anger, disgust, fear, sad, sentiment, surprise" in columns
        (root / "CMU_MOSEI_Labels.csd").write_bytes(b"not HDF5")
        assert "is no computational sequence" in _refused(lambda: mosei.read(root))[1]

    def _transcript(self, root: Path, content: bytes) -> Path:
        (root / "Raw/Transcript/Segmented/Combined/aa.txt").write_bytes(content)
        return root

    @pytest.mark.parametrize("character", ["\u2028", "\x0c", "\x1c", "\u2029", "\x0b"])
    @pytest.mark.parametrize("line_break", ["\n", "\r\n"])
    def test_a_text_is_not_split_at_characters_within_it(self, tmp_path: Path, character: str, line_break: str) -> None:
        lines = [f"aa___0___0.0___3.1___Oh{character}well.", "aa___1___2.95___7.5___Bad.", ""]
        listing = mosei.read(self._transcript(self._root(tmp_path), line_break.join(lines).encode()))
        clips = _clips(listing, tmp_path)
        assert [clips[f"aa[{i}]"].transcript for i in (1, 0)] == [f"Oh{character}well.", "Bad."]

    def test_windows_punctuation_within_a_text_is_restored(self, tmp_path: Path) -> None:
        line = "aa___0___0.0___3.1___Oh\x85 I\x92m\n".encode()
        assert (
            _clips(mosei.read(self._transcript(self._root(tmp_path), line)), tmp_path)["aa[1]"].transcript == "Oh… I’m"
        )

    def test_a_line_that_cannot_be_read_is_left_out_with_its_number(self, tmp_path: Path) -> None:
        content = b"aa___0___0.0___3.1___Oh.\n\naa___1___2.95___7.5___Caf\xe9\n"
        listing = mosei.read(self._transcript(self._root(tmp_path), content))
        assert listing.left_out["a transcript's line that is not video___segment___start___end___text in UTF-8"] == [
            "Raw/Transcript/Segmented/Combined/aa.txt: line 3"
        ]
        clips = _clips(listing, tmp_path)
        assert (clips["aa[0]"].transcript, clips["aa[1]"].transcript) == (None, "Oh.")
        assert "2 clips have no transcript." in listing.notes

    def test_transcripts_of_another_format_are_refused_with_the_first_lines(self, tmp_path: Path) -> None:
        lines = ["nan___nan", *("aa___0___nan___3.1___x" for _ in range(30))]
        root = self._transcript(self._root(tmp_path), "\n".join(lines).encode())
        (problem,) = _refused(lambda: mosei.read(root))
        assert problem.startswith("31 of 32 lines of the transcripts cannot be read")
        assert problem.endswith("Combined/aa.txt: line 10 and 21 more.")

    def test_one_bad_line_of_two_hundred_is_no_refusal_and_eleven_are(self, tmp_path: Path) -> None:
        good = [f"aa___{i}___{i}.0___{i}.9___x" for i in range(300)]
        root = self._transcript(self._root(tmp_path), "\n".join(["x"] * 10 + good).encode())
        assert len(next(iter(mosei.read(root).left_out.values()))) == 10
        (problem,) = _refused(lambda: mosei.read(self._transcript(root, "\n".join(["x"] * 11 + good).encode())))
        assert problem.startswith("11 of 312 lines")

    def test_bytes_written_as_python_prints_them_are_decoded(self, tmp_path: Path) -> None:
        content = b"aa___0___0.0___3.1___b'caf\\xc3\\xa9 I\\'m'\naa___1___2.95___7.5___b'cause 'twas\n"
        listing = mosei.read(self._transcript(self._root(tmp_path), content))
        clips = _clips(listing, tmp_path)
        assert [clips[f"aa[{i}]"].transcript for i in (1, 0)] == ["café I'm", "b'cause 'twas"]
        assert "Transcripts written as Python's bytes (b'...') were decoded: 1." in listing.notes

    def test_a_video_s_name_may_hold_the_separator(self, tmp_path: Path) -> None:
        root = self._root(tmp_path, train=["a___1___2"])
        _files(root, "Raw/Videos/Full/Combined/a___1___2.mp4")
        text = "a___1___2___0___0.0___3.1___Fine.\n"
        (root / "Raw/Transcript/Segmented/Combined/a___1___2.txt").write_text(text, encoding="utf-8")
        with h5py.File(root / "CMU_MOSEI_Labels.csd", "a") as file:
            group = file.create_group("All Labels/data/a___1___2")
            group["features"], group["intervals"] = np.ones((1, 7), "f4"), np.array([[0.0, 3.1]])
        assert _clips(mosei.read(root), root)["a___1___2[0]"].transcript == "Fine."

    @pytest.mark.parametrize("labels", ["emotion", "sentiment"])
    def test_an_interval_without_numbers_is_left_out_as_it_has_no_label(
        self, tmp_path: Path, labels: Literal["emotion", "sentiment"]
    ) -> None:
        root = self._root(tmp_path)
        nan = float("nan")
        with h5py.File(root / "CMU_MOSEI_Labels.csd", "a") as file:
            group = file.create_group("All Labels/data/cc")
            group["features"] = np.array([[1.0, 0, 0, nan, 0, 0, 0], [nan, 1, 0, 0, 0, 0, 0], *([[1.0] * 7] * 3)], "f4")
            group["intervals"] = np.array([[0.0, 1.0], [1.0, 2.0], [4.0, 3.0], [nan, 5.0], [5.0, 6.0]])
        (root / "cmu_mosei_std_folds.py").write_text(
            "standard_train_fold = ['cc']\nstandard_valid_fold = []\nstandard_test_fold = []\n", encoding="utf-8"
        )
        listing = mosei.read(root, labels=labels)
        index, other = (0, 1) if labels == "emotion" else (1, 0)
        assert listing.left_out == {
            "a labelled interval whose intensities are not all numbers": [f"cc[{index}]"],
            "a labelled interval that ends before it begins": ["cc[2]"],
            "a labelled interval whose times are not numbers": ["cc[3]"],
        }
        assert set(_clips(listing, root)) == {f"cc[{other}]", "cc[4]"}

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda file: file.clear(), "it holds nothing where one sequence is expected"),
            (lambda file: file.create_group("second"), "it holds All Labels, second where one sequence"),
            (lambda file: file.__delitem__("All Labels/data/aa/intervals"), "is no computational sequence"),
            (lambda file: file.__delitem__("All Labels/data"), "is no computational sequence"),
            (lambda file: file["All Labels/metadata/dimension names"].resize((0,)), "is no computational sequence"),
        ],
        ids=["empty", "two sequences", "no intervals", "no data", "no names"],
    )
    def test_a_label_file_without_its_parts_is_refused(
        self, tmp_path: Path, change: Callable[[h5py.File], object], expected: str
    ) -> None:
        root = self._root(tmp_path, None)
        with h5py.File(root / "CMU_MOSEI_Labels.csd", "a") as file:
            names = np.array([json.dumps(self._COLUMNS)], dtype=h5py.string_dtype())
            file.create_dataset("All Labels/metadata/dimension names", data=names, maxshape=(None,), chunks=(1,))
            change(file)
        (problem,) = _refused(lambda: mosei.read(root))
        assert expected in problem

    def test_without_h5py_the_extra_to_install_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root = self._root(tmp_path)
        monkeypatch.setitem(sys.modules, "h5py", None)
        (problem,) = _refused(lambda: mosei.read(root))
        assert problem.endswith("reading it needs h5py; install it: pip install 'conclugen-sweeps[mosei]'.")

    def test_a_label_file_of_another_name_is_told(self, tmp_path: Path) -> None:
        file = self._root(tmp_path) / "CMU_MOSEI_Labels.csd"
        file.rename(tmp_path / "Labels.csd")
        assert _refused(lambda: mosei.read(tmp_path))[0].endswith(" The folder has Labels.csd.")

    def test_a_set_without_any_number_is_refused_with_what_lies_there(self, tmp_path: Path) -> None:
        root = self._root(tmp_path, train=["aa"], valid=[], test=[])
        with h5py.File(root / "CMU_MOSEI_Labels.csd", "a") as file:
            file["All Labels/data/aa/features"][:] = float("nan")
        (problem,) = _refused(lambda: mosei.read(root))
        assert problem.endswith(
            "no labelled interval of the 1 videos of the splits can be listed. No file is missing. "
            "Left out: 2 (a labelled interval whose intensities are not all numbers), such as aa[0]."
        )

    def test_a_label_file_that_was_cut_short_is_refused(self, tmp_path: Path) -> None:
        file = self._root(tmp_path) / "CMU_MOSEI_Labels.csd"
        file.write_bytes(file.read_bytes()[:3000])
        assert "is no computational sequence" in _refused(lambda: mosei.read(tmp_path))[0]

    def test_lists_of_something_else_are_refused(self, tmp_path: Path) -> None:
        root = self._root(tmp_path, train="aa", valid=[1])
        assert [problem.split(": ")[1] for problem in _refused(lambda: mosei.read(root))] == [
            "standard_train_fold is no list of videos; copy the file of the CMU Multimodal SDK.",
            "standard_valid_fold is no list of videos; copy the file of the CMU Multimodal SDK.",
        ]


class TestRAVDESS:
    def _root(self, root: Path, prefix: str = "") -> Path:
        names = (
            f"{prefix.format(a)}Actor_{a:02d}/01-01-{e:02d}-{i:02d}-{s:02d}-{r:02d}-{a:02d}.mp4"
            for a, e, i, s, r in product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2))
            if (e, i) != (1, 2)
        )
        return _files(root, *names, "Actor_01/02-01-01-01-01-01-01.mp4", "Actor_01/01-02-01-01-01-01-01.mp4")

    def test_all_clips_of_speech_are_listed(self, tmp_path: Path) -> None:
        listing = ravdess.read(self._root(tmp_path))
        clips = _clips(listing, tmp_path)
        assert (len(clips), listing.missing) == (1440, [])
        assert clips["01-01-06-02-02-01-24"] == Clip(
            sample_id="01-01-06-02-02-01-24", video="Actor_24/01-01-06-02-02-01-24.mp4", fold=1, labels=(5,),
            transcript="Dogs are sitting by the door", speaker="Actor_24",
        )  # fmt: skip
        assert listing.labels is not None
        assert listing.labels.classes[0] == "neutral"
        assert listing.labels.classes[5] == "fearful"

    def test_folds_share_no_actor_and_have_as_many_women_as_men(self, tmp_path: Path) -> None:
        actors: dict[int | None, set[int]] = {}
        for clip in ravdess.read(self._root(tmp_path)).clips:
            actors.setdefault(clip.fold, set()).add(int((clip.speaker or "")[-2:]))
        assert set(actors) == set(range(10))
        assert sum(map(len, actors.values())) == 24
        for fold, members in actors.items():
            assert len(members) == (4 if fold in (0, 1) else 2)
            assert sum(actor % 2 for actor in members) == len(members) // 2

    def test_archives_may_lie_side_by_side_and_missing_files_are_listed(self, tmp_path: Path) -> None:
        self._root(tmp_path, "Video_Speech_Actor_{:02d}/")
        (tmp_path / "Actor_01/02-01-01-01-01-01-01.mp4").unlink()
        (tmp_path / "Actor_01/01-02-01-01-01-01-01.mp4").unlink()
        (tmp_path / "Actor_01").rmdir()
        absent = "Video_Speech_Actor_07/Actor_07/01-01-02-01-01-02-07.mp4"
        (tmp_path / absent).unlink()
        listing = ravdess.read(tmp_path)
        assert listing.missing == [absent]
        assert len(_clips(listing, tmp_path)) == 1439

    def test_sound_and_video_archives_may_lie_side_by_side(self, tmp_path: Path) -> None:
        """The sound of all actors fills the folders Actor_01 to Actor_24, the videos lie in their archives' folders."""
        for actor in ("01", "03", "05"):
            speech = [f"{{:02d}}-01-{emotion:02d}-01-01-01-{actor}" for emotion in range(1, 7)]
            video = f"Video_Speech_Actor_{actor}/Actor_{actor}"
            _files(tmp_path, *(f"Actor_{actor}/{name.format(3)}.wav" for name in speech))
            _files(tmp_path, *(f"{video}/{name.format(modality)}.mp4" for name in speech for modality in (1, 2)))
        _files(tmp_path, "Video_Song_Actor_01/Actor_01/01-02-01-01-01-01-01.mp4", "Video_Speech_Actor_02.zip", "a.mp4")
        _files(tmp_path, "copy/01-01-02-01-01-01-01.MP4", "copy/01-01-09-01-01-01-01.mp4")
        (tmp_path / "copy/loop").symlink_to(tmp_path)
        listing = ravdess.read(tmp_path)
        clips = _clips(listing, tmp_path)
        assert len(clips) == 18
        assert clips["01-01-02-01-01-01-01"].video == "Video_Speech_Actor_01/Actor_01/01-01-02-01-01-01-01.mp4"
        assert len(listing.missing) == 1440 - 18
        assert {reason: len(files) for reason, files in listing.left_out.items()} == {
            "speech, sound without video (03-01)": 18,
            "speech, video without sound (02-01)": 18,
            "song, with video and sound (01-02)": 1,
            "an archive that is not unpacked": 1,
            "the same clip again": 1,
            "a name that RAVDESS does not have": 2,
        }

    def test_actors_of_too_few_folds_are_refused_by_name(self, tmp_path: Path) -> None:
        _files(tmp_path, *(f"Actor_{actor}/01-01-01-01-01-01-{actor}.mp4" for actor in ("01", "02", "23")))
        (problem,) = _refused(lambda: ravdess.read(tmp_path))
        assert problem.endswith(
            "has clips of Actor_01, Actor_02, Actor_23 alone, which are in 2 of the 10 folds; "
            "three folds are the least, so unpack the archives of more actors."
        )

    def test_sound_and_video_in_two_files_are_not_paired_and_it_is_said_what_was_found(self, tmp_path: Path) -> None:
        _files(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", "Actor_01/02-01-01-01-01-01-01.mp4", "Video_Song.zip")
        (problem,) = _refused(lambda: ravdess.read(tmp_path))
        found = (
            " Left out: 1 (speech, video without sound (02-01)), such as Actor_01/02-01-01-01-01-01-01.mp4."
            " Left out: 1 (an archive that is not unpacked), such as Video_Song.zip."
            " Left out: 1 (speech, sound without video (03-01)), such as Actor_01/03-01-01-01-01-01-01.wav."
        )
        assert found in problem

    def test_another_folder_is_refused(self, tmp_path: Path) -> None:
        (problem,) = _refused(lambda: ravdess.read(tmp_path))
        assert "holds no speech with video and sound, files 01-01-*.mp4; unpack" in problem


class TestTable:
    def _file(self, folder: Path, text: str) -> Path:
        file = folder / "own.csv"
        file.write_text(text, encoding="utf-8")
        return file

    def test_labels_are_given_by_name(self, tmp_path: Path) -> None:
        text = "sample_id,split,video,start,end,labels\na,train,a.mp4,,1.5,joy\nb,dev,b.mp4,0.5,,anger\n"
        listing = table.read(self._file(tmp_path, text), classes=["joy", "anger"])
        assert listing.clips == [
            Clip(sample_id="a", split="train", video="a.mp4", end=1.5, labels=(0,)),
            Clip(sample_id="b", split="val", video="b.mp4", start=0.5, labels=(1,)),
        ]
        sorted_labels = table.read(self._file(tmp_path, text)).labels
        assert sorted_labels is not None
        assert sorted_labels.classes == ("anger", "joy")

    def test_clips_may_have_several_labels_and_folds(self, tmp_path: Path) -> None:
        text = "sample_id,fold,transcript,labels\na,0,hi,joy; fear\nb,1,hi,\nc,2,hi,fear\n"
        listing = table.read(self._file(tmp_path, text), classes=["fear", "joy"], several=True)
        clips = ClipList.of(listing.clips, dataset="own", root=tmp_path, labels=listing.labels)
        assert [clip.labels for clip in clips] == [(0, 1), (), (0,)]
        assert clips.parts == ("fold-000", "fold-001", "fold-002")

    def test_labels_that_look_alike_are_refused_or_merged(self, tmp_path: Path) -> None:
        rows = enumerate(["joy", "joy ", "Joy", "jo\u200by", "fear", "nan"])
        text = "sample_id,split,transcript,labels\n" + "".join(f"{row},Train,hi,{label}\n" for row, label in rows)
        file = self._file(tmp_path, text)
        assert [problem.partition(";")[0] for problem in _refused(lambda: table.read(file))] == [
            f"{file}: labels: 'nan' stands for a missing value (in 1)",
            f"{file}: labels: 'Joy' (1), 'joy' (2), 'jo\\u200by' (1) look alike",
        ]
        listing = table.read(self._file(tmp_path, text.replace("nan", "fear")), merge_labels=True)
        assert listing.labels == Labels(classes=("fear", "joy"))
        assert [clip.labels for clip in listing.clips] == [(1,)] * 4 + [(0,)] * 2
        assert {clip.split for clip in listing.clips} == {"train"}
        assert listing.notes[-1] == "'Joy' (1), 'jo\\u200by' (1) became 'joy'."

    def test_samples_and_speakers_are_tidy_names(self, tmp_path: Path) -> None:
        text = "sample_id,split,speaker,transcript\n\u00a0e\u0301,train,\ufeffAnn,hi\n"
        (clip,) = table.read(self._file(tmp_path, text)).clips
        assert (clip.sample_id, clip.speaker) == ("\u00e9", "Ann")

    def test_columns_may_name_groups(self, tmp_path: Path) -> None:
        text = "sample_id,split,transcript,group:film,group:scene\na,train,hi, Up ,1\nb,val,hi,Alien,1\n"
        listing = table.read(self._file(tmp_path, text))
        clips = ClipList.of(listing.clips, dataset="own", root=tmp_path, labels=None)
        assert clips.groupings == ("film", "scene")
        assert clips.group_counts() == {"film": 2, "scene": 1}
        assert clips.groups(listing.clips) == {"film": ["Up", "Alien"], "scene": ["1", "1"]}

    def test_wrong_groups_are_listed_with_the_other_problems(self, tmp_path: Path) -> None:
        names = ("group:film", "group:a b", "group:speaker", "group:", "film")
        text = f"sample_id,split,transcript,start,{','.join(names)}\na,train,hi,soon,,,,,\nb,train,hi,1,n/a,,,,\n"
        problems = _refused(lambda: table.read(self._file(tmp_path, text)))
        assert [problem.partition(" is none of")[0] for problem in problems[:4]] == [
            f"{tmp_path / 'own.csv'}: column {name!r}" for name in names[1:]
        ]
        assert all("labels, group:NAME; rename it" in problem for problem in problems[:4])
        assert "line 2: start: 'soon' is no number" in problems[4]
        remedy = "give every clip its group, or leave the column out."
        fault = "group:film: missing, or a word for that, in lines 2, 3 ('n/a')"
        assert problems[5] == f"{tmp_path / 'own.csv'}: {fault}; {remedy}"

    def test_every_wrong_cell_is_listed(self, tmp_path: Path) -> None:
        text = (
            "sample_id,start,end,fold,video,labels,lable\n"
            "a,1:30,,1.5,a,joy,3\nb,1,,x,b,boredom,4\nc,1,0,2.0,c,,5\nd,nan,,99999,d,joy,\na,1_0,,1,,joy,\n"
        )
        file = self._file(tmp_path, text)
        problems = _refused(
            lambda: table.read(
                file, classes=["joy", "anger"], check=lambda clips: [f"{len(clips.clips)} were checked."]
            )
        )
        assert "column 'lable' is none of sample_id, split" in problems[0]
        assert problems[0].endswith("rename it, or leave it out. Did you mean labels?")
        seconds, fold = (
            "write it like 75.5, or leave the cell empty",
            "is no whole number in 0..999; number folds from 0",
        )
        assert [problem.partition(": ")[2] for problem in problems[1:]] == [
            f"line 2: start: '1:30' is no number of seconds; {seconds}.", f"line 2: fold: '1.5' {fold}.",
            "line 3: labels: 'boredom' is none of joy, anger; correct it.", f"line 3: fold: 'x' {fold}.",
            "line 4: labels: is blank; give each clip one class, or leave it out.",
            f"line 5: start: 'nan' is no number of seconds; {seconds}.", f"line 5: fold: '99999' {fold}.",
            f"line 6: start: '1_0' is no number of seconds; {seconds}.",
            "sample_id: the same in lines 2, 6 ('a'); make them unique.",
            "video: missing, as is the transcript, in line 6; give either.",
            "end: not after the start in line 4 (0.0); correct one of the two.",
            "5 were checked.",
        ]  # fmt: skip

    def test_a_cell_of_several_classes_is_no_class_of_its_own(self, tmp_path: Path) -> None:
        rows = ["joy", "fear", "joy;fear", "joy|calm", "['joy', 'fear']"]
        text = "sample_id,split,transcript,labels\n" + "".join(
            f'{place},train,hi,"{row}"\n' for place, row in enumerate(rows)
        )
        single = _refused(lambda: table.read(self._file(tmp_path, text)))
        assert [problem.partition(": labels: ")[2].partition(";" + " ")[0] for problem in single] == [
            "'joy;fear' (1) is several classes", '"[\'joy\', \'fear\']" (1) is several classes',
        ]  # fmt: skip
        assert "separate them by semicolons, and give --multilabel, or name the class by --classes." in single[0]
        several = _refused(lambda: table.read(self._file(tmp_path, text), several=True))
        assert [problem.partition(": labels: ")[2].partition(" is ")[0] for problem in several] == [
            "'joy|calm' (1)",
            "\"['joy', 'fear']\" (1)",
        ]
        named = ["joy", "fear", *rows[2:]]
        assert table.read(self._file(tmp_path, text), classes=named).labels == Labels(classes=tuple(named))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "has no column sample_id; it has none"),
            ("name\na\n", "has no column sample_id; it has name"),
            ("sample_id,split\na,train,more\n", "line 2: has 3 cells, its header 2"),
        ],
    )
    def test_files_that_are_no_tables_are_refused(self, tmp_path: Path, text: str, expected: str) -> None:
        assert expected in _refused(lambda: table.read(self._file(tmp_path, text)))[0]
