#!/usr/bin/env bash
# usage: data.sh CC OBJECT...
# No object of the library has mutable static data: .data, .bss and thread-local data are empty.
# .data.rel.ro (constant tables of pointers) is allowed.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
cc=$1
shift
command -v readelf >/dev/null || skip "there is no readelf"
if nm -u "$@" 2>/dev/null | grep -qE '__(asan|msan|tsan)_'; then
    skip "a sanitizer adds data of its own"
fi

check() {
    local object
    for object in "$@"; do
        readelf -SW "$object" | sed 's/^ *\[ *[0-9]*\] *//' | awk -v file="${object##*/}" '
            ($1 ~ /^\.(data|bss|tdata|tbss)(\.|$)/) && ($1 !~ /^\.data\.rel\.ro/) && ($5 !~ /^0*$/) {
                print file ": " $1 " is not empty (0x" $5 " bytes)" }'
    done >"$scratch/bad"
    cat "$scratch/bad"
    [ ! -s "$scratch/bad" ]
}

plant() { # NAME CODE
    echo "$2" >"$scratch/bad.c"
    "$cc" -fPIC -c -o "$scratch/bad.o" "$scratch/bad.c" || exit 1
    see_it_fail "$1" "$scratch/bad.o"
}
plant ".data" 'int planted = 1;'
plant ".bss" 'int *planted(void); int *planted(void) { static int n; return &n; }'
plant ".tbss" '_Thread_local int planted;'
echo 'extern int f(void); extern int (*const table[1])(void); int (*const table[1])(void) = { f };' \
    >"$scratch/fine.c"
"$cc" -fPIC -c -o "$scratch/fine.o" "$scratch/fine.c" || exit 1
check "$scratch/fine.o" || { echo "a constant table of pointers is refused"; exit 1; }
[ $# -gt 0 ] || { echo "no objects given"; exit 1; }
verdict "$@"
