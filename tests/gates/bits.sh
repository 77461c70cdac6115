#!/usr/bin/env bash
# usage: bits.sh all|some EXPECTED COMMAND...
# What the command (tests/bits.c, any build of it, natively or emulated) prints is bit for bit what
# tests/bits.expected says: all of its lines, or some (those that one kernel set serves, be it named
# by the command's last word or by GQA_ISA). After a
# wanted change of the numerics: build/bin/gqa_bits > tests/bits.expected.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"

check() {
    local how=$1 expected=$2
    shift 2
    "$@" >"$scratch/got" || { cat "$scratch/got"; return 1; }
    if [ "$how" = all ]; then
        diff "$expected" "$scratch/got"
    else
        [ -s "$scratch/got" ] && ! grep -vxFf "$expected" "$scratch/got"
    fi
}

if [ -n "${GQA_ISA:-}" ]; then
    echo "GQA_ISA=$GQA_ISA: only what this kernel set serves"
    set -- some "${@:2}"
fi
if [ "$1" = some ] && "${@:3}" >"$scratch/got" && [ ! -s "$scratch/got" ]; then
    skip "this machine does not run the kernel set ${*: -1}"
fi
sed 's/ out ./ out x/' "$2" >"$scratch/other"
see_it_fail "one other bit" "$1" "$scratch/other" "${@:3}"
verdict "$@"
