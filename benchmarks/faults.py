"""What does a sweep lose when it is killed, damaged or moved, however often?

One small sweep runs undisturbed. The same sweep runs once more and is hit at random moments: its processes are killed
one by one and all together, and between its sessions its files are damaged. Whenever it has ended it is resumed. At the
end each trial must be there once, with the configuration, the objective at every probe and the test scores that the
undisturbed sweep gave it. The seed of what is hit when is printed.

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
from collections.abc import Callable, Iterator
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

# What records of the same trial may differ in.
TIMES = ("started", "ended", "seconds", "hardware", "versions", "config")
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
    """Write two modalities of 160 samples, and a sweep of two subsets; return its configuration."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 2
    features = {name: labels[:, None] + rng.normal(size=(160, 8)) for name in ("video", "text")}
    split = np.array(["train", "train", "val", "test"])[np.arange(160) // 2 % 4]
    import_arrays(
        features, folder / "set", labels=labels, split=split, class_names=("a", "b"),
        sources=dict.fromkeys(features, "made up"),
    )  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SPACE))
    config = {
        "name": "faults",
        "features": {"pretrain": "set", "downstream": {"set": "set"}},
        "modalities": ["video", "text"],
        "subsets": ["Con", "ConCluGen"],
        "space": "tiny.yaml",
        "baselines": ["raw_features"],
        "budget": {"trials_per_subset": trials, "epochs": 8, "seeds": 3},
        "probe": {"every": 4, "label_draws": 1},
        "checkpoint": {"every": 1},
        "workers": {"concurrent_trials": 1, "hang_minutes": 1},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(config))
    return folder / "sweep.yaml"


# -- what can happen to a running sweep ------------------------------------------------------------------------------


def processes(driver: psutil.Process, title: str) -> list[psutil.Process]:
    """Those of the sweep whose command line has ``title`` in it."""
    found = []
    for process in driver.children(recursive=True):
        try:
            if title in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def hit(title: str, number: signal.Signals = signal.SIGKILL) -> Callable[[psutil.Process], bool]:
    def strike(driver: psutil.Process) -> bool:
        victims = processes(driver, title)
        for victim in victims[:1]:
            victim.send_signal(number)
        return bool(victims)

    return strike


def everything(driver: psutil.Process) -> bool:
    for process in [*driver.children(recursive=True), driver]:
        process.kill()
    return True


def send(number: signal.Signals) -> Callable[[psutil.Process], bool]:
    def strike(driver: psutil.Process) -> bool:
        driver.send_signal(number)
        return True

    return strike


SURVIVED: dict[str, Callable[[psutil.Process], bool]] = {
    "Train worker: kill -9": hit("ray::TrainWorker"),
    "Tune trial actor, with the Train controller in it: kill -9": hit("ray::Slot"),
}
"""The sweep goes on by itself."""
HANGS = {"Train worker: stopped, found by the watchdog": hit("ray::TrainWorker", signal.SIGSTOP)}
"""The same, but it takes a minute each time."""
ENDING: dict[str, Callable[[psutil.Process], bool]] = {
    "driver: kill -9": send(signal.SIGKILL),
    "driver: SIGTERM": send(signal.SIGTERM),
    "driver: Ctrl-C": send(signal.SIGINT),
    "raylet: kill -9": hit("raylet/raylet"),
    "GCS, the cluster's head: kill -9": hit("gcs_server"),
    "all processes at once: kill -9": everything,
}
"""The sweep has to be resumed."""


# -- what can happen to a sweep that does not run --------------------------------------------------------------------


def damage(pattern: str, how: Callable[[Path, random.Random], None]) -> Callable[[Path, random.Random], bool]:
    def strike(sweep: Path, chance: random.Random) -> bool:
        files = sorted(path for path in sweep.glob(pattern) if path.is_file())
        if files:
            how(chance.choice(files), chance)
        return bool(files)

    return strike


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def delete(path: Path, chance: random.Random) -> None:
    path.unlink()


DAMAGE: dict[str, Callable[[Path, random.Random], bool]] = {
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


# -- the run ---------------------------------------------------------------------------------------------------------


class Sweep:
    """A sweep that is run session by session."""

    def __init__(self, config: Path, root: Path) -> None:
        self.config, self.root = config, root

    def command(self) -> list[str]:
        """What runs the next session."""
        arguments = ["resume", self.root] if (self.root / "config.yaml").exists() else ["run", self.config]
        options = [] if (self.root / "config.yaml").exists() else ["--out", self.root]
        return [sys.executable, "-m", "sweeps", "sweep", *map(str, [*arguments, *options])]

    def session(self, log: Path) -> subprocess.Popen[bytes]:
        """Start it."""
        with log.open("ab") as file:
            return subprocess.Popen(self.command(), stdout=file, stderr=file)  # noqa: S603  # our own

    def records(self) -> int:
        """How many attempts have ended."""
        return sum(1 for _ in self.root.glob("ledger/*.arrow"))

    def outcome(self) -> dict[str, dict[str, Any]]:
        """All records, less what tells when and where."""
        rows = {record.key: asdict(record) for record in Ledger(SweepFolder(self.root).ledger)}
        return {key: {name: row[name] for name in row if name not in TIMES} for key, row in rows.items()}


def wait(session: subprocess.Popen[bytes], sweep: Sweep, more: int) -> bool:
    """Wait for so many more records; False if the session has ended before."""
    until, seen, since = sweep.records() + more, sweep.records(), time.monotonic()
    while session.poll() is None:
        now = sweep.records()
        if now >= until:
            return True
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            session.kill()
            raise SystemExit(f"stuck: no record in {PATIENCE:.0f} s; see the log in {sweep.root.parent}")
        time.sleep(0.05)
    return False


def schedule(chance: random.Random, faults: int) -> Iterator[str]:
    """Kinds of faults in random order; most are damage, of which many fit into one pause."""
    survived, ending = faults // 5, faults // 12
    queue = [*HANGS] * min(2, faults // 50)  # each takes minutes
    shares = ((SURVIVED, survived), (ENDING, ending), (DAMAGE, faults - survived - ending - len(queue)))
    for kinds, share in shares:
        queue += [list(kinds)[index % len(kinds)] for index in range(share)]
    chance.shuffle(queue)
    yield from queue


def inject(sweep: Sweep, log: Path, chance: random.Random, faults: int) -> tuple[Counter[str], int]:
    """Run the sweep to its end with faults; return how often each kind hit, and the number of sessions."""
    due: dict[str, list[str]] = {"survived": [], "ending": [], "damage": []}
    for kind in schedule(chance, faults):
        due["survived" if kind in SURVIVED or kind in HANGS else "ending" if kind in ENDING else "damage"].append(kind)
    done, sessions, moved = Counter[str](), 0, 0
    while True:
        sessions += 1
        if not due["ending"] and (due["survived"] or due["damage"]):  # some found nothing to hit
            due["ending"].append("driver: kill -9")
        session = sweep.session(log)
        driver = psutil.Process(session.pid)
        blows = -(-len(due["survived"]) // max(1, len(due["ending"])))
        for _ in range(blows):
            if due["survived"] and wait(session, sweep, 1):
                time.sleep(chance.uniform(0, 0.5))  # anywhere in a trial
                kind = due["survived"].pop()
                if {**SURVIVED, **HANGS}[kind](driver):
                    done[kind] += 1
                else:
                    due["survived"].insert(0, kind)
        if due["ending"] and wait(session, sweep, 1):
            time.sleep(chance.uniform(0, 0.5))
            kind = due["ending"].pop()
            if ENDING[kind](driver):
                done[kind] += 1
                session.wait(PATIENCE)
            else:
                due["ending"].insert(0, kind)
                session.kill()
        elif session.wait() == 0:
            if any(due.values()):
                raise SystemExit(f"the sweep has ended with faults to go: {due}")
            return done, sessions
        strikes = -(-len(due["damage"]) // max(1, len(due["ending"])))
        for _ in range(min(strikes, len(due["damage"]))):
            kind = due["damage"].pop()
            if DAMAGE[kind](sweep.root, chance):
                done[kind] += 1
            else:
                due["damage"].insert(0, kind)  # no such file at the moment
        if sessions % 4 == 0:
            moved += 1
            sweep.root = sweep.root.rename(sweep.root.with_name(f"moved-{moved}"))
            done["folder: moved to another path"] += 1


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--faults", type=int, help="default 200, quick 10")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path, metavar="DIR", help="folder for sweeps and logs; removed without")
    arguments = options.parse_args()
    faults = arguments.faults or (10 if arguments.quick else 200)
    root = arguments.keep or Path(tempfile.mkdtemp())
    root.mkdir(parents=True, exist_ok=True)
    trials = faults // 2 + 2 if arguments.quick else 20 + faults // 4  # more than are used up before the last fault
    config = write_sweep(root, trials)
    print(f"seed {arguments.seed}", flush=True)
    whole = Sweep(config, root / "whole")
    if whole.session(root / "whole.log").wait() != 0:
        raise SystemExit(f"the undisturbed sweep has failed; see {root / 'whole.log'}")
    expected = whole.outcome()
    sweep = Sweep(config, root / "hit")
    chance = random.Random(arguments.seed)  # noqa: S311  # no secret
    done, sessions = inject(sweep, root / "hit.log", chance, faults)
    found = sweep.outcome()
    lost = expected.keys() - found.keys()
    different = {key for key in expected.keys() & found.keys() if expected[key] != found[key]}
    print(f"| fault | times |\n|{'-' * 60}|------:|")
    for kind in (*SURVIVED, *HANGS, *ENDING, *DAMAGE, "folder: moved to another path"):
        print(f"| {kind:<58} | {done[kind]:>5} |")
    print(f"| {'all':<58} | {sum(done.values()):>5} |")
    print(
        f"{len(expected)} jobs planned, {len(found)} on record after {sessions} sessions: {len(lost)} lost, "
        f"{len(found.keys() - expected.keys())} too many, {len(different)} different from the undisturbed sweep's."
    )
    counts = {"planned": len(expected), "lost": len(lost), "different": len(different), "sessions": sessions}
    write(arguments.json, {"seed": arguments.seed, "faults": dict(done), **counts})
    if lost or different or found.keys() != expected.keys():
        raise SystemExit(f"lost {sorted(lost)}, different {sorted(different)}; everything is in {root}")
    if arguments.keep is None:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
