"""The container image, built by the real Dockerfile and run as its configuration says, without an engine.

The official base image is a registry's; in its place stands a Debian of the same release with its own Python,
under the name that the Dockerfile asks for. So this tests our Dockerfile, not the base. The base is made once
and kept in ~/.cache/voicelink-monitor-tests, under a name that changes with what it is made of.

`buildah run` ignores the entry point and passes no signal on, so the image's file system is mounted and
entered with chroot, read-only, in a mount namespace that ends with the process.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tests.servers.process import Process
from tests.servers.require import require, require_root

ROOT = Path(__file__).parents[2]
CACHE = Path.home() / ".cache" / "voicelink-monitor-tests"
TAG = "voicelink-drift-monitor:test"
PACKAGES = "python3,python3-venv,ca-certificates"

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

MAKE_BASE = """
set -eu
debootstrap --variant=minbase --include={packages} {release} {folder}/rootfs
ln -s /usr/bin/python3 {folder}/rootfs/usr/local/bin/python3
ln -s /usr/bin/python3 {folder}/rootfs/usr/local/bin/python
rm -rf {folder}/rootfs/var/cache/apt {folder}/rootfs/var/lib/apt/lists
container=$({buildah} from scratch)
{buildah} add -q "$container" {folder}/rootfs /
{buildah} config --env PATH=/usr/local/bin:/usr/bin:/bin "$container"
{buildah} commit -q --rm "$container" {base}
"""

# What a container's engine does: /data is the only place that can be written. The tie to the test run is made
# again at the end, because it does not outlast a change of user.
ENTER = """
set -eu
mount --bind {root} {root}
mount --bind {data} {root}/data
mount --rbind /dev {root}/dev
mount --rbind /proc {root}/proc
mount -o remount,bind,ro {root}
exec {chroot} --userspec={user} --groups= {root} /usr/bin/env -C {workdir} \\
    setpriv --pdeathsig KILL "$@"
"""


def base_name() -> str:
    """Return the image that the Dockerfile builds on."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found, "the Dockerfile names its base in ARG PYTHON_IMAGE"
    return found[1]


def base_python() -> str:
    """Return the version of Python that the base's name tells, e.g. 3.13."""
    return ".".join(base_name().rpartition(":")[2].split(".")[:2])


def _run(argv: Sequence[str], log: Path, folder: Path) -> str:
    """Run a command to its end and return its output; its errors go to `log`, and into the failure."""
    with log.open("ab") as errors:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, check=False, cwd=folder
        )
    output = done.stdout.decode(errors="replace").strip()
    assert done.returncode == 0, f"{argv[0]} failed: {output[-2000:]}\n{log.read_text()[-4000:]}"
    return output


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image.

    Args:
        root: Its file system, as root sees it.
        config: Its configuration, as Docker's `Config`: `User`, `Env`, `Entrypoint`, `Cmd`, `Healthcheck`, …
    """

    root: Path
    config: Mapping[str, Any]

    @property
    def user(self) -> str:
        """The user it runs as, `uid:gid`."""
        user: str = self.config["User"]
        return user

    @property
    def env(self) -> dict[str, str]:
        """Its environment."""
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    def data(self, folder: Path) -> Path:
        """Return a folder fit to be its volume, on a path that its user may enter.

        It has the owner and the mode of the image's own, as an engine gives them to a new volume.
        """
        folder.mkdir(parents=True, exist_ok=True)
        own = (self.root / "data").stat()
        os.chown(folder, own.st_uid, own.st_gid)
        folder.chmod(stat.S_IMODE(own.st_mode))
        return folder

    def process(
        self,
        *arguments: str,
        data: Path,
        log_file: Path,
        env: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        ready_url: str | None = None,
        user: str | None = None,
    ) -> Process:
        """Return a process of the image; without `arguments` and `user`, with those of its configuration."""
        command = [*(entrypoint or self.config["Entrypoint"]), *(arguments or self.config["Cmd"])]
        script = ENTER.format(
            root=shlex.quote(str(self.root)),
            data=shlex.quote(str(data)),
            chroot=require("chroot"),
            user=user or self.user,
            workdir=shlex.quote(self.config["WorkingDir"]),
        )
        # chroot looks the command up with the image's PATH: what the image lacks must not be found outside.
        environment = {**self.env, **(env or {})}
        argv = [str(require("unshare")), "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"]
        return Process(argv=[*argv, *command], log_file=log_file, ready_url=ready_url, env=environment)


class Builder:
    """Builds images in a storage of its own, kept between runs for the sake of the base.

    Args:
        log: Gets what the tools say.
        source: The build's context, with the Dockerfile.
    """

    def __init__(self, log: Path, source: Path = ROOT) -> None:
        require_root("build an image")
        require("debootstrap")
        self._log, self._source = log, source
        self._base = base_name()
        self._release = self._base.rpartition("-")[2]
        made_of = f"{self._base} {self._release} {platform.machine()} {PACKAGES} {MAKE_BASE}"
        self._folder = CACHE / f"image-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
        self._folder.mkdir(parents=True, exist_ok=True)
        storage = ["--root", str(self._folder / "storage"), "--runroot", str(self._folder / "run")]
        # For the base's Python, whichever runs the tests.
        self._for_base = ["--python-version", base_python(), "--only-binary", ":all:"]
        self._buildah = [str(require("buildah")), *storage, "--storage-driver", "vfs"]

    def run(self, *arguments: str) -> str:
        """Run buildah and return its output."""
        return _run([*self._buildah, *arguments], self._log, self._source)

    @contextmanager
    def container(self, image: str) -> Iterator[tuple[str, Path]]:
        """Return a container's name and the root of its file system while it exists."""
        name = self.run("from", "--pull-never", image)
        try:
            yield name, Path(self.run("mount", name))
        finally:
            self.run("umount", name)
            self.run("rm", name)

    def make_base(self) -> None:
        """Make the base image, unless an earlier run has."""
        images = json.loads(self.run("images", "--json")) or []
        if any(self._base in (image.get("names") or []) for image in images):
            return
        for old in CACHE.glob("image-*"):
            if old != self._folder:
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            script = MAKE_BASE.format(
                packages=PACKAGES,
                release=self._release,
                folder=shlex.quote(folder),
                base=self._base,
                buildah=shlex.join(self._buildah),
            )
            _run(["/bin/sh", "-c", script], self._log, self._source)

    def fetch_wheels(self) -> Path:
        """Return a folder with all that the build installs, fetched with this machine's own settings.

        The Dockerfile knows of no such settings, and the build itself then needs no network.
        """
        locks = [self._source / "deploy/image" / name for name in ("requirements.txt", "build.txt")]
        folder = (
            self._folder / f"wheels-{hashlib.sha256(b''.join(map(Path.read_bytes, locks))).hexdigest()[:16]}"
        )
        if not folder.is_dir():
            partial = folder.with_suffix(".part")
            for old in self._folder.glob("wheels-*"):
                shutil.rmtree(old)
            options = ["--require-hashes", "--no-deps", "--dest", str(partial), *self._for_base]
            for lock in locks:
                _run([*PIP, "download", "-qq", *options, "-r", str(lock)], self._log, self._source)
            partial.rename(folder)
        return folder

    def fetch_packages(self, *names: str) -> Path:
        """Return a folder of these packages, in the versions installed here, for the image's Python."""
        found = sorted(f"{each.name}=={each.version}" for each in distributions())
        key = hashlib.sha256("\n".join([*found, *names]).encode()).hexdigest()[:16]
        folder = self._folder / f"packages-{key}"
        if not folder.is_dir():
            partial, constraints = folder.with_suffix(".part"), self._folder / "constraints.txt"
            for old in self._folder.glob("packages-*"):
                shutil.rmtree(old)
            constraints.write_text("\n".join(found))
            options = ["--no-compile", "--target", str(partial), "-c", str(constraints), *self._for_base]
            _run([*PIP, "install", "-qq", *options, *names], self._log, self._source)
            partial.rename(folder)
        return folder

    @contextmanager
    def build(self) -> Iterator[Image]:
        """Build the image; it is gone afterwards, the base stays."""
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs share the storage, one after the other
            self.run("rm", "--all")  # what a killed run left
            self.make_base()
            with self._built() as image:
                yield image

    @contextmanager
    def _built(self) -> Iterator[Image]:
        wheels = self.fetch_wheels()
        settings = self._folder / "pip.conf"
        settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        options = ["--isolation=chroot", "--format=docker", "--pull-never", "-q"]
        options += [
            "--build-arg",
            "REVISION=0123abc",
            "--build-arg",
            "CREATED=2026-02-03T04:05:06Z",
            "-t",
            TAG,
        ]
        volumes = ["--volume", f"{wheels}:/wheels:ro", "--volume", f"{settings}:/etc/pip.conf:ro"]
        self.run("bud", *options, *volumes, ".")
        try:
            config = json.loads(self.run("inspect", "--type", "image", TAG))["Docker"]["config"]
            with self.container(TAG) as (_, root):
                yield Image(root=root, config=config)
        finally:
            self.run("rmi", TAG)
            self.run("rmi", "--prune")
