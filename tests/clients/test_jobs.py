"""Jobs through both clients and `clipstyler jobs`, against a real server process that is killed now and then."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import grpc
import pytest
from clipstyler_cli.main import app
from clipstyler_client import (
    AsyncClient,
    Client,
    Heartbeat,
    InvalidRequestError,
    Job,
    OptionError,
    Progress,
    ServerUnavailableError,
    StylizationStream,
    StylizeError,
    StylizeOptions,
    Upload,
)
from clipstyler_client._channel import channel_options
from clipstyler_client._resume import Allowance, Resume
from typer.testing import CliRunner

from clipstyler.v1 import stylization_service_pb2 as pb
from tests.clients.scripted_server import Event, serving
from tests.clients.server_process import Server, module_server
from tests.service.harness import noise_photo, photo

SMALL = StylizeOptions(size=64, steps=3, patches=2, seed=1)
SLOW = StylizeOptions(size=64, steps=20, patches=2, seed=1)


server = module_server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as connected:
        yield connected


def create(client: Client, text: str = "a scripted look", options: StylizeOptions = SMALL, **fields: object) -> Job:
    return client.jobs.create(photo(), text, **options, **fields)


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_job_is_created_watched_described_and_downloaded(client: Client) -> None:
    job = create(client)
    result = client.jobs.watch(job.name).result()
    told = client.jobs.get(job.name)

    assert (told.state, told.is_finished, told.attempts) == ("succeeded", True, 1)
    assert told.spec.options["seed"] == 1
    assert told.step == told.spec.options["steps"] == 3
    assert told.spec == result.spec
    assert told.created is not None
    assert told.ended is not None
    assert told.created.utcoffset() is not None
    assert client.jobs.download(job.name).data == result.image
    assert client.jobs.download(job.name, "content").data == photo()


def test_a_job_is_created_once(client: Client) -> None:
    request_id = str(uuid.uuid4())
    assert create(client, request_id=request_id).name == create(client, request_id=request_id).name
    with pytest.raises(StylizeError) as caught:
        create(client, "another look", request_id=request_id)
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_jobs_are_listed_newest_first_over_all_pages(client: Client) -> None:
    made = [create(client).name for _ in range(3)]
    first = client.jobs.page(page_size=2)
    assert [job.name for job in first.jobs] == made[:0:-1]
    assert first.next_token
    assert [job.name for job in client.jobs.list()][:3] == made[::-1]


def test_cancel_and_delete(client: Client) -> None:
    job = create(client, "step=0.05 slow", SLOW)
    with pytest.raises(StylizeError) as caught:
        client.jobs.delete(job.name)
    assert caught.value.reason == "STYLIZATION_NOT_FINISHED"
    client.jobs.cancel(job.name)
    with pytest.raises(StylizeError) as ended:
        client.jobs.watch(job.name).result()
    assert ended.value.code == "CANCELLED"
    assert client.jobs.cancel(job.name).cancel_reason == "requested"
    client.jobs.delete(job.name)
    with pytest.raises(StylizeError) as gone:
        client.jobs.get(job.name)
    assert gone.value.code == "NOT_FOUND"


def test_a_missing_photo_is_named_before_an_upload(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        client.jobs.upload(tmp_path / "none.jpg")


def test_a_large_photo_is_uploaded_in_pieces(client: Client) -> None:
    large = noise_photo(1200, 900)
    assert len(large) > 3 * 2**20
    uploaded = client.jobs.upload(large)
    assert isinstance(uploaded, Upload)
    job = client.jobs.create(uploaded, "a scripted look", **SMALL)
    client.jobs.watch(job.name).result()
    assert client.jobs.download(job.name, "content").data == large


async def test_the_async_client_does_the_same(server: Server) -> None:
    async with AsyncClient(server.target) as client:
        uploaded = await client.jobs.upload(photo())
        job = await client.jobs.create(uploaded, "a scripted look", **SMALL)
        result = await client.jobs.watch(job.name).result()
        assert (await client.jobs.download(result.stylization)).data == result.image
        assert (await anext(client.jobs.list("succeeded"))).name == result.stylization
        with pytest.raises(StylizeError):
            await client.jobs.download(str(uuid.uuid4()))


def test_a_watch_resumes_after_a_kill_and_a_restart_of_the_server(server: Server) -> None:
    with Client(server.target) as client:
        # Longer than it takes to notice the new server: the last steps are seen.
        stream = client.jobs.watch(create(client, "step=0.3 slow", SLOW).name)
        steps = [event.step for event in stream if isinstance(event, Progress) and _kill_once(server, event)]
        told = client.jobs.get(next(client.jobs.list()).name)
    assert steps[-1] == 20
    assert (told.state, told.attempts) == ("succeeded", 2)


def _kill_once(server: Server, event: Progress) -> bool:
    if event.step >= 5 and server.process.poll() is None and not getattr(server, "killed", False):
        server.killed = True
        server.end(signal.SIGKILL)
        threading.Thread(target=server.start).start()
    return True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_call_survives_a_restart_of_the_server_too(server: Server, how: signal.Signals) -> None:
    with Client(server.target) as client:
        stream = client.stylize(photo(), "step=0.05 slow", **SLOW)
        while not isinstance(next(stream), Progress):
            pass
        threading.Thread(target=lambda: (server.end(how), server.start())).start()
        assert stream.result().image == client.stylize(photo(), "step=0.05 slow", **SLOW).result().image


def test_a_stream_gives_up_on_a_server_that_was_never_there() -> None:
    with Client("127.0.0.1:1") as client:
        begun = time.monotonic()
        for stream in (client.jobs.watch(str(uuid.uuid4())), client.stylize(photo(), "fire")):
            with pytest.raises(ServerUnavailableError):
                stream.result()
    assert time.monotonic() - begun < 40


def test_a_stream_gives_up_on_a_server_that_does_not_come_back(tmp_path: Path) -> None:
    lost = Server(tmp_path)
    with Client(lost.target) as client:
        job = create(client, "step=0.05 slow", SLOW)
        stream = client.jobs.watch(job.name, resume_timeout_s=0.5)
        next(stream)
        lost.end(signal.SIGKILL)
        with pytest.raises(ServerUnavailableError):
            stream.result()


def test_a_stream_is_begun_five_times_by_the_client_and_never_again_by_grpc() -> None:
    attempts: list[int] = []

    def starting(_request: object, context: grpc.ServicerContext) -> Iterator[Any]:
        attempts.append(1)
        context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        yield from ()

    with serving(starting) as scripted, Client(scripted.target) as client, pytest.raises(ServerUnavailableError):
        client.stylize(photo(), "fire").result()
    assert len(attempts) == 5  # gRPC loses a call if the connection breaks while it waits for the next attempt
    assert "grpc.service_config" not in dict(channel_options("127.0.0.1:1"))


@pytest.mark.parametrize("code", ["INTERNAL", "UNKNOWN"])
def test_only_a_watch_resumes_after_a_proxy_reset_its_stream(code: str) -> None:
    for after_resets, error, resumes in (
        (True, StylizeError(code, "reset by a proxy"), True),
        (True, StylizeError(code, "a failure of the server", "INTERNAL"), False),
        (False, StylizeError(code, "reset by a proxy"), False),
    ):
        begun: list[int] = []
        resume = Resume(begun.append, after_resets=after_resets)
        resume.received(Heartbeat(sequence=3))
        with nullcontext() if resumes else pytest.raises(StylizeError):
            assert 0 < resume.delay_after(error) < 1
        resume.begin()
        assert begun == [3]


def test_silence_is_counted_while_the_reader_waits_and_not_while_it_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lost = [0.0], threading.Event()
    monkeypatch.setattr("clipstyler_client._resume.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "clipstyler_client._sync.connection.time.sleep", lambda delay_s: now.append(now.pop() + delay_s)
    )

    def watch(sequence: int) -> Iterator[Any]:
        if not lost.is_set():
            yield pb.WatchStylizationResponse(event=Event(sequence=sequence + 1, heartbeat=Event.Heartbeat()))
        raise ServerUnavailableError("UNAVAILABLE", "the connection broke")

    stream = StylizationStream(Resume(watch, timeout_s=10), lambda: False)
    for sequence in (1, 2, 3):
        assert next(stream).sequence == sequence
        now[0] += 100
    lost.set()
    with pytest.raises(ServerUnavailableError):
        next(stream)
    assert 310 < now[0] < 320


def test_a_stream_begins_again_no_sooner_than_the_server_recommends_or_not_at_all() -> None:
    unavailable = ServerUnavailableError("UNAVAILABLE", "it restarts", "DRAINING", retry_delay_s=3)
    for timeout_s, resumes in ((None, True), (60, True), (2, False)):
        resume = Resume(lambda _: None, allowance=Allowance(timeout_s))
        resume.received(Heartbeat(sequence=1))
        with nullcontext() if resumes else pytest.raises(ServerUnavailableError, match="it restarts"):
            assert resume.delay_after(unavailable) == 3


@pytest.mark.parametrize("reason", ["WORKER_NOT_READY", "STORAGE_UNAVAILABLE", "DRAINING"])
def test_a_job_that_failed_is_not_watched_again_whatever_its_reason(reason: str) -> None:
    begun: list[int] = []
    resume = Resume(begun.append, after_resets=True)
    resume.received(Heartbeat(sequence=3))
    failure = ServerUnavailableError("UNAVAILABLE", "the job failed", reason)
    with pytest.raises(ServerUnavailableError):
        resume.delay_after(failure)
    one_shot = Resume(begun.append)
    one_shot.received(Heartbeat(sequence=3))
    assert one_shot.delay_after(failure) > 0  # the call begins anew


def test_unknown_choices_are_refused_before_any_call(client: Client) -> None:
    for call in (lambda: client.jobs.page("lost"), lambda: create(client, priority="now")):
        with pytest.raises(OptionError):
            call()
    with pytest.raises(OptionError):
        client.jobs.download("x", "thumbnail")


def test_bad_input_names_its_field(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        create(client, request_id="seven")
    assert caught.value.violations[0].field == "request_id"


def test_a_watched_result_is_not_written_under_the_suffix_of_another_encoding(
    server: Server, client: Client, tmp_path: Path
) -> None:
    outcome = run("jobs", "watch", create(client).name, "-o", tmp_path / "x.jpg", "--server", server.target)
    assert (outcome.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "error: --out: the result of this job is png: name a file that ends in .png" in outcome.stderr


def test_the_commands_list_show_watch_fetch_and_delete(server: Server, client: Client, tmp_path: Path) -> None:
    at = ("--server", server.target)
    name = create(client).name
    watched = run("jobs", "watch", name, "-o", tmp_path / "watched.png", *at)
    fetched = run("jobs", "download", name, "-o", tmp_path / "fetched.png", *at)
    shown = json.loads(run("jobs", "show", name, "--json", *at).stdout)
    listed = json.loads(run("jobs", "list", "--state", "succeeded", "--limit", 1, "--json", *at).stdout)

    assert watched.exit_code == fetched.exit_code == 0, watched.output + fetched.output
    assert (tmp_path / "watched.png").read_bytes() == (tmp_path / "fetched.png").read_bytes()
    assert listed[0] == shown
    assert name.rpartition("/")[2] in run("jobs", "list", *at).stdout
    assert run("jobs", "cancel", name, *at).exit_code == 0
    assert run("jobs", "delete", name, *at).exit_code == 0
    missing = run("jobs", "show", name, *at)
    assert missing.exit_code == 1
    assert "error:" in missing.stderr


def test_a_detached_stylization_is_a_job(server: Server, client: Client, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo())
    words = (
        "stylize",
        tmp_path / "photo.png",
        "a scripted look",
        "-o",
        tmp_path / "out.png",
        "--steps",
        3,
        "--size",
        64,
    )
    outcome = run(*words, "--server", server.target, "--detach", "--json")
    assert outcome.exit_code == 0, outcome.output
    described = json.loads(outcome.stdout)
    assert client.jobs.get(described["stylization"]).spec.options == described["options"]
    refused = run(*words, "--detach")
    assert refused.exit_code == 2
    assert "--detach" in refused.stderr


def test_ctrl_c_leaves_a_detached_job_and_names_it(server: Server, client: Client, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo())
    words = ["stylize", tmp_path / "photo.png", "step=0.1 slow", "-o", tmp_path / "out.png"]
    words += ["--size", 64, "--steps", 20, "--server", server.target, "--detach"]
    command = [sys.executable, "-m", "clipstyler_cli.entry", *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    assert any("step 6/20" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=30)[1]
    (job,) = [job for job in client.jobs.list() if job.spec.style_text == "step=0.1 slow"]
    assert process.returncode == 130
    assert (
        f"the job keeps running: clipstyler jobs watch {job.name.rpartition('/')[2]} --server {server.target}" in told
    )
    assert client.jobs.watch(job.name).result().image


@pytest.mark.parametrize("command", ["list", "show", "watch", "cancel", "download", "delete"])
def test_help_has_examples(command: str) -> None:
    assert f"clipstyler jobs {command}" in run("jobs", command, "--help").stdout
