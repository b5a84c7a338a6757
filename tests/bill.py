"""The bill of materials: what the image installs, as a CycloneDX document, and under which licences.

    python -m tests.bill                            write deploy/image/licenses.txt
    python -m tests.bill --sbom dist/sbom.cdx.json  write the document as well

Both come from the metadata of what is installed here, which is what the image's lock names.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated

import typer
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from monitor import __version__

PROGRAM = "voicelink-drift-monitor"
EXTRAS = frozenset({"postgres", "apprise"})
"""What the image has beside the program itself."""

LICENSES = Path(__file__).parents[1] / "deploy/image/licenses.txt"

READ_BY_HAND = {"httpx-aiohttp": "BSD-3-Clause"}
"""Where the metadata holds a licence's text in place of its name."""

_CLASSIFIER = "License :: OSI Approved :: "
_HEAD = """\
# Written by `python -m tests.bill`; do not edit.
# What the image installs beside the program, and under which licence. The texts are in the image, in the
# folder *.dist-info of each; those of its Debian packages are in /usr/share/doc.
"""


def needs(
    name: str, extras: frozenset[str], environment: Mapping[str, str] | None = None
) -> list[Requirement]:
    """Return what an installed package asks for.

    Args:
        name: The package.
        extras: Its extras that are wanted.
        environment: Overrides this machine's, e.g. another `python_version`.
    """
    try:
        asked = [Requirement(line) for line in distribution(name).requires or ()]
    except PackageNotFoundError:  # only other environments need it
        return []
    return [
        each
        for each in asked
        if each.marker is None
        or any(each.marker.evaluate({**(environment or {}), "extra": extra}) for extra in {"", *extras})
    ]


def closure(environment: Mapping[str, str] | None = None) -> dict[str, set[str]]:
    """Return what the image installs, the program included: the names that each package needs, by name."""
    found: dict[str, set[str]] = {}
    todo, met = [(PROGRAM, EXTRAS)], set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in met:
            continue
        met.add((name, extras))
        below = [
            (canonicalize_name(each.name), frozenset(each.extras))
            for each in needs(name, extras, environment)
        ]
        found.setdefault(name, set()).update(each for each, _ in below)
        todo += below
    return found


def license_of(found: Distribution) -> str:
    """Return the name of a package's licence; empty if its metadata does not say."""
    said = {
        field: found.metadata.get_all(field) or [""]
        for field in ("License-Expression", "License", "Classifier")
    }
    (expression, *_), (plain, *_) = said["License-Expression"], said["License"]
    classified = [
        line.removeprefix(_CLASSIFIER) for line in said["Classifier"] if line.startswith(_CLASSIFIER)
    ]
    return (
        expression
        or READ_BY_HAND.get(canonicalize_name(found.name))
        or (plain if len(plain.splitlines()) == 1 else "")
        or " OR ".join(classified)
    )


def bundled() -> list[tuple[str, str, str]]:
    """Return name, version and licence of everything but the program, by name."""
    names = sorted(closure().keys() - {PROGRAM})
    return [(name, distribution(name).version, license_of(distribution(name))) for name in names]


def licenses() -> str:
    """Return the list as a file."""
    return _HEAD + "".join(f"{name}: {named}\n" for name, _, named in bundled())


def sbom() -> str:
    """Return the document, as JSON."""
    makes = LicenseFactory()
    components = {
        name: Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{name}=={version}",
            purl=PackageURL("pypi", None, name, version),
            licenses=[makes.make_from_string(named)],
        )
        for name, version, named in bundled()
    }
    program = Component(
        name=PROGRAM, version=__version__, type=ComponentType.APPLICATION, bom_ref=f"{PROGRAM}=={__version__}"
    )
    bom = Bom(components=components.values())
    bom.metadata.component = program
    for name, below in closure().items():
        depends_on: Sequence[Component] = [components[each] for each in sorted(below)]
        bom.register_dependency(components.get(name, program), depends_on)
    return str(JsonV1Dot6(bom).output_as_string(indent=2))


def main(
    sbom_file: Annotated[Path | None, typer.Option("--sbom", help="Where the document goes.")] = None,
) -> None:
    """Write what the image bundles."""
    LICENSES.write_text(licenses())
    if sbom_file is not None:
        sbom_file.parent.mkdir(parents=True, exist_ok=True)
        sbom_file.write_text(sbom())


if __name__ == "__main__":
    typer.run(main)
