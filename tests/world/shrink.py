"""Leaves out events for as long as a world still breaks the same promise."""

import msgspec

from tests.world.events import AnyEvent, World
from tests.world.evidence import Problem
from tests.world.model import check
from tests.world.play import Played
from tests.world.promises import Promises
from tests.world.replicas import play_anywhere

MOST_TRIES = 150


def shrink(world: World, problem: Problem, promises: Promises) -> tuple[World, Played, list[Problem]]:
    """Return the smallest world found that breaks the same promise, how it went, and what broke."""
    quiet = [span for span in world.quiet if span[0] < problem.at_s] or world.quiet
    shorter = msgspec.structs.replace(
        world, quiet=tuple(world.quiet[: min(len(quiet) + 1, len(world.quiet))])
    )
    best = _try(shorter, problem, promises) or _try(world, problem, promises)
    if best is None:
        raise AssertionError(f"the world does not fail again: {problem}")
    parts, tries = 2, 0
    while best[0].events and tries < MOST_TRIES:
        events = best[0].events
        size = max(len(events) // parts, 1)
        for start in range(0, len(events), size):
            tries += 1
            found = _try(_with(best[0], events[:start] + events[start + size :]), problem, promises)
            if found is not None:
                best, parts = found, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(events))
    return best


def _with(world: World, events: tuple[AnyEvent, ...]) -> World:
    return msgspec.structs.replace(world, events=events)


def _try(world: World, problem: Problem, promises: Promises) -> tuple[World, Played, list[Problem]] | None:
    played = play_anywhere(world)
    problems = [each for each in check(played, promises) if each.kind == problem.kind]
    return (world, played, problems) if problems else None
