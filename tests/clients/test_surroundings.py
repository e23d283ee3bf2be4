"""The command where something is missing or unusual: encodings, a home, a working directory, proxies and pipes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from clipstyler_cli import demo, surroundings
from clipstyler_cli.main import app
from clipstyler_client import AsyncClient, Client, OptionError
from clipstyler_client._channel import channel_options
from clipstyler_server import __main__ as server_main
from clipstyler_server.settings import Settings
from typer.testing import CliRunner, Result

from clipstyler.home import temporary_home
from tests.clients.scripted_server import ScriptedServer, picture

COMMAND = [sys.executable, "-m", "clipstyler_cli.entry"]
HELP = ["stylize", "--help"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def process(*words: str | bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *words], capture_output=True, check=False, **options)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["stylize", "PHOTO", "fire\udcff", "-o", "OUT"], "TEXT"),
        (["stylize", "PHOTO", "fire", "-o", "OUT", "--source-text", "fire\udcff"], "--source-text"),
        (["stylize", "PHOTO", "fire", "-o", "OUT", "--server", "fire\udcff"], "--server"),
        (["classify", "PHOTO", "water", "fire\udcff"], "LABELS"),
        (["jobs", "show", "fire\udcff"], "NAME"),
        (["models", "verify", "fire\udcff"], "NAME"),
    ],
)
def test_a_text_that_is_not_utf8_is_named(photo: Path, arguments: list[str], name: str) -> None:
    paths = {"PHOTO": photo, "OUT": photo.with_name("out.png")}
    outcome = call(*(paths.get(word, word) for word in arguments))
    assert outcome.exit_code == 2
    assert outcome.stderr.strip() == f"error: {name}: 'fire\\xff' is not UTF-8; type it in a UTF-8 locale"


def test_paths_that_are_not_utf8_work(server: ScriptedServer, photo: Path) -> None:
    strange = photo.rename(photo.with_name("photo\udcff.png"))
    out = photo.with_name("out\udcff.png")
    outcome = call("stylize", strange, "fire", "-o", out, "--server", server.target)
    assert outcome.exit_code == 0
    assert "out\\xff.png: 64 x 48 px" in outcome.stderr
    assert out.read_bytes() == picture()
    described = call("stylize", strange, "fire", "-o", out, "--server", server.target, "--json").stdout
    assert "out\\udcff.png" in described


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
    ],
    ids=["C", "latin-1", "ascii"],
)
@pytest.mark.parametrize("words", [HELP, ["jobs", "--help"], ["models", "list", "--server"]], ids=" ".join)
def test_help_and_tables_are_drawn_in_what_the_locale_has(
    server: ScriptedServer, words: list[str], environment: dict[str, str]
) -> None:
    target = [server.target] if "--server" in words else []
    ran = process(*words, *target, env=os.environ | environment)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.isascii()
    assert b"\\u" not in ran.stdout
    assert b"+-" in ran.stdout


def test_piped_help_cuts_no_flag() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    shown = process(*HELP, env=environment).stdout.decode()
    assert "--threshold-rejection" in shown
    assert "…" not in shown


@pytest.mark.parametrize("words", [HELP, ["--version"], ["models", "list", "--server"]], ids=" ".join)
def test_a_closed_pipe_ends_the_command_quietly(server: ScriptedServer, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    target = [server.target] if "--server" in words else []
    ran = subprocess.run([*COMMAND, *words, *target], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_a_closed_stderr_stops_no_work(server: ScriptedServer, photo: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    out = photo.with_name("out.png")
    ran = subprocess.run(
        [*COMMAND, "stylize", photo, "fire", "-o", out, "--server", server.target], stderr=write, check=False
    )
    os.close(write)
    assert ran.returncode == 0
    assert out.read_bytes() == picture()


def test_a_full_disk_behind_stderr_stops_no_work(server: ScriptedServer, photo: Path) -> None:
    out = photo.with_name("out.png")
    words = ["stylize", photo, "fire", "-o", out, "--server", server.target]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run([*COMMAND, *words], stderr=full, check=False)
    assert (ran.returncode, out.read_bytes()) == (0, picture())


def test_a_command_without_standard_descriptors_writes_only_its_output(server: ScriptedServer, photo: Path) -> None:
    out = photo.with_name("out.png")
    command = [*COMMAND, "stylize", photo, "fire", "-o", out, "--server", server.target]
    ran = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command], check=False, timeout=60)
    assert ran.returncode == 0
    assert out.read_bytes() == picture()


@pytest.mark.parametrize("words", [HELP, ["--version"]], ids=" ".join)
def test_a_full_disk_behind_stdout_is_one_line(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run([*COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "error: input or output: No space left on device\n"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that any user may write to."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


# A user without a passwd entry. The second form may read every file: an interpreter below root's home, for instance.
_STRANGER = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
_READER = [*_STRANGER, "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]


@pytest.fixture(scope="module")
def stranger() -> list[str]:
    """The words before a command that run it, and the processes that it starts, as a user without a passwd entry."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv")
    child = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', ''], check=True)"
    for user in (_STRANGER, _READER):
        if subprocess.run([*user, sys.executable, "-c", child], capture_output=True, check=False).returncode == 0:
            return user
    pytest.skip("other users cannot run this interpreter")


def homeless_environment(temporary: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "TMPDIR": str(temporary), **more}


@pytest.mark.parametrize("home", [{}, {"HOME": "/"}, {"HOME": "/nonexistent"}], ids=["none", "root", "nonexistent"])
def test_a_user_without_a_home_uses_the_temporary_directory(
    stranger: list[str], shared: Path, home: dict[str, str]
) -> None:
    environment = homeless_environment(shared, **home)
    code = "from clipstyler_cli import surroundings; surroundings.prepare()"
    code += "; from clipstyler.home import cache_directory; print(cache_directory())"
    ran = subprocess.run(
        [*stranger, sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.stdout.strip() == f"{shared}/clipstyler-home-12345/.cache/clipstyler", ran.stderr
    if not home:
        listed = subprocess.run(
            [*stranger, *COMMAND, "models", "list"], capture_output=True, env=environment, check=False
        )
        assert (listed.returncode, listed.stderr) == (0, b"")


def test_the_library_works_without_a_home(stranger: list[str], shared: Path, photo: Path) -> None:
    shutil.copy(photo, shared)
    code = (
        "import clipstyler, sys; from clipstyler.encoders.weights.store import default_directory as d; print(d());"
        "clipstyler.stylize('photo.png', 'fire', size=64, steps=1, patches=1).save('out.png')"
    )
    environment = homeless_environment(shared)
    ran = subprocess.run(
        [*stranger, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=shared,
        check=False,
    )
    assert ran.stdout.strip() == f"{shared}/clipstyler-home-12345/.cache/clipstyler/models", ran.stderr
    assert (ran.returncode, (shared / "out.png").exists()) == (0, True), ran.stderr


def test_a_user_without_a_home_serves(stranger: list[str], shared: Path, photo: Path) -> None:
    environment = homeless_environment(shared, CLIPSTYLER_EVALUATOR="false")
    words = [*stranger, *COMMAND, "serve", "--port", "0", "--http-port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert f"no home directory: {shared}/clipstyler-home-12345 stands in for it" in next(lines)
        ready = next(line for line in map(json.loads, lines) if line["event"] == "server_ready")
        with Client(ready["grpc"]) as client:
            result = client.stylize(photo, "fire", size=64, output_size=64, steps=1, patches=1).result()
        process.terminate()
        assert "server_stopped" in process.stderr.read()
    assert (process.returncode, result.width) == (0, 64)
    assert (shared / "clipstyler-home-12345/.local/share/clipstyler/jobs.sqlite3").stat().st_uid == 12345


def test_the_server_module_reports_a_missing_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr("clipstyler_server.serving.run", served.append)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server_main.main()
    home = tmp_path / f"clipstyler-home-{os.getuid()}"
    assert capsys.readouterr().err.startswith(f"warning: no home directory: {home} stands in for it")
    assert served[0].data_path == home / ".local/share/clipstyler"
    assert served[0].cache_path == home / ".cache/clipstyler"


def homeless(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    surroundings.prepare()


def test_the_temporary_home_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"clipstyler-home-{os.getuid()}"
    homeless(monkeypatch, tmp_path)
    assert temporary_home() == tmp_path / name
    (tmp_path / name).chmod(0o777)  # as another user would leave it
    homeless(monkeypatch, tmp_path)
    home = temporary_home()
    assert home not in (None, tmp_path / name)
    assert home.stat().st_mode & 0o077 == 0


def test_a_home_that_can_be_used_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    surroundings.prepare()
    assert os.environ["HOME"] == str(tmp_path)
    assert temporary_home() is None


def test_serving_without_a_home_reports_where_jobs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homeless(monkeypatch, tmp_path)
    outcome = call("serve", "--port", "70000")
    assert f"warning: no home directory: {temporary_home()} stands in for it" in outcome.stderr


def test_a_deleted_working_directory_is_named_or_not_needed(
    server: ScriptedServer, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, named in (
        (["stylize", photo, "fire", "-o", "out.png", "--server", server.target], "--out: out.png"),
        (["stylize", "photo.png", "fire", "-o", tmp_path / "out.png", "--server", server.target], "PHOTO: photo.png"),
        (["demo"], "--out-dir: out"),
        (["apply", "fire", photo, "photo.png", "-o", tmp_path], "PHOTOS: photo.png"),
        (["apply", "fire.style", photo, "-o", tmp_path], "STYLE: fire.style"),
        (["apply", "fire", photo, "-o", tmp_path, "--mix-with", "a/look"], "--mix-with: a/look"),
        (["styles", "create", "--text", "fire", "--photos", "photo.png"], "--photos: photo.png"),
        (["styles", "create", "--text", "fire", "photo.png"], "[JOB | PHOTOS...]: photo.png"),
        (["lab", "--photo", "photo.png", "--out", tmp_path], "--photo: photo.png"),
        (["serve", "--tokens", "tokens"], "--tokens: tokens"),
    ):
        delete_working_directory(tmp_path, monkeypatch)
        outcome = call(*arguments)
        assert outcome.exit_code == 2
        assert f"error: {named}: the working directory no longer exists: name an absolute path" in outcome.stderr
    delete_working_directory(tmp_path, monkeypatch)
    assert call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", server.target).exit_code == 0
    assert Path.cwd() == Path(tempfile.gettempdir())


def delete_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1e10", "--timeout: 1e+10 is above 31622400, a year"),
        ("inf", "--timeout: inf is above 31622400, a year"),
        ("nan", "--timeout: nan is not above 0"),
        ("-1", "--timeout: -1 is not above 0"),
    ],
)
@pytest.mark.parametrize("detach", [[], ["--detach"]], ids=["call", "job"])
def test_a_timeout_that_is_no_time_is_refused_before_any_work(
    server: ScriptedServer, photo: Path, value: str, problem: str, detach: list[str]
) -> None:
    outcome = call(
        "stylize",
        photo,
        "fire",
        "-o",
        photo.with_name("out.png"),
        "--server",
        server.target,
        "--timeout",
        value,
        *detach,
    )
    assert outcome.exit_code == 2
    assert problem in outcome.stderr
    assert server.requests == []


def test_a_timeout_without_a_server_is_refused(photo: Path) -> None:
    outcome = call("stylize", photo, "fire", "-o", photo.with_name("out.png"), "--timeout", "nan")
    assert outcome.exit_code == 2
    assert "--timeout: limits a call to a server" in outcome.stderr


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies that do not answer."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("proxies")
async def test_loopback_is_reached_without_a_proxy(server: ScriptedServer) -> None:
    with Client(server.target) as client:
        assert client.server_info(timeout_s=5).version == "1.2.3"
    async with AsyncClient(server.target) as client:
        assert (await client.server_info(timeout_s=5)).version == "1.2.3"


@pytest.mark.parametrize(
    "target", ["localhost:1", "127.0.0.2:1", "[::1]:1", "dns:///localhost:1", "ipv4:127.0.0.1:1", "api.localhost:1"]
)
@pytest.mark.usefixtures("proxies")
def test_every_spelling_of_loopback_is_known(target: str) -> None:
    assert dict(channel_options(target))["grpc.enable_http_proxy"] == 0


def test_a_proxy_is_used_only_if_it_is_meant_for_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.delenv("grpc_proxy", raising=False)
    assert dict(channel_options("images.example:443"))["grpc.enable_http_proxy"] == 0
    monkeypatch.setenv("grpc_proxy", "http://proxy:3128")
    assert dict(channel_options("images.example:443"))["grpc.enable_http_proxy"] == 1


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), 1e10])
def test_the_client_refuses_such_a_timeout_too(server: ScriptedServer, timeout_s: float) -> None:
    with Client(server.target) as client:
        for begin in (client.stylize, client.jobs.create):
            with pytest.raises(OptionError, match="timeout_s: "):
                begin(picture(), "fire", timeout_s=timeout_s)


def test_the_demo_finds_its_photo_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.example_photo().read_bytes()[:2] == b"\xff\xd8"
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "a/b/demo.py"))
    outcome = call("demo", "--out-dir", tmp_path)
    assert outcome.exit_code == 2
    assert "--photo: the example astronaut.jpg is not installed; name a photo" in outcome.stderr
