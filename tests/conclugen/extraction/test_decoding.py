"""Media files: pictures and sound at their times, for all kinds of files, and reasons why a file cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from conclugen.extraction.decoding import ClipError, read_frames, read_waveform
from tests.media import film, grey, speech, tone, write_clip


def levels(path: Path, rate: float, **times: float) -> list[int]:
    """Return the mean grey of the sampled pictures, rounded to 0, 20, 40, ..."""
    return [round(float(s.picture.mean()) / 20) * 20 for s in read_frames(path, [rate], **times)]


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """A video of two seconds at 10 frames/s; frame i is grey 10 i."""
    return write_clip(tmp_path / "steps.mp4", [grey(10 * i) for i in range(20)])


def test_the_frame_shown_at_each_instant_is_sampled(steps: Path) -> None:
    assert levels(steps, 1.0) == [0, 100]
    assert levels(steps, 5.0) == [0, 20, 40, 60, 80, 100, 120, 140, 160, 180]


def test_a_rate_above_the_file_s_repeats_frames(steps: Path) -> None:
    assert [round(float(s.picture.mean()) / 10) for s in read_frames(steps, [20.0], 1.0, 1.5)] == [
        10, 10, 11, 11, 12, 12, 13, 13, 14, 14,
    ]  # fmt: skip


def test_several_rates_share_a_pass_and_keep_their_own_instants(steps: Path) -> None:
    pictures = list(read_frames(steps, [1.0, 5.0]))
    assert [s.time for s in pictures if s.rate == 0] == [0.0, 1.0]
    assert [s.time for s in pictures if s.rate == 1] == pytest.approx([k / 5 for k in range(10)])


def test_start_and_end_count_in_seconds_of_the_file(steps: Path) -> None:
    assert levels(steps, 5.0, start=1.0, end=1.6) == [100, 120, 140]
    assert levels(steps, 5.0, start=1.6, end=99.0) == [160, 180]


def test_a_clip_shorter_than_an_interval_gives_one_picture(steps: Path) -> None:
    assert levels(steps, 1.0, start=0.4, end=0.5) == [40]


def test_variable_frame_rates_are_sampled_by_time(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 1.5, 1.9]
    path = write_clip(tmp_path / "vfr.mp4", [grey(40 * i) for i in range(5)], times=times)
    assert levels(path, 2.0) == [0, 80, 80, 120]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_video_comes_upright(tmp_path: Path, rotation: int) -> None:
    picture = grey(0)
    picture[:24, :32] = 240  # the upper left quarter
    path = write_clip(tmp_path / "turned.mp4", [picture] * 3, rotation=rotation)
    (sampled,) = read_frames(path, [1.0])
    expected = np.rot90(picture, rotation // 90)  # the tag asks players to turn it counterclockwise
    assert sampled.picture.shape == expected.shape
    assert np.abs(sampled.picture.astype(int) - expected).mean() < 5


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_containers_show_the_same_frames(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", [grey(20 * i) for i in range(10)])
    assert levels(path, 5.0) == [0, 40, 80, 120, 160]


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"crf": "1", "bf": "0"}),
        ("libx264", {"crf": "1", "bf": "3", "g": "8"}),
        ("libx264", {"crf": "1", "x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=6:scenecut=0"}),
        ("mpeg4", {"qscale": "1", "bf": "2", "g": "6"}),
    ],
)
def test_avi_files_show_frames_in_order_and_on_time(tmp_path: Path, codec: str, options: dict[str, str]) -> None:
    """AVI stores only times of decoding; frames may refer to later ones, and some may be left out."""
    path = write_clip(tmp_path / "steps.avi", [grey(20 * i) for i in range(12)], codec=codec, options=options)
    assert levels(path, 10.0) == [20 * i for i in range(12)]
    assert levels(path, 10.0, start=0.7, end=1.0) == [140, 160, 180]
    kept_frames = [0, 1, 2, 3, 4, 5, 9, 10, 11]
    path = write_clip(
        tmp_path / "gap.avi",
        [grey(20 * i) for i in kept_frames],
        times=[i / 10 for i in kept_frames],
        codec=codec,
        options=options,
    )
    greys = levels(path, 10.0)
    assert greys[:3] + greys[-2:] == [0, 20, 40, 200, 220]  # next to the gap, only the order is certain
    assert (greys, len(greys)) == (sorted(greys), 12)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (44100, 2), (48000, 1)])
def test_sound_of_any_rate_and_channels_is_the_same_tone(tmp_path: Path, rate: int, channels: int) -> None:
    path = write_clip(tmp_path / "tone.wav", sound=tone(1.0, rate, channels), sound_rate=rate)
    wave = read_waveform(path, 16000)
    assert wave.dtype == np.float32
    assert abs(len(wave) - 16000) <= 32
    spectrum = np.abs(np.fft.rfft(wave[:16000]))
    assert np.argmax(spectrum) * 16000 / len(wave[:16000]) == pytest.approx(440, abs=2)
    assert np.abs(wave[1000:-1000]).max() == pytest.approx(0.5, abs=0.02)


def test_sound_starts_and_ends_at_the_exact_sample(tmp_path: Path) -> None:
    ramp = np.linspace(-0.9, 0.9, 32000, dtype=np.float32)[None]
    path = write_clip(tmp_path / "ramp.wav", sound=ramp)
    wave = read_waveform(path, 16000, 0.5, 1.25)
    np.testing.assert_allclose(wave, ramp[0, 8000:20000], atol=1e-4)


def test_sound_and_pictures_are_read_from_one_file(tmp_path: Path) -> None:
    sound, rate = speech("Kids are talking by the door.")
    path = write_clip(tmp_path / "said.mp4", [grey(9 * i) for i in range(20)], sound=sound, sound_rate=rate)
    wave = read_waveform(path, 16000)
    assert len(wave) / 16000 == pytest.approx(sound.shape[1] / rate, abs=0.1)
    assert np.abs(wave).max() > 0.1
    assert len(levels(path, 1.0)) == 2


def bad_file(path: Path, flaw: str) -> Path:
    """Make a file with a flaw: missing, empty, corrupt or cut."""
    if flaw == "missing":
        return path
    if flaw == "empty":
        path.touch()
    elif flaw == "corrupt":
        path.write_bytes(bytes(range(256)) * 40)
    else:
        write_clip(path, [grey(80)] * 5)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize(
    ("flaw", "reason"), [("missing", "missing"), ("empty", "empty"), ("corrupt", "corrupt"), ("cut", "corrupt")]
)
def test_unreadable_files_are_refused_with_the_reason(tmp_path: Path, flaw: str, reason: str) -> None:
    path = bad_file(tmp_path / "bad.mp4", flaw)
    for read in (lambda: list(read_frames(path, [1.0])), lambda: read_waveform(path, 16000)):
        with pytest.raises(ClipError, match=r"bad\.mp4") as caught:
            read()
        assert caught.value.reason == reason


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_film_without_its_end_is_refused_only_if_the_end_is_read(tmp_path: Path, share: float) -> None:
    """The index comes first and names the missing part; FFmpeg alone would read a shorter film."""
    sound, rate = speech("Kids are talking by the door.")
    pictures = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8) for i in range(20)]
    path = film(tmp_path / "film.mp4", pictures, sound, rate, "-movflags", "faststart")
    assert len(list(read_frames(path, [10.0]))) == 20
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share)])
    for read in (lambda: list(read_frames(path, [10.0])), lambda: read_waveform(path, 16000)):
        with pytest.raises(ClipError) as caught:
            read()
        assert caught.value.reason == "corrupt"
    assert len(list(read_frames(path, [10.0], end=0.3))) == 3


def test_a_file_without_picture_or_sound_is_refused_with_the_reason(tmp_path: Path) -> None:
    silent = write_clip(tmp_path / "silent.wav", sound=np.zeros((1, 8000), np.float32))
    mute = write_clip(tmp_path / "mute.mp4", [grey(80)] * 5)
    for read, reason in (
        (lambda: read_waveform(silent, 16000), "silent"),
        (lambda: list(read_frames(silent, [1.0])), "no picture"),
        (lambda: read_waveform(mute, 16000), "no sound"),
        (lambda: list(read_frames(mute, [1.0], start=7.0)), "empty"),
        (lambda: read_waveform(silent, 16000, 7.0, 8.0), "empty"),
    ):
        with pytest.raises(ClipError) as caught:
            read()
        assert caught.value.reason == reason
