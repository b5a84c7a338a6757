"""The Kubernetes manifests build, fit the schemas, and are hardened and wired up."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from monitor import __version__
from monitor.config import load_config
from tests.integration.deploy.shipped import DEPLOY, ROOT, RULES, read_yaml
from tests.servers.require import find

KUBERNETES = DEPLOY / "kubernetes"
OPERATOR = {"ServiceMonitor", "PrometheusRule"}
VARIANTS = {"base": "base", "postgres": "overlays/postgres"}
# The oldest that is still supported somewhere, and a new one.
SCHEMAS = ("1.29", "1.34")

Manifests = dict[str, dict[str, Any]]
"""By kind."""
Variant = tuple[str, Manifests]


def _build(folder: Path) -> Manifests:
    kubectl = find("kubectl")
    if kubectl is None:
        # No distribution that the tests install from has it, so its absence is nobody's omission, in CI too.
        pytest.skip("needs kubectl, which has no package here: install it by hand to build the manifests")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    manifests = list(yaml.safe_load_all(done.stdout))
    by_kind = {manifest["kind"]: manifest for manifest in manifests}
    assert len(by_kind) == len(manifests)
    return by_kind


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Variant:
    """Return a variant's name, and its built manifests by kind."""
    return request.param, _build(KUBERNETES / VARIANTS[request.param])


def _pod(manifests: Manifests) -> tuple[dict[str, Any], dict[str, Any]]:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    return pod, container


def _image_environment() -> dict[str, str]:
    """Return the monitor's variables that the image sets."""
    words = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").split()
    pairs = (word.split("=", 1) for word in words if word.startswith("VOICELINK_MONITOR_") and "=" in word)
    return {name: value for name, value in pairs if "__" in name}


@pytest.mark.parametrize("version", SCHEMAS)
def test_manifests_fit_the_schemas(variant: Variant, version: str) -> None:
    """Kubernetes accepts every manifest: no unknown key, no wrong type."""
    for kind, manifest in variant[1].items():
        if kind not in OPERATOR:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_variant_holds_what_a_cluster_needs(variant: Variant) -> None:
    """Nothing is missing, and no secret is in it."""
    name, manifests = variant
    common = {"ServiceAccount", "ConfigMap", "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"}
    assert set(manifests) == common | OPERATOR | ({"PersistentVolumeClaim"} if name == "base" else set())


def test_pod_is_restricted(variant: Variant) -> None:
    """It meets the restricted pod security standard, and can write only to its volumes."""
    pod, container = _pod(variant[1])
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 65532
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_pod_is_probed_and_bounded(variant: Variant) -> None:
    """Liveness never depends on the provider or the store; memory is bounded."""
    _, container = _pod(variant[1])
    assert container["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "http"}
    assert container["startupProbe"]["httpGet"] == {"path": "/-/healthy", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "http"}
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}


def test_pod_mounts_what_it_names(variant: Variant) -> None:
    """Every mount has its volume, and the config comes from the generated map."""
    pod, container = _pod(variant[1])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(volumes) == {mount["name"] for mount in container["volumeMounts"]}
    assert all(len(volume) == 2 for volume in volumes.values()), "one source each"
    assert volumes["config"]["configMap"]["name"] == variant[1]["ConfigMap"]["metadata"]["name"]
    assert set(variant[1]["ConfigMap"]["data"]) == {"config.toml"}


def test_everything_selects_the_pods(variant: Variant) -> None:
    """Service, policy and disruption budget select the Deployment's pods, and only those."""
    manifests = variant[1]
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/name": "voicelink-monitor"}
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_operator_finds_the_metrics_under_the_jobs_name(
    variant: Variant,
) -> None:
    """The ServiceMonitor selects the Service, and gives the job the name that the rules expect."""
    monitor, service = variant[1]["ServiceMonitor"]["spec"], variant[1]["Service"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "voicelink-monitor"
    [endpoint] = monitor["endpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_image_is_this_version(variant: Variant) -> None:
    """The manifests run the version that they were written for."""
    assert _pod(variant[1])[1]["image"] == f"voicelink-drift-monitor:{__version__}"


def test_base_has_one_writer(variant: Variant) -> None:
    """SQLite never has two pods; with PostgreSQL a new pod starts before an old one stops."""
    name, manifests = variant
    spec = manifests["Deployment"]["spec"]
    if name == "base":
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    else:
        assert spec["replicas"] == 2
        assert spec["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        }


async def test_config_is_one_the_monitor_takes(variant: Variant, tmp_path: Path) -> None:
    """The config map, the image's environment and the example secrets make a valid config."""
    name, manifests = variant
    example = read_yaml(KUBERNETES / "secret.example.yaml")["stringData"]
    for key, value in example.items():
        (tmp_path / key).write_text(value)
    mount = "/run/secrets/voicelink-monitor"
    config_file = tmp_path / "config.toml"
    config_file.write_text(manifests["ConfigMap"]["data"]["config.toml"].replace(mount, str(tmp_path)))
    given = {each["name"]: each["value"].replace(mount, str(tmp_path)) for each in _pod(manifests)[1]["env"]}
    config = load_config(config_file, _image_environment() | given)
    store = "sqlite:////data/voicelink-monitor.db" if name == "base" else example["database-url"]
    assert config.store.secret.reveal() == store
    assert (config.web.listen.host, config.web.listen.port) == ("0.0.0.0", 8790)
    [account] = config.accounts
    assert account.secret.reveal() == example["voicelink-api-key"]


def test_rule_manifests_are_the_rules(tmp_path: Path) -> None:
    """The PrometheusRule manifests are what `render-rules` makes from the rule files."""
    copy = tmp_path / "kubernetes"
    subprocess.run([KUBERNETES / "render-rules", copy], check=True, env={"PATH": os.defpath})
    written = sorted(path.relative_to(copy) for path in copy.rglob("*.yaml"))
    assert len(written) == 2
    for path in written:
        shipped = KUBERNETES / path
        assert shipped.read_text() == (copy / path).read_text(), (
            f"run deploy/kubernetes/render-rules ({path})"
        )
    groups = [group for path in written for group in read_yaml(copy / path)["spec"]["groups"]]
    files = (RULES / f"{name}.rules.yml" for name in ("recording", "health", "drift"))
    assert groups == [group for file in files for group in read_yaml(file)["groups"]]


def test_drift_rules_can_be_added(tmp_path: Path) -> None:
    """The component adds the drift rules to a kustomization of the user's own."""
    copy = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    mine = copy / "overlays" / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text("components: [../../components/drift-rules]\n")
    built = _build(mine)["PrometheusRule"]
    assert built["metadata"]["name"] == "voicelink-monitor-drift"
    assert built["metadata"]["labels"] == {"app.kubernetes.io/name": "voicelink-monitor"}


def test_secret_example_is_valid_and_applied_by_nothing() -> None:
    """It fits the schema, and no kustomization applies its placeholders over real keys."""
    example = read_yaml(KUBERNETES / "secret.example.yaml")
    kubernetes_validate.validate(example, SCHEMAS[-1], strict=True)
    assert not [path for path in KUBERNETES.rglob("kustomization.yaml") if "- ../secret" in path.read_text()]
    assert example["metadata"]["name"] == "voicelink-monitor"
