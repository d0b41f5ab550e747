# What the scripts share: .venv, and packages of the system.
# shellcheck shell=bash

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
POLICY=/usr/sbin/policy-rc.d
POLICY_MARK="put here by greenchat's scripts while apt-get runs"

# The servers that tests start, and dpkg, live in sbin.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}

say() { echo "$*" >&2; }

as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }

can_apt() { command -v apt-get >/dev/null && as_root true 2>/dev/null; }

# apt_install PACKAGE...: quiet unless it fails; no service of theirs starts.
apt_install() (
    say "installing $* …"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # One of ours is left over if a run was killed: it goes too.
    if [[ ! -e $POLICY ]] || grep -qF "$POLICY_MARK" "$POLICY"; then
        trap 'rm -f "$log"; as_root rm -f "$POLICY"' EXIT
        printf '#!/bin/sh\n# %s\nexit 101\n' "$POLICY_MARK" | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
    # A repository that cannot be read need not be one that is needed.
    as_root apt-get update >"$log" 2>&1 || true
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install --yes --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        exit 1
    fi
)

# find_python: print the first Python of at least 3.11, one that can make a .venv if there is any.
find_python() {
    local name found=
    for name in python3.11 python3 python3.12 python3.13 python3.14 python; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        found=${found:-$name}
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            found=$name
            break
        fi
    done
    [[ -n $found ]] || { say "greenchat needs Python 3.11 or later: none was found in PATH"; return 1; }
    echo "$found"
}

make_venv() {
    local python package
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if ! can_apt || ! apt_install "$package"; then
            say "$python cannot make a virtual environment; install its venv module first: apt-get install $package"
            return 1
        fi
    fi
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
}

# Where .venv was made and with which Python: one that was moved, or lost its Python, is useless.
identity() { echo "$VENV $("$VENV/bin/python" -ISc 'import sys; print(sys.version_info[:2])' 2>/dev/null)"; }

# The file "whole" is written last and removed first, so what was interrupted has none.
whole() { [[ -e $VENV/whole && $(<"$VENV/whole") == "$(identity)" ]]; }

installed() { whole && cmp -s "$ROOT/$1" "$VENV/$1"; }

# ensure_installed LOCK: make .venv hold what the lock file says; at once if it does already.
ensure_installed() {
    installed "$1" && return
    (
        if command -v flock >/dev/null; then flock 9; fi
        if installed "$1"; then exit; fi # another start did it meanwhile
        say "setting up .venv ($1) …"
        whole || make_venv
        rm -f "$VENV/whole"
        "$VENV/bin/python" -m pip install -qq --disable-pip-version-check -r "$ROOT/$1"
        cp "$ROOT/$1" "$VENV/$1"
        identity >"$VENV/whole"
    ) 9<"$ROOT"
}

# ensure_npm_packages FOLDER: make .venv/FOLDER hold the files of FOLDER and what its package-lock.json says.
ensure_npm_packages() {
    local place=$VENV/$1
    cmp -s "$ROOT/$1/package-lock.json" "$place/installed.json" || (
        say "setting up $1 …"
        rm -rf "$place" && mkdir -p "$place"
        cp "$ROOT/$1"/package*.json "$place"
        cd "$place" && npm ci --silent --no-audit --no-fund --ignore-scripts &&
            cp package-lock.json installed.json
    ) && cp "$ROOT/$1"/*.mjs "$place"
}

has_nginx_stream() {
    [[ -e /usr/lib/nginx/modules/ngx_stream_module.so ]] || nginx -V 2>&1 | grep -qE -- '--with-stream( |$)'
}

# ensure_servers [PACKAGE...]: have MariaDB, Redis and nginx, as Debian packages them, and these packages besides.
ensure_servers() {
    local missing=("$@") services=()
    command -v mariadbd >/dev/null || { missing+=(mariadb-server); services+=(mariadb); }
    command -v redis-server >/dev/null || { missing+=(redis-server); services+=(redis-server); }
    command -v nginx >/dev/null || { missing+=(nginx); services+=(nginx); }
    has_nginx_stream || missing+=(libnginx-mod-stream)
    ((${#missing[@]})) || return 0
    if can_apt && apt_install "${missing[@]}"; then
        # Nor at the next start of the machine: the scripts start their own.
        as_root systemctl --quiet disable "${services[@]}" &>/dev/null || true
        return 0
    fi
    say "missing, and not to be installed from here: ${missing[*]}"
    return 1
}

# ensure_test_tools: make .venv hold all that scripts/check and scripts/test need.
ensure_test_tools() {
    ensure_installed requirements.lock
    ensure_installed requirements-cluster.lock
    ensure_installed requirements-test.lock
}

failed=()

# step NAME COMMAND...: run the command; a failure is remembered for "finish".
step() {
    local name=$1
    shift
    "$@" || failed+=("$name")
}

# finish: name the steps that failed, if any.
finish() {
    ((${#failed[@]})) || return 0
    printf 'failed: %s\n' "${failed[@]}" >&2
    return 1
}

check_style_and_types() {
    step "ruff check" "$VENV/bin/python" -m ruff check .
    step "ruff format" "$VENV/bin/python" -m ruff format --check .
    step "codespell" "$VENV/bin/codespell"
    step "mypy" "$VENV/bin/python" -m mypy
}
