"""Model folders: exact round trips, honest cards, and imports of released checkpoints that execute nothing."""

import argparse
import collections
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard as HubModelCard
from torch import Tensor, nn

from conclugen.features.standardise import Standardisation
from conclugen.heads import RepresentationHeads
from conclugen.model import ConCluGenConfig, ConCluGenHead
from conclugen.sharing.model_folder import ModelCard, Score, SharingError, export_head, import_checkpoint

_WIDTHS = {"video": 7, "audio": 5, "text": 4}
_R = 6
_RELEASED_NAMES = {"video": "frames_2d_3d", "audio": "audio_spectrograms", "text": "texts"}
_HEADS = "_representation_heads.heads"
_CARD = ModelCard(
    subset="ConGen",
    hyperparameters={"lr": 1e-4, "kmeans_loss_mode": "joint"},
    seed=127,
    features_fingerprint="0123456789abcdef",
    scores=[
        Score("caer", "", "weighted_f1", 0.51234),
        Score("caer", "20", "f1/joy", 0.25),
        Score("meld|dev", "10%", "accuracy", 0.75),
    ],
    versions={"conclugen": "0.1.0", "torch": "2.13.0"},
)


def _features() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(8, width, generator=generator) for name, width in _WIDTHS.items()}


def _standardisation() -> Standardisation:
    """Make a standardisation of more modalities than the head has, as a sweep on some modalities of a set would."""
    generator = torch.Generator().manual_seed(1)
    widths = {**_WIDTHS, "smell": 3}
    return Standardisation(
        {name: torch.randn(width, generator=generator) for name, width in widths.items()},
        {name: torch.rand(width, generator=generator) for name, width in widths.items()},
    )


def _heads(lift: bool = False) -> RepresentationHeads:
    torch.manual_seed(0)
    return RepresentationHeads(_WIDTHS, _R, lift_audio=lift)


def _names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestExport:
    @pytest.mark.parametrize("lift", [False, True])
    @pytest.mark.parametrize("standardised", [False, True])
    def test_a_loaded_head_equals_the_exported_one(self, lift: bool, standardised: bool, tmp_path: Path) -> None:
        head, standardisation = _heads(lift), _standardisation()
        export_head(tmp_path / "out", head, standardisation if standardised else None, _WIDTHS, _CARD)
        loaded = ConCluGenHead.from_pretrained(tmp_path / "out")
        for name, z in loaded(_features()).items():
            x = _features()[name]
            if standardised:
                x = (x - standardisation.mean[name]) * standardisation.scale[name]
            assert torch.equal(z, head({name: x})[name])
        assert loaded.config.modalities == ["video", "audio", "text"]
        assert (loaded.config.representation_dim, loaded.config.lift_audio) == (_R, lift)

    def test_the_configuration_names_the_provenance(self, tmp_path: Path) -> None:
        export_head(tmp_path, _heads(), None, _WIDTHS, _CARD)
        config = ConCluGenConfig.from_pretrained(tmp_path)
        assert (config.subset, config.seed, config.features_fingerprint) == ("ConGen", 127, "0123456789abcdef")
        assert config.hyperparameters == {"lr": 1e-4, "kmeans_loss_mode": "joint"}
        assert _names_in(tmp_path) == ["README.md", "config.json", "model.safetensors"]

    def test_export_draws_no_random_number_and_prints_nothing(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        head, before = _heads(), torch.random.get_rng_state()
        export_head(tmp_path, head, None, _WIDTHS, _CARD)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_export_keeps_an_existing_file_or_folder(self, kind: str, tmp_path: Path) -> None:
        out = tmp_path / "out"
        content = out if kind == "file" else out / "notes"
        content.parent.mkdir(exist_ok=True)
        content.write_text("mine", encoding="utf-8")
        with pytest.raises(SharingError, match="out already exists and is not an empty folder; choose another one"):
            export_head(out, _heads(), None, _WIDTHS, _CARD)
        assert content.read_text(encoding="utf-8") == "mine"
        assert _names_in(tmp_path) == ["out"]

    def test_an_interrupted_export_leaves_no_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: ConCluGenHead, folder: Path) -> None:
            (folder / "config.json").touch()
            raise KeyboardInterrupt

        monkeypatch.setattr(ConCluGenHead, "save_pretrained", fail)
        with pytest.raises(KeyboardInterrupt):
            export_head(tmp_path / "out", _heads(), None, _WIDTHS, _CARD)
        assert _names_in(tmp_path) == []

    def test_an_out_that_cannot_be_written_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(SharingError, match="cannot be written"):
            export_head(tmp_path / "file" / "out", _heads(), None, _WIDTHS, _CARD)

    def test_widths_other_than_the_heads_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="size mismatch"):
            export_head(tmp_path / "out", _heads(), None, {**_WIDTHS, "text": 3}, _CARD)
        assert _names_in(tmp_path) == []


class TestCard:
    def _read(self, folder: Path, card: ModelCard, standardised: bool = True) -> HubModelCard:
        export_head(folder, _heads(), _standardisation() if standardised else None, _WIDTHS, card)
        return HubModelCard.load(folder / "README.md")

    def test_the_hub_reads_the_metadata(self, tmp_path: Path) -> None:
        data = self._read(tmp_path, _CARD).data
        assert (data.library_name, data.model_name) == ("transformers", "ConCluGen head (ConGen)")
        assert "conclugen" in data.tags
        results = [(r.dataset_name, r.dataset_config, r.metric_type, r.metric_value) for r in data.eval_results]
        assert sorted(results) == [
            ("caer", "20 per class", "f1/joy", 0.25),
            ("caer", "all labels", "weighted_f1", 0.51234),
            ("meld|dev", "10%", "accuracy", 0.75),
        ]

    def test_the_card_states_losses_seed_hyperparameters_and_scores(self, tmp_path: Path) -> None:
        text = self._read(tmp_path, _CARD).text
        for part in (
            "| video | 7 |\n| audio | 5 |\n| text | 4 |",
            "representations of width 6",
            "- losses: `ConGen`\n- seed: `127`\n- fingerprint of the training features: `0123456789abcdef`",
            '{\n  "lr": 0.0001,\n  "kmeans_loss_mode": "joint"\n}',
            '"torch": "2.13.0"',
            "holds the standardisation",
            "| caer | all labels | weighted\\_f1 | 0.5123 |",
            "| caer | 20 per class | f1/joy | 0.2500 |",
            "| meld\\|dev | 10% | accuracy | 0.7500 |",
        ):
            assert part in text

    def test_the_card_s_example_code_runs(self, tmp_path: Path) -> None:
        text = self._read(tmp_path, _CARD).text
        code = text.split("```python\n")[1].split("```")[0].replace("PATH/OF/THIS/FOLDER", str(tmp_path))
        names: dict[str, Any] = dict(_features())
        exec(code, names)  # noqa: S102  # our own text
        assert {name: z.shape for name, z in names["representations"].items()} == dict.fromkeys(_WIDTHS, (8, _R))

    def test_the_card_says_what_is_unknown(self, tmp_path: Path) -> None:
        card = ModelCard(subset=None, hyperparameters={}, seed=None, features_fingerprint=None)
        read = self._read(tmp_path, card, standardised=False)
        assert "- losses: not recorded\n- seed: not recorded" in read.text
        assert "No standardisation is part of the model" in read.text
        assert "None recorded." in read.text
        assert read.data.eval_results is None

    def test_the_card_holds_the_licence_and_the_data_statement(self, tmp_path: Path) -> None:
        card = replace(_CARD, licence="cc-by-nc-4.0", data_statement="Actors of one theatre.\n")
        read = self._read(tmp_path, card)
        assert read.data.license == "cc-by-nc-4.0"
        assert "## Data and licence\n\n- licence: `cc-by-nc-4.0`\n\nActors of one theatre.\n\n## Training" in read.text

    def test_a_card_without_a_data_statement_says_so(self, tmp_path: Path) -> None:
        read = self._read(tmp_path, _CARD)
        assert read.data.license is None
        assert "- licence: not recorded\n\nNo data statement was given" in read.text

    def test_no_value_ends_its_block_of_the_card(self, tmp_path: Path) -> None:
        card = ModelCard(
            subset=None, hyperparameters={"a": "x\n```\n# Mine"}, seed=None, features_fingerprint=None, scores=()
        )
        assert "\n# Mine" not in self._read(tmp_path, card).text


# The released checkpoints ------------------------------------------------------------------------------------------


def _linear(out: int, width: int) -> dict[str, Tensor]:
    return {"weight": torch.randn(out, width), "bias": torch.randn(out)}


def _unit(prefix: str, out: int, width: int) -> dict[str, Tensor]:
    layers = {"fc1": (out, width), "context_gating.fc": (out, out), "fc2": (out, out)}
    return {
        f"{prefix}.{layer}.{kind}": value for layer, shape in layers.items() for kind, value in _linear(*shape).items()
    }


def _state_dict() -> dict[str, Tensor]:
    """Every key of docs/method.md, section 6, after downstream training; P = 3, D = 4, K = 2, R // 8 = 1."""
    torch.manual_seed(3)
    state = _unit(f"{_HEADS}.frames_2d_3d", _R, 7)
    state |= _unit(f"{_HEADS}.audio_spectrograms.0", 5, 5)
    state |= {f"{_HEADS}.audio_spectrograms.1.{kind}": value for kind, value in _linear(_R, 5).items()}
    state |= _unit(f"{_HEADS}.texts", _R, 4)
    projection = nn.Sequential(nn.Linear(_R, 1), nn.BatchNorm1d(1), nn.ReLU(), nn.Linear(1, 3), nn.ReLU())
    state |= projection.state_dict(prefix="_pretraining_heads.projection_head.")
    state["_pretraining_heads.cluster_classification_head.weight"] = torch.randn(2, 3)
    for name, width in _WIDTHS.items():
        reconstruction = nn.Sequential(nn.Linear(_R, 4), nn.ReLU(), nn.Linear(4, width), nn.ReLU())
        state |= reconstruction.state_dict(prefix=f"_pretraining_heads.reconstruction_heads.{_RELEASED_NAMES[name]}.")
    return state | {f"_classifier.1.{kind}": value for kind, value in _linear(7, 3 * _R).items()}


def _checkpoint(state: dict[str, Any] | None = None, **entries: Any) -> dict[str, Any]:
    """Make the content of a checkpoint, with the entries that Lightning writes beside the weights."""
    return {
        "epoch": 3,
        "global_step": 1064,
        "pytorch-lightning_version": "1.9.5",
        "state_dict": collections.OrderedDict(_state_dict() if state is None else state),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5), "dirpath": "x"}
        },
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]}],
        "lr_schedulers": [{"T_0": 20, "_last_lr": [1e-3]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"representation_dim": _R, "lr": 1e-4, "modalities": ["video", "audio"], "mode": None},
        **entries,
    }


def _save(folder: Path, content: object) -> Path:
    file = folder / "released.ckpt"
    torch.save(content, file)
    return file


def _refusal(folder: Path, content: object) -> str:
    """Return the message of a refused import, which must leave no trace."""
    file = _save(folder, content)
    with pytest.raises(SharingError) as caught:
        import_checkpoint(file, folder / "out")
    assert _names_in(folder) == ["released.ckpt"]
    return str(caught.value).replace(str(folder), "")


def _without(*keys: str) -> dict[str, Tensor]:
    return {key: value for key, value in _state_dict().items() if not key.startswith(keys)}


def _by_hand(state: dict[str, Tensor], prefix: str, x: np.ndarray) -> np.ndarray:
    """Compute the released gated unit, sum by sum."""
    u = np.maximum(_affine(state, f"{prefix}.fc1", x), 0)
    g = u / (1 + np.exp(-_affine(state, f"{prefix}.context_gating.fc", u)))
    return np.maximum(_affine(state, f"{prefix}.fc2", g), 0)


def _affine(state: dict[str, Tensor], layer: str, x: np.ndarray) -> np.ndarray:
    weight, bias = state[f"{layer}.weight"].double().numpy(), state[f"{layer}.bias"].double().numpy()
    return np.array(
        [
            [sum(w * v for w, v in zip(row, sample, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
            for sample in x
        ]
    )


class TestImport:
    def test_an_imported_head_equals_the_released_forward_pass(self, tmp_path: Path) -> None:
        state = _state_dict()
        import_checkpoint(_save(tmp_path, _checkpoint(state)), tmp_path / "out")
        representations = ConCluGenHead.from_pretrained(tmp_path / "out")(_features())
        x = {name: value.double().numpy() for name, value in _features().items()}
        expected = {name: _by_hand(state, f"{_HEADS}.{_RELEASED_NAMES[name]}", x[name]) for name in ("video", "text")}
        lifted = _by_hand(state, f"{_HEADS}.audio_spectrograms.0", x["audio"])
        expected["audio"] = _affine(state, f"{_HEADS}.audio_spectrograms.1", lifted)
        assert list(representations) == ["video", "audio", "text"]
        for name, z in representations.items():
            assert z.detach().numpy() == pytest.approx(expected[name], abs=1e-4)
        assert (representations["audio"] < 0).any()

    def test_the_configuration_holds_shapes_and_hyperparameters(self, tmp_path: Path) -> None:
        config = import_checkpoint(_save(tmp_path, _checkpoint()), tmp_path / "out")
        assert dict(zip(config.modalities, config.widths, strict=True)) == _WIDTHS
        assert (config.representation_dim, config.lift_audio) == (_R, True)
        assert (config.subset, config.seed, config.features_fingerprint) == (None, None, None)
        assert config.hyperparameters == _checkpoint()["hyper_parameters"]

    def test_the_card_names_the_checkpoint(self, tmp_path: Path) -> None:
        import_checkpoint(_save(tmp_path, _checkpoint()), tmp_path / "out")
        text = HubModelCard.load(tmp_path / "out" / "README.md").text
        digest = subprocess.run(
            ["sha256sum", tmp_path / "released.ckpt"], capture_output=True, encoding="utf-8", check=True
        )
        assert f"PyTorch Lightning checkpoint of the released code (SHA-256 `{digest.stdout.split()[0]}`)" in text
        assert '"pytorch-lightning": "1.9.5"' in text
        assert "No standardisation is part of the model" in text

    @pytest.mark.parametrize("kept", [["video", "audio"], ["video", "text"], ["audio"]])
    def test_a_checkpoint_with_fewer_modalities_is_imported(self, kept: list[str], tmp_path: Path) -> None:
        dropped = [f"{_HEADS}.{_RELEASED_NAMES[name]}." for name in _WIDTHS if name not in kept]
        config = import_checkpoint(_save(tmp_path, _checkpoint(_without(*dropped))), tmp_path / "out")
        assert config.modalities == kept
        assert config.lift_audio == ("audio" in kept)
        assert set(ConCluGenHead.from_pretrained(tmp_path / "out")({n: _features()[n] for n in kept})) == set(kept)

    def test_half_precision_weights_are_imported(self, tmp_path: Path) -> None:
        state = {key: value.half() for key, value in _state_dict().items()}
        import_checkpoint(_save(tmp_path, _checkpoint(state)), tmp_path / "out")
        loaded = ConCluGenHead.from_pretrained(tmp_path / "out").state_dict()
        assert torch.equal(loaded["heads.text.gate.bias"], state[f"{_HEADS}.texts.context_gating.fc.bias"].float())

    def test_import_keeps_an_existing_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes").write_text("mine", encoding="utf-8")
        with pytest.raises(SharingError, match="already exists"):
            import_checkpoint(_save(tmp_path, _checkpoint()), tmp_path / "out")


class TestProblems:
    def test_every_missing_key_is_listed(self, tmp_path: Path) -> None:
        missing = [f"{_HEADS}.texts.fc1.weight", f"{_HEADS}.audio_spectrograms.1.bias"]
        assert _refusal(tmp_path, _checkpoint(_without(*missing))).splitlines() == [
            "/released.ckpt does not hold the released heads:",
            f"{_HEADS}.audio_spectrograms.1.bias: missing.",
            f"{_HEADS}.texts.fc1.weight: missing.",
        ]

    def test_every_kind_of_problem_is_listed_at_once(self, tmp_path: Path) -> None:
        """The first weight that has a size sets it: R = 6 and d = 7 by video's fc1."""
        state: dict[str, Any] = _state_dict()
        state[f"{_HEADS}.frames_2d_3d.fc2.weight"] = torch.zeros(6, 5)
        state[f"{_HEADS}.audio_spectrograms.0.fc1.weight"] = torch.zeros(5, 4)
        state[f"{_HEADS}.audio_spectrograms.1.weight"] = torch.zeros(8, 5)
        state[f"{_HEADS}.texts.fc1.bias"][2] = torch.nan
        state[f"{_HEADS}.texts.fc2.bias"] = torch.zeros(6, dtype=torch.int64)
        state[f"{_HEADS}.texts.fc2.weight"] = [1.0]
        state[f"{_HEADS}.texts.fc3.weight"] = torch.zeros(1)
        state[f"{_HEADS}.smells.fc1.weight"] = torch.zeros(6, 3)
        assert _refusal(tmp_path, _checkpoint(state)).splitlines()[1:] == [
            f"{_HEADS}.frames_2d_3d.fc2.weight: expected shape (6, 6), got (6, 5).",
            f"{_HEADS}.audio_spectrograms.0.fc1.weight: expected shape (5, 5), got (5, 4).",
            f"{_HEADS}.audio_spectrograms.1.weight: expected shape (6, 5), got (8, 5).",
            f"{_HEADS}.texts.fc1.bias: holds NaN or infinite values.",
            f"{_HEADS}.texts.fc2.weight: expected a dense tensor of floating-point numbers.",
            f"{_HEADS}.texts.fc2.bias: expected a dense tensor of floating-point numbers.",
            f"{_HEADS}.texts.fc3.weight: not known of the released code.",
            f"{_HEADS}.smells.fc1.weight: not known of the released code.",
        ]

    @pytest.mark.parametrize(
        "value",
        [torch.zeros(6, 0), torch.zeros(()), torch.zeros(6, 4).to_sparse(), torch.zeros(1).expand(10**9, 10**6)],
    )
    def test_tensors_of_odd_shape_or_layout_are_refused(self, value: Tensor, tmp_path: Path) -> None:
        message = _refusal(tmp_path, _checkpoint(_state_dict() | {f"{_HEADS}.texts.fc1.weight": value}))
        assert f"{_HEADS}.texts.fc1.weight: expected" in message

    def test_weights_of_another_model_are_refused(self, tmp_path: Path) -> None:
        assert f"{_HEADS}.*: missing" in _refusal(tmp_path, _checkpoint({"encoder.weight": torch.zeros(1)}))

    @pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.zeros(3), {"state_dict": 7}])
    def test_a_file_without_a_state_dict_is_refused(self, content: object, tmp_path: Path) -> None:
        assert "holds no 'state_dict'" in _refusal(tmp_path, content)

    @pytest.mark.parametrize("size", [0, 1, 100, 0.5, 0.99])
    def test_a_truncated_checkpoint_is_refused(self, size: float, tmp_path: Path) -> None:
        file = _save(tmp_path, _checkpoint())
        content = file.read_bytes()
        file.write_bytes(content[: size if isinstance(size, int) else int(size * len(content))])
        with pytest.raises(SharingError, match="cannot be read as a checkpoint"):
            import_checkpoint(file, tmp_path / "out")
        assert _names_in(tmp_path) == ["released.ckpt"]

    @pytest.mark.parametrize("content", [b"\x80\x02}", b"hello", pickle.dumps({"state_dict": {}}), b"\x80\x02h\x05."])
    def test_a_file_that_is_no_checkpoint_is_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(SharingError, match=r"file (cannot be read|does not hold)"):
            import_checkpoint(tmp_path / "file", tmp_path / "out")

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SharingError, match=r"nowhere\.ckpt cannot be read: .*No such file"):
            import_checkpoint(tmp_path / "nowhere.ckpt", tmp_path / "out")


class _Calls:
    """An object that pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


class _Unknown:
    pass


class TestNothingIsExecuted:
    @pytest.mark.parametrize("place", ["hyper_parameters", "callbacks", "state_dict"])
    def test_a_file_that_would_run_a_command_is_refused(self, place: str, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        evil = _Calls(os.system, f"touch {marker}")
        content = _checkpoint()
        content[place]["x"] = evil
        assert "asks for posix.system, which is neither" in _refusal(tmp_path, content)
        assert not marker.exists()

    @pytest.mark.parametrize(
        ("function", "name"),
        [(eval, "eval"), (Path.touch, "getattr"), (shutil.rmtree, "shutil.rmtree")],  # noqa: S307 - nothing is called
    )
    def test_other_callables_are_refused(self, function: Callable[..., object], name: str, tmp_path: Path) -> None:
        content = _checkpoint(hyper_parameters={"x": _Calls(function, str(tmp_path / "marker"))})
        assert f"asks for {name}, " in _refusal(tmp_path, content)
        assert not (tmp_path / "marker").exists()

    def test_unknown_classes_are_refused(self, tmp_path: Path) -> None:
        message = _refusal(tmp_path, _checkpoint(hyper_parameters={"x": _Unknown()}))
        assert f"asks for {_Unknown.__module__}._Unknown, " in message

    def test_a_known_class_calls_nothing(self, tmp_path: Path) -> None:
        """Known classes have stand-ins: one that is called with a command keeps it, and is no plain value."""
        content = _checkpoint(hyper_parameters={"x": _Calls(argparse.Namespace, "touch marker"), "y": 1})
        assert import_checkpoint(_save(tmp_path, content), tmp_path / "out").hyperparameters == {"y": 1}

    def test_hyperparameters_that_hold_themselves_are_left_out(self, tmp_path: Path) -> None:
        loop: list[object] = []
        loop.append(loop)
        config = import_checkpoint(_save(tmp_path, _checkpoint(hyper_parameters={"x": loop, "y": 1})), tmp_path / "out")
        assert config.hyperparameters == {"y": 1}


class TestKnownClasses:
    def _hyperparameters(self, folder: Path, value: object) -> dict[str, Any]:
        config = import_checkpoint(_save(folder, _checkpoint(hyper_parameters=value)), folder / "out")
        return dict(config.hyperparameters)

    def test_namespaces_and_paths_become_plain_values(self, tmp_path: Path) -> None:
        inner = argparse.Namespace(data=Path("/data/x"), old=pathlib.PureWindowsPath, dims=(1, 2.5, "a", None, True))
        value = argparse.Namespace(lr=0.1, inner=inner, weights=torch.zeros(2))
        with pytest.raises(SharingError, match=r"PureWindowsPath"):
            self._hyperparameters(tmp_path, value)
        del inner.old
        expected = {"lr": 0.1, "inner": {"data": "/data/x", "dims": [1, 2.5, "a", None, True]}}
        assert self._hyperparameters(tmp_path, value) == expected

    def test_values_that_are_not_plain_are_left_out(self, tmp_path: Path) -> None:
        value = {"a": np.float32(1), "b": {"c": {1, 2}, 3: 4, "d": 5}, "e": [torch.zeros(1)], "f": torch.float32}
        assert self._hyperparameters(tmp_path, value) == {"b": {"d": 5}}

    def test_hyperparameters_that_are_no_mapping_are_left_out(self, tmp_path: Path) -> None:
        assert self._hyperparameters(tmp_path, [1]) == {}

    def test_objects_of_lightning_and_omegaconf_become_plain_values(self, tmp_path: Path) -> None:
        """Neither package is installed, so another process makes modules of their names and pickles like theirs."""
        file = _save(tmp_path, _checkpoint())
        script = f"""
import sys, types, torch
def module(name):
    return sys.modules.setdefault(name, types.ModuleType(name))
def cls(where, name, base=object):
    new = type(name, (base,), {{"__module__": where}})
    setattr(module(where), name, new)
    return new
for name in ("pytorch_lightning", "pytorch_lightning.utilities", "omegaconf"):
    module(name)
attributes = cls("pytorch_lightning.utilities.parsing", "AttributeDict", dict)(lr=0.1)
DictConfig, ListConfig = cls("omegaconf.dictconfig", "DictConfig"), cls("omegaconf.listconfig", "ListConfig")
Node, Metadata = cls("omegaconf.nodes", "AnyNode"), cls("omegaconf.base", "ContainerMetadata")
import collections, typing
def fill(new, **state):
    metadata = Metadata()
    metadata.__dict__.update(ref_type=typing.Any, object_type=dict, cache=collections.defaultdict(dict, a=1))
    new.__dict__.update(_metadata=metadata, _parent=None, **state)
    return new
top = DictConfig()
entries = {{"n": fill(Node(), _val=3), "l": fill(ListConfig(), _content=[fill(Node(), _val="x")]), "d": attributes}}
fill(top, _content=entries)
entries["n"]._parent = top
content = torch.load({str(file)!r})
torch.save(content | {{"hyper_parameters": top, "hparams_type": DictConfig}}, {str(file)!r})
"""
        subprocess.run([sys.executable, "-c", script], check=True)
        config = import_checkpoint(file, tmp_path / "out")
        assert config.hyperparameters == {"n": 3, "l": ["x"], "d": {"lr": 0.1}}
        assert not {"omegaconf", "pytorch_lightning"} & set(sys.modules)
