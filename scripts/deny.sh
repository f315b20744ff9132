#!/usr/bin/env bash
# Holds Cargo.lock to deny.toml: licences, banned crates, sources, and known faults as far as the list of them can be fetched.
# Installs cargo-deny into target/ if it is not there: minutes, once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Pinned, so that an upgrade is a commit of its own.
version=0.20.2
home=target/tools/cargo-deny-$version
deny=$home/bin/cargo-deny
if [ ! -x "$deny" ]; then
  # Without optimisation: it is compiled in half the time and runs for seconds either way.
  cargo install cargo-deny --version "$version" --locked --debug --root "$home"
fi

# Without the network where all crates are here already, as after `make test`.
"$deny" check licenses bans sources

# The list lies on GitHub. A build without a way there is not worse than it was: it says what it did not do.
if timeout 120 "$deny" fetch db 2>/dev/null; then
  "$deny" check advisories
else
  echo "deny: known faults (RustSec) were NOT checked: the list cannot be fetched from here" >&2
fi
