"""Samples per second of shuffled batches from shards, and what several readers of one set take in memory.

Beside the product's own gather, on the same synthetic samples of the paper's widths in float16:

* the limit: rows of one tensor per modality in memory, gathered by torch into memory like that of our batches;
* one .npy file per sample and modality through a torch DataLoader, which is what the released code does;
* Ray Data's iter_torch_batches over the same shards, shuffled within a buffer (where ray can be imported).

Warm means that the files are in the page cache; cold, that the kernel was asked just before to drop them
(posix_fadvise); it may keep pages that something maps, so nothing is open then. Rates are medians over passes; a pass
is the same rows in another order. Memory is the sum of the proportional set sizes (Pss) of processes that each read
the whole set once, so pages that they share count once: with four of them over with one.

    python -m benchmarks.loader [--quick] [--json FILE] [--samples N] [--folder DIR] [--without-ray]
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.measuring import parser, write
from conclugen.features.manifest import Manifest
from conclugen.features.shards import FeatureSet, Split
from conclugen.features.synthesis import PAPER_WIDTHS, SyntheticSet, write_synthetic

_NAMES = list(PAPER_WIDTHS)
Batches = Iterator[dict[str, Tensor]]


def from_shards(split: Split, order: Tensor, batch: int) -> Batches:
    for rows in order.split(batch):
        yield {name: split.gather(name, rows) for name in _NAMES}


def from_memory(held: dict[str, Tensor], order: Tensor, batch: int) -> Batches:
    for rows in order.split(batch):
        yield {name: torch.index_select(x, 0, rows, out=_like_ours(len(rows), x)) for name, x in held.items()}


def _like_ours(n: int, x: Tensor) -> Tensor:
    """Memory (n, width) of the kind that our gather fills: new each time, in huge pages."""
    return torch.from_numpy(np.empty((n, x.shape[1]), np.float16))


class _OneFileEach(Dataset[dict[str, Tensor]]):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: torch.from_numpy(np.load(self._folder / f"{row}.{name}.npy")) for name in _NAMES}


def from_files(folder: Path, order: Tensor, batch: int, workers: int) -> Batches:
    yield from DataLoader(_OneFileEach(folder), batch, sampler=order.tolist(), num_workers=workers)


def from_ray(folder: Path, batch: int, seed: int) -> Batches:
    import ray

    files = [str(folder / shard.file) for shard in Manifest.read(folder).shards]
    data = ray.data.from_items([{"file": file} for file in files], override_num_blocks=len(files)).flat_map(_rows)
    yield from data.iter_torch_batches(
        batch_size=batch, local_shuffle_buffer_size=2 * batch, local_shuffle_seed=seed, drop_last=False
    )


def _rows(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    table = pa.ipc.open_file(pa.memory_map(item["file"])).get_batch(0)
    columns = {name: np.stack(table.column(name).to_numpy(zero_copy_only=False)) for name in _NAMES}
    for row in range(table.num_rows):
        yield {name: column[row] for name, column in columns.items()}


def rate(start: Callable[[int], Batches], passes: int, before: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Median, least and most samples per second over passes, each after ``before``."""
    rates = []
    for number in range(passes):
        before()
        started, samples = time.perf_counter(), 0
        for batch in start(number):
            samples += len(batch[_NAMES[0]])
        rates.append(samples / (time.perf_counter() - started))
    return {"median": statistics.median(rates), "least": min(rates), "most": max(rates), "passes": passes}


def drop(files: list[Path]) -> None:
    """Ask the kernel to forget what it holds of ``files``; only what is on disk can go."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


_READER = """
import sys, torch
from pathlib import Path
from conclugen.features.shards import FeatureSet
torch.set_num_threads(1)
split = FeatureSet(Path(sys.argv[1])).split("train")
for rows in torch.randperm(len(split)).split(1024):
    for name in sys.argv[2:]:
        split.gather(name, rows)
print("done", flush=True)
sys.stdin.read()
"""


def shared_memory(folder: Path, readers: int) -> float:
    """Bytes of so many processes that have read the whole set: the sum of their proportional set sizes."""
    command = [sys.executable, "-c", _READER, str(folder), *_NAMES]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(readers)
    ]
    try:
        for reader in running:
            if reader.stdout is None or reader.stdout.readline() != "done\n":
                raise RuntimeError("a reader has died.")
        texts = [Path(f"/proc/{reader.pid}/smaps_rollup").read_text() for reader in running]
    finally:
        for reader in running:
            reader.communicate()
    return sum(1024 * int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) for text in texts)


def measure(
    folder: Path, samples: int, batch: int, passes: int, file_samples: int, workers: int, with_ray: bool
) -> dict[str, Any]:
    shards = folder / "shards"
    write_synthetic(SyntheticSet(samples=samples, dtype="float16"), shards)
    files = sorted(shards.glob("*.arrow"))

    def order(seed: int, n: int = samples) -> Tensor:
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    def cold(seed: int) -> Batches:
        yield from from_shards(FeatureSet(shards).split("train"), order(seed), batch)

    one, four = shared_memory(shards, 1), shared_memory(shards, 4)  # before this process maps the files, too
    found: dict[str, Any] = {"memory": {"one reader": one, "four readers": four, "ratio": four / one}}
    found["shards, cold"] = rate(cold, passes, lambda: drop(files))
    split = FeatureSet(shards).split("train")
    held = {name: split.gather(name, torch.arange(samples)).clone() for name in _NAMES}  # in memory as torch gives it
    # In turns, so that what else the machine does meanwhile meets both alike.
    rates: dict[str, list[float]] = {"limit": [], "shards, warm": []}
    for number in range(passes + 1):
        limit = rate(lambda seed: from_memory(held, order(seed), batch), 1)["median"]
        warm = rate(lambda seed: from_shards(split, order(seed), batch), 1)["median"]
        if number:  # the first pass maps pages
            rates["limit"].append(limit)
            rates["shards, warm"].append(warm)
    for name, all_of_it in rates.items():
        found[name] = {
            "median": statistics.median(all_of_it), "least": min(all_of_it), "most": max(all_of_it), "passes": passes
        }  # fmt: skip
    shares = [warm / limit for warm, limit in zip(rates["shards, warm"], rates["limit"], strict=True)]
    found["warm over limit"] = {"median": statistics.median(shares), "least": min(shares), "most": max(shares)}
    each = folder / "files"
    each.mkdir()
    for row in range(file_samples):
        for name in _NAMES:
            np.save(each / f"{row}.{name}.npy", held[name][row].numpy())
    loader = lambda seed: from_files(each, order(seed, file_samples), min(batch, file_samples), workers)  # noqa: E731
    found["one .npy a sample, warm"] = rate(loader, passes)
    found["one .npy a sample, cold"] = rate(loader, passes, lambda: drop(list(each.iterdir())))
    held.clear()
    if with_ray and find_spec("ray") is not None:
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            found["Ray Data, warm"] = rate(lambda seed: from_ray(shards, batch, seed), 1)
        finally:
            ray.shutdown()
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--samples", type=int, help="default 400,000, quick 20,000")
    options.add_argument("--batch", type=int, default=4096)
    options.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    options.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    options.add_argument("--without-ray", action="store_true", help="leave Ray Data out")
    given = options.parse_args()
    samples = given.samples or (20_000 if given.quick else 400_000)  # a reader's own 0.2 GiB count in fewer
    passes = 3 if given.quick else 5
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = measure(
            Path(folder), samples, given.batch, passes, min(samples, 4096), given.workers, not given.without_ray
        )
    for name, values in found.items():
        if "passes" in values:
            print(f"{name:26} {values['median']:9,.0f} samples/s ({values['least']:,.0f} to {values['most']:,.0f})")
    share, memory = found["warm over limit"], found["memory"]
    print(f"warm over limit            {share['median']:9.2f} ({share['least']:.2f} to {share['most']:.2f})")
    print(
        f"memory of four readers     {memory['ratio']:9.2f} times that of one "
        f"({memory['four readers'] / 2**30:.2f} and {memory['one reader'] / 2**30:.2f} GiB)"
    )
    write(given.json, {"samples": samples, "batch": given.batch, "threads": torch.get_num_threads(), **found})


if __name__ == "__main__":
    main()
