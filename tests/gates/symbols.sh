#!/usr/bin/env bash
# usage: symbols.sh SOURCE_DIR SHARED_LIBRARY CC
# The shared library exports exactly the functions that include/gqa declares: gqa_*, never gqa__*.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
source_dir=$1 library=$2 cc=$3
command -v nm >/dev/null || skip "there is no nm"

check() {
    nm -D --defined-only "$1" | awk '$3 !~ /^_(init|fini)$/ { print $3 }' | sort -u >"$scratch/got"
    cat "$source_dir"/include/gqa/*.h | tr '\n' ' ' |
        grep -oE 'GQA_API [^();]*\(' | grep -oE 'gqa_[a-z0-9_]+ *\(' | tr -d ' (' |
        sort -u >"$scratch/want"
    grep -oE '^    FUNCTION\(gqa_[a-z0-9_]+' "$source_dir/tests/test_api_c.c" | sed 's/.*(//' |
        sort -u >"$scratch/tested"
    comm -13 "$scratch/tested" "$scratch/want" | sed 's/^/not in tests\/test_api_c.c: /'
    comm -23 "$scratch/got" "$scratch/want" | sed 's/^/exported, but no public function: /'
    comm -13 "$scratch/got" "$scratch/want" | sed 's/^/declared, but not exported: /'
    grep -vE '^gqa_[a-z0-9]' "$scratch/got" | sed 's/^/exported, but not gqa_*: /'
    [ -s "$scratch/got" ] && cmp -s "$scratch/got" "$scratch/want" &&
        cmp -s "$scratch/tested" "$scratch/want" &&
        ! grep -qvE '^gqa_[a-z0-9]' "$scratch/got"
}

echo 'int gqa__hidden(void); int gqa__hidden(void) { return 1; }' >"$scratch/bad.c"
"$cc" -shared -fPIC -o "$scratch/libbad.so" "$scratch/bad.c" || exit 1
see_it_fail "a library that exports gqa__hidden" "$scratch/libbad.so"
verdict "$library"
