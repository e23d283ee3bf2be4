"""The simulated fleet: known results of queueing theory, nothing lost, the server's own policy, limits found."""

from __future__ import annotations

import heapq
import math
import random
import re
import statistics
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest

from benchmarks.fleet import report
from benchmarks.fleet.cases import Case, classes, run
from benchmarks.fleet.costs import GPU, Assumptions, FrontCosts, Work, read, works
from benchmarks.fleet.demand import DAY_S, Arrival, Demand, JobClass, arrivals
from benchmarks.fleet.resources import peak_load, usage
from benchmarks.fleet.simulation import Fleet, Outcome, simulate
from clipstyler.config import PRESETS, Preset

HOUR_S = 3600.0
COSTS = FrontCosts(
    job_cpu_s=0.01,
    step_cpu_s=0.0005,
    event_cpu_s=0.0001,
    writes_per_job=3,
    write_s=0.001,
    database_writes_per_s=2000,
    preview_bytes=5000,
    progress_bytes=100,
    result_bytes=50_000,
    previews_per_step=0.1,
)
ENDLESS = {"capacity": 1_000_000, "deadline_s": math.inf}


def poisson(jobs: int, rate: float, service_s: float | None, seed: int = 1) -> list[Arrival]:
    """Jobs of one account at random moments, of a fixed length, or of random ones with the mean 1."""
    rng = random.Random(seed)
    moments = accumulate(rng.expovariate(rate) for _ in range(jobs))
    return [Arrival(at_s, "normal", 2, "a", service_s or rng.expovariate(1.0)) for at_s in moments]


def mean_wait(outcome: Outcome) -> float:
    return statistics.fmean(wait for waits in outcome.waits.values() for _, wait in waits)


def erlang_c(servers: int, load: float) -> float:
    """The probability to wait in M/M/c, with the load in servers."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**n / math.factorial(n) for n in range(servers)) + last)


def test_one_device_and_random_lengths_wait_as_theory_says():
    outcome = simulate(Fleet(devices=1, **ENDLESS), poisson(60_000, 0.7, None))
    assert mean_wait(outcome) == pytest.approx(0.7 / (1 - 0.7), rel=0.07)


def test_one_device_and_a_fixed_length_wait_half_as_long():
    outcome = simulate(Fleet(devices=1, **ENDLESS), poisson(60_000, 0.7, 1.0))
    assert mean_wait(outcome) == pytest.approx(0.7 / (2 * (1 - 0.7)), rel=0.05)


def test_several_devices_wait_as_erlang_says():
    outcome = simulate(Fleet(devices=5, **ENDLESS), poisson(60_000, 3.0, None))
    assert mean_wait(outcome) == pytest.approx(erlang_c(5, 3.0) / (5 - 3.0), rel=0.07)
    assert outcome.busy_s / outcome.seconds / 5 == pytest.approx(0.6, rel=0.02)


def test_every_single_wait_is_that_of_the_first_device_that_becomes_free():
    jobs, free_at, expected = poisson(5000, 4.0, None), [0.0] * 5, []
    for job in jobs:
        begun_s = max(heapq.heappop(free_at), job.at_s)
        heapq.heappush(free_at, begun_s + job.service_s)
        expected.append(begun_s - job.at_s)
    waits = dict(simulate(Fleet(devices=5, **ENDLESS), jobs).waits["normal"])
    assert [waits[job.at_s] for job in jobs] == pytest.approx(expected)


def small_demand(jobs_per_day: float = 50_000, **changes: object) -> Demand:
    kinds = (JobClass("high", 3, 0.4, 5.0, 10, 100), JobClass("low", 1, 0.6, 20.0, 40, 10))
    return replace(Demand(jobs_per_day, kinds, burst_jobs=50), **changes)


def test_arrivals_follow_the_day_and_are_in_order():
    demand = small_demand()
    drawn = list(arrivals(demand, 0, DAY_S, seed=3))
    assert len(drawn) == pytest.approx(50_000, rel=0.03)
    assert all(before.at_s <= after.at_s for before, after in pairwise(drawn))
    steady = [arrival for arrival in drawn if not arrival.account.startswith("burst")]
    night = sum(arrival.at_s < HOUR_S for arrival in steady)
    noon = sum(abs(arrival.at_s - DAY_S / 2) < HOUR_S / 2 for arrival in steady)
    assert noon / night == pytest.approx((1 + demand.swing) / (1 - demand.swing), rel=0.15)
    low = sum(arrival.kind == "low" for arrival in drawn) / len(drawn)
    assert low == pytest.approx(0.6, abs=0.03)
    assert len(drawn) - len(steady) == pytest.approx(0.6 * 0.3 * len(drawn), rel=0.15)


def test_the_same_seed_gives_the_same_outcome_and_another_one_another():
    fleet = Fleet(devices=12, fronts=3, device_mtbf_s=2 * HOUR_S, front_mtbf_s=HOUR_S, capacity=100)
    first, again, other = (simulate(fleet, arrivals(small_demand(), 0, HOUR_S, seed), seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("one_queue", [False, True])
def test_no_job_is_lost_whatever_fails(one_queue):
    fleet = Fleet(
        devices=12,
        fronts=3,
        one_queue=one_queue,
        capacity=60,
        device_mtbf_s=HOUR_S,
        device_repair_s=120,
        front_mtbf_s=HOUR_S / 2,
        front_repair_s=20,
        deadline_s=300,
    )
    outcome = simulate(fleet, arrivals(small_demand(), 10 * HOUR_S, 14 * HOUR_S, 0), 0, 10 * HOUR_S)
    ends = outcome.succeeded + outcome.rejected + outcome.failed + outcome.expired
    assert outcome.arrived == ends > 5000
    assert min(outcome.failed, outcome.expired, outcome.resumed, outcome.rejected) > 0
    assert sum(map(len, outcome.waits.values())) == outcome.succeeded


def test_a_lost_front_delays_its_jobs_by_the_lease_and_loses_none():
    job = Arrival(0.0, "normal", 2, "a", 10.0)
    fleet = Fleet(devices=2, fronts=2, front_mtbf_s=25.0, front_repair_s=1.0, lease_s=40.0)
    outcomes = [simulate(fleet, [job], seed) for seed in range(30)]
    (resumed, *_) = [outcome for outcome in outcomes if outcome.resumed and outcome.succeeded]
    ((_, wait_s),) = resumed.waits["normal"]
    assert 40.0 <= wait_s < 51.0
    assert all(outcome.succeeded + outcome.failed == 1 for outcome in outcomes)


def test_jobs_that_waited_too_long_fail_without_being_run():
    burst = [Arrival(0.0, "normal", 2, "a", 10.0)] * 5
    outcome = simulate(Fleet(devices=1, deadline_s=25.0), burst)
    assert (outcome.succeeded, outcome.expired, outcome.busy_s) == (3, 2, 30.0)


def test_a_full_queue_rejects():
    """Two wait besides the running one."""
    burst = [Arrival(0.0, "normal", 2, "a", 10.0)] * 5
    outcome = simulate(Fleet(devices=1, capacity=2), burst)
    assert (outcome.succeeded, outcome.rejected) == (3, 2)


def test_the_turns_are_those_of_the_server():
    backlog = [Arrival(0.0, "low", 1, "busy", 10.0)] * 20
    single = Arrival(1.0, "single", 1, "other", 10.0)
    urgent = Arrival(2.0, "urgent", 3, "third", 10.0)
    waits = simulate(Fleet(devices=1), [*backlog, single, urgent]).waits
    assert waits["urgent"] == [(2.0, 8.0)]
    assert waits["single"] == [(1.0, 19.0)]


def test_one_queue_waits_less_than_one_per_front():
    demand = small_demand(jobs_per_day=60_000, swing=0.0)
    apart = simulate(Fleet(devices=12, fronts=6, **ENDLESS), arrivals(demand, 0, 4 * HOUR_S, 0))
    together = simulate(Fleet(devices=12, fronts=6, one_queue=True, **ENDLESS), arrivals(demand, 0, 4 * HOUR_S, 0))
    assert mean_wait(together) < 0.7 * mean_wait(apart)


def test_the_limit_that_is_computed_is_where_waits_explode():
    demand = small_demand(swing=0.0, burst_share=0.0)
    fleet = Fleet(devices=10, **ENDLESS)
    limit = next(
        row.jobs_per_day
        for row in usage(peak_load(demand), fleet, COSTS, Assumptions(), demand.jobs_per_day)
        if row.resource == "devices"
    )
    below, above = (
        simulate(fleet, arrivals(replace(demand, jobs_per_day=share * limit), 0, 12 * HOUR_S, 0))
        for share in (0.85, 1.15)
    )
    assert mean_wait(below) < 10
    assert mean_wait(above) > 500
    assert statistics.fmean(sample.running for sample in above.samples[10:]) > 9.9


def test_the_scarcest_resource_comes_first():
    demand, fleet = small_demand(), Fleet(devices=10_000, fronts=10)
    slow = replace(COSTS, database_writes_per_s=1.0)
    rows = usage(peak_load(demand), fleet, slow, Assumptions(), demand.jobs_per_day)
    assert rows[0].resource == "database writes"
    assert rows[0].used == pytest.approx(demand.rate(DAY_S / 2) * 3 / 1.0)
    assert rows[0].jobs_per_day == pytest.approx(demand.jobs_per_day / rows[0].used)
    watched = Assumptions(watchers_per_job=100.0, link_bytes_per_s=1e5)
    rows = usage(peak_load(demand), fleet, COSTS, watched, demand.jobs_per_day)
    load = peak_load(demand)
    sent = 100 * (load.steps_per_s * (100 + 0.1 * 5000) + load.jobs_per_s * 50_000)
    assert rows[0].resource == "front network"
    assert rows[0].used == pytest.approx(sent / 10 / 1e5)


def test_the_figures_of_a_case_are_those_of_its_outcome():
    work = Work("a", "a device", 60, 0.1, 1.0)
    demand = Demand(20_000, classes(work, work, work), burst_jobs=20)
    case = Case("small", Fleet(devices=6, fronts=2), demand, device_price=2.0, begin_s=0.0, end_s=6 * HOUR_S)
    figures = run(case, COSTS, Assumptions(front_price=1.0), seed=0)
    assert figures.arrived == figures.succeeded == sum(row.jobs for row in figures.waits)
    assert figures.cost_per_image == pytest.approx(24 * (6 * 2.0 + 2 * 1.0) / 20_000)
    assert all(row.p50_s <= row.p95_s <= row.p99_s for row in figures.waits)
    assert {row.hour for row in figures.hours} == set(range(6))
    assert 0 < figures.mean_used < figures.peak_used <= 1


def test_a_device_does_what_was_measured():
    found = {(work.name, work.device): work for work in works()}
    draft, gpu = found["pocket, draft", "2 CPU cores"], found["vit-b-32, paper", GPU]
    assert draft.seconds == pytest.approx(PRESETS[Preset.DRAFT].steps * draft.step_s + draft.overhead_s)
    (measured,) = (row for row in read("gpu-h200")["runs"] if row["setting"] == gpu.name)
    assert gpu.jobs_per_hour == pytest.approx(3600 / measured["whole_s"])


def test_the_page_shows_the_committed_figures():
    text = report.PAGE.read_text()
    assert report.page(text) == text
    assert "| --- |" in report.page(re.sub(r"\|.*\n", "", text))


def test_a_table_without_a_place_is_an_error():
    with pytest.raises(ValueError, match="waits"):
        report.page(report.PAGE.read_text().replace("figures: waits", "figures: costs"))
