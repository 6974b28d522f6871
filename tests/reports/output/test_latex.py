r"""Tests that compile every LaTeX table of a report by pdfLaTeX, the engine whose default fonts have fewest letters."""

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
from reports.report import report
from reports.writing import write_report
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
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace")
    assert result.returncode == 0, result.stdout[-2000:]
    return (folder / document).with_suffix(".log").read_text(errors="replace", encoding="utf-8").replace("\n", "")


def overfull(log: str) -> list[float]:
    """Return, for each box that is wider than its line, the excess in points."""
    return [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", log)]


def confirmed(method: str, seed: int) -> Record:
    """Return a confirmation run with predictions for eight samples, some of them wrong."""
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
    """Write the LaTeX tables of a sweep with failures, missing results and hostile names."""
    fields = {"config": CONFIG, "sweep": NAMES[1]}
    ledger = [
        *(trial("Con", n, n / 10, hyperparameters={"lr": n, "kmeans_loss_mode": NAMES[3]}, **fields) for n in range(4)),
        failed("Gen", 0, f"{NAMES[2]}: not in the table", **fields),
        *(confirmed(method, seed) for method in ("Con", "random_head", "Con[video-audio]") for seed in range(2)),
    ]  # fmt: skip
    content = report([ledger], [Path("/some_where/50%")], "conclugen report")
    out = tmp_path_factory.mktemp("latex")
    write_report(replace(content, parts=[replace(part, figures=()) for part in content.parts]), out)
    return out


def test_the_latex_document_compiles_and_fits_its_pages(out: Path) -> None:
    inputs = re.findall(r"\\input\{(.*)\}", (out / "tables.tex").read_text(encoding="utf-8"))
    assert sorted(inputs) == sorted(path.stem for path in out.glob("*.tex") if path.stem != "tables")
    assert {"findings", "ablation", "modalities", "labels", "pairs", "configurations", "accounting"} < set(inputs)
    log = compiled(out, "tables.tex")
    assert all(f"{name}.tex" in log for name in inputs)
    assert max(overfull(log), default=0) < 1
    assert "Missing character" not in log


def test_the_ablation_of_five_sets_fits_into_one_float_and_budgets_of_a_set_stay_together() -> None:
    sets = ("meld", "caer", "mosei", "ravdess", "mosi")
    settings = config(
        name="five", features={"downstream": dict.fromkeys(sets, "/somewhere")}, subsets=["Con", "Gen"], baselines=[],
        probe={"labels_per_class": [5, 20, 50], "label_fraction": [0.1]},
    )  # fmt: skip
    scores = {"Con": 0.6, "Gen": 0.7}
    ledger = [
        record(
            "confirm", method, seed, config=settings,
            metrics=[
                Metric(name, "test", budget, metric, score + seed / 100)
                for name, budget in product(sets, ("", "5", "20", "50", "10%"))
                for metric in ("weighted_f1", "macro_f1", "accuracy")
            ],
        )
        for method, score in scores.items()
        for seed in range(2)
    ]  # fmt: skip
    tables = {table.name: table for part in report([ledger], [Path("five")], "").parts for table in part.tables}
    text = latex(tables["ablation"])
    assert text.count(r"\begin{table}") == 1
    heading = next(line for line in text.splitlines() if "method" in line and "meld" in line)
    assert [cell.strip(" \\") for cell in heading.split("&")] == ["method", *sets, "trials", "pruned", "failed"]
    assert text.count(r"\textbf{0.705 $\pm$ 0.007}") == len(sets)
    blocks = re.findall(r"    method & (.*?) \\\\", latex(tables["labels"]))
    headings = [[cell.partition("@")[0] for cell in block.split(" & ")] for block in blocks]
    assert len(blocks) > 1
    assert sorted(name for block in headings for name in set(block)) == sorted(sets)


def test_latex_prints_any_letter_and_any_two_punctuation_marks(out: Path) -> None:
    """The letters are all of Unicode up to its symbols, kana, some with two UTF-16 units, and TeX's ligatures."""
    letters = "".join(
        map(chr, [*range(0x2E80), *range(0x3000, 0x3100), *range(0xFB00, 0xFB10), *range(0x1F600, 0x1F610)])
    )
    texts = [letters[start : start + 8] for start in range(0, len(letters), 8)]
    texts += [first + second for first, second in product(string.punctuation, repeat=2)]
    marks = ("plain", "best", "tied")
    shown = pd.DataFrame({"x": [Cell(text, marks[n % 3]) for n, text in enumerate(texts)], "y": texts})
    table = Table("letters", "".join(NAMES), string.punctuation + NAMES[3], pd.DataFrame({"x": [0]}), shown)
    preamble = (out / "tables.tex").read_text(encoding="utf-8").partition(r"\begin{document}")[0]
    floats = latex(table)
    assert floats.count(r"\begin{table}") > 60  # more floats than LaTeX holds by default
    (out / "letters.tex").write_text(
        rf"{preamble}\begin{{document}}\listoftables {floats}\end{{document}}", encoding="utf-8"
    )
    for _ in range(2):  # the first run writes the titles for the list of tables of the second
        assert max(overfull(compiled(out, "letters.tex")), default=0) < 1
