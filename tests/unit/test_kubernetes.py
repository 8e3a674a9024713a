"""The manifests of deploy/kubernetes are valid, may do nothing that they need not, and know what they run."""

import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import distribution
from ipaddress import ip_address
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from shared.pipeline import QUEUES
from tests.deployed import BESIDE, DEPLOY, LONGEST_CALL_S, SECRETS, SETTINGS, queues_of, understood
from tests.manifests import (
    KUBERNETES,
    OVERLAYS,
    Manifest,
    built,
    container,
    environment,
    is_selected,
    labels,
    of_kind,
    pod,
    rendered,
    workloads,
)

TESTS = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent
VERSIONS = ("1.30", "1.34", "1.37")
SCHEMAS = Path(str(distribution("kubernetes-validate").locate_file("kubernetes_validate/kubernetes-json-schema")))
CUSTOM = yaml.safe_load((TESTS / "custom_resources.yaml").read_text(encoding="utf-8"))
VERSION = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
SPREAD_OVER = {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
EACH = pytest.mark.parametrize("overlay", OVERLAYS)
REACHED = {
    "to-ledger": ("MEMBERSYNC_LEDGER_URL", 5432),
    "to-broker": ("MEMBERSYNC_BROKER_URL", 6379),
    "to-outside": ("MEMBERSYNC_CROWDTWIST__API_KEY", 443),
    "to-mail": ("MEMBERSYNC_MAIL__PASSWORD", 25),
    "to-traces": ("OTEL_EXPORTER_OTLP_HEADERS", 4318),
}
"""Who has the key to something may reach it, and nobody else: by the policy's name, and a port of it."""


def distinct() -> list[Manifest]:
    """Return every manifest of every overlay once."""
    return [json.loads(one) for one in sorted({json.dumps(one) for overlay in OVERLAYS for one in rendered(overlay)})]


def named(one: Manifest) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_in_each_version_and_has_nothing_unknown_in_it(version: str) -> None:
    for one in distinct():
        flaws = [*validator(one, version).iter_errors(one)]
        assert not flaws, (named(one), flaws)


def validator(of: Manifest, version: str) -> jsonschema_rs.Validator:
    """Return what knows this kind of manifest in a version of Kubernetes, and takes no field that it does not know."""
    if of["kind"] in CUSTOM:
        return jsonschema_rs.validator_for({**CUSTOM[of["kind"]], "$defs": CUSTOM["$defs"]})
    group, _, api = of["apiVersion"].rpartition("/")
    schemas = SCHEMAS / f"v{version}.0-local-strict"
    name = "-".join(part for part in (of["kind"].lower(), group.partition(".")[0], api) if part)
    return jsonschema_rs.validator_for(
        json.loads((schemas / f"{name}.json").read_text(encoding="utf-8")), registry=definitions(schemas)
    )


@cache
def definitions(schemas: Path) -> jsonschema_rs.Registry:
    name = "_definitions.json"
    return jsonschema_rs.Registry([(name, json.loads((schemas / name).read_text(encoding="utf-8")))])


def test_a_slip_of_the_pen_would_be_found() -> None:
    right = workloads("small")["membersync-api"]
    for version in VERSIONS:
        wrong = {**right, "spec": {**right["spec"], "replcias": 2}}
        assert not validator(wrong, version).is_valid(wrong)


@pytest.mark.parametrize(
    "tool",
    [["yamllint", "--strict", "deploy", "tests"], ["hadolint", "--failure-threshold", "warning", "deploy/Dockerfile"]],
    ids=lambda a: a[0],
)
def test_linters_find_nothing(tool: list[str]) -> None:
    ran = subprocess.run([TOOLS / tool[0], *tool[1:]], cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@EACH
def test_every_queue_has_a_worker(overlay: str) -> None:
    parsed = [understood(["membersync", *container(one)["args"]]) for one in workloads(overlay).values()]
    assert set(queues_of(parsed)) == set(QUEUES)
    assert {one["name"] for one in parsed} == {"api", "dispatcher", "worker", "flower", "migrate"}


@EACH
def test_every_process_says_whether_it_lives_and_whether_it_is_ready(overlay: str) -> None:
    for name, one in of_kind("Deployment", overlay).items():
        of = container(one)
        for kind, question, path in (
            ("startupProbe", "alive", "/healthz"),
            ("livenessProbe", "alive", "/healthz"),
            ("readinessProbe", "ready", "/readyz"),
        ):
            if "httpGet" in of[kind]:
                assert (of[kind]["httpGet"]["path"], of[kind]["httpGet"]["port"]) == (path, of["ports"][0]["name"])
            else:
                command = of[kind]["exec"]["command"]
                understood(command)
                assert command[-2:] == [question, name.removeprefix("membersync-")]
        assert of["livenessProbe"]["failureThreshold"] * of["livenessProbe"]["periodSeconds"] >= 30
        understood(of.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"]))


@EACH
def test_nobody_may_more_than_the_strictest_standard_lets_them(overlay: str) -> None:
    (namespace,) = of_kind("Namespace", overlay).values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (account,) = of_kind("ServiceAccount", overlay).values()
    for one in workloads(overlay).values():
        of, inside = pod(one), container(one)
        assert of["securityContext"]["runAsNonRoot"]
        assert of["securityContext"]["runAsUser"] == of["securityContext"]["fsGroup"] == 10001
        assert of["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert inside["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not of.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers", "shareProcessNamespace"}
        assert all(volume.keys() == {"name", "emptyDir"} for volume in of["volumes"])
        assert of["serviceAccountName"] == account["metadata"]["name"]
        assert of["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False
        assert inside["resources"]["limits"]["memory"]
        assert inside["resources"]["requests"].keys() == {"cpu", "memory"}


def test_authorities_of_the_company_are_trusted_by_every_process(tmp_path: Path) -> None:
    base, component = (os.path.relpath(KUBERNETES / name, tmp_path) for name in ("base", "components/company-ca"))
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{base}]\ncomponents: [{component}]\n", encoding="utf-8")
    found = [one for one in built(tmp_path) if one["kind"] in {"Deployment", "Job"}]
    assert len(found) == len(workloads("small"))
    for one in found:
        assert not [*validator(one, VERSIONS[-1]).iter_errors(one)]
        (mount,) = [mount for mount in container(one)["volumeMounts"] if mount["name"] == "company-ca"]
        (file,) = [env["value"] for env in container(one)["env"] if env["name"] == "SSL_CERT_FILE"]
        assert (mount["mountPath"], mount["readOnly"]) == (str(Path(file).parent), True)
        assert {"name": "company-ca", "configMap": {"name": "membersync-company-ca"}} in pod(one)["volumes"]


@EACH
def test_every_exception_of_the_policies_says_why(overlay: str) -> None:
    for one in rendered(overlay):
        noted = one["metadata"].get("annotations", {})
        reasons = [value.partition("=")[2] for name, value in noted.items() if name.startswith("checkov.io/skip")]
        assert len(reasons) == (4 if "template" in one["spec"] else 0) if "spec" in one else not reasons
        assert all(len(reason.split()) > 4 for reason in reasons)


def test_the_user_and_the_volume_are_those_of_the_image() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    (of,) = {json.dumps(pod(one)["securityContext"]["runAsUser"]) for one in workloads("small").values()}
    (mounted,) = {json.dumps(container(one)["volumeMounts"]) for one in workloads("small").values()}
    assert f"--uid {of} " in dockerfile
    places = {one["name"]: one["mountPath"] for one in json.loads(mounted)}
    assert places.keys() == {"tmp", "home"}
    assert f"MEMBERSYNC_HOME={places['home']}" in dockerfile


@EACH
def test_every_setting_exists_and_a_secret_comes_by_reference_alone(overlay: str) -> None:
    given: set[str] = set()
    for one in workloads(overlay).values():
        assert pod(one)["enableServiceLinks"] is False  # or the cluster sets MEMBERSYNC_API_PORT
        for name, source in environment(one, overlay):
            given.add(name)
            assert name in SETTINGS | BESIDE
            if name in SECRETS | BESIDE:
                reference = source["valueFrom"]["secretKeyRef"]
                assert (reference["name"], reference["key"]) == ("membersync", name)
            else:
                assert "value" in source
    assert given >= SECRETS


@EACH
def test_what_cannot_be_done_without_is_never_optional(overlay: str) -> None:
    wanted = {
        "migrate": {"MEMBERSYNC_LEDGER_URL"},
        "flower": {"MEMBERSYNC_BROKER_URL", "MEMBERSYNC_FLOWER__PASSWORD"},
        "api": {"MEMBERSYNC_API__TOKENS"},
    }
    in_step = {"MEMBERSYNC_LEDGER_URL", "MEMBERSYNC_BROKER_URL", "MEMBERSYNC_CROWDTWIST__API_KEY"}
    for one in workloads(overlay).values():
        found = {
            name
            for name, source in environment(one, overlay)
            if "valueFrom" in source and not source["valueFrom"]["secretKeyRef"].get("optional")
        }
        what = container(one)["args"][0]
        assert found == wanted.get(what, set()) | (set() if what in {"migrate", "flower"} else in_step)


@EACH
def test_nothing_flows_but_what_must(overlay: str) -> None:
    policies = {name: one["spec"] for name, one in of_kind("NetworkPolicy", overlay).items()}
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, (key, port) in REACHED.items():
        assert port in {one["port"] for rule in policies[name]["egress"] for one in rule["ports"]}
        for what, one in workloads(overlay).items():
            has_key = key in dict(environment(one, overlay))
            assert is_selected(policies[name]["podSelector"], labels(one)) == has_key, (name, what)
    sources = [one for policy in policies.values() for rule in policy.get("ingress", []) for one in rule["from"]]
    who = {json.dumps(one["namespaceSelector"]["matchLabels"]) for one in sources}
    assert who == {json.dumps({f"membersync/{name}": "yes"}) for name in ("ingress", "monitoring")}
    for what, one in workloads(overlay).items():
        open_ports = {
            port["port"]
            for policy in policies.values()
            if is_selected(policy["podSelector"], labels(one))
            for rule in policy.get("ingress", [])
            for port in rule["ports"]
            if rule["from"]
        }
        assert open_ports == {port["containerPort"] for port in container(one).get("ports", [])}, what


@EACH
def test_everybody_listens_where_they_are_looked_for(overlay: str) -> None:
    (settings,) = of_kind("ConfigMap", overlay).values()
    listens = {
        "membersync-api": ("API__HOST", "API__PORT"),
        "membersync-dispatcher": ("DISPATCHER__METRICS_HOST", "DISPATCHER__METRICS_PORT"),
        "membersync-flower": ("FLOWER__HOST", "FLOWER__PORT"),
    }
    services = of_kind("Service", overlay)
    assert services.keys() == listens.keys()
    for name, service in services.items():
        (workload,) = [one for one in workloads(overlay).values() if is_selected_by(service["spec"]["selector"], one)]
        assert workload["metadata"]["name"] == name
        (port,) = container(workload)["ports"]
        (served,) = service["spec"]["ports"]
        host_setting, port_setting = listens[name]
        assert ip_address(settings["data"][f"MEMBERSYNC_{host_setting}"]).is_unspecified
        assert int(settings["data"][f"MEMBERSYNC_{port_setting}"]) == port["containerPort"] == served["port"]
        assert served["targetPort"] == port["name"]


def is_selected_by(of: dict[str, str], workload: Manifest) -> bool:
    return is_selected({"matchLabels": of}, labels(workload))


@EACH
def test_whoever_selects_pods_selects_those_of_one_workload(overlay: str) -> None:
    deployments = of_kind("Deployment", overlay)
    budgets = of_kind("PodDisruptionBudget", overlay)
    assert budgets.keys() == deployments.keys() - {"membersync-flower"}
    for one in budgets.values():
        assert one["spec"]["maxUnavailable"] == 1
    selectors = {named(one): one["spec"]["selector"] for one in [*deployments.values(), *budgets.values()]}
    for name, one in deployments.items():
        for spread in pod(one).get("topologySpreadConstraints", []):
            selectors[f"Spread {name}"] = spread["labelSelector"]
        assert {spread["topologyKey"] for spread in pod(one).get("topologySpreadConstraints", [])} == (
            set() if one["spec"].get("replicas") == 1 and name == "membersync-flower" else SPREAD_OVER
        )
    for name, selector in selectors.items():
        taken = [what for what, one in workloads(overlay).items() if is_selected(selector, labels(one))]
        assert taken == [name.split()[1]], name


@EACH
def test_a_process_may_finish_its_calls_before_it_is_killed(overlay: str) -> None:
    for one in workloads(overlay).values():
        grace_s = pod(one)["terminationGracePeriodSeconds"]
        pause = container(one).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
        makes_calls = container(one)["args"][0] in {"api", "worker"}
        assert grace_s > understood(pause)["seconds"] + (LONGEST_CALL_S + 5 if makes_calls else 10)


@EACH
def test_the_image_and_the_migration_are_of_this_version(overlay: str) -> None:
    for one in workloads(overlay).values():
        assert container(one)["image"].rpartition("/")[2] == f"membersync:{VERSION}"
    (job,) = of_kind("Job", overlay)
    assert job == f"membersync-migrate-{VERSION.replace('.', '-')}"
    assert pod(workloads(overlay)[job])["restartPolicy"] == "OnFailure"
    assert not any("hook" in key for one in rendered(overlay) for key in one["metadata"].get("annotations", {}))


@EACH
def test_a_setting_that_is_changed_restarts_whoever_reads_it_and_changes_no_job(overlay: str) -> None:
    (name,) = of_kind("ConfigMap", overlay)
    assert name.startswith("membersync-settings-")
    for one in of_kind("Deployment", overlay).values():
        assert container(one)["envFrom"] == [{"configMapRef": {"name": name}}]
    for one in of_kind("Job", overlay).values():
        assert name not in json.dumps(one)


@EACH
def test_everything_of_ours_is_in_our_namespace(overlay: str) -> None:
    for one in rendered(overlay):
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == "membersync", named(one)


@pytest.mark.parametrize("overlay", ["keda", "hpa"])
def test_a_scaler_scales_each_worker_and_is_the_only_one_to_say_how_many(overlay: str) -> None:
    kind, least, most = {"keda": ("ScaledObject", "minReplicaCount", "maxReplicaCount")}.get(
        overlay, ("HorizontalPodAutoscaler", "minReplicas", "maxReplicas")
    )
    scalers = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in of_kind(kind, overlay).values()}
    assert scalers.keys() == {"membersync-worker-live", "membersync-worker-bulk"}
    for name, one in of_kind("Deployment", overlay).items():
        assert ("replicas" in one["spec"]) != (name in scalers)
    for one in scalers.values():
        assert 1 <= one[least] <= one[most]


def test_both_scalers_count_alike() -> None:
    adapter = yaml.safe_load((KUBERNETES / "components/hpa/prometheus-adapter.yaml").read_text(encoding="utf-8"))
    asked = {rule["name"]["as"]: rule["metricsQuery"] for rule in adapter["rules"]["external"]}
    of_keda, of_cluster = of_kind("ScaledObject", "keda"), of_kind("HorizontalPodAutoscaler", "hpa")
    assert of_keda.keys() == of_cluster.keys()
    for name, one in of_cluster.items():
        (metric,) = one["spec"]["metrics"]
        (trigger,) = of_keda[name]["spec"]["triggers"]
        assert asked.pop(metric["external"]["metric"]["name"]) == trigger["metadata"]["query"]
        assert metric["external"]["target"] == {
            "type": "AverageValue",
            "averageValue": trigger["metadata"]["threshold"],
        }
        assert one["spec"]["minReplicas"] == of_keda[name]["spec"]["minReplicaCount"]
        assert one["spec"]["maxReplicas"] == of_keda[name]["spec"]["maxReplicaCount"]
        assert one["spec"]["behavior"] == of_keda[name]["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert not asked


def test_the_runbook_speaks_of_this_version() -> None:
    runbook = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
    assert set(re.findall(r"membersync[-:](\d+\.\d+\.\d+)", runbook)) == {VERSION}


def test_the_runbook_makes_the_alerts_what_the_prometheus_operator_takes() -> None:
    runbook = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
    (line,) = [line for line in runbook.splitlines() if "PrometheusRule" in line]
    made, _, applied = line.rpartition(" | ")
    assert applied == "kubectl -n membersync apply -f -"
    ran = subprocess.run(["/bin/sh", "-c", made], cwd=TESTS.parent, capture_output=True, text=True, check=True)
    rule = yaml.safe_load(ran.stdout)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8"))


def test_the_runbook_names_every_key_of_the_secret() -> None:
    runbook = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
    page = runbook.split("\n### A cluster\n")[1].split("\n### ")[0]
    named = set(re.findall(r"`((?:MEMBERSYNC|OTEL)_\w+|metrics-token|flower-username)`", page))
    for first, others in re.findall(r"`(MEMBERSYNC_\w+__)\w+`((?: (?:or|and) `__\w+`)+)", page):
        named |= {first + other for other in re.findall(r"`__(\w+)`", others)}
    asked = set(re.findall(r'"key": "([A-Z_]+|[a-z-]+)"', json.dumps(rendered("site"))))
    assert asked <= named
