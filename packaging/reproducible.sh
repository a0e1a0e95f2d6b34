#!/usr/bin/env bash
# Shows that a commit gives the same bytes wherever it is built: two clones in directories of different
# length, each with crates of its own, `make dist` in both, and a comparison of all that comes out.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cargo=${CARGO_HOME:-$HOME/.cargo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Pinned: somebody may commit meanwhile.
commit=$(git -C "$root" rev-parse HEAD)
[ -z "$(git -C "$root" status --porcelain)" ] || echo 'not all is committed: the commit is what is built' >&2
cargo fetch --quiet --locked --manifest-path "$root/Cargo.toml"
for place in a another/and/deeper; do
  home=$work/$place
  mkdir -p "$home/crates"
  git clone --quiet "$root" "$home/source"
  git -C "$home/source" -c advice.detachedHead=false checkout --quiet "$commit"
  cp -R --reflink=auto "$cargo/registry" "$home/crates/"
  [ ! -f "$cargo/config.toml" ] || cp "$cargo/config.toml" "$home/crates/"
  echo "== $home/source"
  CARGO_HOME=$home/crates make --no-print-directory -C "$home/source" dist TOOLS="$root/.tools"
done
cd "$work/a/source/target/dist"
for file in *; do
  cmp -- "$file" "$work/another/and/deeper/source/target/dist/$file"
  echo "equal: $file"
done
