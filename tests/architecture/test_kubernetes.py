"""The manifests of deploy/kubernetes know the product that they run: its commands, queues, settings, ports, version."""

import json
import re
import tomllib
from ipaddress import ip_address

import pytest
import yaml

from shared.pipeline import QUEUES
from tests.deployed import BESIDE, DEPLOY, LONGEST_CALL_S, SECRETS, SETTINGS, queues_of, understood
from tests.manifests import (
    EACH,
    KUBERNETES,
    container,
    environment,
    is_selected,
    labels,
    of_kind,
    pod,
    rendered,
    workloads,
)

VERSION = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


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
    assert SECRETS - given == set(), "no pod is handed these"


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
        (workload,) = [
            one
            for one in workloads(overlay).values()
            if is_selected({"matchLabels": service["spec"]["selector"]}, labels(one))
        ]
        assert workload["metadata"]["name"] == name
        (port,) = container(workload)["ports"]
        (served,) = service["spec"]["ports"]
        host_setting, port_setting = listens[name]
        assert ip_address(settings["data"][f"MEMBERSYNC_{host_setting}"]).is_unspecified
        assert int(settings["data"][f"MEMBERSYNC_{port_setting}"]) == port["containerPort"] == served["port"]
        assert served["targetPort"] == port["name"]


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


def test_the_runbook_names_every_key_of_the_secret() -> None:
    runbook = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
    page = runbook.split("\n### A cluster\n")[1].split("\n### ")[0]
    named = set(re.findall(r"`((?:MEMBERSYNC|OTEL)_\w+|metrics-token|flower-username)`", page))
    for first, others in re.findall(r"`(MEMBERSYNC_\w+__)\w+`((?: (?:or|and) `__\w+`)+)", page):
        named |= {first + other for other in re.findall(r"`__(\w+)`", others)}
    asked = set(re.findall(r'"key": "([A-Z_]+|[a-z-]+)"', json.dumps(rendered("site"))))
    assert asked <= named
