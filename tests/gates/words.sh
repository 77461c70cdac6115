#!/usr/bin/env bash
# usage: words.sh SOURCE_DIR
# No mark of unfinished work, no absolute path of somebody's machine, no host of a package registry.
# Every source begins with a comment that says what it is for, and none has more than 600 lines.
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
            [ "$(head -c 2 "$file")" = '/*' ] || echo "no comment at its head: $file"
        done
    ) >"$scratch/bad"
    cat "$scratch/bad"
    [ ! -s "$scratch/bad" ]
}

plant() { # NAME TEXT: a source of one violation
    rm -rf "$scratch/house"
    mkdir "$scratch/house"
    printf '%s\n' "$2" >"$scratch/house/bad.c"
    see_it_fail "$1" "$scratch/house"
}
head='/* bad.c - what it is for. */'
plant "unfinished work" "$head /* TO""DO: later */"
plant "a machine's path" "$head /* see /ho""me/me/x */"
plant "a registry's host" "$head /* from py""pi.org */"
plant "a long file" "$head $(seq 600)
601"
plant "no comment at the head" "int x;"
echo "$head" >"$scratch/house/bad.c"
check "$scratch/house" || { echo "a sound house is refused"; exit 1; }
verdict "$1"
