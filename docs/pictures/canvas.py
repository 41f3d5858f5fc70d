"""What the pictures are drawn with: boxes, lines and text of an SVG."""

from __future__ import annotations

import html

INK, GREY, LINE, PAPER = "#1b2733", "#5b6773", "#8a96a3", "#ffffff"
OURS, OURS_PALE = "#1f6f8b", "#e3f1f5"
PLAIN_PALE = "#f2f4f6"
MISS, HIT, BYPASS = "#b35c00", "#2e7d32", "#6a4c93"
_FONT = "font-family=\"'DejaVu Sans', Verdana, sans-serif\""


class Canvas:
    """An SVG of ``width`` x ``height`` pixels, on white paper also where the page is dark.

    :param title: what a screen reader says
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" role="img" aria-label="{html.escape(title)}">',
            f"<title>{html.escape(title)}</title>",
            f'<rect width="{width}" height="{height}" rx="8" fill="{PAPER}"/>',
        ]

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = PLAIN_PALE,
        edge: str = LINE,
        dashed: bool = False,
    ) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
            f'fill="{fill}" stroke="{edge}" stroke-width="1.4"{dash}/>'
        )

    def text(
        self,
        x: float,
        y: float,
        *lines: str,
        size: float = 13,
        colour: str = INK,
        bold: bool = False,
        anchor: str = "middle",
    ) -> None:
        """Lines of text, the first with its base line at ``y``."""
        weight = ' font-weight="bold"' if bold else ""
        for number, line in enumerate(lines):
            self._parts.append(
                f'<text x="{x:g}" y="{y + number * size * 1.35:g}" {_FONT} font-size="{size:g}" '
                f'fill="{colour}" text-anchor="{anchor}"{weight}>{html.escape(line)}</text>'
            )

    def line(self, *points: tuple[float, float], colour: str = GREY, dashed: bool = False) -> None:
        self._path(points, colour, dashed)

    def arrow(self, *points: tuple[float, float], colour: str = GREY, dashed: bool = False) -> None:
        """A line with a head at its last point."""
        self._path(points, colour, dashed)
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        left = (x1 - 9 * dx - 4 * dy, y1 - 9 * dy + 4 * dx)
        right = (x1 - 9 * dx + 4 * dy, y1 - 9 * dy - 4 * dx)
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in ((x1, y1), left, right))
        self._parts.append(f'<polygon points="{corners}" fill="{colour}"/>')

    def _path(self, points: tuple[tuple[float, float], ...], colour: str, dashed: bool) -> None:
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'
        )

    def svg(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])
