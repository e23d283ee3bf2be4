"""Accelerations by name, their choice by measurement, where they are reported, and the allocator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from clipstyler_server.workers.engine import FailureKind, TaskFailed
from pydantic import ValidationError

from clipstyler import acceleration_choice, allocator, gpu_pieces, load_encoders, stylize
from clipstyler.acceleration import NAMES, NAMES_BY_DEVICE, NONE, Accelerations, parse
from clipstyler.acceleration_choice import Choice, choose
from clipstyler.options import ConfigError

CPU = torch.device("cpu")
PHOTO = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record changes of the allocator instead of making them, and measure anew."""
    made: list[str] = []
    for name in ("retain_memory", "use_defaults"):
        monkeypatch.setattr(allocator, name, lambda name=name: made.append(name))
    acceleration_choice._measured.cache_clear()
    yield made
    acceleration_choice._measured.cache_clear()


def measuring(monkeypatch: pytest.MonkeyPatch, *, memory: float, bf16: float, channels_last: float) -> None:
    def memory_speedup() -> float:
        allocator.retain_memory()
        return memory

    monkeypatch.setattr(acceleration_choice, "_memory_speedup", memory_speedup)
    monkeypatch.setattr(acceleration_choice, "_bf16_speedup", lambda: bf16)
    monkeypatch.setattr(acceleration_choice, "_channels_last_speedup", lambda: channels_last)


def test_names_are_read() -> None:
    assert parse("auto") is None
    assert parse("off") == NONE
    assert parse("bf16, memory") == Accelerations(memory=True, bf16=True)
    assert str(Accelerations(memory=True, channels_last=True)) == "memory,channels_last"
    assert str(NONE) == "off"
    assert parse(",".join(NAMES)) == Accelerations(*[True] * len(NAMES))


@pytest.mark.parametrize("wanted", ["fast", "", "bf16,fp8", "auto,bf16"])
def test_an_unknown_name_is_refused(wanted: str) -> None:
    with pytest.raises(ConfigError, match=r"accelerations: .*use auto, off, or some of memory, bf16, channels_last"):
        parse(wanted)


def test_what_pays_is_used_and_the_rest_is_not(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    measuring(monkeypatch, memory=1.9, bf16=0.2, channels_last=1.1)
    choice = choose("auto", CPU, own_process=True)
    assert choice.accelerations == Accelerations(memory=True, channels_last=True)
    assert choice.speedups == {"memory": 1.9, "bf16": 0.2, "channels_last": 1.1}
    assert calls[-1] == "retain_memory"


def test_an_allocator_that_gains_nothing_is_set_back(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    measuring(monkeypatch, memory=1.09, bf16=1.09, channels_last=1.0)
    assert choose("auto", CPU, own_process=True).accelerations == NONE
    assert calls == ["retain_memory", "use_defaults"]


def test_the_allocator_of_a_host_is_left_alone_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    measuring(monkeypatch, memory=9, bf16=2, channels_last=1)
    assert choose("auto", CPU, own_process=False) == Choice(
        Accelerations(bf16=True), {"bf16": 2.0, "channels_last": 1.0}
    )
    assert calls == []
    assert choose("memory", CPU, own_process=False).accelerations == Accelerations(memory=True)
    assert calls == ["retain_memory"]


def test_off_and_named_ones_are_not_measured(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    monkeypatch.setattr(acceleration_choice, "_speedup", None)
    assert choose("off", CPU, own_process=True) == Choice(NONE, {})
    assert choose("channels_last", CPU, own_process=True) == Choice(Accelerations(channels_last=True), {})
    assert calls == []


def test_other_devices_have_none() -> None:
    assert choose("bf16", torch.device("mps"), own_process=True) == Choice(NONE, {})


def test_a_device_leaves_out_what_it_does_not_have(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    precisions: list[bool] = []
    monkeypatch.setattr(acceleration_choice, "use_tf32", precisions.append)
    everything = ",".join(NAMES)
    cuda = choose(everything, torch.device("cuda"), own_process=True).accelerations
    assert cuda == Accelerations(bf16=True, channels_last=True, tf32=True, kernels=True, graphs=True)
    assert choose(everything, CPU, own_process=True).accelerations.names == ("memory", "bf16", "channels_last")
    assert choose("kernels,bf16", torch.device("cuda"), own_process=False).accelerations == Accelerations(bf16=True)
    choose("off", torch.device("cuda"), own_process=True)
    choose("off", torch.device("cuda"), own_process=False)  # a library leaves its host's precision alone
    assert precisions == [True, False]
    assert calls == ["retain_memory"]


def test_a_gpu_is_measured_and_recorded_by_itself(
    monkeypatch: pytest.MonkeyPatch, calls: list[str], tmp_path: Path
) -> None:
    measured: list[list[str]] = []

    def speedups(_device: torch.device, names: list[str], _known: dict[str, float]) -> dict[str, float]:
        measured.append(names)
        return dict.fromkeys(names, 2.0) | {"channels_last": 1.0}

    precisions: list[bool] = []
    monkeypatch.setattr(acceleration_choice.gpu_pieces, "speedups", speedups)
    monkeypatch.setattr(acceleration_choice, "use_tf32", precisions.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    cuda, record = torch.device("cuda"), tmp_path / "accelerations.json"
    expected = Accelerations(bf16=True, tf32=True, graphs=True)  # kernels are for interleaved channels
    for _ in range(2):
        assert choose("auto", cuda, own_process=True, record=record).accelerations == expected
        acceleration_choice._measured.cache_clear()
    assert measured == [["graphs", "tf32", "channels_last", "bf16", "kernels"]]
    assert precisions == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["accelerations-cuda.json"]
    choose("auto", cuda, own_process=False)
    assert measured[-1] == ["graphs", "channels_last", "bf16", "kernels"]
    assert len(precisions) == 2
    assert calls == []


def test_a_process_measures_once(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    measuring(monkeypatch, memory=2, bf16=2, channels_last=2)
    first = choose("auto", CPU, own_process=True)
    measuring(monkeypatch, memory=1, bf16=1, channels_last=1)
    assert choose("auto", CPU, own_process=True) == first


def test_every_process_of_a_machine_chooses_alike(
    monkeypatch: pytest.MonkeyPatch, calls: list[str], tmp_path: Path
) -> None:
    record = tmp_path / "cache" / "accelerations.json"
    measuring(monkeypatch, memory=2, bf16=1.11, channels_last=1.09)
    first = choose("auto", CPU, own_process=True, record=record)
    measuring(monkeypatch, memory=1, bf16=1.09, channels_last=1.11)  # noise
    acceleration_choice._measured.cache_clear()  # as in another process
    calls.clear()
    assert choose("auto", CPU, own_process=True, record=record) == first
    assert calls == ["retain_memory"]


@pytest.mark.parametrize("change", ["machine", "broken"])
def test_another_machine_measures_again(
    monkeypatch: pytest.MonkeyPatch, calls: list[str], tmp_path: Path, change: str
) -> None:
    record = tmp_path / "accelerations.json"
    measuring(monkeypatch, memory=2, bf16=2, channels_last=2)
    choose("auto", CPU, own_process=True, record=record)
    if change == "machine":
        monkeypatch.setattr(acceleration_choice, "_processor", lambda: "another")
    else:
        record.write_text("{")
    measuring(monkeypatch, memory=1, bf16=1, channels_last=1)
    acceleration_choice._measured.cache_clear()
    assert choose("auto", CPU, own_process=True, record=record).accelerations == NONE


def test_a_slow_form_is_given_up_after_one_round() -> None:
    rounds: list[str] = []

    def slow() -> None:
        rounds.append("slow")
        torch.rand(2**22)

    assert acceleration_choice._speedup(lambda: None, slow) < 0.7
    assert rounds == ["slow"]


def test_the_real_measurement_measures_every_acceleration() -> None:
    code = (
        "import torch\n"
        "from clipstyler.acceleration_choice import choose\n"
        "print(*choose('auto', torch.device('cpu'), own_process=True).speedups)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(found.stdout.split()) == set(NAMES_BY_DEVICE["cpu"])


@pytest.mark.parametrize(("wanted", "reported"), [("off", "off"), ("channels_last", "channels_last"), ("bf16", "off")])
def test_a_result_reports_what_determines_its_bytes(wanted: str, reported: str) -> None:
    """`pocket` has no layers for bfloat16."""
    result = stylize(PHOTO, "fire", accelerations=wanted, size=64, steps=1, patches=2, warm_up=0, seed=0).result()
    assert result.versions["accelerations"] == reported


def test_the_library_uses_none_unless_it_is_asked() -> None:
    assert load_encoders().accelerations == NONE
    assert load_encoders(accelerations="channels_last").accelerations == Accelerations(channels_last=True)


def test_an_unknown_name_is_one_of_the_problems_of_a_call() -> None:
    with pytest.raises(ConfigError) as caught:
        stylize(PHOTO, "", accelerations="fast")
    assert {violation.field for violation in caught.value.violations} == {"accelerations", "style_text"}


def test_the_setting_is_checked_when_the_server_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    from clipstyler_server.settings import Settings

    monkeypatch.delenv("CLIPSTYLER_ACCELERATIONS")
    assert Settings().accelerations == "auto"
    with pytest.raises(ValidationError, match="use auto, off, or some of"):
        Settings(accelerations="fast")


def test_the_optimizer_returns_memory_after_each_job(monkeypatch: pytest.MonkeyPatch) -> None:
    from clipstyler_server.workers.optimizer import rounds

    happened: list[str] = []

    def job() -> MagicMock:
        made = MagicMock(end=None)

        def take_turn(_: object) -> None:
            happened.append("job")
            made.end = TaskFailed(FailureKind.INTERNAL, "a problem")

        made.take_turn.side_effect = take_turn
        return made

    for name in ("PreviewEncoder", "StyleThread"):
        monkeypatch.setattr(rounds, name, MagicMock())
    monkeypatch.setattr(rounds, "return_unused_memory", lambda: happened.append("returned"))
    inbox = MagicMock(new_runs=MagicMock(side_effect=[[job()], [job()], EOFError]))
    with pytest.raises(EOFError):
        rounds.work(inbox, MagicMock(), MagicMock())
    assert happened == ["job", "returned", "job", "returned"]


FAULTS = """
import resource, sys
import torch
from clipstyler import allocator
getattr(allocator, sys.argv[1])()
def fill(): torch.empty(2**23).zero_()
for _ in range(20): fill()  # until the heap has its shape
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): fill()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
allocator.return_unused_memory()
resident = int(open("/proc/self/statm").read().split()[1])
print(faults, resident * resource.getpagesize())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults of Linux")
def test_retained_memory_is_not_faulted_in_again_and_can_be_returned() -> None:
    def measured(name: str) -> tuple[int, int]:
        found = subprocess.run([sys.executable, "-c", FAULTS, name], check=True, capture_output=True, text=True)
        faults, resident = found.stdout.split()
        return int(faults), int(resident)

    plain_faults, plain_resident = measured("use_defaults")
    faults, resident = measured("retain_memory")
    assert plain_faults > 100
    assert faults < 20
    assert resident < plain_resident + 16 * 2**20  # one block has 32 MiB


RESTARTS = """
import os, sys
from clipstyler import allocator
print(os.getpid(), flush=True)
allocator.restart_with_c_allocator()
blocks = [bytes(500) for _ in range(10_000)]
print(sys.argv[1:], os.environ.get("PYTHONMALLOC"), sys.getallocatedblocks() < 10_000)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the allocator of glibc")
@pytest.mark.parametrize(
    ("chosen", "starts", "kept", "in_c"),
    [(None, 2, None, True), ("malloc", 1, None, True), ("pymalloc", 1, "pymalloc", False)],
)
def test_a_program_restarts_once_with_the_c_allocator(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, starts: int, kept: str | None, in_c: bool
) -> None:
    monkeypatch.delenv("PYTHONMALLOC", raising=False)
    if chosen:
        monkeypatch.setenv("PYTHONMALLOC", chosen)
    command = [sys.executable, "-c", RESTARTS, "an argument", "--flag"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert found[-1] == f"{['an argument', '--flag']} {kept} {in_c}"
    assert len(found) == starts + 1
    assert len(set(found[:-1])) == 1  # the same process


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the allocator of glibc")
@pytest.mark.parametrize("lack", ["sys.stdout = None", "sys.stderr = None", "sys.executable = '/nowhere/python'"])
def test_a_program_that_lacks_a_stream_or_its_interpreter_starts(monkeypatch: pytest.MonkeyPatch, lack: str) -> None:
    monkeypatch.delenv("PYTHONMALLOC", raising=False)
    program = f"""
import os, sys
{lack}
from clipstyler import allocator
allocator.restart_with_c_allocator()
os.write(1, str(os.environ.get("PYTHONMALLOC")).encode())
"""
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("None", "")


def test_every_piece_of_a_gpu_computes_what_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, in the plain form: what is measured is a finite gradient, with and without the acceleration."""
    found: list[torch.Tensor] = []

    def computed(_pieces: object, work: Callable[[], torch.Tensor]) -> float:
        found.append(work())
        return 1.0

    for name, small in {"_SIDE": 32, "_SMALL_SIDE": 16, "_TOKENS": 4, "_VIEWS": 2}.items():
        monkeypatch.setattr(gpu_pieces, name, small)
    for way in ("_seconds", "_captured_seconds"):
        monkeypatch.setattr(gpu_pieces._Pieces, way, computed)
    assert gpu_pieces.speedups(CPU, NAMES_BY_DEVICE["cuda"]) == dict.fromkeys(NAMES_BY_DEVICE["cuda"], 1.0)
    assert len(found) == 12  # two per acceleration, four for the kernels of both networks
    assert torch.isfinite(torch.stack([value.detach().float() for value in found])).all()


def failing(error: Exception) -> Callable[[object], float]:
    def piece(_pieces: object) -> float:
        raise error

    return piece


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("kernels", RuntimeError("no C compiler")),
        ("channels_last", torch.OutOfMemoryError("CUDA out of memory")),
        ("graphs", torch.AcceleratorError("CUDA error: out of memory")),
    ],
)
def test_what_cannot_be_measured_now_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, error: Exception
) -> None:
    for piece in NAMES_BY_DEVICE["cuda"]:
        monkeypatch.setattr(gpu_pieces._Pieces, piece, lambda _: 2.0)
    monkeypatch.setattr(gpu_pieces._Pieces, name, failing(error))
    assert set(gpu_pieces.speedups(CPU, NAMES_BY_DEVICE["cuda"])) == {*NAMES_BY_DEVICE["cuda"]} - {name}
    assert f"{name} cannot be measured here, and is not used: {type(error).__name__}: {error}" in caplog.text


def test_a_gpu_that_does_not_work_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_pieces._Pieces, "graphs", failing(RuntimeError("CUDA error: unspecified launch failure")))
    with pytest.raises(RuntimeError, match="launch failure"):
        gpu_pieces.speedups(CPU, ["graphs"])


@pytest.mark.parametrize("known", [{}, {"tf32": 2.0}, {"tf32": 0.9}])
def test_the_rest_is_measured_as_it_will_run(monkeypatch: pytest.MonkeyPatch, known: dict[str, float]) -> None:
    precisions: list[bool] = []
    monkeypatch.setattr(gpu_pieces, "use_tf32", precisions.append)
    monkeypatch.setattr(gpu_pieces._Pieces, "bf16", lambda _: 1.0)
    gpu_pieces.speedups(CPU, ["bf16"], known)
    assert precisions == [known.get("tf32") == 2.0]


def test_without_memory_for_its_piece_tf32_is_off_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def seconds(*_: object) -> float:
        begun.append(torch.backends.cuda.matmul.fp32_precision)
        if len(begun) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    monkeypatch.setattr(gpu_pieces, "_SIDE", 32)
    monkeypatch.setattr(gpu_pieces._Pieces, "_captured_seconds", seconds)
    assert gpu_pieces.speedups(CPU, ["tf32", "channels_last"]) == {"channels_last": 1.0}
    assert begun == ["ieee", "tf32", "ieee", "ieee"]


@pytest.mark.parametrize("before", [{}, {"kernels": 0.0}])  # the latter by versions that recorded a failure
def test_a_failure_is_kept_in_no_file(
    monkeypatch: pytest.MonkeyPatch, calls: list[str], tmp_path: Path, before: dict[str, float]
) -> None:
    """Once there is a compiler, or memory, the next start measures what was missing, and only that."""
    measured: list[list[str]] = []
    found: dict[str, float] = {}

    def speedups(_device: torch.device, names: list[str], _known: dict[str, float]) -> dict[str, float]:
        measured.append(names)
        return {name: 2.0 for name in names if name != "kernels"} | found

    monkeypatch.setattr(acceleration_choice.gpu_pieces, "speedups", speedups)
    monkeypatch.setattr(acceleration_choice, "use_tf32", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    names = []
    for now in (before, {}, {"kernels": 3.0}, {}):
        found.clear()
        found.update(now)
        choice = choose("auto", torch.device("cuda"), own_process=True, record=tmp_path / "accelerations.json")
        acceleration_choice._measured.cache_clear()  # as in another process
        names.append(choice.accelerations.kernels)
    assert names == [False, False, True, True]
    assert measured == [["graphs", "tf32", "channels_last", "bf16", "kernels"], ["kernels"], ["kernels"]]


def test_what_concerns_the_process_is_set_again_by_every_choice(
    monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    measuring(monkeypatch, memory=2, bf16=1, channels_last=1)
    choose("auto", CPU, own_process=True)
    calls.clear()
    choose("auto", CPU, own_process=True)
    assert calls == ["retain_memory"]
    precisions: list[bool] = []
    monkeypatch.setattr(acceleration_choice, "use_tf32", precisions.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    monkeypatch.setattr(acceleration_choice.gpu_pieces, "speedups", lambda _, names, __: dict.fromkeys(names, 2.0))
    for wanted in ("auto", "off", "auto"):
        choose(wanted, torch.device("cuda"), own_process=True)
    assert precisions == [True, False, True]
