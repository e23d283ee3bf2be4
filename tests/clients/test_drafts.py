"""Drafts as the client and the command show them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from clipstyler_client import Client, Draft, Preview

from clipstyler.v1.image_pb2 import IMAGE_FORMAT_JPEG, IMAGE_FORMAT_WEBP
from tests.clients.scripted_server import Event, ScriptedServer, metadata, ordinary, picture
from tests.clients.test_command import call

STYLE = "styles/" + "3f" * 32


def drafting(request: object, context: object) -> Iterator[Event]:
    """A draft before everything else."""
    data = picture("purple")
    similarity = 0.9 if request.spec.previews.draft == "auto" else None
    described = {"style": STYLE, "style_text": "fire [/bold]", "image": metadata(data), "image_data": data}
    yield Event(draft=Event.Draft(similarity=similarity, **described))
    yield from ordinary(request, context)


@pytest.fixture(autouse=True)
def _drafting(server: ScriptedServer) -> None:
    server.script = drafting


@pytest.mark.parametrize(("draft", "similarity"), [("auto", 0.9), (STYLE, None)])
def test_a_draft_is_an_event_of_its_own(server: ScriptedServer, photo: Path, draft: str, similarity: float | None):
    with Client(server.target) as client:
        events = list(client.stylize(photo, "flames", previews={"draft": draft}))
    assert server.requests[0].spec.previews.draft == draft
    (found,) = [event for event in events if isinstance(event, Draft)]
    assert not isinstance(found, Preview)
    assert (found.style, found.style_text, found.similarity) == (STYLE, "fire [/bold]", similarity)
    assert (found.image, found.format, found.width, found.height) == (picture("purple"), "png", 64, 48)


def test_the_command_says_which_style_it_is_and_keeps_nothing_of_it(
    server: ScriptedServer, photo: Path, tmp_path: Path
) -> None:
    out, previews = tmp_path / "out.png", tmp_path / "previews"
    outcome = call("stylize", photo, "flames", "-o", out, "--server", server.target, "--previews", previews)
    assert outcome.exit_code == 0
    assert "draft in the style 'fire [/bold]' (styles/3f3f3f3f3f3f), not yet of this run" in outcome.stderr
    assert server.requests[0].spec.previews.draft == "auto"
    assert sorted(path.name for path in previews.iterdir()) == [f"step-000{n}.png" for n in range(4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "photo.png", "previews"]


@pytest.mark.parametrize(("suffix", "number"), [("jpg", IMAGE_FORMAT_JPEG), ("webp", IMAGE_FORMAT_WEBP)])
def test_the_command_writes_it_where_it_is_asked_to(
    server: ScriptedServer, photo: Path, tmp_path: Path, suffix: str, number: int
) -> None:
    draft, sheet = tmp_path / f"draft.{suffix}", tmp_path / "sheet.png"
    files = ("-o", tmp_path / "out.png", "--draft", draft, "--contact-sheet", sheet)
    outcome = call("stylize", photo, "flames", *files, "--server", server.target, "--json")
    assert outcome.exit_code == 0
    assert draft.read_bytes() == picture("purple")
    assert server.requests[0].spec.previews.format == number
    assert json.loads(outcome.stdout)["output"] == str(tmp_path / "out.png")


def test_where_none_comes_the_command_says_so(server: ScriptedServer, photo: Path, tmp_path: Path) -> None:
    server.script = ordinary
    draft = tmp_path / "draft.jpg"
    outcome = call("stylize", photo, "x", "-o", tmp_path / "out.png", "--draft", draft, "--server", server.target)
    assert outcome.exit_code == 0
    assert "no draft: no bundled style is near enough to the text" in outcome.stderr
    assert not draft.exists()


@pytest.mark.parametrize("name", ["draft.gif", "none/draft.png", "out.png", "photo.png"])
def test_a_draft_that_cannot_be_written_is_refused_before_any_work(
    server: ScriptedServer, photo: Path, tmp_path: Path, name: str
) -> None:
    files = ("-o", tmp_path / "out.png", "--draft", tmp_path / name)
    outcome = call("stylize", photo, "fire", *files, "--server", server.target)
    assert outcome.exit_code == 2
    assert "--draft" in outcome.stderr
    assert not server.requests


def test_a_draft_needs_a_server(photo: Path, tmp_path: Path) -> None:
    outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--draft", tmp_path / "draft.png")
    assert (outcome.exit_code, "--draft: drafts come from a server" in outcome.stderr) == (2, True)
