#!/usr/bin/env bash
# usage: abi.sh SOURCE_DIR CC [update]
# A program that was linked against this library goes on working: the functions and the types of the
# public headers are those of tests/abi.xml (libabigail). New functions pass. After a wanted change,
# with the version that it calls for: tests/gates/abi.sh . cc update.
. "$(dirname "$0")/lib.sh"
source_dir=$1 cc=$2
command -v abidw >/dev/null && command -v abidiff >/dev/null || skip "there is no libabigail"
[ "$(uname -m)" = x86_64 ] || skip "tests/abi.xml is of x86-64"

# The public functions alone, with their types; the rest of the library stays undefined.
dump() { # SOURCE_DIR
    (
        cd "$1" || exit 1
        "$cc" -std=c11 -O0 -g -fPIC -shared -fvisibility=hidden -DGQA_BUILDING -Iinclude -Isrc \
            src/api/*.c -Wl,-soname,libgqa.so.0 -o "$scratch/libgqa.so" &&
            abidw --headers-dir include --drop-private-types --no-comp-dir-path --no-corpus-path \
                --no-show-locs "$scratch/libgqa.so"
    )
}

check() { # SOURCE_DIR
    dump "$1" >"$scratch/abi.xml" &&
        abidiff --no-added-syms "$source_dir/tests/abi.xml" "$scratch/abi.xml"
}

if [ "${3-}" = update ]; then
    dump "$source_dir" >"$scratch/abi.xml" && cp "$scratch/abi.xml" "$source_dir/tests/abi.xml"
    exit
fi
mkdir "$scratch/house"
cp -r "$source_dir/include" "$source_dir/src" "$scratch/house/"
sed -i 's/^    int64_t shape\[4\];/    int64_t shape[5];/' "$scratch/house/include/gqa/types.h"
see_it_fail "a tensor of five dimensions" "$scratch/house"
verdict "$source_dir"
