"""Foreign text on the terminal: printed literally, with control characters made visible."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import clipstyler_cli
import grpc
import pytest
from clipstyler_cli import classify
from clipstyler_cli.main import app
from clipstyler_cli.terminal import printable
from clipstyler_client import Client, Job, Prediction, PreviewOptions, Rendering, Spec, StylizeError, StylizeOptions
from google.rpc import error_details_pb2
from typer.testing import CliRunner, Result

from tests.clients.scripted_server import Event, picture, refuse, result, serving

HOSTILE = [
    ("[red]x[/nope]", "[red]x[/nope]"),
    ("[/]", "[/]"),
    (":bomb: :smile:", ":bomb: :smile:"),
    ("[link=http://x]y", "[link=http://x]y"),
    ("**bold** `code` 12 'quoted'", "**bold** `code` 12 'quoted'"),
    ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
    ("over\rwritten\b\x9b31m", "over\\rwritten\\x08\\x9b31m"),
    ("\u202egnp.exe\u2069", "\\u202egnp.exe\\u2069"),
]
texts = pytest.mark.parametrize(("text", "shown"), HOSTILE, ids=[shown for _, shown in HOSTILE])


def call(*arguments: object) -> Result:
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    for steering in "\x1b\x07\r\b\x9b\u202e\u2069":
        assert steering not in outcome.output
    return outcome


def job(text: str) -> Job:
    spec = Spec(text, "a Photo", StylizeOptions(steps=3), PreviewOptions(), "png")
    values = dict.fromkeys(Job.__dataclass_fields__)
    error = StylizeError("INTERNAL", text, "BROKEN")
    return Job(**values | {"name": "stylizations/1", "state": "failed", "spec": spec, "error": error})


@pytest.fixture
def stored(text: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("clipstyler_client._sync.jobs.Jobs.list", lambda *_: iter([job(text)]))
    monkeypatch.setattr("clipstyler_client._sync.jobs.Jobs.get", lambda *_: job(text))
    return


@texts
@pytest.mark.usefixtures("stored")
def test_jobs_are_listed_and_shown_with_their_texts_as_they_are(text: str, shown: str) -> None:
    listed, described = call("jobs", "list"), call("jobs", "show", "1")
    assert listed.output.count(shown) == 2  # the text, and the message of the error
    assert f"style text: {shown}" in described.output
    assert f"message: {shown}" in described.output


@texts
def test_warnings_and_file_names_are_printed_as_they_are(text: str, shown: str, tmp_path: Path) -> None:
    def warned(*_: object) -> Iterator[Event]:
        yield Event(started=Event.Started(steps=3, width_px=64, height_px=48, device=text))
        yield Event(warning=Event.Warning(code="UNKNOWN_TEXT", message=text))
        yield result(picture())

    name, name_shown = text.replace("/", "|"), shown.replace("/", "|")
    (tmp_path / name).write_bytes(picture())
    with serving(warned) as server:
        outcome = call("stylize", tmp_path / name, text, "-o", tmp_path / f"{name}.png", "--server", server.target)
    assert outcome.exit_code == 0, outcome.output
    assert f"warning: {shown}" in outcome.stderr
    assert f"3 steps on {shown};" in outcome.stderr
    assert f"{name_shown}.png: 64 x 48 px" in outcome.stderr


def test_drawing_a_large_result_is_announced(tmp_path: Path) -> None:
    def drawn(*_: object) -> Iterator[Event]:
        for tile in range(3):
            yield Event(rendering=Event.Rendering(tile=tile, tiles=2))
        yield result(picture())

    (tmp_path / "photo.png").write_bytes(picture())
    with serving(drawn) as server:
        outcome = call("stylize", tmp_path / "photo.png", "fire", "-o", tmp_path / "out.png", "--server", server.target)
        with Client(server.target) as client:
            events = list(client.stylize(picture(), "fire"))
    assert outcome.stderr.count("drawing the result in 2 tile(s)") == 1
    assert [(event.tile, event.tiles) for event in events if isinstance(event, Rendering)] == [(0, 2), (1, 2), (2, 2)]


@texts
def test_messages_of_errors_are_printed_as_they_are(text: str, shown: str, tmp_path: Path) -> None:
    def refused(_request: object, context: object) -> Iterator[Event]:
        violation = error_details_pb2.BadRequest.FieldViolation(field="spec.style_text", description=text)
        detail = error_details_pb2.BadRequest(field_violations=[violation])
        info = error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="clipstyler.dev")
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, text, info, detail)
        yield Event()

    (tmp_path / "photo.png").write_bytes(picture())
    with serving(refused) as server:
        outcome = call("stylize", tmp_path / "photo.png", "fire", "-o", tmp_path / "out.png", "--server", server.target)
    assert f"error: TEXT: {shown}" in outcome.stderr
    name = text.replace("/", "|")
    assert f"PHOTO: {printable(name)}: No such file" in call("stylize", name, "fire", "-o", "out.png").stderr


@texts
def test_labels_are_printed_as_they_are(text: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.png").write_bytes(picture())
    monkeypatch.setattr(classify, "_here", lambda *_: (Prediction(text, 0.5),))
    assert shown in call("classify", tmp_path / "photo.png", text).output


@texts
def test_usage_errors_quote_the_command_line_visibly(text: str, shown: str) -> None:
    words = "".join(call(f"--{text}").output.replace("│", "").replace("\\x0d", "\\r").split())
    assert "".join(shown.partition("=")[0].split()) in words
    for arguments in (["jobs", text], ["stylize", "a", "b", "-o", "c", "--steps", text], ["jobs", "show", "1", text]):
        assert call(*arguments).exit_code == 2


def test_a_line_of_a_foreign_message_is_no_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    from clipstyler_cli.errors import _leave

    with pytest.raises(Exception, match="1"):
        _leave("broken\nok: done", 1)
    assert capsys.readouterr().err == "error: broken\n       ok: done\n"


def test_signs_of_all_languages_are_kept() -> None:
    text = "日本語 über naïve 👩‍🎨 हिन्दी عربى\n\tx"
    assert printable(text) == text
    assert printable("ol\udce9") == "ol\\xe9"


def test_everything_is_printed_through_the_terminal() -> None:
    for path in Path(clipstyler_cli.__file__).parent.glob("*.py"):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in {"rich.console", "rich.markup", "rich"}, path
            elif isinstance(node, ast.Call):
                assert getattr(node.func, "id", "") not in {"print", "Table", "Console"}, (path, node.lineno)
                assert getattr(node.func, "attr", "") not in {"echo", "secho"}, (path, node.lineno)


def test_piped_tables_are_neither_cut_nor_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a long text " * 40
    monkeypatch.setattr("clipstyler_client._sync.jobs.Jobs.list", lambda *_: iter([job(text)]))
    monkeypatch.setenv("COLUMNS", "80")
    header, row = call("jobs", "list").output.splitlines()
    assert header.split() == ["job", "state", "text", "created", "progress"]
    assert text.strip() in row
