"""Settings from flags, the environment and a file, and the command that shows them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from clipstyler_cli.main import app
from clipstyler_server.configuration import ConfigurationError, load, origins
from clipstyler_server.settings import Settings
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    for name in [name for name in os.environ if name.startswith("CLIPSTYLER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.write_text('max_steps = 7\nmax_size = 128\nmax_patches = 9\nencoder_sets = ["pocket", "vit-b-32"]\n')
    return path


def call(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_flags_come_before_the_environment_and_that_before_the_file(file, monkeypatch):
    monkeypatch.setenv("CLIPSTYLER_MAX_SIZE", "256")
    monkeypatch.setenv("clipstyler_max_patches", "11")
    settings = load(str(file), max_patches=13)
    assert (settings.max_steps, settings.max_size, settings.max_patches) == (7, 256, 13)
    assert settings.encoder_sets == ("pocket", "vit-b-32")
    assert settings.max_batch == Settings().max_batch


def test_the_environment_names_the_file(file, monkeypatch):
    monkeypatch.setenv("CLIPSTYLER_CONFIG", str(file))
    assert load().max_steps == 7


def test_unknown_keys_and_bad_values_are_named_with_where_they_are(file, monkeypatch):
    file.write_text("max_stepz = 7\nfoo = 1\n")
    with pytest.raises(
        ConfigurationError, match=r"max_stepz is no setting: did you mean max_steps\?; .*foo is no setting$"
    ):
        load(str(file))
    file.write_text("max_steps = 0\nmax_size = 1\n")
    monkeypatch.setenv("CLIPSTYLER_MAX_SIZE", "2")
    with pytest.raises(ConfigurationError) as refused:
        load(str(file), max_patches=0)
    problems = str(refused.value).split("; ")
    assert {problem.partition(": Input")[0] for problem in problems} == {
        "CLIPSTYLER_MAX_SIZE",
        f"{file}: max_steps",
        "--max-patches",
    }


@pytest.mark.parametrize("content", [None, b"max_steps", b"\xff"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, content):
    path = tmp_path / "server.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"server\.toml (cannot be read|is not TOML)"):
        load(str(path))


def test_a_pipe_is_no_file_of_settings(tmp_path):
    os.mkfifo(tmp_path / "server.toml")
    with pytest.raises(ConfigurationError, match=r"server\.toml cannot be read: it is no regular file"):
        load(str(tmp_path / "server.toml"))


def test_passwords_are_never_shown(monkeypatch, file):
    file.write_text('database_url = "postgresql+psycopg://me:s3cret@host/name"\n')
    shown = call("config", "show", "--config", file).output
    assert "s3cret" not in shown
    assert "***@host" in shown
    monkeypatch.setenv("CLIPSTYLER_DATABASE_URL", "postgresql+psycopg://host/name?user=me&password=s3cret&x=1")
    assert "s3cret" not in call("config", "show", "--json").output
    monkeypatch.setenv("CLIPSTYLER_MAX_STEPS", "s3cret")
    assert "s3cret" not in call("config", "show").output


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://me:s3/c:r@et?@host/name?sslpassword=s3@cret&x=1",
            "postgresql://me:***@host/name?sslpassword=***&x=1",
        ),
        ("postgresql://host:5432/name?user=me", "postgresql://host:5432/name?user=me"),
        ("postgresql://me@host:5432/name", "postgresql://me@host:5432/name"),
    ],
)
def test_a_password_is_hidden_whatever_it_has_and_nothing_else(monkeypatch, url, shown):
    monkeypatch.setenv("CLIPSTYLER_DATABASE_URL", url)
    assert json.loads(call("config", "show", "--json").stdout)["database_url"]["value"] == shown


def test_a_misspelled_variable_is_an_error_and_a_foreign_one_is_not(monkeypatch):
    for foreign in ("TOKEN", "TLS_CA", "SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT_50051_TCP"):
        monkeypatch.setenv(f"CLIPSTYLER_{foreign}", "x")
    assert load() == Settings()
    monkeypatch.setenv("CLIPSTYLER_TOKNES", "s3cret")
    monkeypatch.setenv("clipstyler_max_step", "7")
    outcome = call("config", "check")
    assert outcome.exit_code == 2
    assert "CLIPSTYLER_TOKNES is no setting: did you mean CLIPSTYLER_TOKENS?" in outcome.stderr
    assert "CLIPSTYLER_MAX_STEP is no setting: did you mean CLIPSTYLER_MAX_STEPS?" in outcome.stderr
    assert "s3cret" not in outcome.stderr


def test_every_setting_is_shown_with_its_origin(file, monkeypatch):
    monkeypatch.setenv("CLIPSTYLER_MAX_SIZE", "256")
    monkeypatch.setenv("CLIPSTYLER_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
    shown = json.loads(call("config", "show", "--config", file, "--json").stdout)
    assert list(shown) == list(Settings.model_fields)
    assert shown["max_steps"] == {"value": "7", "origin": str(file)}
    assert shown["max_size"] == {"value": "256", "origin": "CLIPSTYLER_MAX_SIZE"}
    assert shown["trusted_proxies"]["value"] == "127.0.0.1/32,10.0.0.0/8"
    assert shown["max_batch"]["origin"] == "default"
    assert [entry.name for entry in origins(load(str(file)), str(file))] == list(shown)


def test_what_cannot_be_served_is_found_before_it_is(file, tmp_path):
    assert call("config", "check", "--config", file).exit_code == 0
    for problem in ('host = "0.0.0.0"', f'tokens = "{tmp_path / "nowhere"}"', 'tls_cert = "x"', "port = 70000"):
        file.write_text(problem + "\n")
        outcome = call("config", "check", "--config", file)
        assert outcome.exit_code == 2, problem
        assert problem.partition(" ")[0] in outcome.stderr or "nowhere" in outcome.stderr


def test_file_environment_and_flags_are_checked_at_once(file, monkeypatch):
    file.write_text("max_stepz = 7\nmax_steps = 0\n")
    monkeypatch.setenv("CLIPSTYLER_TOKNES", "tokens")
    monkeypatch.setenv("CLIPSTYLER_DEVICES", "gpu")
    with pytest.raises(ConfigurationError) as refused:
        load(str(file), drain_delay_s=-1)
    problems = str(refused.value).split("; ")
    assert [problem.partition(" is no setting")[0].partition(": Input")[0] for problem in problems] == [
        f"{file}: max_stepz",
        "CLIPSTYLER_TOKNES",
        "CLIPSTYLER_DEVICES: 'gpu' is no device: use auto, cpu, cuda or cuda:N, with *COUNT for several optimizers",
        f"{file}: max_steps",
        "--drain-delay",
    ]


def test_settings_that_do_not_go_together_are_named_without_a_variable(monkeypatch):
    with pytest.raises(ConfigurationError, match=r"^the engine ray needs `devices`.*; the engine ray runs one job per"):
        load(engine="ray", runs_per_device=2)


def test_all_that_cannot_be_served_is_named_at_once(file, tmp_path):
    file.write_text(
        f'host = "0.0.0.0"\ntls_cert = "x"\ntenants = "{tmp_path / "nobody"}"\nhttp_auth = true\n'
        f'shared_dir = "{tmp_path}"\npeer_ca = "{tmp_path / "no.pem"}"\n'
    )
    outcome = call("config", "check", "--config", file)
    assert outcome.exit_code == 2
    for problem in (
        "tls_cert and tls_key go together",
        "tenants needs credentials",
        "nobody cannot be read",
        "host '0.0.0.0' can be reached",
        "shared_dir needs a database",
        "set advertise to an address",
        "no.pem cannot be read",
        "http_auth needs tokens",
    ):
        assert problem in outcome.stderr


@pytest.mark.parametrize("name", ["retention_s", "upload_retention_s", "retention_interval_s"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e300"])
def test_a_time_that_no_caller_can_be_told_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"CLIPSTYLER_{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=f"^CLIPSTYLER_{name.upper()}: Input should be"):
        load()


def test_brackets_of_an_address_are_left_out():
    settings = Settings(host="[::1]", http_host="[::]")
    assert (settings.host, settings.http_host) == ("::1", "::")


def test_every_number_has_an_upper_bound():
    for name, field in Settings.model_fields.items():
        if field.annotation in {int, float}:
            assert any(hasattr(bound, "le") for bound in field.metadata), name
