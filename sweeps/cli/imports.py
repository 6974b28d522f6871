"""`conclugen features import`: turn files of features in any layout into a feature set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from conclugen.counts import counted
from conclugen.features.manifest import MANIFEST_FILE, SPEAKER, SPLITS, FeatureSetError
from conclugen.files.durable import write_whole
from conclugen.formats.options import Header, Join, NonFinite, Options, Padding, Pool, Rows, Samples
from sweeps.cli.console import Encoding, MergeLabels, bad_input, console, progress_bar
from sweeps.cli.feature_sets import Dtype, bad_dtype, pairs, print_class_findings, print_manifest
from sweeps.config import ConfigError
from sweeps.tables import Fitted

__all__ = ["import_features"]

_IDS_SHOWN = 3
_VECTORS = 2
"""Dimensions of an array of vectors."""
_DECISIONS = (
    "format", "ids", "label_map", "split_map", "val_share", "padding", "rows", "samples", "header", "encoding",
    "keep_incomplete",
)  # fmt: skip
"""Options that an .npz file with a row for each sample, and features named by --modalities, does not need."""


def import_features(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Files and folders of features and labels, in any of the known layouts."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the feature set; must not hold one.")],
    modalities: Annotated[
        str,
        typer.Option(
            metavar="NAME=KEY,...",
            help="Modality names and their columns, in modality order. Default: all features that the files name; "
            "an .npz file of arrays needs them.",
        ),
    ] = "",
    labels: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Column of the labels, or none. Default: the only one that a layout names."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Column of the splits, or none. Default: where they are; else all rows are train."
        ),
    ] = None,
    folds: Annotated[
        str | None, typer.Option(metavar="KEY", help="Column of the fold numbers, for cross-validated sets.")
    ] = None,
    speakers: Annotated[
        str | None, typer.Option(metavar="KEY", help="Column of the speakers, by which `verify` finds leakage.")
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=KEY",
            help="Other groups of samples that go together, and their column, such as video=video_id; may be repeated.",
        ),
    ] = None,
    format: Annotated[  # noqa: A002
        str | None, typer.Option(metavar="NAME", help="Layout of the files. Default: found by what they hold.")
    ] = None,
    ids: Annotated[
        str | None, typer.Option(metavar="KEY", help="Column of the identifiers. Default: found by its name.")
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            metavar="MAP",
            help="Names of labels, such as '0=sad,1=happy', thresholds, such as 'negative < 0 <= positive', or a "
            "convention, such as mosi-2, mosi-7 or sims-3.",
        ),
    ] = None,
    split_map: Annotated[
        str,
        typer.Option(metavar="PART=SPLIT,...", help="Splits of parts, such as test1_corpus=test; PART= leaves it out."),
    ] = "",
    val_share: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of train that becomes val, where no row is; dialogues, videos or speakers stay whole.",
        ),
    ] = None,
    pool: Annotated[Pool, typer.Option(help="How the true frames of a sequence become one vector.")] = "mean",
    padding: Annotated[
        Padding | None,
        typer.Option(
            help="Frames that are padding, where no length says it: those of zeros at an end, or none; clip cuts "
            "lengths to the frames that are there."
        ),
    ] = None,
    rows: Annotated[Rows | None, typer.Option(help="What a row of a table is, or a file of a folder.")] = None,
    samples: Annotated[Samples | None, typer.Option(help="Where the samples of a matrix in a .mat file are.")] = None,
    header: Annotated[Header | None, typer.Option(help="Whether the first line of a table names its columns.")] = None,
    non_finite: Annotated[
        NonFinite, typer.Option(help="What to do with NaN and infinite values: refuse them, take 0, or drop the rows.")
    ] = "refuse",
    join: Annotated[Join, typer.Option(help="How rows of several files are matched.")] = "ids",
    keep_incomplete: Annotated[
        bool, typer.Option("--keep-incomplete", help="Keep rows that lack some of the modalities, with gaps.")
    ] = False,
    encoding: Encoding = None,
    merge_labels: MergeLabels = False,
    dtype: Dtype = "float32",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what was understood, and write nothing.")] = False,
) -> None:
    """Turn files of features into a feature set of memory-mapped shards.

    Sequences are averaged over their true lengths, and rows of several files are joined by their identifiers. Where a
    file can be read in two ways, both are listed with the option that decides.
    """
    with bad_input():
        problems: list[str] = []
        named = pairs("--modalities", modalities, "key", problems) if modalities else {}
        key_of = _groups(speakers, groups or [], problems)
        parts = _parts(split_map, problems)
        if problems:
            raise ConfigError([*problems, *bad_dtype(dtype)])
        options = Options(
            format=format, modalities=named, labels=labels, split=split, folds=folds, groups=key_of, ids=ids,
            label_map=label_map, split_map=parts, val_share=val_share, pool=pool, padding=padding, rows=rows,
            samples=samples, header=header, non_finite=non_finite, join=join, keep_incomplete=keep_incomplete,
            encoding=encoding, merge_labels=merge_labels, dtype=dtype,
        )  # fmt: skip
        if _arrays_alone(files, options, dry_run):
            _import_arrays(files[0], out, options)
            return
        from conclugen.formats.plan import understand

        accounts = {kind: out.parent / f"{out.name}.{kind}.txt" for kind in ("left_out", "incomplete")}
        _check_places(out, [*accounts.values()])
        with progress_bar() as progress:
            progress.add_task("Looking at the files", total=None)
            plan = understand(files, options)
    _print_plan(plan)
    if dry_run:
        typer.echo("Nothing was written (--dry-run).")
        return
    with bad_input():
        from conclugen.formats.importing import write

        merges: list[str] = []
        with progress_bar() as progress:
            task = progress.add_task("Importing", total=plan.blocks)
            manifest = write(plan, out, note=merges.append, tick=lambda count: progress.advance(task, count))
        listed = {"left_out": plan.left_out, "incomplete": plan.incomplete}
        for kind, by_reason in listed.items():
            if lines := [f"{reason}: {each}\n" for reason, ids in by_reason.items() for each in ids]:
                write_whole(accounts[kind], "".join(lines).encode())
    print_manifest(out, manifest)
    for sentence in merges:
        typer.echo(sentence)
    for kind, what in (("left_out", "Left out"), ("incomplete", "Kept with gaps")):
        if count := sum(map(len, listed[kind].values())):
            typer.echo(f"{what}: {counted(count, 'row')}, listed in {accounts[kind]}.")
    print_class_findings(out, manifest)


def _arrays_alone(files: Sequence[Path], options: Options, dry_run: bool) -> bool:
    """Return whether the only file is an .npz file of arrays, each with a row for each sample."""
    decided = any(getattr(options, name) for name in _DECISIONS) or dry_run
    if len(files) != 1 or decided or not options.modalities or (options.pool, options.non_finite) != ("mean", "refuse"):
        return False
    if files[0].suffix.lower() != ".npz":
        return False
    from conclugen.formats.content import shapes_in_npz

    shapes = shapes_in_npz(files[0])
    return not any(len(shapes.get(key, ())) > _VECTORS for key in options.modalities.values())


def _import_arrays(file: Path, out: Path, options: Options) -> None:
    """Import the arrays of an .npz file.

    Raises:
        FeatureSetError: the file has problems.
    """
    from conclugen.features.importing import import_npz

    merges: list[str] = []
    manifest = import_npz(
        file, out, options.modalities, labels=options.labels, split=options.split, folds=options.folds,
        groups=options.groups, merge_labels=options.merge_labels, dtype=options.dtype, note=merges.append,
    )  # fmt: skip
    print_manifest(out, manifest)
    for sentence in merges:
        typer.echo(sentence)
    print_class_findings(out, manifest)


def _check_places(out: Path, accounts: Sequence[Path]) -> None:
    """Refuse places of output that are taken.

    Raises:
        FeatureSetError: there is a set, a file, or the account of an earlier import.
    """
    problems = []
    if (out / MANIFEST_FILE).exists():
        problems.append(f"--out {out}: already holds a feature set; choose another folder or remove it first.")
    if out.is_file():
        problems.append(f"--out {out}: is a file; give a folder that does not exist yet.")
    problems += [
        f"{account}: exists, from an earlier import; remove it, or choose another --out."
        for account in accounts
        if account.exists()
    ]
    if problems:
        raise FeatureSetError("\n".join(problems))


def _groups(speakers: str | None, groups: Sequence[str], problems: list[str]) -> dict[str, str]:
    """Return name -> key of all groups, and append messages about bad parts of ``--groups`` to ``problems``."""
    others = pairs("--groups", ",".join(groups), "key", problems) if groups else {}
    if SPEAKER in others:
        problems.append(f"--groups {SPEAKER}={others[SPEAKER]}: give the speakers by --speakers {others[SPEAKER]}.")
    return ({} if speakers is None else {SPEAKER: speakers}) | others


def _parts(text: str, problems: list[str]) -> dict[str, str]:
    """Return part -> split of ``--split-map``; an empty split leaves the part out."""
    parts: dict[str, str] = {}
    for piece in filter(None, map(str.strip, text.split(","))):
        part, equals, name = piece.partition("=")
        if not equals or not part.strip():
            problems.append(
                f"--split-map {text}: {piece!r} is not of the form PART=SPLIT; give such pairs, with commas."
            )
        parts[part.strip()] = name.strip()
    return parts


def _print_plan(plan: Any) -> None:
    """Print what was understood: files, features, labels by split, and what is left out."""
    table = Table(title="Understood", title_justify="left", show_header=False)
    for found in plan.found:
        names = counted(len({key for each in found.tables for key in each.ids}), "row")
        table.add_row(found.source.path.name, f"{found.layout.name}: {found.evidence}; {names}")
    for name, places in plan.modalities.items():
        for place in places:
            column = place.column
            how = f"; {plan.options.pool} over true frames ({column.lengths})" if column.kind == "sequence" else ""
            table.add_row(name, f"{place.table.name}:{column.key} {column.shape}{how}; width {plan.width(name):,}")
    complete = "some modalities at least" if plan.options.keep_incomplete else "everything"
    table.add_row("ids", f"{counted(len(plan.ids), 'row')} with {complete}, such as {', '.join(plan.ids[:_IDS_SHOWN])}")
    for what, key in plan.columns.items():
        table.add_row(what, f"from {key}")
    console().print(Fitted(table))
    _print_counts(plan)
    for note in plan.notes:
        typer.echo(f"note: {note}")
    for what, by_reason in (("Left out", plan.left_out), ("Kept with gaps", plan.incomplete)):
        for reason, ids in by_reason.items():
            shown = ", ".join(ids[:_IDS_SHOWN]) + (", ..." if len(ids) > _IDS_SHOWN else "")
            typer.echo(f"{what}: {counted(len(ids), 'row')}: {reason} ({shown})")


def _print_counts(plan: Any) -> None:
    """Print how many rows of each class a split has."""
    parts: Sequence[Any] = plan.splits or plan.folds or ["train"] * len(plan.ids)
    order: Mapping[Any, int] = {name: place for place, name in enumerate(SPLITS)}
    names = sorted(set(parts), key=lambda name: (order.get(name, len(order)), str(name)))
    counts = Counter(zip(parts, plan.labels or [""] * len(parts), strict=True))
    table = Table("class", *map(str, names))
    for column in table.columns[1:]:
        column.justify = "right"
    for label in plan.classes or ():
        table.add_row(label, *(f"{counts[name, label]:,}" for name in names))
    table.add_row("all", *(f"{sum(count for (part, _), count in counts.items() if part == name):,}" for name in names))
    console().print(Fitted(table))
