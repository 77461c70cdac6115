#!/usr/bin/env bash
# usage: warnings.sh SOURCE_DIR
# The library's sources are free of warnings with every compiler that is there.
. "$(dirname "$0")/lib.sh"
flags="-std=c11 -O1 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -ffp-contract=off"

check() {
    local root=$1 cc file isa bad=0
    for cc in gcc clang; do
        command -v "$cc" >/dev/null || { echo "skipped: there is no $cc"; continue; }
        for file in "$root"/src/*/*.c; do
            isa=""
            case $file in
            */tool/*) continue ;;
            *_fma.c)
                [ "$(uname -m)" = x86_64 ] || continue
                isa="-mavx2 -mfma"
                ;;
            */amx*.c)
                [ "$(uname -m)" = x86_64 ] || continue
                isa="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mavx2 -mfma"
                isa="$isa -mamx-tile -mamx-bf16"
                ;;
            esac
            # shellcheck disable=SC2086
            "$cc" $flags $isa -fsyntax-only -DGQA_BUILDING -I"$root/include" -I"$root/src" "$file" ||
                bad=1
        done
    done
    [ "$bad" = 0 ]
}

mkdir -p "$scratch/house/src/base"
echo 'int gqa__x(long x); int gqa__x(long x) { return x; }' >"$scratch/house/src/base/bad.c"
see_it_fail "a silent conversion" "$scratch/house"
verdict "$1"
