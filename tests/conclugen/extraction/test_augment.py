"""Augmented versions: reproducible, different from one another, and of bounded strength."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conclugen.extraction.augment import Augmentation

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_a_version_is_the_same_wherever_it_is_made() -> None:
    first, again = Augmentation("clip", 3), Augmentation("clip", 3)
    wave = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 0.1
    assert np.array_equal(first.picture(PICTURE), again.picture(PICTURE))
    assert np.array_equal(first.picture(PICTURE), again.picture(PICTURE))  # each frame of a clip alike
    assert np.array_equal(first.waveform(wave), again.waveform(wave))
    assert first.text("a b c d e f g h " * 5) == again.text("a b c d e f g h " * 5)


def test_versions_and_clips_differ() -> None:
    made = {Augmentation(name, version).picture(PICTURE).tobytes() for name in "ab" for version in range(1, 6)}
    assert len(made) == 10


def test_pictures_keep_most_of_their_size() -> None:
    for version in range(1, 30):
        height, width, _ = Augmentation("clip", version).picture(PICTURE).shape
        assert 34 <= height <= 40
        assert 51 <= width <= 60


def test_sound_keeps_its_length_and_noise_stays_15_db_below() -> None:
    wave = (0.1 * np.sin(np.arange(16000) / 20)).astype(np.float32)
    for version in range(1, 20):
        changed = Augmentation("clip", version).waveform(wave)
        assert changed.shape == wave.shape
        gain = float(changed @ wave / (wave @ wave))
        noise = changed - gain * wave
        assert 10 ** (-6.2 / 20) < gain < 10 ** (6.2 / 20)
        assert 14.5 < 10 * np.log10(np.square(gain * wave).mean() / np.square(noise).mean()) < 30.5


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=30), st.integers(1, 50))
def test_text_loses_words_but_neither_order_nor_all(words: list[str], version: int) -> None:
    left = Augmentation("clip", version).text(" ".join(words)).split()
    assert left
    remaining = iter(words)
    assert all(word in remaining for word in left)
