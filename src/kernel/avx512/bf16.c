/* SPDX-License-Identifier: Apache-2.0 */
/* bf16.c - the table avx512/bf16 and its attention.
 *
 * Pages are those of scalar/bf16 and amx/bf16. A lane pair is 32 lanes; the last one may have 16.
 * bf16 values are kept as f32, except p outside a block. Packed layouts:
 *   q  [lane pair][dk rounded up to 32][width of the pair] f32
 *   p  [keys][ld] bf16; within a block [keys][width of the pair] f32, in place of the scores
 */
#include "kernel/avx512/bf16.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AVX512

#include "kernel/vector/words_avx512.h"

#include "kernel/avx512/append.h"
#include "kernel/avx512/expand.h"
#include "kernel/avx512/few_pairs.h"
#include "kernel/avx512/flush.h"
#include "kernel/avx512/gather.h"
#include "kernel/scalar/bf16.h"
#include "kernel/vector/ahead.h"
#include "kernel/vector/block.h"
#include "kernel/vector/convert.h"
#include "kernel/vector/stage.h"

static void pack_q_pairs(const struct gqa__pack_q_args *args)
{
    const int32_t ld = args->ld, dk = args->dk;
    const int64_t padded = round_to_k32(dk);

    for (int32_t lane = 0; lane < ld; lane += LANE_PAIR) {
        const int32_t width = lane_pair_width(ld, lane);
        float *pair = (float *)args->dst + lane * padded; /* [padded][width] */
        for (int32_t part = 0; part < width; part += VEC) {
            pack_lanes_of(args, lane + part, pair + part, width, PACK_BF16);
        }
        memset(pair + dk * width, 0, (size_t)((padded - dk) * width) * sizeof *pair);
    }
}

/* --- scores ---------------------------------------------------------------------------------- */

/* Scores s [keys][stride] of width lanes times their keys' scales. Under flush_enter, which does as
 * flushed_product of scalar/bf16.h; not inlined, so that nothing else is. */
__attribute__((noinline)) static void scale_flushed(float *s, int64_t stride, const float *scale,
                                                    int32_t keys, int32_t width)
{
    for (int32_t key = 0; key < keys; key++, s += stride) {
        for (int32_t j = 0; j < width; j += VEC) {
            v_store(s + j, v_mul(v_load(s + j), v_set(scale[key])));
        }
    }
}

/* One lane pair: s [keys][ld], q [dk rounded up][width]. */
static void score_pairs_lanes(const struct gqa__score_args *args, int32_t width)
{
    struct gqa__avx512_scratch *scratch = args->scratch;
    const struct gqa__pairs pairs = {.a = args->k,
                                     .a_type = GQA_BF16,
                                     .a_row = args->k_stride,
                                     .b = args->q,
                                     .b_step = width,
                                     .n = (int32_t)round_to_k32(args->dk),
                                     .c = args->s,
                                     .c_row = args->ld,
                                     .rows = args->keys,
                                     .width = width,
                                     .count = 1,
                                     .first = true,
                                     .wide = scratch->wide};

    gqa__avx512_pairs(&pairs);
    if (args->scale != NULL) {
        const unsigned saved = flush_enter();
        scale_flushed(args->s, args->ld, args->scale, args->keys, width);
        flush_leave(saved);
    }
}

static void score_pairs(const struct gqa__score_args *args)
{
    struct gqa__score_args pair = *args;

    assert(args->ld % VEC == 0);
    for (int32_t lane = 0; lane < args->ld; lane += LANE_PAIR) {
        pair.s = args->s + lane;
        pair.q = (const float *)args->q + lane * round_to_k32(args->dk);
        score_pairs_lanes(&pair, lane_pair_width(args->ld, lane));
    }
}

/* --- softmax --------------------------------------------------------------------------------- */

/* Four keys of VEC lanes: their p, times scale [4] if it is not NULL (a constant where it is
 * called), rounded to bf16 (probability_to_bf16), into e. Adds p before that to the sums. */
INLINE void exponentiate_four(vec e[4], const float *s, int64_t stride, vec safe, vec sum[4],
                              const float *scale)
{
    const __m512i half = _mm512_set1_epi32(0x8000), high = _mm512_set1_epi32(-0x10000);

#pragma GCC unroll 4
    for (int32_t i = 0; i < 4; i++) {
        const vec p = exp2_flushed(v_sub(v_load(s + i * stride), safe));
        const vec weight = scale != NULL ? v_mul(p, v_set(scale[i])) : p;
        const __m512i up = _mm512_add_epi32(_mm512_castps_si512(weight), half);
        sum[i] = v_add(sum[i], p);
        e[i] = _mm512_castsi512_ps(_mm512_and_si512(up, high));
    }
}

INLINE vec safe_lanes(vec top)
{
    return v_drop(v_equal(top, v_set(-INFINITY)), top);
}

INLINE vec join_lanes(const vec sum[4])
{
    return v_canonical(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
}

/* reference_scores of VEC lanes, under flush_enter; s [keys][stride] */
INLINE vec reference_lanes(const float *s, int64_t stride, int32_t keys)
{
    vec m = v_set(-INFINITY);

    for (int32_t key = 0; key < keys; key += K32) {
        const vec top = max_lanes(s + key * stride, stride, K32);
        m = v_select(v_less(v_set(BF16_RISE), v_sub(top, m)), top, m);
    }
    return m;
}

/* Under flush_enter, as is softmax_compact. */
__attribute__((noinline)) static void softmax_flushed(const struct gqa__softmax_args *args)
{
    const int32_t ld = args->ld;
    const bool mark = args->mark != NULL;

    for (int32_t lane = 0; lane < ld; lane += VEC) {
        v_store(args->m + lane, reference_lanes(args->s + lane, ld, args->keys));
    }
    if (mark) {
        take_maxima(args->m, args->s, ld, args->mark, args->keys, ld);
    }
    for (int32_t lane = 0; lane < ld; lane += VEC) {
        const vec safe = safe_lanes(v_load(args->m + lane));
        vec sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
        for (int32_t key = 0; key < args->keys; key += 4) {
            const float *row = args->s + (int64_t)key * ld + lane;
            vec e[4];
            exponentiate_four(e, row, ld, safe, sum,
                              args->scale != NULL ? args->scale + key : NULL);
            for (int32_t i = 0; i < 4; i++) {
                uint16_t *to = (uint16_t *)args->p + (int64_t)(key + i) * ld + lane; /* [VEC] */
                const vmask hidden = v_equal(v_load(row + (int64_t)i * ld), v_set(-INFINITY));
                v_store_bf16(to, mark ? v_select(hidden, v_set(-0.0f), e[i]) : e[i]);
            }
        }
        v_store(args->l + lane, join_lanes(sum));
    }
}

static void softmax_pairs(const struct gqa__softmax_args *args)
{
    const unsigned saved = flush_enter();

    assert(args->keys % K32 == 0 && args->ld % VEC == 0);
    softmax_flushed(args);
    flush_leave(saved);
}

/* The same within a block: VEC lanes of scores [keys][stride] become p in place, rounded to bf16
 * but kept as f32. */
__attribute__((noinline)) static void softmax_compact(const struct scored_lanes *lanes,
                                                      int32_t keys)
{
    const int64_t stride = lanes->stride;
    float *s = lanes->p;
    const vec top = reference_lanes(s, stride, keys), safe = safe_lanes(top);
    vec sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};

    for (int32_t key = 0; key < keys; key += 4, s += 4 * stride) {
        vec e[4];
        if (lanes->scale != NULL) {
            exponentiate_four(e, s, stride, safe, sum, lanes->scale + key);
        } else {
            exponentiate_four(e, s, stride, safe, sum, NULL);
        }
        for (int32_t i = 0; i < 4; i++) {
            v_store(s + i * stride, e[i]);
        }
    }
    v_store(lanes->m, top);
    v_store(lanes->l, join_lanes(sum));
}

/* --- values ---------------------------------------------------------------------------------- */

/* o [dv][ld] of one lane pair, p [keys][p_stride] f32, v transposed. */
static void accumulate_pairs_lanes(const struct values *values, const uint16_t *v, bool first,
                                   struct gqa__avx512_scratch *scratch)
{
    struct gqa__pairs pairs = {.a_type = GQA_BF16,
                               .a_row = values->v_stride,
                               .b_step = values->p_stride,
                               .c = values->o,
                               .c_row = values->o_stride,
                               .rows = values->dv,
                               .width = values->width,
                               .count = 1,
                               .wide = scratch->wide};

    for (int32_t key = 0; key < values->keys; key += VALUE_KEYS) {
        const int32_t rest = values->keys - key;
        pairs.a = v + key;
        pairs.b = values->p + key * values->p_stride;
        pairs.n = rest < VALUE_KEYS ? rest : VALUE_KEYS;
        pairs.first = first && key == 0;
        gqa__avx512_pairs(&pairs);
    }
}

static void accumulate_pairs(const struct gqa__accumulate_args *args)
{
    const int32_t ld = args->ld;
    struct gqa__avx512_scratch *scratch = args->scratch;
    float *plain = scratch->p; /* [VALUE_KEYS][ld] */

    if (args->flags & GQA__ACC_MARKED) {
        accumulate_bf16(args);
        return;
    }
    assert(ld % VEC == 0 && ld <= SCALAR_TILE_ROWS);
    for (int32_t key = 0; key < args->keys; key += VALUE_KEYS) {
        const int32_t left = args->keys - key;
        const int32_t n = left < VALUE_KEYS ? left : VALUE_KEYS;
        const uint16_t *from = (const uint16_t *)args->p + (int64_t)key * ld; /* [n][ld] */
        for (int32_t i = 0; i < n * ld; i++) {
            plain[i] = gqa__bf16_to_f32(from[i]);
        }
        for (int32_t lane = 0; lane < ld; lane += LANE_PAIR) {
            const struct values values = {.o = args->o + lane,
                                          .o_stride = ld,
                                          .p = plain + lane,
                                          .p_stride = ld,
                                          .v_stride = args->v_stride,
                                          .keys = n,
                                          .dv = args->dv,
                                          .width = lane_pair_width(ld, lane)};
            accumulate_pairs_lanes(&values, (const uint16_t *)args->v + key,
                                   (args->flags & GQA__ACC_FIRST) != 0 && key == 0, scratch);
        }
    }
}

/* --- a whole block --------------------------------------------------------------------------- */

enum {
    PAIR_STEPS = 3,     /* of a lane pair: scores, softmax, values */
    PAIRS_BYTES = 32768 /* of L1, for the queries or the p of lane pairs that pass together */
};

/* Lane pairs of a block that see the same keys of it. Their scores and p are
 * [count][keys of the block][width]. */
struct pair_group {
    int32_t lane, width, count;
    struct key_range range;
};

/* The product of all pairs of a group, as many at a time as L1 holds while rows of K or V pass. */
static void multiply_group(struct gqa__pairs pairs, int32_t count)
{
    const int32_t fit = PAIRS_BYTES / (pairs.n * LANE_PAIR * (int32_t)sizeof(float));
    const int32_t most = fit > 1 ? fit : 1;

    for (int32_t j = 0; j < count; j += most) {
        pairs.count = count - j < most ? count - j : most;
        gqa__avx512_pairs(&pairs);
        pairs.b += most * pairs.b_pair;
        pairs.c += most * pairs.c_pair;
    }
}

static void score_group(const struct gqa__block *block, const struct pair_group *group)
{
    struct gqa__avx512_scratch *const scratch = block->scratch;
    const int64_t padded = round_to_k32(block->dk);
    const int32_t width = group->width;
    int32_t offset = 0;

    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const struct key_range own = run_range(run, offset, group->range);
        const struct gqa__pairs pairs = {
            .a = stored_row_at(run->k, own.begin, run->k_stride, block->k_type),
            .a_type = block->k_type,
            .a_row = run->k_stride,
            .b = (const float *)block->q + group->lane * padded,
            .b_step = width,
            .n = (int32_t)padded,
            .c = block->s + (int64_t)(offset + own.begin) * width,
            .c_row = width,
            .rows = own.end - own.begin,
            .width = width,
            .b_pair = width * padded,
            .c_pair = (int64_t)block->keys * width,
            .first = true,
            .wide = scratch->wide};

        if (own.begin < own.end) {
            multiply_group(pairs, group->count);
        }
        offset += run->keys;
    }
}

/* Scores times the scales of their keys, if they have any. */
static void scale_group(const struct gqa__block *block, const struct pair_group *group)
{
    const struct key_range range = group->range;
    unsigned saved;

    if (block->k_scale == NULL) {
        return;
    }
    saved = flush_enter();
    for (int32_t j = 0; j < group->count; j++) {
        scale_flushed(block->s + ((int64_t)j * block->keys + range.begin) * group->width,
                      group->width, block->k_scale + range.begin, range.end - range.begin,
                      group->width);
    }
    flush_leave(saved);
}

/* Under flush_enter. */
static void softmax_group(const struct gqa__block *block, const struct pair_group *group)
{
    const struct key_range range = group->range;
    const float *const scale = block->v_scale != NULL ? block->v_scale + range.begin : NULL;

    for (int32_t j = 0; j < group->count * group->width; j += VEC) {
        const int64_t row = (int64_t)(j / group->width) * block->keys + range.begin;
        float *const s = block->s + row * group->width + j % group->width;
        const int32_t lane = group->lane + j;
        const struct scored_lanes lanes = {s,     block->state.m + lane, block->state.l + lane, s,
                                           scale, group->width};
        softmax_compact(&lanes, range.end - range.begin);
    }
}

static void accumulate_run(const struct gqa__block *block, const struct pair_group *group,
                           const struct gqa__key_run *run, int32_t offset)
{
    struct gqa__avx512_scratch *const scratch = block->scratch;
    const struct key_range own = run_range(run, offset, group->range);
    const int32_t width = group->width;

    for (int32_t key = own.begin; key < own.end; key += VALUE_KEYS) {
        const int32_t rest = own.end - key;
        const struct gqa__pairs pairs = {.a = stored_row_at(run->v, key, 1, block->v_type),
                                         .a_type = block->v_type,
                                         .a_row = run->v_stride,
                                         .b = block->s + (int64_t)(offset + key) * width,
                                         .b_step = width,
                                         .n = rest < VALUE_KEYS ? rest : VALUE_KEYS,
                                         .c = block->state.o + group->lane,
                                         .c_row = block->ld,
                                         .rows = block->dv,
                                         .width = width,
                                         .b_pair = (int64_t)block->keys * width,
                                         .c_pair = width,
                                         .first = offset + key == group->range.begin,
                                         .wide = scratch->wide};

        multiply_group(pairs, group->count);
    }
}

static void prefetch_shares(struct ahead *ahead, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        prefetch_share(ahead);
    }
}

static void block_group(const struct gqa__block *block, struct ahead *ahead,
                        const struct pair_group *group)
{
    unsigned saved;
    int32_t offset = 0;

    prefetch_shares(ahead, group->count);
    if (group->range.begin >= group->range.end) {
        neutral_lane_pair(block, group->lane, group->width);
        return;
    }
    if (block->part != GQA__BLOCK_VALUES) {
        score_group(block, group);
        scale_group(block, group);
    }
    prefetch_shares(ahead, group->count);
    if (block->part == GQA__BLOCK_SCORES) {
        return;
    }
    if (block->rules != NULL) { /* a group of one */
        rules_of_lane_pair(block->s, block->rules, group->lane, group->width, group->range);
    }
    saved = flush_enter();
    softmax_group(block, group);
    flush_leave(saved);
    prefetch_shares(ahead, group->count);
    for (int32_t i = 0; i < block->runs; i++) {
        accumulate_run(block, group, &block->run[i], offset);
        offset += block->run[i].keys;
    }
}

_Static_assert((int)GQA__PAIR_KEYS == VALUE_KEYS && (int)GQA__PAIR_LANES == SCALAR_TILE_ROWS,
               "scratch_bytes");
_Static_assert(sizeof(struct gqa__avx512_scratch) >= sizeof(struct gqa__avx512_linear_scratch),
               "scratch_bytes");
_Static_assert(sizeof(struct gqa__avx512_scratch) >= SCRATCH_BF16, "scratch_bytes");

static void block_few_pairs(const struct gqa__block *block)
{
    struct ahead ahead = look_ahead(block->prefetch, block->prefetches, few_steps(block));
    const struct pair_group group = {0, VEC, 1, lane_pair_range(block, K32, 0, VEC)};
    const struct key_range range = group.range;
    unsigned saved;
    int32_t offset = 0;

    if (range.begin >= range.end) {
        neutral_lane_pair(block, 0, VEC);
        return;
    }
    if (block->part != GQA__BLOCK_VALUES) {
        score_few_pairs(block, range, &ahead);
        scale_group(block, &group);
    }
    if (block->part == GQA__BLOCK_SCORES) {
        return;
    }
    if (block->rules != NULL) {
        rules_of_lane_pair(block->s, block->rules, 0, VEC, range);
    }
    saved = flush_enter();
    softmax_group(block, &group);
    flush_leave(saved);
    for (int32_t i = 0; i < block->runs; i++) {
        const struct gqa__key_run *run = &block->run[i];
        const struct key_range own = run_range(run, offset, range);
        for (int32_t key = own.begin, n; key < own.end; key += n) {
            n = own.end - key < VALUE_KEYS ? own.end - key : VALUE_KEYS;
            accumulate_few_pairs(block, &(struct few_pairs){run, key, n, offset + key, range.begin},
                                 &ahead);
        }
        offset += run->keys;
    }
}

static void block_pairs(const struct gqa__block *block)
{
    const int64_t pairs = (block->ld + LANE_PAIR - 1) / LANE_PAIR;
    struct ahead ahead = look_ahead(block->prefetch, block->prefetches, pairs * PAIR_STEPS);
    int32_t lane = 0;

    assert(block->ld % VEC == 0);
    if (ways_of(block) > 1) {
        block_few_pairs(block);
        return;
    }
    if (block->rules == NULL && block->ld >= 2 * LANE_PAIR) { /* rows of K and V serve all pairs */
        const int32_t count = block->ld / LANE_PAIR;
        const struct pair_group group = {0, LANE_PAIR, count, {0, block->keys}};
        block_group(block, &ahead, &group);
        lane = count * LANE_PAIR;
    }
    for (; lane < block->ld; lane += LANE_PAIR) {
        struct pair_group group = {lane, lane_pair_width(block->ld, lane), 1, {0, 0}};
        group.range = lane_pair_range(block, K32, lane, group.width);
        block_group(block, &ahead, &group);
    }
}

static const struct gqa__kernels avx512_bf16 = {
    .name = "avx512/bf16",
    .isa = GQA_ISA_AVX512,
    .numerics = GQA_NUMERICS_BF16,
    .tile_rows = SCALAR_TILE_ROWS,
    .lanes = VEC,
    .panel_keys = K32,
    .depth_step = K32,
    .value_step = 16,
    .v_transposed = true,
    .operand = GQA_BF16,
    .out_step = 32,
    .token_step = 32,
    .stored_rows = LANE_PAIR,
    .scratch_bytes = sizeof(struct gqa__avx512_scratch),
    .q_bytes = q_bytes_bf16,
    .pack_q = pack_q_pairs,
    .append_k = append_k_bf16,
    .append_v = append_v_transposed,
    .gather = gather_operands,
    .expand = expand_codes,
    .score = score_pairs,
    .apply_rules = apply_rules,
    .softmax = softmax_pairs,
    .accumulate = accumulate_pairs,
    .block = block_pairs,
    .merge = merge_vector,
    .finish = finish_vector,
    .weight_bytes = gqa__avx512_weight_bytes,
    .pack_weight = gqa__avx512_pack_weight,
    .int8_bytes = gqa__avx512_int8_bytes,
    .pack_int8 = gqa__avx512_pack_int8,
    .x_bytes = gqa__avx512_x_bytes,
    .pack_x = gqa__avx512_pack_x,
    .linear = gqa__avx512_linear,
    .pack_rows = gqa__avx512_pack_rows,
    .load = load_run,
    .store = store_run,
    .flush = flush_values,
    .norm = norm_lanes,
    .rope = rope_lanes,
    .add = add_vectors,
    .scale = scale_vector,
    .scale_add = scale_add_vectors,
    .clip = clip_vector,
    .sincos = sincos_values,
    .gate = gate_lanes,
};

const struct gqa__kernels *gqa__avx512_bf16(void)
{
    return &avx512_bf16;
}

#else

typedef int gqa__avx512_bf16_not_built; /* a translation unit is not empty */

#endif
