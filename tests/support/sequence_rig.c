/* SPDX-License-Identifier: Apache-2.0 */
/* sequence_rig.c - see sequence_rig.h. */
#include "support/sequence_rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "support/forced_isa.h"
#include "support/random.h"

#define KINDS(isa, a, b, c)                                                                        \
    {isa, GQA_NUMERICS_F32, GQA_F32, a, 1, 0, false},                                              \
        {isa, GQA_NUMERICS_F32, GQA_BF16, b, 2, 3, false},                                         \
        {isa, GQA_NUMERICS_F32, GQA_F16, c, 1, 7, false},                                          \
        {isa, GQA_NUMERICS_F32, GQA_I8, a, 2, 0, false},                                           \
        {isa, GQA_NUMERICS_F32, GQA_E4M3, b, 1, 5, false},                                         \
        {isa, GQA_NUMERICS_F32, GQA_I4, c, 3, 0, false},                                           \
        {isa, GQA_NUMERICS_BF16, GQA_I8, b, 2, 0, false},                                          \
        {isa, GQA_NUMERICS_BF16, GQA_E4M3_240, c, 1, 0, false},                                    \
        {isa, GQA_NUMERICS_BF16, GQA_I4, a, 1, 6, false},                                          \
        {isa, GQA_NUMERICS_BF16, GQA_BF16, c, 3, 0, false},                                        \
        {isa, GQA_NUMERICS_F32, GQA_I8, c, 3, 6, true},                                            \
        {isa, GQA_NUMERICS_F32, GQA_E4M3, a, 2, 0, true},                                          \
        {isa, GQA_NUMERICS_BF16, GQA_I4, b, 2, 0, true},                                           \
        {isa, GQA_NUMERICS_BF16, GQA_E4M3, b, 1, 9, true},                                         \
    {                                                                                              \
        isa, GQA_NUMERICS_BF16, GQA_BF16, a, 4, 9, false                                           \
    }

const struct rig_kind rig_kinds[] = {
    KINDS(GQA_ISA_SCALAR, 16, 32, 64),  KINDS(GQA_ISA_AVX2, 128, 256, 512),
    KINDS(GQA_ISA_AVX512, 32, 64, 128), KINDS(GQA_ISA_AMX, 256, 512, 16),
    KINDS(GQA_ISA_NEON, 16, 64, 256),
};
const int rig_kind_count = (int)(sizeof rig_kinds / sizeof rig_kinds[0]);

bool rig_open(struct rig *rig, const struct rig_kind *kind)
{
    return rig_open_more(rig, kind, &(struct rig_more){0});
}

bool rig_open_more(struct rig *rig, const struct rig_kind *kind, const struct rig_more *more)
{
    gqa_config config;
    gqa_cache_options options;

    memset(rig, 0, sizeof *rig);
    rig->kind = *kind;
    rig->more = *more;
    gqa_config_init(&config);
    config.num_attention_heads = RIG_HQ;
    config.num_key_value_heads = RIG_HKV;
    config.head_dim = RIG_DK;
    config.v_head_dim = RIG_DV;
    config.sliding_window = kind->window;
    config.attention_chunk_size = more->chunk;
    config.backend = more->backend;
    config.isa = kind->isa;
    config.numerics = kind->numerics;
    const gqa_runtime runtime = host_start(&rig->host, kind->threads);
    const gqa_status status = create_unforced(&rig->layer, &config, NULL, &runtime, &rig->err);
    if (status == GQA_ERR_UNSUPPORTED) {
        return false;
    }
    assert_int_equal(status, GQA_OK);
    gqa_cache_options_init(&options, rig->layer);
    options.max_tokens = RIG_TOKENS;
    options.dtype_k = options.dtype_v = kind->storage;
    options.rotate_k = options.rotate_v = kind->rotate ? 1 : 0;
    assert_int_equal(gqa_cache_create(&rig->own, rig->layer, &options, &rig->err), GQA_OK);
    return true;
}

void rig_close(struct rig *rig)
{
    gqa_cache_destroy(&rig->own);
    gqa_destroy(&rig->layer);
    assert_int_equal(rig->host.live, 0);
}

bool rig_same_storage(const struct rig_kind *a, const struct rig_kind *b)
{
    return a->storage == b->storage && a->rotate == b->rotate;
}

gqa_cache *rig_cache(struct rig *rig, int32_t sequences, int32_t tokens, int64_t pages)
{
    gqa_cache *cache = NULL;
    gqa_cache_options options;

    gqa_cache_options_init(&options, rig->layer);
    options.max_sequences = sequences;
    options.max_tokens = tokens;
    options.page_size = rig->kind.page_size;
    options.num_pages = pages;
    options.dtype_k = options.dtype_v = rig->kind.storage;
    options.rotate_k = options.rotate_v = rig->kind.rotate ? 1 : 0;
    if (rig->more.rings) {
        gqa_cache_options_retain(&options, rig->layer);
        options.call_tokens = RIG_PIECE;
    }
    assert_int_equal(gqa_cache_create(&cache, rig->layer, &options, &rig->err), GQA_OK);
    return cache;
}

void rig_numbers(uint64_t seed, float *k, float *v)
{
    uint64_t state = seed;
    random_floats(&state, k, RIG_HKV * RIG_DK, 2.0f);
    random_floats(&state, v, RIG_HKV * RIG_DV, 1.0f);
    if (seed % 64 == 0) {
        v[random_between(&state, 0, RIG_HKV * RIG_DV - 1)] = NAN;
    }
}

static void query_numbers(uint64_t seed, float *q)
{
    uint64_t state = ~seed;
    random_floats(&state, q, RIG_HQ * RIG_DK, 2.0f);
}

void rig_draw(const struct rig_line *line, int32_t sequence, int32_t n, bool tree, uint64_t *random,
              struct rig_piece *piece)
{
    int32_t position = line->length > 0 ? line->token[line->length - 1].position : 2;

    piece->sequence = sequence;
    piece->n = n;
    piece->padding = random_u32(random) % 4 == 0 ? random_between(random, 0, RIG_PIECE - n) : 0;
    for (int32_t i = 0; i < n; i++) {
        position += tree ? random_between(random, position > 0 ? -1 : 0, 1)
                         : random_between(random, 1, random_u32(random) % 8 == 0 ? 3 : 1);
        piece->token[i].seed = random_next(random);
        piece->token[i].position = position;
        piece->token[i].column = line->columns + piece->padding + i;
    }
}

void rig_grow(struct rig_line *line, const struct rig_piece *piece, int32_t columns)
{
    assert_true(line->length + piece->n <= RIG_TOKENS);
    memcpy(line->token + line->length, piece->token, (size_t)piece->n * sizeof *piece->token);
    line->length += piece->n;
    line->columns += columns;
}

void rig_cut(struct rig_line *line, int32_t length)
{
    line->length = length;
    line->columns = length > 0 ? line->token[length - 1].column + 1 : 0;
}

void rig_fill(gqa_cache *cache, int32_t sequence, const struct rig_line *line)
{
    float *const k = calloc(RIG_TOKENS * RIG_HKV * (size_t)RIG_DK, sizeof *k);
    float *const v = calloc(RIG_TOKENS * RIG_HKV * (size_t)RIG_DV, sizeof *v);
    int32_t positions[RIG_TOKENS], columns[RIG_TOKENS];

    assert_non_null(k);
    assert_non_null(v);
    for (int32_t i = 0; i < line->length; i++) {
        rig_numbers(line->token[i].seed, k + i * RIG_HKV * RIG_DK, v + i * RIG_HKV * RIG_DV);
        positions[i] = line->token[i].position;
        columns[i] = line->token[i].column;
    }
    gqa__cache_extend(cache, sequence, line->length, positions, columns, line->columns);
    for (int32_t head = 0; head < RIG_HKV; head++) {
        const struct gqa__kv_rows rows = {.k = k + head * RIG_DK,
                                          .v = v + head * RIG_DV,
                                          .k_step = (int64_t)RIG_HKV * RIG_DK,
                                          .v_step = (int64_t)RIG_HKV * RIG_DV};
        gqa__cache_write(cache, sequence, head, 0, line->length, &rows);
    }
    free(k);
    free(v);
}

/* ---- calls ---- */

/* The numbers of a call. Rows that are padding are zero. */
struct numbers {
    float q[RIG_BATCH][RIG_PIECE][RIG_HQ * RIG_DK];
    float k[RIG_BATCH][RIG_PIECE][RIG_HKV * RIG_DK];
    float v[RIG_BATCH][RIG_PIECE][RIG_HKV * RIG_DV];
    int32_t sequences[RIG_BATCH], first_valid[RIG_BATCH], lengths[RIG_BATCH];
    int32_t positions[RIG_BATCH * RIG_PIECE];
};

static void set_numbers(struct numbers *numbers, const struct rig_call *call)
{
    for (int32_t b = 0; b < call->count; b++) {
        const struct rig_piece *const piece = &call->pieces[b];
        numbers->sequences[b] = piece->sequence;
        numbers->first_valid[b] = piece->padding;
        numbers->lengths[b] = piece->n;
        for (int32_t i = 0; i < piece->n; i++) {
            const int32_t t = piece->padding + i;
            query_numbers(piece->token[i].seed, numbers->q[b][t]);
            rig_numbers(piece->token[i].seed, numbers->k[b][t], numbers->v[b][t]);
            numbers->positions[b * call->columns + t] = piece->token[i].position;
        }
    }
}

static bool mask_shows(uint64_t row, int32_t column)
{
    uint64_t state = row + (uint64_t)column;
    return random_next(&state) % 4 != 0;
}

/* [B][1][T][width] */
static uint8_t *make_mask(const struct rig_call *call, int32_t width)
{
    uint8_t *const mask = calloc((size_t)(call->count * call->columns), (size_t)width);
    assert_non_null(mask);
    for (int32_t b = 0; b < call->count; b++) {
        const struct rig_piece *const piece = &call->pieces[b];
        for (int32_t i = 0; i < piece->n; i++) {
            uint8_t *const row = mask + (int64_t)(b * call->columns + piece->padding + i) * width;
            for (int32_t c = 0; c < width; c++) {
                row[c] = mask_shows(piece->token[i].seed, c) || c == piece->token[i].column;
            }
        }
    }
    return mask;
}

/* A tensor [count][columns] of rows of n floats, rows RIG_PIECE apart between entries. */
static gqa_tensor rows_of(const struct rig_call *call, float *data, int32_t heads, int32_t dim)
{
    gqa_tensor t = gqa_tensor_4d(data, GQA_F32, call->count, call->columns, heads, dim);
    t.stride[0] = (int64_t)RIG_PIECE * heads * dim;
    return t;
}

gqa_status rig_forward(struct rig *rig, gqa_cache *cache, const struct rig_call *call,
                       const struct rig_line *lines, struct rig_output *output)
{
    struct numbers *const numbers = calloc(1, sizeof *numbers);
    uint8_t *mask = NULL;
    int32_t width = 0;
    gqa_inputs in;
    gqa_output out;

    assert_non_null(numbers);
    assert_true(call->count <= RIG_BATCH && call->columns <= RIG_PIECE);
    set_numbers(numbers, call);
    gqa_inputs_init(&in);
    in.q_proj = rows_of(call, numbers->q[0][0], RIG_HQ, RIG_DK);
    in.k_proj = rows_of(call, numbers->k[0][0], RIG_HKV, RIG_DK);
    in.v_proj = rows_of(call, numbers->v[0][0], RIG_HKV, RIG_DV);
    in.sequences = numbers->sequences;
    in.first_valid = numbers->first_valid;
    in.lengths = numbers->lengths;
    in.position_ids = numbers->positions;
    if (call->masked) {
        for (int32_t b = 0; b < call->count; b++) {
            const int32_t columns = lines[call->pieces[b].sequence].columns + call->columns;
            width = columns > width ? columns : width;
        }
        mask = make_mask(call, width);
        in.mask = gqa_tensor_4d(mask, GQA_U8, call->count, 1, call->columns, width);
    }
    memset(output, 0, sizeof *output);
    gqa_output_init(&out);
    out.attn = rows_of(call, output->attn[0][0][0], RIG_HQ, RIG_DV);
    out.lse = gqa_tensor_3d(output->lse, GQA_F32, call->count, call->columns, RIG_HQ);
    out.lse.stride[0] = RIG_PIECE * RIG_HQ;
    const gqa_status status = gqa_forward(rig->layer, cache, &in, &out, NULL, 0, &rig->err);
    free(numbers);
    free(mask);
    return status;
}

bool rig_as_alone(struct rig *rig, const struct rig_call *call, int32_t index,
                  const struct rig_line *line, const struct rig_output *output)
{
    struct rig_piece piece = call->pieces[index];
    const struct rig_call own = {&piece, 1, call->columns, call->masked};
    struct rig_output *const want = calloc(1, sizeof *want);

    assert_non_null(want);
    piece.sequence = 0;
    assert_int_equal(gqa_cache_truncate(rig->own, 0, 0, NULL), GQA_OK);
    rig_fill(rig->own, 0, line);
    if (rig_forward(rig, rig->own, &own, line, want) != GQA_OK) {
        fail_msg("alone: %s", rig->err.message);
    }
    const bool same = memcmp(want->attn[0], output->attn[index], sizeof want->attn[0]) == 0 &&
                      memcmp(want->lse[0], output->lse[index], sizeof want->lse[0]) == 0;
    free(want);
    return same;
}
