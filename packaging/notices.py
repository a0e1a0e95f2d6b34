#!/usr/bin/env python3
"""The notices of what the program is built from, as their licences ask for: `make notices` writes
packaging/THIRD-PARTY-NOTICES.txt, a test compares it with the crates of Cargo.lock."""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULE = "-" * 100
TARGET = "x86_64-unknown-linux-musl"
NAMES = re.compile(r"^(un)?licen[cs]e|^copying|^notice|^copyright", re.IGNORECASE)
# What is linked, and cargo does not know.
RUST = "The Rust standard library, https://github.com/rust-lang/rust: MIT or Apache-2.0, of the Rust Project contributors."
MUSL = """musl, https://musl.libc.org

Copyright © 2005-2020 Rich Felker, et al.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def cargo(*words):
    return subprocess.run(["cargo", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def linked():
    """`name vVERSION` of every crate that ends in the binary."""
    tree = cargo(
        *("tree", "--locked", "--offline", "--prefix", "none", "--edges", "normal"),
        *("--target", TARGET, "--format", "{p}"),
    )
    return {line.split(" (")[0] for line in tree.splitlines()}


def crates():
    """Each of them by name: (name, version, licence, texts)."""
    wanted = linked()
    for package in sorted(
        json.loads(cargo("metadata", "--locked", "--offline", "--format-version", "1"))["packages"],
        key=lambda package: (package["name"], package["version"]),
    ):
        if f"{package['name']} v{package['version']}" not in wanted or package["source"] is None:
            continue
        folder = pathlib.Path(package["manifest_path"]).parent
        files = sorted(file for file in folder.iterdir() if file.is_file() and NAMES.match(file.name))
        if not files and package["license"] == "Apache-2.0":
            files = [ROOT / "LICENSE-APACHE"]  # the licence without a copyright line is the same for everybody
        texts = [file.read_text(encoding="utf-8", errors="replace").strip().replace("\r\n", "\n") for file in files]
        yield package["name"], package["version"], package["license"], texts


def main():
    by_text = {}
    lines = ["The static binary of secrets-sync holds these crates, the Rust standard library and musl.", ""]
    missing = []
    for name, version, licence, texts in crates():
        lines.append(f"{name} {version}: {licence}")
        if not texts:
            missing.append(f"{name} {version}")
        for text in texts:
            by_text.setdefault(text, []).append(f"{name} {version}")
    if missing:
        sys.exit(f"without the text of a licence: {', '.join(missing)}")
    lines += ["", RULE, RUST, "", RULE, MUSL]
    for text, users in by_text.items():
        lines += ["", RULE, ", ".join(users), "", *(line.rstrip() for line in text.split("\n"))]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
