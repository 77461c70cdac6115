#!/usr/bin/env bash
# usage: format.sh SOURCE_DIR
# Every C and C++ file is as clang-format 14 leaves it (.clang-format in the root).
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
tool=$(command -v clang-format-14 || command -v clang-format) || skip "there is no clang-format"
"$tool" --version | grep -q 'version 14\.' || skip "clang-format is not version 14"

check() {
    local root=$1
    (cd "$root" && find . \( -name .git -o -name 'build*' \) -prune -o -type f \
        \( -name '*.c' -o -name '*.h' -o -name '*.cpp' \) -print |
        xargs "$tool" --style=file --dry-run -Werror --ferror-limit=3)
}

mkdir "$scratch/house"
cp "$1/.clang-format" "$scratch/house/"
printf 'int f(void);\nint f(void) { return   1; }\n' >"$scratch/house/bad.c"
see_it_fail "a badly formatted file" "$scratch/house"
verdict "$1"
