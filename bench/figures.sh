#!/usr/bin/env bash
# usage: figures.sh GQA_BENCH SCRATCH_DIR
# bench/figures runs the tiny cases and puts them into copies of the pages, between the marks and
# nowhere else; what is no figure to be shown (short, dirty, of two builds) it refuses. Nothing is
# timed here.
# SPDX-License-Identifier: Apache-2.0
set -u
unset GQA_ISA
bench=$1
scratch=$2
root=$(cd "$(dirname "$0")/.." && pwd)
results=$scratch/results
pages=$scratch/pages
rm -rf "$scratch"
mkdir -p "$pages/docs"
cp "$root/README.md" "$pages/"
cp "$root/docs/performance.md" "$pages/docs/"
mkdir "$scratch/tree"
cp -r "$root/bench" "$pages"/* "$scratch/tree/" # a repository that the script may spoil
failed=0

wrong() { # TEXT
    echo "$1"
    cat "$scratch/out"
    failed=1
}
figures() { # STATUS OPTIONS ...
    local want=$1
    shift
    python3 "$scratch/tree/bench/figures" --bench "$bench" --folder "$results" "$@" \
        >"$scratch/out" 2>&1
    local got=$?
    [ "$got" -eq "$want" ] || wrong "exit $got, not $want: figures $*"
}
told() { # TEXT
    grep -qF -e "$1" "$scratch/out" || wrong "not told: $1"
}
outside() { # PAGE: what does not lie between the marks
    sed '/<!-- figures: /,/<!-- figures end/d' "$1"
}

figures 0 --short --no-pictures --write --docs "$pages"
for page in README.md docs/performance.md; do
    [ "$(outside "$root/$page")" = "$(outside "$pages/$page")" ] ||
        { echo "$page changed beside its figures"; failed=1; }
    grep -q "$(date -u +%Y)" "$pages/$page" || { echo "$page has no date"; failed=1; }
done
grep -qE '^\| prefill, 64 tokens, 4/2 heads of 16 \| [0-9.]+ [mu]?s \| ' "$pages/README.md" ||
    { echo "README.md has no figure"; cat "$results/readme.md"; failed=1; }
for case in prefill/tiny/S64 decode/tiny/P64/B1 window/tiny/S64 mask/tiny/S64/bool layer/tiny/S64 \
    threads/tiny/S64; do
    grep -qE "^\| $case/(bf16|f32)/[12]t \| [0-9.]+ [mu]?s \[[0-9.]+ [mu]?s, [0-9.]+ [mu]?s\] \| " \
        "$pages/docs/performance.md" || { echo "performance.md has no $case"; failed=1; }
done
grep -q 'GFLOP/s of f32 multiply-adds' "$pages/docs/performance.md" ||
    { echo "performance.md does not name the limits"; failed=1; }

# The same results give the same pages.
cp -r "$pages" "$scratch/before"
figures 0 --short --no-pictures --render --write --docs "$pages"
diff -r "$scratch/before" "$pages" >/dev/null ||
    { echo "a second --write changes the pages"; failed=1; }

figures 2 --short --no-pictures --write
told 'are none to be written here'
figures 2 --only nothing --no-pictures
told 'no run nothing'
edit() { # KEY VALUE RUNS ...: in the context of these runs' results
    rm -rf "$scratch/kept"
    cp -r "$results" "$scratch/kept"
    local key=$1 value=$2 name
    shift 2
    for name; do
        sed -i "s|^    \"$key\": .*|    \"$key\": \"$value\",|" "$results/$name.json"
    done
}
restore() {
    rm -rf "$results"
    mv "$scratch/kept" "$results"
}
all='limits attention others chunked f32 steps threads'
edit commit 0123456789ab others
figures 1 --no-pictures --render
told 'the results differ in commit'
restore
edit library_build_type debug f32
figures 1 --no-pictures --render --write --docs "$pages"
told 'is none for speed: debug'
restore
edit library_build_type release $all
mv "$scratch/kept" "$scratch/original"
edit commit 0123456789ab-dirty $all
figures 1 --no-pictures --render --write --docs "$pages"
told 'is not at a commit'
restore
edit commit 0123456789ab $all
figures 1 --no-pictures --render --write --docs "$pages"
told 'the pictures have to be those'
rm "$results/steps.json"
figures 1 --no-pictures --render
told 'is missing: run steps first'
rm -rf "$results"
mv "$scratch/original" "$results"
sed -i '/figures end/d' "$pages/README.md"
figures 1 --short --no-pictures --render --write --docs "$pages"
told 'README.md does not have the two marks'
exit $failed
