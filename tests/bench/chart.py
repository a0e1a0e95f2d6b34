"""The chart: an SVG that is read in light and in dark, made of nothing but figures."""

import html

from contenders import AGENT, OURS
from figures import PLACED, megabytes, percentile, seconds

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600; font-size: 14px }
.small { font-size: 12px; fill: #59636e }
.ours { fill: #0969da }
.theirs { fill: #afb8c1 }
.axis { stroke: #afb8c1 }
.floor { stroke: #1f2328; stroke-dasharray: 4 3; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .ours { fill: #58a6ff }
  .theirs { fill: #57606a }
  .axis { stroke: #57606a }
  .floor { stroke: #e6edf3 }
}"""
PANELS = (
    ("time", "time from the start to all files", seconds),
    ("cpu", "processor time to that point", seconds),
    ("pss", "memory at rest (PSS)", megabytes),
    ("refresh_new", "processor time a refresh that writes", seconds),
)
WIDTH, COLUMN, LEFT, BAR = 880, 440, 78, 210
BINS = 15  # tenths of a second


def chart(figures):
    drawn, top = [], 76
    height = 34 + 44 * max(len(compared(figures, figure, figures.places()[0])) for figure, _, _ in PANELS)
    for at, (figure, name, say) in enumerate(PANELS):
        x, y = (at % 2) * COLUMN, top + (at // 2) * height
        drawn += panel(figures, figure, name, say, x, y)
    top += 2 * height
    drawn += delays(figures, top + 10)
    height = top + 190
    title = f"{OURS} beside {AGENT}"
    place, *others = figures.places()
    told = "; ".join(f"{name}, n = {n}: {say(ours)} and {say(theirs)}"
                     for figure, name, say in PANELS for n, ours, theirs in compared(figures, figure, place))
    about = f"files on {place}" + "".join(f"; in grey letters: on {other}" for other in others)
    body = "\n".join(drawn)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" \
role="img" aria-labelledby="title desc">
<title id="title">{html.escape(title)}</title>
<desc id="desc">{html.escape(told)}</desc>
<style>
{STYLE}
</style>
<rect class="ours" x="{LEFT}" y="14" width="14" height="14"/>
{text(LEFT + 20, 26, OURS)}
<rect class="theirs" x="{LEFT + 130}" y="14" width="14" height="14"/>
{text(LEFT + 150, 26, f"{AGENT}: its bars are all of one length, ours are in proportion")}
{text(LEFT, 48, about, "small")}
{body}
</svg>
"""


def compared(figures, figure, place):
    """Of each size that both did: what ours needed and what the agent did."""
    pairs = [(n, *figures.pair(figure, n, target=place)) for n in sorted(figures.sizes(figure, target=place))]
    return [(n, ours, theirs) for n, ours, theirs in pairs if ours and theirs]


def panel(figures, figure, name, say, x, y):
    drawn = [text(x + LEFT, y + 14, name, "head")]
    place, *others = figures.places()
    beside = {n: (mine, his) for other in others if figure in PLACED
              for n, mine, his in compared(figures, figure, other)}
    for at, (n, ours, theirs) in enumerate(compared(figures, figure, place)):
        row = y + 26 + 44 * at
        drawn.append(text(x + LEFT - 8, row + 20, f"n = {n:,}", anchor="end"))
        widest = max(ours, theirs)
        for kind, value, lower in (("ours", ours, 0), ("theirs", theirs, 16)):
            width = max(1.0, BAR * value / widest)
            drawn.append(f'<rect class="{kind}" x="{x + LEFT}" y="{row + lower}" width="{width:.1f}" '
                         f'height="14"/>')
            drawn.append(text(x + LEFT + width + 6, row + lower + 12, say(value)))
        for value, lower in zip(beside.get(n, ()), (0, 16)):
            drawn.append(text(x + COLUMN - 14, row + lower + 12, say(value), "small", "end"))
    return drawn


def delays(figures, y):
    """How many writes were in the files within which tenth of a second."""
    samples = {program: figures.rounds("delay", program) for program in (OURS, AGENT)}
    drawn = [text(LEFT, y + 14, "delay from a write on the server to the files, secrets read each second", "head")]
    if not all(samples.values()):
        return [*drawn, text(LEFT, y + 40, "not measured", "small")]
    base, tall, wide = y + 130, 100, (WIDTH - 2 * LEFT) / BINS
    bins = {program: [sum(1 for value in values if tenth(value) == at) / len(values)
                      for at in range(BINS)] for program, values in samples.items()}
    most = max(max(shares) for shares in bins.values())
    for kind, shift, program in (("ours", 2, OURS), ("theirs", wide / 2, AGENT)):
        for at, share in enumerate(bins[program]):
            if share:
                tallness = tall * share / most
                drawn.append(f'<rect class="{kind}" x="{LEFT + at * wide + shift:.1f}" '
                             f'y="{base - tallness:.1f}" width="{wide / 2 - 3:.1f}" height="{tallness:.1f}"/>')
    # What the interval itself gives: a write falls anywhere between two reads.
    level = base - tall * 0.1 / most
    drawn.append(f'<path class="floor" d="M{LEFT} {level:.1f} H{LEFT + 10 * wide:.1f} V{base}"/>')
    drawn.append(f'<path class="axis" d="M{LEFT} {base} H{WIDTH - LEFT}"/>')
    for at in range(0, BINS + 1, 5):
        drawn.append(text(LEFT + at * wide, base + 16, f"{at / 10:.1f} s", "small", "middle"))
    told = ", ".join(f"{program} {seconds(percentile(values, 99))}" for program, values in samples.items())
    drawn.append(text(WIDTH - LEFT, base + 36, f"99 in 100 within: {told}; the line is what the interval gives",
                      "small", "end"))
    return drawn


def tenth(value):
    """The last one holds what is beyond it, too."""
    return min(BINS - 1, max(0, int(value * 10)))


def text(x, y, words, kind=None, anchor=None):
    more = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{html.escape(words)}</text>'
