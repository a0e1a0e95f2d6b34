"""A file of figures: each is a row with its rounds and their median; and how figures are said."""

import json
import math
import textwrap

from contenders import AGENT, OURS

PLACES = ("tmpfs", "disk")
# What depends on where the files lie; all else is taken once, in one of the places.
PLACED = ("time", "cpu", "requests", "refresh_same", "refresh_new", "refresh_reads", "files", "files_cpu",
          "wake_write")
SECONDS = ((60.0, 60.0, "min"), (1.0, 1.0, "s"), (1e-3, 1e-3, "ms"), (0.0, 1e-6, "µs"))


class Figures:
    def __init__(self, file):
        self.file = file
        document = json.loads(file.read_text())
        self.rows = document.pop("figures")
        self.head = document

    def take(self, file):
        """The figures of another run instead of those of the same names."""
        other = Figures(file)
        names = {row["figure"] for row in other.rows}
        if "sizes" in other.head["settings"]:
            kept = {key: self.head[key] for key in ("outages",) if key in self.head}
            self.head = {**other.head, **kept}
            self.rows = [row for row in self.rows if row["figure"].startswith("outages")]
        else:
            self.head["outages"] = other.head
            names -= {"size"}
        self.rows = [row for row in self.rows if row["figure"] not in names]
        self.rows += [row for row in other.rows if row["figure"] in names]

    def write(self, file):
        write(file, self.head, self.rows)

    def of(self, figure, program, n=None, transport=None, target=None):
        """The rows of that name, in that place where it depends on the place; None is any."""
        if figure not in PLACED:
            target = None
        wanted = {"n": n, "transport": transport, "target": target}
        return [row for row in self.rows if (row["figure"], row["program"]) == (figure, program)
                and all(value in (None, row[key]) for key, value in wanted.items())]

    def rounds(self, figure, program, n=None, **where):
        found = self.of(figure, program, n, **where)
        return found[0]["rounds"] if found else []

    def median(self, figure, program, n=None, transport="tls", target=None):
        """None where there is no such figure, or a round was given up."""
        found = self.of(figure, program, n, transport, target)
        return found[0]["median"] if found else None

    def sizes(self, figure, program=OURS, transport="tls", target=None):
        return [row["n"] for row in self.of(figure, program, None, transport, target)]

    def pair(self, figure, n=None, **where):
        return (self.median(figure, OURS, n, **where), self.median(figure, AGENT, n, **where))

    def places(self):
        """Where files were written, the place for secrets first."""
        return [place for place in PLACES if self.sizes("time", target=place)]


def write(file, head, rows):
    """A line a figure, so that what has changed can be read."""
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    before = json.dumps(head, indent=1)[:-2]
    file.write_text(f'{before},\n "figures": [\n{lines}\n ]\n}}\n')


def seconds(value):
    if value is None:
        return "–"
    for least, unit, name in SECONDS:
        if abs(value) >= least:
            return f"{three(value / unit)} {name}"
    raise AssertionError(value)


def megabytes(value):
    return "–" if value is None else f"{three(value / 1e6)} MB"


def percent(value):
    return "–" if value is None else f"{value:.3f} %"


def count(value):
    return "–" if value is None else f"{value:,.0f}"


def three(value):
    """Three digits, and no more after the point than those."""
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def ratio(ours, theirs):
    """Ours to theirs, as a part of one."""
    if not ours or not theirs:
        return "–"
    return f"1/{theirs / ours:.1f}" if ours <= theirs else f"{ours / theirs:.1f}"


def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, -(-share * len(ordered) // 100) - 1)]


def paragraph(text):
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def item(text):
    return textwrap.indent(paragraph(text), "  ").replace("  ", "* ", 1)


SAY = {"time": seconds, "cpu": seconds, "pss": megabytes, "rss": megabytes, "refresh_new": seconds,
       "refresh_same": seconds, "threads": count, "requests": count, "exit": seconds, "idle": percent}
