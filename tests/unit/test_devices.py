"""The list of a server's devices."""

from __future__ import annotations

import pytest
from clipstyler_server.devices import MAX_DEVICES, Device, parse_devices
from clipstyler_server.settings import Settings
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", [("auto", "auto")]),
        ("cpu", [("cpu", "cpu")]),
        ("cuda", [("cuda:0", "cuda:0")]),
        ("cuda:3", [("cuda:3", "cuda:3")]),
        ("cpu*2", [("cpu/0", "cpu"), ("cpu/1", "cpu")]),
        ("cpu*1", [("cpu", "cpu")]),
        ("cuda*2", [("cuda:0", "cuda:0"), ("cuda:1", "cuda:1")]),
        ("cuda:1*2", [("cuda:1/0", "cuda:1"), ("cuda:1/1", "cuda:1")]),
        ("cuda:0, cpu ,cuda:1", [("cuda:0", "cuda:0"), ("cpu", "cpu"), ("cuda:1", "cuda:1")]),
        ("cuda,cuda:0,cpu", [("cuda:0/0", "cuda:0"), ("cuda:0/1", "cuda:0"), ("cpu", "cpu")]),
    ],
)
def test_every_optimizer_has_a_device_and_a_name_of_its_own(text, expected):
    assert parse_devices(text) == tuple(Device(name, device) for name, device in expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tpu", "'tpu' is no device"),
        ("cpu,", "'' is no device"),
        ("cpu*0", "'cpu\\*0': there must be at least one"),
        ("cpu*-1", "is no device"),
        ("auto*2", "'auto\\*2': name the device"),
        ("auto,cpu", "'auto' stands alone"),
        (f"cpu*{MAX_DEVICES + 1}", f"at most {MAX_DEVICES}"),
        ("tpu,cpu,gpu", "'tpu' is no device.*'gpu' is no device"),
    ],
)
def test_a_bad_list_is_refused_with_every_bad_entry(text, problem):
    with pytest.raises(ValueError, match=problem):
        parse_devices(text)


def test_a_bad_setting_is_refused_by_name():
    with pytest.raises(ValidationError, match="devices"):
        Settings(devices="cpu*two")


def test_several_devices_take_the_place_of_one():
    assert [device.name for device in Settings(device="cuda").optimizer_devices] == ["cuda:0"]
    assert [device.name for device in Settings(device="cuda", devices="cpu*2").optimizer_devices] == ["cpu/0", "cpu/1"]


def test_optimizers_share_the_processor(monkeypatch):
    monkeypatch.setattr("clipstyler_server.settings.optimizing._available_cpus", lambda: 6)
    threads = {text: Settings(devices=text).optimizer_threads for text in ("cpu", "cpu*2", "cpu*4", "cpu*8")}
    assert threads == {"cpu": 6, "cpu*2": 3, "cpu*4": 1, "cpu*8": 1}
    assert Settings(devices="cpu*2", threads=5).optimizer_threads == 5
