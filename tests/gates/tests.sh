#!/usr/bin/env bash
# usage: tests.sh SOURCE_DIR
# tests/README.md has a line for every test program, every header of tests/support and every gate,
# and names none that is not there.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"

# First cells of the page's tables: | `NAME` | ...
listed() {
    grep -oE '^\| `[a-z0-9_.]+` \|' "$1/tests/README.md" | sed 's/^| `//; s/` |$//'
}

there() {
    (cd "$1/tests" && ls test_*.c | sed 's/\.c$//' && ls support/*.h | sed 's,.*/,,' &&
        ls gates/*.sh | grep -v '/lib\.sh$' | sed 's,.*/,gate_,; s/\.sh$//')
}

check() {
    listed "$1" | sort -u >"$scratch/listed"
    there "$1" | sort -u >"$scratch/there"
    comm -13 "$scratch/listed" "$scratch/there" | sed 's/^/not in tests\/README.md: /'
    comm -23 "$scratch/listed" "$scratch/there" | sed 's/^/in tests\/README.md, but not there: /'
    cmp -s "$scratch/listed" "$scratch/there"
}

mkdir "$scratch/house"
cp -r "$1/tests" "$scratch/house/"
touch "$scratch/house/tests/test_unlisted.c"
see_it_fail "a test program without a line" "$scratch/house"
rm "$scratch/house/tests/test_unlisted.c"
echo '| `test_gone` | a program that was removed |' >>"$scratch/house/tests/README.md"
see_it_fail "a line without a program" "$scratch/house"
cp "$1/tests/README.md" "$scratch/house/tests/README.md"
touch "$scratch/house/tests/support/unlisted.h"
see_it_fail "a support header without a line" "$scratch/house"
verdict "$1"
