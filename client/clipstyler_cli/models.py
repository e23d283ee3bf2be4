"""`clipstyler models`: which encoders there are, here or on a server."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from clipstyler_cli.faults import clear_errors

app = typer.Typer(no_args_is_help=True, help="Encoders that guide a stylisation.")


@app.callback()
def group() -> None:
    """Encoders that guide a stylisation."""


@app.command("list")
def list_models(
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a server. Default: this machine.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List encoders by name, with the digests of their weights.

    Examples
    --------
      clipstyler models list

      clipstyler models list --server localhost:50051 --json
    """
    with clear_errors():
        entries = _here() if server is None else _there(server)
        if as_json:
            print(json.dumps(entries, indent=2))
            return
        table = Table("name", "what they are", "weights (SHA-256)", "threshold", "source text")
        for entry in entries:
            digests = "\n".join(f"{m['name']} {m['digest'][:12]}" for m in entry["models"]) or entry["note"]
            calibration = entry["calibration"]
            table.add_row(
                entry["name"], entry["description"], digests, f"{calibration['threshold']:g}", entry["source_text"]
            )
        Console().print(table)


def _here() -> list[dict[str, Any]]:
    from clipstyler.encoders import registry  # noqa: PLC0415 - light, but only used here

    entries = []
    for spec in registry.catalogue():
        models, note = _loaded(spec.name) if spec.name == registry.BUNDLED else ([], "loaded when first used")
        calibration = asdict(spec.calibration)
        source_text = calibration.pop("source_text")
        entries.append(
            {
                "name": spec.name,
                "description": spec.description,
                "models": models,
                "note": note,
                "source_text": source_text,
                "calibration": calibration,
            }
        )
    return entries


def _loaded(name: str) -> tuple[list[dict[str, str]], str]:
    from clipstyler.encoders import registry  # noqa: PLC0415

    try:
        return [model._asdict() for model in registry.load(name).models], ""
    except ModuleNotFoundError:
        return [], 'needs pip install "clipstyler[local]"'


def _there(server: str) -> list[dict[str, Any]]:
    from clipstyler_client import Client  # noqa: PLC0415

    with Client(server) as client:
        encoders = client.server_info().encoders
    return [
        {
            "name": entry.name,
            "description": entry.description,
            "models": [model._asdict() for model in entry.models],
            "note": "",
            "source_text": entry.source_text,
            "calibration": {name: value for name, value in asdict(entry.calibration).items() if value is not None},
        }
        for entry in encoders
    ]
