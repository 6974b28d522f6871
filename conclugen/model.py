# mypy: untyped-calls-exclude=transformers
"""The trained heads as a Hugging Face model, from raw features to representations.

Heads are trained on standardised features, but users of a shared model have raw ones. So the model carries the
standardisation of its training rows as buffers, and a user can neither forget it nor apply that of another set. A
preprocessor beside the model was rejected: it is a second thing to load, and the two can be mixed up.

Importing this module registers the model, so that ``AutoConfig`` and ``AutoModel`` load its folders without remote
code.

This module loads transformers, which is slow; training code imports :mod:`conclugen.heads` instead.

Legend: b batch, d_m feature width of modality m, R representation.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from conclugen.heads import GatedEmbeddingUnit, RepresentationHeads

__all__ = ["ConCluGenConfig", "ConCluGenHead", "GatedEmbeddingUnit"]


@strict
class ConCluGenConfig(PretrainedConfig):
    """Shape and provenance of a :class:`ConCluGenHead`; every argument is a keyword.

    Args:
        modalities: names, in modality order. They are not the keys of a mapping, because transformers sorts the keys
            of the file that it writes.
        widths: d_m of each modality.
        representation_dim: R.
        lift_audio: see :class:`conclugen.heads.RepresentationHeads`.
        subset: the loss subset of the pretraining run, if known.
        hyperparameters: name -> plain value of the pretraining run, if known.
        seed: seed of the pretraining run, if known.
        features_fingerprint: identity of the feature set of the pretraining run, if known.

    Raises:
        ValueError: modalities, widths and representation_dim do not fit together.
    """

    model_type = "conclugen"

    modalities: list[str] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    representation_dim: int = 1024
    lift_audio: bool = False
    subset: str | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    features_fingerprint: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        names, widths = self.modalities, self.widths
        if len(names) != len(widths) or len(set(names)) < len(names) or min([*widths, self.representation_dim]) < 1:
            raise ValueError(
                f"expected different modalities with one positive width each and a positive representation_dim, got "
                f"modalities {names}, widths {widths}, representation_dim {self.representation_dim}."
            )
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class _Standardise(nn.Module):
    """Per-feature affine map; the identity until a state is loaded.

    It computes in float32 and in the same order as :class:`conclugen.features.batches.StandardisedSplit`, so the two
    agree to the last bit.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (b, d_m) of any precision to standardised float32 ones (b, d_m)."""
        return (x.float() - self.mean.float()) * self.scale.float()


class ConCluGenHead(PreTrainedModel):
    """One representation head per modality, preceded by the standardisation of its features.

    ``from_pretrained`` and ``save_pretrained`` are those of transformers; weights are stored in safetensors files.
    """

    config_class = ConCluGenConfig
    main_input_name = "features"
    _keep_in_fp32_modules_strict = ["standardisation"]  # noqa: RUF012  # declared as in transformers; it holds for weights loaded in half precision, too

    def __init__(self, config: ConCluGenConfig) -> None:
        super().__init__(config)
        self._widths = dict(zip(config.modalities, config.widths, strict=True))
        self.standardisation = nn.ModuleDict({name: _Standardise(width) for name, width in self._widths.items()})
        self.heads = RepresentationHeads(self._widths, config.representation_dim, lift_audio=config.lift_audio).heads
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise as :mod:`conclugen.heads` does; transformers protects loaded weights from it."""
        if isinstance(module, nn.Linear):
            module.reset_parameters()
        elif isinstance(module, _Standardise):
            nn.init.zeros_(module.mean)
            nn.init.ones_(module.scale)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Map raw features to representations.

        Args:
            features: modality -> (b, d_m), as the backbone gave them, for all modalities or some of them.
            present: modality -> (b,) of booleans, which rows have it; modalities that it does not name are there. As in
                training, a vector that a row lacks is 0 after standardisation, whatever ``features`` holds.

        Returns:
            modality -> (b, R) for the same modalities, in modality order.

        Raises:
            ValueError: a modality is unknown or has the wrong width, or a mask does not fit; the message lists every
                such modality.
        """
        masks = present or {}
        problems = [
            f"modality {name!r}: expected shape (batch, {self._widths[name]}), got {tuple(x.shape)}."
            if name in self._widths
            else f"modality {name!r}: unknown; this model has {', '.join(self._widths)}."
            for name, x in features.items()
            if name not in self._widths or x.ndim != 2 or x.shape[1] != self._widths[name]
        ]
        problems += [
            f"mask of {name!r}: expected {len(features[name])} booleans, got {mask.dtype} {tuple(mask.shape)}."
            if name in features
            else f"mask of {name!r}: there are no such features; there are {', '.join(features)}."
            for name, mask in masks.items()
            if name not in features or mask.dtype != torch.bool or mask.shape != features[name].shape[:1]
        ]
        if problems:
            raise ValueError("\n".join(problems))
        representations = {}
        for name, head in self.heads.items():
            if name in features:
                x = self.standardisation[name](features[name])
                x = x.masked_fill(~masks[name][:, None], 0) if name in masks else x
                representations[name] = head(x.to(self.dtype))
        return representations


AutoConfig.register(ConCluGenConfig.model_type, ConCluGenConfig, exist_ok=True)
AutoModel.register(ConCluGenConfig, ConCluGenHead, exist_ok=True)
