"""The server before its worker is ready, and its settings."""

from __future__ import annotations

import grpc
import pytest
import pytest_asyncio
from clipstyler_server.api.errors import CODES
from clipstyler_server.app import App
from clipstyler_server.errors import Reason
from clipstyler_server.settings import Settings
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError

from clipstyler.v1 import server_service_pb2
from tests.service import scripted
from tests.service.harness import Harness, details, eventually, reason, request, settings


@pytest_asyncio.fixture(loop_scope="module")
async def starting():
    app = App(settings(start_timeout_s=0.5, restart_delay_s=0.1), scripted.make_never)
    await app.start()
    harness = Harness(app, grpc.aio.insecure_channel(app.grpc_address))
    yield harness
    await harness.stop()


async def test_a_server_that_starts_describes_itself_and_asks_for_patience(starting):
    info = await starting.info()
    refused = await starting.stylize(request())
    health = await health_pb2_grpc.HealthStub(starting.channel).Check(health_pb2.HealthCheckRequest())

    assert info.limits.max_steps == 500
    assert list(info.encoder_sets) == []
    assert info.workers[0].state == server_service_pb2.ServerInfo.Worker.STATE_STARTING
    assert (refused.status.code, reason(refused.status)) == (grpc.StatusCode.UNAVAILABLE.value[0], "WORKER_NOT_READY")
    assert details(refused.status, error_details_pb2.RetryInfo)
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_start_that_takes_too_long_is_tried_again(starting):
    await eventually(lambda: starting.app.optimizers.workers[0].restarts >= 2)


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CLIPSTYLER_ENCODER_SETS", "pocket, vit-b-32")
    monkeypatch.setenv("CLIPSTYLER_MAX_STEPS", "7")
    read = Settings()

    assert (read.encoder_sets, read.max_steps, read.host) == (("pocket", "vit-b-32"), 7, "127.0.0.1")


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", 70_000), ("max_steps", 0), ("device", "tpu"), ("encoder_sets", ""), ("log_level", "loud")],
)
def test_a_setting_out_of_its_bounds_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        Settings(**{field: value})


def test_the_optimizer_uses_every_cpu_by_default(monkeypatch):
    monkeypatch.setattr("clipstyler_server.settings.optimizing._available_cpus", lambda: 6)
    assert (Settings().optimizer_threads, Settings(threads=2).optimizer_threads) == (6, 2)


def test_every_setting_has_a_description():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_reason_has_a_code():
    assert set(CODES) == set(Reason)
