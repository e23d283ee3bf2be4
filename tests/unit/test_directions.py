from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clipstyler.acceleration import Accelerations
from clipstyler.encoders.description import TextConfidence
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.evaluation.direction_cache import (
    DirectionCache,
    DirectionKey,
    DirectionStore,
    Origin,
    key_of,
    template_version,
)
from clipstyler.evaluation.text_directions import TextGuidance, text_direction
from clipstyler.events import Result, Warning
from clipstyler.options import ConfigError
from clipstyler.prompts import fill_template, templates
from tests.running import stylize
from tests.tiny_encoders import TinyClip, tiny_encoders
from tests.unit.test_stylizer import photo, quick

KILLS = 100


def key(style: str = "fire", **changes: str) -> DirectionKey:
    return key_of("ab" * 32, "onnx-cpu", "fp32", "plain@0", "a Photo", style)._replace(**changes)


def vector(seed: int = 0) -> TextGuidance:
    direction, style = np.random.default_rng(seed).normal(size=(2, 24)).astype(np.float32)
    return TextGuidance(direction, style, TextConfidence(0.25, ("fire", "lava")))


def never() -> TextGuidance:
    raise AssertionError("it was there already")


@pytest.fixture
def store(tmp_path: Path) -> DirectionStore:
    return DirectionStore(tmp_path)


def torch_direction(clip: TinyClip, style: str, source: str, template_set: str) -> np.ndarray:
    """The plain formula, in PyTorch."""
    ends = []
    for text in (style, source):
        raw = clip.encode_text([fill_template(template, text) for template in templates(template_set)])
        ends.append(torch.nn.functional.normalize(raw.mean(dim=0), dim=0))
    return (ends[0] - ends[1]).numpy()


def test_directions_without_torch_are_those_of_the_algorithm() -> None:
    tiny = tiny_encoders()
    with_torch = torch_direction(tiny.clip, "fire", "a Photo", "openai-imagenet")
    assert text_direction(TorchEncoders(tiny), "fire", "a Photo", "openai-imagenet") == pytest.approx(
        with_torch, abs=1e-6
    )


def test_a_text_that_means_the_source_has_no_direction() -> None:
    with pytest.raises(ConfigError, match="means the same"):
        text_direction(TorchEncoders(tiny_encoders()), "fire", "fire", "plain")


def test_a_hit_is_bit_equal_to_a_miss_from_memory_and_from_the_store(store: DirectionStore) -> None:
    cache = DirectionCache(10**6, store)
    miss, hit = cache.get(key(), vector), cache.get(key(), never)
    after_restart = DirectionCache(10**6, store).get(key(), never)
    assert [found.origin for found in (miss, hit, after_restart)] == [Origin.COMPUTED, Origin.MEMORY, Origin.STORE]
    for found in (miss, hit, after_restart):
        assert found.guidance.direction.tobytes() == vector().direction.tobytes()
        assert found.guidance.style.tobytes() == vector().style.tobytes()
        assert found.guidance.confidence == vector().confidence


@pytest.mark.parametrize("part", DirectionKey._fields)
def test_every_part_of_the_key_makes_another_entry(part: str, store: DirectionStore) -> None:
    cache = DirectionCache(10**6, store)
    cache.get(key(), lambda: vector(1))
    assert cache.get(key(**{part: "other"}), lambda: vector(2)).origin is Origin.COMPUTED


def test_texts_are_normalized_and_case_is_kept() -> None:
    composed, apart = "caf\u00e9 noir", unicodedata.normalize("NFD", "  caf\u00e9\t noir ")
    assert key(composed) == key(apart) == key("caf\u00e9\u00a0noir")
    assert key("Fire") != key("fire")


def test_another_list_of_templates_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = template_version("plain")
    monkeypatch.setattr("clipstyler.evaluation.direction_cache.templates", lambda _: ("a {}.",))
    assert template_version("plain").startswith("plain@")
    assert template_version("plain") != before


def test_memory_is_bounded_and_the_least_recently_used_goes_first() -> None:
    cache = DirectionCache(2000)
    for style in ("one", "two"):
        cache.keep(key(style), vector())
    assert cache.stats.entries == 2
    cache.peek(key("one"))
    cache.keep(key("three"), vector())
    assert cache.peek(key("two")) is None
    assert cache.peek(key("one")) is not None
    assert cache.stats.size_bytes <= 2000
    assert (cache.stats.entries, cache.stats.evictions) == (2, 1)


def test_what_is_larger_than_the_memory_is_answered_and_not_kept() -> None:
    cache = DirectionCache(100)
    assert cache.get(key(), vector).guidance.direction.tobytes() == vector().direction.tobytes()
    assert cache.stats[:2] == (0, 0)


def test_concurrent_requests_for_one_key_compute_once() -> None:
    cache, computing, go_on, calls = DirectionCache(10**6), threading.Event(), threading.Event(), []

    def compute() -> TextGuidance:
        calls.append(1)
        computing.set()
        assert go_on.wait(30)
        return vector()

    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.get(key(), compute).guidance.direction.tobytes()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert computing.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert (len(calls), found) == (1, [vector().direction.tobytes()] * 8)


def test_a_failure_reaches_its_callers_and_is_not_remembered() -> None:
    cache = DirectionCache(10**6)
    with pytest.raises(ConfigError):
        cache.get(key(), lambda: (_ for _ in ()).throw(ConfigError("style_text", "bad")))
    assert cache.get(key(), vector).origin is Origin.COMPUTED


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_a_broken_or_foreign_file_is_refused_and_computed_again(damage: str, store: DirectionStore) -> None:
    store.write(key(), vector(1))
    path = store.path(key())
    data = path.read_bytes()
    if damage == "foreign":
        store.write(key(digest="cd" * 32), vector(3))
        data = store.path(key(digest="cd" * 32)).read_bytes()
    elif damage == "flipped":
        data = data[:-1] + bytes([data[-1] ^ 1])
    else:
        data = data[: len(data) // 2] if damage == "cut" else b""
    path.write_bytes(data)
    cache = DirectionCache(10**6, store)
    found = cache.get(key(), lambda: vector(2))
    assert (found.origin, found.guidance.direction.tobytes()) == (Origin.COMPUTED, vector(2).direction.tobytes())
    assert cache.stats.refused == 1
    assert store.read(key()).direction.tobytes() == vector(2).direction.tobytes()


def test_a_disk_that_cannot_be_written_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = DirectionCache(10**6, DirectionStore(tmp_path / "file"))
    assert cache.get(key(), vector).guidance.direction.tobytes() == vector().direction.tobytes()


WRITER = """
import os, sys
import numpy as np
from pathlib import Path
from clipstyler.evaluation.direction_cache import DirectionStore, key_of
from clipstyler.evaluation.text_directions import TextGuidance
directory = Path(sys.argv[1])
store = DirectionStore(directory)
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        number = 0
        while True:
            number += 1
            if number == 1:
                os.write(1, f"{os.getpid()}\\n".encode())
            for style in range(4):
                vector = np.full(20000, style, np.float32)
                store.write(key_of("ab", "b", "p", "t", "a Photo", f"style {style}"), TextGuidance(vector, vector))
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, to kill a writer often in little time")
def test_a_writer_killed_a_hundred_times_never_leaves_a_wrong_direction(tmp_path: Path) -> None:
    store, rng = DirectionStore(tmp_path), random.Random(1)
    parent = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    seen = 0
    with parent, contextlib.ExitStack() as stack:
        stack.callback(parent.kill)
        for _ in range(KILLS):
            print(file=parent.stdin, flush=True)
            writer = int(parent.stdout.readline())
            threading.Event().wait(rng.uniform(0, 0.006))
            os.kill(writer, signal.SIGKILL)
            assert parent.stdout.readline() == "gone\n"
            for style in range(4):
                found = store.read(key_of("ab", "b", "p", "t", "a Photo", f"style {style}"))
                if found is not None:
                    seen += 1
                    assert len(found.direction) == len(found.style) == 20000
                    assert (found.direction == style).all()
    assert seen
    assert store.refused == 0


class Knowing(TinyClip):
    """Counts what it is asked about texts."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def confidence(self, sentence: str) -> TextConfidence:
        self.asked.append(sentence)
        return TextConfidence(0.1, ("fire",))


def test_a_second_stylization_with_the_same_text_embeds_no_text(tmp_path: Path) -> None:
    clip = Knowing()
    encoders = replace(tiny_encoders(text_share=0.5), clip=clip)

    def pixels(directions: DirectionCache | None) -> tuple[bytes, int]:
        clip.sentences.clear()
        clip.asked.clear()
        events = list(stylize(photo(), "fire", encoders, quick(encoders), seed=1, directions=directions))
        assert [event.code for event in events if isinstance(event, Warning)] == ["TEXT_UNFAMILIAR"]
        assert isinstance(events[-1], Result)
        return events[-1].image.rgb.tobytes(), len(clip.sentences) + len(clip.asked)

    cache = DirectionCache(10**6, DirectionStore(tmp_path))
    (first, embedded), (second, again) = pixels(cache), pixels(cache)
    after_restart, from_store = pixels(DirectionCache(10**6, DirectionStore(tmp_path)))
    uncached, _ = pixels(None)
    assert embedded == 3  # both texts, and whether the style text is known
    assert (again, from_store) == (0, 0)
    assert first == second == after_restart == uncached


def test_the_key_names_what_computes() -> None:
    encoders = TorchEncoders(tiny_encoders())
    threads = torch.get_num_threads()
    assert encoders.backend == "torch-cpu"
    assert torch.__version__ in encoders.runtime
    assert f"{threads} threads" in encoders.runtime.split("/")
    assert f"numpy {np.__version__}" in encoders.runtime.split("/")


def test_the_key_names_how_a_gpu_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store survives the process that chose TF32 by measurement."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA Test")
    on_gpu = replace(tiny_encoders(), device=torch.device("cuda"))
    exact, rounded = (
        TorchEncoders(replace(on_gpu, accelerations=Accelerations(tf32=tf32))).runtime for tf32 in (False, True)
    )
    assert exact != rounded


def test_the_store_is_bounded_and_forgets_what_was_unused_longest(tmp_path: Path) -> None:
    store = DirectionStore(tmp_path, max_bytes=20_000)
    kept = key("kept")
    store.write(kept, vector())
    for number in range(200):
        store.write(key(f"style {number}"), vector(number))
        os.utime(store.path(key(f"style {number}")), (number, number))
        assert store.read(kept) is not None
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.direction")]
    assert sum(sizes) <= 20_000
    assert len(sizes) > 20
    assert store.read(key("style 0")) is None
    assert store.read(key("style 199")) is not None


def test_what_a_killed_writer_left_is_deleted_and_what_is_being_written_is_not(store: DirectionStore) -> None:
    place = store.path(key()).parent
    place.mkdir(parents=True)
    for name, age_s in (("left", 7200), ("written now", 60)):
        (place / f".writing-{name}").touch()
        os.utime(place / f".writing-{name}", (time.time() - age_s,) * 2)
    store.write(key(), vector())
    assert [path.name for path in place.glob(".writing-*")] == [".writing-written now"]
