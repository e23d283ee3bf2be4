"""The manifest for KubeRay is what Kubernetes and KubeRay accept, and its parts fit together."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from clipstyler_server.settings import Settings

from tests.deploy.chart import ROOT, TOOLS, Resource, only, validate

MANIFEST = ROOT / "deploy" / "kuberay" / "clipstyler.yaml"


@pytest.fixture(scope="module")
def resources() -> list[Resource]:
    return list(yaml.safe_load_all(MANIFEST.read_text()))


@pytest.fixture(scope="module")
def spec(resources: list[Resource]) -> Resource:
    return only(resources, "RayCluster")["spec"]


def container(group: Resource) -> Resource:
    (found,) = group["template"]["spec"]["containers"]
    return found


def head_settings(spec: Resource) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(spec["headGroupSpec"])["env"]}


def test_every_resource_is_valid(resources: list[Resource]) -> None:
    if not list(TOOLS.glob("ray.io_*")):
        pytest.skip("there is no schema of RayCluster: scripts/install_chart_tools fetches it")
    for resource in resources:
        validate(resource)


def test_the_settings_exist_and_are_valid(spec: Resource, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in head_settings(spec).items():
        assert name.removeprefix("CLIPSTYLER_").lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.engine == "ray"
    (workers,) = spec["workerGroupSpecs"]
    assert len(settings.optimizer_devices) == workers["maxReplicas"]
    assert all(device.is_gpu for device in settings.optimizer_devices)
    grace_s = spec["headGroupSpec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s >= settings.drain_delay_s + settings.drain_grace_s + 15


def test_files_are_mounted_as_the_server_demands_and_variables_are_its_own(spec: Resource) -> None:
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["enableServiceLinks"] is False  # CLIPSTYLER_PORT of the Service called clipstyler is no port
        assert all(volume["secret"]["defaultMode"] == 0o440 for volume in pod.get("volumes", ()) if "secret" in volume)


def test_each_worker_has_one_gpu_and_runs_what_kuberay_generates(spec: Resource) -> None:
    (workers,) = spec["workerGroupSpecs"]
    assert container(workers)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for group in (spec["headGroupSpec"], workers):
        assert "$KUBERAY_GEN_RAY_START_CMD" in container(group)["args"][0]
    assert container(workers)["image"] == container(spec["headGroupSpec"])["image"]


def test_the_head_runs_no_jobs_and_serves_on_the_port_of_the_service(resources: list[Resource], spec: Resource) -> None:
    head = spec["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert container(head)["args"][0].endswith("exec clipstyler serve")
    ports = {port["name"]: port["containerPort"] for port in container(head)["ports"]}
    assert ports["grpc"] == Settings().port
    (port,) = only(resources, "Service")["spec"]["ports"]
    assert port["targetPort"] == ports["grpc"]
    volumes = {volume["name"] for volume in head["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container(head)["volumeMounts"]} == volumes


def test_probes_ask_the_server_and_the_node(spec: Resource) -> None:
    head, (workers,) = container(spec["headGroupSpec"]), spec["workerGroupSpecs"]
    pages = {kind: head[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert pages == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    port = {port["name"]: port["containerPort"] for port in container(workers)["ports"]}
    assert workers["rayStartParams"]["node-manager-port"] == str(port["node-manager"])
    for kind in ("liveness", "readiness"):
        assert container(workers)[f"{kind}Probe"]["tcpSocket"]["port"] == "node-manager"


def test_only_the_cluster_and_its_operator_reach_rays_ports(resources: list[Resource]) -> None:
    rules: list[dict[str, Any]] = only(resources, "NetworkPolicy")["spec"]["ingress"]
    unrestricted = [rule for rule in rules if "ports" not in rule]
    assert [list(peer) for rule in unrestricted for peer in rule["from"]] == [
        ["podSelector"],
        ["namespaceSelector", "podSelector"],
    ]
    assert all(peer["podSelector"].get("matchLabels") for rule in unrestricted for peer in rule["from"])
    served = [port["port"] for rule in rules for port in rule.get("ports", [])]
    assert served == [Settings().port, Settings().http_port]


def test_the_version_of_ray_is_the_locked_one(spec: Resource) -> None:
    lock = (ROOT / "requirements" / "server.lock").read_text()
    assert f"\nray=={spec['rayVersion']} " in lock
