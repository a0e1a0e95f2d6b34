#!/usr/bin/env python3
"""What the server of a thousand secrets sees: each request of one daemon, through start, reload, SIGUSR1 and an outage.

    python3 tests/bench/timeline.py --binary target/static/secrets-sync --svg docs/timeline.svg

A server by script answers each read after 5 ms and notes when each request came and was answered. Prints for
each part how many came, the most in 100 ms, and the most in flight; draws them over time. Ends with 1 where
more than `maxConcurrent` were in flight (a question after its health is one more). Standard library only.
"""

import argparse
import asyncio
import json
import pathlib
import signal
import sys
import tempfile
import time

from host import ROOT, end_with_the_script, find_binary, machine, say, spawn

IN_FLIGHT = 8
LATENCY = 0.005
INTERVAL = 20
# When what begins, in seconds from the start.
PARTS = (("start", 0), ("reload of all", 5), ("a refresh", 22), ("SIGUSR1", 30), ("outage", 40), ("back", 70), ("later", 82))
END = 93
SPAN = 0.1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=str(ROOT / "target/static/secrets-sync"))
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--svg", type=pathlib.Path, help="draw it there")
    parser.add_argument("--json", type=pathlib.Path, help="write the requests there")
    options = parser.parse_args()
    options.binary = find_binary(options.binary)
    end_with_the_script()
    about = machine()
    say(f"{about['processor']}, {about['cores']} cores, {about['kernel']}, load {about['load_at_start']} at the start")
    server = Server()
    with tempfile.TemporaryDirectory(prefix="secrets-sync-timeline-") as work:
        asyncio.run(play(options, server, pathlib.Path(work)))
    requests = server.requests
    most = tell(requests)
    if options.json:
        options.json.write_text(json.dumps(requests) + "\n")
    if options.svg:
        options.svg.write_text(chart(requests, options.secrets))
    if most > IN_FLIGHT + 1:
        sys.exit(f"timeline: {most} requests in flight, and {IN_FLIGHT} are allowed")


class Server:
    """Everything right, or everything sealed."""

    def __init__(self):
        self.requests = []
        self.is_up = True

    async def serve(self):
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1]

    async def connection(self, reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                came = time.monotonic()
                path = head.split(b" ", 2)[1].decode()
                kind = "health" if path.startswith("/v1/sys/health") else "read"
                status, body = self.answer(kind)
                if kind == "read" and status == 200:
                    await asyncio.sleep(LATENCY)
                self.requests.append([kind, came, time.monotonic(), status])
                text = json.dumps(body)
                writer.write(f"HTTP/1.1 {status} Scripted\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, kind):
        if not self.is_up:
            return 503, {"errors": ["Vault is sealed"]}
        if kind == "health":
            return 200, {"initialized": True, "sealed": False}
        return 200, {"data": {"data": {"value": "v"}, "metadata": {"version": 1}}}


async def play(options, server, work):
    port = await server.serve()
    config = work / "config.yaml"
    configure(config, options.secrets, port, work / "out", "first")
    with open(work / "log", "wb") as log:
        begin = time.monotonic()
        process = spawn([options.binary, "run", "--config", config],
                        {"STATUS_FILE": str(work / "status.json"), "METRICS_PORT": "0", "LOG_LEVEL": "warn"},
                        stdout=log, stderr=log)

        def reload():
            configure(config, options.secrets, port, work / "out", "second")
            process.send_signal(signal.SIGHUP)

        def turn(up):
            server.is_up = up

        begins = dict(PARTS)
        steps = ((begins["reload of all"], reload), (begins["SIGUSR1"], lambda: process.send_signal(signal.SIGUSR1)),
                 (begins["outage"], lambda: turn(False)), (begins["back"], lambda: turn(True)), (END, lambda: None))
        for at, step in steps:
            await asyncio.sleep(begin + at - time.monotonic())
            step()
        if process.poll() is not None:
            sys.exit("timeline: the daemon ended: " + (work / "log").read_text()[-2000:])
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait)
    server.requests = [[kind, came - begin, left - begin, status] for kind, came, left, status in server.requests]


def configure(file, count, port, out, name):
    secrets = [f"- {{ name: s{number}, key: s{number}, refreshInterval: {INTERVAL}s, "
               f"files: [{{ path: {out}/s{number}.{name}, field: value }}] }}\n" for number in range(count)]
    file.write_text(f"secretStore: {{ address: 'http://127.0.0.1:{port}', authMethod: none }}\n"
                    f"limits: {{ maxSecrets: {max(count, 100)} }}\nsecrets:\n" + "".join(secrets))


def in_flight(requests):
    """The most at once, span by span."""
    changes = sorted([(came, 1) for _, came, _, _ in requests] + [(left, -1) for _, _, left, _ in requests])
    most, now = [0] * spans(), 0
    for at, change in changes:
        now += change
        span = min(len(most) - 1, int(at / SPAN))
        most[span] = max(most[span], now)
    return most


def rates(requests, kind):
    counts = [0] * spans()
    for found, came, _, _ in requests:
        if found == kind:
            counts[min(len(counts) - 1, int(came / SPAN))] += 1
    return counts


def spans():
    return round(END / SPAN)


def tell(requests):
    flying, reads, health = in_flight(requests), rates(requests, "read"), rates(requests, "health")
    say(f"{'part':<14} {'from':>5} {'reads':>6} {'most in 100 ms':>15} {'health':>7} {'most in flight':>15}")
    for (name, begin), (_, end) in zip(PARTS, (*PARTS[1:], ("", END))):
        part = slice(round(begin / SPAN), round(end / SPAN))
        say(f"{name:<14} {begin:>4}s {sum(reads[part]):>6} {max(reads[part]):>15} {sum(health[part]):>7} "
            f"{max(flying[part]):>15}")
    return max(flying)


STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 12px; fill: #59636e }
.one { fill: #0969da }
.two { fill: #bc4c00 }
.axis { stroke: #afb8c1; fill: none }
.mean { stroke: #1f2328; stroke-dasharray: 4 3; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .one { fill: #58a6ff }
  .two { fill: #f0883e }
  .axis { stroke: #57606a }
  .mean { stroke: #e6edf3 }
}"""
WIDTH, LEFT, HEIGHT = 880, 50, 120


def chart(requests, count):
    reads, health, flying = rates(requests, "read"), rates(requests, "health"), in_flight(requests)
    top = -(-max(reads) // 50) * 50
    body = panel(10, f"reads in 100 ms, of {count} secrets; health questions in the outage", top,
                 (("one", reads), ("two", [value * top / 8 for value in health])), ())
    body += panel(200, "requests in flight, the most in each 100 ms", IN_FLIGHT + 2, (("one", flying),),
                  ((IN_FLIGHT, str(IN_FLIGHT)),))
    told = (f"Requests of one daemon with {count} secrets over {END} seconds. At most {max(flying)} were in flight, "
            f"and at most {max(reads)} reads came in 100 milliseconds.")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 390" width="{WIDTH}" height="390" '
            f'role="img" aria-labelledby="title desc">\n<title id="title">What the server sees</title>\n'
            f'<desc id="desc">{told}</desc>\n<style>\n{STYLE}\n</style>\n{body}</svg>\n')


def panel(y, title, top, series, levels):
    floor, wide = y + 24 + HEIGHT, WIDTH - LEFT - 20
    drawn = text(LEFT, y + 14, title)
    for kind, values in series:
        drawn += area(kind, values, top, floor, wide)
    for level, name in levels:
        at = floor - HEIGHT * level / top
        drawn += f'<path class="mean" d="M{LEFT} {at:.1f}h{wide}"/>\n' + text(LEFT - 6, at + 4, name, "end", "small")
    drawn += text(LEFT - 6, floor - HEIGHT + 10, str(top), "end", "small") if not levels else ""
    drawn += f'<path class="axis" d="M{LEFT} {floor - HEIGHT}V{floor}h{wide}"/>\n'
    for name, begin in PARTS[:-1]:
        drawn += text(LEFT + wide * begin / END, floor + 18, name, "start", "small")
    return drawn


def area(kind, values, top, floor, wide):
    path = f"M{LEFT} {floor}"
    for at, value in enumerate(values):
        if at == 0 or values[at - 1] != value:
            path += f"V{floor - HEIGHT * value / top:.1f}"
        if at + 1 == len(values) or values[at + 1] != value:
            path += f"H{LEFT + wide * (at + 1) / len(values):.1f}"
    return f'<path class="{kind}" d="{path}V{floor}z"/>\n'


def text(x, y, words, anchor="start", kind=""):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>\n'


if __name__ == "__main__":
    main()
