"""Figures and the user's settings, fonts and names."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from reports.figures.fonts import letters_without_font
from reports.figures.former_style import svg, write_figure
from reports.figures.results import confusion_matrices

ROOT = Path(__file__).parents[3]


def parsed(document: str) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - a figure of this test


def matrices(*classes: str) -> Figure:
    rows = [("ok", "Con", truth, predicted, 1, 0.5) for truth in classes for predicted in classes]
    frame = pd.DataFrame(rows, columns=["dataset", "method", "truth", "predicted", "count", "share"])
    return confusion_matrices(frame, "ok")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The SVG and the PNG of a figure."""
    return [path.read_bytes() for path in write_figure(matrices("a", "b"), "x", tmp_path_factory.mktemp("expected"))]


DRAW = """
import sys
from pathlib import Path
from reports.figures.former_style import write_figure
from tests.reports.figures.test_settings import matrices
write_figure(matrices("a", "b"), "x", Path(sys.argv[1]))
"""
SETTINGS = b"text.usetex: True\nfont.family: No Such Font\nsvg.fonttype: path\naxes.facecolor: red\nunknown: 1\n"


@pytest.mark.parametrize(
    ("backend", "settings"),
    [
        ("module://matplotlib_inline.backend_inline", SETTINGS),
        ("nonsense", b""),
        ("TkAgg", b"\xff\xfe not UTF-8"),
    ],
)
def test_a_user_s_matplotlib_settings_change_no_byte_of_a_figure(
    tmp_path: Path, expected: list[bytes], backend: str, settings: bytes
) -> None:
    (tmp_path / "matplotlibrc").write_bytes(settings)
    environment = {
        **os.environ, "MPLBACKEND": backend, "MPLCONFIGDIR": "/proc/read-only", "MATPLOTLIBRC": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", DRAW, "out"],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stderr == ""
    assert [(tmp_path / "out" / name).read_bytes() for name in ("x.svg", "x.png")] == expected


def test_settings_of_this_process_change_no_byte_of_a_figure(tmp_path: Path, expected: list[bytes]) -> None:
    with mpl.rc_context({"text.usetex": True, "font.family": "No Such Font", "savefig.dpi": 10, "figure.dpi": 30}):
        files = write_figure(matrices("a", "b"), "x", tmp_path)
        assert mpl.rcParams["text.usetex"]
    assert [file.read_bytes() for file in files] == expected


def test_names_read_in_a_figure_as_users_wrote_them() -> None:
    names = ["$x_1^2$", "a & b", "<b>50%</b>", r"\frac", "愤怒", "😀", "ä_ö"]
    texts = [element.text for element in parsed(svg(matrices(*names))).iter() if element.tag.endswith("text")]
    assert {name: texts.count(name) for name in names} == dict.fromkeys(names, 2)


def test_control_characters_in_names_make_no_broken_svg() -> None:
    document = svg(matrices("a\x01b", "c"))
    assert "a\N{REPLACEMENT CHARACTER}b" in {element.text for element in parsed(document).iter()}


@pytest.mark.filterwarnings("error")
def test_letters_without_a_font_are_named_and_warn_nobody(tmp_path: Path) -> None:
    hieroglyph = "\N{EGYPTIAN HIEROGLYPH A001}"
    assert letters_without_font(["ab", f"{hieroglyph}c", "\n"]) == hieroglyph
    write_figure(matrices(hieroglyph, "\t"), "x", tmp_path)


def test_a_font_that_has_a_letter_is_used_for_it() -> None:
    own, other = (set(get_font(findfont(name)).get_charmap()) for name in ("DejaVu Sans", "STIXGeneral"))
    letters = "".join(map(chr, sorted(other - own)[100:110]))
    assert letters_without_font([letters]) == ""
    assert re.search("font-family=\"'DejaVu Sans', '[^\"]+\"", svg(matrices(letters, "b")))
