#!/usr/bin/env bash
# usage: headers.sh SOURCE_DIR
# Each public header compiles alone, as C11 and as C++17, without a warning, with every compiler
# that is there. Neuron's abbreviations are spelled out where a header first uses them.
. "$(dirname "$0")/lib.sh"
flags="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fsyntax-only"

# CTE and TKG as words, in a header whose text so far does not say what they are.
spelled_out() {
    sed 's/^ *\**//; s/_CTE\>/_/; s/_TKG\>/_/' "$1" | tr '\n' ' ' | tr -s ' ' | awk '
        function look(word, meaning,    at, said) {
            at = match($0, "(^|[^A-Za-z_])" word "([^A-Za-z_]|$)")
            said = index($0, meaning)
            if (at > 0 && (said == 0 || said > at + 40)) {
                print word " is not spelled out"
                bad = 1
            }
        }
        { look("CTE", "context encoding"); look("TKG", "token generation") }
        END { exit bad }'
}

check() {
    local root=$1 header cc bad=0 seen=0
    for header in "$root"/include/gqa/*.h; do
        spelled_out "$header" || { echo "${header##*/}"; bad=1; }
    done
    for cc in "gcc -std=c11 -x c" "clang -std=c11 -x c" "g++ -std=c++17 -x c++" \
        "clang++ -std=c++17 -x c++"; do
        command -v "${cc%% *}" >/dev/null || { echo "skipped: there is no ${cc%% *}"; continue; }
        seen=1
        for header in "$root"/include/gqa/*.h; do
            # Twice: the guard must hold.
            printf '#include "gqa/%s"\n#include "gqa/%s"\nextern int used;\n' \
                "${header##*/}" "${header##*/}" \
                >"$scratch/use"
            # shellcheck disable=SC2086
            $cc $flags -I"$root/include" "$scratch/use" || { echo "$cc: ${header##*/}"; bad=1; }
        done
    done
    [ "$bad" = 0 ] && [ "$seen" = 1 ]
}

plant() { # NAME TEXT
    mkdir -p "$scratch/house/include/gqa"
    printf '%s\n' "$2" >"$scratch/house/include/gqa/bad.h"
    see_it_fail "$1" "$scratch/house"
}
plant "a header that needs another" '#ifndef H
#define H
size_t gqa_x(void);
#endif'
plant "a header without a guard" 'typedef struct gqa_x { int a; } gqa_x;'
plant "a header that is not C++" '#ifndef H
#define H
static inline int *gqa_x(void *p) { return p; }
#endif'
plant "an abbreviation that nobody explains" '#ifndef H
#define H
/* 1 in the TKG phase. */
extern int gqa_x;
#endif'
verdict "$1"
