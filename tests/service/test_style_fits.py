"""CreateStyle fits a style as a job: in the queue like any other, with photos of its own, and a style at its end."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from clipstyler.v1 import style_service_pb2 as pb
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.style_service_pb2_grpc import StyleServiceStub
from clipstyler.v1.stylization_pb2 import Stylization, StylizationSpec
from tests.service.harness import Harness, eventually, fields, huge_header, order, photo, reason, refusal
from tests.service.styles import style_file
from tests.service.test_styles import applied, asked, names, negative, pixels


def stub(server: Harness) -> StyleServiceStub:
    return StyleServiceStub(server.channel)


PHOTOS = (photo(), photo(80, 80))


def fit(text: str = "a fitted look", photos=PHOTOS, **own: object) -> pb.CreateStyleRequest:
    options = StylizationOptions(size=64, steps=3, patches=2, seed=1)
    options.MergeFrom(own.pop("options", StylizationOptions()))
    spec = StylizationSpec(style_text=text, options=options)
    found = [pb.StylePhoto(image=data) if isinstance(data, bytes) else data for data in photos]
    own.setdefault("request_id", str(uuid.uuid4()))
    return pb.CreateStyleRequest(fit=pb.StyleFit(spec=spec, photos=found), **own)


async def create(server: Harness, request: pb.CreateStyleRequest) -> Stylization:
    return (await stub(server).CreateStyle(request)).stylization


async def get(server: Harness, name: str):
    return (await stub(server).GetStyle(pb.GetStyleRequest(name=name))).style


async def test_a_style_is_fitted_to_photos_that_are_bytes_or_uploads(server, tmp_path):
    trace, upload = tmp_path / "trace", await server.upload(photo(100, 50))
    text = f"trace={trace} fitted"
    job = await create(server, fit(text, [photo(), pb.StylePhoto(upload=upload), photo(90, 90)]))
    assert (job.fitted_photo_count, job.spec.options.keep_style) == (3, True)
    outcome = await server.watch(job.name)
    result = outcome.result.result
    assert result.style == f"styles/{hashlib.sha256(style_file(text, 1, photos=3)).hexdigest()}"
    assert trace.read_text().splitlines()[:3] == ["other 64 x 32", "other 64 x 64", "step 1"]
    style = await get(server, result.style)
    assert (style.style_text, style.photo_count, style.step_count) == (text, 3, 3)
    assert (await server.get(job.name)).result.style == result.style
    results = await applied(server, iter(asked(style.name, photo(70, 70))))
    assert (pixels(results[0]) == negative(photo(70, 70))).all()
    await server.delete(job.name)  # the style stays, the photos go
    assert style.name in await names(server)
    assert server.app.storage.blobs.find(hashlib.sha256(photo(90, 90)).hexdigest()) is None
    assert not [path for path in server.app.settings.spool_path.iterdir() if path.suffix == ".photo"]


async def test_a_text_alone_is_fitted_to_photos_of_the_server(server):
    job = await create(server, fit("a text alone", []))
    assert job.fitted_photo_count == 3
    style = await get(server, (await server.watch(job.name)).result.result.style)
    assert style.photo_count == 3


async def test_the_longest_text_that_a_server_accepts_makes_a_style(serve):
    server = await serve(max_text_characters=10_000)
    text = "\u00e9" * 10_000
    job = await create(server, fit(text, [photo()]))
    assert (await get(server, (await server.watch(job.name)).result.result.style)).style_text == text


async def test_one_photo_is_enough(server):
    job = await create(server, fit("one photo", [photo()]))
    assert (await get(server, (await server.watch(job.name)).result.result.style)).photo_count == 1


async def test_a_fit_is_created_once(server):
    request = fit("once")
    job = await create(server, request)
    assert (await create(server, request)).name == job.name
    other = fit("once", [photo(), photo(81, 80)], request_id=request.request_id)
    assert reason(await refusal(create(server, other))) == "REQUEST_ID_REUSED"
    plain = order("once", request_id=request.request_id)
    assert reason(await refusal(server.create(plain))) == "REQUEST_ID_REUSED"
    await server.watch(job.name)


async def test_a_plain_stylization_makes_no_style_by_itself(server):
    created = await server.create(order(options=StylizationOptions(keep_style=True)))
    before = await names(server)
    assert (created.fitted_photo_count, (await server.watch(created.name)).result.result.style) == (0, "")
    assert await names(server) == before


async def test_a_fit_waits_in_the_queue_and_is_cancelled_there(server, gate):
    await server.create(order(f"hold={gate} at=1 x"))
    await eventually(lambda: server.app.scheduler.running)
    before = await names(server)
    job = await create(server, fit())
    assert job.queue_position == 1
    assert (await server.cancel(job.name)).state == Stylization.STATE_CANCELLED
    gate.touch()
    assert await names(server) == before


async def test_a_running_fit_is_cancelled_within_a_step(server):
    job = await create(server, fit("busy=1 at=2 x"))
    _, events, watching = server.begin_watch(job.name)
    await eventually(lambda: any(event.WhichOneof("event") == "progress" for event in events))
    await server.cancel(job.name)
    assert (await watching).kinds()[-1] == "cancelled"


async def test_a_fit_that_takes_too_long_fails(server):
    request = fit("busy=1 x")
    request.timeout.FromMilliseconds(700)
    job = await create(server, request)
    assert (await server.watch(job.name)).only("failed")[0].error.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text": ""}, ["fit.spec.style_text"]),
        ({"photos": [photo(60 + number, 60) for number in range(17)]}, ["fit.photos"]),
        ({"photos": [photo(), b"no image", photo(), huge_header()]}, ["fit.photos[1]", "fit.photos[3]"]),
        ({"photos": [b"no image"], "text": ""}, ["fit.photos[0].image", "fit.spec.style_text"]),
        ({"photos": [photo(), pb.StylePhoto()]}, ["fit.photos[1]"]),
        ({"photos": [photo(), pb.StylePhoto(upload="x")]}, ["fit.photos[1].upload"]),
        ({"photos": [photo(), pb.StylePhoto(upload=f"uploads/{'0' * 64}")]}, ["fit.photos[1].upload"]),
        ({"photos": [pb.StylePhoto(upload=f"uploads/{'0' * 64}")]}, ["fit.photos[0].upload"]),
        ({"options": StylizationOptions(steps=-1, crop_size=60)}, ["fit.spec.options.steps"]),
        (
            {"photos": [b"no image", photo(), b"no image", pb.StylePhoto(upload=f"uploads/{'0' * 64}")]},
            ["fit.photos[0].image", "fit.photos[2]", "fit.photos[3].upload"],
        ),
        (
            {"photos": [pb.StylePhoto(upload=f"uploads/{digit * 64}") for digit in "01"] + [b"no image"]},
            ["fit.photos[0].upload", "fit.photos[1].upload", "fit.photos[2]"],
        ),
        (
            {"photos": [pb.StylePhoto(), b"no image", pb.StylePhoto(upload="x")], "text": ""},
            ["fit.photos[0]", "fit.photos[1]", "fit.photos[2].upload", "fit.spec.style_text"],
        ),
        ({"photos": [photo(64, 64), photo(200, 40)], "options": StylizationOptions(crop_size=60)}, ["fit.photos[1]"]),
        ({"request_id": "x", "stylization": "y"}, ["request_id", "stylization"]),
        ({"priority": 9}, ["priority"]),
    ],
)
async def test_every_bad_field_is_named_before_any_work(server, changes, expected):
    status = await refusal(create(server, fit(**changes)))
    assert (reason(status), sorted(fields(status))) == ("INVALID_FIELD", sorted(expected))


async def test_a_photo_beside_the_photos_and_a_region_are_refused(server):
    request = fit()
    request.fit.spec.image = photo()
    request.fit.spec.region.text = "gold"
    named = fields(await refusal(create(server, request)))
    assert {"fit.spec.photo", "fit.spec.region"} <= set(named)


async def test_a_fit_is_resumed_by_the_next_server(serve, gate, monkeypatch):
    monkeypatch.setattr("clipstyler_server.jobs.scheduler._STOP_WAIT_S", 0.3)
    server = await serve()
    await server.create(order(f"hold={gate} at=1 x"))
    await eventually(lambda: server.app.scheduler.running)
    job = await create(server, fit("resumed", [photo(), photo(100, 50)]))
    await server.stop(keep=True)
    gate.touch()
    again = await serve(data_dir=server.app.settings.data_dir)
    outcome = await again.watch(job.name)
    assert outcome.result.result.style == f"styles/{hashlib.sha256(style_file('resumed', 1, photos=2)).hexdigest()}"
    assert outcome.result.result.style in await names(again)


async def test_a_photo_that_is_lost_meanwhile_fails_the_fit_alone(serve, gate):
    server = await serve()
    await server.create(order(f"hold={gate} at=1 x"))
    await eventually(lambda: server.app.scheduler.running)
    lost = photo(123, 45)
    job = await create(server, fit("lost", [photo(), lost]))
    path, _ = server.app.storage.blobs.find(hashlib.sha256(lost).hexdigest())
    path.unlink()
    gate.touch()
    assert (await server.watch(job.name)).kinds()[-1] == "failed"
    assert (await server.watch((await server.create(order())).name)).kinds()[-1] == "result"


async def test_retention_keeps_the_photos_of_a_fit_and_lets_them_go_with_it(serve, gate):
    server = await serve()
    await server.create(order(f"hold={gate} at=1 x"))
    await eventually(lambda: server.app.scheduler.running)
    job = await create(server, fit("kept", [photo(), photo(77, 70)]))
    digest = hashlib.sha256(photo(77, 70)).hexdigest()
    assert server.app.storage.database.is_used(digest)
    record = server.app.storage.database.get(job.name.rpartition("/")[2])
    assert record.stored_bytes == len(photo()) + len(photo(77, 70))
    gate.touch()
    await server.watch(job.name)
    await server.delete(job.name)
    assert not server.app.storage.database.is_used(digest)
