"""Any CLIP of open_clip: by architecture and pretrained tag, by architecture and file, or from a local directory."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from clipstyler.encoders import frozen_vit, fused_vit, hub_tokenizer
from clipstyler.encoders.base import EncoderUnavailableError, Towers, file_digest
from clipstyler.encoders.onnx.tokenizers import CLIP_BPE
from clipstyler.encoders.weights import sources
from clipstyler.encoders.weights.store import Store
from clipstyler.input_files import is_file

# What open_clip's table of pretrained tags says of how weights were trained, besides their activation.
_PREPROCESSING = ("mean", "std")
_AS_CONFIGURED: Mapping[str, Any] = {}
# Entries of OpenAI's archives that are no parameters.
_OPENAI_EXTRAS = ("input_resolution", "context_length", "vocab_size")

_DIRECTORY = "local-dir:"  # how open_clip is told of a model directory

# File names of one, in open_clip's own layout.
CONFIGURATION = "open_clip_config.json"
CHECKPOINTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


# Floats that are kept per token, channel and block of a transformer, and per pixel of a convolutional network.
_TRANSFORMER_FLOATS = 15
_CONVOLUTIONAL_FLOATS = 300


class OpenClip(nn.Module):
    """A frozen CLIP of open_clip behind the `ClipEncoder` protocol.

    Attributes
    ----------
    name
        "ARCH:PRETRAINED", or the directory's name.
    digest
        SHA-256 of the checkpoint.
    form
        Digest of the configuration that they are computed with.
    image_size
        Side of the views in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, digest: str, form: str, model: open_clip.CLIP, tokenizer: open_clip.SimpleTokenizer
    ) -> None:
        super().__init__()
        self.name = name
        self.digest = digest
        self.form = form
        self.model = model
        self.tokenizer = tokenizer
        size = model.visual.image_size
        self.image_size = int(size[0] if isinstance(size, Sequence) else size)
        preprocess = open_clip.get_model_preprocess_cfg(model)
        self.register_buffer("mean", torch.tensor(preprocess["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocess["std"]).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    @property
    def view_bytes(self) -> int:
        """Memory of the activations for one view; from the measured one of ViT-B/32, 27 MB, for others."""
        visual: Any = self.model.visual
        blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
        if blocks is None:
            return _CONVOLUTIONAL_FLOATS * 4 * self.image_size**2
        tokens, width = visual.positional_embedding.shape
        return int(_TRANSFORMER_FLOATS * 4 * len(blocks) * tokens * width)

    def to_bf16(self) -> None:
        """Convert the linear layers of the image tower in place, if it is a vision transformer."""
        frozen_vit.to_bf16(self.model)

    def fuse(self) -> None:
        """Have the image tower, in bfloat16, compute sums with the normalizations that follow them."""
        fused_vit.fuse_in_place(self.model)

    def encode_image(self, views: Tensor) -> Tensor:
        """Embed views: float32 (B, 3, image_size, image_size) in [0, 1] to (B, D), not yet normalized."""
        embeddings: Tensor = self.model.encode_image((views - self.mean) / self.std)
        return embeddings

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Embed sentences: (len(sentences), D), not yet normalized."""
        embeddings: Tensor = self.model.encode_text(*self.tokens(sentences))
        return embeddings

    def tokens(self, sentences: Sequence[str]) -> tuple[Tensor]:
        """Return the text tower's input, (len(sentences), context length)."""
        return (self.tokenizer(list(sentences)).to(self.mean.device),)

    def towers(self) -> Towers:
        """The towers as graphs, for export.

        Raises
        ------
        EncoderUnavailableError
            Its tokenizer is not CLIP's own.
        """
        if not isinstance(self.tokenizer, open_clip.SimpleTokenizer):
            raise EncoderUnavailableError(f"{self.name}: only models with CLIP's own tokenizer can be exported")
        return Towers(_ImageTower(self), _TextTower(self), ("tokens",), CLIP_BPE, lambda s: (self.tokenizer(list(s)),))


class _ImageTower(nn.Module):
    def __init__(self, clip: OpenClip) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, views: Tensor) -> Tensor:
        return self.clip.encode_image(views)


class _TextTower(nn.Module):
    def __init__(self, clip: OpenClip) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Tensor) -> Tensor:
        embeddings: Tensor = self.clip.model.encode_text(tokens)
        return embeddings


def load_pretrained(architecture: str, pretrained: str, device: torch.device, store: Store) -> OpenClip:
    """Load a built-in architecture with weights named by a tag (stored or downloaded) or by a file's path.

    Raises
    ------
    EncoderUnavailableError
        The architecture or tag is unknown, or the weights or the tokenizer cannot be obtained.
    """
    _check_architecture(architecture, pretrained)
    tokenizer = hub_tokenizer.load(architecture, store)  # first: weights may be gigabytes
    if is_file(pretrained):
        name = f"{architecture}:{Path(pretrained).name}"
        return _load(name, architecture, Path(pretrained), device, tokenizer=tokenizer)
    stored = store.obtain(weights_of(architecture, pretrained))
    stored.check()
    trained = open_clip.get_pretrained_cfg(architecture, pretrained)
    return _load(
        stored.name,
        architecture,
        stored.path,
        device,
        published=stored.published,
        trained=trained,
        tokenizer=tokenizer,
    )


def weights_of(architecture: str, tag: str) -> sources.Weights:
    """Return where open_clip's weights of a tag are published.

    Raises
    ------
    EncoderUnavailableError
        The architecture or tag is unknown.
    """
    _check_architecture(architecture, tag)
    known = open_clip.get_pretrained_cfg(architecture, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise EncoderUnavailableError(
            f"{architecture}:{tag}: neither a file nor a pretrained tag; {architecture} has {tags}"
        )
    return sources.clip(architecture, tag, known.get("url", ""), known.get("hf_hub", ""))


def _check_architecture(architecture: str, pretrained: str) -> None:
    if architecture not in open_clip.list_models():
        raise EncoderUnavailableError(
            f"{architecture}:{pretrained}: open_clip has no architecture {architecture!r}; see open_clip.list_models()"
        )


def load_directory(directory: Path, device: torch.device) -> OpenClip:
    """Load a model directory in open_clip's layout: `open_clip_config.json` and a checkpoint beside it.

    Raises
    ------
    EncoderUnavailableError
        A file is missing or does not fit.
    """
    found = [directory / name for name in CHECKPOINTS if (directory / name).is_file()]
    if not found:
        raise EncoderUnavailableError(f"{directory}: holds no CLIP weights; expected one of {', '.join(CHECKPOINTS)}")
    return _load(directory.name, f"{_DIRECTORY}{directory}", found[0], device)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress open_clip's log records below errors; it logs through the root logger."""

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logging.root.addFilter(is_error)
    try:
        yield
    finally:
        logging.root.removeFilter(is_error)


def _load(
    name: str,
    model_name: str,
    checkpoint: Path,
    device: torch.device,
    *,
    published: str = "",
    trained: Mapping[str, Any] = _AS_CONFIGURED,
    tokenizer: Any = None,
) -> OpenClip:
    """Build a model as its weights were trained: the tag's activation, mean and deviation, not the architecture's."""
    digest = file_digest(checkpoint)
    preprocessing = {key: trained[key] for key in _PREPROCESSING if key in trained}
    try:
        # Building a model initializes random weights and warns about them; the checkpoint replaces them all.
        with torch.random.fork_rng(devices=[]), _without_warnings():
            model = open_clip.create_model(
                model_name,
                load_weights=False,
                pretrained_text=False,
                force_quick_gelu=bool(trained.get("quick_gelu")),
                force_preprocess_cfg=preprocessing,
            )
        if digest == published and _is_torchscript(checkpoint):
            model.load_state_dict(_torchscript_state(checkpoint))
        else:
            open_clip.load_checkpoint(model, str(checkpoint), strict=True, weights_only=True, device="cpu")
        tokenizer = tokenizer or open_clip.get_tokenizer(model_name)
        form = _form(model_name, trained)
    except Exception as error:  # open_clip raises many kinds of errors for files that do not fit
        raise EncoderUnavailableError(f"{name}: {checkpoint} cannot be loaded: {error}") from error
    encoder = OpenClip(name, digest, form, model, tokenizer)
    frozen_vit.optimize_in_place(model)
    return encoder.to(device)


def _form(model_name: str, trained: Mapping[str, Any]) -> str:
    """Return a digest of an architecture's configuration, or a directory's, and of how the weights were trained."""
    directory = model_name.removeprefix(_DIRECTORY)
    is_directory = directory != model_name
    configuration = (
        json.loads(Path(directory, CONFIGURATION).read_text())
        if is_directory
        else open_clip.get_model_config(model_name)
    )
    text = json.dumps([configuration, dict(trained)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_torchscript(checkpoint: Path) -> bool:
    if not zipfile.is_zipfile(checkpoint):
        return False
    with zipfile.ZipFile(checkpoint) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _torchscript_state(checkpoint: Path) -> dict[str, Tensor]:
    """Return the parameters of an OpenAI archive; as it contains programs, only the published file is opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's format, chosen by OpenAI
        state = torch.jit.load(str(checkpoint), map_location="cpu").state_dict()
    return {name: value.float() for name, value in state.items() if name not in _OPENAI_EXTRAS}
