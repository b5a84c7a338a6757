"""The shipped dashboard is one by Grafana's own schema, that of the version that Compose runs."""

import json
import re
import subprocess
from pathlib import Path

from tests.servers.require import lacking, require

HERE = Path(__file__).parent
DEPLOY = HERE.parents[2] / "deploy"
DASHBOARD = (DEPLOY / "grafana/dashboards/voicelink.json").read_text()
OPTIONS = [
    "--noEmit",
    "--strict",
    "--skipLibCheck",
    "--module",
    "esnext",
    "--moduleResolution",
    "bundler",
    "--target",
    "es2022",
]


def faults(dashboard: str, folder: Path) -> str:
    """Return what the compiler says of a dashboard that is written down as a value of the schema's type."""
    node, compiler = require("node"), HERE / "node_modules/typescript/bin/tsc"
    if not compiler.is_file():
        lacking("npm packages")
    file = folder / "dashboard.ts"
    head = f'import type {{ Shipped }} from "{HERE}/dashboard";\n'
    file.write_text(f"{head}export const dashboard: Shipped = {dashboard};\n")
    done = subprocess.run(
        [node, compiler, *OPTIONS, file], capture_output=True, text=True, check=False, cwd=folder
    )
    return done.stdout + done.stderr


def test_dashboard_is_one_by_the_schema(tmp_path: Path) -> None:
    """Every key is known, has its type, and what must be there is."""
    assert faults(DASHBOARD, tmp_path) == ""


def test_schema_finds_faults(tmp_path: Path) -> None:
    """A key, a word and a panel that it does not know, and a missing one, are each reported."""
    wrong = DASHBOARD.replace('"refresh":', '"refrehs":', 1).replace(
        '"colorMode": "none"', '"colorMode": "no"', 1
    )
    wrong = wrong.replace('"type": "table"', '"type": "table-old"', 1).replace(
        '"displayMode": "basic",', "", 1
    )
    assert len(re.findall(r"error TS", faults(wrong, tmp_path))) >= 4


def test_schema_is_of_the_version_that_runs() -> None:
    """Compose's Grafana reads what was checked, without a migration."""
    lock = json.loads((HERE / "package-lock.json").read_text())
    version = lock["packages"]["node_modules/@grafana/schema"]["version"]
    assert f"image: docker.io/grafana/grafana:{version}\n" in (DEPLOY / "compose.yaml").read_text()
    types = HERE / "node_modules/@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen.mjs"
    if not types.is_file():
        lacking("npm packages")
    assert f"schemaVersion: {json.loads(DASHBOARD)['schemaVersion']}," in types.read_text()
