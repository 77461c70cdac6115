#!/usr/bin/env bash
# usage: spdx.sh SOURCE_DIR [add]
# Every source file names its license, in the way of the other files of its kind: first in C, C++ and
# CMake, after the heading comment in scripts. With add: those that do not are given the line.
. "$(dirname "$0")/lib.sh"
line='SPDX-License-Identifier: Apache-2.0'

# Files that are sources by name or by their first line.
sources() { # FOLDER
    (
        cd "$1" || exit 1
        find . \( -name .git -o -name 'build*' -o -path ./tests/golden -o -path '*/node_modules' \) \
            -prune -o -type f \( -name '*.[ch]' -o -name '*.cpp' -o -name '*.cmake' -o \
            -name '*.cmake.in' -o -name CMakeLists.txt -o -name '*.sh' -o -name '*.awk' -o \
            -name '*.py' -o -name '*.js' -o -name '*.gp' -o -name '*.map' -o -name Makefile \) -print
        find . \( -name .git -o -name 'build*' -o -path '*/node_modules' \) -prune -o -type f \
            ! -name '*.*' -exec awk 'FNR == 1 && /^#!/ { print FILENAME } { nextfile }' {} +
    ) | sort -u
}

check() {
    (cd "$1" && sources . | while read -r file; do
        head -n 60 "$file" | grep -qF "$line" || echo "no SPDX line: $file"
    done) >"$scratch/bad"
    cat "$scratch/bad"
    [ ! -s "$scratch/bad" ]
}

add_line() { # FILE
    case $1 in
    *.c | *.h | *.cpp | *.map) sed -i "1i /* $line */" "$1" ;;
    *.js) sed -i "$(head -n 1 "$1" | grep -q '^#!' && echo 1a || echo 1i) // $line" "$1" ;;
    *) # after a first line #! and the comment that follows, else first
        awk -v line="# $line" '
            BEGIN { heading = 1 }
            heading && NR == 1 && !/^#!/ { print line; heading = 0 }
            heading && !/^#/ { print line; heading = 0 }
            { print }' "$1" >"$scratch/new" && cat "$scratch/new" >"$1" ;;
    esac
}

if [ "${2-}" = add ]; then
    cd "$1" || exit 1
    check . | sed 's/^no SPDX line: //' >"$scratch/files"
    while read -r file; do
        add_line "$file"
    done <"$scratch/files"
    exit
fi
mkdir "$scratch/house"
echo 'int x;' >"$scratch/house/bad.c"
see_it_fail "a C file" "$scratch/house"
printf '#!/bin/sh\ntrue\n' >"$scratch/house/bad.c"
mv "$scratch/house/bad.c" "$scratch/house/bad"
see_it_fail "a script" "$scratch/house"
verdict "$1"
