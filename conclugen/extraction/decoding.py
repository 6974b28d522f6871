"""Media files: the only place that knows how pictures and sound are read from them.

PyAV decodes: one library for containers, pictures, sound and resampling, whose wheels bring FFmpeg along. torchcodec
was rejected because it needs FFmpeg installed beside it and one build per version of torch.

Times are seconds from the file's beginning, whatever its timestamps start with. A frame is shown from its own time to
the next one's; sampling at a rate asks which frame is shown at each instant, so that a variable frame rate, a
constant one and a low one all mean the same. Pictures come upright, with square pixels.
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
_SILENCE = 10 ** (-60 / 20)  # amplitude; below it lies the noise of 16-bit recordings, not a voice
_EPSILON = 1e-6  # seconds; timestamps are rounded to the container's time base


class ClipError(Exception):
    """A clip has no features, for ``reason``; the message adds what exactly was found."""

    def __init__(self, reason: Reason, details: str) -> None:
        super().__init__(f"{reason}: {details}")
        self.reason, self.details = reason, details


@dataclass(frozen=True, eq=False, slots=True)
class Sampled:
    """The picture that is shown at one instant."""

    rate: int
    """Which of the rates asked for it."""
    time: float
    """Seconds since the clip's start."""
    picture: Picture
    """(height, width, 3), RGB."""


def read_frames(
    file: Path, rates: Sequence[float], start: float | None = None, end: float | None = None
) -> Iterator[Sampled]:
    """Yield the pictures shown ``rate`` times per second from the clip's start on, for several rates in one pass.

    At least one is yielded for each rate. Until the first frame's time, the first frame counts as shown.

    Args:
        file: the video.
        rates: pictures per second, each.
        start: where the clip begins, in seconds; None for the file's beginning.
        end: where it ends; None, or anything beyond, for the file's end.

    Raises:
        ClipError: missing, corrupt, no picture, or empty: nothing is shown between start and end.
    """
    begin, stop = start or 0.0, inf if end is None else end
    with _opened(file) as container:
        stream = next((s for s in container.streams.video if not _is_cover(s)), None)
        if stream is None:
            raise ClipError("no picture", f"{file} has no video stream")
        stream.thread_type = "AUTO"
        taken = [0] * len(rates)
        shown: VideoFrame | None = None
        until = -inf
        for frame, time, seconds in _frames(container, stream, begin):
            if shown is not None:
                yield from _sample(shown, stream, rates, taken, begin, min(time, stop))
            if time >= stop and shown is not None:
                break
            shown, until = frame, time + seconds
        if shown is None or until <= begin + _EPSILON:
            raise ClipError("empty", f"{file} shows nothing from {begin:g} s on")
        yield from _sample(shown, stream, rates, taken, begin, min(until, stop), at_least=1)


def read_waveform(file: Path, rate: int, start: float | None = None, end: float | None = None) -> Waveform:
    """Return the clip's sound as one channel (samples,) at ``rate`` per second, in -1..1.

    Channels are averaged. Where the sound begins after the clip's start, so does the result.

    Raises:
        ClipError: missing, corrupt, no sound, empty, or silent: nothing in it exceeds -60 dB of full scale.
    """
    begin, stop = start or 0.0, inf if end is None else end
    with _opened(file) as container:
        if not container.streams.audio:
            raise ClipError("no sound", f"{file} has no audio stream")
        stream = container.streams.audio[0]
        # Without a layout, as what FFmpeg makes one channel of two by depends on their format.
        resampler = av.AudioResampler(format="fltp", rate=rate)
        pieces, first = [], None
        for frame, time, _ in _frames(container, stream, begin):
            if time >= stop:
                break
            first = time if first is None else first
            frame.pts = None  # gaps are closed, as players do; the resampler would fill or refuse them
            pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(frame)]
        if first is not None:
            pieces += [piece.to_ndarray().mean(axis=0) for piece in resampler.resample(None)]
    samples = np.concatenate([np.zeros(0, np.float32), *pieces])
    offset = first or 0.0
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
    taken: list[int],
    begin: float,
    until: float,
    at_least: int = 0,
) -> Iterator[Sampled]:
    """Yield ``frame`` for each instant before ``until`` that has not been served."""
    picture: Picture | None = None
    for index, rate in enumerate(rates):
        while taken[index] < at_least or begin + taken[index] / rate < until - _EPSILON:
            if picture is None:  # most frames are shown at no instant, and converting costs as much as decoding
                picture = _upright(frame, stream)
            yield Sampled(index, taken[index] / rate, picture)
            taken[index] += 1


def _upright(frame: VideoFrame, stream: VideoStream) -> Picture:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    # Quarter turns are all that cameras write.
    picture = frame.to_ndarray(format="rgb24", width=max(1, round(frame.width * aspect)), height=frame.height)
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))


def _is_cover(stream: VideoStream) -> bool:
    """Whether it is a still picture beside the sound."""
    return bool(stream.disposition & stream.disposition.attached_pic)


@contextmanager
def _opened(file: Path) -> Iterator[InputContainer]:
    """The file, and FFmpeg's errors from within as ours."""
    if not file.is_file():
        raise ClipError("missing", f"there is no file {file}")
    if not file.stat().st_size:
        raise ClipError("empty", f"{file} has no bytes")
    try:
        with av.open(str(file), metadata_errors="replace") as container:
            if not container.streams:
                raise ClipError("corrupt", f"{file} holds no stream; it may have been cut off")
            yield container
    except (av.error.FFmpegError, OSError, ValueError) as error:  # the last: sound that changes its format midway
        raise ClipError("corrupt", f"{file}: {getattr(error, 'strerror', None) or error}") from None


def _frames(
    container: InputContainer, stream: VideoStream | AudioStream, begin: float
) -> Iterator[tuple[Any, float, float]]:
    """Yield decoded frames with their time and duration in seconds, from some key frame before ``begin`` on."""
    origin = (container.start_time or 0) / av.time_base
    if isinstance(stream, VideoStream) and container.format.name == "avi":
        decoded = _decoding_times(container, stream)
    else:
        if begin > 0 and stream.time_base is not None:
            container.seek(int((begin + origin) / stream.time_base), stream=stream)
        frames: Iterator[Any] = container.decode(stream)
        decoded = ((frame, frame.time) for frame in frames)
    expected = origin
    for frame, stamp in decoded:
        time = expected if stamp is None else stamp
        expected = time + _seconds(frame, stream)
        yield frame, time - origin, expected - time
    # FFmpeg takes the end of a file for the end of its streams, also where the file's own index goes on.
    entries = stream.index_entries
    if len(entries) and entries[-1].pos + entries[-1].size > container.size:
        raise ClipError("corrupt", f"{container.name} has been cut off")


def _decoding_times(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Any, float | None]]:
    """Yield the frames of an AVI file, as they are shown, with the times at which they are.

    AVI says only when a packet is decoded; what FFmpeg makes of that is a frame late for H.264, and in no order where
    frames refer to later ones. As one frame is shown per packet, the first to be shown has the first packet's time, and
    so on, also across frames left out. That counts from the file's beginning: after a seek, a decoder drops frames that
    refer to what was skipped.
    """
    times: deque[float | None] = deque()
    for packet in container.demux(stream):
        if packet.size:  # the last only empties the decoder
            times.append(None if packet.dts is None else float(packet.dts * packet.time_base))
        for frame in packet.decode():
            yield frame, times.popleft() if times else None


def _seconds(frame: Any, stream: VideoStream | AudioStream) -> float:
    if isinstance(stream, AudioStream):
        return float(frame.samples / frame.sample_rate)
    if frame.duration and frame.time_base is not None:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.04
