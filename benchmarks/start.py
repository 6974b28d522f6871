"""How long after `conclugen sweep run` is there a first result?

Starts the demo's sweep afresh several times and notes when its lines come: the first one (the command is loaded, and
Ray starts), the one that says how many trials run at a time (Ray has started), and the first job that has ended with a
score. The rest of the sweep is interrupted.

    python -m benchmarks.start [--quick] [--json FILE] [--rounds 5]
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import parser, spread, told, write
from sweeps.actions.demo import write_demo

STAGES = {"first line": "Starting Ray", "Ray has started": "trials at a time", "first result": "[1/"}


def start(config_file: Path, out: Path) -> dict[str, float]:
    """Run a sweep until its first job has ended; return the seconds until each stage.

    Raises:
        RuntimeError: it ended before.
    """
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config_file), "--out", str(out)]
    started, found = time.perf_counter(), dict[str, float]()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:  # noqa: S603
        for line in running.stdout or ():
            now = time.perf_counter() - started
            found |= {stage: now for stage, words in STAGES.items() if words in line and stage not in found}
            if len(found) == len(STAGES):
                running.send_signal(signal.SIGINT)
                break
        running.communicate()
    if len(found) < len(STAGES):
        raise RuntimeError(f"the sweep has ended early, after {list(found)}.")
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, help="default 5, quick 1")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        config_file = write_demo(Path(scratch) / "demo")
        rounds = range(arguments.rounds or (1 if arguments.quick else 5))
        found = [start(config_file, Path(scratch) / f"sweep-{number}") for number in rounds]
    stages = {stage: [each[stage] for each in found] for stage in STAGES}
    print("seconds after the launch: median (quartiles)")
    for stage, seconds in stages.items():
        print(f"{stage:16} {told(spread(seconds), 1)}")
    write(arguments.json, {"seconds": stages})


if __name__ == "__main__":
    main()
