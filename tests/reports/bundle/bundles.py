"""Builders of sweep folders with planted records, and of bundles of their reports."""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from conclugen.settings.documents import dump
from reports.bundle.archive import ROOT, SUMS
from reports.bundle.contents import SweepFiles, write_bundle
from reports.bundle.manifest import Manifest, Options
from reports.report import report
from reports.statistics.shared_sets import named_apart
from reports.writing import write_report
from sweeps.ledger import Ledger, Metric, Predictions, Record
from tests.reports.records import config, failed, pruned, record, trial

ENVIRONMENT = {"conclugen-sweeps": "0.3.0", "pandas": "3.0"}
CONFIG = config(
    name="s",
    space="small",
    search={"nested": [], "sampler": "tpe", "pruner": "median"},
    probe={"label_draws": 1},
)
CLASSES = ("a", "b")


def confirmed(method: str, seed: int, predicted: Sequence[int], score: float = 0.5, **fields: Any) -> Record:
    """Return a confirmation run with predictions for all labels and for 5 per class."""
    truth = [place % 2 for place in range(len(predicted))]
    names = ("weighted_f1", "macro_f1", "accuracy", *(f"f1/{name}" for name in CLASSES))
    return record(
        "confirm", method, seed,
        **{
            "config": CONFIG, "seed": 100 + seed, "ended": "2026-01-01T01:00:00+00:00",
            "features": {"pretrain": "f" * 16, "downstream.digits": "d" * 16},
            "versions": {"conclugen-sweeps": "0.3.0", "python": "3.12"},
            "seconds": {"total": 36.0, "train": 30.0, "probe": 6.0},
            "metrics": [Metric("digits", "test", labels, name, score) for labels in ("", "5") for name in names],
            "predictions": [
                Predictions(
                    "digits", labels, 0, 0, CLASSES, False, truth, list(predicted),
                    train_samples=samples, train_labels=[samples // 2] * 2, selection_samples=samples,
                )
                for labels, samples in (("", 40), ("5", 10))
            ],
            **fields,
        },
    )  # fmt: skip


def planted() -> list[Record]:
    """Return the records of a small sweep with two seeds, one failure and one pruned trial."""
    runs = {"Con": (0, 1, 0, 1, 0, 1, 1, 1), "Gen": (0, 1, 1, 1, 0, 0, 1, 1), "random_head": (1, 1, 1, 0, 0, 0, 1, 1)}
    searched = [
        *(trial("Con", number, 0.5 + number / 10, hyperparameters={"lr": 0.001 * (number + 1)}) for number in range(3)),
        trial("Gen", 0, 0.4), pruned("Gen", 1, 0.1), failed("Gen", 2, "OutOfMemory: of the GPU"),
    ]  # fmt: skip
    return [
        *(replace(run, config=CONFIG) for run in searched),
        *(
            confirmed(method, seed, predicted[seed:] + predicted[:seed], 0.5 + len(method) / 100 + seed / 1000)
            for method, predicted in runs.items()
            for seed in range(2)
        ),
    ]


def sweep_folder(folder: Path, records: Sequence[Record]) -> Path:
    """Write a sweep folder with these records; return it."""
    (folder / "ledger").mkdir(parents=True)
    (folder / "config.yaml").write_text(dump(dict(records[0].config)) if records else "name: s\n", encoding="utf-8")
    for entry in records:
        Ledger(folder / "ledger").add(entry)
    return folder


def bundle_of(
    folders: Sequence[Path], path: Path, options: Options | None = None, published: Path | None = None
) -> Manifest:
    """Write the report of sweep folders without its figures beside ``path``, and its bundle to ``path``."""
    options = options or Options(published=published is not None)
    ledgers = named_apart([list(Ledger(folder / "ledger")) for folder in folders], folders)
    content = report(ledgers, folders, "conclugen report", published, options.encoding, equivalent=options.equivalent)
    content = replace(content, parts=[replace(part, figures=()) for part in content.parts])
    files = write_report(content, path.with_suffix(".report"))
    sweeps = [
        SweepFiles(folder, Ledger(folder / "ledger"), {"config.yaml": folder / "config.yaml"}) for folder in folders
    ]
    rows = {table.name: len(table.numbers) for part in content.parts for table in part.tables}
    return write_bundle(path, files, sweeps, ledgers, rows, options, "conclugen report", ENVIRONMENT, published)


def members(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle."""
    with zipfile.ZipFile(path) as archive:
        return {name.removeprefix(f"{ROOT}/"): archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], *, sums: bool = True) -> None:
    """Change the files of a bundle, and its checksums as well unless ``sums`` is false."""
    content = members(path)
    change(content)
    if sums:
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in content.items() if name != SUMS]
        content[SUMS] = "".join(lines).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"{ROOT}/{name}", data)
