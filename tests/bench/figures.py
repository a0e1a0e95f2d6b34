"""A file of figures: each is a row with its rounds and their median; and how figures are said."""

import json
import math

from contenders import AGENT, OURS

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

    def rounds(self, figure, program, n=None, transport=None, target="disk"):
        for row in self.rows:
            if (row["figure"] == figure and row["program"] == program and n in (None, row["n"])
                    and transport in (None, row["transport"]) and row["target"] == target):
                return row["rounds"]
        return []

    def median(self, figure, program, n=None, transport="tls", target="disk"):
        """None where there is no such figure, or a round was given up."""
        for row in self.rows:
            key = (row["figure"], row["program"], row["transport"], row["target"])
            if key == (figure, program, transport, target) and n in (None, row["n"]):
                return row["median"]
        return None

    def sizes(self, figure, program=OURS, transport="tls", target="disk"):
        return [row["n"] for row in self.rows
                if (row["figure"], row["program"], row["transport"], row["target"])
                == (figure, program, transport, target)]

    def pair(self, figure, n=None, **where):
        return (self.median(figure, OURS, n, **where), self.median(figure, AGENT, n, **where))


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
