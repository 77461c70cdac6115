#!/usr/bin/env bash
# usage: words.sh SOURCE_DIR
# No mark of unfinished work, no absolute path of somebody's machine, no host of a package registry.
# Sizes: no source file above 600 lines.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"

unfinished='\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b|not[ ]implemented|\bstu[b]\b'
machine='(^|[^A-Za-z0-9_.~$}-])/(home|root|mnt|srv|work|Users)/[A-Za-z0-9_]'
hosts='(deb[.]debian|registry[.]npmjs|pypi|files[.]pythonhosted|proxy[.]golang|crates|rubygems)[.](org|io)'

texts() {
    (cd "$1" && find . \( -name .git -o -name 'build*' -o -path ./tests/golden \) -prune -o \
        -type f ! -name LICENSE -print)
}

check() {
    local root=$1 file
    texts "$root" >"$scratch/texts"
    (
        cd "$root" || exit 1
        xargs grep -nHIE "$unfinished" <"$scratch/texts" | sed 's/^/unfinished: /'
        xargs grep -nHIE "$machine" <"$scratch/texts" | sed 's/^/a path of one machine: /'
        xargs grep -nHIE "$hosts" <"$scratch/texts" | sed 's/^/a registry host: /'
        grep -E '\.(c|h|cpp)$' "$scratch/texts" | while read -r file; do
            [ "$(wc -l <"$file")" -le 600 ] || echo "more than 600 lines: $file"
        done
    ) >"$scratch/bad"
    cat "$scratch/bad"
    [ ! -s "$scratch/bad" ]
}

plant() { # NAME TEXT
    rm -rf "$scratch/house"
    mkdir "$scratch/house"
    printf '%s\n' "$2" >"$scratch/house/bad.c"
    see_it_fail "$1" "$scratch/house"
}
plant "unfinished work" "/* TO""DO: later */"
plant "a machine's path" "see /ho""me/me/x"
plant "a registry's host" "get it from py""pi.org"
plant "a long file" "$(seq 601)"
verdict "$1"
