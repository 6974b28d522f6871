"""How long after `conclugen sweep run` does the first result come?

The benchmark starts the demo's sweep several times, each time afresh, and records when three lines come. The first line
says that the command is loaded and Ray starts. The second line says how many trials run at a time, so Ray has started.
The third line reports the first finished job. The rest of the sweep is interrupted.

    python -m benchmarks.start [--quick] [--json FILE] [--rounds 5]
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import parser, spread, spread_text, write
from sweeps.actions.demo import write_demo

STAGES = {"first line": "Starting Ray", "Ray has started": "trials at a time", "first result": "[1/"}
"""Stage -> words of the line that ends it."""


def start(config_file: Path, out: Path) -> dict[str, float]:
    """Run a sweep until its first job has ended; return the seconds until each stage.

    Raises:
        RuntimeError: the sweep ended before its first result.
    """
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config_file), "--out", str(out)]
    started = time.perf_counter()
    seconds = dict[str, float]()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8") as process:  # noqa: S603
        for line in process.stdout or ():
            now = time.perf_counter() - started
            seconds |= {stage: now for stage, words in STAGES.items() if words in line and stage not in seconds}
            if len(seconds) == len(STAGES):
                process.send_signal(signal.SIGINT)
                break
        process.communicate()
    if len(seconds) < len(STAGES):
        raise RuntimeError(f"the sweep has ended early, after {list(seconds)}.")
    return seconds


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, help="default 5, quick 1")
    arguments = options.parse_args()
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    with tempfile.TemporaryDirectory() as scratch:
        config_file = write_demo(Path(scratch) / "demo")
        starts = [start(config_file, Path(scratch) / f"sweep-{number}") for number in range(rounds)]
    stages = {stage: [seconds[stage] for seconds in starts] for stage in STAGES}
    print("seconds after the launch: median (quartiles)")
    for stage, values in stages.items():
        print(f"{stage:16} {spread_text(spread(values), 1)}")
    write(arguments.json, {"seconds": stages})


if __name__ == "__main__":
    main()
