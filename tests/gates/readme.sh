#!/usr/bin/env bash
# usage: readme.sh SOURCE_DIR
# README.md shows examples/forward.c word for word, its commands exist, .ci/run runs its test
# command, the tests, files, fields, constants and internal names that README.md, CONTRIBUTING.md,
# SECURITY.md and docs/ name exist, and their links lead somewhere.
. "$(dirname "$0")/lib.sh"

check() {
    local root=$1 page link bad=0
    local pages=("$root"/README.md "$root"/CONTRIBUTING.md "$root"/SECURITY.md "$root"/docs/*.md)
    awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' "$root/README.md" >"$scratch/shown.c"
    cmp "$scratch/shown.c" "$root/examples/forward.c" || bad=1
    for link in examples/run tests/run; do
        grep -qxF "$link" "$root/README.md" || { echo "README.md does not show $link"; bad=1; }
        [ -x "$root/$link" ] || { echo "$link is not a command"; bad=1; }
    done
    grep -qxF 'tests/run' "$root/.ci/run" || { echo ".ci/run does not run tests/run"; bad=1; }
    for link in $(grep -ohE '\btest_[a-z0-9_]+\b' "${pages[@]}" | sort -u); do
        ls "$root/tests/${link%_emulated}".c* >/dev/null 2>&1 ||
            { echo "no such test: $link"; bad=1; }
    done
    cat "$root"/include/gqa/*.h "$root"/CMakeLists.txt >"$scratch/headers"
    for link in $(grep -ohE '\b(config|weights|inputs|output|options|runtime)\.[a-z_]+|\bGQA_[A-Z0-9_]+|\bgqa_[a-z_]+' \
        "${pages[@]}" | sed 's/.*\.//' | sort -u); do
        case $link in
        gqa__* | GQA__*)
            grep -rqwE "${link%_}(_?[a-zA-Z0-9_]*)?" "$root/src" || { echo "not in src: $link"; bad=1; }
            continue
            ;;
        esac
        grep -qwE "${link%_}(_[a-zA-Z0-9_]*)?" "$scratch/headers" || case $link in
        md | gqa_static | GQA_ISA | GQA_TEST_*) ;;
        *) echo "not in include/gqa: $link"; bad=1 ;;
        esac
    done
    # Paths in backticks, from the root or, in what is said of src, from there.
    for link in $(grep -ohE '`((src|include|tests|docs|bench|examples|cmake)/[A-Za-z0-9_./-]+|[a-z0-9_/]+/[a-z0-9_]+\.[ch])`' \
        "${pages[@]}" | tr -d '`' | sort -u); do
        [ -e "$root/$link" ] || [ -e "$root/src/$link" ] || [ -e "$root/include/$link" ] || { echo "no such file: $link"; bad=1; }
    done
    for page in "${pages[@]}"; do
        for link in $(grep -oE '\]\([^)#:]+' "$page" | sed 's/^](//'); do
            [ -e "$(dirname "$page")/$link" ] || { echo "${page##*/}: no such file: $link"; bad=1; }
        done
    done
    return $bad
}

mkdir "$scratch/house"
cp -r "$1"/*.md "$1/examples" "$1/docs" "$1/.ci" "$scratch/house/"
source=$(cd "$1" && pwd)
for room in LICENSE CMakeLists.txt include src bench cmake tests; do
    ln -s "$source/$room" "$scratch/house/$room"
done
plant() { # NAME LINE
    cp "$1/README.md" "$scratch/house/README.md"
    printf '%s\n' "$3" >>"$scratch/house/README.md"
    see_it_fail "$2" "$scratch/house"
}
echo '/* one more line */' >>"$scratch/house/examples/forward.c"
see_it_fail "an example that has moved on" "$scratch/house"
cp "$1/examples/forward.c" "$scratch/house/examples/forward.c"
check "$scratch/house" >/dev/null || { echo "a sound house is refused"; check "$1"; exit 1; }
plant "$1" "a dead link" 'See [this](docs/nowhere.md).'
plant "$1" "a test that does not exist" 'Shown by `test_nothing_at_all`.'
plant "$1" "a field that does not exist" 'Set `config.no_such_field`.'
plant "$1" "a file that does not exist" 'It is in `src/kernel/nowhere.c`.'
plant "$1" "an internal name that does not exist" 'By gqa__nothing_at_all.'
cp "$1/README.md" "$scratch/house/README.md"
echo 'See [this](docs/nowhere.md).' >>"$scratch/house/CONTRIBUTING.md"
see_it_fail "a dead link in CONTRIBUTING.md" "$scratch/house"
verdict "$1"
