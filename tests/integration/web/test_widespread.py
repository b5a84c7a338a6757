"""Widespread alerts on the pages and in the API: one card, with its parts a link away."""

from tests.fakes.fleet import Fleet
from tests.integration.web.site import Site
from tests.integration.web.test_pages import text

NAMES = [f"c{place}" for place in range(7)]


async def test_parts_are_behind_their_widespread_alert(site: Site) -> None:
    """The list shows what receivers were told; the parts have a list of their own, and say what they are."""
    fleet = Fleet(site.database)
    await fleet.sync(*NAMES)
    [wide] = [row for row in await fleet.rows() if row.widespread]
    parts = [row.id for row in await fleet.rows() if row.part_of]
    async with site.serve():
        page = await text(site, "/alerts")
        assert page.count('<article class="card') == 4
        assert f'href="/alerts?part_of={wide.id}"' in page
        listed = await text(site, f"/alerts?part_of={wide.id}")
        assert [part for part in parts if f'id="{part}"' in listed] == parts
        assert listed.count('<article class="card') == len(parts) == 4
        one = await text(site, f"/alerts/{parts[0]}")
        assert f'href="/alerts/{wide.id}"' in one

        connection = await text(site, "/connections/name of c6")
        assert f'href="/alerts/{wide.id}"' in connection
        assert connection.count('<li class="alert ') == 1


async def test_the_api_tells_parts_and_widespread_alerts_apart(site: Site) -> None:
    """All are listed, each with what it belongs to; filters pick some."""
    fleet = Fleet(site.database)
    await fleet.sync(*NAMES)
    async with site.serve():

        async def listed(**asked: str) -> list[tuple[bool, str | None]]:
            answer = await site.client.get("/api/v1/alerts", params=asked)
            return sorted((each["widespread"], each["part_of"]) for each in answer.json()["items"])

        [wide] = [row.id for row in await fleet.rows() if row.widespread]
        of_wide = [(False, wide)] * 4
        assert await listed(part_of=wide) == of_wide
        assert await listed(widespread="true") == [(True, None)]
        everything = (await site.client.get("/api/v1/alerts")).json()["items"]
        assert len(everything) == 8
        detail = (await site.client.get("/api/v1/connections/name of c6")).json()
        assert [each["part_of"] for each in detail["alerts"]] == [wide]
