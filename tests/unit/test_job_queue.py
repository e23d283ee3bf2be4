"""The order of the queue: no client starves, whatever arrives and leaves, and predictions hold."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from types import SimpleNamespace

import pytest
from clipstyler_server.jobs.queue import JobQueue
from clipstyler_server.sharing import Caller
from clipstyler_server.turns import MAX_SKIPS, QueueFullError
from hypothesis import given
from hypothesis import strategies as st

_JOBS = st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, 3]), st.sampled_from("xyz"))
_ACTIONS = st.lists(st.one_of(_JOBS, st.just("pop"), st.integers(0, 5)), max_size=60)


def job(number: int, address: str = "a", priority: int = 2, name: str = ""):
    return SimpleNamespace(id=str(number), caller=Caller(address, name), priority=priority)


def clients(queue: JobQueue) -> str:
    return "".join(waiting.caller.address for waiting in queue.order())


@given(_ACTIONS)
def test_predictions_match_the_order_and_no_job_is_lost(actions):
    queue, waiting = JobQueue(100), []
    for number, action in enumerate(actions):
        if action == "pop":
            expected = queue.order()[:1]
            taken = queue.pop()
            assert [taken] == (expected or [None])
            waiting = [one for one in waiting if one is not taken]
        elif isinstance(action, int):
            if action < len(waiting):
                gone = waiting.pop(action)
                assert queue.remove(gone.id) is gone
                assert queue.remove(gone.id) is None
        else:
            newcomer = job(number, *action)
            ahead = queue.before(newcomer)
            queue.put(newcomer)
            waiting.append(newcomer)
            assert queue.order()[: len(ahead) + 1] == [*ahead, newcomer]
        assert len(queue) == len(waiting)
        assert {one.id for one in queue.order()} == {one.id for one in waiting}


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_between_two_turns_of_a_client_everybody_else_who_waits_has_one(names):
    queue = JobQueue(100)
    for number, name in enumerate(names):
        queue.put(job(number, name))
    order = clients(queue)
    for name in set(names):
        turns = [index for index, client in enumerate(order) if client == name]
        for one, next_one in pairwise(turns):
            still_waiting = set(order[next_one:]) - {name}
            assert still_waiting <= set(order[one + 1 : next_one])


def test_a_newcomer_goes_before_the_client_who_has_just_had_a_turn():
    queue = JobQueue(100)
    for number in range(50):
        queue.put(job(number, "a"))
    queue.pop()
    queue.put(job(99, "b"))
    assert clients(queue).startswith("ba")


def test_fresh_names_do_not_push_a_waiting_client_back():
    queue = JobQueue(100)
    for number in range(3):
        queue.put(job(number, "a"))
    queue.put(job(3, "b"))
    queue.pop()  # of a
    for number in range(10, 20):
        queue.put(job(number, f"fresh {number}"))
    assert queue.pop().caller.address == "b"


def test_no_class_starves_however_many_urgent_jobs_keep_coming():
    queue = JobQueue(100)
    queue.put(job(0, "patient", priority=1))
    for number in range(1, 20):
        queue.put(job(number, f"urgent {number}", priority=3))
        if queue.pop().caller.address == "patient":
            break
    assert number == MAX_SKIPS + 1


def test_a_caller_with_any_number_of_names_and_urgent_jobs_delays_anothers_single_job_by_one_job():
    queue = JobQueue(100)
    for number in range(20):
        queue.put(job(number, "many", priority=3, name=f"name {number}"))
    queue.pop()
    queue.put(job(99, "single", priority=1))
    assert clients(queue).index("s") <= len("many")

    for number in range(100, 120):
        queue.put(job(number, "many", priority=3, name=f"fresh {number}"))
    taken = [queue.pop().caller.address for _ in range(2)]
    assert "single" in taken


def test_behind_one_address_names_take_turns_and_urgent_jobs_go_first():
    queue = JobQueue(100)
    for number, (name, priority) in enumerate([("x", 2), ("x", 2), ("y", 2), ("z", 3)]):
        queue.put(job(number, name=name, priority=priority))
    assert [waiting.caller.name for waiting in queue.order()] == ["z", "x", "y", "x"]


def test_a_job_that_is_put_back_is_the_next_one():
    queue = JobQueue(100)
    for number, address in enumerate("aab"):
        queue.put(job(number, address))
    taken = queue.pop()
    queue.put_back(taken)
    assert queue.pop() is taken


@pytest.mark.parametrize(
    ("capacity", "share", "places"), [(16, 0.75, 12), (2, 0.75, 1), (2, 1, 2), (1, 0.75, 1), (0, 0.5, 0)]
)
def test_one_caller_never_has_the_last_place(capacity, share, places):
    queue, begun = JobQueue(capacity, share), ExitStack()
    with begun:
        for _ in range(places + 1):
            begun.enter_context(queue.reserve(1, "greedy"))
        with pytest.raises(QueueFullError) as full:
            begun.enter_context(queue.reserve(1, "greedy"))
        if capacity > places:
            assert (full.value.places, full.value.of_caller) == (places, True)
            begun.enter_context(queue.reserve(1, "other"))
    assert queue.reserved == 0


def test_callers_whose_requests_were_admitted_leave_nothing_behind():
    queue = JobQueue(16)
    for number in range(100):
        with queue.reserve(1, f"caller {number}"), queue.reserve(1, f"caller {number}"):
            pass
    assert not queue._reserved
