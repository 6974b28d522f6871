"""A folder with files that must not be imported, and the command as it is installed, to be started in it."""

import shutil
import sys
from pathlib import Path

import conclugen

ROOT = Path(conclugen.__file__).parents[1]


def write_strays(folder: Path) -> list[str]:
    """Write a copy of `conclugen` whose F1 is 0.123, and modules with the names of others; return the command.

    The command is a script whose packages come after the standard library and other packages, as installed ones do.
    """
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "conclugen", folder / "conclugen", ignore=ignore)
    with (folder / "conclugen" / "evaluation" / "metrics.py").open("a", encoding="utf-8") as metrics:
        metrics.write("\n\ndef classification_metrics(*_):\n    return dict.fromkeys(['weighted_f1'], 0.123)\n")
    for name in ("sweeps", "search_spaces", "random", "yaml", "torch"):
        (folder / f"{name}.py").write_text(f"raise AssertionError('the stray {name}')\n", encoding="utf-8")
    script = folder / "bin" / "conclugen"
    script.parent.mkdir()
    lines = ["import sys", f"sys.path.append({str(ROOT)!r})", "from sweeps.__main__ import main", "main()"]
    script.write_text("\n".join(lines), encoding="utf-8")
    return [sys.executable, str(script)]
