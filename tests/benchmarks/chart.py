"""A chart of some of the contests, as SVG: legible on white and on black, the same each time."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from .harness import OURS, Contest


class Panel(NamedTuple):
    work: str
    title: str
    unit: str = "µs a message"
    scale: float = 1e-6


PANELS = (
    Panel("receive, 64 B", "Receive 64-byte messages"),
    Panel("send, 64 B", "Send 64-byte messages"),
    Panel("question and answer, 64 B", "Question and answer, 64 bytes", "µs a turn"),
    Panel("length prefix, 64 B", "Decode 64-byte messages, without I/O"),
    Panel("asyncio: receive, 64 B", "Receive 64-byte messages with asyncio"),
    Panel("receive 128 MiB", "Receive 128 MiB", "ms", 1e-3),
)
OUR_COLOUR = "#2a9d8f"
PEER_COLOUR = "#8d99ae"
TEXT_COLOUR = "#7f8896"
OPTIONS = {
    "svg.fonttype": "none",
    "svg.hashsalt": OURS,
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": TEXT_COLOUR,
    "axes.labelcolor": TEXT_COLOUR,
    "axes.edgecolor": TEXT_COLOUR,
    "xtick.color": TEXT_COLOUR,
    "ytick.color": TEXT_COLOUR,
}


def draw(contests: list[Contest], path: Path) -> bool:
    """Draw all panels; return false if matplotlib is not installed."""
    try:
        matplotlib = import_module("matplotlib")
        figures = import_module("matplotlib.figure")
    except ImportError:
        print("matplotlib is not installed: no chart", file=sys.stderr)
        return False
    by_work = {each.work: each for each in contests}
    heights = [len(by_work[panel.work].costs) + 4 for panel in PANELS]
    with matplotlib.rc_context(OPTIONS):
        figure = figures.Figure(figsize=(8, sum(heights) * 0.22), layout="constrained")
        plots = figure.subplots(len(PANELS), 1, height_ratios=heights)
        for plot, panel in zip(plots, PANELS, strict=True):
            draw_panel(plot, panel, by_work[panel.work].costs)
        path.parent.mkdir(exist_ok=True)
        metadata = {"Date": None, "Creator": None}
        figure.savefig(path, format="svg", transparent=True, metadata=metadata)
    # Matplotlib ends lines with blanks.
    text = path.read_text("utf-8")
    path.write_text("\n".join(map(str.rstrip, text.splitlines())) + "\n", "utf-8")
    return True


def draw_panel(plot: Any, panel: Panel, costs: dict[str, float]) -> None:
    """Draw a bar for each contestant, from 0 to its time, the quickest at the top."""
    names = sorted(costs, key=lambda name: costs[name])
    times = [costs[name] / panel.scale for name in names]
    colours = [OUR_COLOUR if name.startswith(OURS) else PEER_COLOUR for name in names]
    bars = plot.barh(names, times, color=colours, height=0.7)
    plot.bar_label(bars, [f"{each:.3g}" for each in times], padding=3)
    plot.invert_yaxis()
    plot.set_xlim(0, max(times) * 1.1)
    plot.set_xlabel(panel.unit)
    plot.spines[["top", "right"]].set_visible(False)
    plot.tick_params(axis="y", left=False)
    plot.set_title(panel.title, loc="left", fontsize=11)
