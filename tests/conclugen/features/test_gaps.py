"""Rows that lack a modality: how sets store them, and what training and probes see of them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conclugen.baselines.simclr import SimCLR
from conclugen.features.batches import StandardisedSplit
from conclugen.features.columns import mask_column
from conclugen.features.manifest import MANIFEST_FILE, FeatureSetError, Manifest, Modality
from conclugen.features.masks import lacking_counts, mask_problems
from conclugen.features.shards import FeatureSet, FeatureWriter
from conclugen.features.standardise import Standardisation
from conclugen.features.verification import verify
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from conclugen.training.pretrain import Pretraining

_CPU = torch.device("cpu")
_WIDTHS = {"video": 3, "audio": 2, "text": 4}
_H = Hyperparameters(representation_dim=8, projection_dim=4, num_clusters=2, reconstruction_dim=4, batch_size=4)


def _masks(*rows: str) -> dict[str, np.ndarray]:
    """Return the masks of rows such as ``vt``, the first letters of the modalities that a row has."""
    return {name: np.array([name[0] in row for row in rows]) for name in _WIDTHS}


def _features(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(5, 2, size=(rows, width)).astype("f4") for name, width in _WIDTHS.items()}


def _set(folder: Path, *parts: tuple[str, list[str]], features: dict[str, np.ndarray] | None = None) -> Path:
    """Write parts of rows such as ``vt``."""
    with FeatureWriter(folder, [Modality(name=m, width=w, source="planted") for m, w in _WIDTHS.items()]) as writer:
        for split, rows in parts:
            x = features or _features(len(rows), len(split))
            writer.write(split, [f"{split}{i}" for i in range(len(rows))], x, present=_masks(*rows))
    return folder


_row = st.sets(st.sampled_from("vat"), min_size=1).map("".join)


class TestStorage:
    @settings(deadline=None, max_examples=40)
    @given(rows=st.lists(_row, min_size=1, max_size=12), data=st.data())
    def test_a_set_with_gaps_reads_back_as_it_was_written(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[str], data: st.DataObject
    ) -> None:
        rows = ["vat", *rows]
        cut = data.draw(st.integers(1, len(rows)))
        parts = [("train", part) for part in (rows[:cut], rows[cut:]) if part]
        features = FeatureSet(_set(tmp_path_factory.mktemp("sets") / "set", *parts))
        manifest, split = features.manifest, features.split("train")
        assert manifest.schema_version == (3 if any(len(row) < 3 for row in rows) else 2)
        for name in _WIDTHS:
            expected = [name[0] in row for row in rows]
            assert split.present.get(name, torch.ones(len(rows), dtype=torch.bool)).tolist() == expected
            assert (name in split.present) == (not all(expected))
            stored = split.gather(name, torch.arange(len(rows)))
            assert stored.any(dim=1).tolist() == expected  # zeros in place of what is missing
        counts = manifest.rows_by_modalities("train")
        assert sum(counts.values()) == len(rows)
        for key, count in counts.items():
            assert count == sum({name[0] for name in key.split("+")} == set(row) for row in rows)

    def test_a_set_without_gaps_has_the_bytes_of_the_former_version(self, tmp_path: Path) -> None:
        """The checksum of the shard and the fingerprint are those that version 0.3 computed before sets had gaps."""
        x = {"video": np.arange(6, dtype="f4").reshape(2, 3)}
        for folder, present in ((tmp_path / "plain", None), (tmp_path / "masked", {"video": np.ones(2, bool)})):
            with FeatureWriter(folder, [Modality(name="video", width=3, source="planted")]) as writer:
                writer.write("train", ["a", "b"], x, present=present)
        plain, masked = (Manifest.read(tmp_path / name) for name in ("plain", "masked"))
        assert plain == masked
        assert plain.schema_version == 2
        assert "lacking" not in (tmp_path / "plain" / MANIFEST_FILE).read_text(encoding="utf-8")
        file = tmp_path / "plain" / plain.shards[0].file
        assert pa.ipc.open_file(file).schema.names == ["sample_id", "augmentation", "video"]

    def test_counts_name_what_rows_lack(self) -> None:
        assert lacking_counts(_masks("vat", "v", "vt", "v", "at"), [*_WIDTHS]) == {
            "audio": 1,
            "audio+text": 2,
            "video": 1,
        }
        assert lacking_counts({}, [*_WIDTHS]) == {}

    def test_a_killed_writer_adopts_shards_with_gaps(self, tmp_path: Path) -> None:
        whole = FeatureSet(_set(tmp_path / "whole", ("train", ["vat", "va"]), ("train", ["vt", "vat"])))
        modalities = list(whole.manifest.modalities)
        _set(tmp_path / "part", ("train", ["vat", "va"]))
        first = Manifest.read(tmp_path / "part").shards[0]
        (tmp_path / "part" / MANIFEST_FILE).unlink()
        with FeatureWriter(tmp_path / "part", modalities) as writer:
            writer.adopt(first)
            writer.write("train", ["train0", "train1"], _features(2, 5), present=_masks("vt", "vat"))
        assert Manifest.read(tmp_path / "part").fingerprint == whole.manifest.fingerprint
        ours, theirs = FeatureSet(tmp_path / "part").standardisation, whole.standardisation
        assert all(torch.equal(ours.mean[name], theirs.mean[name]) for name in _WIDTHS)


class TestStatistics:
    def test_statistics_are_those_of_the_rows_that_have_the_modality(self, tmp_path: Path) -> None:
        rows = ["vat", "vt", "va", "a", "vat", "t"]
        x = _features(6, 5)
        standardisation = FeatureSet(_set(tmp_path, ("train", rows), ("val", ["v"]))).standardisation
        for name in _WIDTHS:
            there = x[name][[name[0] in row for row in rows]].astype("f8")
            np.testing.assert_allclose(standardisation.mean[name], there.mean(axis=0), rtol=1e-6)
            np.testing.assert_allclose(standardisation.scale[name], 1 / there.std(axis=0), rtol=1e-6)

    @pytest.mark.parametrize("resident", [False, True])
    def test_a_batch_has_zeros_where_a_row_lacks_the_modality(self, tmp_path: Path, resident: bool) -> None:
        features = FeatureSet(_set(tmp_path, ("train", ["vat", "vt", "va", "a"])))
        data = StandardisedSplit(
            features.split("train"), features.standardisation, ["video", "audio"], _CPU, resident=resident
        )
        rows = torch.tensor([3, 0, 1])
        batch, present = data.batch(rows), data.present(rows)
        assert present["video"].tolist() == [False, True, True]
        assert present["audio"].tolist() == [True, True, False]
        assert present.keys() == batch.keys()
        for name, x in batch.items():
            assert (x == 0).all(dim=1).tolist() == (~present[name]).tolist()

    def test_a_missing_vector_is_zero_without_standardisation_too(self, tmp_path: Path) -> None:
        split = FeatureSet(_set(tmp_path, ("train", ["vat", "at"]))).split("train")
        batch = StandardisedSplit(split, Standardisation.identity(_WIDTHS), ["video"], _CPU).batch(torch.arange(2))
        assert batch["video"].any(dim=1).tolist() == [True, False]


class TestTraining:
    def _data(self, folder: Path, rows: list[str], modalities: list[str]) -> StandardisedSplit:
        features = FeatureSet(_set(folder, ("train", rows)))
        return StandardisedSplit(features.split("train"), features.standardisation, modalities, _CPU)

    def test_an_epoch_leaves_out_samples_with_none_of_the_modalities(self, tmp_path: Path) -> None:
        data = self._data(tmp_path, ["vat", "t", "va", "vt", "t", "a"], ["video", "audio"])
        assert data.trainable[:, 0].tolist() == [0, 2, 3, 5]
        run = Pretraining(data, {"video": 3, "audio": 2}, SUBSETS["Con"], _H, epochs=1, seed=0)
        assert run.samples == 4

    def test_simclr_takes_the_samples_that_have_its_modality(self, tmp_path: Path) -> None:
        data = self._data(tmp_path, ["vat", "t", "va", "vt", "t", "a"], ["video"])
        run = SimCLR(data, {"video": 3}, _H, epochs=1, seed=0)
        assert run.samples == 3
        assert np.isfinite(run.run_epoch()["total"])

    def test_modalities_that_every_row_has_train_as_if_there_were_no_gaps(self, tmp_path: Path) -> None:
        """The set has gaps in text alone, and the run reads the others: to the last bit."""
        x = _features(12)
        some = FeatureSet(_set(tmp_path / "some", ("train", ["vat"] * 6 + ["va"] * 6), features=x))
        all_there = FeatureSet(_set(tmp_path / "all", ("train", ["vat"] * 12), features=x))
        states = []
        for features in (some, all_there):
            data = StandardisedSplit(features.split("train"), features.standardisation, ["video", "audio"], _CPU)
            run = Pretraining(data, {"video": 3, "audio": 2}, SUBSETS["ConCluGen"], _H, epochs=2, seed=0)
            losses = [run.run_epoch() for _ in range(2)]
            states.append((losses, run.state()))
        (losses, state), (expected, reference) = states
        assert losses == expected
        assert all(torch.equal(value, reference[name]) for name, value in state.items())

    @pytest.mark.parametrize("name", SUBSETS)
    def test_what_is_stored_in_a_gap_does_not_matter(self, tmp_path: Path, name: str) -> None:
        rows = ["vat", "vt", "va", "a", "at", "v", "vat", "t"]
        losses = []
        for number, filler in enumerate((0, 1e3)):
            masks, x = _masks(*rows), _features(8)
            x = {m: np.where(masks[m][:, None], values, filler).astype("f4") for m, values in x.items()}
            features = FeatureSet(_set(tmp_path / str(number), ("train", rows), features=x))
            data = StandardisedSplit(features.split("train"), features.standardisation, [*_WIDTHS], _CPU)
            run = Pretraining(data, _WIDTHS, SUBSETS[name], _H, epochs=2, seed=0)
            losses.append([run.run_epoch() for _ in range(2)])
        assert losses[0] == losses[1]

    def test_a_set_in_which_no_row_has_two_modalities_gives_con_nothing_to_learn(self, tmp_path: Path) -> None:
        data = self._data(tmp_path, ["v", "a", "vt", "at"], ["video", "audio"])
        run = Pretraining(data, {"video": 3, "audio": 2}, SUBSETS["Con"], _H, epochs=1, seed=0)
        assert run.run_epoch() == {"Con": 0, "total": 0}
        assert all(value.isfinite().all() for value in run.state().values() if value.is_floating_point())


class TestRefusals:
    def test_every_fault_of_a_mask_is_named_at_once(self) -> None:
        masks: dict[str, Any] = {
            "video": np.array([1, 0, 1]),
            "audio": np.zeros(3, bool),
            "text": np.array([False, False, True]),
            "smell": np.ones(3, bool),
        }
        training = np.array([True, True, False])
        assert mask_problems(masks, [*_WIDTHS], ["a", "b", "c"], training) == [
            "mask of 'video': expected 3 booleans, got int64 (3,).",
            "modality 'audio': no row has it; leave it out.",
            "modality 'text': no training row has it, and the standardisation needs some.",
            "mask of 'smell': there is no such modality; there are video, audio, text.",
        ]

    def test_rows_without_any_modality_are_named(self) -> None:
        (problem,) = mask_problems(_masks("vat", "", "v", ""), [*_WIDTHS], [*"abcd"], np.ones(4, bool))
        assert problem == "2 rows have no modality at all ('b', 'd'); leave these rows out."

    @pytest.mark.parametrize(
        ("masks", "fault"),
        [
            (_masks("vat", ""), "no modality"),
            ({"video": np.array([True])}, "masks"),
            ({"smell": np.array([True, False])}, "masks"),
        ],
    )
    def test_the_writer_refuses_impossible_masks(self, tmp_path: Path, masks: Any, fault: str) -> None:
        writer = FeatureWriter(tmp_path, [Modality(name=m, width=w, source="") for m, w in _WIDTHS.items()])
        with pytest.raises(ValueError, match=fault):
            writer.write("train", ["a", "b"], _features(2), present=masks)
        assert not list(tmp_path.iterdir())

    def test_a_modality_without_training_rows_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FeatureSetError, match="no training row has text; the standardisation needs some"):
            _set(tmp_path, ("train", ["va", "v"]), ("test", ["vat"]))
        assert not (tmp_path / MANIFEST_FILE).exists()

    @pytest.mark.parametrize(
        ("lacking", "version", "fault"),
        [
            ({"smell": 1}, 3, "rows cannot lack smell"),
            ({"video+audio+text": 1}, 3, r"rows cannot lack video\+audio\+text"),
            ({"audio+video": 1}, 3, r"rows cannot lack audio\+video"),
            ({"audio": 3}, 3, "more rows have gaps than there are"),
            ({"audio": 1}, 2, "rows with gaps need schema_version 3"),
        ],
    )
    def test_an_impossible_manifest_is_refused(
        self, tmp_path: Path, lacking: dict[str, int], version: int, fault: str
    ) -> None:
        document = json.loads((_set(tmp_path, ("train", ["vat", "vt"])) / MANIFEST_FILE).read_bytes())
        document["shards"][0]["lacking"] = lacking
        document["schema_version"] = version
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(FeatureSetError, match=fault):
            Manifest.read(tmp_path)

    def test_a_shard_whose_masks_contradict_the_manifest_is_refused(self, tmp_path: Path) -> None:
        document = json.loads((_set(tmp_path, ("train", ["vat", "vt", "vt"])) / MANIFEST_FILE).read_bytes())
        document["shards"][0]["lacking"] = {"audio": 1}
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(FeatureSetError, match=r"its masks say that rows lack {'audio': 2}; the manifest says"):
            FeatureSet(tmp_path).split("train")

    def test_the_mask_column_has_a_name_that_no_modality_can_have(self) -> None:
        assert mask_column("video") == "present:video"


class TestVerification:
    def test_gaps_are_noted_and_are_no_constants(self, tmp_path: Path) -> None:
        """Video is constant where it is there; the zeros of gaps must not hide it."""
        x = _features(4)
        x["video"][:] = [1, 2, 3]
        findings = verify(_set(tmp_path, ("train", ["vat", "at", "vt", "vt"]), ("val", ["v"] * 4), features=x))
        assert findings.problems == [
            "video: all of its 3 features are constant over the training rows; leave the modality out."
        ]
        assert findings.notes[0] == "rows with gaps: train 1 video+audio+text, 2 video+text, 1 audio+text; val 4 video."

    def test_what_lies_in_a_gap_must_be_zero(self, tmp_path: Path) -> None:
        """A set that another program wrote may hold other values; they would say nothing, and hide its fault."""
        folder = _set(tmp_path, ("train", ["vat", "vt"]))
        document = json.loads((folder / MANIFEST_FILE).read_bytes())
        file = folder / document["shards"][0]["file"]
        batch = pa.ipc.open_file(file.read_bytes()).get_batch(0)
        audio = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(4, "f4")), 2)
        batch = batch.set_column(batch.schema.get_field_index("audio"), "audio", audio)
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        document["shards"][0]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        (folder / MANIFEST_FILE).write_text(json.dumps(document), encoding="utf-8")
        problem = verify(folder).problems[0]
        assert "1 of 2 rows lack audio, but hold values" in problem
