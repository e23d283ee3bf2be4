"""The list itself: well formed, and complete in the codes that the contract names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conformance.matching import matches, mismatches
from tests.conformance.running import LIST
from tests.conformance.servers import LATER, PROXIED, SETTINGS

CALLS = {"stylize", "create", "watch", "get", "list", "cancel", "delete", "image", "upload", "info", "encode_text"}
CALLS |= {f"style_{name}" for name in ("create", "fit", "get", "list", "delete")}
CALLS |= {f"style_{name}" for name in ("download", "upload", "apply", "render")}
FIELDS = {"call", "spec", "photo", "upload", "request_id", "priority", "timeout_s", "job", "after_sequence", "state"}
FIELDS |= {"kind", "texts", "at", "parallel", "eventually", "expect", "save"}
FIELDS |= {"style", "second_style", "file", "photos", "controls", "result_format", "stop_after"}
CONTRACT = Path(__file__).parents[2] / "docs" / "contract.md"


def test_names_are_unique_and_servers_exist():
    names = [case["name"] for case in LIST]
    assert len(set(names)) == len(names) >= 25
    assert {case["server"] for case in LIST} <= {LATER, PROXIED, *SETTINGS}
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


@pytest.mark.parametrize("case", LIST, ids=lambda case: case["name"])
def test_a_case_has_only_what_the_readme_describes(case):
    assert set(case) == {"name", "about", "server", "steps"}
    for step in case["steps"]:
        assert set(step) == {"control"} or (set(step) <= FIELDS and step["call"] in CALLS)
    used = set(re.findall(r"\$\{(\w+)\}", json.dumps(case)))
    saved = {name for step in case["steps"] for name in step.get("save", {})}
    assert used <= saved | {"uuid"}


def test_every_code_that_the_contract_names_has_a_case():
    named = set(re.findall(r"^\| `([A-Z_]+)` \| ", CONTRACT.read_text(), re.MULTILINE))
    expected = {step.get("expect", {}).get("code") for case in LIST for step in case["steps"]}
    assert "INVALID_ARGUMENT" in named
    assert named <= expected


@pytest.mark.parametrize(
    ("expected", "value", "holds"),
    [
        ({"present": True}, "x", True),
        ({"present": True}, 0, False),
        ({"present": False}, None, True),
        ({"min": 2}, 2, True),
        ({"min": 2}, 1.9, False),
        ({"max": 2}, 3, False),
        ({"min": 2}, None, False),
        ({"contains": ["a", "b"]}, ["a", "x", "b"], True),
        ({"contains": ["a", "b"]}, ["b", "a"], False),
        ({"contains": ["a", "a"]}, ["a"], False),
        ({"id": {"present": True}}, {"id": "1", "more": "2"}, True),
        ({"id": "1"}, {"id": "2"}, False),
        ({"id": "1"}, None, False),
        ({}, {}, True),
        ({}, {"id": "1"}, False),
        (None, None, True),
        (1, 1.0, True),
        (["a"], ["a", "b"], False),
    ],
)
def test_values_match_by_the_rules(expected, value, holds):
    assert matches(expected, value) is holds


def test_an_outcome_must_be_ok_unless_another_code_is_expected():
    assert mismatches({}, {"code": "INTERNAL"}) == ["code: expected OK, got INTERNAL"]
    assert mismatches({"code": "INTERNAL"}, {"code": "INTERNAL"}) == []
