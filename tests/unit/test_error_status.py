"""A status fits into the trailers of a call, whatever it has to say."""

from __future__ import annotations

import pytest
from clipstyler_server.api.errors import status, trailer_bytes
from clipstyler_server.errors import Reason, Violation, error, invalid
from google.rpc import error_details_pb2

from tests.service.harness import details

LIMIT = 6 * 1024


def violations(count: int, field: str, problem: str) -> list:
    made = status(invalid(*(Violation(f"{field}[{i}]", problem) for i in range(count))).details)
    assert trailer_bytes(made) <= LIMIT
    return list(details(made, error_details_pb2.BadRequest).field_violations)


@pytest.mark.parametrize("problem", ["must not be empty", "is 900 characters long: use at most 500", "\u6d77" * 900])
@pytest.mark.parametrize("count", [1, 5, 13, 64])
def test_up_to_64_bad_fields_are_all_named(count, problem):
    named = violations(count, "texts", problem)
    assert [one.field for one in named] == [f"texts[{i}]" for i in range(count)]
    assert all(len(one.description.encode()) >= min(38, len(problem)) for one in named)


@pytest.mark.parametrize("count", [65, 66, 200, 5000])
def test_of_more_the_rest_is_counted_from_the_first_that_is_left_out(count):
    named = violations(count, "labels", "must not be empty")
    assert [one.field for one in named] == [f"labels[{i}]" for i in range(65)]
    assert named[-1].description == f"and {count - 64} more from this one on"


def test_few_bad_fields_keep_their_whole_descriptions():
    assert [one.description for one in violations(3, "texts", "x" * 400)] == ["x" * 400] * 3


def test_very_long_paths_leave_room_by_naming_fewer_fields():
    named = violations(64, "spec.options." + "a" * 100, "must not be empty")
    assert named[-1].description == f"and {64 - len(named) + 1} more from this one on"


def test_a_message_of_characters_that_are_encoded_fits_too():
    told = error(Reason.INTERNAL, "\u6d77" * 900, **{f"value{i}": "\u6d77" * 400 for i in range(8)})
    assert trailer_bytes(status(told.details)) <= LIMIT
