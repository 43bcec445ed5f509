"""Charts as inline SVG: matplotlib draws, the page's style sheet colours (so that dark mode and paper both work).

matplotlib writes fixed colours; the odd ones below stand for CSS variables and are exchanged afterwards. The same data
give the same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

INK, SOFT, FAINT = "#000101", "#000102", "#000103"
MODEL, BASELINE, THIRD, FOURTH = "#000201", "#000202", "#000203", "#000204"
_CSS = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    FAINT: "var(--faint)",
    MODEL: "var(--model)",
    BASELINE: "var(--baseline)",
    THIRD: "var(--third)",
    FOURTH: "var(--fourth)",
}
SERIES = (MODEL, BASELINE, THIRD, FOURTH)
# Any: matplotlib 3.11 types the keys one by one, 3.9 not at all.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dekey",
    "text.parse_math": False,  # a keypoint may be called "a$b"
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "axes.unicode_minus": True,
    "path.simplify": True,
}
_MAX_POINTS = 300


class Chart(NamedTuple):
    """An SVG element with the sentence that belongs under it."""

    svg: str
    caption: str


class Curve(NamedTuple):
    """A named line: x and y (P,), finite."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def line_chart(
    title: str,
    x_label: str,
    curves: Sequence[Curve],
    *,
    log: bool = False,
    size: tuple[float, float] = (4.4, 2.7),
    y_limits: tuple[float, float] | None = None,
    dots: bool = False,
) -> str:
    """Draw curves over a common x axis; returns the SVG.

    Args:
        title: what the y axis shows, with its unit.
        x_label: name and unit of x.
        curves: up to four; the second is dashed, the rest dotted or dash-dotted, so that colour is not needed.
        log: whether y is logarithmic; it stays linear where a value is not positive.
        size: width and height, inches.
        y_limits: limits of y.
        dots: whether to mark every point (for few of them).
    """

    def plot(axes: Any) -> None:
        for curve, colour, dash in zip(curves, SERIES, ("-", "--", ":", "-."), strict=False):
            x, y = _thinned(curve.x, curve.y)
            marker = "o" if dots or len(x) == 1 else None
            axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.6, marker=marker, markersize=3, label=_short(curve.name))
        if log and curves and all((curve.y > 0).all() for curve in curves):
            _log_scale(axes, curves)
        if y_limits is not None:
            axes.set_ylim(*y_limits)
        axes.set_title(title)
        axes.set_xlabel(x_label)
        if len(curves) > 1:
            axes.legend(fontsize=8)

    return _svg(size, plot, title)


def bar_chart(
    title: str,
    names: Sequence[str],
    values: NDArray[np.float64],
    upper: NDArray[np.float64],
    other: NDArray[np.float64] | None,
    remarks: Sequence[str],
) -> str:
    """Draw one horizontal bar a name, from the top down; returns the SVG.

    Args:
        title: what the bars show, with its unit.
        names: R names.
        values: (R,) lengths of the bars; NaN draws none.
        upper: (R,) ends of the thin whiskers; NaN draws none.
        other: (R,) values to compare with, drawn as ticks, or None.
        remarks: R short texts at the right edge.
    """
    rows = np.arange(len(names))

    def plot(axes: Any) -> None:
        known = np.isfinite(values)
        axes.barh(rows[known], values[known], height=0.62, color=MODEL)
        whisker = known & np.isfinite(upper)
        axes.hlines(rows[whisker], values[whisker], upper[whisker], color=MODEL, linewidth=1.2)
        shown = [values[known], upper[whisker]]
        if other is not None:
            there = np.isfinite(other)
            axes.vlines(other[there], rows[there] - 0.36, rows[there] + 0.36, color=BASELINE, linewidth=2.2)
            shown.append(other[there])
        limit = max((float(part.max()) for part in shown if part.size), default=1.0) or 1.0
        axes.set_xlim(0, limit * 1.05)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(rows, [_short(name) for name in names])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(visible=False, axis="y")
        axes.set_title(title)
        for row, remark in enumerate(remarks):
            axes.text(1.01, row, remark, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=SOFT)

    return _svg((7.4, 0.75 + 0.24 * max(len(names), 2)), plot, title)


def histogram(title: str, x_label: str, values: NDArray[np.float64], size: tuple[float, float] = (3.2, 2.7)) -> str:
    """Draw how often values (P,) occur, 24 bins; returns the SVG."""

    def plot(axes: Any) -> None:
        low, high = float(values.min()), float(values.max())
        axes.hist(values, bins=24, range=(low, high) if high > low else (low - 0.5, low + 0.5), color=MODEL)
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.grid(visible=False, axis="x")

    return _svg(size, plot, title)


def scatter(
    title: str,
    xy: NDArray[np.float64],
    groups: NDArray[np.int64],
    colours: NDArray[np.uint8],
    *,
    means: NDArray[np.float64] | None = None,
    size: tuple[float, float] = (3.2, 2.7),
) -> str:
    """Draw relative positions, (0, 0) top left to (1, 1) bottom right; returns the SVG.

    Args:
        title: what the dots are.
        xy: (P, 2) relative positions, finite.
        groups: (P,) index into `colours`.
        colours: (G, 3) uint8 RGB.
        means: (G, 2) positions drawn larger, NaN for none.
        size: width and height, inches.
    """

    def plot(axes: Any) -> None:
        rgb = colours / 255.0
        axes.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color=SOFT, linewidth=0.8)
        for group in np.unique(groups):
            own = xy[groups == group]
            # One path for a group of dots: a tenth of the bytes of one mark each.
            axes.plot(own[:, 0], own[:, 1], linestyle="", marker=".", markersize=2.5, color=rgb[group], alpha=0.55)
        if means is not None:
            for group in np.flatnonzero(np.isfinite(means).all(1)):
                axes.plot(*means[group], marker="o", markersize=5, color=rgb[group], markeredgecolor=INK, markeredgewidth=0.7)
        axes.set_xlim(-0.08, 1.08)
        axes.set_ylim(1.08, -0.08)
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        axes.set_title(title)

    return _svg(size, plot, title)


def _svg(size: tuple[float, float], plot: Callable[[Any], None], label: str) -> str:
    """Run `plot` on the axes of a fresh figure and give an <svg> element that scales with the page."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script that matplotlib's font lacks is set by the browser, which has one.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        plot(figure.subplots())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing, bbox_inches="tight", pad_inches=0.06)
    return _for_the_page(buffer.getvalue(), label)


def _for_the_page(svg: str, label: str) -> str:
    """Make a file into an element: no prolog, no metadata, ids that no other chart has, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # groups are not referred to
    own = f"c{zlib.crc32((label + svg).encode()):08x}-"
    svg = re.sub(r'(?<= )(id="|clip-path="url\(#)', rf"\g<1>{own}", svg)
    svg = re.sub(r'(?<= )(?:xlink:)?href="#', f'href="#{own}', svg)
    svg = re.sub(r"(?<=: )#000[12]0\d(?=[;\"])", lambda found: _CSS.get(found.group(), found.group()), svg)
    head, rest = svg.split(">", 1)
    view = re.search(r'viewBox="0 0 ([\d.]+) [\d.]+"', head)
    inches = float(view.group(1)) / 72 if view else 4.0
    head = re.sub(r'\s(?:width|height|xmlns:xlink|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(label)}" style="width:{inches:.2f}in">{rest.strip()}'


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average long curves in equal groups, so that a page with a million steps stays small."""
    if len(x) <= _MAX_POINTS:
        return x, y
    groups = np.array_split(np.arange(len(x)), _MAX_POINTS)
    return np.array([x[group].mean() for group in groups]), np.array([y[group].mean() for group in groups])


def _log_scale(axes: Any, curves: Sequence[Curve]) -> None:
    """Make y logarithmic with plain numbers at 1, 2, 5 or, over more than two decades, at 1 only."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = (reduce([float(reduce(curve.y)) for curve in curves]) for reduce in (min, max))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    if high / low < 10:  # room for at least two of the ticks
        axes.set_ylim(low / 1.6, high * 1.6)


def _short(name: str) -> str:
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= 28 else printable[:27] + "…"
