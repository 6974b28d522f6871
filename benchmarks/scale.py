"""Does a sweep's thousandth trial cost what its first did, and how much does the driver's memory grow?

The product's command runs a whole sweep of tiny heads on a few made-up samples. A trial's cost is the wall time from
the end of the trial before to its own end, and so includes its own short work. The first trials are left out, because
processes start during them.

    python -m benchmarks.scale [--quick] [--json FILE] [--trials 2000] [--window 200] [--slots 1]
"""

import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import yaml

from benchmarks.measuring import parser, write
from conclugen.features.importing import import_arrays
from conclugen.subsets import SUBSETS
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger

WARM_UP = 20  # trials that are not counted
LOOK_SECONDS = 0.5  # between two looks at the driver's memory

SPACE = {
    "description": "tiny heads with something to search",
    "parameters": {
        "representation_dim": 4, "projection_dim": 4, "num_clusters": 2, "kmeans_queue_size": 0,
        "reconstruction_dim": 4, "batch_size": 20, "warmup_epochs": 1,
        "lr": {"low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3},
        "weight_decay": {"low": 1e-5, "high": 1e-2, "log": True, "default": 1e-4},
        "feature_dropout": {"low": 0.0, "high": 0.7, "default": 0.5},
    },
}  # fmt: skip


def write_sweep(folder: Path, trials: int, slots: int) -> Path:
    """Write a set of two modalities and 80 samples, and a sweep of at least ``trials``; return its configuration."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    features = {name: labels[:, None] + rng.normal(size=(80, 3)) for name in ("video", "text")}
    split = np.array(["train", "train", "val", "test"])[np.arange(80) // 2 % 4]
    import_arrays(
        features,
        folder / "set",
        labels=labels,
        split=split,
        class_names=("a", "b"),
        sources=dict.fromkeys(features, "made up"),
    )
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    config = {
        "name": "scale",
        "features": {"pretrain": "set", "downstream": {"set": "set"}},
        "modalities": ["video", "text"],
        "space": "tiny.yaml",
        "baselines": [],
        "budget": {"trials_per_subset": -(-trials // len(SUBSETS)), "epochs": 2, "seeds": 1},
        "probe": {"every": 1},
        "search": {"finalists": 1},
        "workers": {"concurrent_trials": slots},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder / "sweep.yaml"


def measure(root: Path, trials: int, slots: int) -> tuple[list[float], list[tuple[float, int]]]:
    """Run the sweep.

    Returns:
        The times at which trials ended, and (time, resident bytes of the driver) for each look at the driver.

    Raises:
        RuntimeError: the sweep has failed.
    """
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(write_sweep(root, trials, slots))]
    memory = list[tuple[float, int]]()
    driver = psutil.Popen([*command, "--out", str(root / "sweep")], stdout=subprocess.DEVNULL)
    while driver.poll() is None:
        memory.append((time.time(), driver.memory_info().rss))
        time.sleep(LOOK_SECONDS)
    if driver.returncode != 0:
        raise RuntimeError(f"the sweep ended with exit code {driver.returncode}.")
    records = [record for record in Ledger(SweepFolder(root / "sweep").ledger) if record.stage == "search"]
    work = sum(record.seconds.get("total", 0.0) for record in records)
    print(f"{len(records)} trials, {work / len(records):.3f} s of its own work each")
    return sorted(datetime.fromisoformat(record.ended).timestamp() for record in records), memory


def growth(ends: list[float], memory: list[tuple[float, int]], first: int) -> float:
    """Return the bytes by which the driver grows per trial, from the end of trial ``first`` to that of the last one."""
    looks = [rss for moment, rss in memory if ends[first] <= moment <= ends[-1]]
    return (looks[-1] - looks[0]) / (len(ends) - 1 - first)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, help="default 2000, quick 70")
    options.add_argument("--window", type=int, help="trials of which the mean is taken; default 200, quick 20")
    options.add_argument("--slots", type=int, default=1)
    arguments = options.parse_args()
    window = arguments.window or (20 if arguments.quick else 200)
    trials = arguments.trials or (70 if arguments.quick else 2000)
    if trials < WARM_UP + 2 * window:
        options.error(f"--trials must be at least {WARM_UP + 2 * window}")
    with tempfile.TemporaryDirectory() as root:
        ends, memory = measure(Path(root), trials, arguments.slots)
    first = (ends[WARM_UP + window] - ends[WARM_UP]) / window
    last = (ends[-1] - ends[-1 - window]) / window
    growth_per_trial = growth(ends, memory, WARM_UP + window)
    print(f"first {window} trials {first:.3f} s each, last {window} {last:.3f} s: ratio {last / first:.2f}")
    print(f"the driver's memory grows by {growth_per_trial / 1000:.1f} kB a trial")
    write(
        arguments.json,
        {"trials": trials, "seconds": [first, last], "ratio": last / first, "bytes a trial": growth_per_trial},
    )


if __name__ == "__main__":
    main()
