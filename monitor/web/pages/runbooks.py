"""The runbooks that the monitor carries: Markdown in `../runbooks`, one for each alert, as pages."""

import asyncio
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from markdown_it import MarkdownIt
from starlette.requests import Request

from monitor.web.pages.site import PageView
from monitor.web.sources import Sources
from monitor.web.status import MonitorStatus

_FOLDER = Path(__file__).parents[1] / "runbooks"
_TO_ANOTHER = re.compile(r"\.\./([^/]+)/README\.md")
"""A link from one to another, as `deploy/runbooks` has them, with a folder for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """One runbook. `about` is its heading without the name of the alert, `text` its HTML."""

    about: str
    text: str


@functools.cache
def runbooks() -> Mapping[str, Runbook]:
    """Return the runbooks by the kind or name of their alert, those of the monitor's own alerts first."""
    files = sorted(_FOLDER.glob("*.md"), key=lambda file: (file.stem[0].isupper(), file.stem))
    return {file.stem: _rendered(file.read_text(encoding="utf-8")) for file in files}


def _rendered(source: str) -> Runbook:
    markdown = MarkdownIt("commonmark", {"html": False})
    blocks = markdown.parse(source)
    for each in (inline for block in blocks for inline in block.children or ()):
        to = each.attrGet("href")
        if to is not None:
            each.attrSet("href", _TO_ANOTHER.sub(r"\1", str(to)))
    heading = source.partition("\n")[0]
    return Runbook(
        about=heading.partition(": ")[2], text=markdown.renderer.render(blocks, markdown.options, {})
    )


async def runbook_page(_: Sources, _status: MonitorStatus, request: Request) -> PageView:
    """Return a runbook; the list of all, where there is none of the name that is asked for."""
    known, name = await asyncio.to_thread(runbooks), request.path_params["name"]
    if name not in known:
        values = {"runbooks": known, "unknown": name}
        return PageView(template="runbooks.html", values=values, code=HTTPStatus.NOT_FOUND)
    return PageView(template="runbook.html", values={"name": name, "runbook": known[name]})


async def runbooks_page(_: Sources, _status: MonitorStatus, _request: Request) -> PageView:
    """Return the list of the runbooks."""
    values = {"runbooks": await asyncio.to_thread(runbooks), "unknown": None}
    return PageView(template="runbooks.html", values=values)
