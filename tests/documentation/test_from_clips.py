"""The tutorial's way from clips to a table runs as it stands, on ten clips of GRID where they are, or on made ones."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conclugen.extraction.descriptors.packages import missing_packages
from documentation.blocks import blocks
from tests.conclugen.extraction.faces import drawn_face
from tests.media import film, speech

ROOT = Path(__file__).parents[2]
GRID = ROOT.parent / "shared" / "data" / "clips"
WORDS = {"now": "bin blue now", "soon": "bin blue soon"}


def make_clips(folder: Path) -> None:
    """Write twelve films of a drawn face, and their list, as the tutorial has them."""
    rows = []
    for index in range(12):
        label = ("now", "soon")[index % 2]
        sound, rate = speech(WORDS[label])
        pictures = [drawn_face(240, 320, 150 + step + index, 120, 120) for step in range(12)]
        film(folder / f"{index}.mp4", pictures, sound, rate)
        split = "train" if index < 6 else "val" if index < 9 else "test"
        rows.append([f"clip-{index}", split, f"{index}.mp4", WORDS[label], label, f"s{split}"])
    with (folder.parent / "clips.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([["sample_id", "split", "video", "transcript", "labels", "speaker"], *rows])


@pytest.mark.timeout(600)  # on a machine that is busy with other tests
@pytest.mark.slow(seconds=45)
def test_clips_go_to_a_table_by_the_tutorial_alone(tmp_path: Path) -> None:
    if missing := missing_packages(("opensmile", "scikit-image")):
        pytest.skip(f"{', '.join(missing)} is not installed: pip install '.[local]'")
    if GRID.is_dir():
        (tmp_path / "clips").symlink_to(GRID)
        (tmp_path / "clips.csv").write_bytes((GRID / "grid.csv").read_bytes())
    else:
        (tmp_path / "clips").mkdir()
        make_clips(tmp_path / "clips")
    page = (ROOT / "docs" / "tutorials" / "from-clips.md").read_text(encoding="utf-8")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"HF_HUB_OFFLINE": "1"}
    outputs = []
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        elif "a test runs it" in block.note:
            command = ["bash", "-euo", "pipefail", "-c", block.text]
            run = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False
            )
            assert run.returncode == 0, f"line {block.line}:\n{run.stdout[-2000:]}{run.stderr}"
            outputs.append(run.stdout)
    assert len(outputs) == 2
    assert "test weighted F1" in outputs[0]
    assert (tmp_path / "report-clips" / "index.html").is_file()
