#!/bin/sh
# Makes .venv hold exactly what this checkout needs. Does nothing when it already does.
#
#   deploy/bootstrap.sh run    what the stack needs          (requirements.txt)
#   deploy/bootstrap.sh dev    that and the tests' tools     (requirements-dev.txt)
#
# Needs a Python 3.11, 3.12 or 3.13 with pip or venv, and nothing else. Package indexes, mirrors and
# certificates are the machine's own configuration, pip's or uv's: no address stands in this repository.
set -eu
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

UV_VERSION=0.13.9
cd "$(dirname "$0")/.."
wanted=${1:-run}
case $wanted in
    run) lock=requirements.txt ;;
    dev) lock=requirements-dev.txt ;;
    *) echo "usage: deploy/bootstrap.sh run|dev" >&2; exit 2 ;;
esac
venv_python=.venv/bin/python
stamp=.venv/penstock.stamp

say() { echo "bootstrap: $*"; }
die() { echo "bootstrap: $*" >&2; exit 1; }

# What the environment was made from: the lock, our own metadata, and this script.
fingerprint() { cat "$1" pyproject.toml deploy/bootstrap.sh | cksum; }

is_current() {
    [ -f "$stamp" ] && "$venv_python" -c '' 2>/dev/null || return 1
    have=$(cat "$stamp")
    [ "$have" = "dev $(fingerprint requirements-dev.txt)" ] && return 0 # all of `run`, and more
    [ "$have" = "$wanted $(fingerprint "$lock")" ]
}

# A candidate counts when it runs: a shim may be on PATH and still refuse.
runs() {
    "$@" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if runs "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    die "no Python 3.11, 3.12 or 3.13 runs here. On Debian or Ubuntu: apt-get install python3 python3-venv;
           elsewhere install one, or name it: make run PYTHON=/path/to/python3.12"
}

# uv lives in .boot, not in the environment that it fills.
find_uv() {
    for candidate in .boot/bin/uv .boot/venv/bin/uv uv; do
        if [ "$("$candidate" --version 2>/dev/null | cut -d' ' -f2)" = "$UV_VERSION" ]; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

install_uv() {
    say "installing uv $UV_VERSION into .boot"
    mkdir -p .boot
    if "$python" -m pip --version >/dev/null 2>&1; then
        pip_install "$python" --upgrade --target .boot
    elif "$python" -m venv .boot/venv >/dev/null 2>&1; then
        pip_install .boot/venv/bin/python
    else
        rm -rf .boot/venv
        die "$python has neither pip nor venv. On Debian or Ubuntu: apt-get install python3-venv; then again"
    fi
}

pip_install() {
    with=$1
    shift
    "$with" -m pip install --quiet --require-hashes --only-binary :all: "$@" -r deploy/bootstrap-requirements.txt ||
        die "pip could not install uv; what it said is above. Behind a mirror, set PIP_INDEX_URL or pip's configuration"
}

# uv does not read pip's configuration; whoever set pip up for a mirror should not have to do it twice.
use_pips_index() {
    [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ] || return 0
    index=${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2>/dev/null || true)}
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
}

python_of_venv() { [ -x "$venv_python" ] && runs "$venv_python"; }

# `run` takes nothing away: what someone else put there, the tests' tools among it, may be in use.
install_lock() {
    if [ "$wanted" = dev ]; then
        "$uv" pip sync --quiet --python "$venv_python" --require-hashes "$lock"
    else
        "$uv" pip install --quiet --python "$venv_python" --require-hashes --requirements "$lock"
    fi
}

# The last step makes our own packages links to this checkout, with their entry points and the command `penstock`.
fill() {
    { python_of_venv || "$uv" venv --quiet --clear --python "$python" .venv; } &&
        install_lock &&
        "$uv" pip install --quiet --python "$venv_python" --no-deps --no-build-isolation --offline --editable .
}

if is_current; then exit 0; fi
python=$(find_python)
rm -f "$stamp"
uv=$(find_uv) || { install_uv; uv=$(find_uv) || die "uv was installed and does not run on this machine"; }
use_pips_index
say "filling .venv from $lock with $("$python" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])')"
fill || die "the environment could not be made; what uv said is above.
           Behind a mirror, set PIP_INDEX_URL or UV_DEFAULT_INDEX. .venv can be removed at any time"
echo "$wanted $(fingerprint "$lock")" >"$stamp"
