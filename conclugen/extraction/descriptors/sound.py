"""Descriptors of sound: openSMILE's functionals, and statistics of mel cepstral coefficients."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from conclugen.extraction.decoding import ClipError, Waveform

__all__ = ["RATE", "egemaps", "mfcc"]

RATE = 16_000
"""Samples per second of all descriptors of sound."""
_FRAME, _HOP, _BANDS, _COEFFICIENTS = 400, 160, 80, 40  # 25 ms every 10 ms, as is usual for speech

Vector = npt.NDArray[np.float32]


def egemaps(waveform: Waveform) -> Vector:
    """Return the functionals of eGeMAPSv02 (88,) of a waveform (samples,) at :data:`RATE`.

    Raises:
        ClipError: the waveform is too short for some of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # too short a sound, which is told below
        values = np.asarray(_smile().process_signal(waveform, RATE).to_numpy()[0], np.float32)
    if not np.isfinite(values).all():
        raise ClipError("empty", f"{len(waveform) / RATE:.2f} s of sound are too short for eGeMAPS")
    return values


def mfcc(waveform: Waveform) -> Vector:
    """Return statistics (160,) of mel cepstral coefficients of a waveform (samples,) at :data:`RATE`.

    They are the means and the standard deviations over frames of 40 coefficients, and those of the coefficients'
    differences from frame to frame.
    """
    from scipy.fft import dct
    from transformers.audio_utils import spectrogram

    window, filters = _filters()
    decibels = spectrogram(
        waveform, window, frame_length=_FRAME, hop_length=_HOP, fft_length=512, power=2.0, mel_filters=filters,
        mel_floor=1e-10, log_mel="dB",
    )  # fmt: skip
    coefficients = dct(decibels, axis=0, norm="ortho")[:_COEFFICIENTS]  # (40, frames)
    changes = np.diff(coefficients, axis=1)
    statistics = [coefficients.mean(1), coefficients.std(1), changes.mean(1), changes.std(1)]
    return np.concatenate(statistics).astype(np.float32)


@contextmanager
def _yaml_kept() -> Iterator[None]:
    """Keep how PyYAML writes mappings: a package of openSMILE's, oyaml, changes that for the whole process."""
    dumpers = [each for each in vars(yaml).values() if hasattr(each, "yaml_representers")]
    before = [dict(dumper.yaml_representers) for dumper in dumpers]
    yield
    for dumper, representers in zip(dumpers, before, strict=True):
        dumper.yaml_representers = representers


@cache
def _smile() -> Any:
    with _yaml_kept():
        import opensmile

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    )


@cache
def _filters() -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    from transformers.audio_utils import mel_filter_bank, window_function

    filters = mel_filter_bank(
        num_frequency_bins=257, num_mel_filters=_BANDS, min_frequency=20.0, max_frequency=RATE / 2, sampling_rate=RATE
    )
    return window_function(_FRAME, "hann"), filters
