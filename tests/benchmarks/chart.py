"""A chart of some of the contests, as SVG: legible on white and on black, the same each time."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from .harness import OURS
from .report import Result

PANELS = {
    ("decode", "length prefix, 64 B, equal"): "Decode, length prefix, 64 B",
    ("decode", "lines, 64 B, equal"): "Decode, lines, 64 B",
    ("receive", "64 B, equal"): "Receive, 64 B",
    ("send", "64 B, equal"): "Send, 64 B",
    ("pingpong", "64 B, equal"): "Question and answer, 64 B",
    ("large", "recv, 128 MiB"): "Receive 128 MiB",
}
OUR_COLOUR = "#2a9d8f"
PEER_COLOUR = "#8d99ae"
TEXT_COLOUR = "#7f8896"


def draw(results: list[Result], path: Path) -> None:
    """Draw the panels for which there are results.

    Raises:
        ImportError: matplotlib is not installed.
    """
    matplotlib = import_module("matplotlib")
    figures = import_module("matplotlib.figure")
    chosen = [
        (title, each)
        for key, title in PANELS.items()
        for each in results
        if (each.contest.group, each.contest.work) == key
    ]
    if not chosen:
        return
    options = {
        "svg.fonttype": "none",
        "svg.hashsalt": "framing",
        "font.size": 9,
        "font.family": "sans-serif",
        "text.color": TEXT_COLOUR,
        "axes.labelcolor": TEXT_COLOUR,
    }
    with matplotlib.rc_context(options):
        rows = (len(chosen) + 1) // 2
        figure = figures.Figure(figsize=(10, 2.9 * rows), layout="constrained")
        axes = figure.subplots(rows, 2, squeeze=False).flatten()
        for axis, (title, result) in zip(axes, chosen, strict=False):
            draw_panel(axis, title, result)
        for axis in axes[len(chosen) :]:
            axis.set_visible(False)
        figure.savefig(
            path, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    # Matplotlib ends lines with blanks.
    text = path.read_text("utf-8")
    path.write_text("\n".join(map(str.rstrip, text.splitlines())) + "\n", "utf-8")


def draw_panel(plot: Any, title: str, result: Result) -> None:
    """Draw a bar for each contestant, as long as its time is, the fastest at the top."""
    names = sorted(result.costs, key=lambda name: result.costs[name])
    best = min(result.costs.values())
    lengths = [result.costs[name] / best for name in names]
    colours = [OUR_COLOUR if name.startswith(OURS) else PEER_COLOUR for name in names]
    # A bar that is cut off would be too long to see the others beside it.
    limit = max(min(max(lengths), 12.0), 1.0)
    plot.barh(names, [min(each, limit) for each in lengths], color=colours, height=0.7)
    for place, (name, length) in enumerate(zip(names, lengths, strict=True)):
        more = " (cut off)" if length > limit else ""
        plot.text(min(length, limit), place, f" {result.shown(name)}{more}", va="center")
    plot.invert_yaxis()
    plot.set_xlim(0, limit * 1.3)
    plot.set_xticks([])
    plot.tick_params(left=False, colors=TEXT_COLOUR)
    for spine in plot.spines.values():
        spine.set_visible(False)
    plot.set_title(title, loc="left", fontsize=11, color=TEXT_COLOUR)
