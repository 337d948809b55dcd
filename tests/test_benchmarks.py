"""Every contestant of the benchmarks that can run here carries its messages rightly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from .benchmarks import __main__ as program
from .benchmarks import memory, report
from .benchmarks.groups import GROUPS, contests
from .benchmarks.harness import TINY, Contest, Contestant, Goal
from .benchmarks.report import Result
from .benchmarks.sides import Side

# These spawn a process for each contestant, and do what others do too.
PROCESSES = {"memory", "imports"}
QUICK = {"functions", "datagrams"}


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    with closing(Side(1)) as side:
        yield side


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(each, marks=() if each in QUICK else pytest.mark.slow)
        for each in GROUPS
        if each not in PROCESSES
    ],
)
def test_contestants_carry_the_messages(group: str, side: Side) -> None:
    found = 0
    for contest in contests(TINY, [group], side):
        costs = contest.measure(TINY)
        assert all(cost > 0 for cost in costs.values())
        assert {each.name for each in contest.contestants if not each.needs} <= set(costs)
        for goal in contest.goals:
            assert {goal.ours, goal.peer} <= {each.name for each in contest.contestants}
        found += len(costs)
    assert found


def contest_of(costs: dict[str, float], goals: list[Goal]) -> Contest:
    contestants = [Contestant(name, lambda cost=cost: cost) for name, cost in costs.items()]  # type: ignore[misc]
    return Contest("decode", "some", contestants, goals, 2)


def test_a_goal_compares_speeds_or_costs() -> None:
    costs = {"framing": 2.0, "peer": 3.0}
    assert Goal("framing", "peer", least=1.5).is_met(costs)
    assert not Goal("framing", "peer", least=1.6).is_met(costs)
    assert Goal("framing", "peer", most=0.67).is_met(costs)
    assert not Goal("peer", "framing", most=1.4).is_met(costs)


def test_what_is_not_installed_is_left_out_and_said(tmp_path: Path) -> None:
    goals = [Goal("framing", "peer", least=1), Goal("framing", "other", least=1)]
    contest = contest_of({"framing": 1e-6, "peer": 2e-6}, goals)
    contest.contestants.append(Contestant("other", lambda: 0.0, needs="no_such_package"))
    result = Result(contest, contest.measure(TINY))
    assert result.costs == {"framing": 1e-6, "peer": 2e-6}
    program.write([result], ["no_such_package"], tmp_path)
    table = (tmp_path / "table.md").read_text("utf-8")
    assert "Not installed, and so left out: no_such_package." in table
    assert "| decode: some |  | 500 ns | peer | 1.00 µs | 2.00 | ≥ 1 | met |" in table
    assert "other" not in table
    (stored,) = json.loads((tmp_path / "results.json").read_text("utf-8"))["contests"]
    assert stored["goals"] == [
        {"ours": "framing", "peer": "peer", "goal": "≥ 1", "ratio": 2.0, "met": True}
    ]
    assert report.machine() in table


@pytest.mark.slow
def test_the_memory_of_a_message_is_measured_in_a_process_of_its_own() -> None:
    pytest.importorskip("resource")
    # A small message may fit in memory that the process has had before.
    size = 16 * 1024 * 1024
    contest = next(memory.contests(replace(TINY, large=size)))
    assert contest.contestants[0].run() > 0.9 * size
