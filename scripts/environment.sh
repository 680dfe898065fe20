#!/bin/sh
# Give the checkout a virtual environment with what one dependency group needs.
#
#   scripts/environment.sh GROUP
#
# VENV        where (.venv)
# PYTHON      from which Python (the first that is new enough)
# NO_INSTALL  1: as root on Debian, never install python3-venv
set -eu

group=$1
venv=${VENV:-.venv}
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (4, 0))' \
        >/dev/null 2>&1
}

identity() {
    "$1" -c 'import platform as p; print(p.python_implementation(), p.python_version())'
}

pick_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || die "PYTHON=$PYTHON is not a command."
        is_supported "$PYTHON" ||
            die "PYTHON=$PYTHON is not Python 3.10 or newer: $("$PYTHON" -V 2>&1 | head -n 1)"
        python=$PYTHON
        return
    fi
    # A name that is found may still not run: pyenv's shims are such.
    for python in python3 python3.15 python3.14 python3.13 python3.12 python3.11 python3.10 python; do
        if is_supported "$python"; then return; fi
    done
    die "no Python 3.10 or newer was found. Install one (Debian: apt-get install" \
        "python3 python3-venv), or name it: make PYTHON=/path/to/python3 …"
}

has_ensurepip() { "$python" -c 'import venv; from ensurepip import version' 2>/dev/null; }

# Debian's python3-pip, say, if it can install into another environment.
has_outer_pip() {
    "$python" -c 'import sys, venv, pip
sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (22, 3))' 2>/dev/null
}

is_root_on_debian() {
    [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null
}

# Debian ships Python without ensurepip, so there are several ways to a pip inside.
create() {
    # VENV may name anything, a home by mistake.
    if [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
        die "VENV=$venv holds something that is no virtual environment. Name another" \
            "folder, or remove that one."
    fi
    rm -rf "$venv"
    if has_ensurepip; then
        "$python" -m venv "$venv"
    elif "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv --quiet "$venv"
    elif command -v uv >/dev/null; then
        uv venv --quiet --seed --python "$python" "$venv"
    elif has_outer_pip; then
        "$python" -m venv --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install --quiet pip
    else
        package="python$("$python" -c \
            'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
        if is_root_on_debian && [ "${NO_INSTALL:-}" != 1 ]; then
            say "$python has no ensurepip: installing the Debian package $package" \
                "(NO_INSTALL=1 forbids it)."
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive \
                apt-get install -qq -y --no-install-recommends "$package" >&2
        fi
        has_ensurepip || die "$python cannot make virtual environments. Install what" \
            "it lacks (Debian: apt-get install $package), or name another Python:" \
            "make PYTHON=/path/to/python3 …"
        "$python" -m venv "$venv"
    fi
}

# One at a time: `make -j lint docs` calls this twice.
if command -v flock >/dev/null; then
    exec 9>"$venv.lock"
    flock 9
fi

# A virtual environment does not survive being moved, hence the folder.
wanted="$(cksum <pyproject.toml) $(pwd)"
stamp=$venv/.stamp-$group

python=
if is_supported "$venv/bin/python"; then
    if [ -n "${PYTHON:-}" ]; then
        pick_python
        [ "$(identity "$python")" = "$(identity "$venv/bin/python")" ] || rebuild=yes
    fi
    case "$(cat "$venv/.folder" 2>/dev/null)" in
        "$(pwd)") ;;
        *) rebuild=yes ;;
    esac
else
    rebuild=yes
fi
if [ -z "${rebuild:-}" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

# pip's own settings for other places do not fit here.
unset PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

if [ -n "${rebuild:-}" ]; then
    [ -n "$python" ] || pick_python
    say "Making $venv with $(identity "$python")."
    create
    pwd >"$venv/.folder"
fi
say "Installing the group '$group' into $venv."
# Dependency groups came with pip 25.1.
"$venv/bin/python" -m pip install --quiet 'pip>=25.1'
"$venv/bin/python" -m pip install --quiet --editable . --group "$group"
printf '%s\n' "$wanted" >"$stamp"
