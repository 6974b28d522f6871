"""The file of a trained head."""

import json
from pathlib import Path

from conclugen.distributed import rank_and_size
from conclugen.features.standardise import Standardisation
from conclugen.files.tensors import read_tensors, write_tensors
from conclugen.heads import RepresentationHeads
from conclugen.hyperparameters import Hyperparameters

__all__ = ["load_head", "save_head"]


def save_head(path: Path, head: RepresentationHeads, standardisation: Standardisation) -> None:
    """Write a head and its standardisation to a file, so that the head works without its training features.

    Only the first of several workers writes.
    """
    if rank_and_size()[0] > 0:
        return
    modalities = list(head.heads)
    tensors = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    tensors |= {f"mean.{name}": standardisation.mean[name] for name in modalities}
    tensors |= {f"scale.{name}": standardisation.scale[name] for name in modalities}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors, {"modalities": json.dumps(modalities)})


def load_head(path: Path, hyperparameters: Hyperparameters) -> tuple[RepresentationHeads, Standardisation]:
    """Return a confirmation run's head, and the standardisation that its inputs need.

    Raises:
        DamagedError: the file is not as it was written.
        OSError: the file cannot be read.
    """
    tensors, metadata = read_tensors(path)
    modalities = json.loads(metadata["modalities"])
    standardisation = Standardisation(
        {name: tensors[f"mean.{name}"] for name in modalities}, {name: tensors[f"scale.{name}"] for name in modalities}
    )
    widths = {name: len(mean) for name, mean in standardisation.mean.items()}
    head = RepresentationHeads(widths, hyperparameters.representation_dim, lift_audio=hyperparameters.lift_audio)
    prefix = "head."
    head.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return head, standardisation
