"""The order of the queue: no client starves, whatever arrives and leaves, and predictions hold."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

from clipstyler_server.jobs.queue import MAX_SKIPS, JobQueue
from hypothesis import given
from hypothesis import strategies as st

_JOBS = st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, 3]))
_ACTIONS = st.lists(st.one_of(_JOBS, st.just("pop"), st.integers(0, 5)), max_size=60)


def job(number: int, client: str = "a", priority: int = 2):
    return SimpleNamespace(id=str(number), client=client, priority=priority)


def clients(queue: JobQueue) -> str:
    return "".join(waiting.client for waiting in queue.order())


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
    assert queue.pop().client == "b"


def test_no_class_starves_however_many_urgent_jobs_keep_coming():
    queue = JobQueue(100)
    queue.put(job(0, "patient", priority=1))
    for number in range(1, 20):
        queue.put(job(number, f"urgent {number}", priority=3))
        if queue.pop().client == "patient":
            break
    assert number == MAX_SKIPS + 1
