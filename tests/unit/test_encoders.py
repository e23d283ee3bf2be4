"""Encoders by name: real formats through the real loading code, and clear errors if something is missing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.random_checkpoints import TINY_CLIP, write_clip, write_encoders, write_vgg19
from benchmarks.reference import vgg_features
from clipstyler.config import Calibration, ConfigError
from clipstyler.encoders import registry, vgg
from clipstyler.encoders.base import EncoderSet, EncoderUnavailableError
from clipstyler.encoders.open_clip import OpenClip
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.encoders.weights.store import Store
from clipstyler.imaging import Picture
from clipstyler.photo_cache import key_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoders(tmp_path_factory.mktemp("encoders") / "tiny", TINY_CLIP)


@pytest.fixture(scope="module")
def encoders(directory: Path) -> EncoderSet:
    return registry.load(str(directory))


def test_a_directory_gives_both_encoders_and_the_papers_calibration(encoders: EncoderSet) -> None:
    assert encoders.calibration == Calibration()
    assert [model.name for model in encoders.models] == ["tiny", "vgg19:vgg19.safetensors"]
    assert encoders.clip.image_size == 32
    assert encoders.clip.encode_image(torch.rand(2, 3, 32, 32)).shape == (2, 32)
    assert encoders.clip.encode_text(["fire", "a sketch with black pencil"]).shape == (2, 32)
    assert [f.shape for f in encoders.content.features(torch.rand(1, 3, 64, 48))] == [(1, 512, 8, 6), (1, 512, 4, 3)]


def test_digests_are_those_of_the_files(encoders: EncoderSet, directory: Path) -> None:
    files = (directory / "open_clip_model.safetensors", directory / "vgg19.safetensors")
    assert [model.digest for model in encoders.models] == [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    ]


def test_clip_is_computed_as_open_clip_computes_it(encoders: EncoderSet, directory: Path) -> None:
    """The same weights through open_clip's own front door and its own preprocessing; tolerance 1e-5."""
    import open_clip

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{directory}")
    from PIL import Image

    image = Image.effect_mandelbrot((32, 32), (-2, -1, 1, 1), 50).convert("RGB")
    view = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(1, 32, 32, 3).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = model.encode_image(preprocess(image)[None])
        torch.testing.assert_close(encoders.clip.encode_image(view), expected, atol=1e-5, rtol=1e-5)
        tokens = open_clip.tokenize(["stained glass"])
        torch.testing.assert_close(encoders.clip.encode_text(["stained glass"]), model.encode_text(tokens))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_vgg_features_are_the_rectified_ones_of_the_whole_network(tmp_path: Path, suffix: str) -> None:
    path = write_vgg19(tmp_path / f"vgg19{suffix}")
    ours = vgg.load(path, CPU, Store(tmp_path))
    import torchvision

    whole = torchvision.models.vgg19().features.eval()
    state = {f"{key}": value for key, value in ours.layers.state_dict().items()}
    whole.load_state_dict(state, strict=False)
    image = torch.rand(1, 3, 32, 32)
    for got, expected in zip(ours.features(image), vgg_features(whole, image), strict=True):
        torch.testing.assert_close(got, expected)
        assert got.min() == 0


def test_loading_draws_nothing_from_the_global_random_state(directory: Path) -> None:
    before = torch.get_rng_state()
    registry.load(str(directory))
    assert torch.equal(before, torch.get_rng_state())


def test_gradients_reach_the_image_but_not_the_weights(encoders: EncoderSet) -> None:
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    value = encoders.clip.encode_image(image).sum() + sum(f.sum() for f in encoders.content.features(image))
    value.backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    for encoder in (encoders.clip, encoders.content):
        assert isinstance(encoder, nn.Module)
        assert all(parameter.grad is None for parameter in encoder.parameters())


def test_a_directory_may_bring_a_calibration_of_its_own(directory: Path) -> None:
    path = directory / "calibration.json"
    try:
        path.write_text(json.dumps({"threshold": 0.25}))
        assert registry.spec(str(directory)).calibration == Calibration(threshold=0.25)
        path.write_text('{"tau": 1}')
        with pytest.raises(ConfigError, match=r"calibration\.json is no calibration"):
            registry.spec(str(directory))
    finally:
        path.unlink()


def test_an_architecture_takes_a_local_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    (tmp_path / "ViT-Tiny-Test.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(tmp_path / "ViT-Tiny-Test.json")
    checkpoint = write_clip(tmp_path / "clip", TINY_CLIP)
    vgg_file = write_vgg19(tmp_path / "vgg19.safetensors")
    loaded = registry.load(f"ViT-Tiny-Test:{checkpoint}", vgg_weights=str(vgg_file))
    assert isinstance(loaded.clip, OpenClip)
    assert loaded.models[0].name == "ViT-Tiny-Test:open_clip_model.safetensors"


def test_one_checkpoint_in_two_architectures_is_two_encoders_to_caches(tmp_path: Path) -> None:
    """OpenAI's weights fit the architecture with the wrong activation too."""
    import open_clip

    checkpoint = write_clip(tmp_path / "clip", TINY_CLIP)
    vgg_file = write_vgg19(tmp_path / "vgg19.safetensors")
    picture, runtimes, keys = Picture(np.zeros((8, 8, 3), np.uint8)), set(), set()
    for name, quick in (("ViT-Tiny-Gelu", False), ("ViT-Tiny-Quick", True)):
        (tmp_path / f"{name}.json").write_text(json.dumps(TINY_CLIP | {"quick_gelu": quick}))
        open_clip.add_model_config(tmp_path / f"{name}.json")
        loaded = registry.load(f"{name}:{checkpoint}", vgg_weights=str(vgg_file))
        runtimes.add(TorchEncoders(loaded).runtime)
        keys.add(key_of(picture, loaded))
    assert len(runtimes) == len(keys) == 2


def test_a_directory_with_another_configuration_is_another_encoder_to_caches(tmp_path: Path) -> None:
    """The checkpoint fits both, and the name stays."""
    directory = write_encoders(tmp_path / "tiny", TINY_CLIP)
    picture, runtimes, keys = Picture(np.zeros((8, 8, 3), np.uint8)), [], []
    for content in ({}, {}, {"quick_gelu": True}):
        model = {"model_cfg": TINY_CLIP | content, "preprocess_cfg": {}}
        (directory / "open_clip_config.json").write_text(json.dumps(model))
        loaded = registry.load(str(directory))
        runtimes.append(TorchEncoders(loaded).runtime)
        keys.append(key_of(picture, loaded))
    for found in (runtimes, keys):
        assert found[0] == found[1] != found[2]


def test_the_catalog_starts_with_the_bundled_default() -> None:
    assert [entry.name for entry in registry.catalog()] == ["pocket", "vit-b-32"]
    assert registry.spec("vit-b-32").calibration == Calibration()


@pytest.mark.parametrize("name", ["", "nonsense", "ViT-B-32:", ":openai", "/no/such/directory"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="use pocket, vit-b-32"):
        registry.spec(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [("ViT-Nothing:openai", "no architecture"), ("ViT-B-32:nothing", "neither a file nor a pretrained tag")],
)
def test_an_unknown_architecture_or_tag_is_refused(name: str, message: str) -> None:
    with pytest.raises(EncoderUnavailableError, match=message):
        registry.load(name, store=Store(Path("nowhere"), offline=True))


def test_missing_weights_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    offline = Store(tmp_path, offline=True)
    with pytest.raises(EncoderUnavailableError, match=r"ViT-B-32-quickgelu:openai: .* the bundled encoders 'pocket'"):
        registry.load("vit-b-32", store=offline)
    with pytest.raises(EncoderUnavailableError, match=r"vgg19:IMAGENET1K_V1: .*`clipstyler models pull NAME"):
        vgg.load("IMAGENET1K_V1", CPU, offline)


def test_a_directory_without_vgg19_needs_the_published_one(tmp_path: Path) -> None:
    """It is what `clipstyler models pull` must fetch, as the error of offline loading says."""
    directory = tmp_path / "tiny"
    write_clip(directory, TINY_CLIP)
    assert [weights.name for weights in registry.weights(str(directory))] == ["vgg19:IMAGENET1K_V1"]
    with pytest.raises(EncoderUnavailableError, match="vgg19:IMAGENET1K_V1"):
        registry.load(str(directory), store=Store(tmp_path / "store", offline=True))
    write_vgg19(directory / "vgg19.pth")
    assert registry.weights(str(directory)) == ()


def test_a_folder_with_a_name_of_the_catalog_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export of `vit-b-32` is often called so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit-b-32").mkdir()
    assert [weights.name for weights in registry.weights("vit-b-32")] == [
        "ViT-B-32-quickgelu:openai",
        "vgg19:IMAGENET1K_V1",
    ]
    with pytest.raises(EncoderUnavailableError, match="ViT-B-32-quickgelu:openai: the weights are not in"):
        registry.load("vit-b-32", store=Store(tmp_path / "store", offline=True))


def test_files_that_do_not_fit_are_refused(tmp_path: Path, directory: Path) -> None:
    broken = tmp_path / "vgg19.pth"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(EncoderUnavailableError, match="does not hold VGG19 weights"):
        vgg.load(broken, CPU, Store(tmp_path))
    with pytest.raises(EncoderUnavailableError, match="does not hold VGG19 weights"):
        vgg.load(directory / "open_clip_model.safetensors", CPU, Store(tmp_path))
    with pytest.raises(EncoderUnavailableError, match="cannot be loaded"):
        registry.load(f"ViT-B-32:{directory / 'open_clip_model.safetensors'}")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EncoderUnavailableError, match="holds no CLIP weights"):
        registry.load(str(empty))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "owned",))

    path = tmp_path / "vgg19.pth"
    torch.save({"features.0.weight": Evil()}, path)
    with pytest.raises(EncoderUnavailableError):
        vgg.load(path, CPU, Store(tmp_path))
    assert not (tmp_path / "owned").exists()
