"""Collect the results of an extraction in a folder that becomes a feature set.

The clip list is cut into parts: consecutive clips of one split. A part becomes one shard. Once the shard's file is in
place, a sealed file in ``parts/`` names the shard, and the clips without features with their reasons. Parts are written
in their order, whatever order results come in. So the same clips and recipe give the same feature set after any number
of interruptions. A killed run loses only its unfinished parts. The manifest is written last, as for every feature set.

From the start, ``extraction.json`` names everything that decides the features: clips, recipe, weights, versions. So no
other extraction can continue in the folder.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import not_
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conclugen.datasets.clips import ClipList
from conclugen.extraction.descriptors.catalogue import DESCRIPTORS
from conclugen.extraction.recipe import Recipe, RecipeError
from conclugen.features.manifest import MANIFEST_FILE, Modality, Shard, SplitName
from conclugen.features.shards import FeatureWriter
from conclugen.files.durable import SEAL, DamagedError, read_sealed, write_sealed, write_whole

__all__ = ["ExtractionFolder", "Failure", "Gap", "Identity", "Part", "Result", "fingerprint"]

Features = npt.NDArray[np.floating]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Failure(_Document):
    """A clip without features."""

    sample_id: str
    reason: str
    """One of :data:`conclugen.extraction.decoding.Reason`."""
    details: str


class Gap(_Document):
    """A modality that a clip with features lacks."""

    sample_id: str
    modality: str
    reason: str
    """As in :class:`Failure`."""
    details: str


class Identity(_Document):
    """Everything that decides the features of an extraction; equal identities give equal feature sets."""

    clips: str
    """SHA-256 of the clip list, which does not depend on the folder of its videos."""
    recipe: dict[str, Any]
    backbones: tuple[dict[str, Any], ...]
    """Width, checksum of the weights and type of each backbone, in the recipe's order."""
    dtype: str
    clips_per_shard: int
    versions: dict[str, str]
    """Software that features depend on -> its version."""
    keep_incomplete: Annotated[bool, Field(exclude_if=not_)] = False
    """Whether clips that lack some modalities are kept; False is not written, as earlier versions knew nothing else."""

    def sources(self) -> dict[str, str]:
        """Return modality -> a line for the manifest that names backbones and software."""
        descriptions = iter(self.backbones)
        software = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return {
            modality: " + ".join(_line(backbone, next(descriptions)) for backbone in backbones) + f"; {software}"
            for modality, backbones in self.recipe["modalities"].items()
        }

    def differences(self, other: "Identity") -> Iterator[str]:
        """Yield the name of each field that differs in ``other``."""
        fields = self.model_dump(mode="json")
        other_fields = other.model_dump(mode="json")
        yield from (name for name in type(self).model_fields if fields.get(name) != other_fields.get(name))


def _line(backbone: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    names = {"rate", "stride", "window", "pooling", "revision"}
    settings = [f"{name} {value}" for name, value in backbone.items() if name in names and value is not None]
    name = backbone["model"] or backbone.get("onnx")
    if name is not None:
        return f"{name} ({', '.join([backbone['kind'], *settings])}; weights {description['weights'][:12]})"
    settings = [setting for setting in settings if not setting.startswith("pooling")]
    descriptor = DESCRIPTORS[backbone["descriptor"]]
    details = "; ".join(filter(None, (descriptor.source, descriptor.licence and f"licence: {descriptor.licence}")))
    return f"{', '.join([backbone['descriptor'], *settings])}: {details}"


class _FinishedPart(_Document):
    """The content of a finished part's file in ``parts/``."""

    seal: str = SEAL
    shard: Shard | None
    """None if no clip of the part has features."""
    failures: tuple[Failure, ...]
    gaps: Annotated[tuple[Gap, ...], Field(exclude_if=not_)] = ()


@dataclass(frozen=True)
class Part:
    """Consecutive clips of one split."""

    number: int
    split: SplitName
    clips: tuple[int, ...]
    """Rows of the clip list."""


@dataclass(frozen=True, eq=False)
class Result:
    """The features of one clip, or the reason why it has none."""

    clip: int
    """Row of the clip list."""
    features: Mapping[int, Features] | None = None
    """Version -> (sum of all widths,), the backbones' vectors in the recipe's order; None with a failure."""
    failure: Failure | None = None
    gaps: tuple[Gap, ...] = ()
    """The modalities that the clip lacks; their features do not matter."""


class ExtractionFolder:
    """The folder of one extraction. Use as a context manager, which locks the folder.

    Args:
        root: the folder; new, empty, or of the same extraction.
        clips: the clips.
        recipe: backbones, and how they are applied.
        identity: everything that decides the features.
        retry_failed: redo the parts in which clips failed.

    Raises:
        RecipeError: the folder belongs to another extraction, or another process works in it.
    """

    def __init__(
        self, root: Path, clips: ClipList, recipe: Recipe, identity: Identity, *, retry_failed: bool = False
    ) -> None:
        self.root = root
        self._list = clips
        self._clips = list(clips)
        self._recipe = recipe
        self._identity = identity
        self._lock = FileLock(root / ".lock")
        self._refuse_another_extraction()
        self.parts = _plan(clips, identity.clips_per_shard)
        self._part_of = {clip: part for part in self.parts for clip in part.clips}
        self._finished = {part.number: content for part in self.parts if (content := self._read(part)) is not None}
        if retry_failed:
            self._finished = {number: content for number, content in self._finished.items() if not content.failures}
        self.failed = sum(len(content.failures) for content in self._finished.values())
        """Number of clips known to have no features."""
        self.incomplete = sum(len({gap.sample_id for gap in content.gaps}) for content in self._finished.values())
        """Number of clips known to lack some modalities."""
        self._pending: dict[int, dict[int, Result]] = {}
        self._writer: FeatureWriter | None = None
        self._next = 0

    def __enter__(self) -> "ExtractionFolder":
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise RecipeError([f"--out {self.root}: another process extracts into it; wait for it."]) from None
        if not self._file.exists():
            write_sealed(self._file, json.dumps({"seal": SEAL, **self._identity.model_dump()}, indent=2).encode())
        (self.root / "parts").mkdir(exist_ok=True)
        if self.todo:
            (self.root / MANIFEST_FILE).unlink(missing_ok=True)  # a set with clips to retry is no longer finished
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def finished(self) -> bool:
        """Whether the folder is a complete feature set."""
        return (self.root / MANIFEST_FILE).exists() and not self.todo

    @property
    def todo(self) -> list[int]:
        """Rows of the clips whose part is unfinished, in the order of parts."""
        return [clip for part in self.parts if part.number not in self._finished for clip in part.clips]

    def versions(self, clip: int) -> range:
        """Return the versions of a clip to extract; 0 is the clean one, the only one of val and test clips."""
        clean_only = self._part_of[clip].split in ("val", "test")
        return range(1 if clean_only else 1 + self._recipe.augmented)

    @property
    def keep_incomplete(self) -> bool:
        """Whether clips that lack some modalities are kept."""
        return self._identity.keep_incomplete

    @property
    def gaps(self) -> list[Gap]:
        """What the clips with features lack, in the order of the list; only of finished parts."""
        return [gap for number in sorted(self._finished) for gap in self._finished[number].gaps]

    @property
    def failures(self) -> list[Failure]:
        """All clips known to have no features, in the order of the list."""
        pending = [r.failure for results in self._pending.values() for r in results.values() if r.failure is not None]
        finished = [failure for number in sorted(self._finished) for failure in self._finished[number].failures]
        return [*finished, *pending]

    def add(self, result: Result) -> None:
        """Add the result of one clip of :attr:`todo`, in any order, and finish the parts that it completes."""
        if result.features is not None and not self._storable(result.features.values()):
            name = self._clips[result.clip].sample_id
            details = f"a feature is NaN or infinite in {self._identity.dtype}"
            result = Result(result.clip, failure=Failure(sample_id=name, reason="not finite", details=details))
        self.failed += result.failure is not None
        self.incomplete += bool(result.gaps)
        self._pending.setdefault(self._part_of[result.clip].number, {})[result.clip] = result
        self._advance()

    def _storable(self, rows: Iterable[Features]) -> bool:
        with np.errstate(over="ignore"):
            return all(np.isfinite(row.astype(self._identity.dtype)).all() for row in rows)

    def finish(self) -> None:
        """Turn the folder into a feature set, once :attr:`todo` is empty.

        Raises:
            FeatureSetError: no training clip has features.
        """
        self._advance()
        with self._open():
            pass
        _write_table(self.root / "failures.csv", Failure, self.failures)
        if self.keep_incomplete:
            _write_table(self.root / "incomplete.csv", Gap, self.gaps)

    # -- parts -------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Adopt finished parts and write complete ones, in their order, up to the first incomplete part."""
        while self._next < len(self.parts):
            part = self.parts[self._next]
            if (finished := self._finished.get(part.number)) is not None:
                if finished.shard is not None:
                    self._open().adopt(finished.shard)
            elif len(self._pending.get(part.number, {})) == len(part.clips):
                self._finish_part(part)
            else:
                return
            self._next += 1

    def _finish_part(self, part: Part) -> None:
        results = self._pending.pop(part.number)
        failures, rows = [], []
        gaps = tuple(gap for clip in part.clips for gap in results[clip].gaps)
        for clip in part.clips:
            if (failure := results[clip].failure) is not None:
                failures.append(failure)
            elif (features := results[clip].features) is not None:
                rows += [(clip, version, features[version]) for version in sorted(features)]
        shard = self._write(part, rows, gaps) if rows else None
        content = _FinishedPart(shard=shard, failures=tuple(failures), gaps=gaps)
        write_sealed(self._part_file(part), content.model_dump_json().encode())
        self._finished[part.number] = content

    def _write(self, part: Part, rows: Sequence[tuple[int, int, Features]], gaps: Sequence[Gap]) -> Shard:
        matrix = np.stack([features for _, _, features in rows])
        features = {}
        start = 0
        for modality in self._modalities():
            features[modality.name] = matrix[:, start : start + modality.width]
            start += modality.width
        clips = [self._clips[clip] for clip, _, _ in rows]
        lacking = {(gap.modality, gap.sample_id) for gap in gaps}
        present = {name: np.array([(name, clip.sample_id) not in lacking for clip in clips]) for name in features}
        return self._open().write(
            part.split,
            [clip.sample_id for clip in clips],
            features,
            labels=self._list.encode(clips),
            augmentation=np.array([version for _, version, _ in rows], np.int16),
            groups=self._list.groups(clips),
            number=part.number,
            present=present,
        )

    def _open(self) -> FeatureWriter:
        if self._writer is None:
            self._writer = FeatureWriter(
                self.root,
                self._modalities(),
                dtype=self._identity.dtype,
                labels=self._list.header.labels,
                groups=self._list.groupings,
            )
        return self._writer

    def _modalities(self) -> list[Modality]:
        widths = iter(description["width"] for description in self._identity.backbones)
        sources = self._identity.sources()
        return [
            Modality(name=name, width=sum(next(widths) for _ in backbones), source=sources[name])
            for name, backbones in self._recipe.modalities.items()
        ]

    # -- files -------------------------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self.root / "extraction.json"

    def _part_file(self, part: Part) -> Path:
        return self.root / "parts" / f"{part.number:05d}.json"

    def _read(self, part: Part) -> _FinishedPart | None:
        """Return a finished part; None if it is unfinished, or if its file or its shard is damaged."""
        try:
            content = _FinishedPart.model_validate_json(read_sealed(self._part_file(part)))
            if content.shard is not None:
                with (self.root / content.shard.file).open("rb") as shard:
                    if hashlib.file_digest(shard, "sha256").hexdigest() != content.shard.sha256:
                        return None
        except (OSError, DamagedError, ValidationError):
            return None
        return content

    def _refuse_another_extraction(self) -> None:
        """Raise RecipeError if the folder holds another extraction, or anything else."""
        try:
            content = json.loads(read_sealed(self._file))
            content.pop("seal")
            earlier = Identity.model_validate(content)
        except FileNotFoundError:
            if self.root.exists() and (not self.root.is_dir() or any(_visible(self.root))):
                raise RecipeError(
                    [f"--out {self.root}: is not empty and holds no extraction; choose another folder."]
                ) from None
            return
        except (OSError, ValueError) as error:
            raise RecipeError([f"{self._file}: cannot be read: {error}; choose another folder."]) from None
        if fields := list(self._identity.differences(earlier)):
            raise RecipeError(
                [
                    f"--out {self.root}: holds an extraction with other {', '.join(fields)}; see {self._file}. Choose "
                    "another folder, or go on with the values in that file."
                ]
            )


def _write_table(file: Path, kind: type[_Document], rows: Iterable[_Document]) -> None:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(kind.model_fields)
    table.writerows([row.model_dump().values() for row in rows])
    write_whole(file, text.getvalue().encode())


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name != ".lock")


def _plan(clips: ClipList, clips_per_shard: int) -> list[Part]:
    """Cut a clip list into parts."""
    rows: dict[SplitName, list[int]] = {name: [] for name in clips.parts}
    for row, clip in enumerate(clips):
        rows[clip.part].append(row)
    pieces = [
        (split, members[start : start + clips_per_shard])
        for split, members in rows.items()
        for start in range(0, len(members), clips_per_shard)
    ]
    return [Part(number, split, tuple(members)) for number, (split, members) in enumerate(pieces)]


def fingerprint(clips: ClipList) -> str:
    """Return the SHA-256 of a clip list, which does not depend on the folder of its videos."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, clips.table.schema) as writer:
        writer.write_table(clips.table)
    digest = hashlib.sha256(sink.getvalue())
    digest.update(clips.header.model_dump_json(exclude={"root", "created_by"}).encode())
    return digest.hexdigest()
