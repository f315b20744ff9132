#!/usr/bin/env bash
# Fuzzes each target for SECONDS_EACH (60), or those that are named, starting from fuzz/corpus. What is new goes to target/fuzz;
# a failure ends the run and says which file brings it about. `KEEP=1` takes what reaches new code into fuzz/corpus, as little of
# it as will do.
#
# On the toolchain that everything else is built with: only a C++ compiler is needed besides.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${SECONDS_EACH:-60}
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  targets=(request address keywords policy catalogue tokens event)
fi

if ! command -v c++ >/dev/null; then
  echo "make fuzz needs a C++ compiler for libFuzzer (Debian: apt-get install g++)" >&2
  exit 1
fi
RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/sancov.sh \
  cargo build -p consentgate-fuzz --features libfuzzer --bin consentgate-fuzz
mkdir -p target/fuzz
cp target/debug/consentgate-fuzz target/fuzz/fuzzer

for target in "${targets[@]}"; do
  found=target/fuzz/$target
  mkdir -p "$found" "target/fuzz/failed"
  echo "== $target"
  set +e
  FUZZ_TARGET=$target target/fuzz/fuzzer -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -print_final_stats=1 -artifact_prefix="target/fuzz/failed/$target-" "$found" "fuzz/corpus/$target" 2>&1 |
    grep -E "^(stat::|==|SUMMARY|Done|thread|assertion|  left|  right|artifact)|panicked|Test unit written|ERROR"
  ended=${PIPESTATUS[0]}
  set -e
  if [ "$ended" != 0 ]; then
    echo "$target failed: see target/fuzz/failed" >&2
    exit 1
  fi
  if [ -n "${KEEP:-}" ]; then
    FUZZ_TARGET=$target target/fuzz/fuzzer -merge=1 -max_len=4096 "fuzz/corpus/$target" "$found" 2>/dev/null
  fi
done
