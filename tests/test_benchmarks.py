"""Every contestant of the benchmarks that can run here carries its messages rightly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from .benchmarks import report
from .benchmarks.__main__ import GROUPS
from .benchmarks.harness import TINY, Contest, Contestant, Goal
from .benchmarks.sides import Side
from .conditions import not_on_pypy

pytestmark = not_on_pypy("it cannot freeze objects, so they would be collected meanwhile")

TEMPLATES = Path(report.__file__).parent


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    with closing(Side()) as side:
        yield side


@pytest.mark.parametrize(
    "group",
    [pytest.param(each, marks=() if each == "decode" else pytest.mark.slow) for each in GROUPS],
)
def test_contestants_carry_the_messages(group: str, side: Side) -> None:
    contests = []
    for contest in GROUPS[group](TINY, side):
        contest.measure(TINY)
        names = {each.name for each in contest.contestants}
        assert {each.name for each in contest.contestants if each.can_run} == set(contest.costs)
        assert all(cost >= 0 for cost in contest.costs.values())
        assert all({each.ours, each.peer} <= {"", *names} for each in contest.goals)
        contests.append(contest)
    table = "\n".join(report.measurements(contests))
    assert all(f"| {each.work} |" in table for each in contests)


@pytest.mark.slow
def test_the_pages_find_everything_that_they_show(side: Side, tmp_path: Path) -> None:
    contests = [contest for group in GROUPS.values() for contest in group(TINY, side)]
    for contest in contests:
        contest.costs = dict.fromkeys((each.name for each in contest.contestants), 1e-6)
    report.write_pages(contests, tmp_path)
    (tmp_path / "benchmarks.md").read_text("utf-8")
    for page in tmp_path.glob("*.md"):
        assert not re.search(r"\?|{{", page.read_text("utf-8")), page


def test_a_goal_is_a_ratio_or_a_cost() -> None:
    costs = {"framing": 2e-6, "peer": 3e-6}
    assert Goal("framing", "peer", 0.67).is_met(costs)
    assert not Goal("framing", "peer", 0.66).is_met(costs)
    assert Goal("framing", "", 2e-6).is_met(costs)
    assert not Goal("framing", "", 1e-6).is_met(costs)


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.harness.PEERS", {"absent": "no_such_package"})
    contestants = [
        Contestant("framing", lambda: 1e-6),
        Contestant("peer", lambda: 2e-6),
        Contestant("absent, lines", lambda: 0.0),
    ]
    goals = [Goal("framing", "peer", 0.4), Goal("framing", "absent, lines", 1)]
    contest = Contest("some work", contestants, goals, 2)
    contest.measure(TINY)
    assert contest.costs == {"framing": 5e-7, "peer": 1e-6}
    *_, only = report.goal_rows([contest])
    assert only == "| some work | framing | 500 ns | peer | 1 µs | 0.50 | ≤ 0.4 | **missed** |"
    find = report.Results([contest]).find
    assert find("some work: framing") == "500 ns"
    assert find("some work: framing / peer") == "0.50"
    assert find("some work: framing / absent, lines") == "?"
