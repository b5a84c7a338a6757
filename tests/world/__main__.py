"""Plays many worlds: `python -m tests.world --seeds N [--seed S] [--hours H] [--replicas R]`."""

import argparse
import sys
import time
from pathlib import Path

from tests.world.events import World, from_json, to_json
from tests.world.evidence import Problem
from tests.world.model import check
from tests.world.plan import plan
from tests.world.play import Played
from tests.world.promises import KEPT, NEW, Promises
from tests.world.replicas import play_anywhere
from tests.world.shrink import shrink

MOST_OF_A_KIND = 4


def main() -> int:
    """Play them; print each that breaks a promise, its story, and the fewest events that still break it."""
    parser = argparse.ArgumentParser(prog="python -m tests.world", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many worlds")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--hours", type=float, default=4.0, help="how long each world lasts")
    parser.add_argument(
        "--replicas", type=int, default=0, help="how many share a PostgreSQL; none: one daemon on SQLite"
    )
    parser.add_argument(
        "--new", action="store_true", help="hold the tree to the promises it does not keep yet"
    )
    parser.add_argument("--shrink", action="store_true", help="shrink what fails")
    parser.add_argument(
        "--kind", default="", help="the kind of problem to shrink; the first one's if not given"
    )
    parser.add_argument("--story", action="store_true", help="print the stories of worlds that fail")
    parser.add_argument("--replay", type=Path, help="a world as printed by --shrink")
    args = parser.parse_args()
    promises = NEW if args.new else KEPT
    worlds = (
        [from_json(args.replay.read_bytes())]
        if args.replay
        else [
            plan(seed, hours=args.hours, replicas=args.replicas)
            for seed in range(args.seed, args.seed + args.seeds)
        ]
    )
    began_s = time.monotonic()
    failed = 0
    for world in worlds:
        played = play_anywhere(world)
        problems = check(played, promises)
        failed += bool(problems)
        verdict = f"{len(problems)} problems" if problems else "well"
        say(f"seed {world.seed}: {len(world.events)} events, {verdict}")
        if problems:
            report(world, played, problems, promises, story=args.story, smaller=args.shrink, kind=args.kind)
    minutes = (time.monotonic() - began_s) / 60
    say(f"{len(worlds)} worlds, {failed} failed, {len(worlds) / minutes:.1f} seeds a minute")
    return 1 if failed else 0


def report(
    world: World,
    played: Played,
    problems: list[Problem],
    promises: Promises,
    *,
    story: bool,
    smaller: bool,
    kind: str,
) -> None:
    """Print what went wrong in a world."""
    chosen = next((problem for problem in problems if kind in ("", problem.kind)), None)
    if smaller and chosen is not None:
        world, played, problems = shrink(world, chosen, promises)
        story = True
    if story:
        say(tell(played))
    shown: dict[str, int] = {}
    for problem in problems:
        shown[problem.kind] = shown.get(problem.kind, 0) + 1
        if shown[problem.kind] <= MOST_OF_A_KIND:
            say(f"  {problem}")
    say(f"  in all: {shown}")
    if smaller and chosen is not None:
        say(to_json(world))


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(played: Played) -> str:
    """Return the story of a world."""
    return "\n".join(f"{at_s:9.1f}  {what}" for at_s, what in played.story)


if __name__ == "__main__":
    sys.exit(main())
