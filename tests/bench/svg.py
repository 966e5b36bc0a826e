"""Plots as plain SVG: lines over a logarithmic axis."""

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 400, 70, 150, 50, 50
_COLOURS = ("#0b6e4f", "#c1440e", "#1d4e89", "#7a4988")

Points = Sequence[tuple[float, float]]


def plot(
    title: str, x_name: str, y_name: str, lines: Mapping[str, Points], *, log_y: bool = False, note: str = ""
) -> str:
    """An SVG document; the note stands below the title. The x axis is logarithmic, the y axis begins at 0 or is
    logarithmic too."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    ys = [y for points in lines.values() for _, y in points if y > 0]
    low_y = 10 ** math.floor(math.log10(min(ys))) if log_y else 0.0
    high_y = 10 ** math.ceil(math.log10(max(ys))) if log_y else _round_up(max(ys))

    def x_at(x: float) -> float:
        share = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y_at(y: float) -> float:
        share = math.log(y / low_y) / math.log(high_y / low_y) if log_y else y / high_y
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    right = _WIDTH - _RIGHT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="38" font-size="10" fill="#555">{escape(note)}</text>',
    ]
    for y in _log_ticks(low_y, high_y) if log_y else [high_y * n / 5 for n in range(6)]:
        out.append(f'<path d="M{_LEFT} {y_at(y):.1f}H{right}" stroke="#ddd"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y_at(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in xs:
        out.append(f'<text x="{x_at(x):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{_short(x)}</text>')
    out.append(f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{right}" fill="none" stroke="black"/>')
    middle_x, middle_y = (_LEFT + right) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    out.append(f'<text x="{middle_x}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_name)}</text>')
    out.append(f'<text transform="translate(16 {middle_y}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in points if y > 0)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3" fill="{colour}"/>' for x, y in points if y > 0]
        out.append(f'<text x="{right + 10}" y="{_TOP + 20 + 20 * number}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])


def _log_ticks(low: float, high: float) -> list[float]:
    return [low * 10**n for n in range(round(math.log10(high / low)) + 1)]


def _round_up(value: float) -> float:
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * step for step in (1, 2, 2.5, 5, 10) if unit * step >= value)


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
