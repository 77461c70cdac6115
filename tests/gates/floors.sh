#!/usr/bin/env bash
# usage: floors.sh SOURCE_DIR
# Includes go down: reads the lists of floors in docs/architecture.md - of the rooms of src, and of
# the folders of each room that has a list of its own - and every #include of src and include/gqa.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"

# "FLOOR NAME" per room, from the lines "  5  attention, reference   what they do" of the list that
# begins with the mark.
floors_of() { # SOURCE_DIR MARK
    awk -v mark="<!-- $2 -->" '
         $0 == mark { on = 1 } /^<!-- end of floors -->/ { on = 0 }
         on && $1 ~ /^[0-9]+$/ {
             for (i = 2; i <= NF; i++) {
                 room = $i; more = sub(/,$/, "", room); print $1, room
                 if (!more) break
             }
         }' "$1/docs/architecture.md"
}

# Every include of FILE:INCLUDE lines on stdin, against the floors of the folders below a prefix.
check_down() { # FLOORS PREFIX
    awk -v floors="$1" -v prefix="$2" '
        BEGIN { while ((getline line < floors) > 0) { split(line, f, " "); floor[f[2]] = f[1] } }
        {
            file = $0; sub(/:.*/, "", file)
            name = $0; sub(/^[^<"]*[<"]/, "", name); sub(/[>"].*/, "", name)
            if ($0 ~ /include[[:space:]]*</ || name ~ /^gqa\//) next
            if (index(file, "src/" prefix) != 1 || index(name, prefix) != 1) next
            from = substr(file, length("src/" prefix) + 1); sub(/\/.*/, "", from)
            to = substr(name, length(prefix) + 1)
            why = ""
            if (!sub(/\/.*/, "", to)) why = "lies in no folder"
            else if (to == from) why = ""
            else if (!(to in floor)) why = "names no room"
            else if (floor[to] == floor[from]) why = "goes sideways, from " from " to " to
            else if (floor[to] + 0 > floor[from] + 0) why = "goes up, from " from " to " to
            if (why != "") print file ": " name ": " why
        }'
}

# What a room may include beside other rooms.
check_foreign() {
    awk '
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
            } else if (!system_header && room == "tool" && name !~ /^tool\//)
                why = "the tool uses the public headers only"
            if (why != "") print file ": " name ": " why
        }'
}

check_list() { # SOURCE_DIR MARK PREFIX
    local floors=$scratch/floors room
    floors_of "$1" "$2" >"$floors"
    [ -s "$floors" ] || echo "docs/architecture.md: no list \"$2\""
    ls "$1/src/$3" | while read -r room; do
        grep -q " $room\$" "$floors" || echo "src/$3$room: is on no floor"
    done
    check_down "$floors" "$3" <"$scratch/includes"
}

check() {
    local room
    (cd "$1" && grep -rnE '^[[:space:]]*#[[:space:]]*include' src include) >"$scratch/includes"
    {
        check_foreign <"$scratch/includes"
        check_list "$1" floors ""
        sed -n 's/^<!-- floors of \(.*\) -->$/\1/p' "$1/docs/architecture.md" | while read -r room; do
            check_list "$1" "floors of $room" "$room/"
        done
    } >"$scratch/bad"
    cat "$scratch/bad"
    [ ! -s "$scratch/bad" ]
}

plant() { # FILE INCLUDE: a house of one violation
    rm -rf "$scratch/house"
    mkdir -p "$scratch/house/src/base" "$scratch/house/src/cache" "$scratch/house/src/linear" \
        "$scratch/house/src/tool" "$scratch/house/include/gqa" "$scratch/house/docs"
    mkdir -p "$scratch/house/src/cache/attic" "$scratch/house/src/cache/hall"
    printf '%s\n' '<!-- floors -->' ' 8  tool   t' ' 3  cache, linear   c' ' 0  base   b' \
        '<!-- end of floors -->' '<!-- floors of cache -->' ' 1  attic   a' ' 0  hall  h' \
        '<!-- end of floors -->' >"$scratch/house/docs/architecture.md"
    printf '#include "base/x.h"\n' >"$scratch/house/src/cache/attic/fine.c"
    printf '#include %s\n' "$2" >"$scratch/house/$1"
}

plant src/cache/attic/fine.c '"cache/hall/x.h"'
check "$scratch/house" >/dev/null || { echo "a sound house is refused"; exit 1; }
for planted in 'src/base/up.c "cache/x.h"' 'src/cache/hall/side.c "linear/x.h"' \
    'src/tool/in.c "base/x.h"' 'src/cache/hall/blas.c <cblas.h>' 'src/cache/hall/dots.c "../base/x.h"' \
    'src/cache/hall/odd.c "nowhere/x.h"' 'include/gqa/h.h "base/x.h"' 'include/gqa/h.h <stdio.h>' \
    'src/cache/hall/up.c "cache/attic/x.h"' 'src/cache/hall/odd.c "cache/x.h"'; do
    # shellcheck disable=SC2086
    plant $planted
    see_it_fail "$planted" "$scratch/house"
done
plant src/cache/attic/fine.c '"cache/hall/x.h"'
mkdir "$scratch/house/src/cellar"
see_it_fail "a room on no floor" "$scratch/house"
rmdir "$scratch/house/src/cellar"
echo >"$scratch/house/src/cache/loose.c"
see_it_fail "a file outside of the folders of its room" "$scratch/house"

verdict "$1"
