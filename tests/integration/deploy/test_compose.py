"""The Compose files are wired, hardened and health-checked, their configs valid, their commands right."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor import __version__
from monitor.config import load_config
from monitor.web.entrance import is_answered
from monitor.web.settings import WebSettings
from tests.integration.deploy.shipped import DEPLOY, ROOT, image_environment, read_yaml
from tests.servers.compose import project, try_out
from tests.servers.prometheus import check

STACKS = {"sqlite": ["compose.yaml"], "postgres": ["compose.yaml", "compose.postgres.yaml"]}
SECRETS = DEPLOY / "compose" / "secrets"

Service = dict[str, Any]


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return a project's name here, and what Compose makes of its files."""
    return request.param, project(*(DEPLOY / name for name in STACKS[request.param]))


@pytest.fixture(scope="module")
def services(stack: tuple[str, dict[str, Any]]) -> dict[str, Service]:
    """Return a project's services."""
    made: dict[str, Service] = stack[1]["services"]
    return made


def binds(service: Service) -> dict[str, Path]:
    """Return what of this machine a service sees, by where it sees it."""
    return {mount["target"]: Path(mount["source"]) for mount in service["volumes"] if mount["type"] == "bind"}


def monitors(services: dict[str, Service]) -> dict[str, Service]:
    """Return the services that are monitors."""
    return {name: service for name, service in services.items() if name.startswith("monitor")}


def test_all_services_are_there(stack: tuple[str, dict[str, Any]]) -> None:
    """The monitor, Prometheus, Alertmanager and Grafana; with PostgreSQL two monitors."""
    name, made = stack
    more = {"monitor-2", "postgres"} if name == "postgres" else set()
    assert set(made["services"]) == {"monitor", "prometheus", "alertmanager", "grafana"} | more


def test_services_are_hardened_and_checked(services: dict[str, Service]) -> None:
    """Each has no privileges, a read-only root, limits, a health check and only loopback ports."""
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["logging"]["options"]["max-size"], name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}, name


def test_services_stop_and_start_as_docker_does_it(services: dict[str, Service]) -> None:
    """They stop in Docker's default time, and a reload is not taken for a stop.

    Docker takes any signal for one unless it is told which one stops, and the policy is "always".
    """
    for name, service in services.items():
        assert service["restart"] == "always", name
        assert "stop_grace_period" not in service, name  # the default is long enough
        assert service.get("stop_signal") == (None if name == "postgres" else "SIGTERM"), name


def test_monitors_are_process_1(services: dict[str, Service]) -> None:
    """As `reload 1` expects, which README gives: the monitor needs no init, and reaps no children."""
    assert not [name for name, service in services.items() if service.get("init")]


def test_ports_are_free_for_one_another(services: dict[str, Service]) -> None:
    """No two services want the same port of this machine; PostgreSQL wants none."""
    published = [port["published"] for service in services.values() for port in service.get("ports", ())]
    assert len(published) == len(set(published)) == len(services.keys() - {"postgres"})


def test_images_are_pinned(services: dict[str, Service]) -> None:
    """The same file always runs the same versions, and the monitor is built once."""
    for name, service in services.items():
        if name.startswith("monitor"):
            assert service["image"] == f"voicelink-drift-monitor:{__version__}"
        else:
            assert re.fullmatch(r"docker\.io/[\w./-]+:v?\d+\.\d+(\.\d+)?", service["image"]), service["image"]
    assert [name for name, service in services.items() if "build" in service] == ["monitor"]


def test_only_folders_are_mounted(stack: tuple[str, dict[str, Any]]) -> None:
    """A mounted file stays the old one when an editor or git replaces it, reload or not."""
    for name, service in stack[1]["services"].items():
        for mount in service["volumes"]:
            if mount["type"] == "bind":
                assert Path(mount["source"]).is_dir(), f"{name}: {mount['source']}"
                assert mount["read_only"] is True
            else:
                assert mount["source"] in stack[1]["volumes"]
        # Compose mounts these as files, one by one.
        assert not service.keys() & {"secrets", "configs"}, name


def test_service_sees_its_own_secrets_alone(services: dict[str, Service]) -> None:
    """Of the folders of secrets, each service has the one that it needs."""
    seen = {
        name: {each for each in binds(s).values() if each.is_relative_to(SECRETS)}
        for name, s in services.items()
    }
    for name, folders in seen.items():
        kind = name.removesuffix("-2")
        assert folders == ({SECRETS / kind} if (SECRETS / kind).exists() else set()), name


def test_secrets_stay_out_of_version_control() -> None:
    """Git has the folders of secrets, so that they exist, and ignores whatever is put below them."""
    assert (SECRETS / ".gitignore").read_text().splitlines() == ["*", "!*/", "!.gitignore"]
    folders = sorted(each for each in SECRETS.iterdir() if each.is_dir())
    assert [each.name for each in folders] == ["alertmanager", "monitor", "postgres"]
    for folder in folders:
        assert (folder / ".gitignore").read_text().splitlines() == ["*", "!.gitignore"]


def documented(text: str) -> Iterator[str]:
    """Yield the commands that a comment or README shows, indented; lines that go on joined."""
    lines = re.sub(r"\\\n#? +", "", text).splitlines()
    yield from (line[4:] for line in lines if re.match(r"(# )? {4}\S|#   \S", line))


def test_documented_commands_are_right(tmp_path: Path) -> None:
    """Compose takes those for it, and the others leave secrets that only the containers can read."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    for folder, _, names in os.walk(tmp_path / "deploy"):  # as a cautious umask has them
        Path(folder).chmod(0o700)
        for name in names:
            (Path(folder) / name).chmod(0o600)
    comments = [
        re.split(r"^[^#]", (DEPLOY / name).read_text(), maxsplit=1, flags=re.MULTILINE)[0]
        for name in STACKS["postgres"]
    ]
    _, _, section = (ROOT / "README.md").read_text().partition("\n### Docker Compose\n")
    section = section[: section.index("\n### ")]
    commands: list[str] = []
    for text in (*comments, section):  # each in a shell of its own, whose umask is a cautious one
        shown = [re.sub(r"  +# .*", "", each) for each in documented(text)]
        shell = [each for each in shown if not each.startswith("docker ")]
        subprocess.run(["bash", "-euc", "\n".join(["umask 077", *shell])], cwd=tmp_path, check=True)
        commands += shown
    for command in commands:
        if command.startswith("docker "):
            try_out(command, tmp_path)
    assert any("kill -s HUP" in each for each in commands)

    secrets = tmp_path / "deploy" / "compose" / "secrets"
    made = {str(file.relative_to(secrets)) for file in secrets.rglob("[!.]*") if file.is_file()}
    assert made == {
        "monitor/voicelink-api-key",
        "monitor/database-url",
        "alertmanager/pagerduty",
        "alertmanager/slack",
        "postgres/password",
    }
    assert secrets.stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "deploy").rglob("*"):
        if path != secrets:
            needed = 0o055 if path.is_dir() else 0o044
            assert path.stat().st_mode & needed == needed, path
    password = (secrets / "postgres" / "password").read_text().strip()
    assert f":{password}@postgres/" in (secrets / "monitor" / "database-url").read_text()


def test_services_find_one_another(services: dict[str, Service]) -> None:
    """Each address in a config is a service with the port that it listens on."""
    prometheus = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    source = (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text()
    config = (DEPLOY / "compose" / "monitor" / "config.toml").read_text()
    ports = {name: str(each["ports"][0]["target"]) for name, each in services.items() if "ports" in each}
    named = set(re.findall(rf"\b({'|'.join(services)}):(\d+)", prometheus + source + config))
    assert named == {(name, port) for name, port in ports.items() if name not in ("grafana", "monitor-2")}


def test_alertmanager_gets_the_files_its_route_names(services: dict[str, Service]) -> None:
    """Secrets are mounted where the shipped configuration reads them, and documented under these names."""
    config = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    named = {Path(path) for path in re.findall(r"_file: (\S+)", config)}
    assert {str(path.parent) for path in named} <= set(binds(services["alertmanager"]))
    for path in named:
        assert f"secrets/alertmanager/{path.name}" in (DEPLOY / "compose.yaml").read_text()


def test_prometheus_keeps_what_the_objective_needs(services: dict[str, Service]) -> None:
    """Prometheus keeps more than the 30 days that the objective covers."""
    [days] = re.findall(r"retention\.time=(\d+)d", " ".join(services["prometheus"]["command"]))
    assert int(days) > 30


def test_config_is_one_the_monitors_take(stack: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """Each monitor starts with the mounted config and secrets, on its own store or the shared one."""
    name, made = stack
    url = {
        "sqlite": "sqlite:////data/voicelink-monitor.db",
        "postgres": "postgresql://voicelink:hidden@postgres/voicelink",
    }[name]
    (tmp_path / "voicelink-api-key").write_text("rg_live_compose")
    (tmp_path / "database-url").write_text(url)
    text = (DEPLOY / "compose" / "monitor" / "config.toml").read_text()
    config_file = tmp_path / "config.toml"
    config_file.write_text(text.replace("/run/secrets", str(tmp_path)))
    for service in monitors(made["services"]).values():
        assert "/run/secrets" in binds(service)
        assert (binds(service)["/etc/voicelink-monitor"] / "config.toml").exists()
        environment = {**image_environment(), **service.get("environment", {})}
        moved = {key: value.replace("/run/secrets", str(tmp_path)) for key, value in environment.items()}
        config = load_config(config_file, moved)
        assert config.accounts[0].secret.reveal() == "rg_live_compose"
        assert config.store.secret.reveal() == url
        assert [each for each in config.warnings if "not used" in each] == []
        assert str(config.web.listen) == "0.0.0.0:8790"
        assert any(mount["target"] == "/data" for mount in service["volumes"])


def test_postgresql_lets_the_monitors_in(stack: tuple[str, dict[str, Any]]) -> None:
    """User, password and database are those of the documented address; the monitors wait for it."""
    name, made = stack
    if name == "sqlite":
        return
    postgres = made["services"]["postgres"]
    environment = postgres["environment"]
    assert environment["POSTGRES_USER"] in postgres["healthcheck"]["test"]
    assert "POSTGRES_DB" not in environment  # named like the user
    password = Path(environment["POSTGRES_PASSWORD_FILE"])
    folder = binds(postgres)[str(password.parent)]
    comment = (DEPLOY / "compose.postgres.yaml").read_text()
    assert f"deploy/{folder.relative_to(DEPLOY)}/{password.name}" in comment
    assert (
        f"postgresql://{environment['POSTGRES_USER']}:%s@postgres/{environment['POSTGRES_USER']}" in comment
    )
    for service in monitors(made["services"]).values():
        assert service["depends_on"]["postgres"]["condition"] == "service_healthy"


def scraped(services: dict[str, Service]) -> set[str]:
    """Return the targets of the monitors' job, those from mounted files included."""
    jobs = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
    [job] = [each for each in jobs if each["job_name"] == "voicelink-monitor"]
    lists = list(job["static_configs"])
    for pattern in (Path(each) for found in job["file_sd_configs"] for each in found["files"]):
        folder = binds(services["prometheus"]).get(str(pattern.parent))
        for file in folder.glob(pattern.name) if folder else ():
            lists += read_yaml(file)
    return {target for each in lists for target in each["targets"]}


def test_prometheus_scrapes_every_monitor(services: dict[str, Service]) -> None:
    """Each monitor is a target, and nothing else is; it answers under the name by which it is scraped."""
    assert scraped(services) == {f"{name}:8790" for name in monitors(services)}
    config = tomllib.loads((DEPLOY / "compose" / "monitor" / "config.toml").read_text())
    assert set(monitors(services)) <= set(config["web"]["allowed_hosts"])


def test_prometheus_accepts_its_config() -> None:
    """With the folder of further monitors, and without."""
    assert "SUCCESS" in check("promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml")


@pytest.mark.parametrize(
    ("host", "answered"),
    [("localhost", True), ("127.0.0.1", True), ("evil.example", False)],
)
def test_page_is_answered_for_its_own_hosts(host: str, answered: bool) -> None:
    """It has no password, and a port on loopback: no website may read it through a name of its own."""
    config = tomllib.loads((DEPLOY / "compose" / "monitor" / "config.toml").read_text())
    external_url, allowed = config["alerts"]["external_url"], config["web"]["allowed_hosts"]
    web = WebSettings(external_url=external_url, allowed_hosts=allowed)
    assert is_answered(host, "172.18.0.2", web, on_loopback=False) is answered
