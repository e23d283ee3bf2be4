"""When waiting jobs start and end, by measured step times, on one device and on several."""

from __future__ import annotations

from types import SimpleNamespace

from clipstyler_server.jobs.estimator import Estimator, Expected

from clipstyler.events import Timings


def job(steps: int, completed: int = 0, texts: tuple[str, ...] = ("fire",)):
    config = SimpleNamespace(size=64, steps=steps, patches=2, output_size=0)
    return SimpleNamespace(spec=SimpleNamespace(encoder_set="pocket", config=config, texts=texts), step=completed)


def estimator(step_s: float) -> Estimator:
    made = Estimator()
    made.add_step(job(1).spec, step_s)
    return made


def test_without_a_measured_step_only_a_free_device_is_known():
    assert Estimator().expect([], [job(5), job(5)], 1) == [Expected(0.0, None), Expected(None, None)]
    assert Estimator().expect([job(5)], [job(5)], 1) == [Expected(None, None)]
    assert Estimator().expect([job(5)], [job(5)], 2) == [Expected(0.0, None)]


def test_on_one_device_each_job_starts_when_the_one_before_it_ends():
    expected = estimator(0.5).expect([job(10, completed=4)], [job(4), job(2), job(6)], 1)
    assert expected == [Expected(3.0, 5.0), Expected(5.0, 6.0), Expected(6.0, 9.0)]


def test_a_region_with_a_text_has_step_times_of_its_own():
    estimates = estimator(0.5)
    estimates.add_step(job(1, texts=("fire", "gold")).spec, 2.0)
    assert estimates.seconds(job(10).spec) == 5.0
    assert estimates.seconds(job(10, texts=("fire", "gold")).spec) == 20.0


def test_on_several_devices_each_job_starts_on_the_one_that_is_free_first():
    running = [job(10, completed=4), job(10, completed=8)]  # 3 s and 1 s to go
    expected = estimator(0.5).expect(running, [job(8), job(2), job(6)], 2)
    assert expected == [Expected(1.0, 5.0), Expected(3.0, 4.0), Expected(4.0, 7.0)]


def test_a_device_that_runs_nothing_takes_the_next_job_at_once():
    expected = estimator(1.0).expect([job(5)], [job(2), job(2), job(2)], 3)
    assert expected == [Expected(0.0, 2.0), Expected(0.0, 2.0), Expected(2.0, 4.0)]


def test_the_wait_is_divided_by_the_devices():
    waiting = [job(10) for _ in range(24)]
    ends_s = [estimator(1.0).expect([], waiting, devices)[-1].end_s for devices in (1, 2, 4, 8)]
    assert ends_s == [240.0, 120.0, 60.0, 30.0]


def test_steps_of_jobs_that_share_a_device_have_times_of_their_own():
    estimates = Estimator()
    estimates.add_step(job(1).spec, 0.5)
    estimates.add_step(job(1).spec, 1.25, together=3)
    assert estimates.seconds(job(10).spec) == 5.0
    assert estimates.seconds(job(10).spec, together=3) == 12.5
    assert estimates.seconds(job(10).spec, completed=4, together=3) == 7.5


def test_a_number_of_jobs_that_was_not_seen_is_estimated_in_proportion_to_the_nearest():
    estimates = Estimator()
    estimates.add_step(job(1).spec, 2.0, together=4)
    assert estimates.seconds(job(10).spec) == 5.0
    assert estimates.seconds(job(10).spec, together=8) == 40.0
    estimates.add_step(job(1).spec, 0.75, together=1)
    assert estimates.seconds(job(10).spec) == 7.5
    assert estimates.seconds(job(10).spec, together=2) == 15.0
    assert estimates.seconds(job(10).spec, together=4) == 20.0


def test_the_time_around_the_steps_is_that_of_as_many_jobs_too():
    estimates = estimator(1.0)
    estimates.add_job(job(1).spec, Timings(prepare_s=4.0, render_s=1.0, encode_s=1.0), together=2)
    assert estimates.seconds(job(10).spec, together=2) == 4.0 + 20.0 + 2.0
    assert estimates.seconds(job(10).spec) == 2.0 + 10.0 + 1.0
    assert estimates.seconds(job(10).spec, completed=5) == 5.0 + 1.0


def test_the_places_of_a_device_are_taken_by_jobs_that_take_longer_together():
    expected = estimator(0.5).expect([job(10, completed=4)], [job(4), job(2)], 2, together=2)
    assert expected == [Expected(0.0, 4.0), Expected(4.0, 6.0)]
