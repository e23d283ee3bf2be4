"""`clipstyler models pull | list | verify`, with published weights that stand in for the real ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from clipstyler_cli.main import app
from typer.testing import CliRunner, Result

from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler.encoders import registry
from clipstyler.encoders.weights.sources import Remote, Weights
from clipstyler.evaluation import verification
from tests.weights_server import Publisher, publishing

CLIP, CONTENT = b"weights of a CLIP" * 1000, b"weights of a VGG19" * 1000


def models(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    with publishing() as publisher:
        publisher.files |= {"/clip.pt": CLIP, "/vgg19.pth": CONTENT}
        wanted = tuple(
            Weights(name, (Remote(publisher.url(f"/{file}"), f"tests/{file}", hashlib.sha256(data).hexdigest()),))
            for name, file, data in (("clip:real", "clip.pt", CLIP), ("vgg19:real", "vgg19.pth", CONTENT))
        )
        monkeypatch.setattr(registry, "weights", lambda name: () if name == "pocket" else wanted)
        monkeypatch.setenv("CLIPSTYLER_MODELS", str(tmp_path / "models"))
        monkeypatch.delenv("CLIPSTYLER_OFFLINE", raising=False)
        yield publisher


def test_weights_are_pulled_listed_and_verified(publisher: Publisher, tmp_path: Path) -> None:
    assert models("verify", "vit-b-32").exit_code == 1
    pulled = models("pull", "vit-b-32")
    assert pulled.exit_code == 0, pulled.output
    assert hashlib.sha256(CLIP).hexdigest() in pulled.output
    assert (tmp_path / "models/tests/vgg19.pth").read_bytes() == CONTENT
    listed = {entry["name"]: entry for entry in json.loads(models("list", "--json").output)}
    assert listed["vit-b-32"]["models"][0] == {"name": "clip:real", "digest": hashlib.sha256(CLIP).hexdigest()}
    assert listed["vit-b-32"]["note"] == ""
    verified = models("verify", "vit-b-32", "--json")
    assert verified.exit_code == 0, verified.output
    assert [check["passed"] for check in json.loads(verified.output)] == [True, True]


def test_a_tokenizer_of_the_hub_is_pulled_too(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "fetch_tokenizer", lambda *_: "someone/words")
    pulled = models("pull", "vit-b-32")
    assert pulled.exit_code == 0, pulled.output
    assert "its tokenizer, someone/words of the Hugging Face hub" in pulled.output


def test_what_is_missing_is_listed_with_the_command_that_fetches_it(publisher: Publisher) -> None:
    listed = {entry["name"]: entry for entry in json.loads(models("list", "--json").output)}
    assert listed["vit-b-32"]["note"] == "not downloaded: clip:real, vgg19:real; `clipstyler models pull vit-b-32`"


def test_weights_are_taken_from_a_directory_without_network(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSTYLER_OFFLINE", "1")
    refused = models("pull", "vit-b-32")
    assert refused.exit_code == 1
    assert "offline mode is on" in refused.output
    usb = tmp_path / "usb"
    usb.mkdir()
    (usb / "clip.pt").write_bytes(CLIP)
    (usb / "vgg19.pth").write_bytes(CONTENT)
    assert models("pull", "vit-b-32", "--from", usb / "clip.pt").exit_code == 0
    assert models("verify", "vit-b-32").exit_code == 1
    assert models("pull", "vit-b-32", "--from", usb).exit_code == 0
    assert models("verify", "vit-b-32").exit_code == 0
    assert publisher.ranges == []


def test_files_that_cannot_be_taken_are_named(publisher: Publisher, tmp_path: Path) -> None:
    missing = models("pull", "vit-b-32", "--from", tmp_path / "nowhere")
    assert (missing.exit_code, "nowhere does not exist" in missing.output) == (2, True)
    (tmp_path / "other.bin").touch()
    other = models("pull", "vit-b-32", "--from", tmp_path / "other.bin")
    assert (other.exit_code, "clip.pt, vgg19.pth" in other.output) == (2, True)
    (tmp_path / "clip.pt").write_bytes(b"not it")
    changed = models("pull", "vit-b-32", "--from", tmp_path / "clip.pt")
    assert (changed.exit_code, "digest mismatch" in changed.output) == (1, True)


def test_a_publisher_that_does_not_have_them_is_named(publisher: Publisher) -> None:
    publisher.files.clear()
    outcome = models("pull", "vit-b-32")
    assert outcome.exit_code == 1
    assert "clip.pt: the server answers 404" in outcome.output
    assert "--from PATH" in outcome.output


def test_a_changed_file_fails_the_verification(publisher: Publisher, tmp_path: Path) -> None:
    models("pull", "vit-b-32")
    (tmp_path / "models/tests/clip.pt").write_bytes(b"changed")
    outcome = models("verify", "vit-b-32", "--json")
    assert outcome.exit_code == 1
    first, second = json.loads(outcome.output)
    assert "digest mismatch" in first["detail"]
    assert second["passed"] is True


@pytest.mark.parametrize("command", [["pull"], ["verify"], ["export", "--out", "nowhere"]])
def test_an_unknown_name_is_reported_as_it_was_typed(command: list[str]) -> None:
    outcome = models(command[0], "nothing", *command[1:])
    assert outcome.exit_code == 2
    assert "NAME: 'nothing' is unknown" in outcome.stderr


def test_the_golden_check_goes_through_the_whole_chain() -> None:
    outcome = models("verify", "pocket", "--golden", "--json")
    checks = json.loads(outcome.output)
    assert outcome.exit_code == 0, outcome.output
    assert [check["name"].partition(",")[0] for check in checks] == [
        "pocket loads",
        *["zero-shot"] * 4,
        *["PyTorch against ONNX"] * 2,
    ]


def test_the_golden_check_fails_on_weights_that_know_nothing(tmp_path: Path) -> None:
    encoders = registry.load(str(write_encoders(tmp_path / "random", TINY_CLIP)))
    assert not all(check.passed for check in verification.check_zero_shot(encoders))
