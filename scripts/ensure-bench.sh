#!/usr/bin/env bash
# Makes sure that the outside programs of the benchmarks are on this machine: h2load, Redis with its benchmark, valgrind,
# taskset. PostgreSQL is scripts/ensure-postgres.sh's business. What is installed here is not started as a service: the
# benchmarks start what they need.
set -euo pipefail

declare -A package=(
  [h2load]=nghttp2-client
  [redis-server]=redis-server
  [redis-benchmark]=redis-tools
  [valgrind]=valgrind
  [taskset]=util-linux
)

missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
if [ ${#missing[@]} = 0 ]; then
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "The benchmarks need h2load, redis-server, redis-benchmark, valgrind and taskset on PATH, on Linux." >&2
  exit 1
fi
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian's switch against starting services; only ours is taken away again.
no_start=/usr/sbin/policy-rc.d
if [ ! -e "$no_start" ]; then
  trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$no_start" >/dev/null
  as_root chmod 755 "$no_start"
fi
as_root apt-get update -q
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
