"""Discovery: the connections of a key, without naming them."""

from monitor.simulator import World, build_world
from tests.acceptance.scene import RunDaemon, RunProvider, settings
from tests.servers.process import wait_until


def discovering(api: object, world: World, **sections: object) -> dict[str, object]:
    """Return a config that names no connection."""
    config = settings(api, **sections)  # type: ignore[arg-type]  # a Provider, which this file does not name
    account = {
        "name": "acme",
        "api_key": world.accounts[0].key,
        "requests_per_minute": 6000,
        "discover": True,
    }
    return config | {"accounts": [account]}


async def test_discovery_watches_every_active_connection_of_the_key(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """Active ones are watched under their names; inactive ones are not."""
    world = build_world(3, 10)
    api = await provider(world)
    api.do("deactivate_connection", connection="conn-0003")
    api.do("rename_connection", connection="conn-0002", to="conn-0001")
    daemon = run_daemon(discovering(api, world))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0001")

    async def both() -> bool:
        up = [labels for name, labels in await daemon.metrics() if name == "voicelink_up"]
        return len(up) == 2

    await wait_until(both, what="two connections")
    await daemon.stop()


async def test_discovery_takes_a_connection_that_is_named_like_a_key(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """It is watched under its id, and does not stop the discovery of the others."""
    world = build_world(2, 10)
    api = await provider(world)
    api.do("rename_connection", connection="conn-0002", to="rg_live_0123456789abcdef")
    daemon = run_daemon(discovering(api, world))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0001")
    named = [dict(labels)["connection"] for name, labels in await daemon.metrics() if name == "voicelink_up"]
    assert len(named) == 2
    assert not any("rg_live" in name for name in named)
    await daemon.stop()


async def test_discovery_that_fails_keeps_the_old_list_and_one_that_vanishes_is_an_alert(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """A restart while the API is down goes on with what was known; what is listed no more alerts by name."""
    world = build_world(2, 10)
    api = await provider(world)
    daemon = run_daemon(discovering(api, world))
    await daemon.start()
    await daemon.until("voicelink_up", 1, connection="conn-0002")
    await daemon.stop()

    await api.down()
    await daemon.start()
    await daemon.wait_for("discovery.failed")
    await daemon.until("voicelink_up", 0, connection="conn-0002")
    await daemon.stop()

    await api.up()
    api.do("remove_connection", connection="conn-0002")
    await daemon.start()
    [opened] = await daemon.wait_for("alert.opened", kind="connection_rejected")
    assert opened["connections"] == ["conn-0002"]
    assert "conn-0002" in opened["summary"]
    await daemon.stop()


async def test_discovery_that_never_worked_is_an_alert(run_daemon: RunDaemon, provider: RunProvider) -> None:
    """A key that is refused from the start must not leave the monitor blind in silence."""
    world = build_world(1, 10)
    api = await provider(world)
    config = discovering(api, world)
    config["accounts"][0]["api_key"] = "rg_live_wrong"  # type: ignore[index]
    daemon = run_daemon(config)
    await daemon.start()
    [opened] = await daemon.wait_for("alert.opened", kind="account_rejected")
    assert opened["account"] == "acme"
    assert opened["connections"] == ["acme (discovery)"]
    await daemon.stop()


async def test_discovery_stretches_intervals_to_the_budget(
    run_daemon: RunDaemon, provider: RunProvider
) -> None:
    """Too many connections for the budget are synced less often, with a warning."""
    world = build_world(5, 10)
    api = await provider(world)
    config = discovering(api, world)
    config["accounts"][0]["requests_per_minute"] = 150  # type: ignore[index]
    daemon = run_daemon(config)
    await daemon.start()
    [warned] = await daemon.wait_for("discovery.stretched")
    assert (warned["account"], warned["connections"], warned["interval_s"]) == ("acme", 5, 2.0)
    await daemon.stop()
