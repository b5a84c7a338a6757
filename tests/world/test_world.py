"""Ten worlds."""

import pytest

from tests.world.__main__ import tell
from tests.world.model import check
from tests.world.plan import plan
from tests.world.play import play
from tests.world.promises import KEPT


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(1, 11))
def test_receivers_believe_what_is_true(seed: int) -> None:
    """Whatever the world does: nothing lost, doubled, false or left open, and nothing blind in silence."""
    played = play(plan(seed))
    problems = check(played, KEPT)
    assert not problems, "\n".join([tell(played), *map(str, problems)])
