"""Jobs from the caller's view: created once, described, listed, watched, cancelled and deleted."""

from __future__ import annotations

import asyncio
import hashlib
import string
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from clipstyler_server.jobs.job_storing import JobStoring

from clipstyler.v1 import stylization_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service.harness import eventually, fields, order, photo, reason, refusal, request

NOBODY = "stylizations/00000000-0000-4000-8000-000000000000"


async def test_a_job_outlives_the_call_that_created_it(server):
    asked = order("step=0.1 a look")
    created = await server.create(asked)
    assert created.name.startswith("stylizations/")
    assert created.state in {Stylization.STATE_QUEUED, Stylization.STATE_RUNNING, Stylization.STATE_SUCCEEDED}
    outcome = await server.watch(created.name)
    job = await server.get(created.name)

    assert outcome.status is None
    assert outcome.kinds()[0] == "queued"
    assert outcome.kinds()[-1] == "result"
    assert job.state == Stylization.STATE_SUCCEEDED
    assert (job.spec.style_text, job.spec.options.seed) == (asked.spec.style_text, 1)
    assert (job.step, job.spec.options.steps, job.attempt_count) == (3, 3, 1)
    assert job.priority == Stylization.PRIORITY_NORMAL
    data = outcome.result.image_data
    assert (job.spec, job.result) == (outcome.result.spec, outcome.result.result)
    times = [job.create_time, job.start_time, job.end_time]
    assert times == sorted(times, key=lambda time: time.ToNanoseconds())
    image, received = await server.image(created.name)
    assert received == data
    assert (image.size_bytes, image.sha256) == (len(data), hashlib.sha256(data).digest())


async def test_a_job_gives_the_bytes_of_a_one_shot_call(server):
    created = await server.create(order("the same"))
    alone = await server.stylize(request("the same"))
    assert (await server.watch(created.name)).result.image_data == alone.result.image_data


async def test_the_same_request_gives_the_same_job_also_after_it_finished(server):
    asked = order()
    first = await server.create(asked)
    assert (await server.create(asked)).name == first.name
    await server.watch(first.name)
    again = await server.create(asked)

    assert again.name == first.name
    assert again.state == Stylization.STATE_SUCCEEDED
    assert server.metric("stylization_duration_seconds_count", outcome="succeeded") == 1


async def test_a_request_id_with_another_payload_is_refused_and_the_job_is_named(server):
    asked = order("one thing")
    first = await server.create(asked)
    asked.spec.style_text = "another thing"
    status = await refusal(server.create(asked))

    assert status.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    assert reason(status) == "REQUEST_ID_REUSED"
    assert asked.request_id in status.message
    assert first.name in str(status.details[0])
    await server.watch(first.name)


@pytest.mark.parametrize("request_id", ["one", str(uuid.uuid1())])
async def test_a_request_id_must_be_a_uuid4(server, request_id):
    status = await refusal(server.create(order(request_id=request_id)))
    assert fields(status) == ["request_id"]


async def test_a_request_id_is_the_same_in_upper_case(server):
    asked = order()
    first = await server.create(asked)
    asked.request_id = asked.request_id.upper()
    assert (await server.create(asked)).name == first.name
    await server.watch(first.name)


async def test_without_a_request_id_every_call_creates_a_job(server):
    first, second = await server.create(order(request_id="")), await server.create(order(request_id=""))
    assert first.name != second.name
    for job in (first, second):
        assert (await server.watch(job.name)).kinds()[-1] == "result"


async def test_a_job_that_fails_keeps_its_error(server):
    created = await server.create(order("fail=1 x"))
    outcome = await server.watch(created.name)
    job = await server.get(created.name)

    assert outcome.status is None  # the watch went well; it is the job that failed
    assert outcome.kinds()[-1] == "failed"
    assert job.state == Stylization.STATE_FAILED
    assert job.error == outcome.only("failed")[0].error
    assert job.error.reason == "INTERNAL"


async def test_a_running_job_is_cancelled_within_one_step(server, tmp_path):
    trace = tmp_path / "trace"
    created = await server.create(order(f"step=0.02 trace={trace}", options=StylizationOptions(steps=400)))
    await eventually(lambda: trace.exists() and trace.read_text().count("step") >= 3)
    await server.cancel(created.name)
    outcome = await server.watch(created.name)
    job = await server.get(created.name)

    assert outcome.kinds()[-1] == "cancelled"
    assert outcome.only("cancelled")[0].reason == Stylization.CANCEL_REASON_REQUESTED
    assert server.metric("steps_after_cancel_sum") <= server.metric("steps_after_cancel_count") == 1
    assert (job.state, job.cancel_reason) == (Stylization.STATE_CANCELLED, Stylization.CANCEL_REASON_REQUESTED)
    await eventually(lambda: "closed" in trace.read_text())


async def test_cancelling_may_be_repeated_and_changes_no_end(server, gate):
    running = await server.create(order(f"hold={gate} x"))
    waiting = await server.create(order())
    assert (await server.cancel(waiting.name)).state == Stylization.STATE_CANCELLED
    assert (await server.cancel(waiting.name)).state == Stylization.STATE_CANCELLED
    gate.touch()
    await server.watch(running.name)
    assert (await server.cancel(running.name)).state == Stylization.STATE_SUCCEEDED


async def test_cancelling_a_queued_job_changes_no_byte_of_the_running_one(server, gate, tmp_path):
    trace = tmp_path / "trace"
    running = await server.create(order(f"hold={gate} x"))
    waiting = await server.create(order(f"trace={trace}"))
    assert (await server.get(waiting.name)).queue_position == 1
    await server.cancel(waiting.name)
    gate.touch()
    undisturbed = (await server.watch(running.name)).result
    alone = (await server.stylize(request(f"hold={gate} x"))).result

    assert undisturbed.image_data == alone.image_data
    assert not trace.exists()
    assert (await server.watch(waiting.name)).kinds()[-1] == "cancelled"


async def test_deleting_takes_a_job_and_its_images_away(server):
    created = await server.create(order("to be deleted", image=photo(40, 40)))
    await server.watch(created.name)
    images = server.app.settings.data_path / "images"
    before = {path.name for path in images.rglob("*") if path.is_file()}
    await server.delete(created.name)
    after = {path.name for path in images.rglob("*") if path.is_file()}

    assert len(before - after) == 2
    for gone in (server.get(created.name), server.delete(created.name), server.cancel(created.name)):
        assert reason(await refusal(gone)) == "STYLIZATION_NOT_FOUND"
    assert reason((await server.watch(created.name)).status) == "STYLIZATION_NOT_FOUND"


async def test_deleting_spares_an_image_that_another_job_has(server):
    first, second = await server.create(order("one")), await server.create(order("two"))
    await server.watch(first.name)
    await server.watch(second.name)
    await server.delete(first.name)
    assert (await server.image(second.name, Stylization.IMAGE_KIND_CONTENT))[1] == photo()


async def test_a_job_that_is_not_finished_cannot_be_deleted(server, gate):
    created = await server.create(order(f"hold={gate} x"))
    status = await refusal(server.delete(created.name))
    assert (status.code, reason(status)) == (grpc.StatusCode.FAILED_PRECONDITION.value[0], "STYLIZATION_NOT_FINISHED")
    gate.touch()
    await server.watch(created.name)


async def test_content_preview_and_result_can_be_fetched(server, gate):
    asked = order(f"hold={gate} at=3 x", previews={"every_steps": 1})
    created = await server.create(asked)
    job_id = created.name.split("/")[1]
    assert reason(await refusal(server.image(created.name))) == "IMAGE_NOT_FOUND"
    await eventually(lambda: server.app.scheduler.jobs[job_id].preview)
    preview, data = await server.image(created.name, Stylization.IMAGE_KIND_PREVIEW)
    assert preview.sha256 == hashlib.sha256(data).digest()
    gate.touch()
    await server.watch(created.name)

    content, data = await server.image(created.name, Stylization.IMAGE_KIND_CONTENT)
    assert data == asked.spec.image
    assert (content.width_px, content.height_px, content.size_bytes) == (96, 64, len(data))
    assert reason(await refusal(server.image(created.name, Stylization.IMAGE_KIND_PREVIEW))) == "IMAGE_NOT_FOUND"


async def test_a_large_result_comes_in_pieces(server):
    created = await server.create(order("side=1400 x"))
    watched = await server.watch(created.name)
    image, data = await server.image(created.name)
    assert len(data) > 4 * 2**20
    assert image.sha256 == hashlib.sha256(data).digest()
    assert b"".join(chunk.data for chunk in watched.only("chunk")) == data
    late = await server.watch(created.name)
    assert b"".join(chunk.data for chunk in late.only("chunk")) == data


async def test_jobs_are_listed_newest_first_page_by_page(serve):
    server = await serve()
    names = [(await server.create(order(f"job {number}"))).name for number in range(7)]
    seen, token = [], ""
    while True:
        page = await server.page(page_size=3, page_token=token)
        seen.append([job.name for job in page.stylizations])
        if not (token := page.next_page_token):
            break
    assert seen == [names[:3:-1], names[3:0:-1], names[:1]]


async def test_a_page_is_not_moved_by_jobs_that_come_meanwhile(serve):
    server = await serve()
    names = [(await server.create(order(f"job {number}"))).name for number in range(4)]
    first = await server.page(page_size=2)
    await server.create(order("late"))
    second = await server.page(page_size=2, page_token=first.next_page_token)
    assert [job.name for job in (*first.stylizations, *second.stylizations)] == names[::-1]


async def test_a_page_that_would_be_too_large_is_cut_short_and_nothing_is_lost(serve, monkeypatch):
    monkeypatch.setattr("clipstyler_server.api.stylization_service.INLINE_BYTES", 3000)
    server = await serve()
    names = [(await server.create(order(f"{number} " + 450 * "x"))).name for number in range(6)]
    seen, token, pages = [], "", 0
    while True:
        page = await server.page(page_token=token)
        assert 1 <= len(page.stylizations) < 6
        seen += [job.name for job in page.stylizations]
        pages += 1
        if not (token := page.next_page_token):
            break
    assert seen == names[::-1]
    assert pages >= 2


async def test_lists_take_turns_part_by_part(server, monkeypatch):
    names = [(await server.create(order(f"{number}"))).name for number in range(5)]
    monkeypatch.setattr("clipstyler_server.jobs.catalog._READ_AT_ONCE", 2)
    database = server.app.storage.database
    newest, reading, most = database.newest, 0, 0

    def counted(*asked: object) -> list:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        time.sleep(0.01)
        found = newest(*asked)
        reading -= 1
        return found

    monkeypatch.setattr(database, "newest", counted)
    pages = await asyncio.gather(*(server.page(page_size=5) for _ in range(6)))
    assert [[job.name for job in page.stylizations] for page in pages] == [names[::-1]] * 6
    assert most == 1


async def test_a_list_can_be_filtered_by_state(server, gate):
    done = await server.create(order("done"))
    await server.watch(done.name)
    running = await server.create(order(f"hold={gate} x"))
    waiting = await server.create(order("waits"))
    by_state = {
        state: [job.name for job in (await server.page(state=state)).stylizations]
        for state in (Stylization.STATE_SUCCEEDED, Stylization.STATE_RUNNING, Stylization.STATE_QUEUED)
    }
    assert done.name in by_state[Stylization.STATE_SUCCEEDED]
    assert by_state[Stylization.STATE_RUNNING] == [running.name]
    assert by_state[Stylization.STATE_QUEUED] == [waiting.name]
    gate.touch()
    await server.watch(waiting.name)


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("page_size", pb.ListStylizationsRequest(page_size=-1)),
        ("page_token", pb.ListStylizationsRequest(page_token="nonsense")),
        ("page_token", pb.ListStylizationsRequest(page_token="bm9uc2Vuc2U=")),
        ("state", pb.ListStylizationsRequest(state=77)),
    ],
)
async def test_a_bad_page_is_refused_with_its_field(server, field, asked):
    assert fields(await refusal(server.stub.ListStylizations(asked))) == [field]


async def test_a_large_page_size_is_treated_as_the_largest(server):
    assert (await server.page(page_size=2**31 - 1)).stylizations is not None


async def test_tokens_are_opaque_and_every_changed_one_is_refused(serve):
    server = await serve()
    for number in range(2):
        await server.watch((await server.create(order(f"job {number}"))).name)
    token = (await server.page(page_size=1)).next_page_token
    assert "stylization" not in token
    everywhere = [(place, letter) for place in range(len(token)) for letter in "AB"]
    at_the_end = [(len(token) - 1, letter) for letter in string.ascii_letters + string.digits + "-_"]
    for place, letter in everywhere + at_the_end:
        if letter == token[place]:
            continue
        changed = token[:place] + letter + token[place + 1 :]
        assert fields(await refusal(server.page(page_token=changed))) == ["page_token"]


async def test_a_finished_job_reports_when_retention_deletes_it(server):
    created = await server.create(order())
    assert not created.HasField("expire_time")
    await server.watch(created.name)
    job = await server.get(created.name)
    kept_s = job.expire_time.ToNanoseconds() / 1e9 - job.end_time.ToNanoseconds() / 1e9
    assert kept_s == pytest.approx(server.app.settings.retention_s, abs=0.01)


async def test_a_job_returns_its_spec_resolved_at_once(server, gate):
    created = await server.create(order(f"hold={gate} x"))
    options = created.spec.options
    assert {field.name for field in options.DESCRIPTOR.fields} == {field.name for field, _ in options.ListFields()}
    assert created.spec.WhichOneof("photo") is None
    assert (created.spec.source_text, created.spec.previews.every_steps) == ("a Photo", 10)
    gate.touch()
    await server.watch(created.name)


async def test_a_token_belongs_to_its_filter(serve):
    server = await serve()
    for number in range(2):
        await server.watch((await server.create(order(f"job {number}"))).name)
    token = (await server.page(page_size=1, state=Stylization.STATE_SUCCEEDED)).next_page_token
    assert fields(await refusal(server.page(page_token=token))) == ["page_token"]


@pytest.mark.parametrize("name", ["", "stylizations/", "stylizations/7", "jobs/" + NOBODY, NOBODY.upper()])
async def test_a_bad_name_is_refused(server, name):
    assert fields(await refusal(server.get(name))) == ["name"]


async def test_an_unknown_name_is_not_found(server):
    for call in (server.get(NOBODY), server.cancel(NOBODY), server.delete(NOBODY), server.image(NOBODY)):
        assert reason(await refusal(call)) == "STYLIZATION_NOT_FOUND"


async def test_a_caller_that_left_while_its_job_was_stored_still_gets_the_warnings(server, gate, monkeypatch):
    write, begun = JobStoring._write, threading.Event()

    def slowly(storing, *arguments):
        begun.set()
        time.sleep(0.3)
        write(storing, *arguments)

    monkeypatch.setattr(JobStoring, "_write", slowly)
    asked = order(f"hold={gate} x", options=StylizationOptions(size=256, steps=3))  # of a photo of 96 px
    asked.request_id = str(uuid.uuid4())
    leaving = server.stub.CreateStylization(asked)
    await asyncio.to_thread(begun.wait)
    leaving.cancel()
    watching = asyncio.create_task(server.watch((await server.create(asked)).name))
    await eventually(lambda: server.running and server.running._subscriptions)
    gate.touch()
    watched = await watching
    assert [warning.code for warning in watched.only("warning")] == ["PHOTO_SMALLER_THAN_SIZE"]


async def test_a_job_that_ended_early_has_the_steps_that_it_took(server):
    created = await server.create(order("enough=2 x", options=StylizationOptions(steps=5)))
    await server.watch(created.name)
    job = await server.get(created.name)
    assert (job.step, job.result.step_count, job.spec.options.steps) == (2, 2, 5)


async def test_a_one_shot_call_leaves_a_job_that_can_be_looked_up(server):
    outcome = await server.stylize(request())
    job = await server.get(outcome.events[0].stylization)
    assert job.state == Stylization.STATE_SUCCEEDED
    assert (await server.image(job.name))[1] == outcome.result.image_data


async def test_a_job_may_have_a_deadline_of_its_own(serve, gate):
    server = await serve()
    asked = order(f"hold={gate} x")
    asked.timeout.FromMilliseconds(600)
    first = await server.create(order(f"hold={gate} y"))
    late = await server.create(asked)
    outcome = await server.watch(late.name)

    assert outcome.only("failed")[0].error.reason == "DEADLINE_EXCEEDED"
    assert late.deadline_time.ToNanoseconds() > late.create_time.ToNanoseconds()
    gate.touch()
    assert (await server.watch(first.name)).kinds()[-1] == "result"


async def test_a_thousand_creates_with_a_hundred_ids_make_a_hundred_jobs(serve, gate):
    server = await serve()
    orders = [order(f"hold={gate} job {number}") for number in range(100)]

    def create(number: int, stub) -> str:
        return stub.CreateStylization(orders[number % 100], timeout=60).stylization.name

    def creates(thread: int) -> list[str]:
        with grpc.insecure_channel(server.app.grpc_address) as channel:
            stub = type(server.stub)(channel)
            return [create(7 * thread + number, stub) for number in range(50)]

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(20) as threads:
        names = await asyncio.gather(*(loop.run_in_executor(threads, creates, thread) for thread in range(20)))

    assert len({name for part in names for name in part}) == 100
    assert len((await server.page(page_size=1000)).stylizations) == 100
    assert len(server.app.queue) == 99


async def test_a_priority_is_shown_and_a_strange_one_refused(server):
    created = await server.create(order(priority=Stylization.PRIORITY_HIGH))
    assert created.priority == Stylization.PRIORITY_HIGH
    await server.watch(created.name)
    assert fields(await refusal(server.create(order(priority=77)))) == ["priority"]
