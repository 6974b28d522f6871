"""Face crops: at the drawn face, held between detections, inside the picture."""

import numpy as np
import pytest

from conclugen.extraction import faces
from conclugen.extraction.faces import FaceTrack, largest_face
from tests.conclugen.extraction.faces import drawn_face


@pytest.mark.parametrize("scale", [1, 3])
def test_a_face_is_found_at_its_place(scale: int) -> None:
    box = largest_face(drawn_face(360 * scale, 480 * scale, 150 * scale, 200 * scale, 150 * scale))
    assert box is not None
    left, top, width, height = box
    assert left + width / 2 == pytest.approx(150 * scale, abs=25 * scale)
    assert top + height / 2 == pytest.approx(200 * scale, abs=40 * scale)
    assert 90 * scale < width < 220 * scale


def test_the_largest_of_several_is_taken() -> None:
    picture = np.concatenate([drawn_face(360, 300, 150, 180, 80), drawn_face(360, 300, 150, 180, 150)], axis=1)
    box = largest_face(picture)
    assert box is not None
    assert box[0] + box[2] / 2 > 300


def test_noise_and_plain_grey_are_no_faces() -> None:
    assert largest_face(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)) is None
    assert largest_face(np.full((240, 320, 3), 128, np.uint8)) is None


def test_a_detection_holds_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = iter([None, (40, 30, 20, 20), (60, 30, 20, 20), None])
    monkeypatch.setattr(faces, "largest_face", lambda picture: next(boxes))
    column = np.arange(120, dtype=np.uint8)
    picture = np.broadcast_to(column[None, :, None], (100, 120, 3))
    track = FaceTrack(margin=0.5)
    lefts = []
    for time in (0.0, 0.1, 0.5, 1.0, 1.1, 1.9, 2.2):
        crop = track.crop(time, np.ascontiguousarray(picture))
        lefts.append(None if crop is None else int(crop[0, 0, 0]))
        assert crop is None or crop.shape == (40, 40, 3)
    # detections at 0.0 (no face), 0.1 (first box), 1.1 (second box) and 2.2 (no face, so the last box stays)
    assert lefts == [None, 30, 30, 30, 50, 50, 50]


@pytest.mark.parametrize("box", [(0, 0, 50, 50), (90, 70, 30, 30), (10, 10, 100, 100)])
def test_crops_lie_within_the_picture(box: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "largest_face", lambda picture: box)
    crop = FaceTrack(margin=0.5).crop(0.0, np.zeros((100, 120, 3), np.uint8))
    assert crop is not None
    side = min(round(2 * box[2]), 100)
    assert crop.shape == (side, side, 3)
