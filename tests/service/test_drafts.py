"""Drafts: a picture in a style at hand before the first preview, which delays nothing and is taken for nothing else."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from clipstyler.style_library import bundled_styles
from clipstyler.v1 import style_service_pb2 as pb
from clipstyler.v1.image_pb2 import IMAGE_FORMAT_PNG
from clipstyler.v1.options_pb2 import PreviewOptions
from clipstyler.v1.style_service_pb2_grpc import StyleServiceStub
from clipstyler.v1.stylization_pb2 import Stylization
from tests.service.harness import Harness, Outcome, eventually, fields, order, photo, reason, refusal, request
from tests.service.styles import style_file
from tests.service.test_styles import negative, pixels

PNG = {"format": IMAGE_FORMAT_PNG, "every_steps": 1}
FIRE = next(style for style in bundled_styles() if style.name == "fire")


def previews(draft: str = "auto", **fields: object) -> PreviewOptions:
    return PreviewOptions(**(PNG | {"draft": draft} | fields))


async def style(server: Harness, text: str) -> str:
    """Name of an uploaded style, which does what its text says when it is applied."""
    data = style_file(text, seed=len(text))
    return (await StyleServiceStub(server.channel).UploadStyle(pb.UploadStyleRequest(data=data))).style.name


async def waiting(server: Harness, gate, **fields: object) -> Stylization:
    """A job that waits behind one that the gate holds."""
    await server.create(order(f"hold={gate} at=1 x"))
    await eventually(lambda: server.app.scheduler.running)
    return await server.create(order(**fields))


async def drafted(events: list) -> list:
    return await eventually(lambda: [event for event in events if event.WhichOneof("event") == "draft"])


def idle(server: Harness) -> bool:
    return server.app.lane.in_work == 0 and not server.app.optimizers.workers[0]._applying


async def test_a_draft_comes_while_its_job_waits(server, gate):
    job = await waiting(server, gate, style_text=" FIRE", previews=previews(max_size=48))
    _, events, watching = server.begin_watch(job.name)
    (event,) = await drafted(events)
    draft = event.draft
    assert job.name.rpartition("/")[2] not in server.app.scheduler.running
    assert (draft.style, draft.style_text, draft.similarity) == (f"styles/{FIRE.digest}", "fire", 1.0)
    assert (draft.image.width_px, draft.image.height_px) == (48, 32)
    assert draft.image.sha256 == hashlib.sha256(draft.image_data).digest()
    assert np.abs(pixels(draft.image_data) - negative(photo(48, 32))).mean() < 12  # resampled in another way
    gate.touch()
    outcome = await watching
    assert outcome.kinds().count("draft") == 1
    assert outcome.kinds().index("draft") < outcome.kinds().index("started")
    assert [event.sequence for event in outcome.events] == sorted(event.sequence for event in outcome.events)
    assert server.metric("frames_sent_total", kind="draft") == 1
    assert server.metric("sent_image_bytes_total", kind="draft") == len(draft.image_data)


async def test_a_one_shot_call_has_its_draft_too(server, gate):
    name = await style(server, "a look")
    small = photo(64, 43)
    asked = request(f"hold={gate} at=1 x", image=small, previews=previews(name, every_steps=0))
    _, events, reading = server.begin(asked)
    (event,) = await drafted(events)
    assert not event.draft.HasField("similarity")
    assert event.draft.style == name
    assert (pixels(event.draft.image_data) == negative(small)).all()
    gate.touch()
    assert (await reading).kinds()[-1] == "result"


async def test_no_draft_comes_unasked_or_where_no_style_fits(server, gate):
    for asked in (PreviewOptions(), previews()):
        job = await waiting(server, gate, style_text="a look of its own", previews=asked)
        gate.touch()
        assert "draft" not in (await server.watch(job.name)).kinds()
        gate.unlink()
    assert server.metric("style_application_seconds_count", outcome="succeeded") == 0


async def test_nothing_waits_for_a_draft_and_one_that_comes_after_a_preview_is_dropped(server, gate, tmp_path):
    slow = tmp_path / "slow"
    name = await style(server, f"hold={slow} a look")
    job = await server.create(order(f"hold={gate} at=2 x", previews=previews(name)))
    _, events, watching = server.begin_watch(job.name)
    await eventually(lambda: any(event.WhichOneof("event") == "preview" for event in events))
    await eventually(lambda: server.app.lane.in_work == 1)
    slow.touch()
    await eventually(lambda: idle(server))
    gate.touch()
    assert "draft" not in (await watching).kinds()


async def test_a_job_that_ends_takes_its_draft_with_it(server, gate):
    name = await style(server, "busy=1 a look")
    job = await waiting(server, gate, style_text="x", previews=previews(name))
    await eventually(lambda: server.app.lane.in_work == 1 and server.app.optimizers.workers[0]._applying)
    await server.cancel(job.name)
    await eventually(lambda: idle(server))
    assert (await server.watch(job.name)).kinds() == ["gap", "cancelled"]
    assert not [path for path in server.app.settings.spool_path.iterdir() if path.name.startswith("style")]
    gate.touch()


async def test_a_draft_that_fails_costs_nothing_else(server, gate, log):
    name = await style(server, "fail=1 a look")
    job = await waiting(server, gate, style_text="x", previews=previews(name))
    await eventually(lambda: any(line["event"] == "draft_not_drawn" for line in log))
    gate.touch()
    kinds = (await server.watch(job.name)).kinds()
    assert "draft" not in kinds
    assert kinds[-1] == "result"


async def test_a_reader_that_returns_gets_what_it_has_not_had(server, gate):
    job = await waiting(server, gate, style_text="fire", previews=previews())
    call, events, _ = server.begin_watch(job.name)
    (event,) = await drafted(events)
    call.cancel()
    _, again, watching_all = server.begin_watch(job.name)
    _, _, watching_rest = server.begin_watch(job.name, after=event.sequence)
    assert (await drafted(again))[0].draft == event.draft
    gate.touch()
    whole, rest = await watching_all, await watching_rest
    assert whole.kinds().count("draft") == 1
    assert "draft" not in rest.kinds()
    assert "gap" not in _before_the_draft(whole)


def _before_the_draft(outcome: Outcome) -> list[str]:
    return outcome.kinds()[: outcome.kinds().index("draft") + 1]


async def test_a_draft_is_no_preview(server, gate):
    job = await waiting(server, gate, style_text="fire", previews=previews())
    _, events, watching = server.begin_watch(job.name)
    await drafted(events)
    status = await refusal(server.image(job.name, Stylization.IMAGE_KIND_PREVIEW))
    assert reason(status) == "IMAGE_NOT_FOUND"
    gate.touch()
    await watching


async def test_the_result_does_not_depend_on_the_draft(server, gate):
    job = await waiting(server, gate, style_text="fire", previews=previews())
    _, events, watching = server.begin_watch(job.name)
    await drafted(events)
    gate.touch()
    plain = await server.stylize(request("fire"))
    assert (await watching).result.image_data == plain.result.image_data


async def test_the_next_server_draws_the_draft_of_a_waiting_job_again(serve, gate, monkeypatch):
    monkeypatch.setattr("clipstyler_server.jobs.scheduler._STOP_WAIT_S", 0.3)
    server = await serve()
    job = await waiting(server, gate, style_text="fire", previews=previews())
    _, events, _ = server.begin_watch(job.name)
    (before,) = await drafted(events)
    await server.stop(keep=True)
    again = await serve(data_dir=server.app.settings.data_dir)
    _, events, watching = again.begin_watch(job.name, after=before.sequence)
    (after,) = await drafted(events)
    assert after.draft == before.draft
    assert after.sequence > before.sequence
    gate.touch()
    assert (await watching).kinds()[-1] == "result"


@pytest.mark.parametrize("name", ["none", "styles/", "styles/" + "A" * 64, "styles/" + "0" * 64, "x" * 500])
async def test_a_style_that_cannot_be_used_is_named(server, name):
    status = await refusal(server.create(order(previews=previews(name, every_steps=-1))))
    expected = ["spec.previews.every_steps"] + ([] if name == "styles/" + "0" * 64 else ["spec.previews.draft"])
    assert sorted(fields(status)) == sorted(expected)
    status = await refusal(server.create(order(previews=previews(name))))
    assert fields(status) == ["spec.previews.draft"]
    assert len(status.message) < 500
