"""The chart renders to resources that Kubernetes accepts, and that mean what the values say."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from clipstyler_server.api import reflection_service
from clipstyler_server.api.server import ENCODER_SERVICE, SERVER_SERVICE, STYLE_SERVICE, STYLIZATION_SERVICE
from clipstyler_server.settings import Settings
from grpc_health.v1 import health

from tests.deploy.chart import CHART, RenderError, Resource, helm, only, render, validate

SERVICES = {STYLIZATION_SERVICE, STYLE_SERVICE, SERVER_SERVICE, ENCODER_SERVICE}
EVERYTHING: dict[str, Any] = {
    "gpu": {"enabled": True, "count": 2},
    "settings": {"max_steps": 200, "max_job_memory_bytes": 8589934592, "caller_share": 0.5, "encoder_sets": "pocket"},
    "tls": {"secretName": "certificate", "clientCaKey": "ca.crt"},
    "tokens": {"secretName": "identity"},
    "tenants": {"secretName": "identity"},
    "database": {"secretName": "database"},
    "persistence": {"storageClassName": "fast"},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "tlsConfig": {"serverName": "studio"}},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
    "networkPolicy": {"egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}]},
    "route": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["studio.example"]},
    "autoscaling": {"enabled": True},
    "nodeSelector": {"accelerator": "gpu"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    "imagePullSecrets": [{"name": "pull"}],
}
SMALL = {"insecure": True}


@pytest.fixture(scope="module")
def everything() -> list[Resource]:
    return render(EVERYTHING)


@pytest.fixture(scope="module")
def small() -> list[Resource]:
    return render(SMALL)


def container(resources: list[Resource]) -> Resource:
    (found,) = only(resources, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return found


def environment(resources: list[Resource]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(resources)["env"] if "value" in entry}


def test_helm_lint_finds_nothing() -> None:
    command = [helm(), "lint", "--strict", "--set", "insecure=true", CHART]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("release", ["small", "everything"])
def test_kubernetes_accepts_every_resource(release: str, request: pytest.FixtureRequest) -> None:
    for resource in request.getfixturevalue(release):
        validate(resource)


def test_all_is_there_if_it_is_asked_for(small: list[Resource], everything: list[Resource]) -> None:
    always = ["NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "StatefulSet"]
    assert sorted(resource["kind"] for resource in small) == always
    extra = ["BackendTrafficPolicy", "ConfigMap", "GRPCRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"]
    assert sorted(resource["kind"] for resource in everything) == sorted([*always, *extra])


@pytest.fixture(scope="module")
def sharing() -> list[Resource]:
    return render(EVERYTHING | {"sharing": {"claimName": "images", "certificateName": "studio"}})


def test_replicas_that_share_a_claim_share_their_jobs(
    sharing: list[Resource], everything: list[Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    for resource in sharing:
        validate(resource)
    for name, value in environment(sharing).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.shared_dir in {mount["mountPath"] for mount in container(sharing)["volumeMounts"]}
    assert settings.advertise == "$(POD_NAME).clipstyler-replicas:50051"  # which Kubernetes fills in
    assert container(sharing)["env"][0]["name"] == "POD_NAME"
    assert (settings.peer_ca, settings.peer_name) == ("/run/secrets/clipstyler/tls/ca.crt", "studio")
    volumes = only(sharing, "StatefulSet")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "shared", "persistentVolumeClaim": {"claimName": "images"}} in volumes
    # A caller may go anywhere, and replicas call each other.
    services = [resource["spec"] for resource in sharing if resource["kind"] == "Service"]
    assert not any("sessionAffinity" in service for service in services)
    assert "loadBalancer" not in only(sharing, "BackendTrafficPolicy")["spec"]
    own = only(sharing, "StatefulSet")["spec"]["selector"]
    policy = only(sharing, "NetworkPolicy")["spec"]
    assert {"to": [{"podSelector": own}], "ports": [{"port": 50051, "protocol": "TCP"}]} in policy["egress"]
    assert {"from": [{"podSelector": own}], "ports": [{"port": "grpc", "protocol": "TCP"}]} in policy["ingress"]
    assert "max by (priority)" in only(sharing, "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    assert "CLIPSTYLER_SHARED_DIR" not in environment(everything)


def test_sharing_needs_a_database() -> None:
    with pytest.raises(RenderError, match=r"sharing needs database\.secretName"):
        render(SMALL | {"sharing": {"claimName": "images"}})


def test_a_release_needs_tls_or_insecure() -> None:
    with pytest.raises(RenderError, match=r"set tls\.secretName, or insecure=true"):
        render({})


@pytest.mark.parametrize("values", [{"replicas": 2}, {"drain": {"delaySeconds": "ten"}}, {"gpu": {"count": 0}}])
def test_values_that_the_chart_does_not_have_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match="don't meet the specifications of the schema"):
        render(SMALL | values)


@pytest.mark.parametrize(
    ("name", "values", "instead"),
    [
        ("host", {}, "it follows from the chart"),
        ("http_port", {}, "it follows from the chart"),
        ("drain_delay_s", {}, r"set drain\.delaySeconds"),
        ("drain_grace_s", {}, r"set drain\.graceSeconds"),
        ("insecure", {}, "set insecure"),
        ("tls_cert", {"tls": {"secretName": "certificate"}}, r"set tls\.secretName"),
        ("tls_client_ca", EVERYTHING, r"set tls\.clientCaKey"),
        ("tokens", EVERYTHING, r"set tokens\.secretName"),
        ("tenants", EVERYTHING, r"set tenants\.secretName"),
        ("database_url", EVERYTHING, r"set database\.secretName"),
        ("shared_dir", EVERYTHING | {"sharing": {"claimName": "images"}}, r"set sharing\.claimName"),
    ],
)
def test_a_setting_that_would_have_no_effect_is_refused(name: str, values: dict[str, Any], instead: str) -> None:
    with pytest.raises(RenderError, match=rf"settings\.{name} .*{instead}"):
        render((values or SMALL) | {"settings": {name: "anything"}})


def test_the_device_of_a_gpu_can_be_chosen() -> None:
    gpus = {"gpu": {"enabled": True, "count": 2}}
    given = environment(render(SMALL | gpus | {"settings": {"device": "cuda:1"}}))
    assert (given["CLIPSTYLER_DEVICE"], "CLIPSTYLER_DEVICES" in given) == ("cuda:1", False)


def test_prometheus_has_a_token_if_the_pages_need_one() -> None:
    monitor = {"enabled": True, "token": {"secretName": "probe"}}
    values = SMALL | {"settings": {"http_auth": True}, "tokens": {"secretName": "identity"}}
    found = only(render(values | {"monitoring": {"serviceMonitor": monitor}}), "ServiceMonitor")
    validate(found)
    (endpoint,) = found["spec"]["endpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "probe", "key": "token"}}  # of type Bearer by default
    with pytest.raises(RenderError, match=r"http_auth needs monitoring\.serviceMonitor\.token\.secretName"):
        render(values | {"monitoring": {"serviceMonitor": {"enabled": True}}})
    assert render(values)  # without a ServiceMonitor there is nothing to give it to


def test_the_settings_exist_and_are_valid(everything: list[Resource], monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment(everything)
    assert {name.removeprefix("CLIPSTYLER_").lower() for name in given} <= set(Settings.model_fields)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.max_steps, settings.max_job_memory_bytes, settings.caller_share) == (200, 8589934592, 0.5)
    assert (settings.device, settings.tls_client_ca) == ("cuda", "/run/secrets/clipstyler/tls/ca.crt")
    assert settings.insecure is False


def test_a_release_without_tls_sets_insecure(small: list[Resource]) -> None:
    given = environment(small)
    assert given["CLIPSTYLER_INSECURE"] == "true"
    assert "CLIPSTYLER_TLS_CERT" not in given


def test_files_that_settings_name_are_mounted(everything: list[Resource]) -> None:
    pod = only(everything, "StatefulSet")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container(everything)["volumeMounts"]}
    secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
    for name in ("tls_cert", "tls_key", "tls_client_ca", "tokens", "tenants"):
        path = environment(everything)[f"CLIPSTYLER_{name.upper()}"]
        secret = secrets[mounts[path.rpartition("/")[0]]]
        assert secret["defaultMode"] == 0o440  # what the server demands of them


def test_the_pod_has_no_rights_and_writes_to_volumes_only(everything: list[Resource]) -> None:
    pod = only(everything, "StatefulSet")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # CLIPSTYLER_PORT of a Service called clipstyler is no port
    security = container(everything)["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    written = {mount["mountPath"] for mount in container(everything)["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/var/lib/clipstyler", "/var/cache/clipstyler", "/tmp"}


def test_a_gpu_is_asked_for_as_kubernetes_wants_it(small: list[Resource], everything: list[Resource]) -> None:
    resources = container(everything)["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == 2
    assert resources["limits"]["memory"] == "16Gi"
    assert "nvidia.com/gpu" not in container(small)["resources"]["limits"]
    images = [container(resources)["image"].rpartition("-")[2] for resources in (small, everything)]
    assert images == ["cpu", "cuda"]


def test_every_gpu_of_a_pod_has_an_optimizer(small: list[Resource], everything: list[Resource]) -> None:
    assert environment(everything)["CLIPSTYLER_DEVICES"] == "cuda*2"
    assert "CLIPSTYLER_DEVICES" not in environment(small)
    one = render(SMALL | {"gpu": {"enabled": True}})
    assert (environment(one)["CLIPSTYLER_DEVICE"], "CLIPSTYLER_DEVICES" in environment(one)) == ("cuda", False)


def test_probes_ask_the_pages_by_the_servers_scheme(small: list[Resource], everything: list[Resource]) -> None:
    for resources, scheme in ((small, "HTTP"), (everything, "HTTPS")):
        probes = {
            name: container(resources)[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")
        }
        assert {probe["scheme"] for probe in probes.values()} == {scheme}
        assert {name: probe["path"] for name, probe in probes.items()} == {
            "startup": "/startupz",
            "readiness": "/readyz",
            "liveness": "/livez",
        }


def test_kubernetes_waits_longer_than_a_drain_takes() -> None:
    resources = render(SMALL | {"drain": {"delaySeconds": 7, "graceSeconds": 300}, "autoscaling": {"enabled": True}})
    given = environment(resources)
    assert (given["CLIPSTYLER_DRAIN_DELAY_S"], given["CLIPSTYLER_DRAIN_GRACE_S"]) == ("7", "300")
    pod = only(resources, "StatefulSet")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 337
    behavior = only(resources, "ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 337}]


def test_only_the_autoscaler_counts_replicas(small: list[Resource], everything: list[Resource]) -> None:
    assert only(small, "StatefulSet")["spec"]["replicas"] == 1
    assert "replicas" not in only(everything, "StatefulSet")["spec"]
    target = only(everything, "ScaledObject")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", only(everything, "StatefulSet")["metadata"]["name"])


def test_the_autoscaler_counts_the_jobs_of_this_release(everything: list[Resource]) -> None:
    (trigger,) = only(everything, "ScaledObject")["spec"]["triggers"]
    own = 'namespace="studio",pod=~"clipstyler-[0-9]+"'
    assert trigger["metadata"]["query"] == (
        f"sum(clipstyler_queue_depth{{{own}}}) + sum(clipstyler_jobs_running{{{own}}})"
    )


def test_the_route_lifts_the_timeout_of_streams(everything: list[Resource]) -> None:
    route, policy = only(everything, "GRPCRoute"), only(everything, "BackendTrafficPolicy")
    assert policy["spec"]["targetRefs"][0]["name"] == route["metadata"]["name"]
    assert policy["spec"]["timeout"]["http"]["requestTimeout"] == "0s"
    (rule,) = route["spec"]["rules"]
    names = {match["method"]["service"] for match in rule["matches"]}
    assert names == {*SERVICES, health.SERVICE_NAME, *reflection_service.SERVICE_NAMES}
    service = next(found for found in everything if found["kind"] == "Service" and "clusterIP" not in found["spec"])
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}]


@pytest.mark.parametrize(("peers", "port"), [("clients", "http"), ("monitoring", "grpc")])
def test_a_network_policy_without_peers_lets_nobody_in(peers: str, port: str) -> None:
    resources = render(SMALL | {"networkPolicy": {peers: []}})
    validate(only(resources, "NetworkPolicy"))
    rules = only(resources, "NetworkPolicy")["spec"]["ingress"]
    # A rule with an empty `from` would let in everybody.
    assert [entry["port"] for rule in rules for entry in rule["ports"]] == [port]
    nobody = only(render(SMALL | {"networkPolicy": {"clients": [], "monitoring": []}}), "NetworkPolicy")
    validate(nobody)
    assert not nobody["spec"]["ingress"]


def test_services_and_policies_select_the_pods(everything: list[Resource]) -> None:
    labels = only(everything, "StatefulSet")["spec"]["template"]["metadata"]["labels"].items()
    services = [resource["spec"]["selector"] for resource in everything if resource["kind"] == "Service"]
    others = [only(everything, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
    others.append(only(everything, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    for selector in [*services, *others]:
        assert selector.items() <= labels
    monitored = only(everything, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    matching = [
        found for found in everything if found["kind"] == "Service" and monitored <= found["metadata"]["labels"].items()
    ]
    (service,) = matching  # one of the two: a server is scraped once
    assert "http" in {port["name"] for port in service["spec"]["ports"]}


def test_the_rules_and_the_dashboard_are_the_generated_ones(everything: list[Resource]) -> None:
    assert only(everything, "PrometheusRule")["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    board = only(everything, "ConfigMap")["data"]["clipstyler.json"]
    assert board.strip() == (CHART / "files" / "dashboard.json").read_text().strip()


def test_two_releases_have_names_of_their_own() -> None:
    names = {resource["metadata"]["name"] for resource in render(SMALL, "first")}
    assert names == {"first-clipstyler", "first-clipstyler-replicas"}
    assert {resource["metadata"]["name"] for resource in render(SMALL, "clipstyler-b")} == {
        "clipstyler-b",
        "clipstyler-b-replicas",
    }


def test_the_chart_has_the_version_of_the_package() -> None:
    (version,) = re.findall(r'^version = "(.+)"', (CHART.parents[2] / "pyproject.toml").read_text(), re.MULTILINE)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
