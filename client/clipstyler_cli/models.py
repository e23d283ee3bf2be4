"""`clipstyler models`: available encoder sets, here or on a server."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from clipstyler.output_files import Output, check_outputs
from clipstyler_cli.command_group import App
from clipstyler_cli.connection import Target, with_connection_flags
from clipstyler_cli.errors import WorkFailedError, clear_errors
from clipstyler_cli.files import Delivery, places_beside
from clipstyler_cli.local import library_errors
from clipstyler_cli.local_store import local_store
from clipstyler_cli.terminal import Terminal, print_json, table
from clipstyler_cli.weights import pull, verify

if TYPE_CHECKING:
    from clipstyler.encoders.base import EncoderSet
    from clipstyler.encoders.onnx.manifest import Manifest
    from clipstyler.encoders.onnx.parity import Parity

app = App(no_args_is_help=True, help="Encoders that guide a stylization.")


app.command("pull")(pull)
app.command("verify")(verify)


@app.callback()
def group() -> None:
    """Encoders that guide a stylization."""


@app.command("list")
@with_connection_flags
def list_models(
    server: Annotated[Target | None, typer.Option(help="HOST:PORT of a server. Default: this machine.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List encoder sets by name, with the digests of their weights.

    Examples
    --------
      clipstyler models list

      clipstyler models list --server localhost:50051 --json
    """
    with clear_errors():
        entries = _here() if server is None else _there(server)
        if as_json:
            print_json(entries)
            return
        shown = table("name", "description", "weights (SHA-256)", "threshold", "source text")
        for entry in entries:
            lines = [f"{m['name']} {m['digest'][:12]}" for m in entry["models"]]
            digests = "\n".join([*lines, entry["note"]] if entry["note"] else lines)
            calibration = entry["calibration"]
            threshold = f"{calibration['threshold']:g}"
            shown.add_row(entry["name"], entry["description"], digests, threshold, entry["source_text"])
        Terminal().print(shown)


@app.command("export")
def export(
    name: Annotated[
        str, typer.Argument(help="Name of the encoders; see `clipstyler models list`.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Directory for the export; created if missing.", show_default=False)],
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision.")] = False,
    opset: Annotated[int | None, typer.Option(help="ONNX operator set, 18 to 20. Default: 18.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest and the parity as JSON.")] = False,
) -> None:
    """Write encoders as ONNX files, and compare them with PyTorch.

    Examples
    --------
      clipstyler models export pocket --out pocket-onnx

      clipstyler models export vit-b-32 --out vit-onnx --fp16

      clipstyler models export ViT-B-16:openai --out vit-16-onnx --json
    """
    with clear_errors(encoder_set="NAME"), library_errors():
        from clipstyler.encoders import registry  # heavy, and only used here
        from clipstyler.encoders.onnx.encoders import OnnxEncoders
        from clipstyler.encoders.onnx.export import OPSET, check_directory
        from clipstyler.encoders.onnx.parity import check_parity
        from clipstyler.encoders.onnx.providers import SessionOptions
        from clipstyler.encoders.torch_encoders import TorchEncoders

        output, delivery = Output("out", out), Delivery()
        check_outputs([], directories=[output])
        check_directory(out)
        encoders = registry.load(name, store=local_store())
        manifest, written = _export(encoders, output, delivery, OPSET if opset is None else opset, fp16)
        exported = OnnxEncoders(written, SessionOptions(("cpu",)))
        parity = check_parity(TorchEncoders(encoders), exported)
        if as_json:
            verdict = asdict(parity) | {"holds": parity.holds}
            print_json({"manifest": asdict(manifest), "parity": verdict})
        else:
            Terminal().print(_export_table(manifest, parity, written))
        if not parity.holds:
            raise WorkFailedError(f"the export does not agree with PyTorch: {parity}")
        delivery.finish()


def _export(encoders: EncoderSet, output: Output, delivery: Delivery, opset: int, half: bool) -> tuple[Manifest, Path]:
    from clipstyler.encoders.onnx.export import export

    try:
        return export(encoders, output.path.resolve(), opset=opset, half=half), output.path
    except OSError as error:
        failure = error
    for place in places_beside(output.path):
        with suppress(OSError):
            manifest = export(encoders, place, opset=opset, half=half)
            delivery.fail(output, f"{failure.strerror or failure}; written to {place} instead")
            return manifest, place
    raise failure


def _export_table(manifest: Manifest, parity: Parity, out: Path) -> Table:
    title = f"{manifest.name}, {manifest.precision}"
    shown = table("file", "bytes", "SHA-256", "cosine", "difference", title=title)
    for tower, graph in manifest.graphs.items():
        found = [a for a in parity.agreements if a.tower.startswith(tower)]
        cosine, difference = min(a.cosine for a in found), max(a.difference for a in found)
        size = (out / graph.file).stat().st_size
        shown.add_row(graph.file, f"{size:,}", graph.sha256[:12], f"{cosine:.7f}", f"{difference:.2g}")
    return shown


def _here() -> list[dict[str, Any]]:
    from clipstyler.encoders import registry  # light, but only used here

    entries = []
    for spec in registry.catalog():
        models, note = _weights_here(spec.name)
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


def _weights_here(name: str) -> tuple[list[dict[str, str]], str]:
    from clipstyler.encoders import registry

    try:
        if name == registry.BUNDLED:
            return [model._asdict() for model in registry.load(name).models], ""
        wanted, store = registry.weights(name), local_store()
    except ModuleNotFoundError:
        return [], 'needs pip install "clipstyler[local]"'
    stored = [found for found in map(store.find, wanted) if found]
    missing = [weights.name for weights in wanted if not store.find(weights)]
    note = f"not downloaded: {', '.join(missing)}; `clipstyler models pull {name}`" if missing else ""
    return [{"name": found.name, "digest": found.digest} for found in stored], note


def _there(server: Target) -> list[dict[str, Any]]:
    with server.connect() as client:
        encoders = client.server_info().encoder_sets
    return [
        {
            "name": entry.name,
            "description": entry.description,
            "models": [model._asdict() for model in entry.models],
            "note": "",
            "source_text": entry.source_text,
            "calibration": dict(entry.calibration),
        }
        for entry in encoders
    ]
