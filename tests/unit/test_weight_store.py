"""Weights: downloaded once, resumed, checked against digests, or copied from a file; never partial."""

from __future__ import annotations

import hashlib
import io
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from benchmarks.random_checkpoints import TINY_CLIP, write_clip, write_vgg19
from clipstyler.encoders import open_clip as our_open_clip
from clipstyler.encoders import registry, vgg
from clipstyler.encoders.base import EncoderUnavailableError
from clipstyler.encoders.weights import sources
from clipstyler.encoders.weights.download import DigestError, DownloadError, download
from clipstyler.encoders.weights.sources import Remote, Weights
from clipstyler.encoders.weights.store import Store, default_directory
from tests.weights_server import Publisher, publishing

DATA = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(DATA).hexdigest()


def _add_architecture(folder: Path, name: str, configuration: dict) -> None:
    """Make an architecture known to open_clip."""
    (folder / "configs").mkdir()
    (folder / "configs" / f"{name}.json").write_text(json.dumps(configuration))
    open_clip.add_model_config(folder / "configs")


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as publisher:
        publisher.files["/weights.bin"] = DATA
        yield publisher


def weights(publisher: Publisher, digest: str = DIGEST, path: str = "/weights.bin") -> Weights:
    return Weights("ours:test", (Remote(publisher.url(path), "ours/weights.bin", digest),))


def test_a_download_is_recorded_with_its_digest_and_not_repeated(publisher: Publisher, tmp_path: Path) -> None:
    store, told = Store(tmp_path), []
    stored = store.obtain(weights(publisher), lambda here, in_all: told.append((here, in_all)))
    assert stored.path.read_bytes() == DATA
    assert (tmp_path / "ours/weights.bin.sha256").read_text() == f"{DIGEST}  weights.bin\n"
    assert told[-1] == (len(DATA), len(DATA))
    assert store.obtain(weights(publisher)) == stored
    assert publisher.ranges == [""]
    stored.check()


def test_a_connection_that_breaks_off_is_resumed_in_the_same_call(publisher: Publisher, tmp_path: Path) -> None:
    publisher.break_after = [300_000, 300_000]
    assert download(publisher.url("/weights.bin"), tmp_path / "w", DIGEST) == DIGEST
    assert publisher.ranges == ["", "bytes=300000-", "bytes=600000-"]
    assert (tmp_path / "w").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_the_next_call_resumes_where_the_last_stopped(publisher: Publisher, tmp_path: Path) -> None:
    publisher.break_after = [1000, 1000, 1000]
    with pytest.raises(DownloadError, match=r"weights\.bin: cannot be reached or broke off"):
        download(publisher.url("/weights.bin"), tmp_path / "w", DIGEST)
    assert not (tmp_path / "w").exists()
    download(publisher.url("/weights.bin"), tmp_path / "w", DIGEST)
    assert publisher.ranges[-1] == "bytes=3000-"
    assert (tmp_path / "w").read_bytes() == DATA


def test_a_part_that_is_whole_already_is_taken(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(DATA)
    assert download(publisher.url("/weights.bin"), tmp_path / "w", DIGEST) == DIGEST


def test_a_server_without_ranges_starts_over(publisher: Publisher, tmp_path: Path) -> None:
    publisher.knows_ranges = False
    (tmp_path / "w.part").write_bytes(b"the beginning of something else")
    assert download(publisher.url("/weights.bin"), tmp_path / "w", DIGEST) == DIGEST


def test_without_any_digest_an_old_part_is_not_trusted(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(b"the beginning of something else")
    assert download(publisher.url("/weights.bin"), tmp_path / "w") == DIGEST


def test_another_digest_than_the_published_one_is_named_and_nothing_is_kept(
    publisher: Publisher, tmp_path: Path
) -> None:
    with pytest.raises(EncoderUnavailableError, match=f"digest mismatch: .* {DIGEST}, the published one is {'0' * 8}"):
        Store(tmp_path).obtain(weights(publisher, "0" * 8))
    assert [path.name for path in (tmp_path / "ours").iterdir() if path.suffix != ".lock"] == []


def test_a_digest_that_the_hub_states_must_hold(publisher: Publisher, tmp_path: Path) -> None:
    publisher.stated["/weights.bin"] = DIGEST
    assert download(publisher.url("/weights.bin"), tmp_path / "w") == DIGEST
    publisher.stated["/weights.bin"] = "0" * 64
    with pytest.raises(DigestError, match="the one that the server states is 0000"):
        download(publisher.url("/weights.bin"), tmp_path / "other")


def test_the_next_file_is_tried_when_one_is_not_there(publisher: Publisher, tmp_path: Path) -> None:
    missing = Remote(publisher.url("/missing.safetensors"), "ours/missing.safetensors")
    both = Weights("ours:test", (missing, *weights(publisher).remotes))
    assert Store(tmp_path).obtain(both).path.name == "weights.bin"
    with pytest.raises(EncoderUnavailableError, match=r"missing\.safetensors: the server answers 404"):
        Store(tmp_path / "other").obtain(Weights("ours:test", (missing,)))


def test_an_unreachable_hub_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    remote = Remote(f"http://127.0.0.1:{port}/weights.bin", "ours/weights.bin")
    with pytest.raises(EncoderUnavailableError, match=r"cannot be reached.*pull NAME --from PATH.*'pocket'"):
        Store(tmp_path).obtain(Weights("ours:test", (remote,)))


def test_offline_nothing_is_asked(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailableError, match=r"offline mode is on; .*--from PATH"):
        Store(tmp_path, offline=True).obtain(weights(publisher))
    assert publisher.ranges == []
    Store(tmp_path).obtain(weights(publisher))
    assert Store(tmp_path, offline=True).obtain(weights(publisher)).digest == DIGEST


def test_callers_at_once_fetch_once(publisher: Publisher, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Store(tmp_path).obtain(weights(publisher)), range(4)))
    assert len(set(found)) == 1
    assert publisher.ranges == [""]


@pytest.mark.parametrize("inside_a_directory", [False, True])
def test_a_file_is_adopted_on_a_machine_without_network(
    publisher: Publisher, tmp_path: Path, inside_a_directory: bool
) -> None:
    usb = tmp_path / "usb"
    usb.mkdir()
    (usb / "weights.bin").write_bytes(DATA)
    store = Store(tmp_path / "store", offline=True)
    stored = store.adopt(weights(publisher), usb if inside_a_directory else usb / "weights.bin")
    assert stored == store.find(weights(publisher))
    assert stored.path.read_bytes() == DATA
    assert (usb / "weights.bin").exists()


def test_a_file_that_differs_from_the_published_one_is_not_adopted(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"something else")
    store = Store(tmp_path / "store")
    with pytest.raises(EncoderUnavailableError, match="digest mismatch"):
        store.adopt(weights(publisher), tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(EncoderUnavailableError, match=r"does not hold, weights\.bin"):
        store.adopt(weights(publisher), tmp_path)
    assert store.find(weights(publisher)) is None


def test_a_stored_file_that_changed_is_found_out(publisher: Publisher, tmp_path: Path) -> None:
    stored = Store(tmp_path).obtain(weights(publisher))
    stored.path.write_bytes(DATA[:-1])
    with pytest.raises(EncoderUnavailableError, match=r"digest mismatch: .*weights\.bin"):
        stored.check()


@pytest.mark.parametrize("record", ["", "\0" * 78, DIGEST[:20], f"{DIGEST[:-1]}  weights.bin\n"])
def test_a_record_that_a_crash_cut_off_records_nothing(publisher: Publisher, tmp_path: Path, record: str) -> None:
    """Nobody but the record knows the digest of these weights: any file would pass."""
    unstated = weights(publisher, digest="")
    stored = Store(tmp_path).obtain(unstated)
    (tmp_path / "ours/weights.bin.sha256").write_text(record)
    stored.path.write_bytes(DATA[:-1])
    assert Store(tmp_path).find(unstated) is None
    again = Store(tmp_path).obtain(unstated)
    assert (again, again.path.read_bytes()) == (stored, DATA)


def test_a_record_appears_complete_or_not_at_all(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(path: Path, data: bytes | str, *_: object, **__: object) -> int:
        with path.open("wb") as file:
            file.write(data[:1].encode() if isinstance(data, str) else data[:1])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        for method in ("write_bytes", "write_text"):
            full.setattr(Path, method, cut_off)
        with pytest.raises(OSError, match="No space left"):
            Store(tmp_path).obtain(weights(publisher))
    assert not (tmp_path / "ours/weights.bin.sha256").exists()
    assert Store(tmp_path).obtain(weights(publisher)).digest == DIGEST


def test_published_digests_are_read_from_addresses() -> None:
    """OpenAI's full digest is in the path, torchvision's beginning in the file's name; both are what they publish."""
    clip, content = registry.weights("vit-b-32")
    assert clip.remotes[0].digest == "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    assert clip.file_names == ("ViT-B-32.pt", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    assert clip.remotes[1].url == (
        "https://huggingface.co/timm/vit_base_patch32_clip_224.openai/resolve/main/open_clip_model.safetensors"
    )
    assert content.remotes[0].digest == "dcbb9e9d"
    assert registry.weights("pocket") == ()


def test_stored_weights_load_by_their_names(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way from a hub on loopback to encoders, with a small architecture."""
    _add_architecture(tmp_path, "Tiny-Pulled", TINY_CLIP)
    checkpoint = write_clip(tmp_path / "pulled", TINY_CLIP)
    content = write_vgg19(tmp_path / "vgg19-00000000.pth")
    publisher.files["/tiny/resolve/main/open_clip_model.safetensors"] = checkpoint.read_bytes()
    name = f"vgg19-{hashlib.sha256(content.read_bytes()).hexdigest()[:8]}.pth"
    publisher.files[f"/{name}"] = content.read_bytes()
    monkeypatch.setattr(sources, "HUB", publisher.address)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: {"hf_hub": "tiny/"})
    monkeypatch.setattr(vgg, "weights_of", lambda name_: sources.vgg19(name_, publisher.url(f"/{name}")))
    encoders = registry.load("Tiny-Pulled:published", store=Store(tmp_path / "store"))
    assert encoders.clip.name == "Tiny-Pulled:published"
    assert encoders.clip.digest == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert encoders.content.digest == hashlib.sha256(content.read_bytes()).hexdigest()
    offline = Store(tmp_path / "store", offline=True)
    registry.load("Tiny-Pulled:published", store=offline)
    for file in ("torchvision/" + name, "hub/tiny/open_clip_model.safetensors"):
        (tmp_path / "store" / file).write_bytes(b"changed")
        with pytest.raises(EncoderUnavailableError, match=f"digest mismatch: .*{file}"):
            registry.load("Tiny-Pulled:published", store=offline)


def test_weights_of_a_tag_are_computed_as_they_were_trained(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Architectures have one activation, mean and deviation each; those of some of their tags differ."""
    _add_architecture(tmp_path, "Tiny-Trained", TINY_CLIP)
    checkpoint = write_clip(tmp_path / "clip", TINY_CLIP)
    publisher.files["/tiny/resolve/main/open_clip_model.safetensors"] = checkpoint.read_bytes()
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    tag = {"hf_hub": "tiny/", "quick_gelu": True, "mean": mean, "std": std}
    monkeypatch.setattr(sources, "HUB", publisher.address)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: tag)
    clip = our_open_clip.load_pretrained("Tiny-Trained", "tag", torch.device("cpu"), Store(tmp_path / "store"))
    trained = open_clip.CLIP(**TINY_CLIP, quick_gelu=True).eval()
    open_clip.load_checkpoint(trained, str(checkpoint))
    views = torch.rand(2, 3, 32, 32)
    normalized = (views - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(clip.encode_image(views), trained.encode_image(normalized), atol=1e-5, rtol=1e-5)
    tokens = open_clip.tokenize(["fire"])
    torch.testing.assert_close(clip.encode_text(["fire"]), trained.encode_text(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:'torch.load' received:UserWarning")
def test_an_archive_in_openais_form_loads_only_with_its_published_digest(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchScript holds programs: it is opened only if it is what its publisher's digest names."""
    _add_architecture(tmp_path, "Tiny-Archive", TINY_CLIP)
    archive, plain = _openai_archive()
    address = f"/models/{hashlib.sha256(archive).hexdigest()}/Tiny.pt"
    publisher.files[address] = archive
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: {"url": publisher.url(address)})
    cpu = torch.device("cpu")
    loaded = our_open_clip.load_pretrained("Tiny-Archive", "openai", cpu, Store(tmp_path / "store"))
    views = torch.rand(2, 3, 32, 32)
    expected = plain.encode_image((views - loaded.mean) / loaded.std)
    torch.testing.assert_close(loaded.encode_image(views), expected, atol=1e-4, rtol=1e-4)
    (tmp_path / "Tiny.pt").write_bytes(archive)
    with pytest.raises(EncoderUnavailableError, match="cannot be loaded"):
        our_open_clip.load_pretrained("Tiny-Archive", str(tmp_path / "Tiny.pt"), cpu, Store(tmp_path / "store"))


class Hub:
    """Stands for open_clip's tokenizers of the Hugging Face hub: what is where, and whether the hub was asked."""

    def __init__(self, *cached: str | None) -> None:
        self.cached: list[str | None] = list(cached)
        self.asked = 0
        self.is_reachable = True
        self.tokenizer = open_clip.get_tokenizer("ViT-B-32")

    def __call__(
        self, _architecture: str, cache_dir: str | None = None, local_files_only: bool = False
    ) -> open_clip.SimpleTokenizer:
        if cache_dir in self.cached:
            return self.tokenizer
        if not local_files_only:
            self.asked += 1
        if local_files_only or not self.is_reachable:
            raise OSError("We couldn't connect to the hub")
        self.cached.append(cache_dir)
        return self.tokenizer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    text = TINY_CLIP["text_cfg"] | {"hf_tokenizer_name": "someone/words"}
    _add_architecture(tmp_path, "Tiny-Words", TINY_CLIP | {"text_cfg": text})
    monkeypatch.setattr(open_clip, "get_tokenizer", hub)
    return hub


def load_words(tmp_path: Path, *, offline: bool) -> our_open_clip.OpenClip:
    checkpoint = write_clip(tmp_path / "clip", TINY_CLIP)
    store = Store(tmp_path / "store", offline)
    return our_open_clip.load_pretrained("Tiny-Words", str(checkpoint), torch.device("cpu"), store)


def test_offline_a_tokenizer_of_the_hub_that_is_not_here_is_named_before_any_weights(hub: Hub, tmp_path: Path) -> None:
    words = r"Tiny-Words: its tokenizer, someone/words of .*offline mode is on; run `clipstyler models pull NAME`"
    with pytest.raises(EncoderUnavailableError, match=words):
        load_words(tmp_path, offline=True)
    assert hub.asked == 0


@pytest.mark.parametrize("is_the_users", [False, True])
def test_offline_a_tokenizer_that_is_here_is_taken(hub: Hub, tmp_path: Path, is_the_users: bool) -> None:
    hub.cached = [None if is_the_users else str(tmp_path / "store" / "tokenizers")]
    assert load_words(tmp_path, offline=True).tokenizer is hub.tokenizer
    assert hub.asked == 0


def test_a_tokenizer_is_fetched_once_and_kept_beside_the_weights(hub: Hub, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert registry.fetch_tokenizer("Tiny-Words:tag", store) == "someone/words"
    assert hub.cached == [str(tmp_path / "store" / "tokenizers")]
    assert load_words(tmp_path, offline=True).tokenizer is hub.tokenizer
    assert hub.asked == 1
    for included in ("vit-b-32", "pocket", str(tmp_path)):
        assert registry.fetch_tokenizer(included, store) == ""


def test_a_tokenizer_that_cannot_be_fetched_is_named(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.is_reachable = False
    with pytest.raises(EncoderUnavailableError, match=r"someone/words of .* cannot be loaded: We couldn't connect"):
        load_words(tmp_path, offline=False)

    def lacking(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

    monkeypatch.setattr(open_clip, "get_tokenizer", lacking)
    with pytest.raises(EncoderUnavailableError, match=r"someone/words of .* needs `pip install transformers`"):
        load_words(tmp_path, offline=False)


def test_weights_are_kept_in_the_users_cache_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_directory().parts[-2:] == ("clipstyler", "models")


def _openai_archive() -> tuple[bytes, nn.Module]:
    torch.manual_seed(0)
    model = open_clip.CLIP(**TINY_CLIP).eval()

    class Archive(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * self.input_resolution

    archive = Archive()
    for name, child in model.named_children():
        archive.add_module(name, child)
    for name, parameter in model.named_parameters(recurse=False):
        archive.register_parameter(name, parameter)
    for name in ("input_resolution", "context_length", "vocab_size"):
        archive.register_buffer(name, torch.tensor(32))
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(archive, torch.rand(1)), file)
    return file.getvalue(), model
