"""Just enough SVG for the plots: text, lines and areas that suit a light page and a dark one.

Written by hand because the same result then gives the same bytes, which a test compares, and because the colours can
follow the reader's page: a plotting library does neither, and would be the largest thing that this project installs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

Point = tuple[float, float]

# The hues are Okabe and Ito's, which people who see few colours can tell apart; the lightness is made to suit the page.
_STYLE = """\
svg { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.page { fill: #ffffff; } .ink, .title { fill: #1f2328; } .soft { fill: #59636e; }
.title { font-size: 17px; font-weight: 600; } .bold { font-weight: 600; } .small { font-size: 12px; }
.band { fill: #eef0f3; } .grid { stroke: #d1d9e0; fill: none; } .made { stroke: #59636e; stroke-dasharray: 4 3; }
.own { fill: #0072b2; } .bad { fill: #d55e00; } .other { fill: #8c959f; } .third { fill: #009e73; }
.fourth { fill: #a3568a; }
path.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
path.own { stroke: #0072b2; } path.bad { stroke: #d55e00; } path.other { stroke: #8c959f; }
path.third { stroke: #009e73; } path.fourth { stroke: #a3568a; } path.area { stroke: none; fill-opacity: 0.9; }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; } .ink, .title { fill: #f0f6fc; } .soft { fill: #9198a1; }
.band { fill: #1c2128; } .grid { stroke: #3d444d; } .made { stroke: #9198a1; }
.own { fill: #56b4e9; } .bad { fill: #e8833a; } .other { fill: #9198a1; } .third { fill: #2cc295; }
.fourth { fill: #d493bf; }
path.own { stroke: #56b4e9; } path.bad { stroke: #e8833a; } path.other { stroke: #9198a1; }
path.third { stroke: #2cc295; } path.fourth { stroke: #d493bf; } path.area { stroke: none; } path.line { fill: none; }
}"""


def document(width: int, height: int, title: str, description: str, parts: Iterable[str]) -> str:
    """A whole file; `title` and `description` are what a screen reader says."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t d">',
            f'<title id="t">{escape(title)}</title>',
            f'<desc id="d">{escape(description)}</desc>',
            f"<style>\n{_STYLE}\n</style>",
            f'<rect class="page" width="{width}" height="{height}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, words: str, kind: str = "ink", anchor: str = "start") -> str:
    """`anchor` says which part of the words is at `x`: start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(begin: Point, end: Point, kind: str) -> str:
    return f'<path class="{kind}" d="{_path([begin, end])}"/>'


def curve(points: Sequence[Point], kind: str) -> str:
    return f'<path class="line {kind}" d="{_path(points)}"/>'


def area(upper: Sequence[Point], lower: Sequence[Point], kind: str) -> str:
    """What is between two curves."""
    return f'<path class="area {kind}" d="{_path([*upper, *reversed(lower)])}Z"/>'


def dot(centre: Point, kind: str) -> str:
    return f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="4.5" class="{kind}"/>'


def rectangle(corner: Point, width: float, height: float, kind: str) -> str:
    x, y = corner
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{kind}"/>'


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
