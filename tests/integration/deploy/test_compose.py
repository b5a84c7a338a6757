"""The compose file is wired, hardened and health-checked, and its configs are valid."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from monitor import __version__
from monitor.config import load_config
from monitor.web.entrance import is_answered
from monitor.web.settings import WebSettings
from tests.integration.deploy.shipped import DEPLOY, read_yaml

COMPOSE: dict[str, Any] = read_yaml(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_all_four_are_there() -> None:
    """The monitor, Prometheus, Alertmanager and Grafana are there."""
    assert set(SERVICES) == {"monitor", "prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_hardened_and_checked(name: str) -> None:
    """Each service has no privileges, a read-only root, limits, a health check and only loopback ports."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned(name: str) -> None:
    """The same file always runs the same versions."""
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image), image
    if name == "monitor":
        assert image == f"voicelink-drift-monitor:{__version__}"


@pytest.mark.parametrize("name", SERVICES)
def test_mounts_exist(name: str) -> None:
    """Every mounted file exists and is read-only; every volume and secret is declared."""
    service = SERVICES[name]
    for mount in service.get("volumes", ()):
        source, target, *mode = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
    for secret in service.get("secrets", ()):
        assert (secret if isinstance(secret, str) else secret["source"]) in COMPOSE["secrets"]
    assert set(service.get("depends_on", ())) <= set(SERVICES)


def test_secrets_stay_out_of_version_control() -> None:
    """Git ignores everything in the folder of secrets."""
    for secret in COMPOSE["secrets"].values():
        assert Path(secret["file"]).parent == Path("compose/secrets")
    assert (DEPLOY / "compose" / "secrets" / ".gitignore").read_text().splitlines() == ["*", "!.gitignore"]


def test_services_find_one_another() -> None:
    """Each address in a config is a service with the port that it listens on."""
    prometheus = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    source = (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    monitor = (DEPLOY / "compose" / "config.toml").read_text()
    ports = {name: service["ports"][0].split(":")[-1] for name, service in SERVICES.items()}
    named = set(re.findall(rf"\b({'|'.join(SERVICES)}):(\d+)", prometheus + source + monitor))
    assert named == {(name, port) for name, port in ports.items() if name != "grafana"}


def test_alertmanager_gets_the_files_its_route_names() -> None:
    """Credentials are mounted where the shipped configuration reads them."""
    config = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    mounted = {secret["target"] for secret in SERVICES["alertmanager"]["secrets"]}
    assert set(re.findall(r"_file: (\S+)", config)) == mounted


def test_prometheus_keeps_what_the_objective_needs() -> None:
    """Prometheus keeps more than the 30 days that the objective covers."""
    [days] = re.findall(r"retention\.time=(\d+)d", " ".join(SERVICES["prometheus"]["command"]))
    assert int(days) > 30


def test_config_is_one_the_monitor_takes(tmp_path: Path) -> None:
    """The monitor starts with the mounted config, the mounted secret and the given environment."""
    (tmp_path / "voicelink-api-key").write_text("rg_live_compose")
    config_file = tmp_path / "config.toml"
    text = (DEPLOY / "compose" / "config.toml").read_text()
    config_file.write_text(text.replace("/run/secrets", str(tmp_path)))
    config = load_config(config_file, SERVICES["monitor"]["environment"])
    assert config.accounts[0].secret.reveal() == "rg_live_compose"
    assert config.store.secret.reveal() == "sqlite:////data/voicelink-monitor.db"
    assert "monitor:/data" in SERVICES["monitor"]["volumes"]


@pytest.mark.parametrize(
    ("host", "answered"),
    [("localhost", True), ("127.0.0.1", True), ("evil.example", False)],
)
def test_page_is_answered_for_its_own_hosts(host: str, answered: bool) -> None:
    """It has no password, and a port on loopback: no website may read it through a name of its own."""
    config = tomllib.loads((DEPLOY / "compose/config.toml").read_text())
    external_url, allowed = config["alerts"]["external_url"], config["web"]["allowed_hosts"]
    web = WebSettings(external_url=external_url, allowed_hosts=allowed)
    assert is_answered(host, "172.18.0.2", web, on_loopback=False) is answered


def test_page_is_answered_for_prometheus() -> None:
    """Under the service's name, by which it is scraped."""
    config = tomllib.loads((DEPLOY / "compose/config.toml").read_text())
    [job] = [
        each
        for each in read_yaml(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]
        if each["job_name"] == "voicelink-monitor"
    ]
    hosts = {target.partition(":")[0] for each in job["static_configs"] for target in each["targets"]}
    assert hosts <= set(config["web"]["allowed_hosts"])
