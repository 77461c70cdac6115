#!/usr/bin/env bash
# usage: warnings.sh SOURCE_DIR BUILD_DIR
# The library's sources are free of warnings with every compiler that is there. Rows of other CPUs,
# which are no part of the build, are left out.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
flags="-std=c11 -O1 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -ffp-contract=off"

# The instruction set of a file, as the build compiles it.
isa_flags() { # BUILD_DIR FILE
    grep -hF -- "$2" "$1/compile_commands.json" 2>/dev/null | grep '"command"' |
        grep -oE ' -m[a-z0-9-]+' | tr -d '\n'
}

foreign() { # BUILD_DIR FILE
    [ -e "$1/compile_commands.json" ] && ! grep -qF -- "$2" "$1/compile_commands.json"
}

check() {
    local root=$1 build=$2 cc file bad=0
    for cc in gcc clang; do
        command -v "$cc" >/dev/null || { echo "skipped: there is no $cc"; continue; }
        for file in $(find "$root/src" -name "*.c"); do
            case $file in */tool/*) continue ;; esac
            if foreign "$build" "$file"; then continue; fi
            # shellcheck disable=SC2046,SC2086
            "$cc" $flags $(isa_flags "$build" "$file") -fsyntax-only -DGQA_BUILDING \
                -I"$root/include" -I"$root/src" "$file" || bad=1
        done
    done
    [ "$bad" = 0 ]
}

mkdir -p "$scratch/house/src/base"
echo 'int gqa__x(long x); int gqa__x(long x) { return x; }' >"$scratch/house/src/base/bad.c"
see_it_fail "a silent conversion" "$scratch/house" "$scratch/house"
if [ "$(uname -m)" = x86_64 ] && [ -z "$(isa_flags "$2" "$1/src/kernel/avx2/scalar_fma.c")" ]; then
    echo "no flags of kernel sets in $2/compile_commands.json"
    exit 1
fi
verdict "$1" "$2"
