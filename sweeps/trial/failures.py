"""Maps an exception to the failure reason stored in the record."""

import errno

import torch

from conclugen.training.pretrain import DivergedError
from sweeps.jobs import FailureReason, Job

__all__ = ["reason_of"]

# Texts of torch's RuntimeErrors for a lack of memory: from its allocator of host memory, from cuBLAS, from CUDA.
_NO_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_SIZES = ("batch_size", "representation_dim")  # they decide whether a trial fits


def reason_of(error: Exception, job: Job) -> str:
    """Return the reason of a job that ended with ``error``: a class of `FailureReason`, and the details."""
    if isinstance(error, DivergedError):
        return FailureReason.NAN_LOSS.because(str(error))
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(phrase in text for phrase in _NO_MEMORY):
        text = text.partition(" If reserved ")[0]  # the rest is advice on the allocator, which makes no batch fit
        sizes = [f"{name} {job.hyperparameters[name]}" for name in _SIZES if name in job.hyperparameters]
        if sizes:
            text = f"{' and '.join(sizes)} did not fit: {text}; narrow their ranges; "
            text += "`sweep check --gpu-memory` says how far"
        return FailureReason.OUT_OF_MEMORY.because(text)
    # safetensors reports the operating system's errors in its text alone.
    if getattr(error, "errno", None) in _NO_SPACE or any(f"(os error {number})" in text for number in _NO_SPACE):
        return FailureReason.DISK_FULL.because(text)
    return FailureReason.EXCEPTION.because(f"{type(error).__name__}: {text}")
