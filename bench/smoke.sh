#!/usr/bin/env bash
# usage: smoke.sh GQA_BENCH SCRATCH_DIR OTHER_GGML
# OTHER_GGML: folder of the libraries that claim to be ggml (bench/peers/ggml/other.c).
# gqa-bench lists its cases, runs a tiny one of each suite, writes JSON and CSV that can be read,
# and --compare tells an equal file from a faster one. Nothing is timed here.
# SPDX-License-Identifier: Apache-2.0
set -u
unset GQA_ISA # the cases are of both numerics; no kernel set serves both but scalar and avx512
bench=$1
scratch=$2
other=$3
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
for suite in roofline prefill decode window chunked ring mask hostkv cascade serving layer linear \
    threads overhead kvtypes; do
    grep -q "^$suite/" "$scratch/out" || { echo "--list shows no $suite"; failed=1; }
done
"$bench" --help >"$scratch/help"
for suite in $(cut -d/ -f1 "$scratch/out" | sort -u); do
    sed -n '/--suite/,/--filter/p' "$scratch/help" | grep -qw "$suite" ||
        { echo "--help names no suite $suite"; failed=1; }
done
expect 2 "$bench" --suite nothing
expect 2 "$bench" --filter no-such-case
expect 2 "$bench" --repetitions 0
expect 2 "$bench" --warmup -1
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
for suite in prefill decode window chunked ring mask hostkv cascade serving layer threads overhead \
    kvtypes; do
    grep -q "\"name\": \"$suite/tiny" "$scratch/new.json" ||
        { echo "no tiny case of $suite in the JSON"; failed=1; }
    grep -q "^$suite/tiny" "$scratch/new.csv" ||
        { echo "no tiny case of $suite in the CSV"; failed=1; }
done

# Number formats, masks and keys in the caller's memory, each against the plain case.
for case in prefill/tiny/S64/bf16/1t/bf16-tensors:f32-tensors \
    window/tiny/S64/f32/1t/f16-tensors:f32-tensors layer/tiny/S64/bf16/1t/f16-tensors:f32-tensors \
    decode/tiny/P64/B1/bf16/1t/{tokens,heads}-{f32,bf16,f16}:cache \
    hostkv/tiny/P64/{tokens,heads,blocks-{heads,tokens,turned}}-{f32,bf16,f16}/bf16/1t:cache \
    hostkv/tiny/P64/blocks-{heads,tokens,turned}-int8/{bf16,f32}/1t:cache \
    mask/tiny/S64/{bool,bits,bias}/{bf16,f32}/1t:causal mask/tiny/P64/T16/tree/bf16/1t:draft \
    ring/tiny-pair/P200/{bf16,f32}/1t:full-caches \
    kvtypes/tiny/P64/{int8,e4m3,int4,int8-rotated,int4-rotated}/{bf16,f32}/1t:default \
    kvtypes/tiny/P64/{int8-rotated,int4-rotated}/{bf16,f32}/1t:not-rotated \
    kvtypes/tiny/P64/{f16,bf16}/f32/1t:default kvtypes/tiny/P64/{int8-int4,int8-default}/bf16/1t:default \
    cascade/tiny/P300/shared256/B4/T1/{bf16,f32}/1t:apart \
    serving/tiny/P50/B9/T8/{bf16,f32}/1t:apart; do
    grep -qF "\"name\": \"${case%:*}/vs:${case#*:}:" "$scratch/new.json" ||
        { echo "$case: no such case and opponent in the JSON"; failed=1; }
done

# Of 9 sequences two have a piece of 8 tokens, the others one token; the longest of those follows 50.
sizes() { # CASE
    grep -A 20 "\"name\": \"$1\"" "$scratch/new.json" |
        awk -F'[:, ]+' '/"(tokens|context)"/ && n++ < 2 { printf "%s ", $3 }'
}
for case in 'serving/tiny/P50/B9/T8/bf16/1t:23 51 ' 'cascade/tiny/P300/shared256/B4/T1/f32/1t:4 301 ' \
    'prefill/tiny/S64/f32/1t:64 64 '; do
    [ "$(sizes "${case%:*}")" = "${case#*:}" ] ||
        { echo "${case%:*}: tokens and context $(sizes "${case%:*}"), not ${case#*:}"; failed=1; }
done

# What a run was made on, and how widely its times scatter.
for key in date num_cpus cpu_model governor huge_pages load_avg kernel_sets compiler commit \
    warmup; do
    grep -qE "^    \"$key\": ([[\"0-9].+|\[)" "$scratch/new.json" ||
        { echo "no $key in the JSON's context"; failed=1; }
done
head -1 "$scratch/new.csv" | grep -q ',p95_s,deviation_s,' ||
    { echo "the CSV has no p95"; failed=1; }

# A baseline that answers 0.1, 0.2, .. s in turn, in the place of node: what is said of its times is
# known, and how often it was asked.
mkdir -p "$scratch/fake"
cat >"$scratch/fake/node" <<'END'
#!/bin/sh
echo 'ready a clock'
n=0
while read -r line; do
    n=$((n + 1))
    echo "$line" >>"$ASKED"
    echo "ok $((n / 10)).$((n % 10))"
done
END
chmod +x "$scratch/fake/node"
clock() { # ASKED OPTIONS ...
    rm -f "$1"
    ASKED=$1 PATH=$scratch/fake:$PATH "$bench" --filter prefill/tiny/S64/f32/1t --peers ort \
        --onnxruntime "$scratch" --repetitions 20 --json "$scratch/clock.json" \
        --csv "$scratch/clock.csv" "${@:2}" >"$scratch/out"
}
clock "$scratch/asked"
grep -A 15 '"name": "prefill/tiny/S64/f32/1t/vs:ort:0"' "$scratch/clock.json" |
    awk -F'[:,] *' '$1 ~ /_time"$/ { gsub(/[" ]/, "", $1); printf "%s %.0f ", $1, $2 / 1e5 }' \
        >"$scratch/said"
[ "$(cat "$scratch/said")" = "real_time 10500 cpu_time 10500 min_time 1000 max_time 20000 \
p95_time 19000 stddev_time 5916 " ] || { echo "wrong statistics:"; cat "$scratch/said"; failed=1; }
grep -q '^prefill/tiny/S64/f32/1t,ort,20,1.05,0.1,2,1.9,0.5916' "$scratch/clock.csv" ||
    { echo "wrong statistics in the CSV:"; cat "$scratch/clock.csv"; failed=1; }
grep -q '"ort": "a clock"' "$scratch/clock.json" || { echo "no baseline in the context"; failed=1; }
clock "$scratch/warm" --warmup 3
[ "$(wc -l <"$scratch/warm")" -eq $(($(wc -l <"$scratch/asked") + 3)) ] ||
    { echo "--warmup 3 does not ask three times more"; failed=1; }
grep -q '"warmup": 3' "$scratch/clock.json" || { echo "--warmup is not in the JSON"; failed=1; }

# Earlier results that cannot be missed, that cannot be reached, and that are none.
sed -E 's/"(real|max|min|cpu)_time": .*,/"\1_time": 1e18,/' "$scratch/new.json" >"$scratch/slow.json"
sed -E 's/"(real|max|min|cpu)_time": .*,/"\1_time": 1e-3,/' "$scratch/new.json" >"$scratch/fast.json"
echo '{"benchmarks": 3}' >"$scratch/bad.json"
expect 0 tiny --suite overhead --compare "$scratch/slow.json"
expect 1 tiny --suite overhead --compare "$scratch/fast.json"
grep -q REGRESSION "$scratch/out" || { echo "--compare names no regression"; failed=1; }
expect 2 tiny --suite overhead --compare "$scratch/bad.json"
expect 2 tiny --suite overhead --compare "$scratch/none.json"

# ggml: missing, of another version, of this version but without its functions; and where it is
# installed, as a baseline of every case that it can do.
ggml() { # FOLDER FILTER
    "$bench" --repetitions 2 --peers ggml,ggml-bf16,ggml-q8 --ggml "$1" --filter "$2" \
        >"$scratch/out"
}
told() { # TEXT
    grep -qF "$1" "$scratch/out" || { echo "ggml: not told: $1"; cat "$scratch/out"; failed=1; }
}
ggml "$scratch" 'prefill/tiny/S64/bf16/1t'
told 'skipped ggml, 1 thread: ggml is not installed (bench/peers/ggml/install)'
ggml "$other/version" 'prefill/tiny/S64/bf16/1t'
told 'skipped ggml-q8, 1 thread: ggml is version 0.0.1, not '
ggml "$other/empty" 'prefill/tiny/S64/bf16/1t'
told 'skipped ggml-bf16, 1 thread: ggml has no ggml_init'
installed=$(dirname "$(dirname "$bench")")/ggml
if [ -d "$installed" ]; then
    for filter in prefill/tiny/S64/f32/1t window/tiny/S64/f32/1t chunked/tiny/S64/f32/1t \
        decode/tiny/P64/B1/f32/1t decode/tiny/P64/B1/f32/1t/heads-f16 mask/tiny/S64/bias/f32/1t \
        mask/tiny/P64/T16/tree/f32/1t hostkv/tiny/P64/{tokens,heads}-f16/f32/1t ring/tiny-pair/P200/f32/1t \
        cascade/tiny/P300/shared256/B4/T1/f32/1t serving/tiny/P50/B9/T8/f32/1t; do
        ggml "$installed" "$filter"
        { grep -qE '  ggml [0-9.]+x \([0-9.]+ [um]s, error [0-9]' "$scratch/out" &&
            ! grep -q 'skipped ggml:' "$scratch/out"; } ||
            { echo "no results of ggml for $filter"; cat "$scratch/out"; failed=1; }
        told 'ggml, 1 thread: ggml 0.'
    done
    ggml "$installed" decode/tiny/P64/B1/f32/1t
    told 'skipped ggml-q8: the head dim is no multiple of its blocks'
    ggml "$installed" hostkv/tiny/P64/blocks-turned-f16/f32/1t
    told 'skipped ggml: ggml knows no blocks of keys'
fi

# ONNX Runtime likewise: with results that are right, and what it cannot do by name.
installed=$(dirname "$(dirname "$bench")")/onnxruntime
ort() { # LABEL FILTER
    "$bench" --repetitions 2 --peers "$1" --onnxruntime "$installed" --filter "$2" >"$scratch/out"
}
if [ -d "$installed/node_modules" ] && command -v node >"$scratch/node"; then
    for label in ort ort-int8 ort-int4; do
        for filter in decode/tiny/P64/B1/f32/1t kvtypes/tiny/P64/{f16,int8,int4}/f32/1t \
            ring/tiny-pair/P200/f32/1t cascade/tiny/P300/shared256/B4/T1/f32/1t \
            hostkv/tiny/P64/heads-f32/f32/1t serving/tiny/P50/B9/T8/f32/1t; do
            ort "$label" "$filter"
            grep -qF "$label, 1 thread: " "$scratch/out" || continue # no opponent of this case
            { grep -qE "  $label [0-9.]+x \([0-9.]+ [um]s, error [0-9]" "$scratch/out" &&
                ! grep -q 'skipped ort' "$scratch/out"; } ||
                { echo "no results of $label for $filter"; cat "$scratch/out"; failed=1; }
        done
    done
    ort ort hostkv/tiny/P64/blocks-heads-f32/f32/1t
    told 'skipped ort: its keys lie head by head, in f32'
fi

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
