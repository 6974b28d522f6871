"""The contents of a bundle: what a reviewer needs to check a report, as files of one ZIP.

    README.txt            what is what, and how to check it
    CHECKLIST.md          reproducibility checklist; answers cite these files
    MANIFEST.json         the command, its options, versions, sweeps
    SHA256SUMS            checksum of every other file
    published.csv         published numbers, if the report shows some
    report/               every file of the report
    sweeps/<N>-<NAME>/    a sweep: config.yaml, space.yaml, sessions.json, ledger/

A sweep's folder in the bundle is one that `conclugen report` reads. Features and heads are left out: they are large,
and often not the authors' to share. Fingerprints tell whether somebody has the same features.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from conclugen.counts import counted
from reports.bundle.archive import SUMS, write_archive
from reports.bundle.checklist import Facts, checklist
from reports.bundle.manifest import MANIFEST, BundledSweep, Manifest, Options
from reports.output.tables import file_name
from reports.report import comparison_names
from reports.statistics.ablation import latest_config, latest_record
from search_spaces import named_space_text, named_spaces
from sweeps.ledger import Ledger, Record

__all__ = ["PUBLISHED", "REPORT", "SPACE", "SweepFiles", "write_bundle"]

PUBLISHED = "published.csv"
REPORT = "report"
SPACE = "space.yaml"
_LEDGER = "ledger"

Content = Callable[[], bytes]


@dataclass(frozen=True)
class SweepFiles:
    """The files of a sweep that a bundle holds."""

    given: Path
    """The sweep's folder, as it was given to the command."""
    ledger: Ledger
    documents: Mapping[str, Path]
    """Name in the bundle -> file, such as the configuration."""


def write_bundle(
    path: Path,
    files: Sequence[Path],
    sweeps: Sequence[SweepFiles],
    ledgers: Sequence[Sequence[Record]],
    rows: Mapping[str, int],
    options: Options,
    command: str,
    environment: Mapping[str, str],
    published: Path | None = None,
) -> Manifest:
    """Write the bundle of a report; if that fails, ``path`` is as it was before.

    Args:
        path: the ZIP.
        files: files of the report.
        sweeps: files of each sweep.
        ledgers: records of each sweep that the report was computed from.
        rows: name of each table of the report -> its number of rows.
        options: options of the report.
        command: command line that makes the report.
        environment: processor and versions that computed the report.
        published: file of published numbers that the report shows.

    Raises:
        LedgerError: a record is no longer as the report saw it.
        OSError: a file cannot be read or written.
    """
    members: dict[str, Content] = {f"{REPORT}/{file.name}": file.read_bytes for file in files}
    if published is not None:
        members[PUBLISHED] = published.read_bytes
    described = []
    names = comparison_names([sweep.given for sweep in sweeps])
    for number, (sweep, records, shown) in enumerate(zip(sweeps, ledgers, names, strict=True), start=1):
        folder = f"sweeps/{number}-{file_name(records[-1].sweep.partition(' (')[0])}"
        held = dict(_sweep_members(sweep, records))
        members |= {f"{folder}/{name}": content for name, content in held.items()}
        described.append(_described(sweep, records, shown, folder, SPACE in held))
    manifest = Manifest(command=command, options=options, environment=environment, sweeps=described)
    members[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode
    members["README.txt"] = _readme(manifest).encode
    members["CHECKLIST.md"] = checklist(Facts(manifest, ledgers, [*members, "CHECKLIST.md", SUMS], rows)).encode
    write_archive(path, members)
    return manifest


def _sweep_members(sweep: SweepFiles, records: Sequence[Record]) -> Iterator[tuple[str, Content]]:
    for name, file in sweep.documents.items():
        yield name, file.read_bytes
    if (space := _space(latest_config(records)["space"])) is not None:
        yield SPACE, space
    for record in records:
        yield f"{_LEDGER}/{record.key}.arrow", partial(sweep.ledger.content, record.key)
    for path in sweep.ledger.former():
        yield f"{_LEDGER}/{path.parent.name}/{path.name}", path.read_bytes


def _space(name: str) -> Content | None:
    """Return the content of a search space, named or in a file; None if the file is gone."""
    if name in named_spaces():
        return partial(named_space_text, name)
    with suppress(OSError):  # the report has then done without it, too
        content = Path(name).read_bytes()
        return lambda: content
    return None


def _described(sweep: SweepFiles, records: Sequence[Record], shown: str, folder: str, with_space: bool) -> BundledSweep:
    versions = dict.fromkeys(tuple(sorted(record.versions.items())) for record in records)
    return BundledSweep(
        name=records[-1].sweep,
        given=str(sweep.given),
        shown=shown,
        folder=folder,
        records=len(records),
        former_records=len(sweep.ledger.former()),
        space=f"{folder}/{SPACE}" if with_space else None,
        features=latest_record(records).features,
        versions=[dict(combination) for combination in versions],
    )


def _readme(manifest: Manifest) -> str:
    lines = [
        "What a reviewer needs to check a report of ConCluGen sweeps.",
        "",
        "CHECKLIST.md      reproducibility checklist; its answers cite the files here",
        f"{MANIFEST}     the command that made the report, its options, and all versions",
        f"{SUMS}        SHA-256 of every other file",
        f"{REPORT}/           the report: open index.html; every table as CSV, Parquet, Markdown and LaTeX",
    ]
    if manifest.options.published:
        lines.append(f"{PUBLISHED}     published numbers that the report shows beside its own")
    for sweep in manifest.sweeps:
        records, former = counted(sweep.records, "record"), counted(sweep.former_records, "former record")
        lines += [
            f"{sweep.folder}/",
            f"    sweep {sweep.name}: configuration, search space, sessions,",
            f"    and its ledger: {records}, and {former} in subfolders, which no number comes from",
        ]
    lines += [
        "",
        "To check that no file has changed, unpack the ZIP, and in its folder run",
        f"    sha256sum --check {SUMS}",
        "",
        "To compute every number of the report again from the ledgers, and to compare them, run",
        "    conclugen report verify FILE.zip",
        "",
        "To make the whole report again, unpack the ZIP, and in its folder run",
        f"    {_again(manifest)}",
        "",
        "To run a job of the ledger again, you need the same features. Their fingerprints are in the checklist. Set",
        "their paths in the sweep's config.yaml, and run `conclugen sweep replay FOLDER --trial KEY`.",
        "",
        "A record is an Arrow stream of one row. pyarrow.ipc.open_stream(FILE).read_all() reads it.",
        "",
        "Not here: features, trained heads, logs. Records and MANIFEST.json name hosts and folders of the authors.",
        "",
    ]
    return "\n".join(lines)


def _again(manifest: Manifest) -> str:
    options = manifest.options
    parts = ["conclugen report", *(sweep.folder for sweep in manifest.sweeps), "--out again"]
    if options.published:
        parts.append(f"--published {PUBLISHED}")
    if options.encoding is not None:
        parts.append(f"--encoding {options.encoding}")
    if options.equivalent != Options().equivalent:
        parts.append(f"--equivalent {options.equivalent!r}")
    if options.compare:
        parts.append("--compare")
    return " ".join(parts)
