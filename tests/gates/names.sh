#!/usr/bin/env bash
# usage: names.sh SOURCE_DIR
# No static function and no struct, union or enum of src has a name that another file of src gives to
# one of its own: what is alike is one function in a lower room, what is not has a name that tells.
# (Names that begin with gqa_ cross files, and the linker keeps them apart.) Only the words of the
# instruction sets (src/kernel/vector/words_*.h) are meant to be alike.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"

# NAME FILE of every definition. An attribute may stand before the name, and the name on a new line.
names() {
    (cd "$1" && find src -name '*.[ch]' -exec awk '
        FNR == 1 { head = "" }
        head != "" || /^(static|INLINE|__attribute__)/ {
            head = head " " $0
            gsub(/__attribute__ *\(\([^()]*(\([^()]*\))?[^()]*\)\)/, "", head)
            if (match(head, /^[^(=;]*[A-Za-z0-9_]\(/)) {
                name = substr(head, 1, RLENGTH - 1)
                sub(/.*[ *]/, "", name)
                if (name !~ /^gqa_/) { print name, FILENAME }
            }
            if (head ~ /[(=;{]/) { head = "" }
        }
        match($0, /^[a-z ]*(struct|union|enum) [A-Za-z0-9_]+ \{/) {
            name = substr($0, 1, RLENGTH - 2)
            sub(/.* /, "", name)
            print name, FILENAME
        }' {} +) | sort -u
}

check() {
    names "$1" >"$scratch/names"
    [ -s "$scratch/names" ] || { echo "no definitions found"; return 1; }
    grep -v ' src/kernel/vector/words_' "$scratch/names" | awk '
        { count[$1]++; files[$1] = files[$1] " " $2 }
        END { for (name in count) if (count[name] > 1) print name " is defined in" files[name] }
    ' | sort >"$scratch/bad"
    cat "$scratch/bad"
    [ ! -s "$scratch/bad" ]
}

house() { # TEXT TEXT: a house of two rooms
    rm -rf "$scratch/house"
    mkdir -p "$scratch/house/src/one" "$scratch/house/src/kernel/vector"
    printf '%s\n' "$1" >"$scratch/house/src/one/a.c"
    printf '%s\n' "$2" >"$scratch/house/src/kernel/vector/b.h"
}
plant() { # NAME TEXT TEXT
    house "$2" "$3"
    see_it_fail "$1" "$scratch/house"
}
plant "a function twice" 'static int take(int x)' 'static inline void *take(void)'
plant "an attribute before the name" 'INLINE int take(int x)' \
    'static __attribute__((aligned(8), noinline)) int take(void)'
plant "a name on a new line" 'static int take(int x)' 'static struct a_long_type_of_value *
take(void)'
plant "a struct twice" 'struct cursor {' 'static const struct cursor {'
house 'static int take(int x)
static int table[1] = {take(1)};
struct cursor *other(void);' 'static int give(int x)
static int give(int x)
struct cursor {'
for set in x y; do
    echo 'INLINE vec v_add(vec a, vec b)' >"$scratch/house/src/kernel/vector/words_$set.h"
done
check "$scratch/house" || { echo "a sound house is refused"; exit 1; }
verdict "$1"
