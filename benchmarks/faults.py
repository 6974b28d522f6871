"""What does a sweep lose when it is killed, damaged and moved again and again?

One small sweep runs undisturbed. The same sweep runs once more and is hit at random moments. Its processes are killed,
one by one and all together. Its files are damaged between its sessions. Whenever it has ended, it is resumed. At the
end each trial must be there once, with the configuration, the objective at every probe and the test scores that the
undisturbed sweep gave it. The seed that chooses faults and moments is printed.

    python -m benchmarks.faults [--quick] [--json FILE] [--faults 200] [--seed 0] [--keep DIR]
"""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sized
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from benchmarks.measuring import parser, write
from conclugen.features.importing import import_arrays
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger

MAY_DIFFER = ("started", "ended", "seconds", "hardware", "versions", "config")
"""Fields in which two records of the same trial may differ."""
PATIENCE = 300.0  # seconds without a new record after which a session counts as stuck

SPACE = {
    "description": "tiny heads with something to search",
    "parameters": {
        "representation_dim": 8, "projection_dim": 8, "num_clusters": 4, "kmeans_queue_size": 0,
        "reconstruction_dim": 8, "batch_size": 20, "warmup_epochs": 1,
        "lr": {"low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3},
        "feature_dropout": {"low": 0.0, "high": 0.7, "default": 0.5},
    },
}  # fmt: skip


def write_sweep(folder: Path, trials: int) -> Path:
    """Write a set of two modalities and 160 samples, and a sweep of two subsets; return its configuration."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 2
    features = {name: labels[:, None] + rng.normal(size=(160, 8)) for name in ("video", "text")}
    split = np.array(["train", "train", "val", "test"])[np.arange(160) // 2 % 4]
    import_arrays(
        features, folder / "set", labels=labels, split=split, class_names=("a", "b"),
        sources=dict.fromkeys(features, "made up"),
    )  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    config = {
        "name": "faults",
        "features": {"pretrain": "set", "downstream": {"set": "set"}},
        "modalities": ["video", "text"],
        "subsets": ["Con", "ConCluGen"],
        "space": "tiny.yaml",
        "baselines": ["raw_features"],
        # Jobs of half a second: after its raylet is killed, a sweep goes on until Ray notices, some 20 seconds later.
        "budget": {"trials_per_subset": -(-trials // 2), "epochs": 60, "seeds": 3, "searches": 2},
        "search": {"finalists": 2},
        "probe": {"every": 30, "label_draws": 1},
        "checkpoint": {"every": 5},
        "workers": {"concurrent_trials": 1, "hang_minutes": 1},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder / "sweep.yaml"


# -- faults of a running sweep: each returns whether it found something to hit ---------------------------------------

Strike = Callable[[psutil.Process], bool]
"""Function that hits a running sweep, given the sweep's driver."""


def processes(driver: psutil.Process, title: str) -> list[psutil.Process]:
    """Return the sweep's processes with ``title`` in their command line."""
    matching = []
    for process in driver.children(recursive=True):
        try:
            if title in " ".join(process.cmdline()):
                matching.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return matching


def hit(title: str, number: signal.Signals = signal.SIGKILL) -> Strike:
    """Return the fault that sends a signal to one process with this title."""

    def strike(driver: psutil.Process) -> bool:
        victims = processes(driver, title)
        for victim in victims[:1]:
            victim.send_signal(number)
        return bool(victims)

    return strike


def hit_everything(driver: psutil.Process) -> bool:
    """Kill all processes of the sweep."""
    for process in [*driver.children(recursive=True), driver]:
        process.kill()
    return True


def hit_driver(number: signal.Signals) -> Strike:
    """Return the fault that sends a signal to the driver."""

    def strike(driver: psutil.Process) -> bool:
        driver.send_signal(number)
        return True

    return strike


SURVIVED: dict[str, Strike] = {
    "Train worker: kill -9": hit("TrainWorker"),
    "slot, the actor of a Tune trial: kill -9": hit("ray::Slot"),
    "mailbox of a slot: kill -9": hit("ray::Mailbox"),
    "Train controller of a slot: kill -9": hit("ray::TrainController"),
}
"""Faults after which the sweep goes on by itself."""
HANGS = {"Train worker: stopped, found by the watchdog": hit("TrainWorker", signal.SIGSTOP)}
"""Faults after which the sweep goes on by itself, but only a minute later."""
ENDING: dict[str, Strike] = {
    "driver: kill -9": hit_driver(signal.SIGKILL),
    "driver: SIGTERM": hit_driver(signal.SIGTERM),
    "driver: Ctrl-C": hit_driver(signal.SIGINT),
    "raylet: kill -9": hit("raylet/raylet"),
    "GCS, the cluster's head: kill -9": hit("gcs_server"),
    "all processes at once: kill -9": hit_everything,
}
"""Faults after which the sweep has to be resumed."""


# -- damage to a sweep that does not run: each returns whether it found a file to damage -----------------------------

Damage = Callable[[Path, random.Random], bool]
"""Function that damages a sweep, given the sweep folder."""


def damage(pattern: str, change: Callable[[Path, random.Random], None]) -> Damage:
    """Return the damage that changes one random file among those that ``pattern`` matches."""

    def strike(root: Path, rng: random.Random) -> bool:
        files = sorted(path for path in root.glob(pattern) if path.is_file())
        if files:
            change(rng.choice(files), rng)
        return bool(files)

    return strike


def flip(path: Path, rng: random.Random) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random) -> None:
    """Cut the file's end off."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def delete(path: Path, rng: random.Random) -> None:
    """Delete the file."""
    path.unlink()


DAMAGE: dict[str, Damage] = {
    "ledger record: bit flipped": damage("ledger/*.arrow", flip),
    "ledger record: truncated": damage("ledger/*.arrow", truncate),
    "ledger record: deleted": damage("ledger/*.arrow", delete),
    "journal of the studies: bit flipped": damage("studies.journal", flip),
    "journal of the studies: truncated": damage("studies.journal", truncate),
    "journal of the studies: deleted": damage("studies.journal", delete),
    "checkpoint: bit flipped": damage("running/*/checkpoint-*.safetensors", flip),
    "checkpoint: truncated": damage("running/*/checkpoint-*.safetensors", truncate),
    "state of a running job: bit flipped": damage("running/*/job.json", flip),
    "state of a running job: truncated": damage("running/*/job.json", truncate),
    "record of sessions: bit flipped": damage("sessions.json", flip),
    "identity of the sweep: bit flipped": damage("id", flip),
}
MOVED = "folder: moved to another path"


# -- the run ---------------------------------------------------------------------------------------------------------


class Sweep:
    """A sweep that runs session by session.

    Args:
        config: the configuration.
        root: the sweep folder.
    """

    def __init__(self, config: Path, root: Path) -> None:
        self.config = config
        self.root = root

    def start_session(self, log: Path) -> subprocess.Popen[bytes]:
        """Start the first session, or the next one; its output goes to the end of ``log``."""
        if (self.root / "config.yaml").exists():
            arguments = ["resume", str(self.root)]
        else:
            arguments = ["run", str(self.config), "--out", str(self.root)]
        command = [sys.executable, "-m", "sweeps", "sweep", *arguments]
        with log.open("ab") as file:
            return subprocess.Popen(command, stdout=file, stderr=file)  # noqa: S603

    def finished_jobs(self) -> int:
        """Return the number of records."""
        return sum(1 for _ in self.root.glob("ledger/*.arrow"))

    def outcome(self) -> dict[str, dict[str, Any]]:
        """Return job -> its record, without the fields that say when and where it ran."""
        rows = {str(record.key): asdict(record) for record in Ledger(SweepFolder(self.root).ledger)}
        return {key: {name: row[name] for name in row if name not in MAY_DIFFER} for key, row in rows.items()}


def wait_for_record(session: subprocess.Popen[bytes], sweep: Sweep) -> bool:
    """Wait for one more record; return False if the session has ended before.

    Raises:
        SystemExit: no record has come for :data:`PATIENCE` seconds.
    """
    before = sweep.finished_jobs()
    deadline = time.monotonic() + PATIENCE
    while session.poll() is None:
        if sweep.finished_jobs() > before:
            return True
        if time.monotonic() > deadline:
            session.kill()
            raise SystemExit(f"stuck: no record in {PATIENCE:.0f} s; see the log in {sweep.root.parent}")
        time.sleep(0.05)
    return False


def schedule(rng: random.Random, faults: int) -> Iterator[str]:
    """Yield kinds of faults in random order; most are damage, of which many fit into one pause."""
    survived = faults // 5
    ending = faults // 12
    kinds = [*HANGS] * min(2, faults // 50)  # each takes minutes
    shares = ((SURVIVED, survived), (ENDING, ending), (DAMAGE, faults - survived - ending - len(kinds)))
    for group, share in shares:
        kinds += [list(group)[index % len(group)] for index in range(share)]
    rng.shuffle(kinds)
    yield from kinds


def inject(sweep: Sweep, log: Path, rng: random.Random, faults: int) -> tuple[Counter[str], int]:
    """Run the sweep to its end with faults; return how often each kind hit, and the number of sessions.

    A fault that finds nothing to hit is tried again later.

    Raises:
        SystemExit: the sweep is stuck, or it ended before every fault has hit.
    """
    due: dict[str, list[str]] = {"survived": [], "ending": [], "damage": []}
    for kind in schedule(rng, faults):
        due["survived" if kind in SURVIVED or kind in HANGS else "ending" if kind in ENDING else "damage"].append(kind)
    hits = Counter[str]()
    sessions = moves = 0
    while True:
        sessions += 1
        if not due["ending"] and (due["survived"] or due["damage"]):  # some have found nothing to hit
            due["ending"].append("driver: kill -9")
        session = sweep.start_session(log)
        driver = psutil.Process(session.pid)
        for _ in range(_share(due["survived"], due["ending"])):
            if due["survived"] and wait_for_record(session, sweep):
                time.sleep(rng.uniform(0, 0.5))  # anywhere in a trial
                kind = due["survived"].pop()
                if {**SURVIVED, **HANGS}[kind](driver):
                    hits[kind] += 1
                else:
                    due["survived"].insert(0, kind)
        if due["ending"] and wait_for_record(session, sweep):
            time.sleep(rng.uniform(0, 0.5))
            kind = due["ending"].pop()
            if ENDING[kind](driver):
                hits[kind] += 1
                session.wait(PATIENCE)
            else:
                due["ending"].insert(0, kind)
                session.kill()
        elif session.wait() == 0:
            if any(due.values()):
                raise SystemExit(f"the sweep has ended with faults to go: {due}")
            return hits, sessions
        for _ in range(min(_share(due["damage"], due["ending"]), len(due["damage"]))):
            kind = due["damage"].pop()
            if DAMAGE[kind](sweep.root, rng):
                hits[kind] += 1
            else:
                due["damage"].insert(0, kind)  # no such file at the moment
        if sessions % 4 == 0:
            moves += 1
            sweep.root = sweep.root.rename(sweep.root.with_name(f"moved-{moves}"))
            hits[MOVED] += 1


def _share(kinds: Sized, sessions: Sized) -> int:
    """Return how many of ``kinds`` are due in this session, if they are spread over all sessions to come."""
    return -(-len(kinds) // max(1, len(sessions)))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--faults", type=int, help="default 200, quick 6")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path, metavar="DIR", help="folder for sweeps and logs; removed without")
    arguments = options.parse_args()
    faults = arguments.faults or (6 if arguments.quick else 200)
    root = arguments.keep or Path(tempfile.mkdtemp())
    root.mkdir(parents=True, exist_ok=True)
    trials = faults // 2 + 2 if arguments.quick else 20 + faults // 4  # more than are used up before the last fault
    config = write_sweep(root, trials)
    print(f"seed {arguments.seed}", flush=True)
    undisturbed = Sweep(config, root / "undisturbed")
    if undisturbed.start_session(root / "undisturbed.log").wait() != 0:
        raise SystemExit(f"the undisturbed sweep has failed; see {root / 'undisturbed.log'}")
    expected = undisturbed.outcome()
    sweep = Sweep(config, root / "hit")
    rng = random.Random(arguments.seed)  # noqa: S311  # no secret
    hits, sessions = inject(sweep, root / "hit.log", rng, faults)
    outcome = sweep.outcome()
    lost = expected.keys() - outcome.keys()
    surplus = outcome.keys() - expected.keys()
    different = {key for key in expected.keys() & outcome.keys() if expected[key] != outcome[key]}
    print(f"| fault | times |\n|{'-' * 60}|------:|")
    for kind in (*SURVIVED, *HANGS, *ENDING, *DAMAGE, MOVED):
        print(f"| {kind:<58} | {hits[kind]:>5} |")
    print(f"| {'all':<58} | {sum(hits.values()):>5} |")
    print(
        f"{len(expected)} jobs planned, {len(outcome)} on record after {sessions} sessions: {len(lost)} lost, "
        f"{len(surplus)} too many, {len(different)} different from the undisturbed sweep's."
    )
    counts = {"planned": len(expected), "lost": len(lost), "different": len(different), "sessions": sessions}
    write(arguments.json, {"seed": arguments.seed, "faults": dict(hits), **counts})
    if lost or surplus or different:
        raise SystemExit(
            f"lost {sorted(lost)}, too many {sorted(surplus)}, different {sorted(different)}; everything is in {root}"
        )
    if arguments.keep is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
