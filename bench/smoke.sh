#!/usr/bin/env bash
# usage: smoke.sh GQA_BENCH SCRATCH_DIR
# gqa-bench lists its cases, runs a tiny one of each suite, writes JSON and CSV that can be read,
# and --compare tells an equal file from a faster one. Nothing is timed here.
# SPDX-License-Identifier: Apache-2.0
set -u
unset GQA_ISA # the cases are of both numerics; no kernel set serves both but scalar and avx512
bench=$1
scratch=$2
mkdir -p "$scratch"
failed=0

expect() { # STATUS COMMAND ...
    local want=$1
    shift
    "$@" >"$scratch/out" 2>"$scratch/err"
    local got=$?
    if [ "$got" -ne "$want" ]; then
        echo "exit $got, not $want: $*"
        cat "$scratch/out" "$scratch/err"
        failed=1
    fi
}

expect 0 "$bench" --list
for suite in roofline prefill decode window chunked layer linear threads overhead; do
    grep -q "^$suite/" "$scratch/out" || { echo "--list shows no $suite"; failed=1; }
done
expect 2 "$bench" --suite nothing
expect 2 "$bench" --filter no-such-case
expect 2 "$bench" --repetitions 0
expect 2 "$bench" --frobnicate
[ "$("$bench" --list --filter 'linear/????x????/M1024/f32/*t' | wc -l)" -eq 2 ] ||
    { echo "--filter with * and ? does not choose two linears"; failed=1; }

tiny() { # OPTIONS ...
    "$bench" --repetitions 2 --peers none "$@"
}
expect 0 tiny --filter /tiny --json "$scratch/new.json" --csv "$scratch/new.csv"
expect 0 tiny --suite overhead --isa scalar
expect 0 tiny --suite overhead --max-isa scalar --json "$scratch/scalar.json"
grep -q '"kernels": "scalar/f32"' "$scratch/scalar.json" ||
    { echo "--max-isa scalar chooses another kernel set"; failed=1; }
expect 2 "$bench" --isa avx2 --max-isa scalar
expect 2 env GQA_ISA=sse9 "$bench" --list
expect 0 env GQA_ISA=sse9 "$bench" --isa auto --list
expect 0 tiny --suite roofline --filter fma
expect 0 tiny --filter linear/40x72
for suite in prefill decode window chunked layer threads overhead; do
    grep -q "\"name\": \"$suite/tiny" "$scratch/new.json" ||
        { echo "no tiny case of $suite in the JSON"; failed=1; }
    grep -q "^$suite/tiny" "$scratch/new.csv" ||
        { echo "no tiny case of $suite in the CSV"; failed=1; }
done

# Earlier results that cannot be missed, that cannot be reached, and that are none.
sed -E 's/"(real|max|min|cpu)_time": .*,/"\1_time": 1e18,/' "$scratch/new.json" >"$scratch/slow.json"
sed -E 's/"(real|max|min|cpu)_time": .*,/"\1_time": 1e-3,/' "$scratch/new.json" >"$scratch/fast.json"
echo '{"benchmarks": 3}' >"$scratch/bad.json"
expect 0 tiny --suite overhead --compare "$scratch/slow.json"
expect 1 tiny --suite overhead --compare "$scratch/fast.json"
grep -q REGRESSION "$scratch/out" || { echo "--compare names no regression"; failed=1; }
expect 2 tiny --suite overhead --compare "$scratch/bad.json"
expect 2 tiny --suite overhead --compare "$scratch/none.json"

# Output that is lost is told and is exit status 2.
if [ -w /dev/full ]; then
    expect_full() { # COMMAND ...
        "$@" >/dev/full 2>"$scratch/err"
        local got=$?
        { [ "$got" -eq 2 ] && grep -q "gqa-bench: cannot write standard output" "$scratch/err"; } ||
            { echo "exit $got with a full disk: $*"; cat "$scratch/err"; failed=1; }
    }
    expect_full "$bench" --list
    expect_full "$bench" --help
    expect_full tiny --suite overhead --filter "*/tiny*"
    expect_full "$bench" --child self </dev/null
    expect 2 tiny --suite overhead --filter "*/tiny*" --json /dev/full
    expect 2 tiny --suite overhead --filter "*/tiny*" --csv /dev/full
    "$bench" --list >&- 2>"$scratch/err"
    [ $? -eq 2 ] || { echo "--list to a closed stdout is not exit 2"; failed=1; }
fi

# The protocol: what a child answers.
printf 'linear threads=1 batch=1 tokens=2 out=16 in=32\nnonsense\ndrop\n' |
    "$bench" --child self >"$scratch/out"
[ "$(cut -d' ' -f1 "$scratch/out" | tr '\n' ' ')" = "ready ok skip ok " ] ||
    { echo "a child answers wrongly:"; cat "$scratch/out"; failed=1; }
exit $failed
