"""Makes the pictures of the pages that README shows: `python -m tests.screenshots [FOLDER]`.

The real daemon watches the simulated provider of the demo; its story is told until there is something to see,
and the installed Chromium looks at the pages.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from monitor.simulator import Simulator, shipped_scenario
from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import Provider, settings
from tests.servers.chromium import LAUNCH_ARGUMENTS, require_chromium

FOLDER = Path(__file__).parents[1] / "deploy" / "screenshots"
MOST_BYTES = 120_000

BOT = 93
ROUTE = "+918044556602"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One page as one reader sees it; sizes in CSS pixels."""

    name: str
    path: str
    width: int
    height: int
    dark: bool = False
    click: str | None = None
    """A link to follow from there."""


PICTURES = (
    Picture(name="overview", path="/", width=1000, height=760),
    Picture(name="alert", path="/alerts", click=".card .what a", width=360, height=780, dark=True),
)


async def make(folder: Path) -> list[Path]:
    """Take every picture; return the files."""
    async with scene() as page, browser() as chromium:
        return [await _take(chromium, page, picture, folder) for picture in PICTURES]


@asynccontextmanager
async def scene() -> AsyncIterator[str]:
    """Give the address of a daemon that has been through a bad morning."""
    scenario = shipped_scenario("demo")
    provider = Provider(Simulator(scenario.world()))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        await provider.up()
        stack.push_async_callback(provider.down)
        alerts, web = {"update_interval": "2s"}, {"enable_lifecycle": True}
        daemon = Daemon(folder, settings(provider, instance="prod", alerts=alerts, web=web))
        stack.push_async_callback(daemon.kill)
        await daemon.start()
        names = ("acme-sales", "acme-support")
        for name in names:
            await daemon.until("voicelink_up", 1, connection=name)
        await _happen(provider, daemon)
        yield daemon.page


async def _happen(provider: Provider, daemon: Daemon) -> None:
    provider.do("fault", status=503)
    await daemon.wait_for("alert.opened", kind="api_unavailable")
    provider.do("clear_faults")
    await daemon.until_firing({})
    provider.do("remove_routing", number=ROUTE)
    await daemon.until_firing({"drift": 1})
    provider.do("deactivate_bot", bot=BOT)
    await daemon.until_firing({"drift": 2})


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Give the installed Chromium."""
    async with async_playwright() as driver:
        chromium = await driver.chromium.launch(
            executable_path=require_chromium(), headless=True, args=LAUNCH_ARGUMENTS
        )
        try:
            yield chromium
        finally:
            await chromium.close()


async def _take(chromium: Browser, page: str, picture: Picture, folder: Path) -> Path:
    context = await chromium.new_context(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme="dark" if picture.dark else "light",
        locale="en-GB",
        timezone_id="Asia/Kolkata",
    )
    tab = await context.new_page()
    await tab.goto(page + picture.path)
    if picture.click is not None:
        await tab.locator(picture.click).first.click()
        await tab.wait_for_load_state()
    file = folder / f"{picture.name}.png"
    await tab.screenshot(path=file, scale="css")
    await context.close()
    return file


def main(arguments: list[str]) -> None:
    """Take the pictures and say where they are and how large.

    Raises:
        SystemExit: One is too large for a README.
    """
    folder = Path(arguments[0]) if arguments else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files = asyncio.run(make(folder))
    for file in files:
        print(f"{file}: {file.stat().st_size // 1000} kB")  # noqa: T201 - a command
    if any(file.stat().st_size > MOST_BYTES for file in files):
        raise SystemExit(f"larger than {MOST_BYTES // 1000} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
