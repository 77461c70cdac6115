/* SPDX-License-Identifier: Apache-2.0 */
/* test_poison.c - memory that no result depends on may hold any bytes: a cache's memory before it
 * is made, free and recycled pages, what other sequences hold behind the end of a shared one,
 * padding, masked and future keys, keys beyond key_lengths, the workspace.
 *
 * One play of calls is run twice, with zeros and ordinary numbers in all those places, and with
 * NaN, infinities and other patterns: the same bits, on every kernel set. */
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
#include "support/parallel.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { HQ = 6, HKV = 2, DK = 20, DV = 12, B = 2, T = 330, KEYS = 700, SEQUENCES = 6, CALLS = 16 };

struct kind {
    gqa_isa isa;
    gqa_numerics numerics;
    gqa_dtype type_k, type_v;
    int32_t page_size, threads, window;
    bool rotate;
};

/* What the calls gave: rows that nothing may change. */
struct result {
    float attn[CALLS][B][T][HQ][DV], lse[CALLS][B][T][HQ];
};

struct play {
    const struct kind *kind;
    int poison; /* 0: none; else which pattern */
    uint64_t random;
    gqa_layer *layer;
    gqa_cache *cache;
    void *memory, *workspace;
    float q[B][T][HQ][DK], k[B][T][HKV][DK], v[B][T][HKV][DV];
    uint8_t mask[B][T][KEYS];
    float bias[B][T][KEYS];
    int32_t calls;
    struct result *result;
    gqa_error err;
};

/* The pattern: of f32, of two bf16 or f16, and of bytes. */
static uint32_t pattern(int poison)
{
    static const uint32_t bits[] = {0u, 0xffffffffu, 0x7f800000u, 0xff80ff80u, 0x7f7f7f7fu};
    return bits[poison];
}

/* A number that must not matter: of the pattern, or an ordinary one. */
static float bad(const struct play *p, float ordinary)
{
    float x;
    const uint32_t bits = pattern(p->poison);
    memcpy(&x, &bits, sizeof x);
    return p->poison == 0 ? ordinary : x;
}

static void fill(const struct play *p, void *memory, size_t bytes)
{
    const uint32_t bits = pattern(p->poison);
    for (size_t i = 0; i + sizeof bits <= bytes; i += sizeof bits) {
        memcpy((unsigned char *)memory + i, &bits, sizeof bits);
    }
}

/* Whatever a free page holds, positions and columns included. */
static void poison_free_pages(struct play *p)
{
    struct gqa_cache *const c = p->cache;
    for (int32_t page = 0; page < c->num_pages && p->poison != 0; page++) {
        if (c->holders[page] == 0) {
            for (int32_t head = 0; head < HKV; head++) {
                fill(p, gqa__cache_k(c, page, head), c->layout.k_bytes + c->layout.v_bytes);
            }
            for (int32_t i = 0; i < c->layout.page_size; i++) {
                c->positions[(int64_t)page * c->layout.page_size + i] = -7 * i;
                c->columns[(int64_t)page * c->layout.page_size + i] = INT32_MAX;
            }
        }
    }
}

static void open_play(struct play *p)
{
    gqa_config config = attention_config(HQ, HKV, DK, DV);
    gqa_cache_options options;
    gqa_runtime runtime;
    size_t size;

    config.isa = p->kind->isa;
    config.numerics = p->kind->numerics;
    config.sliding_window = p->kind->window;
    gqa_runtime_init(&runtime);
    runtime.num_threads = p->kind->threads;
    runtime.parallel_for = p->kind->threads > 1 ? parallel_threads : NULL;
    const gqa_status status = create_unforced(&p->layer, &config, NULL, &runtime, &p->err);
    if (status == GQA_ERR_UNSUPPORTED) {
        return;
    }
    assert_int_equal(status, GQA_OK);
    gqa_cache_options_init(&options, p->layer);
    options.max_sequences = SEQUENCES;
    options.max_tokens = KEYS;
    options.page_size = p->kind->page_size;
    options.dtype_k = p->kind->type_k;
    options.dtype_v = p->kind->type_v;
    options.rotate_k = options.rotate_v = p->kind->rotate ? 1 : 0;
    assert_int_equal(gqa_cache_size(p->layer, &options, &size, &p->err), GQA_OK);
    p->memory = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(p->memory);
    fill(p, p->memory, size);
    options.memory = p->memory;
    options.memory_size = size;
    assert_int_equal(gqa_cache_create(&p->cache, p->layer, &options, &p->err), GQA_OK);
}

static void close_play(struct play *p)
{
    gqa_cache_destroy(&p->cache);
    gqa_destroy(&p->layer);
    free(p->memory);
}

/* Numbers for a call. The generator goes on alike in both plays. */
static void draw(struct play *p)
{
    random_floats(&p->random, &p->q[0][0][0][0], (int64_t)B * T * HQ * DK, 2.0f);
    random_floats(&p->random, &p->k[0][0][0][0], (int64_t)B * T * HKV * DK, 1.0f);
    random_floats(&p->random, &p->v[0][0][0][0], (int64_t)B * T * HKV * DV, 1.0f);
}

/* Token t of entry b as keys and values, and as a query, that must not matter. */
static void spoil_key(struct play *p, int b, int t)
{
    for (int i = 0; i < HKV * DK; i++) {
        (&p->k[b][t][0][0])[i] = bad(p, (&p->k[b][t][0][0])[i]);
    }
    for (int i = 0; i < HKV * DV; i++) {
        (&p->v[b][t][0][0])[i] = bad(p, (&p->v[b][t][0][0])[i]);
    }
}

static void spoil_token(struct play *p, int b, int t)
{
    spoil_key(p, b, t);
    for (int i = 0; i < HQ * DK; i++) {
        (&p->q[b][t][0][0])[i] = bad(p, (&p->q[b][t][0][0])[i]);
    }
}

/* A call of the drawn numbers, in a workspace of the pattern. Its rows are kept, but for entry b's
 * from row until[b] on. */
static void forward(struct play *p, gqa_inputs *in, int batch, int tokens, const int *until)
{
    float(*const attn)[T][HQ][DV] = p->result->attn[p->calls];
    float(*const lse)[T][HQ] = p->result->lse[p->calls];
    gqa_output out;
    size_t size;

    assert_true(p->calls < CALLS);
    p->calls++;
    gqa_output_init(&out);
    in->q_proj = gqa_tensor_4d(p->q, GQA_F32, batch, tokens, HQ, DK);
    in->k_proj = gqa_tensor_4d(p->k, GQA_F32, batch, tokens, HKV, DK);
    in->v_proj = gqa_tensor_4d(p->v, GQA_F32, batch, tokens, HKV, DV);
    out.attn = gqa_tensor_4d(attn, GQA_F32, batch, tokens, HQ, DV);
    in->q_proj.stride[0] = (int64_t)T * HQ * DK;
    in->k_proj.stride[0] = (int64_t)T * HKV * DK;
    in->v_proj.stride[0] = (int64_t)T * HKV * DV;
    out.attn.stride[0] = (int64_t)T * HQ * DV;
    out.lse = gqa_tensor_3d(lse, GQA_F32, batch, tokens, HQ);
    out.lse.stride[0] = (int64_t)T * HQ;
    assert_int_equal(gqa_workspace_size(p->layer, p->cache, in, &out, &size, &p->err), GQA_OK);
    void *const workspace = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(workspace);
    fill(p, workspace, size);
    if (gqa_forward(p->layer, p->cache, in, &out, workspace, size, &p->err) != GQA_OK) {
        fail_msg("%s", p->err.message);
    }
    free(workspace);
    for (int b = 0; b < batch && until != NULL; b++) {
        memset(attn[b][until[b]], 0, (size_t)(T - until[b]) * sizeof attn[b][0]);
        memset(lse[b][until[b]], 0, (size_t)(T - until[b]) * sizeof lse[b][0]);
    }
}

/* A prompt of sequences 0 and 1 with padding on both sides. */
static void padded_prompt(struct play *p)
{
    static const int32_t first[B] = {3, 0}, lengths[B] = {300, 297};
    gqa_inputs in;

    draw(p);
    gqa_inputs_init(&in);
    in.first_valid = first;
    in.lengths = lengths;
    for (int b = 0; b < B; b++) {
        for (int t = 0; t < 310; t++) {
            if (t < first[b] || t >= first[b] + lengths[b]) {
                spoil_token(p, b, t);
            }
        }
    }
    forward(p, &in, B, 310, NULL);
}

/* Tokens that turn bad after the rows that are kept, in sequence 0; sequence 2 shares its last page
 * but ends before them, goes on, and shares with 3. */
static void behind_the_end(struct play *p)
{
    static const int32_t one[1] = {0}, two[2] = {2, 3};
    static const int until[1] = {2};
    const int32_t held = gqa_cache_length(p->cache, 0);
    gqa_inputs in;

    draw(p);
    gqa_inputs_init(&in);
    in.sequences = one;
    for (int t = 2; t < 9; t++) {
        spoil_token(p, 0, t);
    }
    forward(p, &in, 1, 9, until); /* the first rows do not see what follows */
    assert_int_equal(gqa_cache_fork(p->cache, 0, 2, NULL), GQA_OK);
    assert_int_equal(gqa_cache_truncate(p->cache, 2, held + 2, NULL), GQA_OK);
    assert_int_equal(gqa_cache_fork(p->cache, 2, 3, NULL), GQA_OK);
    draw(p);
    in.sequences = two;
    forward(p, &in, 2, 1, NULL); /* the first of them copies the page */
    forward(p, &in, 2, 17, NULL);
    assert_int_equal(gqa_cache_truncate(p->cache, 0, held, NULL), GQA_OK);
    draw(p);
    in.sequences = one; /* where the bad tokens were */
    forward(p, &in, 1, 12, NULL);
}

/* Pages of bad tokens come back: truncated, and taken by sequence 4. */
static void recycled_pages(struct play *p)
{
    static const int32_t one[1] = {4};
    static const int none[1] = {0};
    gqa_inputs in;

    draw(p);
    gqa_inputs_init(&in);
    in.sequences = one;
    for (int t = 0; t < 320; t++) {
        spoil_token(p, 0, t);
    }
    forward(p, &in, 1, 320, none);
    assert_int_equal(gqa_cache_truncate(p->cache, 4, 0, NULL), GQA_OK);
    draw(p);
    forward(p, &in, 1, 261, NULL);
    assert_int_equal(gqa_cache_truncate(p->cache, 4, 37, NULL), GQA_OK);
    poison_free_pages(p);
    draw(p);
    forward(p, &in, 1, 5, NULL);
}

/* Keys that a mask, a bias, key bounds or an active mask hides from every row. how: 0 .. 3 */
static void hidden_keys(struct play *p, int how)
{
    static int32_t sequence[1] = {5}, begin[T], end[T];
    static uint8_t active[T][T];
    gqa_inputs in;

    draw(p);
    assert_int_equal(gqa_cache_truncate(p->cache, 5, 0, NULL), GQA_OK);
    gqa_inputs_init(&in);
    in.sequences = sequence;
    for (int t = 0; t < T; t++) {
        begin[t] = 40;
        end[t] = T;
        for (int c = 0; c < KEYS; c++) {
            const bool hides = c % 7 == 3 || (c > 100 && c < 120);
            p->mask[0][t][c] = !hides;
            p->bias[0][t][c] = hides ? -INFINITY : 0.25f;
            active[t][c % T] = c < T ? !hides : active[t][c % T];
        }
    }
    for (int t = 0; t < T; t++) {
        if (how == 2 ? t < 40 : p->mask[0][0][t] == 0) {
            spoil_key(p, 0, t);
        }
    }
    if (how == 0) {
        in.mask = gqa_tensor_4d(p->mask, GQA_U8, 1, 1, T, KEYS);
    } else if (how == 1) {
        in.bias = gqa_tensor_4d(p->bias, GQA_F32, 1, 1, T, KEYS);
    } else if (how == 2) {
        in.key_begin = begin;
        in.key_end = end;
    } else {
        in.active_mask = gqa_tensor_3d(active, GQA_U8, 1, T, T);
    }
    forward(p, &in, 1, T, NULL);
}

/* Plain keys, bad beyond key_lengths. */
static void plain_keys(struct play *p)
{
    static const int32_t key_lengths[B] = {259, 31};
    gqa_attend_inputs in;
    gqa_attend_output out;

    draw(p);
    for (int b = 0; b < B; b++) {
        for (int t = key_lengths[b]; t < T; t++) {
            spoil_key(p, b, t);
        }
    }
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_4d(p->q, GQA_F32, B, 4, HQ, DK);
    in.key = gqa_tensor_4d(p->k, GQA_F32, B, T, HKV, DK);
    in.value = gqa_tensor_4d(p->v, GQA_F32, B, T, HKV, DV);
    in.key_lengths = key_lengths;
    out.output = gqa_tensor_4d(p->result->attn[p->calls], GQA_F32, B, 4, HQ, DV);
    out.lse = gqa_tensor_3d(p->result->lse[p->calls++], GQA_F32, B, 4, HQ);
    assert_int_equal(gqa_attend(p->layer, NULL, &in, &out, NULL, 0, &p->err), GQA_OK);
}

/* False if this machine has no such kernel set. */
static bool run_play(struct play *p, const struct kind *kind, int poison, struct result *result)
{
    memset(p, 0, sizeof *p);
    memset(result, 0, sizeof *result);
    p->kind = kind;
    p->poison = poison;
    p->random = 17;
    p->result = result;
    open_play(p);
    if (p->layer == NULL) {
        return false;
    }
    poison_free_pages(p);
    padded_prompt(p);
    behind_the_end(p);
    poison_free_pages(p);
    recycled_pages(p);
    for (int how = 0; how < 4; how++) {
        hidden_keys(p, how);
    }
    plain_keys(p);
    close_play(p);
    return true;
}

#define KINDS(isa)                                                                                 \
    {isa, GQA_NUMERICS_F32, GQA_F32, GQA_F32, 16, 1, 0, false},                                    \
        {isa, GQA_NUMERICS_F32, GQA_BF16, GQA_BF16, 512, 3, 0, false},                             \
        {isa, GQA_NUMERICS_F32, GQA_F32, GQA_F32, 128, 2, 50, false},                              \
        {isa, GQA_NUMERICS_F32, GQA_I8, GQA_I8, 16, 2, 0, false},                                  \
        {isa, GQA_NUMERICS_F32, GQA_I4, GQA_F16, 128, 1, 50, false},                               \
        {isa, GQA_NUMERICS_F32, GQA_E4M3, GQA_I4, 32, 3, 0, true},                                 \
        {isa, GQA_NUMERICS_F32, GQA_F32, GQA_E4M3_240, 64, 1, 0, false},                           \
        {isa, GQA_NUMERICS_BF16, GQA_BF16, GQA_BF16, 32, 1, 0, false},                             \
        {isa, GQA_NUMERICS_BF16, GQA_BF16, GQA_BF16, 256, 2, 50, false},                           \
        {isa, GQA_NUMERICS_BF16, GQA_I4, GQA_I8, 64, 1, 0, true},                                  \
        {isa, GQA_NUMERICS_BF16, GQA_E4M3_240, GQA_E4M3, 16, 2, 50, false},                        \
    {                                                                                              \
        isa, GQA_NUMERICS_BF16, GQA_I8, GQA_BF16, 128, 3, 0, false                                 \
    }

static const struct kind kinds[] = {KINDS(GQA_ISA_SCALAR), KINDS(GQA_ISA_AVX2),
                                    KINDS(GQA_ISA_AVX512), KINDS(GQA_ISA_AMX), KINDS(GQA_ISA_NEON)};

static void no_result_depends_on_it(void **state)
{
    static struct play p;
    struct result *const clean = calloc(1, sizeof *clean), *const other = calloc(1, sizeof *other);

    (void)state;
    assert_non_null(clean);
    assert_non_null(other);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!run_play(&p, &kinds[i], 0, clean)) {
            continue;
        }
        for (int poison = 1; poison <= 4; poison++) {
            run_play(&p, &kinds[i], poison, other);
            for (int c = 0; c < CALLS; c++) {
                if (memcmp(clean->attn[c], other->attn[c], sizeof clean->attn[c]) != 0 ||
                    memcmp(clean->lse[c], other->lse[c], sizeof clean->lse[c]) != 0) {
                    fail_msg("kind %d, pattern %08x, call %d: other bits", (int)i,
                             (unsigned)pattern(poison), c);
                }
            }
        }
        const float *const x = &clean->attn[0][0][0][0][0];
        for (int64_t j = 0; j < (int64_t)CALLS * B * T * HQ * DV; j++) {
            assert_true(x[j] == x[j]);
        }
    }
    free(clean);
    free(other);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_result_depends_on_it)};
    return RUN_TESTS(argc, argv, tests);
}
