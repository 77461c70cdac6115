#!/usr/bin/env bash
# usage: plain.sh SOURCE_DIR CC
# An engine may hand all of src but the command to its compiler, with no flag of an instruction set:
# it gets the scalar kernels (on AArch64 NEON, which is always there), the same bits, and a library
# that says so.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
source_dir=$1
export cc=$2
cat >"$scratch/kernels.c" <<'END'
#include <gqa/gqa.h>
#include <stdio.h>
int main(void)
{
    gqa_build_info info;
    gqa_build_info_get(&info);
    printf("%x %x\n", (unsigned)info.kernels_built, (unsigned)info.kernels_available);
    return 0;
}
END
want="2 2"
[ "$(uname -m)" = aarch64 ] && want="22 22"

check() { # FOLDER that has include and src
    local folder=$1 objects=$scratch/objects
    rm -rf "$objects"
    mkdir "$objects"
    (cd "$folder/src" && find . -name '*.c' ! -path './tool/*') | sed 's,^\./,,' |
        folder=$folder objects=$objects xargs -P "$(nproc)" -I{} sh -c \
            '"$cc" -O1 -ffp-contract=off -I"$folder/include" -I"$folder/src" -c "$folder/src/{}" \
                -o "$objects/$(echo {} | tr / _).o" || exit 255' &&
        "$cc" -I"$folder/include" "$source_dir/tests/bits.c" "$objects"/*.o -lm -pthread \
            -o "$scratch/bits" &&
        "$cc" -I"$folder/include" "$scratch/kernels.c" "$objects"/*.o -lm -pthread \
            -o "$scratch/kernels" || return 1
    "$scratch/bits" >"$scratch/got" && diff "$source_dir/tests/bits.expected" "$scratch/got" ||
        return 1
    [ "$("$scratch/kernels")" = "$want" ] || { echo "kernels: $("$scratch/kernels"), not $want"; return 1; }
}

mkdir "$scratch/house"
cp -r "$source_dir/include" "$source_dir/src" "$scratch/house/"
printf '#include <immintrin.h>\n__m512 f(__m512 x);\n__m512 f(__m512 x) { return _mm512_add_ps(x, x); }\n' \
    >"$scratch/house/src/api/a_planted.c"
see_it_fail "a file that needs a flag" "$scratch/house"
verdict "$source_dir"
