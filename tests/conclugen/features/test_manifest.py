import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conclugen.features.manifest import MANIFEST_FILE, SPLITS, FeatureSetError, Labels, Manifest, Modality, Shard

_MANIFEST = Manifest(
    dtype="float32",
    modalities=(Modality(name="video", width=7, source="planted"), Modality(name="text", width=4, source="planted")),
    labels=Labels(classes=("joy", "anger")),
    shards=(
        Shard(file="train-00000.arrow", split="train", rows=5, samples=5, sha256="a" * 64),
        Shard(file="train-00001.arrow", split="train", rows=3, samples=3, sha256="b" * 64),
        Shard(file="test-00002.arrow", split="test", rows=2, samples=2, sha256="c" * 64),
    ),
    created_by="conclugen 0.1.0",
)

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_name = st.text(string.ascii_letters, min_size=1, max_size=3)
_manifests = st.builds(
    Manifest,
    dtype=st.sampled_from(["float16", "float32"]),
    modalities=st.lists(
        st.builds(Modality, name=_name, width=st.integers(1, 5000), source=_text), min_size=1, max_size=3
    ).map(tuple),
    labels=st.none() | st.builds(Labels, classes=st.lists(_text, max_size=3).map(tuple)),
    shards=st.lists(
        st.builds(
            Shard,
            file=_text,
            split=st.sampled_from(SPLITS),
            rows=st.integers(1, 2**40),
            samples=st.integers(0, 2**40),
            sha256=_text,
        ),
        max_size=4,
    ).map(tuple),
    created_by=_text,
)


def _document(**changes: Any) -> dict[str, Any]:
    return {**_MANIFEST.model_dump(mode="json"), **changes}


def _store(folder: Path, **changes: Any) -> Path:
    (folder / MANIFEST_FILE).write_text(json.dumps(_document(**changes)), encoding="utf-8")
    return folder


def _shard(number: int, **changes: Any) -> tuple[Shard, ...]:
    shards = list(_MANIFEST.shards)
    shards[number] = shards[number].model_copy(update=changes)
    return tuple(shards)


def _modality(number: int, **changes: Any) -> tuple[Modality, ...]:
    modalities = list(_MANIFEST.modalities)
    modalities[number] = modalities[number].model_copy(update=changes)
    return tuple(modalities)


class TestRoundTrip:
    @settings(deadline=None)
    @given(manifest=_manifests)
    def test_read_returns_what_was_written(self, tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> None:
        folder = tmp_path_factory.mktemp("manifest")
        manifest.write(folder)
        assert Manifest.read(folder) == manifest
        assert Manifest.read(folder).fingerprint == manifest.fingerprint
        assert [file.name for file in folder.iterdir()] == [MANIFEST_FILE]

    def test_the_file_is_plain_json(self, tmp_path: Path) -> None:
        """Field names are the format: sets on disk outlive the code that wrote them."""
        _MANIFEST.write(tmp_path)
        assert json.loads((tmp_path / MANIFEST_FILE).read_text(encoding="utf-8")) == {
            "schema_version": 2,
            "dtype": "float32",
            "modalities": [
                {"name": "video", "width": 7, "source": "planted"},
                {"name": "text", "width": 4, "source": "planted"},
            ],
            "labels": {"kind": "multiclass", "classes": ["joy", "anger"]},
            "shards": [
                {"file": "train-00000.arrow", "split": "train", "rows": 5, "samples": 5, "sha256": "a" * 64},
                {"file": "train-00001.arrow", "split": "train", "rows": 3, "samples": 3, "sha256": "b" * 64},
                {"file": "test-00002.arrow", "split": "test", "rows": 2, "samples": 2, "sha256": "c" * 64},
            ],
            "created_by": "conclugen 0.1.0",
        }

    def test_widths_and_rows_are_those_of_the_shards(self) -> None:
        assert list(_MANIFEST.widths.items()) == [("video", 7), ("text", 4)]
        assert [_MANIFEST.rows(split) for split in SPLITS] == [8, 0, 2]

    def test_a_manifest_cannot_be_changed(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            _MANIFEST.dtype = "float16"


class TestUnreadable:
    @pytest.mark.parametrize("exists", [True, False])
    def test_a_folder_without_a_manifest_is_refused(self, tmp_path: Path, exists: bool) -> None:
        folder = tmp_path if exists else tmp_path / "nowhere"
        with pytest.raises(FeatureSetError, match="is not a feature set") as caught:
            Manifest.read(folder)
        assert str(folder) in str(caught.value)
        assert "conclugen features import" in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"PK\x03\x04"])
    def test_a_file_that_is_no_manifest_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / MANIFEST_FILE).write_bytes(content)
        with pytest.raises(FeatureSetError, match=rf"{tmp_path / MANIFEST_FILE} cannot be read as a feature-set"):
            Manifest.read(tmp_path)

    def test_a_half_written_manifest_is_refused(self, tmp_path: Path) -> None:
        _MANIFEST.write(tmp_path)
        path = tmp_path / MANIFEST_FILE
        path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")
        with pytest.raises(FeatureSetError, match="cannot be read"):
            Manifest.read(tmp_path)

    def test_a_folder_in_place_of_the_manifest_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / MANIFEST_FILE).mkdir()
        with pytest.raises(FeatureSetError, match="cannot be read"):
            Manifest.read(tmp_path)

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"licence": "MIT"}, "licence"),
            ({"labels": {"classes": ["a"], "weights": [1]}}, "labels.weights"),
            ({"modalities": [{"name": "video", "width": 7, "source": "s", "rate": 16}]}, "modalities.0.rate"),
            ({"modalities": [{"name": "2d", "width": 7, "source": "s"}]}, "modalities.0.name"),
            ({"modalities": [{"name": "label", "width": 7, "source": "s"}]}, "modalities.0.name"),
            ({"modalities": [{"name": "video\n", "width": 7, "source": "s"}]}, "modalities.0.name"),
            ({"modalities": [{"name": "video", "width": 0, "source": "s"}]}, "modalities.0.width"),
            ({"shards": [{"file": "f", "split": "dev", "rows": 1, "samples": 1, "sha256": ""}]}, "shards.0.split"),
            ({"shards": [{"file": "f", "split": "val", "rows": 0, "samples": 0, "sha256": ""}]}, "shards.0.rows"),
            ({"labels": {"kind": "ordinal", "classes": ["a"]}}, "labels.kind"),
            ({"dtype": "float64"}, "dtype"),
        ],
    )
    def test_unknown_fields_and_values_are_refused(self, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
        assert Manifest.read(_store(tmp_path)) == _MANIFEST
        with pytest.raises(FeatureSetError) as caught:
            Manifest.read(_store(tmp_path, **changes))
        assert f" {named}: " in str(caught.value)

    @pytest.mark.parametrize("field", ["dtype", "modalities", "labels", "shards", "created_by"])
    def test_a_missing_field_is_refused(self, tmp_path: Path, field: str) -> None:
        document = _document()
        del document[field]
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(FeatureSetError, match=rf" {field}: is required"):
            Manifest.read(tmp_path)

    @pytest.mark.parametrize(("version", "age"), [(1, "an older"), (4, "a newer"), (17, "a newer")])
    def test_another_version_of_the_format_is_refused(self, tmp_path: Path, version: int, age: str) -> None:
        """The version is reported first, whatever other fields differ."""
        expected = rf"by {age} version of this program \(schema version {version}; this one reads 2 and 3\); make the"
        with pytest.raises(FeatureSetError, match=expected):
            Manifest.read(_store(tmp_path, schema_version=version, licence="MIT"))


class TestFingerprint:
    def test_the_fingerprint_is_that_of_version_1(self) -> None:
        """Records name sets by the fingerprint that the code before version 2 computed."""
        assert _MANIFEST.fingerprint == "31d81fed55f5937c"

    @pytest.mark.parametrize(
        "changes",
        [
            {"dtype": "float16"},
            {"labels": None},
            {"labels": Labels(classes=("anger", "joy"))},
            {"labels": Labels(classes=("joy", "anger", "fear"))},
            {"modalities": _MANIFEST.modalities[::-1]},
            {"modalities": _MANIFEST.modalities[:1]},
            {"modalities": _modality(0, name="face")},
            {"modalities": _modality(1, width=5)},
            {"shards": _MANIFEST.shards[:2]},
            {"shards": _MANIFEST.shards[::-1]},
            {"shards": _shard(0, sha256="d" * 64)},
            {"shards": _shard(1, split="val")},
            {"shards": _shard(2, rows=3)},
        ],
    )
    def test_the_fingerprint_changes_with_the_content(self, changes: dict[str, Any]) -> None:
        assert _MANIFEST.model_copy(update=changes).fingerprint != _MANIFEST.fingerprint

    @pytest.mark.parametrize(
        "changes",
        [
            {"created_by": "conclugen 9.9"},
            {"modalities": _modality(0, source="another array")},
            {"shards": _shard(2, file="another.arrow")},
        ],
    )
    def test_the_fingerprint_does_not_depend_on_writer_source_or_files(
        self, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        other = _MANIFEST.model_copy(update=changes)
        other.write(tmp_path)
        assert Manifest.read(tmp_path).fingerprint == _MANIFEST.fingerprint

    @settings(deadline=None)
    @given(manifest=_manifests)
    def test_the_fingerprint_is_short_and_hexadecimal(self, manifest: Manifest) -> None:
        assert re.fullmatch(r"[0-9a-f]{16}", manifest.fingerprint)
