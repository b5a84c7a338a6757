"""Silences over the API: set, listed and ended by those who may act."""

from typing import Any

import pytest

from tests.integration.web.site import Site, hashed

PATH = "/api/v1/silences"
ASKED: dict[str, Any] = {"connection": "acme-*", "for": "2h", "reason": "known"}


async def test_silence_is_set_listed_and_ended(site: Site) -> None:
    """Each answer is the silence as it stands; the list has those that are active, or all."""
    await site.watch("acme-sales")
    async with site.serve():
        answer = await site.client.post(PATH, json=ASKED | {"by": "asha"})
        row = answer.json()
        assert (answer.status_code, row["connection"], row["by"]) == (201, "acme-*", "asha")
        assert (row["until"], row["ended_at"], row["alert"]) == ("2026-03-01T14:00:00.000Z", None, None)
        assert "etag" not in answer.headers
        listed = (await site.client.get(PATH)).json()
        assert listed == {"items": [row], "next_cursor": None}
        ended = await site.client.delete(f"{PATH}/{row['id']}")
        assert (ended.status_code, ended.json()["id"]) == (200, row["id"])
        assert ended.json()["ended_at"] is not None
        assert (await site.client.get(PATH)).json()["items"] == []
        assert len((await site.client.get(PATH, params={"all": "true"})).json()["items"]) == 1
        for silence_id in (row["id"], "nothing"):
            assert (await site.client.delete(f"{PATH}/{silence_id}")).status_code == 404


async def test_list_of_silences_comes_in_pages(site: Site) -> None:
    """The latest first, each once."""
    async with site.serve():
        made = [(await site.client.post(PATH, json=ASKED | {"reason": f"r{n}"})).json() for n in range(3)]
        first = (await site.client.get(PATH, params={"limit": 2})).json()
        second = (await site.client.get(PATH, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    found = [row["id"] for row in [*first["items"], *second["items"]]]
    assert sorted(found) == sorted(row["id"] for row in made)
    assert second["next_cursor"] is None


async def test_user_is_recorded_whatever_the_body_says(site: Site) -> None:
    """Who has a password is known by name."""
    site.users = {"ops": hashed("pw")}
    async with site.serve():
        answer = await site.client.post(PATH, json=ASKED | {"by": "somebody else"}, auth=("ops", "pw"))
        assert answer.json()["by"] == "ops"
        ended = await site.client.delete(f"{PATH}/{answer.json()['id']}", auth=("ops", "pw"))
    assert ended.json()["ended_by"] == "ops"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"connection": None}, "connection"),
        ({"for": None}, "until"),
        ({"until_ready": True}, "until_ready"),
        ({"until": "2026-12-31"}, "until"),
        ({"for": "0s"}, "for"),
        ({"for": "soon"}, "for"),
        ({"for": None, "until": "2020-01-01T00:00:00Z"}, "until"),
        ({"for": None, "until": 1767225600}, "until"),
        ({"reason": None}, "reason"),
        ({"reason": ""}, "reason"),
        ({"state": "NO\0BOT"}, "state"),
        ({"until_ready": "yes"}, "until_ready"),
        ({"conection": "acme-*"}, "conection"),
        ({"alert": "nothing"}, "alert"),
    ],
)
async def test_silence_that_cannot_be_meant_is_a_bad_request(
    site: Site, body: dict[str, Any], field: str
) -> None:
    """The problem names the field, and nothing is set."""
    async with site.serve():
        answer = await site.client.post(PATH, json=ASKED | body)
        assert (answer.status_code, answer.json()["parameter"]) == (400, field)
        assert answer.json()["detail"]
        assert (await site.client.get(PATH, params={"all": "true"})).json()["items"] == []
    assert site.daemon.done == []


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b'{"reason": "\\ud800"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"reason": "' + b"x" * 70_000 + b'"}', "application/json", 413),
        (b"reason=known&for=2h&connection=a", "application/x-www-form-urlencoded", 400),
        (b'{"connection": "a", "for": "2h", "reason": "known"}', "text/plain", 400),
    ],
)
async def test_body_that_is_no_json_of_a_silence_is_refused(
    site: Site, content: bytes, kind: str, code: int
) -> None:
    """Whatever it is, the answer says what to send; a form of another page's making is never enough."""
    async with site.serve():
        answer = await site.client.post(PATH, content=content, headers={"content-type": kind})
    assert answer.status_code == code
    assert answer.headers["content-type"] == "application/problem+json"
    assert (code == 413) == (answer.json()["detail"] == "the body is larger than 64KiB")
