#!/usr/bin/env bash
# Makes sure that PostgreSQL's server programs are on this machine, for the tests.
#
# The tests start a server of their own in a temporary directory, so the package must not create or start a cluster,
# and an installation that is already here is left as it is. Where the programs may lie is also known to
# tests/it/postgres.rs; a place added here belongs there too.
set -euo pipefail

# Prints the directory of a complete set of server programs, the newest version first.
server_programs() {
  local found directory
  if found=$(command -v postgres); then
    directory=$(dirname "$(readlink -f "$found" 2>/dev/null || echo "$found")")
    if complete "$directory"; then
      echo "$directory"
      return
    fi
  fi
  while read -r directory; do
    if complete "$directory"; then
      echo "$directory"
      return
    fi
  done < <(
    printf '%s\n' \
      /usr/lib/postgresql/*/bin \
      /usr/pgsql-*/bin \
      /opt/homebrew/opt/postgresql*/bin \
      /usr/local/opt/postgresql*/bin | sort -rV
  )
  return 1
}

complete() {
  [ -x "$1/postgres" ] && [ -x "$1/initdb" ] && [ -x "$1/pg_ctl" ]
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

give_up() {
  echo "$1" >&2
  echo "Please install the PostgreSQL server programs (postgres, initdb, pg_ctl; version 14 or newer) and put them on PATH." >&2
  echo "Debian, Ubuntu: apt-get install postgresql    Fedora: dnf install postgresql-server    Alpine: apk add postgresql    macOS: brew install postgresql@17" >&2
  exit 1
}

install_on_debian() {
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    give_up "PostgreSQL's server is not installed, and this is neither root nor is there sudo to install it."
  fi

  # The package's own switch against creating a cluster. Kept afterwards: it is read again at every upgrade.
  local no_cluster=/etc/postgresql-common/createcluster.conf
  if [ ! -e "$no_cluster" ]; then
    as_root mkdir -p "$(dirname "$no_cluster")"
    echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
  fi

  # Debian's switch against starting services; only ours is taken away again.
  local no_start=/usr/sbin/policy-rc.d
  if [ ! -e "$no_start" ]; then
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$no_start" >/dev/null
    as_root chmod 755 "$no_start"
  fi

  # UCF_FORCE_CONFFOLD keeps the file written above where the package brings one of its own.
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
    apt-get install -q -y --no-install-recommends postgresql
}

if programs=$(server_programs); then
  echo "PostgreSQL: $programs"
  exit 0
fi

if command -v apt-get >/dev/null; then
  install_on_debian
elif [ "$(uname -s)" = Darwin ] && command -v brew >/dev/null; then
  brew install postgresql@17
else
  give_up "PostgreSQL's server is not installed, and there is neither apt-get nor brew to install it."
fi

programs=$(server_programs) || give_up "The installation ended, but no complete PostgreSQL server was found."
echo "PostgreSQL: $programs"
