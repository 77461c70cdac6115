#!/usr/bin/env bash
# usage: bits.sh EXPECTED COMMAND...
# What the command (tests/bits.c, any build of it, natively or emulated) prints is bit for bit what
# tests/bits.expected says. After a wanted change of the numerics: build/bin/gqa_bits >
# tests/bits.expected.
. "$(dirname "$0")/lib.sh"

check() {
    local expected=$1
    shift
    "$@" >"$scratch/got" && diff "$expected" "$scratch/got"
}

sed 's/ out ./ out x/' "$1" >"$scratch/other"
see_it_fail "one other bit" "$scratch/other" "${@:2}"
verdict "$@"
