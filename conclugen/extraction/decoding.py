"""Read pictures and sound from media files; no other module opens them.

PyAV decodes. It is one library for containers, pictures, sound and resampling, and its wheels bring FFmpeg along.
torchcodec was rejected because it needs a separate FFmpeg and one build per version of torch.

Times are seconds from the file's beginning, whatever its timestamps start with. A frame is shown from its own time to
the time of the next frame. Sampling at a rate takes the frame that is shown at each instant, so variable, constant and
low frame rates are treated alike. Pictures come upright, with square pixels.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

__all__ = ["ClipError", "Reason", "Sampled", "Waveform", "read_frames", "read_waveform"]

Reason = Literal[
    "missing", "corrupt", "empty", "no picture", "no sound", "silent", "no face", "no transcript", "not finite"
]
"""Why a clip has no features."""
Picture = npt.NDArray[np.uint8]
Waveform = npt.NDArray[np.float32]
_SILENCE = 10 ** (-60 / 20)  # amplitude; noise of 16-bit recordings lies below it, no voice does
_EPSILON = 1e-6  # seconds; timestamps are rounded to the container's time base


class ClipError(Exception):
    """A clip that has no features; ``reason`` is its class, ``details`` the particulars."""

    def __init__(self, reason: Reason, details: str) -> None:
        super().__init__(f"{reason}: {details}")
        self.reason = reason
        self.details = details


@dataclass(frozen=True, eq=False, slots=True)
class Sampled:
    """The picture that is shown at one instant."""

    rate: int
    """Index of the rate to which the instant belongs."""
    time: float
    """Seconds since the clip's start."""
    picture: Picture
    """(height, width, 3), RGB."""


def read_frames(
    file: Path, rates: Sequence[float], start: float | None = None, end: float | None = None
) -> Iterator[Sampled]:
    """Yield the pictures of a clip, sampled from its start on, for several rates in one pass.

    Each rate gets at least one picture. Before the first frame's time, the first frame counts as shown.

    Args:
        file: the video.
        rates: pictures per second.
        start: the clip's start in seconds; None for the file's beginning.
        end: the clip's end in seconds; None, or any time after the file's end, for the file's end.

    Raises:
        ClipError: the file is missing or corrupt, has no picture, or shows nothing between start and end (empty).
    """
    begin = start or 0.0
    stop = inf if end is None else end
    with _opened(file) as container:
        stream = next((s for s in container.streams.video if not _is_cover(s)), None)
        if stream is None:
            raise ClipError("no picture", f"{file} has no video stream")
        stream.thread_type = "AUTO"
        counts = [0] * len(rates)
        current: VideoFrame | None = None
        current_end = -inf
        for frame, time, seconds in _frames(container, stream, begin):
            if current is not None:
                yield from _sample(current, stream, rates, counts, begin, min(time, stop))
            if time >= stop and current is not None:
                break
            current = frame
            current_end = time + seconds
        if current is None or current_end <= begin + _EPSILON:
            raise ClipError("empty", f"{file} shows nothing from {begin:g} s on")
        yield from _sample(current, stream, rates, counts, begin, min(current_end, stop), at_least=1)


def read_waveform(file: Path, rate: int, start: float | None = None, end: float | None = None) -> Waveform:
    """Return the sound of a clip as one channel (samples,) at ``rate`` samples per second, in -1..1.

    Channels are averaged. If the sound begins after the clip's start, the result begins with the sound.

    Args:
        file: the video, or a file of sound only.
        rate: samples per second.
        start: the clip's start in seconds; None for the file's beginning.
        end: the clip's end in seconds; None for the file's end.

    Raises:
        ClipError: the file is missing or corrupt, has no sound, or none between start and end (empty), or nothing in
            it exceeds -60 dB of full scale (silent).
    """
    begin = start or 0.0
    stop = inf if end is None else end
    with _opened(file) as container:
        if not container.streams.audio:
            raise ClipError("no sound", f"{file} has no audio stream")
        stream = container.streams.audio[0]
        # The resampler keeps the channels: how FFmpeg would mix two into one depends on their format.
        resampler = av.AudioResampler(format="fltp", rate=rate)
        pieces = []
        first_time = None
        for frame, time, _ in _frames(container, stream, begin):
            if time >= stop:
                break
            first_time = time if first_time is None else first_time
            frame.pts = None  # closes gaps, as players do; the resampler would fill or refuse them
            pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(frame)]
        if first_time is not None:
            pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(None)]
    samples = np.concatenate([np.zeros(0, np.float32), *pieces])
    offset = first_time or 0.0
    last = len(samples) if stop == inf else max(0, round((stop - offset) * rate))
    samples = samples[max(0, round((begin - offset) * rate)) : last]
    if len(samples) == 0:
        raise ClipError("empty", f"{file} has no sound from {begin:g} s on")
    if (peak := float(np.abs(samples).max())) < _SILENCE:
        raise ClipError("silent", f"{file}: the loudest sample is {peak:.1e} of full scale")
    return samples


def _sample(
    frame: VideoFrame,
    stream: VideoStream,
    rates: Sequence[float],
    counts: list[int],
    begin: float,
    frame_end: float,
    at_least: int = 0,
) -> Iterator[Sampled]:
    """Yield ``frame`` for each instant before ``frame_end`` that has no picture yet, and count up ``counts``."""
    picture: Picture | None = None
    for index, rate in enumerate(rates):
        while counts[index] < at_least or begin + counts[index] / rate < frame_end - _EPSILON:
            if picture is None:  # most frames are shown at no instant, and converting costs as much as decoding
                picture = _upright(frame, stream)
            yield Sampled(index, counts[index] / rate, picture)
            counts[index] += 1


def _upright(frame: VideoFrame, stream: VideoStream) -> Picture:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    picture = frame.to_ndarray(format="rgb24", width=max(1, round(frame.width * aspect)), height=frame.height)
    # Cameras write no other rotations than quarter turns.
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))


def _is_cover(stream: VideoStream) -> bool:
    """Return whether the stream is a still picture that accompanies sound."""
    return bool(stream.disposition & stream.disposition.attached_pic)


@contextmanager
def _opened(file: Path) -> Iterator[InputContainer]:
    """Open a media file, and turn FFmpeg's errors into :class:`ClipError`."""
    if not file.is_file():
        raise ClipError("missing", f"there is no file {file}")
    if not file.stat().st_size:
        raise ClipError("empty", f"{file} has no bytes")
    try:
        with av.open(str(file), metadata_errors="replace") as container:
            if not container.streams:
                raise ClipError("corrupt", f"{file} holds no stream; it may have been cut off")
            yield container
    except (av.error.FFmpegError, OSError, ValueError) as error:  # ValueError: sound that changes its format midway
        raise ClipError("corrupt", f"{file}: {getattr(error, 'strerror', None) or error}") from None


def _frames(
    container: InputContainer, stream: VideoStream | AudioStream, begin: float
) -> Iterator[tuple[Any, float, float]]:
    """Yield decoded frames with their time and duration in seconds, from a frame at or before ``begin`` on."""
    origin = (container.start_time or 0) / av.time_base
    if isinstance(stream, VideoStream) and container.format.name == "avi":
        timed_frames = _avi_frames(container, stream)
    else:
        if begin > 0 and stream.time_base is not None:
            container.seek(int((begin + origin) / stream.time_base), stream=stream)
        frames: Iterator[Any] = container.decode(stream)
        timed_frames = ((frame, frame.time) for frame in frames)
    expected = origin
    for frame, timestamp in timed_frames:
        time = expected if timestamp is None else timestamp
        expected = time + _seconds(frame, stream)
        yield frame, time - origin, expected - time
    # FFmpeg ends the streams where the file ends, even if the file's own index goes on.
    entries = stream.index_entries
    if len(entries) and entries[-1].pos + entries[-1].size > container.size:
        raise ClipError("corrupt", f"{container.name} has been cut off")


def _avi_frames(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Any, float | None]]:
    """Yield the frames of an AVI file in the order of showing, with their times.

    AVI stores only times of decoding. The times that FFmpeg derives from them are a frame late for H.264, and out of
    order if frames refer to later ones. One frame is shown per packet. So the n-th frame shown gets the n-th packet's
    time, even across dropped frames. Reading starts at the file's beginning: after a seek, a decoder would drop frames
    that refer to skipped ones.
    """
    times: deque[float | None] = deque()
    for packet in container.demux(stream):
        if packet.size:  # the last packet is empty and only flushes the decoder
            times.append(None if packet.dts is None else float(packet.dts * packet.time_base))
        for frame in packet.decode():
            yield frame, times.popleft() if times else None


def _seconds(frame: Any, stream: VideoStream | AudioStream) -> float:
    """Return the duration of a frame."""
    if isinstance(stream, AudioStream):
        return float(frame.samples / frame.sample_rate)
    if frame.duration and frame.time_base is not None:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.04
