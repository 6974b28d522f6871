"""What an import will do, decided from names, labels and shapes alone; features are not read for it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conclugen.counts import counted
from conclugen.features.manifest import MODALITY_NAME, SPEAKER, SPLITS, FeatureSetError
from conclugen.formats.joining import Place, join, match_by_position, places_of, reason_of
from conclugen.formats.labelling import CONVENTIONS, LabelMapError, is_scale, parse_label_map, value_text
from conclugen.formats.options import Options
from conclugen.formats.pooling import pooled_width
from conclugen.formats.recognition import Found, found
from conclugen.formats.roles import modality_name, split_of
from conclugen.formats.table import Table
from conclugen.formats.validation import moved_to_val, note_of_missing_val, share_problem
from conclugen.names import MISSING, tidy
from conclugen.settings.wording import suggestion

__all__ = ["NONE", "Plan", "understand"]

NONE = "none"
"""What users give for labels or a split that they do not want."""
_NO_CLASS = -1
"""Hugging Face's number of the class of a row without one, such as those of a test split."""
_MOST_SHOWN = 12
_VALUES_SHOWN = 7


@dataclass
class Plan:
    """What was understood of the files, and the rows of the set."""

    options: Options
    found: Sequence[Found]
    modalities: Mapping[str, Sequence[Place]]
    ids: list[str]
    labels: list[str] | None = None
    classes: list[str] | None = None
    splits: list[str] | None = None
    folds: list[Any] | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> identifiers of the rows that the set will not have."""
    lacking: dict[str, dict[str, str]] = field(default_factory=dict)
    """Identifier of a row with gaps -> modality that it lacks -> why, which may be empty."""
    notes: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    """Labels, split and groups -> the column that they are taken from."""

    def width(self, modality: str) -> int:
        """Return the width of a modality in the set."""
        first = self.modalities[modality][0].column
        return pooled_width(first.width, self.options.pool) if first.kind == "sequence" else first.width

    def source(self, modality: str) -> str:
        """Return where a modality comes from, for the manifest."""
        place = self.modalities[modality][0]
        pooled = f", {self.options.pool} over time" if place.column.kind == "sequence" else ""
        return f"{place.table.origin}:{place.column.key}{pooled}"

    @property
    def incomplete(self) -> dict[str, list[str]]:
        """What rows of the set lack, in words -> their identifiers."""
        incomplete: dict[str, list[str]] = {}
        for key, lacking in self.lacking.items():
            incomplete.setdefault(reason_of(lacking), []).append(key)
        return incomplete

    @property
    def blocks(self) -> int:
        """Number of rows that are read, each table's once."""
        return sum(
            {id(place.table): len(place.table) for places in self.modalities.values() for place in places}.values()
        )


def understand(paths: Sequence[Path], options: Options) -> Plan:
    """Return what an import of the files will do.

    Raises:
        FeatureSetError: the files have problems, or leave questions; the message has one line for each.
    """
    problems: list[str] = []
    if options.dtype not in ("float16", "float32"):
        problems.append(f"--dtype {options.dtype}: must be float32 or float16.")
    sources = found(paths, options, problems)
    if problems:
        raise FeatureSetError("\n".join(problems))
    tables = match_by_position(sources, options.join == "position", problems)
    modalities = _modalities(tables, options, problems)
    plan = Plan(options, sources, modalities, [])
    values: dict[str, Mapping[str, object]] = {}
    split = _column("split", options.split, tables, problems) if options.folds is None else []
    if split:
        values["split"] = _splits(split, options, problems)
        plan.columns["split"] = split[0].column.key
    folds = _column("folds", options.folds, tables, problems) if options.folds is not None else []
    if folds:
        values["fold"] = _values(folds)
    labels = _column("labels", options.labels, tables, problems)
    if labels and options.label_map is None and _blank(labels):
        plan.notes.append(f"{labels[0].column.key} is blank in every row: the set is unlabelled, fit for pretraining.")
        labels = []
    if labels:
        plan.columns["labels"] = labels[0].column.key
        values["label"], plan.classes = _labels(labels, options, problems)
    elif options.label_map is not None and options.labels != NONE:
        problems.append("--label-map: there are no labels; name their column by --labels, or leave the option out.")
    groups = _groups(tables, options, problems)
    values |= {name: of_id for name, (_, of_id, asked) in groups.items() if asked}
    if problems:
        raise FeatureSetError("\n".join(problems))
    joined = join(modalities, values, problems, keep_incomplete=options.keep_incomplete)
    if problems:
        raise FeatureSetError("\n".join(problems))
    plan.ids, plan.left_out, plan.lacking = joined.ids, joined.left_out, joined.lacking
    if labels:
        plan.labels = [str(values["label"][key]) for key in plan.ids]
        if plan.classes is None:
            plan.classes = sorted(set(plan.labels), key=_class_order)
    if split:
        plan.splits = [str(values["split"][key]) for key in plan.ids]
    if folds:
        plan.folds = [values["fold"][key] for key in plan.ids]
    for name, (key, of_id, asked) in groups.items():
        column = [of_id.get(each) for each in plan.ids]
        if asked or _worth_having(column):
            plan.groups[name] = [str(value) for value in column]
            plan.columns[name] = key
        elif any(value is None for value in column):
            plan.notes.append(
                f"{name}: {sum(value is None for value in column):,} rows have none, so {key} is not taken."
            )
    _provide_validation(plan)
    return plan


def _provide_validation(plan: Plan) -> None:
    """Make a share of train val if the user wants that, or note that a labelled set lacks val.

    Raises:
        FeatureSetError: the share cannot be taken.
    """
    share = plan.options.val_share
    if (problem := share_problem(share, plan.splits)) is not None:
        raise FeatureSetError(problem)
    if plan.splits is None:
        return
    if share is not None:
        plan.splits, said = moved_to_val(share, plan.ids, plan.splits, plan.groups)
        plan.notes.append(said)
    elif plan.labels is not None and (said_missing := note_of_missing_val(plan.splits, plan.groups)) is not None:
        plan.notes.append(said_missing)


def _class_order(name: str) -> tuple[int, float, str]:
    """Sort numbers by their value, and before other names."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _worth_having(column: Sequence[object]) -> bool:
    """Return whether every row has a group, and some rows share one."""
    return bool(column) and None not in column and 1 < len(set(column)) < len(column)


def _modalities(tables: Sequence[Table], options: Options, problems: list[str]) -> dict[str, list[Place]]:
    """Return modality -> its places: those that the user names, or all features of all files."""
    keys = [key for table in tables for key, column in table.columns.items() if column.role == "feature"]
    wanted = dict(options.modalities) or {modality_name(key): key for key in dict.fromkeys(keys)}
    if not wanted:
        problems.append(f"modalities: no file has features; there are {_columns(tables)}.")
    modalities = {}
    for name, key in wanted.items():
        places = places_of(key, tables)
        if not places:
            problems.append(
                f"modality {name!r}: nothing is called {key!r}; there are {_columns(tables)}.{suggestion(key, keys)}"
            )
            continue
        if not re.fullmatch(MODALITY_NAME, name):
            problems.append(
                f"modality {name!r}: rename it; names start with a letter, and hold only letters, digits and _."
            )
        _check(f"modality {name!r}", key, places, problems)
        if any(place.column.kind == "value" for place in places) and not any(place.column.fault() for place in places):
            problems.append(
                f"modality {name!r}: {key} holds single values ({places[0].column.shape}), not features; name others."
            )
        widths = {place.column.width for place in places if place.column.kind != "value"}
        if len(widths) > 1:
            shown = ", ".join(f"{place.table.name} {place.column.width:,}" for place in places)
            problems.append(f"modality {name!r}: has several widths: {shown}; name the column of one by FILE:{key}.")
        modalities[name] = places
    return modalities


def _check(what: str, key: str, places: Sequence[Place], problems: list[str]) -> None:
    """Append faults of columns, and the question which of several sources is meant if they have the same rows."""
    problems += list(
        dict.fromkeys(f"{what}: {fault}" for place in places if (fault := place.column.fault()) is not None)
    )
    by_source: dict[str, set[str]] = {}
    for place in places:
        by_source.setdefault(place.table.name, set()).update(place.table.ids)
    names = [*by_source]
    if all(place.column.kind == "value" for place in places):
        names = _disagreeing(places)
    if any(by_source[a] & by_source[b] for i, a in enumerate(names) for b in names[i + 1 :]):
        readings = ", ".join(f"{name}:{key}" for name in names)
        problems.append(f"{what}: {key!r} is in several files with the same rows; give one of {readings}.")


def _disagreeing(places: Sequence[Place]) -> list[str]:
    """Return the sources of values that differ for the same row."""
    first: dict[str, tuple[str, object]] = {}
    for place in places:
        for key, value in zip(place.table.ids, place.column.values, strict=False):
            source, known = first.setdefault(key, (place.table.name, value))
            if source != place.table.name and known != value and not (_is_missing(known) or _is_missing(value)):
                return [source, place.table.name]
    return []


def _columns(tables: Sequence[Table]) -> str:
    keys = dict.fromkeys(key for table in tables for key in table.columns)
    shown = ", ".join([*keys][:_MOST_SHOWN])
    return (shown or "none") + (f", ... ({len(keys):,} in all)" if len(keys) > _MOST_SHOWN else "")


def _column(what: str, asked: str | None, tables: Sequence[Table], problems: list[str]) -> list[Place]:
    """Return the places of labels, split or folds: those that the user names, or the only ones that layouts name."""
    if asked == NONE:
        return []
    if asked is not None:
        places = places_of(asked, tables)
        if not places:
            known = [key for table in tables for key in table.columns]
            problems.append(
                f"--{what}: nothing is called {asked!r}; there are {_columns(tables)}.{suggestion(asked, known)}"
            )
        _check(f"--{what}", asked, places, problems)
        return places
    role = {"labels": "label"}.get(what, what)
    keys = dict.fromkeys(key for table in tables for key, column in table.columns.items() if column.role == role)
    if len(keys) > 1:
        readings = "; ".join(f"--{what} {key} ({_shown(places_of(key, tables))})" for key in keys)
        none = {"labels": "a set without labels", "split": "all rows are train"}[what]
        problems.append(f"{what}: may be in several columns: {readings}; or --{what} {NONE} ({none}).")
        return []
    places = [place for key in keys for place in places_of(key, tables)]
    _check(what, next(iter(keys), ""), places, problems)
    return places


def _shown(places: Sequence[Place]) -> str:
    """Return the values of a column, for a question."""
    values = [value for place in places for value in place.column.values if value is not None]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if numbers and is_scale(values):
        return f"numbers from {min(numbers):g} to {max(numbers):g}; with --label-map"
    names = sorted(set(map(value_text, values)), key=_class_order)
    return ", ".join(names[:_VALUES_SHOWN]) + (", ..." if len(names) > _VALUES_SHOWN else "")


def _values(places: Sequence[Place]) -> dict[str, object]:
    """Return identifier -> value; the first one that is there counts."""
    values: dict[str, object] = {}
    for place in places:
        for key, value in zip(place.table.ids, place.column.values, strict=False):
            if values.get(key) is None:
                values[key] = None if _is_missing(value) else value
    return values


def _is_missing(value: object) -> bool:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return True
    return isinstance(value, str) and tidy(value).lower() in MISSING


def _splits(places: Sequence[Place], options: Options, problems: list[str]) -> dict[str, object]:
    """Return identifier -> split, and append a question about parts whose names say no split."""
    pairs = dict.fromkeys(
        (key, value_text(value))
        for place in places
        for key, value in zip(place.table.ids, place.column.values, strict=False)
        if not _is_missing(value)
    )
    counts = Counter(part for _, part in pairs)
    meaning = {part: options.split_map.get(part, split_of(part)) for part in counts}
    if wrong := sorted({split for split in meaning.values() if split and split not in SPLITS}):
        problems.append(f"--split-map: {', '.join(wrong)} is none of {', '.join(SPLITS)}.")
    if unknown := [part for part in counts if meaning[part] is None]:
        shown = ", ".join(f"{part!r} ({counts[part]:,} rows)" for part in unknown)
        example = ",".join(f"{part}={split}" for part, split in zip(unknown, SPLITS, strict=False))
        problems.append(
            f"split: {shown} may be train, val or test; give --split-map {example}, or leave rows out by {unknown[0]}= "
            "."
        )
    if absent := sorted(options.split_map.keys() - counts.keys()):
        problems.append(f"--split-map: there is no part {', '.join(map(repr, absent))}; there are {', '.join(counts)}.")
    parts_of: dict[str, list[str]] = {}
    for key, part in pairs:
        if meaning[part] != "":  # the user leaves this part out
            parts_of.setdefault(key, []).append(part)
    if doubled := {key: parts for key, parts in parts_of.items() if len({meaning[part] for part in parts}) > 1}:
        key, parts = next(iter(doubled.items()))
        problems.append(
            f"split: {counted(len(doubled), 'row is', 'rows are')} in several parts, such as {key!r} in "
            f"{' and in '.join(parts)}; keep each in one, or leave a part out, such as by --split-map {parts[-1]}= ."
        )
    return {key: meaning[parts[0]] for key, parts in parts_of.items()}


def _blank(places: Sequence[Place]) -> bool:
    """Return whether a column of single values has rows, and none of them has a value."""
    if any(place.column.kind != "value" for place in places):
        return False
    values = _values(places).values()
    return bool(values) and all(value is None for value in values)


def _labels(
    places: Sequence[Place], options: Options, problems: list[str]
) -> tuple[dict[str, object], list[str] | None]:
    """Return identifier -> class, and the classes in their order; None if it follows from the names."""
    key, classes = places[0].column.key, list(places[0].column.classes)
    if any(place.column.kind != "value" for place in places):
        problems.append(
            f"--labels: {key} has {places[0].column.shape}, not one value for each row; name another column. Several "
            "labels per sample, a 0 or 1 for each class, are read from an .npz file of arrays only, with --modalities."
        )
        return {}, None
    values = _values(places)
    if options.label_map is not None:
        try:
            label_map = parse_label_map(options.label_map)
        except LabelMapError as error:
            problems.append(str(error))
            return {}, None
        return dict(zip(values, label_map.apply(list(values.values()), problems), strict=True)), label_map.classes
    if is_scale(list(values.values())):
        problems.append(
            f"labels: {key} holds {_shown(places).partition(';')[0]}, a scale and no classes; give --label-map with "
            f"thresholds, such as 'negative < 0 <= positive', or a convention: {', '.join(CONVENTIONS)}."
        )
        return {}, None
    if classes:
        named: dict[str, object] = {}
        for each, value in values.items():
            index = int(value) if isinstance(value, int | float) else -1
            absent = value is None or value == _NO_CLASS
            named[each] = classes[index] if 0 <= index < len(classes) else None if absent else str(value)
        return named, classes
    return {each: None if value is None else value_text(value) for each, value in values.items()}, None


def _groups(
    tables: Sequence[Table], options: Options, problems: list[str]
) -> dict[str, tuple[str, dict[str, object], bool]]:
    """Return name -> column, identifier -> group, and whether the user asked for it."""
    groups: dict[str, tuple[str, dict[str, object], bool]] = {}
    for name, key in options.groups.items():
        option = "--speakers" if name == SPEAKER else f"--groups {name}"
        places = places_of(key, tables)
        if not places:
            problems.append(f"{option}: nothing is called {key!r}; there are {_columns(tables)}.")
        groups[name] = (key, {each: _group(value) for each, value in _values(places).items()}, True)
    for role in ("speaker", "group"):
        keys = dict.fromkeys(key for table in tables for key, column in table.columns.items() if column.role == role)
        for key in keys:
            name = SPEAKER if role == "speaker" else modality_name(key)
            if name not in groups and (role == "group" or len(keys) == 1):
                values = _values(places_of(key, tables))
                groups[name] = (key, {each: _group(value) for each, value in values.items()}, False)
    return groups


def _group(value: object) -> object:
    return None if value is None else value_text(value)
