r"""Every LaTeX table of a report, compiled by pdfLaTeX with its default fonts: the engine that can print the least."""

import re
import shutil
import string
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from reports.output.markup import latex
from reports.output.table import Cell, Table
from reports.report import report, write_report
from sweeps.ledger import Metric, Predictions, Record
from tests.reports.records import config, failed, record, trial

pytestmark = [
    pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed"),
    pytest.mark.timeout(180),
]

NAMES = (r"a_b & c% #1", r"$x^2$ ~{\par}", 'Ärger "Łódź"', "怒り 😀 ∮")
CONFIG = config(
    name=NAMES[1],
    features={"downstream": {NAMES[0]: "/somewhere"}},
    subsets=["Con", "Gen"],
    baselines=["random_head"],
    modality_subsets=[["video", "audio"]],
    probe={"label_fraction": [0.125], "labels_per_class": []},
)


def compiled(folder: Path, document: str) -> str:
    """Compile a document of the folder without an error; return its log."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", document]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / document).with_suffix(".log").read_text(errors="replace").replace("\n", "")


def overfull(log: str) -> list[float]:
    """By how many points boxes stick out of their lines."""
    return [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]


def confirmed(method: str, seed: int) -> Record:
    """A confirmation run with answers about eight samples, some of them wrong."""
    truth = [0, 1, 2, 3] * 2
    predicted = [(label + (place < seed)) % 4 for place, label in enumerate(truth)]
    budgets = ("", "12.5%")
    names = ("weighted_f1", "macro_f1", "accuracy", *(f"f1/{name}" for name in NAMES))
    return record(
        "confirm", method, seed, config=CONFIG, sweep=NAMES[1],
        metrics=[Metric(NAMES[0], "test", budget, name, 0.5) for budget, name in product(budgets, names)],
        predictions=[Predictions(NAMES[0], budget, 0, 0, NAMES, False, truth, predicted) for budget in budgets],
    )  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The LaTeX tables of a sweep that went wrong in many ways, and is called what nobody should call it."""
    fields = {"config": CONFIG, "sweep": NAMES[1]}
    ledger = [
        *(trial("Con", n, n / 10, hyperparameters={"lr": n, "kmeans_loss_mode": NAMES[3]}, **fields) for n in range(4)),
        failed("Gen", 0, f"{NAMES[2]}: not in the table", **fields),
        *(confirmed(method, seed) for method in ("Con", "random_head", "Con[video-audio]") for seed in range(2)),
    ]  # fmt: skip
    made = report([ledger], [Path("/some_where/50%")], "conclugen report")
    out = tmp_path_factory.mktemp("latex")
    write_report(replace(made, parts=[replace(part, figures=()) for part in made.parts]), out)
    return out


def test_the_document_of_all_tables_compiles_and_fits_its_pages(out: Path) -> None:
    inputs = re.findall(r"\\input\{(.*)\}", (out / "tables.tex").read_text())
    assert sorted(inputs) == sorted(path.stem for path in out.glob("*.tex") if path.stem != "tables")
    assert {"ablation", "modalities", "labels", "pairs", "configurations", "accounting"} < set(inputs)
    log = compiled(out, "tables.tex")
    assert all(f"{name}.tex" in log for name in inputs)
    assert max(overfull(log), default=0) < 1
    assert "Missing character" not in log


def test_any_letter_and_any_two_signs_can_be_printed(out: Path) -> None:
    """All of Unicode up to its symbols, kana, some that need two UTF-16 units, and TeX's ligatures."""
    letters = "".join(
        map(chr, [*range(0x2E80), *range(0x3000, 0x3100), *range(0xFB00, 0xFB10), *range(0x1F600, 0x1F610)])
    )
    texts = [letters[start : start + 8] for start in range(0, len(letters), 8)]
    texts += [first + second for first, second in product(string.punctuation, repeat=2)]
    marks = ("plain", "best", "tied")
    shown = pd.DataFrame({"x": [Cell(text, marks[n % 3]) for n, text in enumerate(texts)], "y": texts})
    table = Table("letters", "".join(NAMES), string.punctuation + NAMES[3], pd.DataFrame({"x": [0]}), shown)
    preamble = (out / "tables.tex").read_text().partition(r"\begin{document}")[0]
    floats = latex(table)
    assert floats.count(r"\begin{table}") > 60  # more than LaTeX has room for without being told
    (out / "letters.tex").write_text(rf"{preamble}\begin{{document}}\listoftables {floats}\end{{document}}")
    for _ in range(2):  # the second time with the list of tables, for which the first has written their titles
        assert max(overfull(compiled(out, "letters.tex")), default=0) < 1
