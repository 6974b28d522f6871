"""Recipes: reading them, every problem at once, and the two presets."""

from pathlib import Path

import pytest

from conclugen.extraction.recipe import PRESETS, Backbone, RecipeError, load_recipe


def write(folder: Path, text: str) -> str:
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_a_recipe_names_modalities_in_order_and_folders_beside_it(tmp_path: Path) -> None:
    (tmp_path / "models" / "own").mkdir(parents=True)
    recipe = load_recipe(
        write(
            tmp_path,
            "modalities:\n"
            "  video:\n"
            "    - {model: microsoft/resnet-152, kind: frames, rate: 2}\n"
            "    - {model: models/own, kind: clips}\n"
            "  text: [{model: some/encoder, kind: text, revision: v1}]\n",
        )
    )
    assert list(recipe.modalities) == ["video", "text"]
    assert [b.model for b in recipe.backbones] == [
        "microsoft/resnet-152", str(tmp_path / "models" / "own"), "some/encoder",
    ]  # fmt: skip
    assert [b.frame_rate for b in recipe.modalities["video"]] == [2.0, 16.0]
    assert recipe.kinds == {"frames", "clips", "text"}
    assert (recipe.faces, recipe.augmented) == (None, 0)


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    recipe = write(
        tmp_path,
        "modalities:\n"
        "  sample_id: [{model: a/b, kind: text}]\n"
        "  video: [{model: a/b, kind: image}, {model: a/b, kind: frames, rate: -1}]\n"
        "  audio: [{model: a/b, kind: audio, stride: 3}]\n"
        "  text: []\n"
        "augmented: -1\n"
        "other: 1\n",
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    places = ["sample_id", "video.0.kind", "video.1.rate", "audio.0", "text", "augmented", "other"]
    assert len(caught.value.problems) == len(places)
    for place in places:
        assert any(place in problem for problem in caught.value.problems)
    assert any("stride is for clips, not for audio" in problem for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("modalities: {a: [{model: ./no/such, kind: text}]}", "neither a folder nor a hub id"),
        ("modalities: {a: [{model: /no/such, kind: text}]}", "neither a folder nor a hub id"),
        ("a: [", "cannot be read as YAML"),
        ("", "is empty; it must have settings"),
        ("modalities: {}", "needs at least 1"),
    ],
)
def test_a_bad_recipe_is_refused_with_the_reason(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(RecipeError, match=part):
        load_recipe(write(tmp_path, text))


def test_a_model_that_is_nowhere_is_listed_with_the_other_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELS", raising=False)
    text = (
        "modalities:\n"
        "  audio: [{model: ./none, kind: audio}, {model: $MODELS/x, kind: audio}]\n"
        "  text: [{model: a/b, kind: txt}]\n"
    )
    recipe = write(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    assert caught.value.problems == [
        f"{recipe}: modalities.audio.0.model: './none': is neither a folder nor a hub id such as "
        "facebook/wav2vec2-base; give one of the two.",
        f"{recipe}: modalities.audio.1.model: the environment has no variable MODELS; set it.",
        f"{recipe}: modalities.text.0.kind: 'txt': must be frames, clips, audio or text. Did you mean text?",
    ]


def test_a_missing_file_names_the_presets(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="paper, strong, local or local-faces"):
        load_recipe(str(tmp_path / "none.yaml"))


def test_a_folder_with_a_revision_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    with pytest.raises(RecipeError, match="revision"):
        load_recipe(write(tmp_path, "modalities: {a: [{model: own, kind: text, revision: main}]}"))


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_has_the_three_modalities(name: str) -> None:
    recipe = load_recipe(name)
    assert [modality for modality in recipe.modalities if modality != "face"] == ["video", "audio", "text"]
    assert {"frames", "audio", "text"} <= recipe.kinds
    assert len(recipe.description) > 100


def test_the_paper_preset_has_the_paper_s_rates() -> None:
    frames, clips = load_recipe("paper").modalities["video"]
    assert (frames.frame_rate, clips.frame_rate, clips.stride) == (1, 16, 16)


def test_default_rates_depend_on_the_kind() -> None:
    assert Backbone(model="a/b", kind="frames").frame_rate == 1
    assert Backbone(model="a/b", kind="clips").frame_rate == 16
    assert Backbone(model="a/b", kind="audio").seconds == 10


def test_a_key_that_is_there_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    text = "modalities:\n  text: [{model: a/b, kind: text}]\n  text: [{model: c/d, kind: text}]\n"
    with pytest.raises(RecipeError, match=r"line 3: modalities\.text: is given twice \(lines 2 and 3\)"):
        load_recipe(write(tmp_path, text))


def test_one_backbone_needs_no_list(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "modalities: {text: {model: a/b, kind: text, pooling: cls}}"))
    assert recipe.backbones == (Backbone(model="a/b", kind="text", pooling="cls"),)


def test_a_problem_is_told_in_plain_words(tmp_path: Path) -> None:
    text = "modalities: {text: [{model: a/b, kind: txt, batch: 8.0, poling: cls}]}"
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, text))
    assert [problem.partition("recipe.yaml: modalities.text.0.")[2] for problem in caught.value.problems] == [
        "kind: 'txt': must be frames, clips, audio or text. Did you mean text?",
        "batch: 8.0: must be a whole number; write 8.",
        "poling: is no setting here. Did you mean pooling?",
    ]


def test_home_and_variables_are_replaced_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("NOWHERE", raising=False)
    (tmp_path / "models" / "own").mkdir(parents=True)
    write(tmp_path, "modalities: {text: [{model: $MODELS/own, kind: text}, {model: ~/models/own, kind: text}]}")
    assert {b.model for b in load_recipe("~/recipe.yaml").backbones} == {str(tmp_path / "models" / "own")}
    with pytest.raises(RecipeError, match=r"text\.0\.model: the environment has no variable NOWHERE; set it\."):
        load_recipe(write(tmp_path, "modalities: {text: [{model: $NOWHERE/own, kind: text}]}"))
    with pytest.raises(RecipeError, match=r"--backbones \$NOWHERE: the environment has no variable NOWHERE"):
        load_recipe("$NOWHERE")
