# SPDX-License-Identifier: MIT
"""The layers as a roofline picture: a panel per format, MACs per byte against GMAC/s, both axes logarithmic. Points are
numbered; a number that would cover another text is left out, the key and docs/speed.md have all of them."""
import math
from html import escape

WIDTH, HEIGHT = 1260, 860
PANEL_W, PANEL_H = 340, 320
LEFT, TOP, GAP_X, GAP_Y = 60, 70, 60, 80
X_RANGE, Y_RANGE = (0.2, 700), (3, 700)
PANELS = [("e4m3", "FP8 e4m3"), ("e5m2", "FP8 e5m2"), ("i8", "int8"), ("bf16", "bf16"), ("f32", "f32")]
CEILING = {"e4m3": "vdpbf16ps", "e5m2": "vdpbf16ps", "bf16": "vdpbf16ps", "i8": "vpdpbusd", "f32": "fma 512"}
CEILING_TEXT = {"vdpbf16ps": "VDPBF16PS", "vpdpbusd": "VPDPBUSD (VNNI)", "fma 512": "FMA"}
KINDS = [("conv 1x1", "#1b6ca8", "circle"), ("conv 3x3", "#c0392b", "square"), ("conv 7x7", "#7d3c98", "square"),
         ("depthwise", "#1e8449", "triangle"), ("fc", "#b9770e", "circle")]
TICKS = [0.1, 1, 10, 100]


class Panel:
    """One format's picture at (x, y) of the page."""

    def __init__(self, x, y, run):
        self.x, self.y, self.run = x, y, run
        self.svg, self.taken = [], []

    def px(self, v):
        return self.x + PANEL_W * math.log(v / X_RANGE[0]) / math.log(X_RANGE[1] / X_RANGE[0])

    def py(self, v):
        return self.y + PANEL_H * (1 - math.log(v / Y_RANGE[0]) / math.log(Y_RANGE[1] / Y_RANGE[0]))

    def text(self, x, y, s, size=11, color="#333", anchor="start", extra=""):
        self.svg.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" text-anchor="{anchor}"{extra}>{escape(s)}</text>')

    def line(self, x0, y0, x1, y1, color, width, dash=""):
        self.svg.append(f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{color}" stroke-width="{width}"'
                        + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")

    def occupy(self, x, y, w, h):
        self.taken.append((x, y, w, h))

    def is_free(self, x, y, w, h):
        inside = self.x < x and x + w < self.x + PANEL_W and self.y < y and y + h < self.y + PANEL_H
        return inside and not any(x < a + c and a < x + w and y < b + d and b < y + h for a, b, c, d in self.taken)

    def frame(self, title):
        self.svg.append(f'<rect x="{self.x}" y="{self.y}" width="{PANEL_W}" height="{PANEL_H}" fill="#fcfcfc" stroke="#999"/>')
        self.text(self.x, self.y - 10, title, 15, "#111", extra=' font-weight="bold"')
        for decade in TICKS:
            for m in range(1, 10):
                v, wide = decade * m, m == 1
                if X_RANGE[0] <= v <= X_RANGE[1]:
                    self.line(self.px(v), self.y, self.px(v), self.y + PANEL_H, "#ddd" if wide else "#f0f0f0", 1)
                if Y_RANGE[0] <= v <= Y_RANGE[1]:
                    self.line(self.x, self.py(v), self.x + PANEL_W, self.py(v), "#ddd" if wide else "#f0f0f0", 1)
            if X_RANGE[0] <= decade <= X_RANGE[1]:
                self.text(self.px(decade), self.y + PANEL_H + 15, str(decade), anchor="middle")
            if Y_RANGE[0] <= decade <= Y_RANGE[1]:
                self.text(self.x - 6, self.py(decade) + 4, str(decade), anchor="end")
        self.text(self.x + PANEL_W / 2, self.y + PANEL_H + 32, "MACs per byte (weights, input and output, each once)", anchor="middle")
        self.text(self.x - 32, self.y + PANEL_H / 2, "GMAC/s", anchor="middle",
                  extra=f' transform="rotate(-90 {self.x - 32} {self.y + PANEL_H / 2})"')

    def put(self, places, label, color):
        """The text at the first of these places (left end, base line) that is free."""
        w = 6.2 * len(label)
        for x, y in places:
            if self.is_free(x, y - 10, w, 13):
                self.text(x, y, label, 10, color)
                self.occupy(x, y - 10, w, 13)
                return

    def roofs(self, own):
        """All lines first, then their names where there is room beside them."""
        levels = [(f"{text} {self.run['ceilings'][n]:.0f}", self.py(self.run["ceilings"][n]), n == own) for n, text in CEILING_TEXT.items()]
        for _, y, bold in levels:
            self.line(self.x, y, self.x + PANEL_W, y, "#111" if bold else "#bbb", 2 if bold else 1)
            self.occupy(self.x, y - 1, PANEL_W, 2)
        slopes = [(f"{text} {self.run['ceilings'][n]:.0f} GB/s", self.slope(self.run["ceilings"][n], self.run["ceilings"][own]))
                  for n, text in (("read L2", "L2"), ("read DRAM", "DRAM"))]
        for label, y, bold in levels:
            self.put([(self.x + 6 + 10 * i, y - 4) for i in range(30)], label, "#111" if bold else "#777")
        for label, places in slopes:
            self.put([(x + 8, y + 6) for x, y in places[12:]], label, "#b05a00")

    def slope(self, rate, top):
        """A diagonal from the left or lower edge up to the ceiling; returns points of it."""
        x0, x1 = max(X_RANGE[0], Y_RANGE[0] / rate), min(X_RANGE[1], top / rate)
        places = [(self.px(x), self.py(x * rate)) for x in (x0 * (x1 / x0) ** (i / 59) for i in range(60))]
        self.line(*places[0], *places[-1], "#b05a00", 1.5, "6 3")
        for x, y in places:
            self.occupy(x - 2, y - 2, 4, 4)
        return places

    def marker(self, x, y, color, shape):
        if shape == "circle":
            self.svg.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" fill="{color}"/>')
        elif shape == "square":
            self.svg.append(f'<rect x="{x - 3.4:.1f}" y="{y - 3.4:.1f}" width="6.8" height="6.8" fill="{color}"/>')
        else:
            self.svg.append(f'<path d="M{x:.1f} {y - 4.4:.1f} l4.4 7.6 h-8.8 z" fill="{color}"/>')

    def markers(self, entries):
        """entries: (number, MACs per byte, GMAC/s, color, shape). Returns their places, for the numbers."""
        places = []
        for number, intensity, rate, color, shape in entries:
            x, y = self.px(max(intensity, X_RANGE[0])), self.py(max(rate, Y_RANGE[0]))
            self.marker(x, y, color, shape)
            self.occupy(x - 4, y - 4, 8, 8)
            places.append((number, x, y, color))
        return places

    def numbers(self, places):
        for number, x, y, color in places:
            w = 5.2 * len(str(number))
            for dx, dy in ((6, 3), (-6 - w, 3), (-w / 2, -6), (-w / 2, 13), (5, -4), (5, 11), (-5 - w, -4), (-5 - w, 11)):
                if self.is_free(x + dx, y + dy - 8, w, 9):
                    self.text(x + dx, y + dy, str(number), 9, color)
                    self.occupy(x + dx, y + dy - 8, w, 9)
                    break


def kind(group):
    return next(((c, s) for g, c, s in KINDS if group.startswith(g)), None)


def key(x, y, names):
    """The numbers' meaning and the markers', in place of a sixth panel."""
    p = Panel(x, y, None)
    p.text(x, y - 10, "Layers", 15, "#111", extra=' font-weight="bold"')
    rows = (len(names) + 1) // 2
    for i, (number, name, group) in enumerate(names):
        cx, cy = x + (i // rows) * (PANEL_W / 2 + 4), y + 8 + (i % rows) * 15
        p.marker(cx + 4, cy - 4, *kind(group))
        p.text(cx + 14, cy, f"{number}  {name}", 10.5)
    return p.svg


def draw(run, caption):
    """SVG text of one run of the layers part."""
    shown = [x for x in run["layers"] if kind(x["group"])]
    names = list(dict.fromkeys(x["layer"] for x in shown))
    number = {n: i + 1 for i, n in enumerate(names)}
    body = []
    for i, (fmt, title) in enumerate(PANELS):
        panel = Panel(LEFT + (i % 3) * (PANEL_W + GAP_X), TOP + i // 3 * (PANEL_H + GAP_Y), run)
        panel.frame(title)
        places = panel.markers([(number[x["layer"]], x["macs"] / x["bytes"], x["gmac_s"], *kind(x["group"])) for x in shown if x["format"] == fmt])
        panel.roofs(CEILING[fmt])
        panel.numbers(places)
        body += panel.svg
    groups = {x["layer"]: x["group"] for x in shown}
    body += key(LEFT + 2 * (PANEL_W + GAP_X), TOP + PANEL_H + GAP_Y, [(number[n], n.replace("conv ", ""), groups[n]) for n in names])
    title = f'<text x="{LEFT}" y="30" font-size="18" font-weight="bold" fill="#111">{escape(caption)}</text>'
    return "\n".join(['<!-- SPDX-License-Identifier: MIT -->',
                      f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
                      'font-family="DejaVu Sans, Helvetica, Arial, sans-serif">',
                      f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', title, *body, "</svg>", ""])
