"""The Helm chart takes every value it lists, refuses what makes no sense, and is complete in itself."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from helm_python import Chart
from helm_python.chart import lint, package
from helm_python.errors import HelmRenderError, HelmValuesError

from monitor import __version__
from tests.integration.deploy.manifests import CHART, VERSIONS, helm, parse, render, validate, workload
from tests.integration.deploy.shipped import read_yaml

POSTGRES: dict[str, Any] = {"store": {"type": "postgresql"}}
EVERYTHING: dict[str, Any] = {
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True, "drift": True},
    "networkPolicy": {"enabled": True},
}
DEFAULTS: dict[str, Any] = read_yaml(CHART / "values.yaml")
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())

# What a user may set each value to. Numbers and words that are not the defaults.
SETTINGS: dict[str, Any] = {
    "config": 'instance = "mine"\n',
    "existingConfigMap": "mine",
    "existingSecret": "mine",
    "tls": True,
    "env": [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
    "store.type": "postgresql",
    "store.sqlite.size": "500Mi",
    "store.sqlite.storageClassName": "fast",
    "store.sqlite.existingClaim": "mine",
    "store.postgresql.urlKey": "dsn",
    "replicas": 0,
    "image.repository": "registry.example.com:5000/voicelink-drift-monitor",
    "image.tag": "0.2.0-rc.1",
    "image.digest": f"sha256:{'0123456789abcdef' * 4}",
    "image.pullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "ipv6": True,
    "openshift": True,
    "resources.requests.cpu": "1",
    "resources.requests.memory": "1Gi",
    "resources.limits.memory": "2Gi",
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "podLabels": {"team": "voice"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]
            }
        }
    },
    "priorityClassName": "high",
    "service.port": 80,
    "service.annotations": {"example.com/owner": "voice"},
    "podDisruptionBudget.enabled": False,
    "serviceMonitor.enabled": False,
    "serviceMonitor.labels": {"release": "kube-prometheus-stack"},
    "serviceMonitor.interval": "1m",
    "serviceMonitor.scrapeTimeout": "5s",
    "serviceMonitor.endpoint": {"basicAuth": {"username": {"name": "mine", "key": "user"}}},
    "prometheusRule.enabled": False,
    "prometheusRule.labels": {"release": "kube-prometheus-stack"},
    "prometheusRule.drift": False,
    "networkPolicy.enabled": False,
    "networkPolicy.monitoringNamespaces": ["openshift-user-workload-monitoring", "observability"],
    "networkPolicy.ingressNamespaces": ["ingress-nginx"],
    "networkPolicy.database": [{"ipBlock": {"cidr": "10.1.2.0/24"}}],
    "networkPolicy.databasePort": 6432,
    "networkPolicy.extraEgress": [{"ports": [{"port": 3128}]}],
    "fullnameOverride": "mine",
}


def _leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the path of each value; maps that are empty by default are a user's own."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def _set(path: str, value: Any, base: dict[str, Any]) -> dict[str, Any]:
    """Return values with one more set."""
    key, _, rest = path.partition(".")
    return base | {key: _set(rest, value, base.get(key, {})) if rest else value}


def test_settings_cover_every_value() -> None:
    """A value that is added is tried below."""
    assert list(SETTINGS) == list(_leaves(DEFAULTS))


@pytest.mark.parametrize("path", SETTINGS)
def test_value_has_an_effect_that_kubernetes_accepts(path: str) -> None:
    """No value is dead, and none makes a manifest that a cluster refuses."""
    changed: dict[str, str] = {}
    for store in ({}, POSTGRES):
        before, after = render(EVERYTHING | store), render(_set(path, SETTINGS[path], EVERYTHING | store))
        changed |= {name: text for name, text in after.items() if text != before[name]}
    assert changed
    for manifest in parse(changed):
        validate(manifest, VERSIONS[-1])


@pytest.mark.parametrize("version", VERSIONS)
def test_values_go_together(version: str) -> None:
    """Whichever of the switches are on, Kubernetes accepts every manifest, and the linter finds nothing."""
    seen: set[tuple[str, str]] = set()
    switches: list[dict[str, Any]] = [
        {"store.type": "postgresql"},
        {"ipv6": True, "openshift": True, "tls": True},
        {"existingConfigMap": "mine", "store.sqlite.existingClaim": "mine"},
        {path: value for path, value in SETTINGS.items() if isinstance(value, list | dict)},
    ]
    for on in product((False, True), repeat=len(switches)):
        values = EVERYTHING
        for group in (group for group, is_on in zip(switches, on, strict=True) if is_on):
            for path, value in group.items():
                values = _set(path, value, values)
        made = render(values).items()
        for manifest in parse(dict(made - seen)):
            validate(manifest, version)
        seen |= made
        found = lint(CHART, values, strict=True, kube_version=f"v{version}.0")
        assert [each for each in found["messages"] if each["severity"] > 1] == []
        assert found["errors"] == []


def _properties(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in schema["properties"].items():
        if "properties" in value:
            assert value["additionalProperties"] is False
            yield from _properties(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def test_schema_and_values_have_the_same_keys() -> None:
    """Every value is in both; Kubernetes' own maps are checked by Kubernetes."""
    own = {path for path in _leaves(DEFAULTS) if not path.startswith("resources.")}
    assert set(_properties(SCHEMA)) == own | {"global", "resources.requests", "resources.limits"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"replicaCount": 2}, "'replicaCount' not allowed"),
        ({"store": {"sqlite": {"sise": "1Gi"}}}, "'/store/sqlite': additional properties 'sise' not allowed"),
        ({"store": {"type": "mysql"}}, "'/store/type': value must be one of 'sqlite', 'postgresql'"),
        ({"replicas": "two"}, "'/replicas': got string, want null or integer"),
        ({"existingSecret": ""}, "'/existingSecret'"),
        ({"config": {"instance": "mine"}}, "'/config': got object, want string"),
        ({"image": {"digest": "latest"}}, "'/image/digest'"),
        ({"serviceMonitor": {"enabled": "yes"}}, "'/serviceMonitor/enabled': got string, want boolean"),
        ({"podLabels": {"version": 2}}, "'/podLabels/version': got number, want string"),
        ({"env": [{"nmae": "A", "value": "b"}]}, "'/env/0'"),
    ],
    ids=str,
)
def test_schema_refuses_what_the_chart_does_not_know(values: dict[str, Any], says: str) -> None:
    """A misspelt or misplaced value is named, instead of being ignored."""
    with pytest.raises(HelmValuesError) as raised:
        render(values)
    assert says in str(raised.value)


def test_sqlite_takes_one_pod() -> None:
    """Two writers are refused, with what to do about it."""
    with pytest.raises(HelmRenderError, match=r"SQLite has a single writer.*set store\.type to postgresql"):
        render({"replicas": 2})
    assert workload(helm(POSTGRES | {"replicas": 3}))["spec"]["replicas"] == 3


def test_changed_config_rolls_the_pods() -> None:
    """The pods see another template when the config is another, and the same after any other upgrade."""
    template = workload(helm({}))["spec"]["template"]
    assert workload(helm({"config": SETTINGS["config"]}))["spec"]["template"] != template
    assert workload(helm({"service": {"port": 80}}))["spec"]["template"] == template


def test_existing_config_map_is_used_instead() -> None:
    """No other is made, and nothing depends on what it would hold."""
    manifests = helm({"existingConfigMap": "mine"})
    assert "ConfigMap" not in {manifest["kind"] for manifest in manifests}
    [config] = [
        each
        for each in workload(manifests)["spec"]["template"]["spec"]["volumes"]
        if each["name"] == "config"
    ]
    assert config["configMap"] == {"name": "mine"}


@pytest.mark.parametrize("store", [{}, POSTGRES], ids=["sqlite", "postgresql"])
def test_releases_do_not_mix(store: dict[str, Any]) -> None:
    """Two in one namespace share no name, and neither selects the other's pods."""
    one, other = (helm(EVERYTHING | store, name=name) for name in ("voicelink-monitor", "staging"))
    assert not {each["metadata"]["name"] for each in one} & {each["metadata"]["name"] for each in other}
    selector = workload(one)["spec"]["selector"]["matchLabels"]
    labels = workload(other)["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() <= labels.items()


def test_upgrade_changes_nothing_that_is_immutable() -> None:
    """Selectors and claims of a running release know no version of chart or monitor."""
    spec = workload(helm({}))["spec"]
    assert __version__ not in json.dumps(
        [spec["selector"], spec["serviceName"], spec["volumeClaimTemplates"]]
    )


def test_long_release_name_fits() -> None:
    """A StatefulSet's name, with the hash that its pods carry as a label, has at most 63 characters."""
    assert len(workload(helm({}, name="a" * 53))["metadata"]["name"]) <= 63 - len("-0123456789")


@pytest.mark.parametrize("store", [{}, POSTGRES], ids=["sqlite", "postgresql"])
def test_notes_name_what_was_made(store: dict[str, Any]) -> None:
    """The commands shown after an install fit the release, and speak of the Secret first."""
    values = store | {"existingSecret": "keys", "tls": True, "existingConfigMap": "mine"}
    notes = render(values, name="staging")["NOTES.txt"]
    made = workload(helm(values, name="staging"))
    assert f"{made['kind'].lower()}/{made['metadata']['name']} -- voicelink-monitor check-config" in notes
    assert "create secret generic keys" in notes
    assert "https://127.0.0.1:8790" in notes
    assert "voicelink-monitor reload 1" in notes
    assert ("database-url" in notes) == (store == POSTGRES)
    assert ("data-staging-voicelink-monitor-0" in notes) == (store == {})


def test_package_is_complete(tmp_path: Path) -> None:
    """The archive makes what the folder makes: nothing that it needs is outside, or left out."""
    with Chart.load(package(CHART, destination=tmp_path)) as packed, Chart.load(CHART) as chart:
        assert packed.render(EVERYTHING, name="m") == chart.render(EVERYTHING, name="m")
        assert chart.metadata["version"] == chart.metadata["appVersion"] == __version__
