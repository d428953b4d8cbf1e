"""ChartLine charts as SVG, written by hand: logarithmic axes, a legend, nothing that moves.

No plotting library is worth being installed for two pictures. Colours are those that colour-blind
people tell apart (Okabe and Ito, 2008), and every line has its own marker as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 400, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 54, 46
_LEGEND = 22  # height of a row of a legend below
_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#56b4e9", "#e69f00", "#808080", "#8c6bb1"),
)
_TEXT = "#777777"  # as far from white as from a dark page
_POWERS_FEW = 2
_ROUNDING = 1.0 + 1e-9
_MARKERS = (
    '<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>',
    '<rect x="{left:.1f}" y="{top:.1f}" width="7" height="7" fill="{colour}"/>',
    '<path d="M{left:.1f} {y:.1f}l3.5 -4.5l3.5 4.5l-3.5 4.5z" fill="{colour}"/>',
    '<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="none" stroke="{colour}" stroke-width="1.6"/>',
)


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line: its name and its points, x and y above zero."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture with both axes logarithmic."""

    title: str
    x_name: str
    lines: Sequence[ChartLine]


def draw(panels: Sequence[Panel], *, legend_below: bool = False) -> str:
    """Return an SVG with the panels side by side.

    legend_below  one legend for all panels, whose lines have the same names in the same order;
                  for more lines than fit beside each other over a panel
    """
    width, height = _WIDTH * len(panels), _HEIGHT + _LEGEND * legend_below
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="11"',
        f'fill="{_TEXT}">',
    ]
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate({index * _WIDTH} 0)">', *_panel(panel)]
        parts += [] if legend_below else _legend(panel.lines, _LEFT + 4, _WIDTH - _RIGHT, 36)
        parts += ["</g>"]
    if legend_below and panels:
        parts += _legend(panels[0].lines, _LEFT, width - _RIGHT, height - 14)
    return "\n".join([*parts, "</svg>", ""])


def _legend(lines: Sequence[ChartLine], left: float, right: float, y: float) -> list[str]:
    parts = []
    for index, line in enumerate(lines):
        x = left + index * (right - left) / len(lines)
        parts.append(_marker(index, x, y, _COLOURS[index % len(_COLOURS)]))
        parts.append(_text(x + 9, y + 4, "start", line.name))
    return parts


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values between the first and the last of some marks, on a line from `start` to `stop`."""

    marks: tuple[float, ...]
    start: float
    stop: float

    @classmethod
    def of(cls, values: Sequence[float], start: float, stop: float) -> "_Axis":
        least, most = min(values), max(values)
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
        # Over few powers of ten there is room for 2 and 5, and less of the picture stays empty.
        steps = (1, 2, 5) if high - low <= _POWERS_FEW else (1,)
        marks = [step * 10.0**power for power in range(low, high + 1) for step in steps]
        first = max(mark for mark in marks if mark <= least * _ROUNDING)
        last = min(mark for mark in marks if mark * _ROUNDING >= most and mark > first)
        return cls(tuple(mark for mark in marks if first <= mark <= last), start, stop)

    def at(self, value: float) -> float:
        share = math.log(value / self.marks[0]) / math.log(self.marks[-1] / self.marks[0])
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        return [(self.at(mark), _short(mark)) for mark in self.marks]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size / _ROUNDING:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _panel(panel: Panel) -> list[str]:
    points = [point for line in panel.lines for point in line.points]
    across = _Axis.of([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _Axis.of([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<text x="{_LEFT}" y="16" font-size="13">{escape(panel.title)}</text>']
    for x, text in across.ticks():
        parts.append(_grid(x, _TOP, x, up.start))
        parts.append(_text(x, up.start + 16, "middle", text))
    for y, text in up.ticks():
        parts.append(_grid(_LEFT, y, across.stop, y))
        parts.append(_text(_LEFT - 6, y + 4, "end", text))
    parts.append(_text((across.start + across.stop) / 2, _HEIGHT - 12, "middle", panel.x_name))
    for index, line in enumerate(panel.lines):
        colour = _COLOURS[index % len(_COLOURS)]
        placed = [(across.at(x), up.at(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        )
        parts += [_marker(index, x, y, colour) for x, y in placed]
    return parts


def _marker(index: int, x: float, y: float, colour: str) -> str:
    shape = _MARKERS[index % len(_MARKERS)]
    return shape.format(x=x, y=y, left=x - 3.5, top=y - 3.5, colour=colour)


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _grid(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="#999999" stroke-opacity="0.35"/>'
