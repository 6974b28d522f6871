"""The manifest of a feature set: what its folder holds, as one JSON file that is written last.

A folder without a manifest is not a feature set: a writer that died leaves no half set behind. The manifest names
every shard with its rows and checksum, so that a set has one fingerprint, which goes into each ledger record.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from operator import not_
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conclugen.features.remote import RemoteError, check_uri, is_uri, node_cache, read_remote
from conclugen.files.durable import DamagedError, checked

__all__ = [
    "FOLDS",
    "LEAST_FOLDS",
    "MANIFEST_FILE",
    "MODALITY_NAME",
    "SPLITS",
    "SPLIT_ALIASES",
    "STATISTICS_FILE",
    "FeatureSetError",
    "Labels",
    "Location",
    "Manifest",
    "Modality",
    "Shard",
    "SplitName",
    "damaged_shards",
    "fold_name",
    "local_folder",
    "location_of",
    "shard_damage",
    "statistics_problem",
]

MANIFEST_FILE = "manifest.json"
STATISTICS_FILE = "statistics.safetensors"
"""Mean and standard deviation of the training rows of each modality, sealed."""
MODALITY_NAME = r"^(?!(sample_id|augmentation|label|speaker)\Z)[A-Za-z][A-Za-z0-9_]*\Z"
"""What a modality may be called: it names a column beside the four that every shard may have."""
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


Location = Path | str
"""A folder, or the URI of one elsewhere."""


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

    schema_version: Literal[2] = 2
    """Of the whole folder's format; 1 had statistics without a seal."""
    dtype: Literal["float16", "float32"]
    modalities: tuple[Modality, ...]
    labels: Labels | None
    speakers: Annotated[bool, Field(exclude_if=not_)] = False
    """Whether shards say who speaks. A set without it is written, and has the fingerprint, as before there was this."""
    shards: tuple[Shard, ...]
    created_by: str

    @property
    def widths(self) -> dict[str, int]:
        """Modality name -> width, in the set's order."""
        return {modality.name: modality.width for modality in self.modalities}

    @property
    def fingerprint(self) -> str:
        """Identity of what training sees: modalities, stored precision, classes, and the shards in their order.

        Who wrote the set, from what, in which version of the format, and what its files are called do not count.
        Another division of the same rows into shards does, as the checksums are those of whole shards.
        """
        content = self.model_dump(
            mode="json",
            exclude={
                "schema_version": True,
                "created_by": True,
                "modalities": {"__all__": {"source"}},
                "shards": {"__all__": {"file"}},
            },
        )
        content["schema_version"] = 1  # in all versions: a set that is made again stays the one that records name
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
    def read(cls, folder: Location) -> "Manifest":
        """Read the manifest of the set in ``folder``; one elsewhere is read once in a process.

        Raises:
            FeatureSetError: no such folder, no manifest in it, or one that this version cannot read.
        """
        path = folder / MANIFEST_FILE if isinstance(folder, Path) else f"{folder}/{MANIFEST_FILE}"
        reads = cls.model_fields["schema_version"].default
        try:
            content = path.read_bytes() if isinstance(path, Path) else _remote_file(str(folder), MANIFEST_FILE)
            document = json.loads(content.decode())
            found = document.get("schema_version") if isinstance(document, dict) else None
            if isinstance(found, int) and found != reads:
                raise FeatureSetError(
                    f"{path} was written by {'an older' if found < reads else 'a newer'} version of this program "
                    f"(schema version {found}; this one reads {reads}); make the set again."
                )
            return cls.model_validate(document)
        except FileNotFoundError:
            raise FeatureSetError(
                f"{folder} is not a feature set: it holds no {MANIFEST_FILE}. "
                "Make one with `conclugen features import`."
            ) from None
        except RemoteError as error:
            raise FeatureSetError(str(error)) from None
        except (json.JSONDecodeError, ValidationError, UnicodeDecodeError, RecursionError, OSError) as error:
            raise FeatureSetError(
                f"{path} cannot be read as a feature-set manifest of schema version {reads}: {error}"
            ) from None


def statistics_problem(location: Location) -> str | None:
    """Return what is wrong with the statistics of a set, or None; loads no torch.

    Raises:
        FeatureSetError: there is no feature set that this version can read.
    """
    from safetensors import deserialize  # as in conclugen.tensors

    widths = Manifest.read(location).widths
    expected = {f"{name}.{kind}": [width] for name, width in widths.items() for kind in ("mean", "std")}
    file = location / STATISTICS_FILE if isinstance(location, Path) else f"{location}/{STATISTICS_FILE}"
    try:
        content = file.read_bytes() if isinstance(file, Path) else _remote_file(str(location), STATISTICS_FILE)
        stored = deserialize(checked(content, file))  # type: ignore[no-untyped-call]  # compiled
        found = {name: tensor["shape"] for name, tensor in stored}
    except (OSError, DamagedError, RemoteError) as error:
        return f"{file} cannot be read: {getattr(error, 'strerror', None) or error}; make the set again."
    if found != expected:
        return f"{file} cannot be read: it is of another set ({found}, not {expected}); make the set again."
    return None


def location_of(text: str) -> Location:
    """Return what ``text`` names: a path, or a URI as it is.

    Raises:
        FeatureSetError: a URI that cannot be written down.
    """
    if not is_uri(text):
        return Path(text)
    try:
        check_uri(text)
    except RemoteError as error:
        raise FeatureSetError(str(error)) from None
    return text


@cache
def _remote_file(uri: str, name: str) -> bytes:
    """Read once: a process, which asks for widths before every job, sees one version of a set."""
    return read_remote(uri, name)


def local_folder(location: Location, *, distrust: bool = False) -> Path:
    """Return the folder itself or, of a set elsewhere, this machine's checked copy, fetched if it is not there.

    Args:
        location: of the set.
        distrust: read every byte of a copy again; what is damaged is fetched again.

    Raises:
        FeatureSetError: there is no set that this version can read, or it cannot be fetched.
    """
    if isinstance(location, Path):
        return location
    manifest = Manifest.read(location)
    try:
        beside = {name: _remote_file(location, name) for name in (STATISTICS_FILE, MANIFEST_FILE)}
        files = {shard.file: shard.sha256 for shard in manifest.shards}
        return node_cache().folder(location, manifest.fingerprint, files, beside, distrust=distrust)
    except FileNotFoundError:
        raise FeatureSetError(f"{location} lacks {STATISTICS_FILE}; put the whole set there.") from None
    except RemoteError as error:
        raise FeatureSetError(str(error)) from None


_Version = tuple[Path, int, int, int, str]
_intact: set[_Version] = set()
"""Shards that this process has read whole: path, size, modification time, inode and checksum."""


def damaged_shards(location: Location) -> list[str]:
    """Read every byte of a set and return a message per shard that is not as the manifest says.

    Of a set elsewhere, this machine's copy is read, and what is damaged of it is fetched again.

    Opening a set does not do this: it would take longer than many a trial. A shard that was found intact is not read
    again by this process unless its file has changed.

    Raises:
        FeatureSetError: there is no feature set that this version can read, or it cannot be fetched.
    """
    folder = local_folder(location, distrust=True)
    with ThreadPoolExecutor() as pool:  # reading and hashing both release the interpreter's lock
        found = pool.map(lambda shard: shard_damage(folder, shard), Manifest.read(folder).shards)
        return [message for message in found if message is not None]


def shard_damage(folder: Path, shard: Shard) -> str | None:
    """Return what is wrong with the bytes of one shard of the set in ``folder``, or None."""
    file, expected = folder / shard.file, shard.sha256
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
