"""Augmented versions are reproducible, differ from each other, and are of bounded strength."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conclugen.extraction.augment import Augmentation

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_a_version_is_reproducible() -> None:
    first, second = Augmentation("clip", 3), Augmentation("clip", 3)
    wave = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 0.1
    assert np.array_equal(first.picture(PICTURE), second.picture(PICTURE))
    assert np.array_equal(first.picture(PICTURE), second.picture(PICTURE))  # all frames of a clip are augmented alike
    assert np.array_equal(first.waveform(wave), second.waveform(wave))
    assert first.text("a b c d e f g h " * 5) == second.text("a b c d e f g h " * 5)


def test_versions_and_clips_differ() -> None:
    pictures = {Augmentation(name, version).picture(PICTURE).tobytes() for name in "ab" for version in range(1, 6)}
    assert len(pictures) == 10


def test_crops_keep_at_least_85_percent_of_each_side() -> None:
    for version in range(1, 30):
        height, width, _ = Augmentation("clip", version).picture(PICTURE).shape
        assert 34 <= height <= 40
        assert 51 <= width <= 60


def test_sound_keeps_its_length_and_noise_stays_15_db_below() -> None:
    wave = (0.1 * np.sin(np.arange(16000) / 20)).astype(np.float32)
    for version in range(1, 20):
        augmented = Augmentation("clip", version).waveform(wave)
        assert augmented.shape == wave.shape
        gain = float(augmented @ wave / (wave @ wave))
        noise = augmented - gain * wave
        assert 10 ** (-6.2 / 20) < gain < 10 ** (6.2 / 20)
        assert 14.5 < 10 * np.log10(np.square(gain * wave).mean() / np.square(noise).mean()) < 30.5


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=30), st.integers(1, 50))
def test_text_loses_some_words_and_keeps_their_order(words: list[str], version: int) -> None:
    remaining = Augmentation("clip", version).text(" ".join(words)).split()
    assert remaining
    in_order = iter(words)
    assert all(word in in_order for word in remaining)
