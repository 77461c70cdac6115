#!/usr/bin/env bash
# usage: rounding.sh SOURCE_DIR CC kernels|native
# Every rounding point of Neuron's profiles is seen by a test: src/neuron is changed in one place at a
# time - a rounding left out, a sum taken of something else, another tile - and one of the programs
# must fail. kernels: flash_fwd and cte; native: the framework's paths, flash decoding, paged_schedule.
# SPDX-License-Identifier: Apache-2.0
. "$(dirname "$0")/lib.sh"
source_dir=$1
cc=$2
which=$3
case $which in
kernels) programs="test_neuron test_neuron_kernels" ;;
native) programs="test_neuron test_neuron_native test_neuron_decoding test_neuron_paged" ;;
esac
command -v pkg-config >/dev/null && pkg-config --exists cmocka jansson ||
    skip "cmocka and jansson are not found by pkg-config"
flags="-std=c11 -O1 -DNDEBUG -ffp-contract=off -fno-math-errno -w"
flags="$flags -I$source_dir/include -I$scratch/src -I$source_dir/src -I$source_dir/tests"
flags="$flags $(pkg-config --cflags cmocka jansson)"
flags="$flags -DGQA_TOOL_PATH=\"\" -DGQA_SOURCE_DIR=\"$source_dir\""

# What is changed: FILE | TEXT | BY WHAT | why that is wrong. The text is in the file exactly once;
# blanks and line ends are alike.
mutants_kernels() {
    cat <<'LIST'
flash_fwd.c | gqa__engine_round_all(GQA_BF16, p, step->keys); | | P is not rounded
flash_fwd.c | p[c] = gqa__engine_exp(s[c] - m); | p[c] = gqa__round_bf16(gqa__engine_exp(s[c] - m)); | the row sum is of the rounded P
flash_fwd.c | gqa__round_bf16(step->x->q[e] * call->in.scale) | step->x->q[e] * call->in.scale | q is scaled in f32
flash_fwd.c | gqa__engine_round_all(GQA_BF16, step->x->q, n); | | q is not rounded before it is scaled
flash_fwd.c | gqa__engine_round_all(GQA_BF16, x->k + d * tile, step->keys); | | K is not rounded
flash_fwd.c | gqa__engine_round_all(GQA_BF16, x->v, (int64_t)step->keys * call->dim); | | V is not rounded
flash_fwd.c | m_new + gqa__engine_log(gqa__engine_exp(step->l[r] - m_new) + x->row_sum[r]) | step->l[r] * x->alpha[r] + x->row_sum[r] | l is a plain sum
flash_state.c | o[d] = gqa__round_bf16(o[d] * factor); | o[d] = o[d] * factor; | the result is not rounded to bf16 for f32 I/O
flash_fwd.c | if (in->seq_tile == 0) { | in->seq_tile = 512; if (false) { | another sequence tile
flash_fwd.c | gqa__min(MOST_REDUCTION, tile / 2) | tile | one sum for the row
flash_fwd.c | FLASH_MASKED = -9984.0f | FLASH_MASKED = -30000.0f | another mask constant
flash_fwd.c | reach - window + 1 - k0 | reach - window - k0 | a window of one more
flash_fwd.c | reach - window + 1 - k0 | reach - window + 2 - k0 | a window of one less
flash_fwd.c | if (reach < first) { | if (reach <= first) { | a tile on the diagonal is skipped
flash_fwd.c | last <= reach - window | last < reach - window | a tile left of the window is computed
flash_fwd.c | fate == GQA_NEURON_WHOLE) { flash_step(step); | true) { flash_step(step); | no tile is skipped
cte.c | gqa__engine_round_all(GQA_BF16, p, tile->keys); | | P is not rounded
cte.c | p[c] = gqa__engine_exp(p[c] - step->m[r]); | p[c] = gqa__round_bf16(gqa__engine_exp(p[c] - step->m[r])); | the tile sum is of the rounded P
cte.c | gqa__engine_round_all(GQA_BF16, step->x->q, n); | | q is not rounded to bf16 for f32 I/O
cte.c | gqa__engine_round_all(GQA_BF16, x->k + d * GQA__CTE_K_TILE, tile->keys); | | K is not rounded
cte.c | gqa__engine_round_all(GQA_BF16, v, (int64_t)tile->keys * call->dim); | | V is not rounded
cte.c | gqa__engine_round(call->io, o[d] * recip[r]) | gqa__engine_round(call->io, o[d] / step->l[r]) | a division for the reciprocal
cte.c | if (!last) { | if (false) { | O stays f32 between sections
cte.c | x->sums[r * width + width - 1] = gqa__engine_exp(logit - step->m[r]); | | the sink is dropped from the sum
cte.c | step->x->section_max[r] = logit > CTE_MASKED ? logit : CTE_MASKED; | step->x->section_max[r] = CTE_MASKED; | the sink is dropped from the maximum
cte.c | step->section == 0; const float logit = sink ? gqa__neuron_sink(step->call, step->head) : 0.0f; | true; const float logit = sink ? gqa__neuron_sink(step->call, step->head) : 0.0f; | the sink counts in every section
cte.c | CTE_MASKED = -FLT_MAX | CTE_MASKED = -9984.0f | another mask constant
cte.c | CTE_MASKED * scale : CTE_MASKED | CTE_MASKED : CTE_MASKED | a static mask is not scaled
cte.c | s[c] * scale : fill | s[c] : fill | scores are not scaled
cte.h | GQA__CTE_LARGE_TILE = 2048 | GQA__CTE_LARGE_TILE = 4096 | one PV group per 4096 keys
cte.h | GQA__CTE_SECTION = 8192 | GQA__CTE_SECTION = 10240 | other sections
cte.h | GQA__CTE_SMALL_WINDOW = 128 | GQA__CTE_SMALL_WINDOW = 64 | static masks for a small window
cte_plan.c | range.end - in->window | range.end - in->window - 1 | a window of one more
cte_plan.c | range.end - in->window | range.end - in->window + 1 | a window of one less
cte_plan.c | in->prior_used - (in->window - 1) | in->prior_used - in->window | a window of one more in the prefix
cte_plan.c | in->bound_max[t] + (in->bidirectional == 0) | in->bound_max[t] | the key at the bound is not admitted
cte_plan.c | plan.skips = in->bidirectional == 0 && !contiguous | plan.skips = in->bidirectional == 0 | contiguous context parallelism skips tiles
cte_plan.c | row * degree + degree - 1 : row | row : row | strided ranks skip as if they were contiguous
cte_plan.c | gqa__max(0, (int64_t)in->cp_offset - (plan->active - call->tokens)) | 0 | keys are loaded from the first on
check.c | call->in.divisor == GQA_NEURON_SQRT_D_ROUNDED ? gqa__engine_round(call->io, root) : root | root | sqrt(D) is not rounded
engine.c | double bank[GQA__PSUM_FREE] | float bank[GQA__PSUM_FREE] | exact accumulation is not exact
engine.c | double wide = 0.0; | float wide = 0.0f; | exact sums are not exact
LIST
}

mutants_native() {
    cat <<'LIST'
native.c | gqa__engine_round_all(call->io, part->s_raw, n); | | the product is not rounded
native.c | gqa__engine_round(call->io, part->s_raw[i] / call->divisor) | part->s_raw[i] / call->divisor | the quotient is not rounded
native.c | part->s_raw[i] / call->divisor | part->s_raw[i] / (float)sqrt((double)call->dim) | sqrt(D) is not rounded
native.c | gqa__engine_round(io, part->e[c] / rows->l[row]) | part->e[c] / rows->l[row] | P is not rounded
native.c | gqa__engine_round(io, part->e[c] / rows->l[row]) | gqa__engine_round(io, part->e[c]) / rows->l[row] | P is rounded before the division
native.c | gqa__engine_round_all(call->io, part->o, (int64_t)rows->rows * call->dim); | | one PV product's worth of rounding
native.c | part->sees[i] != 0 ? s : part->unseen | part->sees[i] != 0 ? s : -INFINITY | masked by minus infinity
native.c | gqa__bf16_to_f32(0xff7fu) | -FLT_MAX | masked by the f32 minimum
native.c | if (sink != NULL) { | if (false) { | the sink is dropped from the sum
native.c | rows->has_sink ? rows->sink : -INFINITY | -INFINITY | the sink is dropped from the maximum
native_tkg.c | &call->in.active_mask, &pair.active | &(gqa_tensor){0}, &pair.active | the tree mask is ignored
native_tkg.c | &call->in.prior_mask, &pair.prior | &(gqa_tensor){0}, &pair.prior | the prior mask is ignored
native_prefix.c | memset(pair.prior.sees, 1, | memset(pair.prior.sees, 0, | nothing of the prefix is seen
native_prefix.c | sees[c] = c <= rows->first + r; | sees[c] = 1; | new tokens see later ones
flash_decoding.c | rank->active.unseen = gqa__native_lowest(GQA_F32); | rank->active.unseen = gqa__native_lowest(rows.worker->call->io); | new tokens are masked by T's minimum
flash_decoding.c | gqa__engine_exp(rank->m[r] - work->rows.m[r]) * rank->l[r] | rank->l[r] | sums of ranks are not rescaled
flash_decoding.c | rank->o[i] = gqa__engine_round(call->io, rank->prior.o[i] + rank->active.o[i]); | rank->o[i] = rank->prior.o[i] + rank->active.o[i]; | O of a rank is not rounded
flash_decoding.c | positions[t] % call->in.ranks == rows->rank && t <= rows->first + r | t <= rows->first + r | every rank owns the new token
flash_decoding.c | (end - rank - 1) / call->in.ranks + 1 | (end - rank) / call->in.ranks | a slot is missing
paged_step.c | gqa__engine_round_all(GQA_BF16, p, step->keys); | | P is not rounded
paged_step.c | p[c] = gqa__engine_exp(s[c] - m); | p[c] = gqa__round_bf16(gqa__engine_exp(s[c] - m)); | the row sum is of the rounded P
paged_step.c | gqa__round_bf16(step->x->q[i] * call->in.scale) | step->x->q[i] * call->in.scale | q is scaled in f32
paged_step.c | m + gqa__engine_log(gqa__engine_exp(step->l[r] - m) + x->row_sum[r]) | step->l[r] * x->alpha[r] + x->row_sum[r] | l is a plain sum
paged_step.c | schedule->key_order[c] | c | the mask's columns are not permuted
paged_step.c | MASKED = -9984.0f | MASKED = -30000.0f | another mask constant
paged_step.c | enum { SUB_TILE = GQA__PSUM_FREE }; | enum { SUB_TILE = 2 * GQA__PSUM_FREE }; | sums of 1024 keys
flash_state.c | const float scaled = o[d] * alpha[r]; o[d] = scaled + pv[d]; | o[d] = o[d] + pv[d]; | o is not scaled by alpha
paged_step.c | step->first >= first | step->first + first >= 0 | tiles right of the diagonal are computed
paged_schedule.c | const int32_t place = schedule->key_order[c]; | const int32_t place = c; | the keys lie in linear order
paged_schedule.c | L_START = -19968.0f | L_START = -9984.0f | l begins elsewhere
paged_schedule.c | if (plan->loads[step->schedule] != 0) { | if (step->schedule == 0) { | no tile loads but the first
paged_schedule.c | gqa__engine_round_all(GQA_BF16, step->x->k, n); | | K is not rounded
paged_schedule.c | gqa__engine_round_all(GQA_BF16, step->x->v, n); | | V is not rounded
flash_state.c | o[d] = gqa__round_bf16(o[d] * factor); | o[d] = o[d] * factor; | the result is not rounded to bf16 for f32 I/O
LIST
}

compile() { # FILE OBJECT
    $cc $flags -c "$1" -o "$2" || exit 1
}

# All objects; those of the room from the copy in the scratch directory, where mutants are.
prepare() {
    local file
    mkdir -p "$scratch/fixed" "$scratch/room" "$scratch/src"
    cp -r "$source_dir/src/neuron" "$scratch/src/"
    shopt -s nullglob
    for file in "$source_dir"/src/base/*.c "$source_dir"/src/parallel/*.c \
        "$source_dir"/src/api/{maps_*,neuron*,types,runtime}.c \
        "$source_dir"/src/tool/{neuron_*,safetensors*,fault,meta}.c \
        "$source_dir"/tests/support/{neuron_*,native_*,{paged,kernel,flash,cte}_twin,fewer_cases,host,parallel,program}.c; do
        compile "$file" "$scratch/fixed/$(basename "$(dirname "$file")")_$(basename "$file").o"
    done
    for file in "$scratch"/src/neuron/*.c; do
        compile "$file" "$scratch/room/$(basename "$file").o"
    done
    for file in $programs; do
        compile "$source_dir/tests/$file.c" "$scratch/$file.o"
    done
}

# The objects of a changed file of the room, and the programs. What does not compile is our mistake,
# not a violation.
build() { # FILE
    local file
    for file in "$scratch"/src/neuron/${1/%.h/*.c}; do
        compile "$file" "$scratch/room/$(basename "$file").o"
    done
    rm -f "$scratch/all.a" # an archive: what the programs do not reach is left out
    ar rcs "$scratch/all.a" "$scratch"/room/*.o "$scratch"/fixed/*.o || exit 1
    for file in $programs; do
        $cc "$scratch/$file.o" "$scratch/all.a" -o "$scratch/$file" \
            $(pkg-config --libs cmocka jansson) -lm -lpthread || exit 1
    done
}

check() {
    local program
    for program in $programs; do
        "$scratch/$program" || return 1
    done
}

# Replace TEXT by OTHER in the scratch copy.
replace() { # FILE TEXT OTHER
    awk -v text="$2" -v other="$3" '
        { whole = whole (NR == 1 ? "" : "\n") $0 }
        END {
            n = split(text, word, / +/)
            for (i = 1; i <= n; i++) {
                w = word[i]
                gsub(/[][(){}.*+?^$|\\&]/, "\\\\&", w)
                pattern = pattern (i == 1 ? "" : "[ \n]+") w
            }
            for (rest = whole; match(rest, pattern); count++) {
                rest = substr(rest, RSTART + RLENGTH)
            }
            if (count != 1) exit 1
            match(whole, pattern)
            print substr(whole, 1, RSTART - 1) other substr(whole, RSTART + RLENGTH)
        }' "$source_dir/src/neuron/$1" >"$scratch/changed" &&
        mv "$scratch/changed" "$scratch/src/neuron/$1"
}

trim() {
    sed 's/^ *//; s/ *$//' <<<"$1"
}

prepare
build check.c
check >"$scratch/log" || { cat "$scratch/log"; exit 1; }
while IFS='|' read -r file text other why; do
    file=$(trim "$file")
    if ! replace "$file" "$(trim "$text")" "$(trim "$other")"; then
        echo "src/neuron/$file does not hold this once:$text"
        exit 1
    fi
    build "$file"
    see_it_fail "$file:$why"
    cp "$source_dir/src/neuron/$file" "$scratch/src/neuron/$file"
    build "$file"
done < <(mutants_$which)
echo "ok"
