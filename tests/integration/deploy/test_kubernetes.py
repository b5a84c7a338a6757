"""The Kubernetes manifests, of kustomizations and chart, fit the schemas, and are hardened and wired up."""

import os
import re
import subprocess
from functools import cache, reduce
from itertools import product
from operator import getitem, itemgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor import __version__
from monitor.config import load_config
from tests.integration.deploy.manifests import (
    CHART,
    KUBERNETES,
    OPERATOR,
    VERSIONS,
    Manifest,
    by_kind,
    helm,
    kustomize,
    kustomize_with,
    validate,
    workload,
)
from tests.integration.deploy.network import Peer, allows
from tests.integration.deploy.shipped import DEPLOY, ROOT, RULE_FILES, RULES, image_environment, read_yaml

# What the chart has behind a switch and the kustomizations always have.
SWITCHED: dict[str, Any] = {
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "networkPolicy": {"enabled": True},
}
POSTGRES: dict[str, Any] = {"store": {"type": "postgresql"}}
STORES: dict[str, tuple[str, dict[str, Any]]] = {
    "sqlite": ("base", SWITCHED),
    "postgres": ("overlays/postgres", SWITCHED | POSTGRES),
}

Variant = tuple[str, dict[str, Manifest]]
"""Its store, and its manifests by kind."""


@cache
def _built(tool: str, store: str) -> dict[str, Manifest]:
    folder, values = STORES[store]
    return by_kind(kustomize(KUBERNETES / folder) if tool == "kustomize" else helm(values))


@pytest.fixture(params=product(("kustomize", "helm"), STORES), ids="-".join)
def variant(request: pytest.FixtureRequest) -> Variant:
    """Return a variant's store, and its manifests by kind."""
    tool, store = request.param
    return store, _built(tool, store)


def _pod(manifests: dict[str, Manifest]) -> tuple[dict[str, Any], dict[str, Any]]:
    pod = workload(manifests.values())["spec"]["template"]["spec"]
    [container] = pod["containers"]
    return pod, container


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_fit_the_schemas(variant: Variant, version: str) -> None:
    """Kubernetes accepts every manifest: no unknown key, no wrong type."""
    for manifest in variant[1].values():
        validate(manifest, version)


def test_variant_holds_what_a_cluster_needs(variant: Variant) -> None:
    """Nothing is missing, and no secret is in it."""
    store, manifests = variant
    common = {"ServiceAccount", "ConfigMap", "Service", "NetworkPolicy", "PodDisruptionBudget"}
    assert set(manifests) == common | OPERATOR | {"StatefulSet" if store == "sqlite" else "Deployment"}


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
    """Every mount is a whole volume, so that changed files arrive; the config is the generated map."""
    pod, container = _pod(variant[1])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = workload(variant[1].values())["spec"].get("volumeClaimTemplates", [])
    claimed = {claim["metadata"]["name"] for claim in claims}
    assert set(volumes) | claimed == {mount["name"] for mount in container["volumeMounts"]}
    assert not set(volumes) & claimed
    assert not [mount for mount in container["volumeMounts"] if "subPath" in mount]
    assert volumes["config"]["configMap"]["name"] == variant[1]["ConfigMap"]["metadata"]["name"]
    assert set(variant[1]["ConfigMap"]["data"]) == {"config.toml"}


def test_everything_selects_the_pods(variant: Variant) -> None:
    """Service, policy, disruption budget and spread select the workload's pods, and only those."""
    manifests = variant[1]
    spec = workload(manifests.values())["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "voicelink-monitor"
    assert spec["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
        assert spread["labelSelector"]["matchLabels"] == labels


def test_operator_finds_the_metrics_under_the_jobs_name(variant: Variant) -> None:
    """The ServiceMonitor selects the Service, and gives the job the name that the rules expect."""
    monitor, service = variant[1]["ServiceMonitor"]["spec"], variant[1]["Service"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "voicelink-monitor"
    [endpoint] = monitor["endpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert monitor.keys() == {"jobLabel", "selector", "endpoints"}
    assert endpoint.keys() == {"port", "path", "interval", "scrapeTimeout"}


def test_image_is_this_version(variant: Variant) -> None:
    """The manifests run the version that they were written for."""
    assert _pod(variant[1])[1]["image"] == f"voicelink-drift-monitor:{__version__}"


def test_sqlite_has_one_writer(variant: Variant) -> None:
    """SQLite never has two pods; with PostgreSQL a new pod starts before an old one stops."""
    store, manifests = variant
    spec = workload(manifests.values())["spec"]
    if store == "sqlite":
        assert (spec["replicas"], spec["serviceName"]) == (1, manifests["Service"]["metadata"]["name"])
        assert spec["podManagementPolicy"] == "Parallel", (
            "a corrected config replaces a pod that never started"
        )
    else:
        assert spec["replicas"] == 2
        rolling = {"maxSurge": 1, "maxUnavailable": 0}
        assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_disruption_budget_never_blocks_draining_a_node(variant: Variant) -> None:
    """A single pod, or one that is not ready, can be evicted."""
    spec = variant[1]["PodDisruptionBudget"]["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


PROVIDER = Peer(address="203.0.113.7")
OUT = [
    pytest.param(Peer(address="169.254.20.10"), 53, True, id="NodeLocal DNS at its own address"),
    pytest.param(Peer(address="fd00::53"), 53, True, id="NodeLocal DNS, IPv6"),
    pytest.param(Peer(address="10.96.0.10"), 53, True, id="NodeLocal DNS at the service's address"),
    pytest.param(Peer(address="34.118.224.10"), 53, True, id="a service range that is not private (GKE)"),
    pytest.param(
        Peer(address="10.0.0.9", namespace="kube-system", labels={"k8s-app": "any"}), 53, True, id="CoreDNS"
    ),
    pytest.param(Peer(address="10.0.0.9", namespace="openshift-dns"), 5353, True, id="OpenShift DNS"),
    pytest.param(Peer(address="10.0.0.9", namespace="default"), 5353, False, id="5353 elsewhere"),
    pytest.param(PROVIDER, 443, True, id="provider"),
    pytest.param(Peer(address="2001:db8::7"), 443, True, id="provider, IPv6"),
    pytest.param(PROVIDER, 80, False, id="provider without TLS"),
    pytest.param(Peer(address="169.254.169.254"), 443, False, id="metadata of the cloud"),
    pytest.param(Peer(address="10.1.2.3"), 443, False, id="inside the network"),
    pytest.param(Peer(address="100.64.1.2"), 443, False, id="a pod in shared address space (EKS)"),
    pytest.param(Peer(address="fe80::1"), 443, False, id="link-local, IPv6"),
    pytest.param(Peer(address="10.0.0.9", namespace="monitoring"), 9093, True, id="Alertmanager"),
    pytest.param(Peer(address="10.0.0.9", namespace="default"), 9093, False, id="9093 elsewhere"),
]


@pytest.mark.parametrize(("peer", "port", "allowed"), OUT)
def test_network_policy_lets_out_what_the_monitor_needs(
    variant: Variant, peer: Peer, port: int, allowed: bool
) -> None:
    """It does not cut off DNS wherever that is, the provider, receivers or Alertmanager; the rest it does."""
    egress = variant[1]["NetworkPolicy"]["spec"]["egress"]
    assert allows(egress, peer, port) is allowed
    assert allows(egress, peer, port, "UDP") is (allowed and port in {53, 5353})


def test_network_policy_lets_postgresql_be_reached_where_it_is_used(variant: Variant) -> None:
    """Only pods of PostgreSQL, in this namespace, and only if the store is there."""
    store, manifests = variant
    egress = manifests["NetworkPolicy"]["spec"]["egress"]
    labels = {"app.kubernetes.io/name": "postgresql"}
    assert allows(egress, Peer(address="10.0.0.9", namespace="voicelink", labels=labels), 5432) is (
        store == "postgres"
    )
    assert not allows(egress, Peer(address="10.0.0.9", namespace="voicelink"), 5432)
    assert not allows(egress, Peer(address="10.0.0.9", namespace="default", labels=labels), 5432)


@pytest.mark.parametrize(
    ("namespace", "allowed"), [("monitoring", True), ("voicelink", True), ("default", False)]
)
def test_network_policy_lets_prometheus_and_neighbours_in(
    variant: Variant, namespace: str, allowed: bool
) -> None:
    """Prometheus scrapes, and the namespace's own pods see the page; no one else does."""
    ingress = variant[1]["NetworkPolicy"]["spec"]["ingress"]
    assert allows(ingress, Peer(address="10.0.0.9", namespace=namespace), "http") is allowed


async def test_config_is_one_the_monitor_takes(variant: Variant, tmp_path: Path) -> None:
    """The config map, the image's environment and the example secrets make a valid config."""
    store, manifests = variant
    example = read_yaml(KUBERNETES / "secret.example.yaml")["stringData"]
    for key, value in example.items():
        (tmp_path / key).write_text(value)
    mount = "/run/secrets/voicelink-monitor"
    config_file = tmp_path / "config.toml"
    config_file.write_text(manifests["ConfigMap"]["data"]["config.toml"].replace(mount, str(tmp_path)))
    given = {each["name"]: each["value"].replace(mount, str(tmp_path)) for each in _pod(manifests)[1]["env"]}
    config = load_config(config_file, image_environment() | given)
    url = "sqlite:////data/voicelink-monitor.db" if store == "sqlite" else example["database-url"]
    assert config.store.secret.reveal() == url
    assert (config.web.listen.host, config.web.listen.port) == ("0.0.0.0", 8790)
    [account] = config.accounts
    assert account.secret.reveal() == example["voicelink-api-key"]


CHARTS_OWN = {
    "namespace",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
    "checksum/config",
}
"""Keys by which Helm tells releases apart, and its way to roll pods when the config changes."""


def _shared(value: Any) -> Any:
    """Return what kustomization and chart must agree on; kustomize rolls pods by a hash in a map's name."""
    match value:
        case dict():
            return {key: _shared(each) for key, each in value.items() if key not in CHARTS_OWN}
        case list():
            return [_shared(each) for each in value]
        case str():
            return re.sub(r"^voicelink-monitor-[a-z0-9]{10}$", "voicelink-monitor", value)
        case _:
            return value


COMPONENTS: dict[str, dict[str, Any]] = {
    "drift-rules": {"prometheusRule": {"enabled": True, "drift": True}},
    "ipv6": {"ipv6": True},
    "openshift": {"openshift": True},
}
"""Each component's values in the chart."""


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("components", [[], *([name] for name in COMPONENTS)], ids="".join)
def test_kustomization_and_chart_make_the_same(store: str, components: list[str], tmp_path: Path) -> None:
    """Whichever of the two is used, with whichever component, the same runs: a change is made to both."""
    folder, values = STORES[store]
    shipped = kustomize_with(tmp_path, folder, *components)
    charted = helm(values | {key: value for name in components for key, value in COMPONENTS[name].items()})
    named = [
        {(each["kind"], each["metadata"]["name"]): each for each in _shared(all_)}
        for all_ in (shipped, charted)
    ]
    assert named[0].keys() == named[1].keys()
    for key, manifest in named[0].items():
        assert manifest == named[1][key]


def test_every_component_is_compared() -> None:
    """One that is added must have its values in the chart."""
    assert COMPONENTS.keys() == {
        path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml")
    }


@pytest.mark.parametrize("store", STORES)
def test_openshift_assigns_the_ids(store: str, tmp_path: Path) -> None:
    """Under its restricted-v2 constraints a pod that asks for ids of its own would be refused."""
    pod = workload(kustomize_with(tmp_path, STORES[store][0], "openshift"))["spec"]["template"]["spec"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & pod["securityContext"].keys()
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_rules_elsewhere_are_the_rules(tmp_path: Path) -> None:
    """PrometheusRule manifests and the chart's files are what `render-rules` makes from the rule files."""
    subprocess.run([KUBERNETES / "render-rules", tmp_path], check=True, env={"PATH": os.defpath})
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.y*ml"))
    assert len(written) == 2 + len(RULE_FILES)
    for path in written:
        same = (DEPLOY / path).read_text() == (tmp_path / path).read_text()
        assert same, f"run deploy/kubernetes/render-rules ({path})"
    manifests = [path for path in written if path.parts[0] == "kubernetes"]
    groups = [group for path in manifests for group in read_yaml(tmp_path / path)["spec"]["groups"]]
    shipped = [group for name in RULE_FILES for group in read_yaml(RULES / name)["groups"]]
    assert sorted(groups, key=itemgetter("name")) == sorted(shipped, key=itemgetter("name"))


def test_secret_example_is_valid_and_applied_by_nothing() -> None:
    """It fits the schema, and no kustomization applies its placeholders over real keys."""
    example = read_yaml(KUBERNETES / "secret.example.yaml")
    validate(example, VERSIONS[-1])
    assert not [path for path in KUBERNETES.rglob("kustomization.yaml") if "- ../secret" in path.read_text()]
    assert example["metadata"]["name"] == "voicelink-monitor"


README = (ROOT / "README.md").read_text().partition("\n### Kubernetes\n")[2].partition("\n### ")[0]


def _readme(language: str) -> list[str]:
    """Return the examples in README's part on Kubernetes."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("resource", ["base", "overlays/postgres"])
def test_readme_shows_a_kustomization_that_works(resource: str, tmp_path: Path) -> None:
    """Beside a clone, it sets image, config, Secret, namespace and the label that Prometheus selects by."""
    kustomization, without_operator, _ = _readme("yaml")
    [config] = _readme("toml")
    (tmp_path / "voicelink-drift-monitor").symlink_to(ROOT)
    (tmp_path / "config.toml").write_text(config)
    (tmp_path / "voicelink-api-key").write_text("rg_live_demo_acme")
    file = tmp_path / "kustomization.yaml"
    file.write_text(kustomization.replace("deploy/kubernetes/base", f"deploy/kubernetes/{resource}"))

    manifests = by_kind(kustomize(tmp_path))
    for manifest in manifests.values():
        validate(manifest, VERSIONS[-1])
    pod, container = _pod(manifests)
    assert container["image"] == f"registry.example.com/voicelink-drift-monitor:{__version__}"
    assert manifests["ConfigMap"]["data"] == {"config.toml": config}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] == manifests["ConfigMap"]["metadata"]["name"]
    assert volumes["secrets"]["secret"]["secretName"] == manifests["Secret"]["metadata"]["name"]
    assert {each["metadata"]["namespace"] for each in manifests.values()} == {"voicelink"}
    labelled = {kind for kind, each in manifests.items() if "release" in each["metadata"].get("labels", {})}
    assert labelled == OPERATOR

    file.write_text(file.read_text().partition("patches:")[0] + without_operator)
    assert by_kind(kustomize(tmp_path)).keys() == manifests.keys() - OPERATOR


def test_readme_shows_values_that_make_the_same() -> None:
    """They set what the kustomization sets; each `--set` names a value that the chart has."""
    named = re.findall(r"--set(?:-file)? ([\w.]+)=", README)
    assert named
    for path in named:
        reduce(getitem, path.split("."), read_yaml(CHART / "values.yaml"))
    values = yaml.safe_load(_readme("yaml")[-1])
    [config] = _readme("toml")
    manifests = by_kind(helm(values | {"config": config}))
    assert manifests.keys() == _built("helm", "sqlite").keys()
    assert _pod(manifests)[1]["image"] == f"registry.example.com/voicelink-drift-monitor:{__version__}"
    for kind in OPERATOR:
        assert manifests[kind]["metadata"]["labels"]["release"] == "kube-prometheus-stack"
