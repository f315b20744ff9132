#!/usr/bin/env bash
# Changes src/domain in one small way after the other, and lists the changes that no test notices.
#
#   scripts/mutants.sh                                  all of src/domain: hours
#   scripts/mutants.sh --file 'src/domain/decide/*.rs'  a part; other options of `cargo mutants` likewise
#   scripts/mutants.sh --iterate                        again what was not caught, after tests were added
#
# What is mutated is a small crate in target/mutants: the domain, the policy that its tests read, and the two corpora.
# The whole crate would take minutes to build for every change. MUTANTS_HOME names another place, so that two can run
# side by side, each with files of its own. What is left out, and which survivors are accepted and why, is in
# .cargo/mutants.toml; mutants.out in the small crate has the rest, with a log of every change.
#
# Every change meets all tests with few random histories; what that misses meets them again with as many as in
# `cargo test`. A failing history is not made smaller: that one fails is enough here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Pinned, as buf is: another version makes other changes, and the list of accepted ones would not fit.
version=27.1.0
tool=$PWD/target/tools/cargo-mutants-$version
home=${MUTANTS_HOME:-target/mutants}

if [ ! -x "$tool/bin/cargo-mutants" ]; then
  cargo install --locked --root "$tool" "cargo-mutants@$version"
fi

# Cargo.toml with only those dependencies that the copied sources name.
manifest() {
  local line section='' name
  while IFS= read -r line; do
    if [[ $line == \[* ]]; then
      section=$line
      if [[ $section == '[package]' || $section == '[dependencies]' || $section == '[dev-dependencies]' ]]; then
        printf '\n%s\n' "$line"
      fi
    elif [[ $section == '[package]' && -n $line ]]; then
      echo "$line"
    elif [[ $section == '[dependencies]' || $section == '[dev-dependencies]' ]]; then
      name=${line%% *}
      if [[ -n $name && $name != '#' ]] && grep -rqE "\b${name//-/_}::" "$home/src" "$home/tests"; then
        echo "$line"
      fi
    fi
  done <Cargo.toml
  # Dependencies are built once, and the tests spend their time in them; the domain is built for every change.
  cat <<'TOML'

[workspace]

[profile.dev]
debug = 0
incremental = true

[profile.dev.package."*"]
opt-level = 2
TOML
}

mkdir -p "$home"
rm -rf "$home/src" "$home/tests" "$home/policy"
mkdir -p "$home/src" "$home/tests/it"
cp -Rp src/domain src/policy "$home/src/"
cp -Rp policy "$home/"
cp -Rp tests/corpus "$home/tests/"
cp -p tests/it/keywords.rs tests/it/policy.rs "$home/tests/it/"
cp -p Cargo.lock "$home/"
manifest >"$home/Cargo.toml"
cat >"$home/src/lib.rs" <<'RUST'
//! Made by scripts/mutants.sh.
pub mod domain;
pub mod policy;

#[cfg(test)]
extern crate self as consentgate;
#[cfg(test)]
#[path = "../tests/it/keywords.rs"]
mod shipped_words;
#[cfg(test)]
#[path = "../tests/it/policy.rs"]
mod shipped_policy;
RUST

# The test runner's switch for this is not stable yet; only the tests see the variable, not the compiler.
mkdir -p "$home/.cargo"
cat >"$home/.cargo/config.toml" <<'TOML'
[target.'cfg(all())']
runner = ["env", "RUSTC_BOOTSTRAP=1"]
TOML

# The test that is left out asks how much the histories reach, and takes longer than all others.
mutate() {
  PROPTEST_CASES=$1 cargo mutants --dir "$home" --config .cargo/mutants.toml --in-place --output "$home" \
    --build-timeout 600 --timeout "$2" --cargo-arg=--lib "${@:3}" \
    -- -- -Z unstable-options --fail-fast --skip the_histories_reach_every_reason
}

export PROPTEST_MAX_SHRINK_ITERS=0 RUST_BACKTRACE=0
unset CARGO_TARGET_DIR
PATH=$tool/bin:$PATH

# Of the policy's code nothing is changed: it is there for its tests.
if [[ " $*" != *' --file'* && " $*" != *' -f '* ]]; then
  set -- --file 'src/domain/**/*.rs' "$@"
fi

status=0
mutate 32 60 "$@" || status=$?
# 2 and 3: some were missed, or took too long. All else is no result to look at again.
if [ "$status" != 2 ] && [ "$status" != 3 ]; then
  exit "$status"
fi
iterate=--iterate
for option in "$@"; do
  if [ "$option" = --iterate ]; then
    iterate=
  fi
done
mutate 512 240 "$@" $iterate
