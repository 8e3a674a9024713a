"""The manifests of deploy/kubernetes are valid, and may do nothing that they need not."""

import json
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from tests.deployed import DEPLOY
from tests.manifests import (
    EACH,
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
SPREAD_OVER = {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
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
    [["yamllint", "deploy", "tests"], ["hadolint", "--failure-threshold", "warning", "deploy/Dockerfile"]],
    ids=lambda a: a[0],
)
def test_linters_find_nothing(tool: list[str]) -> None:
    ran = subprocess.run([TOOLS / tool[0], *tool[1:]], cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


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
def test_everything_of_ours_is_in_our_namespace(overlay: str) -> None:
    for one in rendered(overlay):
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == "membersync", named(one)


def test_the_runbook_makes_the_alerts_what_the_prometheus_operator_takes() -> None:
    runbook = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
    (line,) = [line for line in runbook.splitlines() if "PrometheusRule" in line]
    made, _, applied = line.rpartition(" | ")
    assert applied == "kubectl -n membersync apply -f -"
    ran = subprocess.run(["/bin/sh", "-c", made], cwd=TESTS.parent, capture_output=True, text=True, check=True)
    rule = yaml.safe_load(ran.stdout)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8"))
