"""`examples/pipeline`: every photo once, whatever is killed."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from clipstyler_client import AsyncClient, Client
from PIL import Image

from tests.clients.scripted_server import picture
from tests.clients.server_process import Server, module_server

PIPELINE = Path(__file__).parents[2] / "examples" / "pipeline"
OPTIONS = {"size": 64, "steps": 3, "seed": 1}
FLAGS = ("--size", "64", "--steps", "3", "--seed", "1", "--interval", "0.05")
EVERYTHING = ["write_result", "record", "put_away"]


server = module_server


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the example."""
    monkeypatch.syspath_prepend(str(PIPELINE))
    names = ("inbox", "outbox", "stylizing", "pipeline")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def fill(inbox: Path, *names: str) -> None:
    """Put a different photo under each name."""
    for number, name in enumerate(names):
        (inbox / name).write_bytes(picture("orange", (64 + number, 48)))


def start(inbox: Path, out: Path, text: str, server: Server, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, PIPELINE, inbox, out, text, "--server", server.target, *FLAGS, *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def run(*arguments: object) -> tuple[int, str]:
    process = start(*arguments, "--once")
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def manifest(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def jobs(server: Server, text: str) -> Counter[str]:
    """The number of jobs with a text by their state."""
    with Client(server.target) as client:
        return Counter(job.state for job in client.jobs.list() if job.spec.style_text == text)


def check_each_once(server: Server, inbox: Path, out: Path, text: str, photos: list[str]) -> None:
    lines = manifest(out)
    assert sorted(line["photo"] for line in lines) == photos
    assert {line["status"] for line in lines} == {"succeeded"}
    assert names(inbox) == []
    assert names(out / "done") == photos
    assert names(out / "results") == sorted(Path(line["result"]).name for line in lines)
    for line in lines:
        assert max(Image.open(io.BytesIO((out / line["result"]).read_bytes())).size) == 64
    assert jobs(server, text)["succeeded"] == len(photos)


def test_kills_of_the_pipeline_and_of_the_server_lose_and_double_nothing(server: Server, inbox: Path, out: Path):
    text, photos = "step=0.04 killed", [f"photo {number}.png" for number in range(8)]
    fill(inbox, *photos)
    moments = random.Random(7)
    for number in range(6):
        process = start(inbox, out, text, server)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.3, 1.0))
        if number == 3:
            server.end(signal.SIGKILL)
            server.start()
        process.kill()
        process.communicate()
    code, errors = run(inbox, out, text, server)
    assert code == 0, errors
    check_each_once(server, inbox, out, text, photos)


class KilledError(BaseException):
    """Stands for the end of the process."""


def mortal(outbox: type, dies_at: tuple[str, str]) -> type:
    """An outbox that is killed before or after one of its effects."""

    def dying(name: str):
        def effect(self, *arguments):
            if dies_at == ("before", name):
                raise KilledError
            result = getattr(outbox, name)(self, *arguments)
            if dies_at == ("after", name):
                raise KilledError
            return result

        return effect

    return type("MortalOutbox", (outbox,), {name: dying(name) for name in EVERYTHING})


@pytest.mark.parametrize("effect", EVERYTHING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_around_each_effect_is_continued(
    server: Server, parts: SimpleNamespace, inbox: Path, out: Path, when: str, effect: str
):
    text = f"killed {when} {effect}"
    fill(inbox, "photo.png")
    task = parts.stylizing.Task(text, OPTIONS)

    async def once(kind: type) -> None:
        async with AsyncClient(server.target) as client:
            with closing(kind(out)) as outbox:
                await parts.pipeline.Pipeline(client, inbox, outbox, task, interval_s=0.02).run(once=True)

    with pytest.raises(KilledError):
        asyncio.run(once(mortal(parts.outbox.Outbox, (when, effect))))
    asyncio.run(once(parts.outbox.Outbox))
    check_each_once(server, inbox, out, text, ["photo.png"])


def test_bad_files_are_recorded_and_moved_and_the_others_go_on(server: Server, inbox: Path, out: Path):
    fill(inbox, "good.png")
    (inbox / "notes.txt").write_text("no image")
    (inbox / "empty.jpg").touch()
    (inbox / "copying.jpg.part").write_bytes(b"not yet")
    code, errors = run(inbox, out, "bad files", server)
    assert code == 1
    assert "1 succeeded, 2 failed" in errors
    lines = {line["photo"]: line for line in manifest(out)}
    assert lines["good.png"]["status"] == "succeeded"
    assert (lines["notes.txt"]["status"], lines["notes.txt"]["reason"]) == ("failed", "INVALID_FIELD")
    assert "spec.image" in lines["notes.txt"]["message"]
    assert lines["empty.jpg"]["reason"] == "PHOTO_SIZE"
    assert names(out / "failed") == ["empty.jpg", "notes.txt"]
    assert names(inbox) == ["copying.jpg.part"]
    assert run(inbox, out, "bad files", server)[0] == 0  # what has failed is not tried again


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user other than root, who reads everything")
def test_a_file_that_cannot_be_read_stays_with_an_error(server: Server, inbox: Path, out: Path):
    fill(inbox, "secret.png")
    (inbox / "secret.png").chmod(0)
    code, errors = run(inbox, out, "unreadable", server)
    assert code == 1
    assert "secret.png: Permission denied" in errors
    assert names(inbox) == ["secret.png"]


def test_the_same_photo_under_two_names_is_one(server: Server, inbox: Path, out: Path):
    for name in ("one.png", "two.png"):
        (inbox / name).write_bytes(picture("teal"))
    assert run(inbox, out, "a twin", server)[0] == 0
    (line,) = manifest(out)
    assert line["photo"] in {"one.png", "two.png"}
    assert names(out / "done") == ["one.png", "two.png"]
    assert jobs(server, "a twin") == {"succeeded": 1}


def test_another_text_or_option_is_another_result(server: Server, inbox: Path, out: Path):
    for text, flags in (("one look", ()), ("another look", ()), ("another look", ("--format", "webp"))):
        fill(inbox, "photo.png")
        assert run(inbox, out, text, server, *flags)[0] == 0
    assert len(manifest(out)) == len(names(out / "results")) == 3


@pytest.mark.parametrize(("text", "flags"), [("", ()), ("a look", ("--steps", "100000"))])
def test_what_no_photo_can_be_made_of_ends_it_at_once(
    server: Server, inbox: Path, out: Path, text: str, flags: tuple[str, ...]
):
    fill(inbox, "photo.png")
    code, errors = run(inbox, out, text, server, *flags)
    assert code == 2
    assert errors.startswith("error: INVALID_ARGUMENT: ")
    assert names(inbox) == ["photo.png"]
    assert not (out / "manifest.jsonl").exists()


def test_a_photo_that_crashes_the_worker_fails_after_three_attempts(server: Server, inbox: Path, out: Path):
    fill(inbox, "photo.png")
    assert run(inbox, out, "at=1 die=1 always", server)[0] == 1
    (line,) = manifest(out)
    assert (line["status"], line["reason"]) == ("failed", "WORKER_CRASHED")
    assert jobs(server, "at=1 die=1 always") == {"failed": 3}


def test_a_line_that_a_crash_cut_is_written_again(server: Server, inbox: Path, out: Path):
    fill(inbox, "one.png")
    assert run(inbox, out, "cut", server)[0] == 0
    whole = (out / "manifest.jsonl").read_bytes()
    (out / "manifest.jsonl").write_bytes(whole[:-20])
    (out / "done" / "one.png").rename(inbox / "one.png")
    assert run(inbox, out, "cut", server)[0] == 0
    assert [line["photo"] for line in manifest(out)] == ["one.png"]
    assert jobs(server, "cut") == {"succeeded": 1}


def test_a_second_pipeline_is_refused(server: Server, parts: SimpleNamespace, inbox: Path, out: Path):
    with closing(parts.outbox.Outbox(out)):
        code, errors = run(inbox, out, "second", server)
    assert code == 2
    assert "another pipeline writes here" in errors


def test_a_photo_that_was_replaced_meanwhile_stays(parts: SimpleNamespace, inbox: Path, out: Path):
    fill(inbox, "photo.png")
    photo = parts.inbox.read(inbox / "photo.png", 10_000)
    (inbox / "photo.png").write_bytes(picture("teal", (99, 99)))
    with closing(parts.outbox.Outbox(out)) as outbox:
        outbox.put_away(photo, "succeeded")
    assert names(inbox) == ["photo.png"]


def test_a_request_id_is_a_uuid4_that_names_photo_and_task(parts: SimpleNamespace, inbox: Path):
    fill(inbox, "one.png", "two.png")
    one, two = (parts.inbox.read(inbox / name, 10_000) for name in ("one.png", "two.png"))
    task, other = parts.stylizing.Task("fire", OPTIONS), parts.stylizing.Task("gold", OPTIONS)
    ids = {task.request_id(one), task.request_id(two), other.request_id(one), task.request_id(one, 2)}
    assert len(ids) == 4
    assert task.request_id(one) == parts.stylizing.Task("fire", dict(reversed(OPTIONS.items()))).request_id(one)
    assert all(request_id[14] == "4" and request_id[19] in "89ab" for request_id in ids)


def test_help_shows_examples_and_what_cannot_be_used_is_named(inbox: Path):
    shown = subprocess.run([sys.executable, PIPELINE, "--help"], capture_output=True, text=True, check=True).stdout
    assert 'python examples/pipeline inbox out "stained glass"' in shown
    for arguments, problem in (
        ([inbox / "none", "out", "x"], "is not a directory"),
        ([inbox, inbox, "x"], "are the same directory"),
        ([inbox, "out", "x", "--parallel", "0"], "0 is not above 0"),
    ):
        done = subprocess.run([sys.executable, PIPELINE, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert problem in done.stderr
