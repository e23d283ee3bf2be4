"""Renders the chart with helm, and checks what comes out against the schemas of Kubernetes and of custom resources."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "clipstyler"
TOOLS = ROOT / ".cache" / "chart"
KUBERNETES = ("1.29", "1.37")
"""The oldest version of the chart, and the newest with a schema."""
Resource = dict[str, Any]


class RenderError(Exception):
    """What helm refuses, in its words."""


def helm() -> str:
    """Return the path of helm; skips the test where there is none."""
    found = shutil.which("helm", path=TOOLS) or shutil.which("helm")
    if found is None:
        pytest.skip("there is no helm: scripts/install_chart_tools builds it")
    return found


def render(values: dict[str, Any], name: str = "clipstyler") -> list[Resource]:
    """Return the resources of a release."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        # A helm that is built from its module takes Kubernetes for version 1.20.
        options = ["--namespace", "studio", "--values", file.name, "--kube-version", KUBERNETES[0]]
        command = [helm(), "template", name, CHART, *options]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RenderError(finished.stderr)
    return [resource for resource in yaml.safe_load_all(finished.stdout) if resource]


def only(resources: list[Resource], kind: str) -> Resource:
    """Return the one resource of a kind."""
    (found,) = [resource for resource in resources if resource["kind"] == kind]
    return found


def validate(resource: Resource) -> None:
    """Check a resource against its schema; unknown fields are errors."""
    schema = _custom_schemas().get((resource["apiVersion"], resource["kind"]))
    if schema is None:
        for version in KUBERNETES:
            kubernetes_validate.validate(resource, version, strict=True)
    else:
        jsonschema.Draft7Validator(schema).validate(resource)


@functools.cache
def _custom_schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the schemas of custom resources by API version and kind."""
    schemas = {}
    for path in TOOLS.glob("*.yaml"):
        definition = yaml.safe_load(path.read_text())["spec"]
        for version in definition["versions"]:
            key = (f"{definition['group']}/{version['name']}", definition["names"]["kind"])
            schemas[key] = _closed(version["schema"]["openAPIV3Schema"])
            # What every resource has, and a definition leaves out.
            schemas[key]["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
    return schemas


def _closed(schema: Any) -> Any:
    """Return a schema whose objects have no fields but those that it names, as the API server sees it."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    return closed
