"""Make tiny models with random weights, in folders as `save_pretrained` and the hub have them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import BertProcessing
from transformers import (
    ASTConfig,
    ASTModel,
    CLIPConfig,
    CLIPModel,
    DistilBertConfig,
    DistilBertModel,
    HubertConfig,
    HubertModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetModel,
    TimesformerConfig,
    TimesformerModel,
    VideoMAEConfig,
    VideoMAEModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperModel,
)

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "kids",
    "are",
    "talking",
    "by",
    "the",
    "door",
    "dogs",
    "sitting",
    "and",
    "one",
    "two",
    "three",
]
_ENCODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_WAVES = {
    **_ENCODER, "conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (8, 8), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
_PICTURES = {"image_size": 32, "patch_size": 8}
_IMAGES = {
    "do_resize": True, "size": {"height": 32, "width": 32}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3],
}  # fmt: skip
_CROPPED = {
    **_IMAGES,
    "size": {"shortest_edge": 32},
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
}
_SOUNDS = {"feature_size": 1, "sampling_rate": 16000, "padding_value": 0.0, "do_normalize": True}


def _save(folder: Path, model: Any, processor: dict[str, Any]) -> Path:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return folder


def resnet(folder: Path) -> Path:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    return _save(folder, ResNetModel(config), {"image_processor_type": "ViTImageProcessor", **_IMAGES})


def vit(folder: Path) -> Path:
    model = ViTModel(ViTConfig(**_ENCODER, **_PICTURES), add_pooling_layer=False)
    return _save(folder, model, {"image_processor_type": "ViTImageProcessor", **_IMAGES})


def clip(folder: Path) -> Path:
    config = CLIPConfig(
        text_config={**_ENCODER, "vocab_size": 20, "max_position_embeddings": 16},
        vision_config={**_ENCODER, **_PICTURES},
        projection_dim=8,
    )
    return _save(folder, CLIPModel(config), {"image_processor_type": "CLIPImageProcessor", **_CROPPED})


def videomae(folder: Path) -> Path:
    model = VideoMAEModel(VideoMAEConfig(**_ENCODER, **_PICTURES, num_frames=4, tubelet_size=2))
    return _save(folder, model, {"image_processor_type": "VideoMAEImageProcessor", **_CROPPED})


def timesformer(folder: Path) -> Path:
    model = TimesformerModel(TimesformerConfig(**_ENCODER, **_PICTURES, num_frames=4))
    return _save(folder, model, {"image_processor_type": "VideoMAEImageProcessor", **_CROPPED})


def wav2vec2(folder: Path) -> Path:
    model = Wav2Vec2Model(Wav2Vec2Config(**_WAVES, feat_extract_norm="group"))
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "return_attention_mask": False, **_SOUNDS}
    return _save(folder, model, extractor)


def hubert(folder: Path) -> Path:
    model = HubertModel(HubertConfig(**_WAVES, feat_extract_norm="layer", do_stable_layer_norm=True))
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "return_attention_mask": True, **_SOUNDS}
    return _save(folder, model, extractor)


def wavlm(folder: Path) -> Path:
    model = WavLMModel(WavLMConfig(**_WAVES, feat_extract_norm="layer", do_stable_layer_norm=True))
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "return_attention_mask": True, **_SOUNDS}
    return _save(folder, model, extractor)


def ast(folder: Path) -> Path:
    model = ASTModel(ASTConfig(**_ENCODER, num_mel_bins=32, max_length=104))
    extractor = {"feature_extractor_type": "ASTFeatureExtractor", "num_mel_bins": 32, "max_length": 104, **_SOUNDS}
    return _save(folder, model, extractor)


def whisper(folder: Path) -> Path:
    config = WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=50, num_mel_bins=80, vocab_size=20,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    extractor = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "chunk_length": 1}
    return _save(folder, WhisperModel(config), {**_SOUNDS, **extractor})


def distilbert(folder: Path) -> Path:
    tokens = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token=WORDS[1]))
    tokens.pre_tokenizer = Whitespace()
    tokens.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    PreTrainedTokenizerFast(tokenizer_object=tokens, model_max_length=8, **special).save_pretrained(folder)
    config = DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=len(WORDS), pad_token_id=0)
    DistilBertModel(config).save_pretrained(folder)
    return folder


FRAMES = (resnet, vit, clip)
CLIPS = (videomae, timesformer)
SOUNDS = (wav2vec2, hubert, wavlm, ast, whisper)


def model_folder(make: Callable[[Path], Path], folder: Path) -> Path:
    """Return the model's folder, made at the first call, always with the same weights."""
    path = folder / make.__name__
    if not path.exists():
        torch.manual_seed(0)
        make(path)
    return path
