"""Make clips for tests: pictures, tones, and speech synthesised by espeak-ng.

`write_clip` sets the details of a file (times of frames, tags, codecs) through the FFmpeg inside PyAV, which is also
the product's reader. `film` lets FFmpeg's own program make the file, another build of another version, as users do.
"""

import ctypes
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import espeakng_loader
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float32]


def grey(level: int, height: int = 48, width: int = 64) -> npt.NDArray[np.uint8]:
    """Make a picture (height, width, 3) of one grey."""
    return np.full((height, width, 3), level, np.uint8)


def tone(seconds: float, rate: int, channels: int = 1, frequency: float = 440.0) -> Sound:
    """Make a sine (channels, samples) at half of full scale."""
    wave = 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def write_clip(
    path: Path,
    pictures: Sequence[npt.NDArray[np.uint8]] = (),
    *,
    times: Iterable[float] | None = None,
    rate: int = 10,
    sound: Sound | None = None,
    sound_rate: int = 16000,
    rotation: int = 0,
    codec: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip of pictures, of sound (channels, samples), or of both.

    Pictures are shown at ``rate``, or from ``times`` on. They are encoded by the container's usual codec, or by
    ``codec`` with the encoder's own ``options``.
    """
    with av.open(str(path), "w") as container:
        if len(pictures):
            avi = path.suffix == ".avi"  # its times are multiples of the frame's duration
            base = Fraction(1, rate) if avi else Fraction(1, 1000)
            codec = codec or ("mpeg4" if avi else "libx264")
            default_options = {"qscale": "1"} if codec == "mpeg4" else {"crf": "1", "preset": "ultrafast"}
            video = container.add_stream(codec, rate=rate, options=options or default_options)
            video.height, video.width, _ = pictures[0].shape
            video.pix_fmt = "yuv420p" if avi else "yuv444p"
            video.time_base = video.codec_context.time_base = base
            if rotation:
                video.set_display_rotation(rotation)
        if sound is not None:
            layout = "mono" if len(sound) == 1 else "stereo"
            audio = container.add_stream("pcm_s16le" if path.suffix in (".wav", ".mkv", ".mov") else "aac", sound_rate)
            audio.layout = layout
        instants = [index / rate for index in range(len(pictures))] if times is None else list(times)
        for picture, time in zip(pictures, instants, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(time / base), base
            container.mux(video.encode(frame))
        if len(pictures):
            container.mux(video.encode(None))
        if sound is not None:
            scaled = (sound.T.reshape(1, -1).clip(-1, 1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(scaled, format="s16", layout=layout)
            frame.sample_rate, frame.pts = sound_rate, 0
            for piece in av.AudioResampler(format=audio.format.name, layout=layout, rate=sound_rate).resample(frame):
                container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def film(
    path: Path,
    pictures: Sequence[npt.NDArray[np.uint8]],
    sound: Sound,
    sound_rate: int,
    *options: str,
    rate: int = 10,
) -> Path:
    """Let FFmpeg's program write pictures at ``rate`` and sound (channels, samples), with its own ``options``."""
    height, width, _ = pictures[0].shape
    sound_file = write_clip(path.with_suffix(".wav"), sound=sound, sound_rate=sound_rate)
    video_input = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate}", "-i", "-"]
    ffmpeg(
        *video_input,
        "-i",
        sound_file,
        "-crf",
        "4",
        "-preset",
        "ultrafast",
        *options,
        path,
        content=b"".join(map(bytes, pictures)),
    )
    sound_file.unlink()
    return path


def ffmpeg(*arguments: object, content: bytes = b"") -> None:
    """Run FFmpeg's program with ``content`` on its standard input."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    process = subprocess.run(command, input=content, capture_output=True, check=False)
    assert process.returncode == 0, process.stderr.decode()


@cache
def _espeak() -> tuple[Any, int]:
    """Return espeak-ng and its rate. Whoever initialises it twice gets less sound than the text has, or silence."""
    library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
    synchronous = 2
    rate = library.espeak_Initialize(synchronous, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    assert rate > 0
    return library, rate


@cache
def speech(text: str) -> tuple[Sound, int]:
    """Let espeak-ng speak a text; return the sound (1, samples) and its rate."""
    library, rate = _espeak()
    pieces: list[npt.NDArray[np.int16]] = []

    def collect(wave: Any, count: int, _events: int) -> int:
        if count:
            pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)(collect)
    library.espeak_SetSynthCallback(callback)
    content = text.encode() + b"\0"
    library.espeak_Synth(content, ctypes.c_size_t(len(content)), 0, 0, 0, 1, None, None)
    library.espeak_Synchronize()
    return np.concatenate(pieces).astype(np.float32)[None] / 32768, rate
