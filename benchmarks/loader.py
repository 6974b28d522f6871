"""How many samples a second do shuffled batches from shards give, and how much memory do several readers take?

Four ways read the same synthetic samples of the paper's widths in float16:

* shards: the product's own gather;
* limit: rows of one tensor per modality in memory, gathered by torch into memory like that of our batches;
* files: one .npy file per sample and modality through a torch DataLoader, as in the released code;
* Ray Data: iter_torch_batches over the same shards, shuffled within a buffer (where ray can be imported).

Warm means that the files are in the page cache. Cold means that the kernel was asked just before to drop them
(posix_fadvise). The kernel may keep pages that a process maps, so no file is open at that moment. Rates are medians
over passes; each pass takes the same rows in another order. Memory is the sum of the proportional set sizes (Pss) of
processes that each read the whole set once, so pages that they share count once. The ratio is the memory of four such
processes over that of one.

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
    """Yield batches as the product gathers them."""
    for rows in order.split(batch):
        yield {name: split.gather(name, rows) for name in _NAMES}


def from_memory(features: dict[str, Tensor], order: Tensor, batch: int) -> Batches:
    """Yield batches of tensors that lie in memory."""
    for rows in order.split(batch):
        yield {name: torch.index_select(x, 0, rows, out=_like_ours(len(rows), x)) for name, x in features.items()}


def _like_ours(n: int, x: Tensor) -> Tensor:
    """Return memory (n, width) of the kind that our gather fills: new each time, in huge pages."""
    return torch.from_numpy(np.empty((n, x.shape[1]), np.float16))


class _OneFileEach(Dataset[dict[str, Tensor]]):
    """Samples with one file per modality."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {name: torch.from_numpy(np.load(self._folder / f"{row}.{name}.npy")) for name in _NAMES}


def from_files(folder: Path, order: Tensor, batch: int, workers: int) -> Batches:
    """Yield batches of one file per sample and modality."""
    yield from DataLoader(_OneFileEach(folder), batch, sampler=order.tolist(), num_workers=workers)


def from_ray(folder: Path, batch: int, seed: int) -> Batches:
    """Yield batches of Ray Data."""
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
    """Return median, least and most samples per second over passes; ``before`` runs before each."""
    rates = []
    for number in range(passes):
        before()
        started = time.perf_counter()
        samples = 0
        for batch in start(number):
            samples += len(batch[_NAMES[0]])
        rates.append(samples / (time.perf_counter() - started))
    return {"median": statistics.median(rates), "least": min(rates), "most": max(rates), "passes": passes}


def drop(files: list[Path]) -> None:
    """Write ``files`` out to disk, and ask the kernel to drop them from the page cache."""
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
    """Return the bytes of processes that have read the whole set: the sum of their proportional set sizes."""
    command = [sys.executable, "-c", _READER, str(folder), *_NAMES]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")  # noqa: S603
        for _ in range(readers)
    ]
    try:
        for reader in processes:
            if reader.stdout is None or reader.stdout.readline() != "done\n":
                raise RuntimeError("a reader has died.")
        texts = [Path(f"/proc/{reader.pid}/smaps_rollup").read_text(encoding="utf-8") for reader in processes]
    finally:
        for reader in processes:
            reader.communicate()
    return sum(1024 * int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) for text in texts)


def measure(
    folder: Path, samples: int, batch: int, passes: int, file_samples: int, workers: int, with_ray: bool
) -> dict[str, Any]:
    """Write the samples into ``folder`` and return the rates of all ways, and the memory of readers."""
    shards = folder / "shards"
    write_synthetic(SyntheticSet(samples=samples, dtype="float16"), shards)
    files = sorted(shards.glob("*.arrow"))

    def order(seed: int, n: int = samples) -> Tensor:
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed))

    def cold(seed: int) -> Batches:
        yield from from_shards(FeatureSet(shards).split("train"), order(seed), batch)

    one = shared_memory(shards, 1)  # before this process maps the files, too
    four = shared_memory(shards, 4)
    result: dict[str, Any] = {"memory": {"one reader": one, "four readers": four, "ratio": four / one}}
    result["shards, cold"] = rate(cold, passes, lambda: drop(files))
    split = FeatureSet(shards).split("train")
    features = {name: split.gather(name, torch.arange(samples)).clone() for name in _NAMES}  # as torch allocates it
    # Limit and shards take turns, so that other load on the machine slows both alike.
    rates: dict[str, list[float]] = {"limit": [], "shards, warm": []}
    for number in range(passes + 1):
        limit = rate(lambda seed: from_memory(features, order(seed), batch), 1)["median"]
        warm = rate(lambda seed: from_shards(split, order(seed), batch), 1)["median"]
        if number:  # the first pass maps pages
            rates["limit"].append(limit)
            rates["shards, warm"].append(warm)
    for name, values in rates.items():
        result[name] = {
            "median": statistics.median(values), "least": min(values), "most": max(values), "passes": passes
        }  # fmt: skip
    shares = [warm / limit for warm, limit in zip(rates["shards, warm"], rates["limit"], strict=True)]
    result["warm over limit"] = {"median": statistics.median(shares), "least": min(shares), "most": max(shares)}
    single_files = folder / "files"
    single_files.mkdir()
    for row in range(file_samples):
        for name in _NAMES:
            np.save(single_files / f"{row}.{name}.npy", features[name][row].numpy())

    def loader(seed: int) -> Batches:
        yield from from_files(single_files, order(seed, file_samples), min(batch, file_samples), workers)

    result["one .npy a sample, warm"] = rate(loader, passes)
    result["one .npy a sample, cold"] = rate(loader, passes, lambda: drop(list(single_files.iterdir())))
    features.clear()
    if with_ray and find_spec("ray") is not None:
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            result["Ray Data, warm"] = rate(lambda seed: from_ray(shards, batch, seed), 1)
        finally:
            ray.shutdown()
    return result


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--samples", type=int, help="default 400,000, quick 20,000")
    options.add_argument("--batch", type=int, default=4096)
    options.add_argument("--workers", type=int, default=2, help="processes of the DataLoader")
    options.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    options.add_argument("--without-ray", action="store_true", help="leave Ray Data out")
    arguments = options.parse_args()
    # With fewer samples, a reader's own 0.2 GiB would count in the ratio of memory.
    samples = arguments.samples or (20_000 if arguments.quick else 400_000)
    passes = 3 if arguments.quick else 5
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(
            Path(folder), samples, arguments.batch, passes, min(samples, 4096), arguments.workers,
            not arguments.without_ray,
        )  # fmt: skip
    for name, values in result.items():
        if "passes" in values:
            print(f"{name:26} {values['median']:9,.0f} samples/s ({values['least']:,.0f} to {values['most']:,.0f})")
    share = result["warm over limit"]
    memory = result["memory"]
    print(f"warm over limit            {share['median']:9.2f} ({share['least']:.2f} to {share['most']:.2f})")
    print(
        f"memory of four readers     {memory['ratio']:9.2f} times that of one "
        f"({memory['four readers'] / 2**30:.2f} and {memory['one reader'] / 2**30:.2f} GiB)"
    )
    write(arguments.json, {"samples": samples, "batch": arguments.batch, "threads": torch.get_num_threads(), **result})


if __name__ == "__main__":
    main()
