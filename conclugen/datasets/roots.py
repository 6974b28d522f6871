"""Videos in several folders: a clip list has one root, so each video is named from the folder that holds them all."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conclugen.datasets.clips import Clip
from conclugen.datasets.survey import shown

__all__ = ["common_root", "placed"]


def common_root(roots: Sequence[Path]) -> Path:
    """Return the folder itself if it is the only one, or else the nearest folder that holds all of them."""
    return roots[0] if len(roots) == 1 else Path(os.path.commonpath([root.absolute() for root in roots]))


def placed(clips: Sequence[Clip], lines: Sequence[int], roots: Sequence[Path]) -> tuple[list[Clip], list[str]]:
    """Name each relative video from the common root, by the one folder in which it lies.

    Args:
        clips: the clips.
        lines: line of each clip in its CSV, for messages.
        roots: the folders.

    Returns:
        The clips, and a message for each video that lies in several of the folders. A video in none of them is named
        as if it lay in the first.
    """
    if len(roots) == 1:
        return list(clips), []
    common = common_root(roots)
    problems = []
    result = []
    for clip, line in zip(clips, lines, strict=True):
        if clip.video is None or Path(clip.video).is_absolute():
            result.append(clip)
            continue
        holders = [root for root in roots if (root / clip.video).is_file()]
        if len(holders) > 1:
            folders = " and ".join(map(str, holders))
            problems.append(
                f"line {line}: video {shown(clip.video)} lies in {folders}; name it from a folder that holds both."
            )
        folder = (holders or roots)[0].absolute()
        result.append(replace(clip, video=(folder / clip.video).relative_to(common).as_posix()))
    return result, problems
