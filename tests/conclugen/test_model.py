import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

import conclugen.heads
from conclugen.features.batches import StandardisedSplit
from conclugen.features.shards import Split
from conclugen.features.standardise import Standardisation
from conclugen.heads import RepresentationHeads
from conclugen.model import ConCluGenConfig, ConCluGenHead, GatedEmbeddingUnit

_WIDTHS = {"video": 7, "audio": 5, "text": 4}


def _config(**changes: Any) -> ConCluGenConfig:
    settings = {"modalities": list(_WIDTHS), "widths": list(_WIDTHS.values()), "representation_dim": 16, **changes}
    return ConCluGenConfig(**settings)


def _standardisation() -> Standardisation:
    generator = torch.Generator().manual_seed(1)
    return Standardisation.from_moments(
        {name: torch.randn(width, generator=generator) for name, width in _WIDTHS.items()},
        {name: torch.rand(width, generator=generator) for name, width in _WIDTHS.items()},
    )


def _model(**changes: Any) -> ConCluGenHead:
    """Return a model whose standardisation is not the identity."""
    torch.manual_seed(0)
    model, standardisation = ConCluGenHead(_config(**changes)), _standardisation()
    for name, affine in model.standardisation.items():
        affine.load_state_dict({"mean": standardisation.mean[name], "scale": standardisation.scale[name]})
    return model


def _features(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(8, width, generator=generator).to(dtype) for name, width in _WIDTHS.items()}


def _equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


class _InMemory(Split):
    """A split whose features are in memory and not in a file."""

    def __init__(self, features: dict[str, Tensor], present: dict[str, Tensor] | None = None) -> None:
        self._features = features
        self._present = present or {}

    @property
    def present(self) -> dict[str, Tensor]:
        return self._present

    def size(self, modality: str) -> int:
        return self._features[modality].nbytes

    def gather(self, modality: str, rows: Tensor) -> Tensor:
        return self._features[modality][rows]


def test_the_model_exports_the_unit_of_the_heads() -> None:
    assert GatedEmbeddingUnit is conclugen.heads.GatedEmbeddingUnit


class TestForward:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    @pytest.mark.parametrize("lift", [False, True])
    def test_the_model_computes_what_training_computes(self, lift: bool, dtype: torch.dtype) -> None:
        """Training standardises stored features with StandardisedSplit; both agree to the last bit."""
        model, features = _model(lift_audio=lift), _features(dtype)
        heads = RepresentationHeads(_WIDTHS, 16, lift_audio=lift)
        heads.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("heads.")})
        data = StandardisedSplit(_InMemory(features), _standardisation(), list(_WIDTHS), torch.device("cpu"))
        assert _equal(model(features), heads(data.batch(torch.arange(8))))

    def test_a_gap_is_what_it_is_in_training(self) -> None:
        """The values in the gap do not matter; modalities without a mask are there."""
        model, features = _model(), _features()
        masks = {"audio": torch.arange(8) % 3 != 0, "text": torch.ones(8, dtype=torch.bool)}
        data = StandardisedSplit(_InMemory(features, masks), _standardisation(), list(_WIDTHS), torch.device("cpu"))
        heads = RepresentationHeads(_WIDTHS, 16)
        heads.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("heads.")})
        features["audio"] = torch.where(masks["audio"][:, None], features["audio"], torch.nan)
        assert _equal(model(features, masks), heads(data.batch(torch.arange(8))))
        assert not _equal(model(_features()), model(_features(), masks))

    def test_every_problem_of_a_mask_is_named(self) -> None:
        masks = {"audio": torch.ones(8, dtype=torch.bool), "video": torch.ones(3), "text": torch.ones(8)}
        features = {name: x for name, x in _features().items() if name != "audio"}
        with pytest.raises(ValueError, match="mask") as caught:
            _model()(features, masks)
        assert str(caught.value).splitlines() == [
            "mask of 'audio': there are no such features; there are video, text.",
            "mask of 'video': expected 8 booleans, got torch.float32 (3,).",
            "mask of 'text': expected 8 booleans, got torch.float32 (8,).",
        ]

    def test_standardisation_is_the_identity_by_default(self) -> None:
        model = ConCluGenHead(_config())
        assert _equal(model(_features()), {name: model.heads[name](x) for name, x in _features().items()})

    def test_a_constant_feature_has_no_influence(self) -> None:
        model, features = _model(), _features()
        model.standardisation["text"].scale[2] = 0
        before = model(features)["text"]
        features["text"][:, 2] = 1e6
        assert torch.equal(model(features)["text"], before)

    @pytest.mark.parametrize("names", [["audio"], ["text", "video"], ["text", "audio", "video"], []])
    def test_any_modalities_are_accepted_in_any_order(self, names: list[str]) -> None:
        model, features = _model(), _features()
        every = model(features)
        expected = {name: every[name] for name in _WIDTHS if name in names}
        assert _equal(model({name: features[name] for name in names}), expected)

    def test_every_problem_of_the_input_is_named(self) -> None:
        with pytest.raises(ValueError, match="modality") as caught:
            _model()({"video": torch.zeros(2, 6), "smell": torch.zeros(2, 3), "text": torch.zeros(4)})
        assert str(caught.value).splitlines() == [
            "modality 'video': expected shape (batch, 7), got (2, 6).",
            "modality 'smell': unknown; this model has video, audio, text.",
            "modality 'text': expected shape (batch, 4), got (4,).",
        ]


class TestPreTrained:
    def test_the_head_is_a_transformers_model(self) -> None:
        assert issubclass(ConCluGenHead, PreTrainedModel)
        assert issubclass(ConCluGenConfig, PretrainedConfig)

    def test_the_parameters_are_those_of_the_heads(self) -> None:
        model = _model(lift_audio=True)
        parameters = {name: value.shape for name, value in model.named_parameters()}
        heads = RepresentationHeads(_WIDTHS, 16, lift_audio=True)
        assert parameters == {name: value.shape for name, value in heads.named_parameters()}
        assert {"heads.video.gate.weight", "heads.audio.0.input.bias", "heads.audio.1.weight"} <= set(parameters)
        assert [name for name, _ in model.named_buffers()] == [
            f"standardisation.{name}.{part}" for name in _WIDTHS for part in ("mean", "scale")
        ]

    @pytest.mark.parametrize("lift", [False, True])
    def test_a_saved_model_loads_exactly(self, lift: bool, tmp_path: Path) -> None:
        model = _model(lift_audio=lift)
        model.save_pretrained(tmp_path)
        assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
        loaded = ConCluGenHead.from_pretrained(tmp_path)
        assert _equal(loaded.state_dict(), model.state_dict())
        assert _equal(loaded(_features()), model(_features()))

    def test_the_auto_classes_load_a_saved_model_without_remote_code(self, tmp_path: Path) -> None:
        model = _model()
        model.save_pretrained(tmp_path)
        assert isinstance(AutoConfig.from_pretrained(tmp_path), ConCluGenConfig)
        loaded = AutoModel.from_pretrained(tmp_path)
        assert isinstance(loaded, ConCluGenHead)
        assert _equal(loaded(_features()), model(_features()))
        assert not loaded.training

    def test_loading_draws_no_random_number(self, tmp_path: Path) -> None:
        _model().save_pretrained(tmp_path)
        before = torch.random.get_rng_state()
        ConCluGenHead.from_pretrained(tmp_path)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_half_precision_keeps_the_standardisation(self, tmp_path: Path) -> None:
        model = _model()
        model.save_pretrained(tmp_path)
        half = ConCluGenHead.from_pretrained(tmp_path, dtype=torch.float16)
        assert {value.dtype for value in half.heads.state_dict().values()} == {torch.float16}
        assert _equal(half.standardisation.state_dict(), model.standardisation.state_dict())
        for name, z in half(_features()).items():
            assert z.dtype == torch.float16
            assert torch.allclose(z.float(), model(_features())[name], rtol=1e-2, atol=1e-2)

    def test_missing_weights_are_initialised_and_others_stay(self, tmp_path: Path) -> None:
        """New weights follow torch's default, |w| <= 1 / sqrt(R)."""
        model = _model()
        model.save_pretrained(tmp_path)
        state = load_file(tmp_path / "model.safetensors")
        missing = {"heads.video.gate.weight", "standardisation.text.mean", "standardisation.text.scale"}
        rest = {name: value for name, value in state.items() if name not in missing}
        save_file(rest, tmp_path / "model.safetensors", metadata={"format": "pt"})
        loaded = ConCluGenHead.from_pretrained(tmp_path).state_dict()
        assert {name for name in state if not torch.equal(loaded[name], state[name])} == missing
        assert 0 < loaded["heads.video.gate.weight"].abs().max() <= 1 / 4
        assert loaded["standardisation.text.mean"].tolist() == [0] * 4
        assert loaded["standardisation.text.scale"].tolist() == [1] * 4


class TestConfig:
    def test_a_saved_configuration_keeps_the_modality_order(self, tmp_path: Path) -> None:
        """Modality order is not alphabetical and has to survive a file with sorted keys."""
        config = _config(
            lift_audio=True,
            subset="ConGen",
            hyperparameters={"lr": 1e-4, "batch_size": 64, "kmeans_loss_mode": "joint", "nested": {"none": None}},
            seed=127,
            features_fingerprint="0123456789abcdef",
        )
        config.save_pretrained(tmp_path)
        loaded = ConCluGenConfig.from_pretrained(tmp_path)
        for name in ("modalities", "widths", "representation_dim", "lift_audio", "subset", "hyperparameters", "seed"):
            assert getattr(loaded, name) == getattr(config, name)
        assert loaded.modalities == ["video", "audio", "text"]
        assert loaded.features_fingerprint == "0123456789abcdef"
        assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["model_type"] == "conclugen"

    def test_a_configuration_can_be_empty(self) -> None:
        """transformers makes an empty one to find the values that differ from the defaults."""
        assert ConCluGenConfig().modalities == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"widths": [7, 5]},
            {"widths": [7, 5, 0]},
            {"modalities": ["video", "video", "text"]},
            {"representation_dim": 0},
        ],
    )
    def test_contradictory_configurations_are_refused(self, changes: dict[str, object]) -> None:
        with pytest.raises(ValueError, match="expected different modalities with one positive width each"):
            _config(**changes)
