#!/usr/bin/env bash
# usage: amalgam.sh SOURCE_DIR CC
# What tools/amalgamate writes compiles by itself without a warning and has the bits of
# tests/bits.expected: with the compiler's own flags (scalar kernels), and with those of the widest
# vectors that this CPU has.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
source_dir=$1 cc=$2
command -v python3 >/dev/null || skip "there is no python3"
"$source_dir/tools/amalgamate" "$scratch/two" || exit 1
mkdir "$scratch/use"
cp "$source_dir/tests/bits.c" "$scratch/use/"
# The program takes gqa.h from beside gqa.c.
sed -i 's,<gqa/gqa\.h>,"gqa.h",; s,"gqa/gqa\.h","gqa.h",' "$scratch/use/bits.c"

check() { # FOLDER FLAGS...
    local folder=$1
    shift
    "$cc" -std=c11 -O1 -Wall -Wextra -Wpedantic -Werror -ffp-contract=off "$@" -c \
        "$folder/gqa.c" -o "$scratch/gqa.o" &&
        "$cc" -std=c11 -I"$folder" "$scratch/use/bits.c" "$scratch/gqa.o" -lm -pthread \
            -o "$scratch/bits" &&
        "$scratch/bits" >"$scratch/got" && diff "$source_dir/tests/bits.expected" "$scratch/got"
}

cp -r "$scratch/two" "$scratch/house"
echo 'static int planted(void) { int unused; return 1; }' >>"$scratch/house/gqa.c"
see_it_fail "a warning" "$scratch/house"
if grep -qw avx512vl /proc/cpuinfo 2>/dev/null; then
    check "$scratch/two" -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl || exit 1
elif grep -qw fma /proc/cpuinfo 2>/dev/null && grep -qw avx2 /proc/cpuinfo; then
    check "$scratch/two" -mavx2 -mfma -mf16c || exit 1
fi
verdict "$scratch/two"
