#!/usr/bin/env bash
# usage: alone.sh SOURCE_DIR
# Each header of src compiles alone, with every compiler that is there: nothing has to be included
# before it. Headers of kernels are compiled with the instruction sets of this target that the
# compiler has, narrow and wide.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
flags="-std=c11 -Wall -Wextra -Wpedantic -Werror -Wno-unused-function -fsyntax-only -DGQA_BUILDING"
avx2="-mavx2 -mfma -mf16c"
avx512="$avx2 -mavx512f -mavx512bw -mavx512dq -mavx512vl"
amx="$avx512 -mavx512bf16 -mavx512vnni -mamx-tile -mamx-bf16 -mamx-int8"

# The sets of flags for a header, one a line.
flags_of() { # PATH BELOW src
    case $(uname -m)/$1 in
    */kernel/vector/words_neon.h) [ "$(uname -m)" = aarch64 ] && echo "-DNEON" ;;
    aarch64/kernel/vector/words_*) ;;
    x86_64/kernel/vector/*_avx2.h) echo "$avx2" ;;
    x86_64/kernel/vector/*_avx512.h | x86_64/kernel/avx512/*) echo "$amx" ;;
    x86_64/kernel/vector/*) printf '%s\n' "$avx2" "$avx512" ;;
    x86_64/kernel/amx/*) echo "$amx" ;;
    *) echo "-DBASELINE" ;;
    esac
}

check() {
    local root=$1 cc header set bad=0 seen=0
    for cc in gcc clang; do
        command -v "$cc" >/dev/null || { echo "skipped: there is no $cc"; continue; }
        while read -r header; do
            while read -r set; do
                seen=1
                printf '#include "%s"\n#include "%s"\nextern int used;\n' "$header" "$header" \
                    >"$scratch/use.c"
                # shellcheck disable=SC2086
                "$cc" $flags $set -I"$root/include" -I"$root/src" "$scratch/use.c" ||
                    { echo "$cc $set: $header"; bad=1; }
            done < <(flags_of "$header")
        done < <(cd "$root/src" && find . -name '*.h' ! -path './tool/*' | sed 's,^\./,,')
    done
    [ "$bad" = 0 ] && [ "$seen" = 1 ]
}

mkdir -p "$scratch/house/src/base" "$scratch/house/include"
printf '#ifndef H\n#define H\nsize_t x(void);\n#endif\n' >"$scratch/house/src/base/bad.h"
see_it_fail "a header that needs another" "$scratch/house"
verdict "$1"
