"""`conclugen demo`: a whole sweep on built-in data."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sweeps.cli.console import bad_input, command, run_to_end
from sweeps.cli.report import make_report
from sweeps.config import ConfigError, load_config
from sweeps.terminal import outlive_output

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for data, sweep and report; must be new.")] = Path(
        "conclugen-demo"
    ),
) -> None:
    """Sweep all seven loss subsets on small built-in data and report: two to three minutes on two cores.

    The data are scikit-learn's bundled handwritten digits seen three ways (pixels, 2D Fourier magnitudes,
    gradient-orientation histograms), which stand in for video, audio and text. No claim about faces follows.
    """
    outlive_output()
    with bad_input():
        if out.exists():
            raise ConfigError([f"--out {out}: exists; choose another folder, or remove it first."])
        from sweeps.actions.demo import write_demo

        config_file = write_demo(out)
        typer.echo(
            "Demo data: scikit-learn's handwritten digits. Pixels, Fourier magnitudes and gradient orientations\n"
            f"stand in for video, audio and text. Configuration: {config_file}"
        )
        from sweeps.actions.run import launch

        try:
            run_to_end(out / "sweep", lambda interrupts: launch(load_config(config_file), out / "sweep", interrupts))
        except ConfigError:
            shutil.rmtree(out)  # the command can be repeated
            raise
        code = make_report([out / "sweep"], out / "report", command("report", out / "sweep", "--out", out / "report"))
    raise typer.Exit(code)
