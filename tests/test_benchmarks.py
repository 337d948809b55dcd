"""Every contestant of the benchmarks that can run here carries its messages rightly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from .benchmarks import report
from .benchmarks.groups import GROUPS, contests
from .benchmarks.harness import TINY, Contest, Contestant, Goal
from .benchmarks.report import Result
from .benchmarks.sides import Side

QUICK = {"functions", "pingpong"}


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    with closing(Side(1)) as side:
        yield side


@pytest.mark.parametrize(
    "group",
    [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in GROUPS],
)
def test_contestants_carry_the_messages(group: str, side: Side) -> None:
    results = []
    for contest in contests(TINY, [group], side):
        costs = contest.measure(TINY)
        assert all(cost > 0 for cost in costs.values())
        assert {each.name for each in contest.contestants if not each.needs} <= set(costs)
        for goal in contest.goals:
            assert {goal.ours, goal.peer} <= {each.name for each in contest.contestants}
        results.append(Result(contest, costs))
    assert results
    assert GROUPS[group][0] in report.tables(results, [])


def test_a_goal_compares_speeds_or_costs() -> None:
    costs = {"framing": 2.0, "peer": 3.0}
    assert Goal("framing", "peer", least=1.5).is_met(costs)
    assert not Goal("framing", "peer", least=1.6).is_met(costs)
    assert Goal("framing", "peer", most=0.67).is_met(costs)
    assert not Goal("peer", "framing", most=1.4).is_met(costs)


def test_a_peer_that_is_not_installed_is_left_out_and_named() -> None:
    contestants = [
        Contestant("framing", lambda: 1e-6),
        Contestant("peer", lambda: 2e-6),
        Contestant("other", lambda: 0.0, needs="no_such_package"),
    ]
    goals = [Goal("framing", "peer", least=1), Goal("framing", "other", least=1)]
    contest = Contest("decode", "some", contestants, goals, 2)
    result = Result(contest, contest.measure(TINY))
    assert result.costs == {"framing": 1e-6, "peer": 2e-6}
    table = report.tables([result], ["no_such_package"])
    assert "Not installed, and so left out: no_such_package." in table
    assert "| decode: some |  | 500 ns | peer | 1.00 µs | 2.00 | ≥ 1 | met |" in table
    assert "other" not in table
