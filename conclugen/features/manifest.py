"""The manifest of a feature set: one JSON file that lists what the folder holds.

The manifest is written last. A folder without one is not a feature set, so a writer that died leaves no half set. The
manifest names every shard with its rows and checksum. The set's fingerprint follows from them and goes into each
record of the ledger.
"""

import hashlib
import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from operator import not_
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from conclugen.counts import shown_counts
from conclugen.features.gaps import lacking_problems, rows_by_modalities
from conclugen.features.remote import RemoteError, check_uri, is_uri, local_path, node_cache, read_remote
from conclugen.files.durable import DamagedError, checked
from conclugen.names import tidy
from conclugen.settings.wording import problems_of

__all__ = [
    "FOLDS",
    "LEAST_FOLDS",
    "MANIFEST_FILE",
    "MODALITY_NAME",
    "SPEAKER",
    "SPLITS",
    "SPLIT_ALIASES",
    "STATISTICS_FILE",
    "FeatureSetError",
    "Labels",
    "Location",
    "Manifest",
    "Modality",
    "Part",
    "Shard",
    "SplitName",
    "damaged_shards",
    "fold_name",
    "local_folder",
    "location_of",
    "remote_file",
    "shard_damage",
    "split_name",
    "statistics_problem",
]

MANIFEST_FILE = "manifest.json"
STATISTICS_FILE = "statistics.safetensors"
"""File with the mean and standard deviation of each modality's training rows, sealed by a checksum."""
MODALITY_NAME = r"^(?!(sample_id|augmentation|label|speaker)\Z)[A-Za-z][A-Za-z0-9_]*\Z"
"""Pattern of the names of modalities and groups: identifiers that are none of the columns every shard may have."""
SPEAKER = "speaker"
"""Name of the groups by speaker, the only ones that older sets may have."""
SplitName = Annotated[str, Field(pattern=r"^(train|val|test|fold-[0-9]{3})\Z")]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
Part = Literal["train", "val", "test"]
"""The role of rows in a division of a labelled set."""
SPLIT_ALIASES = {"dev": "val", "devel": "val", "valid": "val", "validation": "val", "training": "train"}
FOLDS = 1000
"""Number of possible folds; they are numbered from 0."""
LEAST_FOLDS = 3
"""Fewest folds of a cross-validated set: one each for train, val and test."""


def split_name(text: str) -> str:
    """Return the split that ``text`` means, whatever its case and the space around it; other texts unchanged."""
    name = tidy(text).lower()
    name = SPLIT_ALIASES.get(name, name)
    return name if name in SPLITS else text


def fold_name(fold: int) -> SplitName:
    """Return the name of a fold in a feature set."""
    return f"fold-{fold:03d}"


Location = Path | str
"""A local folder, or the URI of a remote one."""


class FeatureSetError(ValueError):
    """A feature set is missing, damaged or unsuitable; the message names the folder and the remedy."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re")


class Modality(_Strict):
    """One feature column."""

    name: Annotated[str, Field(pattern=MODALITY_NAME)]
    width: Annotated[int, Field(gt=0)]
    source: str
    """Origin of the column: a backbone, or the array that it was imported from."""


class Labels(_Strict):
    """Meaning of the label column: the integer i, or a 1 at place i of several labels, stands for ``classes[i]``."""

    kind: Literal["multiclass", "multilabel"] = "multiclass"
    classes: tuple[str, ...]


class Shard(_Strict):
    """One Arrow IPC file; all its rows belong to one split, or to one fold of a cross-validated set."""

    file: str
    split: SplitName
    rows: Annotated[int, Field(gt=0)]
    samples: Annotated[int, Field(ge=0)]
    """Number of clean rows: those that are no augmented versions."""
    sha256: str
    lacking: Annotated[dict[str, Annotated[int, Field(gt=0)]], Field(exclude_if=not_)] = {}
    """Modalities that rows lack, joined by +, such as audio+text -> number of these rows; none is not written."""

    @property
    def masked(self) -> frozenset[str]:
        """The modalities that some rows lack."""
        return frozenset(name for names in self.lacking for name in names.split("+"))


class Manifest(_Strict):
    """Everything known about a feature set without reading a shard."""

    schema_version: Literal[2, 3] = 2
    """Version of the whole folder's format; in version 1 the statistics had no seal.

    Sets some of whose rows lack a modality have version 3. All others have version 2, so earlier programs read them.
    """
    dtype: Literal["float16", "float32"]
    modalities: tuple[Modality, ...]
    labels: Labels | None
    speakers: Annotated[bool, Field(exclude_if=not_)] = False
    """Whether shards name the speakers. False is not written, so older sets keep their fingerprints."""
    groups: Annotated[tuple[Annotated[str, Field(pattern=MODALITY_NAME)], ...], Field(exclude_if=not_)] = ()
    """Names of other groups of samples that go together, such as dialogue or video; none is not written."""
    shards: tuple[Shard, ...]
    created_by: str

    @model_validator(mode="after")
    def _gaps_are_possible(self) -> "Manifest":
        problems = [
            f"{shard.file}: {problem}"
            for shard in self.shards
            for problem in lacking_problems([*self.widths], shard.rows, shard.lacking)
        ]
        if self.has_gaps and self.schema_version == 2:
            problems.append("rows with gaps need schema_version 3")
        if problems:
            raise ValueError(f"{'; '.join(problems)}; make the set again.")
        return self

    @property
    def has_gaps(self) -> bool:
        """Whether some rows lack a modality."""
        return any(shard.lacking for shard in self.shards)

    def rows_by_modalities(self, split: SplitName) -> dict[str, int]:
        """Return the modalities that rows of ``split`` have, joined by ``+`` -> rows; complete rows come first."""
        lacking: Counter[str] = Counter()
        for shard in self.shards:
            lacking.update(shard.lacking if shard.split == split else {})
        return rows_by_modalities([*self.widths], self.rows(split), lacking)

    @property
    def gaps_in_words(self) -> str:
        """How many rows of each split have which modalities."""
        return "; ".join(f"{name} {shown_counts(self.rows_by_modalities(name))}" for name in self.splits)

    @property
    def widths(self) -> dict[str, int]:
        """Modality name -> width, in the set's order."""
        return {modality.name: modality.width for modality in self.modalities}

    @property
    def fingerprint(self) -> str:
        """Identity of what training sees: modalities, stored precision, classes, and the shards in their order.

        The writer, the sources, the format's version and the names of the files do not count. The division of the rows
        into shards does, because checksums are those of whole shards.
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
        content["schema_version"] = 1  # always, so that a set made again in a newer version keeps the fingerprint
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several labels."""
        return self.labels is not None and self.labels.kind == "multilabel"

    @property
    def groupings(self) -> tuple[str, ...]:
        """The names of all groups that shards tell, ``speaker`` first."""
        return ((SPEAKER,) if self.speakers else ()) + self.groups

    @property
    def folds(self) -> tuple[SplitName, ...]:
        """The names of the set's folds, in order; empty for a set with splits."""
        return tuple(sorted({shard.split for shard in self.shards} - set(SPLITS)))

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits or folds that have rows, in their order."""
        return self.folds or tuple(name for name in SPLITS if self.rows(name))

    @property
    def divisions(self) -> tuple[dict[Part, tuple[SplitName, ...]], ...]:
        """Part -> its splits, for each way to divide a labelled set.

        A set without folds has one division, by the names of its splits. With folds, fold i is test in division i, the
        next fold is val, and the others are train.
        """
        folds = self.folds
        if not folds:
            return ({"train": SPLITS[:1], "val": SPLITS[1:2], "test": SPLITS[2:]},)
        pairs = [(test, folds[(i + 1) % len(folds)]) for i, test in enumerate(folds)]
        return tuple(
            {"train": tuple(fold for fold in folds if fold not in (test, val)), "val": (val,), "test": (test,)}
            for test, val in pairs
        )

    @property
    def training(self) -> tuple[SplitName, ...]:
        """The parts that unsupervised training may use: the split ``train``, or all folds."""
        return self.folds or SPLITS[:1]

    def rows(self, split: SplitName) -> int:
        """Return the number of rows in ``split``, including augmented versions."""
        return sum(shard.rows for shard in self.shards if shard.split == split)

    def samples(self, split: SplitName) -> int:
        """Return the number of samples in ``split``; the versions of a sample count once."""
        return sum(shard.samples for shard in self.shards if shard.split == split)

    def write(self, folder: Path) -> None:
        """Write the manifest into ``folder`` atomically; from then on the set exists."""
        temporary = folder / f".{MANIFEST_FILE}.partial"
        temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder / MANIFEST_FILE)

    @classmethod
    def read(cls, folder: Location) -> "Manifest":
        """Read the manifest of the set in ``folder``; a process reads a remote manifest once.

        Raises:
            FeatureSetError: the folder does not exist, has no manifest, or has one that this version cannot read.
        """
        folder = location_of(folder)
        path = folder / MANIFEST_FILE if isinstance(folder, Path) else f"{folder}/{MANIFEST_FILE}"
        oldest, newest = get_args(cls.model_fields["schema_version"].annotation)
        try:
            content = path.read_bytes() if isinstance(path, Path) else remote_file(str(folder), MANIFEST_FILE)
            document = json.loads(content.decode())
            version = document.get("schema_version") if isinstance(document, dict) else None
            if isinstance(version, int) and not oldest <= version <= newest:
                raise FeatureSetError(
                    f"{path} was written by {'an older' if version < oldest else 'a newer'} version of this program "
                    f"(schema version {version}; this one reads {oldest} and {newest}); make the set again."
                )
            return cls.model_validate(document)
        except (FileNotFoundError, NotADirectoryError):
            raise FeatureSetError(
                f"{folder} is not a feature set: {_absence(folder)}. Make one with `conclugen features import`."
            ) from None
        except RemoteError as error:
            raise FeatureSetError(str(error)) from None
        except OSError as error:
            raise FeatureSetError(f"{path} cannot be read: {error.strerror or error}; make it readable.") from None
        except (json.JSONDecodeError, ValidationError, UnicodeDecodeError, RecursionError) as error:
            reason = "; ".join(problems_of(error, cls)) if isinstance(error, ValidationError) else str(error)
            raise FeatureSetError(
                f"{path} cannot be read as a feature-set manifest of schema version {newest}: {reason}"
            ) from None


def _absence(folder: Location) -> str:
    """Return why the manifest in ``folder`` is not there."""
    if isinstance(folder, str) or folder.is_dir():
        return f"it holds no {MANIFEST_FILE}"
    if folder.exists():
        return "it is a file; give the folder of a set"
    if (address := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/[^/]", str(folder))) is not None:
        return f"there is no such folder; an address starts with {address[1]}:// and two slashes"
    return "there is no such folder"


def statistics_problem(location: Location) -> str | None:
    """Return what is wrong with the statistics of a set, or None, without loading torch.

    Raises:
        FeatureSetError: there is no feature set that this version can read.
    """
    from safetensors import deserialize  # as in conclugen.files.tensors

    widths = Manifest.read(location).widths
    location = location_of(location)
    expected = {f"{name}.{kind}": [width] for name, width in widths.items() for kind in ("mean", "std")}
    file = location / STATISTICS_FILE if isinstance(location, Path) else f"{location}/{STATISTICS_FILE}"
    try:
        content = file.read_bytes() if isinstance(file, Path) else remote_file(str(location), STATISTICS_FILE)
        stored = deserialize(checked(content, file))  # type: ignore[no-untyped-call]  # compiled
        shapes = {name: tensor["shape"] for name, tensor in stored}
    except (OSError, DamagedError, RemoteError) as error:
        reason = str(getattr(error, "strerror", None) or error).rstrip(".")
        return f"{file} cannot be read: {reason}; make the set again."
    if shapes != expected:
        return f"{file} cannot be read: it is of another set ({shapes}, not {expected}); make the set again."
    return None


def location_of(place: Location) -> Location:
    """Return the location that a text names: a path on this machine, or the URI of a remote folder.

    Every reader of sets takes its location from here. A ``file://`` address is a path, so such a set is read in place.

    Raises:
        FeatureSetError: the URI holds a password, so it must not be written into records; or it is a ``file://``
            address of another machine.
    """
    if isinstance(place, Path) or not is_uri(place):
        return Path(place)
    try:
        check_uri(place)
        path = local_path(place)
    except RemoteError as error:
        raise FeatureSetError(str(error)) from None
    scheme, _, rest = place.partition("://")
    return f"{scheme}://{rest.rstrip('/')}" if path is None else path


@cache
def remote_file(uri: str, name: str) -> bytes:
    """Read a small remote file once in a process.

    A process asks for the widths before every job and must always see the same version of a set.
    """
    return read_remote(uri, name)


def local_folder(location: Location, *, distrust: bool = False) -> Path:
    """Return the folder of a set; a remote set is fetched into this machine's checked copy.

    Args:
        location: location of the set.
        distrust: read every byte of the copy again and fetch damaged files again.

    Raises:
        FeatureSetError: there is no set that this version can read, or it cannot be fetched.
    """
    location = location_of(location)
    if isinstance(location, Path):
        return location
    manifest = Manifest.read(location)
    try:
        small_files = {name: remote_file(location, name) for name in (STATISTICS_FILE, MANIFEST_FILE)}
        files = {shard.file: shard.sha256 for shard in manifest.shards}
        return node_cache().folder(location, manifest.fingerprint, files, small_files, distrust=distrust)
    except FileNotFoundError:
        raise FeatureSetError(f"{location} lacks {STATISTICS_FILE}; put the whole set there.") from None
    except RemoteError as error:
        raise FeatureSetError(str(error)) from None


_Version = tuple[Path, int, int, int, str]
_intact: set[_Version] = set()
"""Shards that this process has found intact: path, size, modification time, inode and checksum."""


def damaged_shards(location: Location) -> list[str]:
    """Read every byte of a set and return a message for each damaged shard.

    For a remote set, this machine's copy is read, and its damaged files are fetched again.

    Opening a set does not check its bytes, because that can take longer than a trial. This process does not read an
    intact shard again unless its file has changed.

    Raises:
        FeatureSetError: there is no feature set that this version can read, or it cannot be fetched.
    """
    folder = local_folder(location, distrust=True)
    with ThreadPoolExecutor() as pool:  # reading and hashing both release the interpreter's lock
        messages = pool.map(lambda shard: shard_damage(folder, shard), Manifest.read(folder).shards)
        return [message for message in messages if message is not None]


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
