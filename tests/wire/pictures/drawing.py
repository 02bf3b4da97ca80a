"""Draws recorded terminals as SVG: text that can be read at any size, in light and dark, and moves without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .terminal import Frame, Line, Run, text_of

#: Pixels: a character, a line, and what is around the text.
_WIDE, _HIGH, _EDGE, _BAR = 8.0, 18.0, 16.0, 30.0
#: Seconds between two frames that are shown, and that the last one stays before the next turn.
_TICK, _REST = 0.5, 10.0
#: How often a recording is played. Then its last frame stays.
_TURNS = 3

#: The terminal's palette: of rich's colours those that the commands use, for light and for dark.
_COLOURS = {
    "ground": ("#fbfbfc", "#14181d"),
    "edge": ("#d5d9df", "#30363d"),
    "text": ("#24292f", "#d7dce2"),
    "1": ("#b3261e", "#ff7b72"),
    "2": ("#1a7f37", "#56d364"),
    "3": ("#8a5a00", "#e3b341"),
    "4": ("#0550ae", "#79c0ff"),
    "5": ("#8250df", "#d2a8ff"),
    "6": ("#0b6e77", "#56d4dd"),
    "track": ("#d5d9df", "#3a3a3a"),
}
#: What rich says for a bar's empty part.
_TRACK = "#3a3a3a"

_STYLE = """
text {{ font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: var(--text); }}
.b {{ font-weight: 600; }} .d {{ opacity: .65; }} .u {{ text-decoration: underline; }}
.w {{ fill: var(--text); opacity: .6; }}
{classes}
:root {{ {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
"""
_PLAYED = """
.reel {{ transform: translateY({last}px); }}
@media (prefers-reduced-motion: no-preference) {{ .reel {{ animation: play {seconds:.1f}s step-end {turns}; }} }}
@keyframes play {{ {keys} }}
"""


def still(title: str, lines: Sequence[Line], columns: int) -> str:
    """A terminal as it is."""
    return _drawn(title, [(0.0, tuple(lines))], columns, len(lines), 0.0)


def moving(title: str, frames: Sequence[Frame], columns: int, rows: int) -> str:
    """A terminal of so many rows as it was, at its own pace. Who wants no motion sees the end of it."""
    end = frames[-1].at
    shown: list[tuple[float, tuple[Line, ...]]] = []
    for tick in range(int(end / _TICK) + 2):
        now = min(tick * _TICK, end)
        latest = [frame for frame in frames if frame.at <= now][-1]
        lines = latest.lines[-rows:]
        if not shown or lines != shown[-1][1]:
            shown.append((now, lines))
    return _drawn(title, shown, columns, rows, end + _REST)


def _drawn(title: str, shown: Sequence[tuple[float, tuple[Line, ...]]], columns: int, rows: int, seconds: float) -> str:
    width, height = columns * _WIDE + 2 * _EDGE, rows * _HIGH + _EDGE + _BAR
    room = rows * _HIGH
    names: dict[Line, str] = {}  # a line that many frames show is drawn once
    reel = []
    for number, (_, lines) in enumerate(shown):
        uses = []
        for row, line in enumerate(lines):
            if line:
                name = names.setdefault(line, f"l{len(names)}")
                uses.append(f'<use href="#{name}" y="{number * room + row * _HIGH:g}"/>')
        reel.append("".join(uses))
    drawn = "\n".join(f'<g id="{name}">{_line(line)}</g>' for line, name in names.items())
    light, dark = ("; ".join(f"--{name}: {of[scheme]}" for name, of in _COLOURS.items()) for scheme in (0, 1))
    classes = " ".join(f".c{name} {{ fill: var(--{name}); }}" for name in _COLOURS)
    style = _STYLE.format(classes=classes, light=light, dark=dark)
    if len(shown) > 1:
        keys = " ".join(
            f"{100 * at / seconds:.2f}% {{ transform: translateY({-number * room:g}px); }}"
            for number, (at, _) in enumerate(shown)
        )
        keys += f" 100% {{ transform: translateY({-(len(shown) - 1) * room:g}px); }}"
        style += _PLAYED.format(last=f"{-(len(shown) - 1) * room:g}", seconds=seconds, turns=_TURNS, keys=keys)
    last = escape("\n".join(text_of(line) for line in shown[-1][1]))
    dots = "".join(f'<circle cx="{_EDGE + 4 + 16 * number:g}" cy="16" r="5" class="cedge"/>' for number in range(3))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" \
role="img" aria-label="{escape(title, quote=True)}">
<title>{escape(title)}</title>
<desc>{last}</desc>
<style>{style}</style>
<defs>
{drawn}
</defs>
<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="8" fill="var(--ground)" stroke="var(--edge)"/>
{dots}
<text x="{width / 2:g}" y="20" text-anchor="middle" class="w">{escape(title)}</text>
<svg x="{_EDGE:g}" y="{_BAR:g}" width="{width - _EDGE:g}" height="{room:g}">
<g class="reel">
{chr(10).join(reel)}
</g>
</svg>
</svg>
"""


def _line(line: Line) -> str:
    return "".join(_run(run) for run in line)


def _run(run: Run) -> str:
    x, long = run.column * _WIDE, len(run.text) * _WIDE
    kinds, paint = [], ""
    if run.look.colour in _COLOURS:
        kinds.append(f"c{run.look.colour}")
    elif run.look.colour == _TRACK:
        kinds.append("ctrack")
    elif run.look.colour is not None and run.look.colour.startswith("#"):
        paint = f' fill="{run.look.colour}"'
    else:
        assert run.look.colour is None, f"{run.look.colour} has no colour in pictures"
    if not set(run.text) - set("─━╸╺"):  # rules and bars, which fonts draw with gaps
        high = 1 if run.text[0] == "─" else 3
        kinds = kinds or ["ctext"]
        opacity = ' opacity=".35"' if high == 1 else ""
        return (
            f'<rect x="{x:g}" y="{(_HIGH - high) / 2:g}" width="{long:g}" height="{high}"{opacity}'
            f"{paint or _kinds(kinds)}/>"
        )
    kinds += ["b"] * run.look.bold + ["d"] * run.look.dim + ["u"] * run.look.underlined
    # However wide the reader's font is, columns stay columns.
    return f'<text x="{x:g}" y="13.5" textLength="{long:g}"{_kinds(kinds)}{paint}>{escape(run.text)}</text>'


def _kinds(kinds: Sequence[str]) -> str:
    return f' class="{" ".join(kinds)}"' if kinds else ""
