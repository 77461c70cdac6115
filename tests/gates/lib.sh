# SPDX-License-Identifier: Apache-2.0
# Sourced by the gates. A gate defines check(), which prints each violation and returns 1 if there
# was any. Before it judges the real thing a gate plants a violation in a scratch directory and
# must see its own check fail: see_it_fail NAME ARGUMENTS...
set -u
export LC_ALL=C
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

see_it_fail() {
    local name=$1
    shift
    if check "$@" >"$scratch/planted.log" 2>&1; then
        echo "the gate does not see a planted violation: $name"
        exit 1
    fi
    echo "planted violation seen: $name"
}

skip() {
    echo "skipped: $*"
    exit 77
}

# The verdict on the real thing.
verdict() {
    if check "$@"; then
        echo "ok"
        exit 0
    fi
    exit 1
}
