"""Results that are drawn as they lie there."""

import pytest

from crayfish.spec import received
from crayfish.spec.errors import CrayfishError


def test_runs_of_which_only_summaries_are_there_are_told(tmp_path):
    told = received.lines(str(tmp_path), [("one", 1), ("one", 2)], {})
    assert "  whoever made their summaries, which is all that is here of them: 2 repetitions of runs" in told


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(CrayfishError, match="lacks 2 repetitions of runs that are drawn: one 1, one 2"):
        received.require(str(tmp_path), [("one", 1), ("one", 2)])
