#!/usr/bin/env bash
# usage: floors.sh SOURCE_DIR
# Includes go down: reads the list of floors in docs/architecture.md and every #include of src and
# include/gqa.
. "$(dirname "$0")/lib.sh"

# "FLOOR ROOM" per room, from the lines "  5  attention, reference   what they do".
floors_of() {
    awk '/^<!-- floors -->/ { on = 1 } /^<!-- end of floors -->/ { on = 0 }
         on && $1 ~ /^[0-9]+$/ {
             for (i = 2; i <= NF; i++) {
                 room = $i; more = sub(/,$/, "", room); print $1, room
                 if (!more) break
             }
         }' "$1/docs/architecture.md"
}

check() {
    local root=$1
    floors_of "$root" >"$scratch/floors"
    if [ ! -s "$scratch/floors" ]; then
        echo "docs/architecture.md: no list of floors"
        return 1
    fi
    ls "$root/src" | while read -r room; do
        grep -q " $room\$" "$scratch/floors" || echo "src/$room: is on no floor"
    done >"$scratch/bad"
    (cd "$root" && grep -rnE '^[[:space:]]*#[[:space:]]*include' src include) |
        awk -v floors="$scratch/floors" '
        BEGIN { while ((getline line < floors) > 0) { split(line, f, " "); floor[f[2]] = f[1] } }
        {
            file = $0; sub(/:.*/, "", file)
            name = $0; sub(/^[^<"]*[<"]/, "", name); sub(/[>"].*/, "", name)
            split(file, part, "/")
            room = part[1] == "src" ? part[2] : "include"
            system_header = $0 ~ /include[[:space:]]*</
            why = ""
            if (name ~ /\.\./) why = "leaves its room by .."
            else if (name ~ /^gqa\//) why = ""
            else if (room == "include") {
                if (name !~ /^std(def|int|bool)\.h$/) why = "a public header needs no more than stddef and stdint"
            } else if (name ~ /^(openblas\/)?cblas/) { if (room != "linear") why = "cblas.h belongs to src/linear" }
            else if (name ~ /jansson/) { if (room != "tool") why = "jansson belongs to src/tool" }
            else if (name ~ /(intrin|arm_neon)\.h$/) {
                if (room != "kernel" && room != "base") why = "instruction sets belong to src/kernel"
            } else if (!system_header && name ~ /\//) {
                split(name, target, "/"); to = target[1]
                if (to == room) why = ""
                else if (room == "tool") why = "the tool uses the public headers only"
                else if (!(to in floor)) why = "names no room"
                else if (floor[to] == floor[room]) why = "goes sideways, from " room " to " to
                else if (floor[to] + 0 > floor[room] + 0) why = "goes up, from " room " to " to
            }
            if (why != "") print file ": " name ": " why
        }' >>"$scratch/bad"
    cat "$scratch/bad"
    [ ! -s "$scratch/bad" ]
}

plant() { # FILE INCLUDE: a house of one violation
    rm -rf "$scratch/house"
    mkdir -p "$scratch/house/src/base" "$scratch/house/src/cache" "$scratch/house/src/linear" \
        "$scratch/house/src/tool" "$scratch/house/include/gqa" "$scratch/house/docs"
    printf '%s\n' '<!-- floors -->' ' 8  tool   t' ' 3  cache, linear   c' ' 0  base   b' \
        '<!-- end of floors -->' >"$scratch/house/docs/architecture.md"
    printf '#include "base/x.h"\n' >"$scratch/house/src/cache/fine.c"
    printf '#include %s\n' "$2" >"$scratch/house/$1"
}

plant src/cache/fine.c '"base/x.h"'
check "$scratch/house" >/dev/null || { echo "a sound house is refused"; exit 1; }
for planted in 'src/base/up.c "cache/x.h"' 'src/cache/side.c "linear/x.h"' \
    'src/tool/in.c "base/x.h"' 'src/cache/blas.c <cblas.h>' 'src/cache/dots.c "../base/x.h"' \
    'src/cache/odd.c "nowhere/x.h"' 'include/gqa/h.h "base/x.h"' 'include/gqa/h.h <stdio.h>'; do
    # shellcheck disable=SC2086
    plant $planted
    see_it_fail "$planted" "$scratch/house"
done
plant src/cache/fine.c '"base/x.h"'
mkdir "$scratch/house/src/cellar"
see_it_fail "a room on no floor" "$scratch/house"

verdict "$1"
