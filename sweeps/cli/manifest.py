"""`conclugen manifest`: make and check clip lists."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from conclugen.counts import counted
from conclugen.datasets import caer as caer_layout
from conclugen.datasets import meld as meld_layout
from conclugen.datasets import mosei as mosei_layout
from conclugen.datasets import ravdess as ravdess_layout
from conclugen.datasets import table as own_table
from conclugen.datasets import voxceleb2 as voxceleb2_layout
from conclugen.datasets.clips import ClipList, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.datasets.roots import common_root
from conclugen.datasets.survey import missing_files, shown
from conclugen.features.manifest import SPLITS
from conclugen.files.durable import write_whole
from sweeps.cli.console import Encoding, MergeLabels, bad_input, console
from sweeps.tables import Fitted

__all__ = ["app"]

app = typer.Typer(
    help="Turn datasets into clip lists, which name the clips to extract, and check such lists.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_FILES_SHOWN = 5
_CLIPS_SHOWN = 10

Root = Annotated[Path, typer.Option(metavar="DIR", help="Folder that the dataset was unpacked in.")]
Out = Annotated[Path, typer.Option(metavar="FILE.parquet", help="The clip list; must be new.")]


class _Annotation(StrEnum):
    EMOTION = "emotion"
    SENTIMENT = "sentiment"


Kind = Annotated[_Annotation, typer.Option("--labels", help="Which annotation becomes the labels.")]


@app.command()
def voxceleb2(
    root: Root,
    out: Out,
    transcripts: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Transcripts: columns sample_id, transcript.")
    ] = None,
    encoding: Encoding = None,
    val_share: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="Share of the dev speakers that are val, not train.")
    ] = voxceleb2_layout.VAL_SHARE,
) -> None:
    """List VoxCeleb2: {dev,test}/mp4/SPEAKER/VIDEO/NUMBER.mp4, unlabelled."""
    _make(
        "voxceleb2",
        root,
        out,
        lambda: voxceleb2_layout.read(root, transcripts=transcripts, encoding=encoding, val_share=val_share),
    )


@app.command()
def caer(root: Root, out: Out) -> None:
    """List CAER: {train,validation,test}/EMOTION/NUMBER.avi, or another kind of video, 7 emotions."""
    _make("caer", root, out, lambda: caer_layout.read(root))


@app.command()
def meld(
    root: Root,
    out: Out,
    labels: Kind = _Annotation.EMOTION,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="List the utterances without their videos, which then may be absent.")
    ] = False,
    encoding: Encoding = None,
) -> None:
    """List MELD: {train,dev,test}_sent_emo.csv (or meld_utterances.csv) and videos, 7 emotions or 3 sentiments."""
    _make(
        "meld",
        root,
        out,
        lambda: meld_layout.read(root, labels=_annotation(labels), text_only=text_only, encoding=encoding),
    )


@app.command()
def mosei(root: Root, out: Out, labels: Kind = _Annotation.EMOTION) -> None:
    """List CMU-MOSEI: Raw/, CMU_MOSEI_Labels.csd, cmu_mosei_std_folds.py, any of 6 emotions or one of 3 sentiments."""
    _make("mosei", root, out, lambda: mosei_layout.read(root, labels=_annotation(labels)))


@app.command()
def ravdess(root: Root, out: Out) -> None:
    """List RAVDESS: speech with video and sound (01-01-*.mp4) in any folders, 8 emotions, 10 folds of actors."""
    _make("ravdess", root, out, lambda: ravdess_layout.read(root))


@app.command("import")
def import_table(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns of a clip list, labels by name.")],
    root: Annotated[
        list[Path], typer.Option(metavar="DIR", help="Folder that relative videos are in; may be given several times.")
    ],
    out: Out,
    classes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Classes in their order; the sorted names without.")
    ] = None,
    multilabel: Annotated[
        bool, typer.Option("--multilabel", help="A clip may have several labels, separated by semicolons.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="List clips whose videos are not there yet.")
    ] = False,
    merge_labels: MergeLabels = False,
    encoding: Encoding = None,
) -> None:
    """List clips of your own: sample_id, split or fold, video, start, end, transcript, labels, speaker, group:NAME.

    Clips of one group, such as a dialogue (group:dialogue), are not independent of each other.
    """
    order = classes.split(",") if classes is not None else None
    common = common_root(root)

    def absent(clips: Listing) -> list[str]:
        missing = [] if allow_missing else missing_files(clips.clips, common)
        remedy = "correct --root or the column video (folders are separated by /), or list files that are still to come"
        problems = _absent(missing, len(clips.clips), lambda row: f"line {(clips.lines or ())[row]}")
        return [*problems, f"{remedy} with --allow-missing."] if problems else []

    def listing() -> Listing:
        if no_folders := [folder for folder in root if not folder.is_dir()]:
            raise ClipListError(
                [f"--root {folder}: is no folder; give the one that holds videos." for folder in no_folders]
            )
        return own_table.read(
            file,
            classes=order,
            several=multilabel,
            merge_labels=merge_labels,
            encoding=encoding,
            roots=root,
            check=absent,
        )

    _make(file.stem, common, out, listing, absent, f"{file}: ")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="A clip list, made by any tool.")],
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the videos. Default: the one that the list names.")
    ] = None,
) -> None:
    """Check a clip list: every rule, and that every video exists."""
    with bad_input():
        if root is not None and not root.is_dir():
            raise ClipListError([f"--root {root}: is no folder; give the one that holds the videos."])
        clips = ClipList.read(file, root)
        missing = missing_files(clips, Path(clips.header.root))
        if problems := _absent(missing, len(clips), lambda row: clips.place([row])):
            remedy = f"give the videos' folder by --root (now {clips.header.root}), or make the list again."
            raise ClipListError([f"{file}: {problem}" for problem in [*problems, remedy]])
    _print(file, clips)


def _annotation(kind: _Annotation) -> Literal["emotion", "sentiment"]:
    return "emotion" if kind is _Annotation.EMOTION else "sentiment"


def _absent(missing: Sequence[tuple[int, Path, str]], clips: int, place: Callable[[int], str]) -> list[str]:
    """Return a message for each of the first rows whose video cannot be read, and the number of all."""
    problems = [f"{place(row)}: video {shown(str(path))} is {fault}." for row, path, fault in missing[:_CLIPS_SHOWN]]
    if len(missing) > _CLIPS_SHOWN:
        problems.append(f"{len(missing):,} of {clips:,} clips lack their video; these are the first.")
    return problems


def _make(
    dataset: str,
    root: Path,
    out: Path,
    read: Callable[[], Listing],
    check: Callable[[Listing], list[str]] = lambda _: [],
    source: str = "",
) -> None:
    """Write the clip list that ``read`` returns if ``check`` finds no problem; print its counts and what it lacks."""
    accounts = {name: out.parent / f"{out.name}.{name}.txt" for name in ("missing", "left_out")}
    with bad_input():
        outputs = (out, *accounts.values())
        problems = [f"--out {path}: exists; remove it, or choose another." for path in outputs if path.exists()]
        if out.is_dir():
            problems = [f"--out {out}: is a folder; give a file that does not exist yet."]
        if not out.parent.is_dir():
            problems.append(f"--out {out}: there is no folder {out.parent}; make it first.")
        if not root.is_dir():
            problems.append(f"--root {root}: is no folder; give the one that holds the files.")
        if problems:
            raise ClipListError(problems)
        listing = read()
        problems = check(listing)
        try:
            clips = ClipList.of(listing.clips, dataset=dataset, root=root, labels=listing.labels, lines=listing.lines)
        except ClipListError as error:
            accounts_given = (("missing", {"files": listing.missing}), ("left out", listing.left_out))
            problems = [
                *error.problems,
                *problems,
                *(
                    f"{account}: {len(items):,} ({reason}), such as {items[0]}."
                    for account, by_reason in accounts_given
                    for reason, items in by_reason.items()
                    if items
                ),
            ]
        if problems:
            raise ClipListError([f"{source}{problem}" for problem in problems])
        left_out = [f"{reason}: {item}" for reason, items in listing.left_out.items() for item in items]
        for lines, file in zip((listing.missing, left_out), accounts.values(), strict=True):
            if lines:
                write_whole(file, "".join(f"{line}\n" for line in lines).encode())
        clips.write(out)
    _print(out, clips)
    for note in listing.notes:
        typer.echo(note)
    if listing.missing:
        count = len(listing.missing)
        typer.echo(f"Missing: {counted(count, 'file')}, listed in {accounts['missing']}:")
        typer.echo(_first(listing.missing))
    if left_out:
        typer.echo(f"Left out: {len(left_out):,}, listed in {accounts['left_out']}:")
        for reason, items in listing.left_out.items():
            typer.echo(f"  {len(items):,}: {reason}\n{_first(items, '    ')}")


def _first(items: Sequence[str], indent: str = "  ") -> str:
    """Return lines with the first items, and the number of the others."""
    more = [f"and {len(items) - _FILES_SHOWN:,} more"] if len(items) > _FILES_SHOWN else []
    return "\n".join(f"{indent}{line}" for line in [*items[:_FILES_SHOWN], *more])


def _print(file: Path, clips: ClipList) -> None:
    """Print the number of clips of each split, even of an empty one, or of each fold, in all and per class."""
    labels, counts = clips.header.labels, clips.counts()
    typer.echo(f"{file}: {counted(len(clips), 'clip')} of {clips.header.dataset}; videos are in {clips.header.root}")
    classes = labels.classes if labels is not None else ()
    if "train" in counts:
        counts = {split: counts.get(split, (0, (0,) * len(classes))) for split in SPLITS}
    table = Table()
    table.add_column("")
    for part in counts:
        table.add_column(part, justify="right")
    table.add_row("clips", *(f"{total:,}" for total, _ in counts.values()))
    for index, name in enumerate(classes):
        table.add_row(name, *(f"{by_class[index]:,}" for _, by_class in counts.values()))
    console().print(Fitted(table))
    if counts_by_group := clips.group_counts():
        typer.echo(f"Groups: {', '.join(f'{count:,} by {name}' for name, count in counts_by_group.items())}.")
