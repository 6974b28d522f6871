"""The manifest of a feature set: what its folder holds, as one JSON file that is written last.

A folder without a manifest is not a feature set: a writer that died leaves no half set behind. The manifest names
every shard with its rows and checksum, so that a set has one fingerprint, which goes into each ledger record.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = [
    "FOLDS",
    "LEAST_FOLDS",
    "MANIFEST_FILE",
    "MODALITY_NAME",
    "SPLITS",
    "SPLIT_ALIASES",
    "FeatureSetError",
    "Labels",
    "Manifest",
    "Modality",
    "Shard",
    "SplitName",
    "damaged_shards",
    "fold_name",
]

MANIFEST_FILE = "manifest.json"
MODALITY_NAME = r"^(?!(sample_id|augmentation|label)\Z)[A-Za-z][A-Za-z0-9_]*\Z"
"""What a modality may be called: it names a column beside the three that every shard may have."""
SplitName = Annotated[str, Field(pattern=r"^(train|val|test|fold-[0-9]{3})\Z")]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
SPLIT_ALIASES = {"dev": "val", "valid": "val", "validation": "val"}
FOLDS = 1000
"""Folds are numbered from 0 to one less."""
LEAST_FOLDS = 3
"""Train, val and test of a set that is cross-validated."""


def fold_name(fold: int) -> SplitName:
    """Return what a feature set calls a fold."""
    return f"fold-{fold:03d}"


class FeatureSetError(ValueError):
    """A feature set is missing, incomplete or not what it was asked to be; the message names folder and remedy."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re")


class Modality(_Strict):
    """One feature column."""

    name: Annotated[str, Field(pattern=MODALITY_NAME)]
    width: Annotated[int, Field(gt=0)]
    source: str
    """What made the column: a backbone, or the array that it was imported from."""


class Labels(_Strict):
    """The label column's meaning: the integer i, or a 1 at place i of several labels, stands for ``classes[i]``."""

    kind: Literal["multiclass", "multilabel"] = "multiclass"
    classes: tuple[str, ...]


class Shard(_Strict):
    """One Arrow IPC file; all its rows belong to one split, or to one fold of a set that is cross-validated."""

    file: str
    split: SplitName
    rows: Annotated[int, Field(gt=0)]
    samples: Annotated[int, Field(ge=0)]
    """Rows that are no augmented version."""
    sha256: str


class Manifest(_Strict):
    """Everything that is known about a feature set without reading a shard."""

    schema_version: Literal[1] = 1
    dtype: Literal["float16", "float32"]
    modalities: tuple[Modality, ...]
    labels: Labels | None
    shards: tuple[Shard, ...]
    created_by: str

    @property
    def widths(self) -> dict[str, int]:
        """Modality name -> width, in the set's order."""
        return {modality.name: modality.width for modality in self.modalities}

    @property
    def fingerprint(self) -> str:
        """Identity of what training sees: modalities, stored precision, classes, and the shards in their order.

        Who wrote the set, from what, and what its files are called do not count. Another division of the same rows
        into shards does, as the checksums are those of whole shards.
        """
        content = self.model_dump(
            mode="json",
            exclude={"created_by": True, "modalities": {"__all__": {"source"}}, "shards": {"__all__": {"file"}}},
        )
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def multi_label(self) -> bool:
        """True if a sample may have several labels."""
        return self.labels is not None and self.labels.kind == "multilabel"

    @property
    def folds(self) -> tuple[SplitName, ...]:
        """Names of the set's folds, in order; empty for a set with splits."""
        return tuple(sorted({shard.split for shard in self.shards} - set(SPLITS)))

    @property
    def training(self) -> tuple[SplitName, ...]:
        """What unsupervised training may use: the split ``train``, or all folds."""
        return self.folds or SPLITS[:1]

    def rows(self, split: SplitName) -> int:
        """Number of rows in ``split``, augmented versions included."""
        return sum(shard.rows for shard in self.shards if shard.split == split)

    def samples(self, split: SplitName) -> int:
        """Number of samples in ``split``, each counted once whatever its versions."""
        return sum(shard.samples for shard in self.shards if shard.split == split)

    def write(self, folder: Path) -> None:
        """Write the manifest into ``folder`` atomically; the set exists from this moment on."""
        temporary = folder / f".{MANIFEST_FILE}.partial"
        temporary.write_text(self.model_dump_json(indent=2) + "\n")
        temporary.replace(folder / MANIFEST_FILE)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of the set in ``folder``.

        Raises:
            FeatureSetError: no such folder, no manifest in it, or one that this version cannot read.
        """
        path = folder / MANIFEST_FILE
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            raise FeatureSetError(
                f"{folder} is not a feature set: it holds no {MANIFEST_FILE}. "
                "Make one with `conclugen features import`."
            ) from None
        except (ValidationError, UnicodeDecodeError, OSError) as error:
            raise FeatureSetError(
                f"{path} cannot be read as a feature-set manifest of schema version 1: {error}"
            ) from None


_Version = tuple[Path, int, int, int, str]
_intact: set[_Version] = set()
"""Shards that this process has read whole: path, size, modification time, inode and checksum."""


def damaged_shards(folder: Path) -> list[str]:
    """Read every byte of the set in ``folder`` and return a message per shard that is not as the manifest says.

    Opening a set does not do this: it would take longer than many a trial. A shard that was found intact is not read
    again by this process unless its file has changed.

    Raises:
        FeatureSetError: ``folder`` holds no feature set that this version can read.
    """
    with ThreadPoolExecutor() as pool:  # reading and hashing both release the interpreter's lock
        found = pool.map(lambda shard: _damage(folder / shard.file, shard.sha256), Manifest.read(folder).shards)
        return [message for message in found if message is not None]


def _damage(file: Path, expected: str) -> str | None:
    try:
        status = file.stat()
        version = (file.absolute(), status.st_size, status.st_mtime_ns, status.st_ino, expected)
        if version in _intact:
            return None
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                return f"shard {file} is damaged: its checksum is not the manifest's; make the set again."
    except OSError as error:
        return f"shard {file} cannot be read: {error.strerror}; make the set again."
    _intact.add(version)
    return None
