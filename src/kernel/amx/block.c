/* SPDX-License-Identifier: Apache-2.0 */
/* block.c - one fold block with AMX: scores, rules, exponentials and values of all its keys.
 *
 * Keys are taken 32 at a time, so that two units of the CPU work side by side: while the tile unit
 * computes the scores of the next 32 keys, the vector unit exponentiates the last 32. So there are
 * never more than two sets of scores, in two buffers [lane tile][32 keys][16 lanes] that take
 * turns.
 *
 * A lane's exponentials are relative to its reference m (reference_scores of scalar/bf16.h), which
 * a later key may raise. Those made before are then stale, and their scores are gone. That is rare,
 * so it is simply done over: the pass goes on to the last key, but only raises references, and a
 * second pass, which starts with the final references, makes all exponentials. No key raises those
 * again.
 */
#include "kernel/amx/amx.h"
#include "kernel/contract/built.h"

#if GQA__BUILT_AMX

#include <assert.h>

#include "kernel/amx/products.h"
#include "kernel/amx/softmax.h"
#include "kernel/avx512/flush.h"
#include "kernel/scalar/attention.h"
#include "kernel/scalar/bf16.h"
#include "kernel/vector/convert_avx512.h"

enum {
    LANE_SCORES = 32 * AMX_ROWS, /* floats: the scores of 32 keys, one lane tile */
    TWO_SCORES = 2 * LANE_SCORES /* one of the two buffers: two lane tiles */
};

/* What a pass works on: one or two lane tiles (of 16 lanes) of a block. */
struct lanes {
    const struct gqa__block *block;
    const unsigned char *q; /* packed queries of the first lane tile */
    int64_t q_step;         /* bytes from there to those of the second */
    int64_t p_step;         /* bytes between tiles of 32 keys */
    int32_t lane;
    struct prefetch_queue *prefetch;
    unsigned mode; /* floating-point mode of the caller */
    bool changes;  /* any_change: asked outside of it too, where a softcap may be denormal */
    struct {
        int32_t begin, end;
    } seen[2]; /* per lane tile: keys that all its lanes see; not set without lo and hi */
};

/* --- rules ---------------------------------------------------------------------------------- */

/* Where 16 lanes find their biases: runs of lanes that read the same ones. */
struct bias_runs {
    int32_t n;
    const float *from[AMX_ROWS]; /* [n] of [32] keys */
    __mmask16 lanes[AMX_ROWS];   /* [n] the run's lanes and those behind it */
};

static void find_bias_runs(struct bias_runs *runs, const float *const *lane_bias, int32_t key)
{
    runs->n = 0;
    for (int32_t lane = 0; lane < AMX_ROWS; lane++) {
        if (lane == 0 || lane_bias[lane] != lane_bias[lane - 1]) {
            runs->from[runs->n] = lane_bias[lane] + key;
            runs->lanes[runs->n++] = (__mmask16)(0xffffu << lane);
        }
    }
}

/* The biases of key i of the 32; n is runs->n. */
INLINE __m512 bias_of_key(const struct bias_runs *runs, const int32_t n, int32_t i)
{
    __m512 bias = _mm512_set1_ps(runs->from[0][i]);

    for (int32_t run = 1; run < n; run++) {
        bias = _mm512_mask_broadcastss_ps(bias, runs->lanes[run], _mm_load_ss(runs->from[run] + i));
    }
    return bias;
}

/* Adds biases to the scores s [32][16], four keys at a time, where all their sums are plain ones
 * (gqa__add_bias): s = fma(bias, log2 e, s). Returns how many keys are done. */
INLINE int32_t add_plain_biases(float *s, const struct bias_runs *runs, const int32_t n)
{
    const __m512 log2e = _mm512_set1_ps((float)GQA__LOG2E), bend = _mm512_set1_ps(GQA__BEND);

    for (int32_t i = 0; i < 32; i += 4, s += 4 * AMX_ROWS) {
        __m512 sum[4];
        __mmask16 other = 0;
        for (int32_t j = 0; j < 4; j++) {
            sum[j] = _mm512_fmadd_ps(bias_of_key(runs, n, i + j), log2e,
                                     _mm512_loadu_ps(s + j * AMX_ROWS));
            other |= _mm512_cmp_ps_mask(_mm512_abs_ps(sum[j]), bend, _CMP_NLE_UQ);
        }
        if (other != 0) {
            return i;
        }
        for (int32_t j = 0; j < 4; j++) {
            _mm512_storeu_ps(s + j * AMX_ROWS, sum[j]);
        }
    }
    return 32;
}

/* Softcap, slope and bias of lanes [lane, lane + 16) and keys [key, key + 32); s [32][16]. Runs in
 * the caller's floating-point mode, and is not inlined so that the compiler keeps it apart from
 * code that runs under flush_enter. */
__attribute__((noinline)) static void change_lanes(float *s, const struct gqa__score_rules *rules,
                                                   int32_t lane, int32_t key)
{
    struct gqa__score_rules own = *rules;
    struct bias_runs runs = {.n = 0};
    float bias[AMX_ROWS];
    int32_t i = 0;

    if (rules->lane_bias != NULL) {
        find_bias_runs(&runs, rules->lane_bias + lane, key);
        own.bias = bias;
    }
    if (rules->lane_bias != NULL && rules->softcap == 0.0f && rules->slope == NULL) {
        i = runs.n == 2 ? add_plain_biases(s, &runs, 2) : add_plain_biases(s, &runs, runs.n);
    }
    own.ld = AMX_ROWS;
    own.slope = rules->slope != NULL ? rules->slope + lane : NULL;
    own.q_pos = rules->q_pos != NULL ? rules->q_pos + lane : NULL;
    for (; i < 32; i++) {
        own.k_pos = rules->k_pos != NULL ? rules->k_pos + key + i : NULL;
        if (rules->lane_bias != NULL) {
            _mm512_storeu_ps(bias, bias_of_key(&runs, runs.n, i));
        }
        change_scores(s + i * AMX_ROWS, 0, &own); /* key 0 of these slices */
    }
}

/* Hides the keys of which rules->visible is 0; s [32][16]. */
static void hide_unseen(float *s, const struct gqa__score_rules *rules, int32_t lane, int32_t key)
{
    for (int32_t i = 0; i < 32; i++) {
        const uint8_t *visible = rules->visible + (int64_t)(key + i) * rules->ld + lane;
        const __m128i bytes = _mm_loadu_si128((const __m128i *)visible);
        _mm512_mask_storeu_ps(s + i * 16, _mm_testn_epi8_mask(bytes, bytes),
                              _mm512_set1_ps(-INFINITY));
    }
}

/* Hides the keys outside of rules->lo and hi. Keys that all lanes see are passed over. */
static void hide_outside(float *s, const struct lanes *lanes, int32_t half, int32_t key)
{
    const struct gqa__score_rules *rules = lanes->block->rules;
    const int32_t begin = lanes->seen[half].begin - key, end = lanes->seen[half].end - key;
    const __m512i first = _mm512_set1_epi32(key);
    const __m512i lo =
        _mm512_sub_epi32(_mm512_loadu_si512(rules->lo + lanes->lane + half * 16), first);
    const __m512i hi =
        _mm512_sub_epi32(_mm512_loadu_si512(rules->hi + lanes->lane + half * 16), first);

    for (int32_t i = 0; i < 32; i++) {
        const __m512i at = _mm512_set1_epi32(i);
        const __mmask16 hidden = _mm512_cmpgt_epi32_mask(lo, at) | _mm512_cmple_epi32_mask(hi, at);
        if (i >= begin && i < end) {
            i = end - 1;
            continue;
        }
        _mm512_mask_storeu_ps(s + i * 16, hidden, _mm512_set1_ps(-INFINITY));
    }
}

/* The rules of keys [key, key + 32) of one lane tile; s [32][16]. Under flush_enter. */
__attribute__((noinline)) static void rules_of_32(float *s, const struct lanes *lanes, int32_t half,
                                                  int32_t key)
{
    const struct gqa__score_rules *rules = lanes->block->rules;
    const int32_t lane = lanes->lane + half * 16;

    if (lanes->changes) {
        flush_leave(lanes->mode);
        change_lanes(s, rules, lane, key);
        (void)flush_enter();
    }
    if (rules->visible != NULL) {
        hide_unseen(s, rules, lane, key);
    }
    if (rules->lo != NULL) {
        hide_outside(s, lanes, half, key);
    }
}

/* --- probabilities -------------------------------------------------------------------------- */

/* Where the next 32 keys lie: a key run of the block, and a key of the run. */
struct score_cursor {
    int32_t run, key;
};

/* The scores of the next 32 keys into s; the cursor moves on. */
INLINE void score_next(const struct lanes *lanes, struct score_cursor *next, float *s,
                       const bool two)
{
    const struct gqa__key_run *run = &lanes->block->run[next->run];
    const struct score_keys at = {.s = s,
                                  .stride = 16,
                                  .lane_step = LANE_SCORES,
                                  .q = lanes->q,
                                  .q_step = lanes->q_step,
                                  .k = (const uint16_t *)run->k + next->key * run->k_stride,
                                  .k_stride = run->k_stride,
                                  .k32s = (int32_t)(lanes->q_step / AMX_TILE_BYTES),
                                  .prefetch = lanes->prefetch};

    score_keys(at, two);
    next->key += 32;
    if (next->key == run->keys) {
        next->run++;
        next->key = 0;
    }
}

/* Raises references by the scores s of 32 keys. True: some lane that has exponentials already got a
 * new reference, so they are stale. */
INLINE bool raise_references(struct lane_sums *a, struct lane_sums *b, const float *s,
                             const bool two)
{
    const bool stale = raise_reference(a, s, 16);

    return (two && raise_reference(b, s + LANE_SCORES, 16)) || stale;
}

/* One pass over all keys. Taking maxima costs time, so it is done only while a lane has no
 * reference yet, and where the sums show that a key may raise one. False: exponentials are stale;
 * go over all keys again with the references that are there now. */
INLINE bool exponentiate_keys(const struct lanes *lanes, struct lane_sums *a, struct lane_sums *b,
                              const bool two)
{
    const struct gqa__block *block = lanes->block;
    unsigned char *p = block->p;
    struct score_cursor next = {0, 0};
    bool stale = false;

    *a = no_sums(a->m);
    *b = no_sums(b->m);
    score_next(lanes, &next, block->s, two);
    for (int32_t key = 0; key < block->keys; key += 32, p += lanes->p_step) {
        float *s = block->s + key / 32 % 2 * TWO_SCORES;
        if (key + 32 < block->keys) {
            score_next(lanes, &next, block->s + (key / 32 + 1) % 2 * TWO_SCORES, two);
        }
        for (int32_t half = 0; half < (two ? 2 : 1) && block->k_scale != NULL; half++) {
            scale_lanes(s + half * LANE_SCORES, 16, block->k_scale + key, 32);
        }
        for (int32_t half = 0; half < (two ? 2 : 1) && block->rules != NULL; half++) {
            rules_of_32(s + half * LANE_SCORES, lanes, half, key);
        }
        if (stale || !all_seen(a) || (two && !all_seen(b))) {
            stale |= raise_references(a, b, s, two);
        }
        if (!stale) {
            struct scored_32 from = {s, 16, block->v_scale != NULL ? block->v_scale + key : NULL,
                                     lanes->prefetch};
            exponentiate_either(p, from, a, false);
            if (two) {
                from.s = s + LANE_SCORES;
                exponentiate_either(p + AMX_TILE_BYTES, from, b, false);
            }
            if (sums_above(a) || (two && sums_above(b))) {
                stale |= raise_references(a, b, s, two);
            }
        }
    }
    return !stale;
}

INLINE void exponentiate_lanes(const struct lanes *lanes, const bool two)
{
    const struct gqa__block *block = lanes->block;
    struct lane_sums a = no_sums(_mm512_set1_ps(-INFINITY)), b = a;

    while (!exponentiate_keys(lanes, &a, &b, two)) {
        /* once more at most */
    }
    store_lane_sums(&a, block->state.m + lanes->lane, block->state.l + lanes->lane);
    if (two) {
        store_lane_sums(&b, block->state.m + lanes->lane + 16, block->state.l + lanes->lane + 16);
    }
}

/* Under flush_enter. */
__attribute__((noinline)) static void exponentiate_one(const struct lanes *lanes)
{
    exponentiate_lanes(lanes, false);
}

__attribute__((noinline)) static void exponentiate_two(const struct lanes *lanes)
{
    exponentiate_lanes(lanes, true);
}

/* --- the block ------------------------------------------------------------------------------- */

static void find_seen(struct lanes *lanes, bool two)
{
    const struct gqa__score_rules *rules = lanes->block->rules;

    for (int32_t half = 0; half < (two ? 2 : 1); half++) {
        const int32_t lane = lanes->lane + half * 16;
        lanes->seen[half].begin = _mm512_reduce_max_epi32(_mm512_loadu_si512(rules->lo + lane));
        lanes->seen[half].end = _mm512_reduce_min_epi32(_mm512_loadu_si512(rules->hi + lane));
    }
}

_Static_assert(sizeof(struct output_path) <= AMX_SCRATCH_BYTES, "scratch_bytes");

/* Lanes [lane, lane + 32) or [lane, lane + 16). */
INLINE void block_lanes(const struct gqa__block *block, struct prefetch_queue *prefetch,
                        int32_t lane, const bool two)
{
    const int64_t q_step = round_to_k32(block->dk) / AMX_DEPTH * AMX_TILE_BYTES;
    struct lanes lanes = {.block = block,
                          .q = (const unsigned char *)block->q + lane / 16 * q_step,
                          .q_step = q_step,
                          .p_step = two ? 2 * AMX_TILE_BYTES : AMX_TILE_BYTES,
                          .lane = lane,
                          .prefetch = prefetch};
    struct output_path *const path = block->scratch;
    struct value_args values = {.run = block->run,
                                .runs = block->runs,
                                .p = block->p,
                                .p_step = lanes.p_step,
                                .o = block->state.o + lane,
                                .ld = block->ld,
                                .dv = block->dv,
                                .first = true,
                                .prefetch = prefetch};

    if (block->rules != NULL && block->rules->lo != NULL) {
        find_seen(&lanes, two);
    }
    lanes.changes = block->rules != NULL && any_change(block->rules);
    lanes.mode = flush_enter();
    (two ? exponentiate_two : exponentiate_one)(&lanes);
    flush_leave(lanes.mode);
    if (block->merges > 0 || block->finish != NULL) {
        output_path_begin(path, block, lane, two);
        values.path = path;
    }
    value_lanes(&values, two);
}

void gqa__amx_block(const struct gqa__block *block)
{
    struct prefetch_queue prefetch = prefetch_begin(block);

    assert(block->keys % 32 == 0 && block->ld % AMX_ROWS == 0);
    for (int32_t lane = 0; lane < block->ld; lane += 32) {
        if (lane + 16 < block->ld) {
            block_lanes(block, &prefetch, lane, true);
        } else {
            block_lanes(block, &prefetch, lane, false);
        }
    }
    if (block->finish != NULL && block->finish->stream) {
        v_fence();
    }
}

#else

typedef int gqa__amx_block_not_built; /* a translation unit is not empty */

#endif
