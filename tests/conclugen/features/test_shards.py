import copy
import pickle
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import (
    MANIFEST_FILE,
    SPLITS,
    FeatureSetError,
    Labels,
    Manifest,
    Modality,
    SplitName,
    damaged_shards,
)
from conclugen.features.shards import FeatureSet, FeatureWriter
from conclugen.features.standardise import Standardisation
from conclugen.files.tensors import write_tensors
from tests.damage import Damage, damages

_CPU = torch.device("cpu")
_WIDTHS = {"video": 5, "text": 3}


@dataclass(frozen=True)
class _Rows:
    """The content of one shard."""

    split: SplitName
    sample_ids: list[str]
    features: dict[str, np.ndarray]
    labels: np.ndarray | None = None
    augmentation: np.ndarray | None = None


def _modalities(widths: dict[str, int]) -> list[Modality]:
    return [Modality(name=name, width=width, source="planted") for name, width in widths.items()]


def _random_rows(
    rng: np.random.Generator, split: SplitName, rows: int, *, labelled: bool = False, augmented: bool = False
) -> _Rows:
    return _Rows(
        split,
        [f"clip {number}" for number in rng.integers(0, 1000, rows)],
        {name: rng.normal(scale=10.0, size=(rows, width)) for name, width in _WIDTHS.items()},
        rng.integers(0, 4, rows) if labelled else None,
        rng.integers(0, 3, rows) if augmented else None,
    )


def _write(folder: Path, shards: Sequence[_Rows], dtype: str = "float32", classes: Sequence[str] | None = None) -> Path:
    widths = {name: x.shape[1] for name, x in shards[0].features.items()}
    labels = None if classes is None else Labels(classes=tuple(classes))
    with FeatureWriter(folder, _modalities(widths), dtype=dtype, labels=labels) as writer:
        for shard in shards:
            writer.write(shard.split, shard.sample_ids, shard.features, shard.labels, shard.augmentation)
    return folder


def _one_column(folder: Path, *shards: tuple[SplitName, Sequence[Sequence[float]]], dtype: str = "float32") -> Path:
    """Write a set with one modality, ``x``."""
    blocks = [_Rows(split, [str(i) for i in range(len(x))], {"x": np.array(x)}) for split, x in shards]
    return _write(folder, blocks, dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set with two shards of train and one each of val and test."""
    rng = np.random.default_rng(0)
    sizes: list[tuple[SplitName, int]] = [("train", 6), ("train", 3), ("val", 4), ("test", 2)]
    return _write(tmp_path / "set", [_random_rows(rng, split, rows) for split, rows in sizes])


_shards = st.lists(st.tuples(st.sampled_from(SPLITS), st.integers(1, 9)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(
    shards=_shards,
    dtype=st.sampled_from(["float16", "float32"]),
    labelled=st.booleans(),
    augmented=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_a_written_set_reads_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory,
    shards: list[tuple[SplitName, int]],
    dtype: str,
    labelled: bool,
    augmented: bool,
    seed: int,
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(seed)
    shards = [*shards, ("train", 2)]
    blocks = [_random_rows(rng, split, rows, labelled=labelled, augmented=augmented) for split, rows in shards]
    classes = ["a", "b", "c", "d"] if labelled else None
    features = FeatureSet(_write(tmp_path_factory.mktemp("sets") / "set", blocks, dtype, classes))
    assert features.manifest.widths == _WIDTHS
    assert (features.manifest.labels is not None) == labelled
    for name in {split for split, _ in shards}:
        members = [block for block in blocks if block.split == name]
        split = features.split(name)
        assert len(split) == features.manifest.rows(name) == sum(rows for s, rows in shards if s == name)
        assert split.sample_ids == [sample_id for block in members for sample_id in block.sample_ids]
        if labelled:
            assert split.labels.dtype == torch.int64
            assert split.labels.tolist() == [label for block in members for label in block.labels]
        versions = [
            v for block in members for v in (block.augmentation if augmented else np.zeros(len(block.sample_ids)))
        ]
        assert split.clean_rows.tolist() == [row for row, version in enumerate(versions) if version == 0]
        rows = data.draw(st.lists(st.integers(0, len(split) - 1), max_size=25), label=f"rows of {name}")
        for modality, width in _WIDTHS.items():
            stored = np.concatenate([block.features[modality] for block in members]).astype(dtype)
            gathered = split.gather(modality, torch.tensor(rows, dtype=torch.int64)).numpy()
            assert (gathered.dtype, gathered.shape) == (np.dtype(dtype), (len(rows), width))
            assert np.array_equal(gathered, stored[rows])


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("beyond", [-(2**40), -7, -6, -1, 0, 1, 2**40])
def test_rows_out_of_range_are_refused(tmp_path: Path, shards: int, beyond: int) -> None:
    """NumPy alone would count a negative row from the end."""
    rng = np.random.default_rng(0)
    split = FeatureSet(_write(tmp_path / "set", [_random_rows(rng, "train", 2) for _ in range(shards)])).split("train")
    row = beyond if beyond < 0 else len(split) + beyond
    message = rf"row {row} does not exist: rows must be in 0\.\.{len(split) - 1}\."
    with pytest.raises(IndexError, match=message):
        split.gather("video", torch.tensor([0, row, 1]))


def test_a_set_larger_than_memory_can_be_read_in_batches(tmp_path: Path) -> None:
    """Memory outside the page cache is limited to half the set, which is enough for batches but not for the set."""
    rng = np.random.default_rng(0)
    blocks = [_Rows("train", [str(i) for i in range(2000)], {"x": rng.random((2000, 2048))}) for _ in range(3)]
    folder = _write(tmp_path / "set", blocks)
    size = sum(file.stat().st_size for file in folder.glob("*.arrow"))
    expected = sum(float(block.features["x"].astype(np.float32).sum(dtype=np.float64)) for block in blocks)
    del blocks
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    memory = 1024 * int(status.partition("VmData:")[2].split()[0])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory + size // 2, before[1]))
    try:
        split = FeatureSet(folder).split("train")
        batches = torch.randperm(len(split)).split(256)
        total = sum(float(split.gather("x", rows).sum(dtype=torch.float64)) for rows in batches)
        with pytest.raises(MemoryError):
            split.gather("x", torch.arange(len(split)))
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert total == pytest.approx(expected)


@pytest.mark.parametrize("rows", [[3, 0, 3], [11, 11, 4, 0], [11], [8, 9], []])
def test_a_row_may_repeat_and_a_shard_may_have_none(tmp_path: Path, rows: list[int]) -> None:
    rng = np.random.default_rng(0)
    split = FeatureSet(_write(tmp_path / "set", [_random_rows(rng, "train", 4) for _ in range(3)])).split("train")
    every_row = split.gather("video", torch.arange(12))
    assert torch.equal(split.gather("video", torch.tensor(rows, dtype=torch.int64)), every_row[rows])


def test_a_copied_split_reads_the_same_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = _write(tmp_path / "set", [_random_rows(rng, "train", 4) for _ in range(3)])
    split, rows = FeatureSet(folder).split("train"), torch.randperm(12)
    assert len(pickle.dumps(split)) < 4 * sum(file.stat().st_size for file in folder.iterdir())
    assert torch.equal(copy.deepcopy(split).gather("video", rows), split.gather("video", rows))


def test_rows_may_have_16_bits_where_offsets_need_more(tmp_path: Path) -> None:
    values = np.arange(700 * 50, dtype=np.float64).reshape(700, 50)  # more than 16 bits count
    split = FeatureSet(_one_column(tmp_path / "set", ("train", values[:20]), ("train", values[20:]))).split("train")
    assert split.gather("x", torch.tensor([699, 3], dtype=torch.int16)).tolist() == values[[699, 3]].tolist()


@pytest.mark.parametrize(("dtype", "bits"), [("float16", np.uint16), ("float32", np.uint32)])
def test_features_stay_in_the_mapped_file(tmp_path: Path, dtype: str, bits: type[np.unsignedinteger]) -> None:
    """An open split reads what was written into its file later, so it holds no copy."""
    marks = [1.515625, 2.515625, 3.515625]
    folder = _one_column(tmp_path / "set", *(("train", [[mark] * 3] * 200) for mark in marks), dtype=dtype)
    allocated = pa.total_allocated_bytes()
    split = FeatureSet(folder).split("train")
    assert pa.total_allocated_bytes() == allocated
    rows = torch.arange(600)
    assert set(split.gather("x", rows).flatten().tolist()) == set(marks)
    for number, mark in enumerate(marks):
        file = folder / f"train-{number:05d}.arrow"
        old = np.full(600, mark, dtype).view(bits).tobytes()
        position = file.read_bytes().index(old)
        with file.open("r+b") as stream:
            stream.seek(position)
            stream.write(np.full(600, -mark, dtype).tobytes())
    assert split.gather("x", rows)[::200, 0].tolist() == [-mark for mark in marks]
    assert (split.gather("x", rows) < 0).all()


def test_a_batch_is_a_copy(folder: Path) -> None:
    """Mapped pages are read-only, so a write to them would end the process."""
    split = FeatureSet(folder).split("val")
    split.gather("video", torch.arange(4)).zero_()
    assert split.gather("video", torch.arange(4)).abs().sum() > 0


class TestSplits:
    def test_search_cannot_reach_test_labels(self, folder: Path) -> None:
        """The shards of other splits are not opened."""
        for file in folder.glob("test-*.arrow"):
            file.unlink()
        features = FeatureSet(folder, splits=("train", "val"))
        assert (len(features.split("train")), len(features.split("val"))) == (9, 4)
        with pytest.raises(FeatureSetError, match=r"opened for \['train', 'val'\]; 'test' is out of reach"):
            features.split("test")

    def test_every_split_is_open_by_default(self, folder: Path) -> None:
        assert [len(FeatureSet(folder).split(name)) for name in SPLITS] == [9, 4, 2]

    def test_a_split_without_rows_is_refused(self, tmp_path: Path) -> None:
        features = FeatureSet(_one_column(tmp_path / "set", ("train", [[1.0]])))
        with pytest.raises(FeatureSetError, match="has no rows in split 'val'"):
            features.split("val")

    def test_labels_of_an_unlabelled_set_are_refused(self, folder: Path) -> None:
        with pytest.raises(FeatureSetError, match="no labels"):
            _ = FeatureSet(folder).split("train").labels

    def test_a_folder_without_a_set_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FeatureSetError, match="is not a feature set"):
            FeatureSet(tmp_path)


def test_clean_rows_are_numbered_through_all_shards(tmp_path: Path) -> None:
    """Versions 0 1 2 | 0 0 | 3 of clips a a a | b c | c: the clean rows are 0, 3 and 4."""
    versions = [("aaa", [0, 1, 2]), ("bc", [0, 0]), ("c", [3])]
    blocks = [
        _Rows("train", list(ids), {"x": np.zeros((len(ids), 1))}, augmentation=np.array(version))
        for ids, version in versions
    ]
    split = FeatureSet(_write(tmp_path / "set", blocks)).split("train")
    assert split.clean_rows.tolist() == [0, 3, 4]
    assert split.sample_ids == list("aaabcc")


class TestStandardisation:
    @settings(deadline=None, max_examples=60)
    @given(
        sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
        offset=st.sampled_from([0.0, -3.0, 1e3, 1e6]),
        scale=st.sampled_from([1e-3, 1.0, 1e4]),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_statistics_equal_those_of_numpy(
        self, tmp_path_factory: pytest.TempPathFactory, sizes: list[int], offset: float, scale: float, seed: int
    ) -> None:
        """Only the training shards count, in their stored precision, and not the val and test shards between them."""
        rng = np.random.default_rng(seed)
        train = [(offset + scale * rng.normal(size=(size, 4))).astype(np.float32) for size in sizes]
        shards: list[tuple[SplitName, np.ndarray]] = [("val", np.full((3, 4), 7e5))]
        shards += [("train", block) for block in train] + [("test", np.full((2, 4), -9e5))]
        stored = np.concatenate(train).astype(np.float64)
        mean, std = stored.mean(axis=0), stored.std(axis=0)
        varies = std > 1e-6 * np.abs(mean)
        ours = FeatureSet(_one_column(tmp_path_factory.mktemp("sets") / "set", *shards)).standardisation
        assert ours.mean["x"].numpy() == pytest.approx(mean, rel=1e-6, abs=1e-9)
        assert ours.scale["x"].numpy()[varies] == pytest.approx(1 / std[varies], rel=1e-5)

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_standardisation_is_applied_when_rows_are_read(self, tmp_path: Path, dtype: str) -> None:
        """Stored (0, 4), (2, 8), (4, 12): mean (2, 8), standard deviation sqrt(8/3) times (1, 2)."""
        folder = _one_column(tmp_path / "set", ("train", [[0, 4], [2, 8]]), ("train", [[4, 12]]), dtype=dtype)
        features = FeatureSet(folder)
        data = StandardisedSplit(features.split("train"), features.standardisation, ["x"], _CPU)
        root = np.sqrt(1.5)
        batch = data.batch(torch.tensor([2, 0, 1]))["x"]
        assert (len(data), batch.dtype) == (3, torch.float32)
        assert batch.numpy() == pytest.approx(np.array([[root, root], [-root, -root], [0, 0]]), abs=1e-6)
        assert data.split.gather("x", torch.tensor([2]))[0].tolist() == [4, 12]

    @pytest.mark.parametrize("offset", [0.0, 1e3, -1e4])
    def test_training_rows_have_mean_0_and_variance_1(self, tmp_path: Path, offset: float) -> None:
        x = offset + np.random.default_rng(0).normal(size=(300, 6)) * np.logspace(-1, 3, 6)
        features = FeatureSet(_one_column(tmp_path / "set", ("train", x[:100]), ("train", x[100:])))
        data = StandardisedSplit(features.split("train"), features.standardisation, ["x"], _CPU)
        rows = data.batch(torch.arange(300))["x"].double()
        assert rows.mean(dim=0).numpy() == pytest.approx(np.zeros(6), abs=0.01)
        assert rows.std(dim=0, correction=0).numpy() == pytest.approx(np.ones(6), abs=0.01)

    @pytest.mark.parametrize("value", [0.0, 0.1, -1e-6, 12345.678, 1e30])
    @pytest.mark.parametrize("sizes", [(1,), (7, 3, 11)])
    def test_a_feature_that_is_constant_in_train_becomes_0(
        self, tmp_path: Path, value: float, sizes: tuple[int, ...]
    ) -> None:
        """It becomes 0 in every split, even in one where it varies."""
        train = [("train", [[value, float(row)] for row in range(size)]) for size in sizes]
        features = FeatureSet(_one_column(tmp_path / "set", *train, ("val", [[5.0, 1.0]])))
        assert features.standardisation.scale["x"][0] == 0
        for name, rows in (("train", sum(sizes)), ("val", 1)):
            data = StandardisedSplit(features.split(name), features.standardisation, ["x"], _CPU)
            assert (data.batch(torch.arange(rows))["x"][:, 0] == 0).all()

    def test_a_difference_of_rounding_is_no_variation(self, tmp_path: Path) -> None:
        """One of 200 rows is the next float32; scaled to unit variance, it would lie 14 standard deviations away."""
        x = np.full((200, 1), 0.1, np.float32)
        x[17] = np.nextafter(x[17], np.float32(1))
        standardisation = FeatureSet(_one_column(tmp_path / "set", ("train", x))).standardisation
        assert standardisation.scale["x"].item() == 0

    def test_a_small_variation_on_a_large_offset_is_kept(self, tmp_path: Path) -> None:
        """Values are 1e6 +- 1; float32 sums of squares (1e12) could not tell them from a constant."""
        x = 1e6 + np.tile([[1.0], [-1.0]], (500, 1))
        standardisation = FeatureSet(_one_column(tmp_path / "set", ("train", x))).standardisation
        assert standardisation.mean["x"].item() == 1e6
        assert standardisation.scale["x"].item() == 1

    @pytest.mark.parametrize(("spread", "varies"), [(1e-40, False), (1e-38, False), (2e-38, True), (1e38, True)])
    def test_the_scale_is_finite(self, tmp_path: Path, spread: float, varies: bool) -> None:
        """1 / 1e-40 is not a float32; spreads count from the smallest normal float32, 1.2e-38."""
        folder = _one_column(tmp_path / "set", ("train", [[spread], [-spread]]))
        features = FeatureSet(folder)
        data = StandardisedSplit(features.split("train"), features.standardisation, ["x"], _CPU)
        expected = [1.0, -1.0] if varies else [0.0, 0.0]
        assert data.batch(torch.arange(2))["x"][:, 0].tolist() == pytest.approx(expected, rel=1e-5)

    def test_another_set_is_read_with_given_statistics(self, tmp_path: Path) -> None:
        """A downstream set is standardised as the pretraining set was."""
        folder = _one_column(tmp_path / "set", ("train", [[7.0, 8.0]]), ("val", [[1.0, 2.0]]))
        split = FeatureSet(folder).split("val")
        other = Standardisation.from_moments({"x": torch.tensor([3.0, 4.0])}, {"x": torch.tensor([2.0, 0.5])})
        assert StandardisedSplit(split, other, ["x"], _CPU).batch(torch.tensor([0]))["x"].tolist() == [[-1.0, -4.0]]

    def test_a_batch_has_the_chosen_modalities_in_their_order(self, folder: Path) -> None:
        features = FeatureSet(folder)
        for names in (["text", "video"], ["video"]):
            data = StandardisedSplit(features.split("val"), features.standardisation, names, _CPU)
            assert list(data.batch(torch.arange(2))) == names


class TestWriter:
    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_an_exception_in_the_writer_leaves_no_set(self, tmp_path: Path, error: type[BaseException]) -> None:
        folder, rows = tmp_path / "set", _random_rows(np.random.default_rng(0), "train", 4)

        def die() -> None:
            with FeatureWriter(folder, _modalities(_WIDTHS)) as writer:
                writer.write("train", rows.sample_ids, rows.features)
                raise error

        with pytest.raises(error):
            die()
        assert not (folder / MANIFEST_FILE).exists()
        with pytest.raises(FeatureSetError, match="is not a feature set"):
            FeatureSet(folder)

    def test_the_folder_of_a_dead_writer_can_be_written_again(self, tmp_path: Path) -> None:
        folder = tmp_path / "set"
        (folder).mkdir()
        (folder / "train-00000.arrow").write_bytes(b"half a shard")
        features = FeatureSet(_one_column(folder, ("train", [[1.0], [2.0]])))
        assert features.split("train").gather("x", torch.arange(2)).tolist() == [[1.0], [2.0]]

    def test_an_existing_set_is_refused_and_left_alone(self, folder: Path) -> None:
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        with pytest.raises(FeatureSetError, match=rf"{folder} already holds a feature set"):
            FeatureWriter(folder, _modalities(_WIDTHS))
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before

    def test_the_writer_leaves_nothing_but_the_set(self, folder: Path) -> None:
        shards = {shard.file for shard in Manifest.read(folder).shards}
        assert {file.name for file in folder.iterdir()} == shards | {MANIFEST_FILE, "statistics.safetensors"}
        assert len(shards) == 4

    @pytest.mark.parametrize(
        ("classes", "changes", "expected"),
        [
            (None, {"features": {"x": np.zeros((2, 4))}}, "features of shapes"),
            (None, {"features": {"x": np.zeros((1, 3))}}, "features of shapes"),
            (None, {"features": {"x": np.zeros(6)}}, "features of shapes"),
            (None, {"features": {}}, "features of shapes"),
            (None, {"features": {"x": np.zeros((2, 3)), "y": np.zeros((2, 3))}}, "features of shapes"),
            (None, {"sample_ids": [], "features": {"x": np.zeros((0, 3))}}, "one row at least"),
            (None, {"labels": np.array([0, 0])}, "an unlabelled one takes none"),
            (None, {"groups": {"speaker": ["a", "b"]}}, r"needs the groups \[\], got \['speaker'\]"),
            (None, {"groups": {"film": ["a"]}}, r"needs the groups \[\], got \['film'\]"),
            (None, {"augmentation": np.array([0])}, "length"),
            (["a", "b"], {}, "a labelled set needs labels"),
            (["a", "b"], {"labels": np.array([0])}, r"labels of shape \(2,\) in 0\.\.1"),
            (["a", "b"], {"labels": np.array([0, 2])}, r"labels of shape \(2,\) in 0\.\.1"),
            (["a", "b"], {"labels": np.array([-1, 0])}, r"labels of shape \(2,\) in 0\.\.1"),
        ],
    )
    def test_rows_that_do_not_fit_are_refused_before_a_write(
        self, tmp_path: Path, classes: list[str] | None, changes: dict[str, Any], expected: str
    ) -> None:
        """A caller that continues gets the set and its statistics without these rows."""
        rows = {"sample_ids": ["p", "q"], "features": {"x": np.full((2, 3), 1e6)}, **changes}
        good = np.array([[1.0, 2, 3], [3, 4, 5]])
        labels = None if classes is None else Labels(classes=tuple(classes))
        with FeatureWriter(tmp_path, _modalities({"x": 3}), labels=labels) as writer:
            with pytest.raises(ValueError, match=expected):
                writer.write("train", **rows)
            assert not list(tmp_path.iterdir())
            writer.write("train", ["r", "s"], {"x": good}, None if classes is None else np.array([0, 1]))
        features = FeatureSet(tmp_path)
        assert features.split("train").gather("x", torch.arange(2)).tolist() == good.tolist()
        assert features.standardisation.mean["x"].tolist() == [2, 3, 4]

    @pytest.mark.parametrize("shards", [[], ["val"], ["val", "test"]])
    def test_a_set_without_training_rows_is_refused(self, tmp_path: Path, shards: list[SplitName]) -> None:
        writer = FeatureWriter(tmp_path, _modalities({"x": 1}))
        for split in shards:
            writer.write(split, ["p"], {"x": np.ones((1, 1))})
        with pytest.raises(FeatureSetError, match=rf"{tmp_path}: no row is 'train'"), writer:
            pass
        assert not (tmp_path / MANIFEST_FILE).exists()

    def test_the_same_content_gives_the_same_bytes(self, tmp_path: Path) -> None:
        """Checksums identify the content, so a shard may hold no time or path."""
        shards: list[tuple[SplitName, list[list[float]]]] = [("train", [[1.0, 2.0]]), ("val", [[3.0, 4.0]])]
        first, again = (_one_column(tmp_path / name, *shards) for name in ("first", "again"))
        other = _one_column(tmp_path / "other", shards[0], ("val", [[3.0, 4.5]]))
        checksums = [[shard.sha256 for shard in Manifest.read(path).shards] for path in (first, again, other)]
        assert checksums[0] == checksums[1]
        assert checksums[0][0] == checksums[2][0]
        assert checksums[0][1] != checksums[2][1]


@pytest.fixture(scope="module")
def three_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _one_column(tmp_path_factory.mktemp("rows") / "set", ("train", [[1, 2], [3, 4]]), ("test", [[5, 6]]))


class TestDamage:
    @pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
    def test_a_truncated_shard_is_refused(self, folder: Path, keep: float) -> None:
        file = folder / "train-00001.arrow"
        whole = file.read_bytes()
        file.write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(FeatureSetError, match=rf"shard {file} cannot be read"):
            FeatureSet(folder).split("train")
        assert len(FeatureSet(folder).split("val")) == 4

    def test_a_missing_shard_is_refused(self, folder: Path) -> None:
        (folder / "val-00002.arrow").unlink()
        with pytest.raises(FeatureSetError, match=r"val-00002\.arrow cannot be read"):
            FeatureSet(folder).split("val")

    @pytest.mark.parametrize(
        ("shard", "found"),
        [
            (
                _Rows("train", ["p"], {"x": np.ones((1, 2))}),
                "holds 1 row of sample_id string, augmentation int16, x f",
            ),
            (_Rows("train", ["p", "q"], {"x": np.ones((2, 3))}), r"x fixed_size_list<item: float>\[3\]; the manifest"),
            (_Rows("train", ["p", "q"], {"y": np.ones((2, 2))}), r"y fixed_size_list<item: float>\[2\]; the manifest"),
        ],
        ids=["rows", "width", "name"],
    )
    def test_the_shard_of_another_set_is_refused(self, tmp_path: Path, shard: _Rows, found: str) -> None:
        folder = _one_column(tmp_path / "set", ("train", [[1, 2], [3, 4]]))
        file = "train-00000.arrow"
        (_write(tmp_path / "other", [shard]) / file).replace(folder / file)
        with pytest.raises(FeatureSetError, match=rf"shard {folder / file} cannot be read: .*{found}"):
            FeatureSet(folder).split("train")

    @pytest.mark.parametrize(("dtype", "classes"), [("float16", None), ("float32", ["a"])])
    def test_a_shard_of_another_precision_or_with_labels_is_refused(
        self, tmp_path: Path, dtype: str, classes: list[str] | None
    ) -> None:
        rows = _Rows("train", ["p"], {"x": np.ones((1, 2))}, None if classes is None else np.array([0]))
        folder, file = _one_column(tmp_path / "set", ("train", [[1, 2]])), "train-00000.arrow"
        (_write(tmp_path / "other", [rows], dtype, classes) / file).replace(folder / file)
        with pytest.raises(FeatureSetError, match="the manifest says 1 row"):
            FeatureSet(folder).split("train")

    def test_a_shard_without_rows_is_refused(self, folder: Path) -> None:
        """The file is a valid Arrow file without a record batch."""
        with pa.ipc.new_file(str(folder / "val-00002.arrow"), pa.schema([])):
            pass
        with pytest.raises(FeatureSetError, match=r"val-00002\.arrow cannot be read"):
            FeatureSet(folder).split("val")

    @pytest.mark.parametrize("content", [None, b"", b"no statistics", "of another set"])
    def test_bad_statistics_are_refused(self, folder: Path, content: bytes | str | None) -> None:
        file = folder / "statistics.safetensors"
        file.unlink()
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif content is not None:
            names = [f"{name}.{kind}" for name in FeatureSet(folder).manifest.widths for kind in ("mean", "std")]
            write_tensors(file, {name: torch.zeros(1) for name in names})
        with pytest.raises(FeatureSetError, match=rf"{file} cannot be read: .*; make the set again"):
            _ = FeatureSet(folder).standardisation

    def test_a_changed_statistic_is_damage(self, folder: Path) -> None:
        file = folder / "statistics.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(FeatureSetError, match=rf"{file} is damaged"):
            _ = FeatureSet(folder).standardisation

    @settings(max_examples=60, deadline=None)
    @given(damage=damages)
    def test_any_damage_of_a_shard_is_found(self, three_rows: Path, damage: Damage) -> None:
        folder = three_rows
        file = folder / "test-00001.arrow"
        content = file.read_bytes()
        file.write_bytes(damage(content))
        if damage(content) == content:
            assert damaged_shards(folder) == []
        else:
            (message,) = damaged_shards(folder)
            assert f"shard {file} is damaged" in message
        file.write_bytes(content)
        assert damaged_shards(folder) == []

    def test_missing_shards_are_damaged(self, tmp_path: Path) -> None:
        folder = _one_column(tmp_path / "set", *[("train", [[1, 2]])] * 2)
        for file in ("train-00000.arrow", "train-00001.arrow"):
            (folder / file).unlink()
        first, second = damaged_shards(folder)
        assert "train-00000.arrow cannot be read: No such file" in first
        assert "train-00001.arrow" in second

    def test_an_intact_shard_is_read_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = _one_column(tmp_path / "set", ("train", [[1, 2]]))
        assert damaged_shards(folder) == []
        monkeypatch.delattr("hashlib.file_digest")
        assert damaged_shards(folder) == []


class TestSeveralLabels:
    def test_several_labels_read_back_unchanged(self, tmp_path: Path) -> None:
        labels = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]])
        meaning = Labels(kind="multilabel", classes=("a", "b", "c"))
        with FeatureWriter(tmp_path, _modalities({"x": 1}), labels=meaning) as writer:
            writer.write("train", ["p", "q"], {"x": np.ones((2, 1))}, labels[:2])
            writer.write("train", ["r"], {"x": np.ones((1, 1))}, labels[2:])
        read = FeatureSet(tmp_path).split("train").labels
        assert (read.dtype, read.tolist()) == (torch.int8, labels.tolist())

    @pytest.mark.parametrize("labels", [[[0, 1], [1, 2]], [[0], [1]], [0, 1]])
    def test_labels_that_do_not_fit_are_refused(self, tmp_path: Path, labels: list[Any]) -> None:
        meaning = Labels(kind="multilabel", classes=("a", "b"))
        writer = FeatureWriter(tmp_path, _modalities({"x": 1}), labels=meaning)
        with pytest.raises(ValueError, match=r"labels of shape \(2, 2\) in 0\.\.1"):
            writer.write("train", ["p", "q"], {"x": np.ones((2, 1))}, np.array(labels))


def test_folds_are_read_alone_and_together(tmp_path: Path) -> None:
    shards = [(f"fold-00{fold}", [[float(fold)], [fold + 0.5]]) for fold in range(3)]
    features = FeatureSet(_one_column(tmp_path, *shards), ("fold-000", "fold-002"))
    assert features.manifest.folds == features.manifest.training == ("fold-000", "fold-001", "fold-002")
    both = features.split("fold-000", "fold-002")
    assert both.gather("x", torch.arange(4)).squeeze(1).tolist() == [0, 0.5, 2, 2.5]
    with pytest.raises(FeatureSetError, match="'fold-001' is out of reach"):
        features.split("fold-000", "fold-001")
    assert features.standardisation.mean["x"].item() == pytest.approx(1.25)  # of all folds


class TestVersions:
    def test_without_augmentation_each_row_is_its_only_version(self, folder: Path) -> None:
        assert FeatureSet(folder).split("train").versions.tolist() == [[row] for row in range(9)]

    def test_versions_start_with_the_clean_row_and_repeat_where_they_are_few(self, tmp_path: Path) -> None:
        """Sample p has rows 1 (clean), 3, 4; q has 2 (clean), 0; r has 5 alone, in another shard."""
        ids, augmentation = ["q", "p", "q", "p", "p"], [1, 0, 0, 2, 1]
        first = _Rows("train", ids, {"x": np.zeros((5, 1))}, augmentation=np.array(augmentation))
        second = _Rows("train", ["r"], {"x": np.zeros((1, 1))})
        versions = FeatureSet(_write(tmp_path, [first, second])).split("train").versions
        assert versions.tolist() == [[1, 3, 4], [2, 0, 2], [5, 5, 5]]


def test_a_split_can_be_narrowed_to_fewer_modalities(folder: Path) -> None:
    features = FeatureSet(folder)
    names = list(features.manifest.widths)
    split = StandardisedSplit(features.split("train"), features.standardisation, names, torch.device("cpu"))
    rows = torch.tensor([3, 0])
    fewer = split.only(names[:1])
    assert list(fewer.batch(rows)) == names[:1]
    assert torch.equal(fewer.batch(rows)[names[0]], split.batch(rows)[names[0]])
    assert list(split.batch(rows)) == names
