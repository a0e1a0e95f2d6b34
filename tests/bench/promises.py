"""What is promised of the figures, what of that is missed, and the least that the machine lets it be."""

from contenders import AGENT, OURS
from figures import PLACED, PLACES, SAY, count, item, paragraph, percent, ratio, seconds

# What is promised: for each n at most this part of what the agent needs.
PROMISED = {
    "time": ("time to all files", {1: 4, 100: 4, 1000: 3}),
    "cpu": ("processor time to that point", {1: 8, 100: 8, 1000: 8}),
    "pss": ("memory at rest, PSS", {1: 11, 100: 6, 1000: 4}),
    "refresh_same": ("processor time a refresh, nothing new", {1: 10, 100: 10, 1000: 10}),
    "refresh_new": ("processor time a refresh that writes", {1: 10, 100: 10, 1000: 10}),
}
IDLE, RECOVERY, SIZE = 0.05, 4, 5_000_000
WHERE = {"tmpfs": "Files on tmpfs, as under `/run`, where secrets belong", "disk": "Files on disk"}
# Why something is missed, whatever the figures are.
WHY = {
    "time": "what lies between the floor and ours stands below, in \"Where the rest goes\".",
    "cpu": "the floor is paid by both, but for the sync of the directory, which the agent leaves out. The agent does "
           "so much else that it hardly matters there; of an eighth it is a large part. What ours adds for each "
           "secret: a thread, a look at what lies there, mode and owner, a template, a line of the status.",
    "pss": "the memory of each secret is its thread's stack, its plan and its state.",
    "refresh_same": "the agent's cost is that of its templates, all of which it executes at each wake-up; with two it "
                    "has little to do. At one read a second each finds a machine that has slept: the caches are cold "
                    "for all that it touches, and even a program that does nothing but wake pays for that. With a "
                    "hundred secrets the same refresh takes a part of it.",
    "refresh_new": "what a refresh costs that finds nothing new, and the files: ours syncs both and then their "
                   "directory, so that no power cut leaves a name without its file. The agent leaves the directory "
                   "out.",
    "idle": "what is kept and told of each secret is looked through now and then, though none of them changes.",
    "recovery": "ours waits for the probe that finds the server, a second on average, and then half a second until "
                "the last of a hundred is read, so that they do not come all at once. The agent's waits are drawn at "
                "random up to a minute: its median differs from run to run.",
}


def cells(figures):
    """All that is promised of ratios: where the files lie (None where that does not matter), figure, n, limit."""
    for place in PLACES:
        for figure, (_, limits) in PROMISED.items():
            for n, limit in limits.items():
                if figure in PLACED:
                    yield place, figure, n, limit
                elif place == PLACES[0]:
                    yield None, figure, n, limit


def reaches(figures, place, figure, n, limit):
    """None where it was not measured."""
    ours, theirs = figures.pair(figure, n, target=place)
    return theirs >= limit * ours if ours and theirs else None


def promised(figures, first):
    """A table for each place; what does not depend on it is in the first."""
    for place in PLACES:
        lines = ["| | n | secrets-sync | bao agent | ratio | at most |", "|---|--:|--:|--:|--:|--:|"]
        for where, figure, n, limit in cells(figures):
            if where == place or (where is None and place == first):
                ours, theirs = figures.pair(figure, n, target=where)
                mark = {True: "", False: ", missed", None: ", not measured"}[reaches(figures, where, figure, n, limit)]
                lines.append(f"| {PROMISED[figure][0]} | {n:,} | {SAY[figure](ours)} | {SAY[figure](theirs)} "
                             f"| {ratio(ours, theirs)} | 1/{limit}{mark} |")
        yield f"{WHERE[place]}:\n\n" + "\n".join(lines)


def bounds(figures):
    size = figures.median("size", OURS)
    ours, theirs = recovery(figures)
    idle = {n: value for n in (1, 100, 1000) if (value := figures.median("idle", OURS, n)) is not None}
    late = [f"{n:,}" for n, value in idle.items() if value > IDLE]
    return paragraph(
            f"The program has {count(size)} bytes (at most {count(SIZE)}), `bao` "
            f"{count(figures.median('size', AGENT))}. "
            f"Idle with {', '.join(f'{n:,}' for n in idle)} secrets it takes {', '.join(map(percent, idle.values()))} "
            f"of a core (at most {IDLE} %{', missed with ' + ' and '.join(late) if late else ''}). After an outage of "
            f"30 to 150 s all is current again in {ratio(ours, theirs)} of the time, by medians (at most 1/{RECOVERY}"
            f"{'' if ours and theirs >= RECOVERY * ours else ', missed'}).")


def missed_and_why(figures):
    """Each figure that is missed beside what would be allowed, and the least that this machine lets it be."""
    lines = ["| missed | n | files on | secrets-sync | allowed | the floor |", "|---|--:|---|--:|--:|--:|"]
    reasons = []
    for place, figure, n, limit in sorted(cells(figures), key=lambda cell: list(PROMISED).index(cell[1])):
        ours, theirs = figures.pair(figure, n, target=place)
        if ours and theirs and not reaches(figures, place, figure, n, limit):
            say, least = SAY[figure], least_of(figures, place, figure, n)
            above = ", **above what is allowed**" if least and least > theirs / limit else ""
            lines.append(f"| {PROMISED[figure][0]} | {n:,} | {place or '–'} | {say(ours)} | {say(theirs / limit)} "
                         f"| {say(least)}{above} |")
            reasons.append(figure)
    for n in (1, 100, 1000):
        if (idle := figures.median("idle", OURS, n)) and idle > IDLE:
            lines.append(f"| idle, of a core | {n:,} | – | {percent(idle)} | {percent(IDLE)} | – |")
            reasons.append("idle")
    ours, theirs = recovery(figures)
    if ours and theirs < RECOVERY * ours:
        lines.append(f"| after an outage | 100 | – | {seconds(ours)} | {seconds(theirs / RECOVERY)} | – |")
        reasons.append("recovery")
    if not reasons:
        return "Nothing."
    names = {**{figure: name for figure, (name, _) in PROMISED.items()}, "idle": "idle", "recovery": "after an outage"}
    items = [item(f"**{capital(names[figure])}:** {WHY[figure]}") for figure in dict.fromkeys(reasons)]
    return "\n".join((*lines, "", paragraph(
        "\"Allowed\" is that part of what the agent took in the same run. The floor is the least that this work takes "
        "here, measured in that run as well (below): files and reads alone, without anything that decides what to "
        "read and to write."), "", *items))


def least_of(figures, place, figure, n):
    """As far as it was measured: the files and the reads alone. By the clock there is no such sum: they overlap."""
    reads, files = (figures.median(name, "floor", n, target=place) for name in ("reads_cpu", "files_cpu"))
    if figure == "refresh_same":
        return figures.median("wake_tls", "floor", 1) if n == 1 else reads and reads / n
    if figure == "refresh_new" and n == 1:
        return figures.median("wake_write", "floor", 1, target=place)
    if figure == "refresh_new":
        return reads and files and (reads + files) / n
    if figure == "cpu":
        return reads and files and reads + files
    return None


def capital(text):
    return text[0].upper() + text[1:]


def recovery(figures):
    """Over outages of random length where they were measured, else over those of 30 s."""
    for figure in ("outages", "outage"):
        pair = figures.pair(figure, transport="plain")
        if all(pair):
            return pair
    return None, None
