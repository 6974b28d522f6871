"""What names say in this field: which column holds labels, speakers or lengths, which part a file belongs to."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from conclugen.features.manifest import MODALITY_NAME, SPLITS, split_name
from conclugen.formats.table import Role
from conclugen.names import tidy

__all__ = ["clip_ids", "id_key", "length_key", "mask_key", "modality_name", "part_of", "role_of", "split_of"]

_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("split", re.compile(r"(data_?)?(split|set|partition|mode)s?", re.I)),
    ("speaker", re.compile(r"(speaker|spk|subject|actor)(_?id)?s?|video_?speakers", re.I)),
    ("text", re.compile(r"(raw_?)?(texts?|sentences?|transcripts?|transcriptions?|utterances?|subtitles?)", re.I)),
    ("group", re.compile(r"(video|dialogue|session|conversation)(_?id)?", re.I)),
    (
        "label",
        re.compile(
            r"(\w*_)?(labels?|targets?|annotations?|emotions?|sentiments?|class(es)?|truth|valence|arousal)(_\w{1,3})?"
            r"|emo|val|aro|y|gt|gnd|ground_?truth|labels?\d?",
            re.I,
        ),
    ),
)
_IDS = (
    "id", "ids", "sample_id", "name", "names", "clip", "clip_id", "utt_id", "uttid", "file", "filename", "file_name",
    "segment", "segment_id", "key", "path", "index",
)  # fmt: skip
_SUFFIX = re.compile(r"\.(wav|mp3|flac|ogg|m4a|mp4|avi|mkv|mov|flv|webm|npy|npz|pt|jpg|png|txt)\Z", re.I)
_LENGTHS = ("_lengths", "_length", "_lens", "_len")


def role_of(key: str) -> Role | None:
    """Return the role that the name of a column says; None if it says none."""
    return next((role for role, pattern in _ROLES if pattern.fullmatch(tidy(key))), None)


def id_key(keys: Iterable[str]) -> str | None:
    """Return the key that holds identifiers, by its name; None if none does."""
    lower = {key.lower(): key for key in keys}
    return next((lower[name] for name in _IDS if name in lower), None)


def length_key(key: str, keys: Iterable[str]) -> str | None:
    """Return the key of the true lengths of ``key``."""
    keys = set(keys)
    return next((f"{key}{end}" for end in _LENGTHS if f"{key}{end}" in keys), "lengths" if "lengths" in keys else None)


def mask_key(key: str, keys: Iterable[str]) -> str | None:
    """Return the key of the mask of ``key``."""
    keys = set(keys)
    return next((name for name in (f"{key}_mask", f"{key}_masks", f"{key}_padding_mask") if name in keys), None)


def clip_ids(texts: Sequence[str]) -> list[str]:
    """Return the identifiers of clips that paths of them name; other texts as they are.

    A file's name alone identifies its clip. If files of several folders have the same name, all clips keep the folders
    in which their paths differ: ``s1/001.wav`` and ``s2/001.wav`` are two clips.
    """
    paths = [_without_suffix(tidy(text.strip("'\""))) for text in texts]
    names = [path if isinstance(path, str) else path.name for path in paths]
    files = [path for path in paths if isinstance(path, PurePosixPath)]
    if len(set(names)) == len(set(map(str, paths))):
        return names
    shared = 0
    for parts in zip(*(path.parent.parts for path in files), strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    return [path if isinstance(path, str) else "/".join(path.parts[shared:]) for path in paths]


def _without_suffix(name: str) -> str | PurePosixPath:
    """Return the path of a clip without its suffix; a text that is no path of a clip as it is."""
    match = _SUFFIX.search(name)
    return name if match is None else PurePosixPath(name[: -len(match[0])].replace("\\", "/"))


def split_of(part: str) -> str | None:
    """Return the split that the name of a part says, such as train, dev_corpus or ``standard_valid_fold``; or None."""
    words = [word for word in re.split(r"[^a-z0-9]+", tidy(part).lower()) if word]
    meant = {split_name(word) for word in words} & set(SPLITS)
    rest = [word for word in words if split_name(word) not in SPLITS]
    known = all(word in ("corpus", "set", "split", "data", "fold", "standard", "ids", "vid") for word in rest)
    return meant.pop() if len(meant) == 1 and known else None


def part_of(stem: str) -> tuple[str | None, str]:
    """Return the split that a file's name says, and the rest of the name: ``audio_train`` is train and audio."""
    words = re.split(r"[_\-. ]+", stem)
    splits = [word for word in words if split_name(word) in SPLITS]
    if len(splits) != 1:
        return None, stem
    at = words.index(splits[0])
    return split_name(splits[0]), "_".join(words[:at] + words[at + 1 :])


def modality_name(key: str) -> str:
    """Return the name of the modality that a column becomes."""
    if re.fullmatch(MODALITY_NAME, key):
        return key
    name = re.sub(r"[^A-Za-z0-9]+", "_", key).strip("_")
    return name if re.fullmatch(MODALITY_NAME, name) else f"features_{name}"
