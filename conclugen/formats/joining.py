"""The one place where columns of several files become one set of rows: by identifier.

A row that lacks a modality, a label or a split is left out, and each of these is listed with its reason. On request, a
row that lacks some of its modalities is kept, and listed, too. Rows of files without identifiers are matched by their
order, if all of the part's files have as many.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from conclugen.formats.recognition import Found
from conclugen.formats.table import Column, Table

__all__ = ["Joined", "Place", "join", "match_by_position", "places_of", "reason_of"]


@dataclass(frozen=True)
class Place:
    """A column of a table."""

    table: Table
    column: Column


@dataclass
class Joined:
    """The rows that have everything, and those that lack something."""

    ids: list[str]
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> identifiers."""
    lacking: dict[str, dict[str, str]] = field(default_factory=dict)
    """Identifier of a row that is kept -> modality that it lacks -> why, which may be empty."""


def places_of(text: str, tables: Sequence[Table]) -> list[Place]:
    """Return the columns that ``text`` names: ``column``, ``file:column``, or a file with a single feature.

    A column that several tables have, such as the parts of a data set, is several places.
    """
    exact = [Place(table, table.columns[text]) for table in tables if text in table.columns]
    if exact:
        return exact
    source, colon, key = text.partition(":")
    if colon:
        return [place for table in tables if table.name == source for place in places_of(key, [table])]
    single = []
    for table in tables:
        features = [column for column in table.columns.values() if column.role == "feature"]
        if table.name == text and len(features) == 1:
            single.append(Place(table, features[0]))
    if single:
        return single
    patterns = [(table, table.pattern(text)) for table in tables]
    return [Place(table, column) for table, column in patterns if column is not None]


def match_by_position(found: Sequence[Found], by_order: bool, problems: list[str]) -> list[Table]:
    """Return all tables, after checking that tables without identifiers can be matched.

    Args:
        found: the sources.
        by_order: whether the user says that all rows are in the same order.
        problems: list for a message if rows cannot be matched, or only by guessing.
    """
    tables = [table for each in found for table in each.tables]
    unnamed = [table for table in tables if not table.named]
    named = [table for table in tables if table.named]
    if named and unnamed and not by_order:
        sizes = sorted({len(table) for table in named} & {len(table) for table in unnamed})
        remedy = "give --ids COLUMN"
        if sizes:
            remedy += f"; or, if all have their {sizes[0]:,} rows in the same order, give --join position"
        problems.append(
            f"{', '.join(dict.fromkeys(table.name for table in unnamed))}: rows have no identifiers, those of "
            f"{', '.join(dict.fromkeys(table.name for table in named))} have; {remedy}."
        )
        return tables
    if by_order and named and unnamed:
        return _renamed(named, unnamed, problems)
    by_part: dict[str, dict[str, int]] = {}
    for table in unnamed:
        by_part.setdefault(_part(table), {})[table.name] = len(table)
    for part, sizes_of in by_part.items():
        if len(set(sizes_of.values())) > 1:
            shown = ", ".join(f"{name} has {size:,}" for name, size in sizes_of.items())
            problems.append(
                f"rows{f' of {part}' if part else ''} are matched by their order, but {shown}; give files of the same "
                "rows, or files with identifiers."
            )
    return tables


def _renamed(named: Sequence[Table], unnamed: Sequence[Table], problems: list[str]) -> list[Table]:
    """Return all tables, with the identifiers of the named ones given to the others by order."""
    from dataclasses import replace

    tables = list(named)
    for table in unnamed:
        same = [other for other in named if len(other) == len(table) and _part(other) in ("", _part(table))]
        if len({tuple(other.ids) for other in same}) != 1:
            problems.append(
                f"--join position: no file with identifiers, or several, have the {len(table):,} rows of {table.name}."
            )
            continue
        tables.append(replace(table, ids=same[0].ids, named=True))
    return tables


def _part(table: Table) -> str:
    split = table.columns.get("split")
    parts = set(split.values) if split is not None else set()
    return str(parts.pop()) if len(parts) == 1 else ""


def join(
    modalities: Mapping[str, Sequence[Place]],
    values: Mapping[str, Mapping[str, object]],
    problems: list[str],
    *,
    keep_incomplete: bool = False,
) -> Joined:
    """Return the identifiers that have all modalities and values.

    Args:
        modalities: modality -> its places.
        values: what is needed, such as ``label`` -> identifier -> value; None leaves a row out.
        problems: list for messages about identifiers that come twice, or that do not meet.
        keep_incomplete: whether some of the modalities are enough.
    """
    order: dict[str, None] = {}
    there: dict[str, set[str]] = {}
    reasons: dict[str, dict[str, str]] = {}
    for name, places in modalities.items():
        counts: Counter[str] = Counter()
        reasons[name] = {}
        for place in places:
            counts.update(place.table.ids)
            for row, reason in place.column.missing.items():
                reasons[name][place.table.ids[row]] = reason
        if doubled := [key for key, count in counts.items() if count > 1]:
            problems.append(
                f"modality {name!r}: {len(doubled):,} identifiers come more than once, such as {doubled[0]!r} "
                f"({counts[doubled[0]]:,} times); name another --ids, or leave all but one out."
            )
        there[name] = counts.keys() - reasons[name].keys()
        order |= dict.fromkeys(counts)
    for of_id in values.values():
        order |= dict.fromkeys(of_id)
    joined = Joined([])
    for key in order:
        lacking = [name for name in modalities if key not in there[name]]
        without = [what for what, of_id in values.items() if of_id.get(key) is None]
        if not without and (not lacking or (keep_incomplete and len(lacking) < len(modalities))):
            joined.ids.append(key)
            if lacking:
                joined.lacking[key] = {name: reasons[name].get(key, "") for name in lacking}
            continue
        if len(lacking) == len(modalities) and not any(key in reasons[name] for name in lacking):
            reason = "no features"
        elif lacking and not (keep_incomplete and without):
            reason = reason_of({name: reasons[name].get(key, "") for name in lacking})
        else:
            reason = f"no {' and no '.join(without)}"
        joined.left_out.setdefault(reason, []).append(key)
    if modalities and not joined.ids and not problems:
        problems.append(_nothing_in_common(modalities, values))
    return joined


def reason_of(lacking: Mapping[str, str]) -> str:
    """Return what a row lacks, modality -> why, in words."""
    return "; ".join(f"no {name}" + (f" ({why})" if why else "") for name, why in lacking.items())


def _nothing_in_common(modalities: Mapping[str, Sequence[Place]], values: Mapping[str, Mapping[str, object]]) -> str:
    """Return a message with identifiers of each kind, so that users see how they differ."""
    firsts = {
        name: next((place.table.ids[0] for place in places if place.table.ids), None)
        for name, places in modalities.items()
    }
    firsts |= {
        what: next((key for key, value in of_id.items() if value is not None), None) for what, of_id in values.items()
    }
    shown = ", ".join(f"{name}: {'none' if first is None else repr(first)}" for name, first in firsts.items())
    return f"no identifier has everything; the first ones are {shown}. Make them the same in all files."
