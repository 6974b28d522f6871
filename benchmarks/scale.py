"""Does a sweep's thousandth trial cost what its first did, and how much does the driver's memory grow?

A whole sweep of tiny heads on a few made-up samples runs through the product's engine. A trial's cost is the wall time
from the end of one to the end of the next, its own short work included; the first trials, during which processes come
up, are left out.

    python -m benchmarks.scale [--quick] [--json FILE] [--trials 2000] [--window 200] [--slots 1]
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import yaml

from benchmarks.measuring import parser, write
from conclugen.features.importing import import_arrays
from sweeps.config import load_config
from sweeps.execution.capacity import Capacity, allocate
from sweeps.execution.cluster import alive_nodes, connect, disconnect
from sweeps.execution.executor import execute
from sweeps.execution.tracking import tracked
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger
from sweeps.search import Search
from sweeps.terminal import output_to_log

SUBSETS = 7
WARM_UP = 20  # trials that are not counted

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
    """Write two modalities of 80 samples, and a sweep of as many trials; return its configuration."""
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
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SPACE))
    config = {
        "name": "scale",
        "features": {"pretrain": "set", "downstream": {"set": "set"}},
        "modalities": ["video", "text"],
        "space": "tiny.yaml",
        "baselines": [],
        "budget": {"trials_per_subset": -(-trials // SUBSETS), "epochs": 2, "seeds": 1},
        "probe": {"every": 1},
        "workers": {"concurrent_trials": slots},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(config))
    return folder / "sweep.yaml"


def measure(root: Path, trials: int, slots: int) -> tuple[list[float], list[int]]:
    """Run the sweep; return the time of each end of a trial, and the driver's resident bytes then."""
    config = load_config(write_sweep(root, trials, slots))
    folder = SweepFolder(root / "sweep")
    folder.prepare(config)
    driver, ends, memory = psutil.Process(), list[float](), list[int]()
    with output_to_log(folder.log):
        connect(None)
        search = Search(config, folder)

        def note_ends() -> None:
            done = sum(row.done for row in search.progress()[:SUBSETS])
            if done > len(ends):
                ends.extend([time.perf_counter()] * (done - len(ends)))
                memory.extend([driver.memory_info().rss] * (done - len(memory)))

        capacity = Capacity(allocate(config.workers, alive_nodes()), config.workers, None, print)
        with tracked(config, folder, print) as trackers:
            execute(search, folder, capacity, note_ends, trackers, Interrupts("ended"))
        disconnect()
    own = {record.key: record.seconds.get("total", 0.0) for record in Ledger(folder.ledger) if record.stage == "search"}
    print(f"{len(own)} trials, {sum(own.values()) / len(own):.3f} s of its own work each")
    return ends, memory


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
    grown = (memory[-1] - memory[WARM_UP + window]) / (len(memory) - WARM_UP - window)
    print(f"first {window} trials {first:.3f} s each, last {window} {last:.3f} s: ratio {last / first:.2f}")
    print(f"the driver's memory grows by {grown / 1000:.1f} kB a trial")
    write(arguments.json, {"trials": trials, "seconds": [first, last], "ratio": last / first, "bytes a trial": grown})


if __name__ == "__main__":
    main()
