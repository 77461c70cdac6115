#!/usr/bin/env bash
# usage: readme.sh SOURCE_DIR
# README.md shows examples/forward.c word for word, its commands exist, .ci/run runs its test
# command, the tests, fields and constants that README.md and docs/ name exist, and their links lead
# somewhere.
. "$(dirname "$0")/lib.sh"

check() {
    local root=$1 page link bad=0
    awk '/^```c$/ { on = 1; next } /^```/ { on = 0 } on' "$root/README.md" >"$scratch/shown.c"
    cmp "$scratch/shown.c" "$root/examples/forward.c" || bad=1
    for link in examples/run tests/run; do
        grep -qxF "$link" "$root/README.md" || { echo "README.md does not show $link"; bad=1; }
        [ -x "$root/$link" ] || { echo "$link is not a command"; bad=1; }
    done
    grep -qxF 'tests/run' "$root/.ci/run" || { echo ".ci/run does not run tests/run"; bad=1; }
    for link in $(grep -ohE '\btest_[a-z0-9_]+\b' "$root"/README.md "$root"/docs/*.md | sort -u); do
        ls "$root/tests/$link".c* >/dev/null 2>&1 || { echo "no such test: $link"; bad=1; }
    done
    cat "$root"/include/gqa/*.h >"$scratch/headers"
    for link in $(grep -ohE '\b(config|weights|inputs|output|options|runtime)\.[a-z_]+|\bGQA_[A-Z0-9_]+|\bgqa_[a-z_]+' \
        "$root"/README.md "$root"/docs/*.md | sed 's/.*\.//' | sort -u); do
        grep -qwE "${link%_}(_[a-zA-Z0-9_]*)?" "$scratch/headers" || case $link in
        md | gqa_static | GQA_WITH_OPENBLAS | GQA_BUILD_* | GQA_INSTALL | GQA_SCALAR_ONLY | GQA_ISA) ;;
        *) echo "not in include/gqa: $link"; bad=1 ;;
        esac
    done
    for page in "$root"/README.md "$root"/docs/*.md; do
        for link in $(grep -oE '\]\([^)#:]+' "$page" | sed 's/^](//'); do
            [ -e "$(dirname "$page")/$link" ] || { echo "${page##*/}: no such file: $link"; bad=1; }
        done
    done
    return $bad
}

mkdir "$scratch/house"
cp -r "$1/README.md" "$1/examples" "$1/docs" "$1/include" "$1/.ci" "$scratch/house/"
mkdir "$scratch/house/tests"
cp "$1"/tests/test_* "$1/tests/run" "$scratch/house/tests/"
echo '/* one more line */' >>"$scratch/house/examples/forward.c"
see_it_fail "an example that has moved on" "$scratch/house"
cp "$1/examples/forward.c" "$scratch/house/examples/forward.c"
echo 'See [this](docs/nowhere.md).' >>"$scratch/house/README.md"
see_it_fail "a dead link" "$scratch/house"
cp "$1/README.md" "$scratch/house/README.md"
echo 'Shown by `test_nothing_at_all`.' >>"$scratch/house/README.md"
see_it_fail "a test that does not exist" "$scratch/house"
cp "$1/README.md" "$scratch/house/README.md"
echo 'Set `config.no_such_field`.' >>"$scratch/house/README.md"
see_it_fail "a field that does not exist" "$scratch/house"
verdict "$1"
