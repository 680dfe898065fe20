#!/usr/bin/env bash
# Run the tests in a newer Debian: newer servers, a newer nginx and Node.js, newer Pythons.
#
#   scripts/newest.sh
#
# SUITE        which Debian (forky; sid for MySQL)
# MYSQL        1: MySQL takes MariaDB's place, in the tests of "mariadb" too
# NEWEST       where it is kept, some 6 GB (.newest); remove it to begin anew
# PYTEST_ARGS  as for `make test`
# TOX_ARGS     as for `make matrix` (each Python that is newer than ours, Django's newest)
# NO_INSTALL   1: never install debootstrap
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${MYSQL:-}" = 1 ]; then
    suite=${SUITE:-sid} database=mysql-server
else
    suite=${SUITE:-forky} database=mariadb-server
fi
root=${NEWEST:-$PWD/.newest}/$suite
packages=(
    ca-certificates chromium chromium-driver curl faketime git libfaketime make "$database"
    nginx-light nodejs npm pgbouncer postgresql procps prometheus python3-venv
    rabbitmq-server
)
pythons=(python3.14 python3.15)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
inside() { chroot "$root" "$@"; }

check() {
    [ "$(id -u)" = 0 ] || die "a newer Debian is made and entered by root: sudo make newest"
    [ -e /etc/debian_version ] || die "this needs a Debian that has debootstrap."
    if ! command -v debootstrap >/dev/null; then
        [ "${NO_INSTALL:-}" != 1 ] || die "debootstrap is not there: apt-get install debootstrap"
        say "Installing the Debian package debootstrap (NO_INSTALL=1 forbids it)."
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq -y --no-install-recommends debootstrap >&2
    fi
}

# Whatever this Debian itself is fed from.
mirror() {
    apt-get indextargets --format '$(SITE) $(REPO_URI)' |
        awk '$2 !~ /security/ { print $2; exit }'
}

make_root() {
    say "Making $root: Debian $suite."
    rm -rf "$root.new"
    # The suite's own script may be unknown to an older debootstrap; all are sid's.
    debootstrap --variant=minbase "$suite" "$root.new" "$(mirror)" \
        /usr/share/debootstrap/scripts/sid >"$root.log" 2>&1 ||
        die "debootstrap failed: see $root.log"
    mv "$root.new" "$root"
    # No package may start a server: the tests start their own.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
}

enter() {
    trap leave EXIT
    # Who ends this from outside leaves no mounts behind.
    trap 'exit 143' TERM
    trap 'exit 130' INT
    mount -t proc proc "$root/proc"
    mount -t sysfs sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount --make-rslave "$root/dev"
    # A file of one file system each: a link would lead nowhere inside.
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
}

leave() {
    for each in dev sys proc; do
        umount -R -l "$root/$each" 2>/dev/null || true
    done
}

install_packages() {
    wanted=$(printf '%s\n' "${packages[@]}" "${pythons[@]}" | cksum)
    [ "$(cat "$root/.packages" 2>/dev/null)" != "$wanted" ] || return 0
    say "Installing servers and Pythons."
    # A mirror may be frozen, and this machine's apt knows whether it is.
    apt-config dump Acquire::Check-Valid-Until >"$root/etc/apt/apt.conf.d/99host"
    inside apt-get update -qq
    there=()
    for each in "${pythons[@]}"; do
        if inside apt-cache show "$each-venv" >/dev/null 2>&1; then
            there+=("$each" "$each-venv")
        fi
    done
    inside env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
        --no-install-recommends "${packages[@]}" "${there[@]}" >"$root.log" 2>&1 ||
        die "packages cannot be installed: see $root.log"
    # Certificates that this machine trusts beyond Debian's.
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    printf '%s\n' "$wanted" >"$root/.packages"
}

copy_checkout() {
    mkdir -p "$root/src"
    # What was installed before stays; what was deleted since goes.
    find "$root/src" -mindepth 1 -maxdepth 1 ! -name '.venv*' ! -name .tox -exec rm -rf {} +
    git ls-files --cached --others --exclude-standard -z |
        xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh |
        tar --create --null --files-from=- | tar --extract --directory "$root/src"
}

# As in a login there; and how packages are reached is this machine's business.
run() {
    mapfile -t passed < <(env | grep -E '^(PIP_|npm_config_|SSL_CERT_|REQUESTS_CA|NODE_EXTRA_CA)|_proxy=' || true)
    inside env -i HOME=/root LANG=C.UTF-8 CI="${CI:-true}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${passed[@]}" \
        make --directory /src "$@"
}

versions() {
    say "--- What is tried"
    inside dpkg-query --show --showformat '${Package} ${Version}\n' \
        rabbitmq-server postgresql "$database" nginx-light nodejs python3 >&2
}

check
mkdir -p "$(dirname "$root")"
[ -d "$root" ] || make_root
enter
install_packages
copy_checkout
versions
failed=0
run test NO_INSTALL=1 REQUIRE_SERVICES=1 JOBS="${JOBS:-2}" PYTEST_ARGS="${PYTEST_ARGS:-}" || failed=1
run matrix NO_INSTALL=1 TOX_ARGS="${TOX_ARGS:--e py314-django61,py315-django61}" || failed=1
exit $failed
