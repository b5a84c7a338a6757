"""What must hold of a world that was played, by the contract alone: the monitor's own rules are not asked.

What the provider served is the evidence, what it knows is the truth, and what the receivers accepted is what
people saw.
"""

from tests.world.content import Content
from tests.world.evidence import Problem
from tests.world.history import History
from tests.world.levels import Levels
from tests.world.pace import Pace
from tests.world.play import Played
from tests.world.promises import Promises
from tests.world.streams import Streams
from tests.world.trust import Trust


def check(played: Played, promises: Promises) -> list[Problem]:
    """Return everything that was not as promised, in the order of time."""
    problems = [
        problem
        for kind in (Streams, Content, Pace, Levels, Trust, History)
        for problem in kind(played, promises).checks()
    ]
    return sorted(problems, key=lambda problem: problem.at_s)
