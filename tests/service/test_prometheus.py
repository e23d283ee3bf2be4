"""A real Prometheus scrapes a real server: every query of the dashboard and of the alert rules returns data."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from clipstyler_server.workers.supervisor import WorkerState
from prometheus_client.parser import text_string_to_metric_families

from clipstyler.v1 import style_service_pb2 as styles
from clipstyler.v1.encoder_service_pb2 import GetTextDirectionRequest
from clipstyler.v1.encoder_service_pb2_grpc import EncoderServiceStub
from clipstyler.v1.options_pb2 import StylizationOptions
from clipstyler.v1.style_service_pb2_grpc import StyleServiceStub
from scripts.generate_monitoring import FILES, alert_queries, panel_queries, read_table
from tests.service import scripted
from tests.service.conftest import start
from tests.service.harness import Harness, eventually, order, photo, request
from tests.service.prometheus import Prometheus, program, scraping
from tests.service.styles import style_file

TABLE = read_table()
SHOWN = [panel for panel in TABLE if "needs" not in panel]
NAME = re.compile(r"\b((?:clipstyler|grpc_server)_\w+)")

pytestmark = pytest.mark.timeout(300)  # the evaluator exports its encoders


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def busy_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    program("prometheus")  # skips first
    cache = str(tmp_path_factory.mktemp("cache"))
    harness = await start(scripted.make, encoder_sets="pocket", evaluator=True, cache_dir=cache, metrics_tenants=True)
    await eventually(lambda: harness.app.evaluator.state is WorkerState.READY, 120)
    yield harness
    await harness.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def prometheus(busy_server: Harness, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """Prometheus after two rounds of all kinds of calls: a rate needs a series that grew."""
    folder = tmp_path_factory.mktemp("prometheus")
    async with scraping(busy_server.app.http_address, FILES / "alerts.yaml", folder) as running:
        for _ in range(2):
            await use(busy_server)
            await running.wait_for_scrapes(2)
        yield running


async def use(server: Harness) -> None:
    """Jobs that succeed, fail and are cancelled, a call that is wrong, a style, and a text direction."""
    await server.stylize(request())
    await server.stylize(request("fail=1"))
    await server.stylize(request(image=b"none"))
    job = await server.create(order("step=0.05", options=StylizationOptions(steps=100)))
    _, events, watching = server.begin_watch(job.name)
    await eventually(lambda: any(event.HasField("progress") for event in events))
    await server.cancel(job.name)
    await watching
    await apply_a_style(server)
    await EncoderServiceStub(server.channel).GetTextDirection(GetTextDirectionRequest(style_text="fire"))


async def apply_a_style(server: Harness) -> None:
    stub = StyleServiceStub(server.channel)
    style = (await stub.UploadStyle(styles.UploadStyleRequest(data=style_file("a look", 1)))).style.name
    application = styles.ApplyStyleRequest(application=styles.StyleApplication(style=style))
    asked = [application, styles.ApplyStyleRequest(photo=styles.StylePhoto(image=photo()))]
    assert [part async for part in stub.ApplyStyle(asked)]


async def test_the_server_is_scraped(prometheus: Prometheus) -> None:
    (target,) = (await prometheus.get("targets"))["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


@pytest.mark.parametrize("query", panel_queries(SHOWN, "1m"))
async def test_every_query_of_the_dashboard_returns_data(query: str, prometheus: Prometheus) -> None:
    assert await prometheus.values(query)


@pytest.mark.parametrize("query", alert_queries(SHOWN).values(), ids=alert_queries(SHOWN))
async def test_what_an_alert_compares_has_data(query: str, prometheus: Prometheus) -> None:
    assert await prometheus.values(query)


async def test_every_rule_is_evaluated_and_the_failed_jobs_are_noticed(prometheus: Prometheus) -> None:
    (group,) = (await prometheus.get("rules"))["groups"]
    rules = {rule["name"]: rule for rule in group["rules"]}
    assert set(rules) == set(alert_queries(TABLE))
    assert {name: rule["health"] for name, rule in rules.items()} == dict.fromkeys(rules, "ok")
    active = {name for name, rule in rules.items() if rule["state"] != "inactive"}
    of_this_machine = {"ClipstylerFrontMemory", "ClipstylerEventLoopBusy"}  # the front is the process of all tests
    assert active - of_this_machine == {"ClipstylerJobsFail", "ClipstylerCallsFail"}  # their calls ended with INTERNAL


async def test_the_table_names_every_metric_of_a_running_server_and_no_other(
    busy_server: Harness, prometheus: Prometheus
) -> None:
    exposed = text_string_to_metric_families(busy_server.app.metrics.exposition()[0].decode())
    families = [family for family in exposed if not family.name.endswith("_created")]  # times, not counts
    samples = {family.name: family.name for family in families if family.type == "gauge"}
    samples |= {sample.name: family.name for family in families for sample in family.samples}
    queries = [*panel_queries(TABLE, "1m"), *alert_queries(TABLE).values()]
    named = {name for query in queries for name in NAME.findall(query)}
    assert named - set(samples) == set()
    assert {family.name for family in families} - {samples[name] for name in named} == set()
