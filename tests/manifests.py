"""The manifests of deploy/kubernetes, as kubectl renders them, and what is asked of them again and again."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployed import DEPLOY

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = tuple(sorted(folder.name for folder in (KUBERNETES / "overlays").iterdir()))
EACH = pytest.mark.parametrize("overlay", OVERLAYS)
Manifest = dict[str, Any]
_LOCKED = Path(sys.executable).with_name("kubectl")  # the wheel's; there is none for other systems than Linux


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """Return what `kubectl apply --kustomize` would apply of an overlay; no cluster is asked."""
    return built(KUBERNETES / "overlays" / overlay)


def built(folder: Path) -> tuple[Manifest, ...]:
    """Return what a folder with a kustomization comes to."""
    kubectl = _LOCKED if _LOCKED.exists() else shutil.which("kubectl")
    assert kubectl, "needs kubectl"
    ran = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return tuple(yaml.safe_load_all(ran.stdout))


def of_kind(kind: str, overlay: str) -> dict[str, Manifest]:
    """Return an overlay's manifests of a kind by their names."""
    return {one["metadata"]["name"]: one for one in rendered(overlay) if one["kind"] == kind}


def workloads(overlay: str) -> dict[str, Manifest]:
    """Return what runs pods, by name."""
    return of_kind("Deployment", overlay) | of_kind("Job", overlay)


def pod(workload: Manifest) -> Manifest:
    """Return the pods' own part of a workload."""
    found: Manifest = workload["spec"]["template"]["spec"]
    return found


def container(workload: Manifest) -> Manifest:
    """Return the one container of a workload."""
    (found,) = pod(workload)["containers"]
    return dict(found)


def labels(workload: Manifest) -> dict[str, str]:
    """Return the labels of a workload's pods."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def is_selected(selector: Manifest, of: dict[str, str]) -> bool:
    """Return whether a selector of labels takes who has these."""
    known = {"matchLabels", "matchExpressions"}
    assert selector.keys() <= known, selector
    return selector.get("matchLabels", {}).items() <= of.items() and all(
        rule["operator"] == "In" and of.get(rule["key"]) in rule["values"]
        for rule in selector.get("matchExpressions", [])
    )


def environment(workload: Manifest, overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Yield each variable of a workload's container, with where its value comes from."""
    of = container(workload)
    for source in of.get("envFrom", []):
        for name, value in of_kind("ConfigMap", overlay)[source["configMapRef"]["name"]]["data"].items():
            yield name, {"value": value}
    for one in of.get("env", []):
        yield one["name"], one
