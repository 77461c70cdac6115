/* SPDX-License-Identifier: Apache-2.0 */
/* test_flat.c - flat calls: entries of any lengths one after the other, each with the bits of a
 * call of its own; what is refused; and the size of a workspace that is enough for all of them.
 *
 * The random calls of the differential test are made twice without their padding: each batch entry
 * alone, and all of them as one flat call, on caches of different pages. (Backend cpu: the products
 * of backend reference depend on how many tokens a call has.) test_properties compares flat calls
 * with padded ones, test_flat_attend has those of gqa_attend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/fewer_cases.h"
#include "support/flat_call.h"
#include "support/forced_isa.h"
#include "support/oracle.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/refusal.h"
#include "support/small_layer.h"

/* ---- random calls, each entry alone and all together ---- */

enum { OUTPUTS = 8, SEEDS = 600 };

/* What one call gave: outputs [1, n, ...] and everything that its tap saw. */
struct results {
    gqa_output out;
    gqa_tensor *tensor[OUTPUTS];
    float *stage[GQA_STAGE_COUNT]; /* [count][longest][width] */
    int width[GQA_STAGE_COUNT];
    int longest;
    random_case *c;
};

/* A call's output of a width for each token; NULL data where the layer or call has none. */
static gqa_tensor room(random_case *c, bool wanted, gqa_dtype dtype, const int64_t *shape, int rank)
{
    const random_fill fill = {.dtype = dtype, .scale = 1.0};
    const gqa_tensor none = {0};
    return wanted ? random_tensor(c, rank, shape, fill) : none;
}

static void see(void *user, gqa_stage stage, int32_t b, int32_t first, const gqa_tensor *tensor)
{
    struct results *r = user;
    int width = 1;
    for (int i = 1; i < tensor->rank; i++) {
        width *= (int)tensor->shape[i];
    }
    if (r->stage[stage] == NULL) {
        r->width[stage] = width;
        r->stage[stage] =
            random_memory(r->c, (size_t)(FLAT_ENTRIES * r->longest * width), sizeof(float));
    }
    memcpy(r->stage[stage] + (size_t)(b * r->longest + first) * (size_t)width, tensor->data,
           (size_t)tensor->shape[0] * (size_t)width * sizeof(float));
}

static void open_results(struct results *r, random_case *c, const random_call *call, int tokens)
{
    const gqa_config *g = &c->config;
    const gqa_dtype type = (gqa_dtype)c->choice[OPT_OUTPUT_TYPE];
    const int stop = c->choice[OPT_STOP];
    const int64_t dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    const int64_t pairs = (g->rotary_dim > 0 ? g->rotary_dim : g->head_dim) / 2;
    const int64_t hidden[3] = {1, tokens, g->hidden_size};
    const int64_t heads[4] = {1, tokens, g->num_attention_heads, dv};
    const int64_t k[4] = {1, g->num_key_value_heads, tokens, g->head_dim};
    const int64_t v[4] = {1, g->num_key_value_heads, tokens, dv};
    const int64_t lse[3] = {1, tokens, g->num_attention_heads};
    const int64_t table[3] = {1, tokens, pairs};
    const bool rope = g->rope != GQA_ROPE_NONE;
    gqa_output *out = &r->out;

    gqa_output_init(out);
    out->hidden_states = room(c, stop != 2, type, hidden, 3);
    out->attn = room(c, stop != 1, type, heads, 4);
    out->residual = room(c, call->inputs.hidden_states.data != NULL, type, hidden, 3);
    out->present_key_value.k = room(c, call->appends, type, k, 4);
    out->present_key_value.v = room(c, call->appends, type, v, 4);
    out->lse = room(c, true, GQA_F32, lse, 3);
    out->cos_cache = room(c, rope, GQA_F32, table, 3);
    out->sin_cache = room(c, rope, GQA_F32, table, 3);
    gqa_tensor *const all[OUTPUTS] = {&out->hidden_states,
                                      &out->attn,
                                      &out->residual,
                                      &out->lse,
                                      &out->cos_cache,
                                      &out->sin_cache,
                                      &out->present_key_value.k,
                                      &out->present_key_value.v};
    memcpy(r->tensor, all, sizeof all);
}

struct pair {
    random_case *c;
    gqa_layer *layer;
    gqa_cache *alone, *flat;
    int call;
};

static void differ(const struct pair *p, const char *what, int index, int entry)
{
    random_print(stderr, p->c);
    fail_msg("call %d, entry %d: %s %d of the flat call differs", p->call, entry, what, index);
}

static bool all_zero(const unsigned char *bytes, size_t n)
{
    size_t i = 0;
    while (i < n && bytes[i] == 0) {
        i++;
    }
    return i == n;
}

/* Outputs of an entry alone against its rows of the flat ones; zeros where it is inactive. */
static void compare_outputs(const struct pair *p, const struct results *alone,
                            const struct results *flat, const struct flat_entry *e, int row,
                            int entry)
{
    for (int i = 0; i < OUTPUTS; i++) {
        const gqa_tensor *x = alone->tensor[i], *y = flat->tensor[i];
        const bool heads_first = i >= 6;
        const int64_t heads = heads_first ? y->shape[1] : 1;
        for (int64_t at = 0; y->data != NULL && at < heads * e->n; at++) {
            const int64_t h = at / e->n, t = at % e->n;
            const int64_t width = heads_first    ? y->shape[3]
                                  : y->rank == 4 ? y->shape[2] * y->shape[3]
                                                 : y->shape[2];
            const int64_t total = heads_first ? y->shape[2] : y->shape[1];
            const size_t bytes = (size_t)width * (y->dtype == GQA_F32 ? 4 : 2);
            const unsigned char *got =
                (const unsigned char *)y->data + (size_t)(h * total + row + t) * bytes;
            const unsigned char *want =
                (const unsigned char *)x->data + (size_t)(h * e->n + t) * bytes;
            if (e->sequence >= 0 ? memcmp(got, want, bytes) != 0 : !all_zero(got, bytes)) {
                differ(p, "output", i, entry);
            }
        }
    }
}

static void compare_taps(const struct pair *p, const struct results *alone,
                         const struct results *flat, const struct flat_entry *e, int entry)
{
    for (int s = 0; s < GQA_STAGE_COUNT; s++) {
        const size_t line = (size_t)flat->longest * (size_t)flat->width[s];
        if (alone->stage[s] != NULL &&
            (flat->stage[s] == NULL ||
             memcmp(flat->stage[s] + (size_t)entry * line, alone->stage[s],
                    (size_t)e->n * (size_t)flat->width[s] * sizeof(float)) != 0)) {
            differ(p, "stage", s, entry);
        }
    }
}

static void forward(const struct pair *p, gqa_cache *cache, gqa_inputs *in, struct results *r)
{
    gqa_error err = {0};
    if (in->cos_cache.data != NULL) {
        in->rope_key = gqa_layer_rope_key(p->layer);
    }
    in->tap = p->c->seed % 2 == 0 ? see : NULL;
    in->tap_user = r;
    r->c = p->c;
    if (gqa_forward(p->layer, cache, in, &r->out, NULL, 0, &err) != GQA_OK) {
        random_print(stderr, p->c);
        fail_msg("call %d: %s", p->call, err.message);
    }
}

static void run_call(const struct pair *p, const random_call *call)
{
    struct flat_entry entries[FLAT_ENTRIES];
    const int count = flat_entries(p->c, call, entries);
    struct results flat = {.longest = call->tokens};
    int tokens = 0;
    for (int i = 0; i < count; i++) {
        tokens += entries[i].n;
    }
    gqa_inputs in = flat_inputs(p->c, call, entries, count, true);
    open_results(&flat, p->c, call, tokens);
    forward(p, p->flat, &in, &flat);
    tokens = 0;
    for (int i = 0; i < count; i++) {
        struct results alone = {.longest = call->tokens};
        struct flat_entry own = entries[i];
        open_results(&alone, p->c, call, own.n);
        if (own.sequence >= 0) {
            own.sequence = p->alone != NULL ? own.sequence : 0;
            in = flat_inputs(p->c, call, &own, 1, false);
            forward(p, p->alone, &in, &alone);
            compare_taps(p, &alone, &flat, &own, i);
        }
        compare_outputs(p, &alone, &flat, &own, tokens, i);
        tokens += own.n;
    }
}

static gqa_cache *open_cache(const struct pair *p, int32_t page_size)
{
    gqa_cache_options options = p->c->cache;
    gqa_cache *cache = NULL;
    gqa_error err = {0};
    options.page_size = page_size;
    if (gqa_cache_create(&cache, p->layer, &options, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return cache;
}

static void run_seed(uint64_t seed)
{
    random_case c;
    struct pair p = {.c = &c};
    gqa_runtime runtime;
    gqa_error err = {0};
    if (!random_draw(&c, seed, OPT_BATCH, seed % 8 == 0 ? 0 : 1 + (int)(seed % 2), OPT_BATCH, -1)) {
        random_free(&c);
        return;
    }
    random_build(&c);
    gqa_runtime_init(&runtime);
    runtime.num_threads = seed % 3 == 0 ? 3 : 0;
    runtime.parallel_for = seed % 3 == 0 ? parallel_reversed : NULL;
    if (gqa_create(&p.layer, &c.config, &c.weights, &runtime, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    if (c.has_cache) {
        p.alone = open_cache(&p, 128);
        p.flat = open_cache(&p, 16 << seed % 6);
    }
    for (p.call = 0; p.call < c.calls; p.call++) {
        run_call(&p, &c.call[p.call]);
    }
    for (int s = 0; c.has_cache && s < c.sequences; s++) {
        assert_int_equal(gqa_cache_length(p.flat, s), gqa_cache_length(p.alone, s));
    }
    gqa_cache_destroy(&p.alone);
    gqa_cache_destroy(&p.flat);
    gqa_destroy(&p.layer);
    random_free(&c);
}

static void entries_alone(void **state)
{
    const int seeds = fewer_cases(SEEDS);
    (void)state;
    for (int seed = 1; seed <= seeds; seed++) {
        run_seed((uint64_t)seed);
    }
}

/* ---- backend neuron ---- */

static void neuron(gqa_config *config)
{
    config->backend = GQA_BACKEND_NEURON;
    config->v_head_dim = 0;
    config->attention_chunk_size = 64; /* with which an entry decodes one token at a time */
}

/* A prompt each, then a token each. */
static void neuron_alone(void **state)
{
    static struct small_layer small;
    static float flat[40 * SMALL_HIDDEN], alone[40 * SMALL_HIDDEN];
    static const int32_t rows[2][4] = {{0, 17, 18, 40}, {0, 1, 2, 3}};
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_inputs in;
    (void)state;
    small_layer_open(&small, neuron);
    gqa_cache_options_init(&options, small.layer);
    options.max_sequences = 3;
    options.max_tokens = SMALL_TOKENS;
    assert_int_equal(gqa_cache_create(&cache, small.layer, &options, NULL), GQA_OK);
    for (int round = 0; round < 2; round++) {
        gqa_inputs_init(&in);
        in.row_begin = rows[round];
        in.batch = 3;
        assert_int_equal(
            small_layer_forward(&small, small.cache, &in, 1, rows[round][3], small.x, flat),
            GQA_OK);
        for (int32_t b = 0; b < 3; b++) {
            const int at = rows[round][b] * SMALL_HIDDEN;
            gqa_inputs_init(&in);
            in.sequences = &b;
            assert_int_equal(small_layer_forward(&small, cache, &in, 1,
                                                 rows[round][b + 1] - rows[round][b], small.x + at,
                                                 alone + at),
                             GQA_OK);
        }
        assert_memory_equal(flat, alone, (size_t)(rows[round][3] * SMALL_HIDDEN) * sizeof *flat);
    }
    gqa_cache_destroy(&cache);
    small_layer_close(&small);
}

/* ---- what is refused ---- */

static gqa_status call(struct small_layer *small, gqa_inputs *in, int b, int t)
{
    static float y[SMALL_SEQUENCES * SMALL_TOKENS * SMALL_HIDDEN];
    gqa_output out;
    gqa_output_init(&out);
    in->hidden_states = gqa_tensor_3d(small->x, GQA_F32, b, t, SMALL_HIDDEN);
    out.hidden_states = gqa_tensor_3d(y, GQA_F32, b, t, SMALL_HIDDEN);
    return gqa_forward(small->layer, small->cache, in, &out, NULL, 0, &refusal);
}

static void wrong_rows(void **state)
{
    static const struct {
        int32_t rows[4];
        const char *text;
    } wrong[] = {{{1, 2, 5, 8}, "[0] is 1"},   {{0, 3, 2, 8}, "[2] is 2"},
                 {{0, 3, 9, 8}, "[2] is 9"},   {{0, 3, 5, 7}, "[3] is 7"},
                 {{0, 3, 5, 9}, "[3] is 9"},   {{-1, 3, 5, 8}, "[0] is -1"},
                 {{0, -3, 5, 8}, "[1] is -3"}, {{0, 3, 5, INT32_MIN}, "[3] is -2147483648"}};
    static struct small_layer small;
    const int32_t good[4] = {0, 3, 3, 8}, five[6] = {0, 1, 2, 3, 5, 8}, some[4] = {0};
    gqa_inputs in;
    (void)state;
    small_layer_open(&small, NULL);
    const uint64_t before = small_layer_cache_hash(small.cache, SMALL_SEQUENCES);
    gqa_inputs_init(&in);
    in.batch = 3;
    refused(call(&small, &in, 1, 8), GQA_ERR_ARG, "inputs.batch", "must be 0 without");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        in.row_begin = wrong[i].rows;
        refused(call(&small, &in, 1, 8), GQA_ERR_ARG, "inputs.row_begin", wrong[i].text);
    }
    in.row_begin = good;
    refused(call(&small, &in, 2, 8), GQA_ERR_SHAPE, "inputs.hidden_states", "must be 1 with");
    in.first_valid = some;
    refused(call(&small, &in, 1, 8), GQA_ERR_ARG, "inputs.first_valid", "has no padding");
    in.first_valid = NULL;
    in.lengths = some;
    refused(call(&small, &in, 1, 8), GQA_ERR_ARG, "inputs.lengths", "has no padding");
    in.lengths = NULL;
    in.batch = -1;
    refused(call(&small, &in, 1, 8), GQA_ERR_ARG, "inputs.batch", "is -1");
    in.batch = 5; /* the cache has four sequences */
    in.row_begin = five;
    refused(call(&small, &in, 1, 8), GQA_ERR_ARG, "inputs.sequences", "[4] is 4");
    in.batch = 3;
    in.row_begin = good;
    in.active_mask = gqa_tensor_3d(small.x, GQA_U8, 1, 8, 4);
    refused(call(&small, &in, 1, 8), GQA_ERR_SHAPE, "inputs.active_mask",
            "has 4 columns; batch entry 2 has 5 tokens");
    assert_true(small_layer_cache_hash(small.cache, SMALL_SEQUENCES) == before);
    in.active_mask.data = NULL;
    assert_int_equal(call(&small, &in, 1, 8), GQA_OK);
    small_layer_close(&small);
}

/* Nobody in it: nothing happens. */
static void no_entries(void **state)
{
    static struct small_layer small;
    const int32_t nothing[3] = {0, 0, 0};
    gqa_inputs in;
    (void)state;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    in.row_begin = nothing;
    assert_int_equal(call(&small, &in, 1, 0), GQA_OK);
    in.batch = 2;
    assert_int_equal(call(&small, &in, 1, 0), GQA_OK);
    assert_int_equal(gqa_cache_length(small.cache, 0), 0);
    small_layer_close(&small);
}

/* ---- one workspace for many calls ---- */

/* Bytes for tensors [outer, t, ..], batch > 0 of a flat call: from hidden states to hidden states,
 * or from projections to the attention's output. */
static size_t size_of(struct small_layer *small, bool cached, bool projected, int outer, int t,
                      int batch)
{
    const int32_t unread[1] = {0};
    gqa_inputs in;
    gqa_output out;
    size_t size = 0;
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    if (projected) {
        const int dv = small->model.config.v_head_dim > 0 ? SMALL_DV : SMALL_DK;
        in.q_proj = gqa_tensor_4d(small->x, GQA_F32, outer, t, SMALL_HQ, SMALL_DK);
        in.k_proj = gqa_tensor_4d(small->x, GQA_F32, outer, t, SMALL_HKV, SMALL_DK);
        in.v_proj = gqa_tensor_4d(small->x, GQA_F32, outer, t, SMALL_HKV, dv);
        out.attn = gqa_tensor_4d(small->x, GQA_BF16, outer, t, SMALL_HQ, dv);
    } else {
        in.hidden_states = gqa_tensor_3d(small->x, GQA_F32, outer, t, SMALL_HIDDEN);
        out.hidden_states = in.hidden_states;
    }
    in.row_begin = batch > 0 ? unread : NULL;
    in.batch = batch;
    assert_int_equal(gqa_workspace_size(small->layer, cached ? small->cache : NULL, &in, &out,
                                        &size, &small->err),
                     GQA_OK);
    return size;
}

static void reference(gqa_config *config)
{
    config->backend = GQA_BACKEND_REFERENCE;
}

static void windowed(gqa_config *config)
{
    config->sliding_window = 20;
}

/* What a flat call of b entries and n tokens needs grows with both, and no padded call of as many
 * needs more. */
static void one_workspace(void **state)
{
    static void (*const edits[])(gqa_config *) = {NULL, windowed, reference, neuron};
    static const int tokens[] = {1, 2, 3, 7, 16, 33, 64, 127, 128, 129, 200, 256, 300, 511, 640};
    enum { LENGTHS = sizeof tokens / sizeof tokens[0], EDITS = sizeof edits / sizeof edits[0] };
    static struct small_layer small;
    (void)state;
    for (int way = 0; way < 4 * EDITS; way++) {
        const bool cached = way % 2 != 0, projected = way / 2 % 2 != 0;
        small_layer_open(&small, edits[way / 4]);
        for (int i = 0; i < LENGTHS; i++) {
            for (int b = 1; b <= 9; b++) {
                const int n = tokens[i], more = tokens[i + 1 < LENGTHS ? i + 1 : i];
                const size_t flat = size_of(&small, cached, projected, 1, n, b);
                assert_true(size_of(&small, cached, projected, 1, more, b) >= flat);
                assert_true(size_of(&small, cached, projected, 1, n, b + 1) >= flat);
                assert_true(size_of(&small, cached, projected, b, n / b, 0) <= flat);
            }
        }
        small_layer_close(&small);
    }
}

static void needed_bytes(void **state)
{
    static struct small_layer small;
    char text[64];
    gqa_inputs in;
    gqa_output out;
    (void)state;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = out.hidden_states = gqa_tensor_3d(small.x, GQA_F32, 1, 8, SMALL_HIDDEN);
    snprintf(text, sizeof text, "has 64 bytes; this call needs %zu",
             size_of(&small, false, false, 1, 8, 0));
    void *const workspace = aligned_alloc(64, 64);
    refused(gqa_forward(small.layer, NULL, &in, &out, workspace, 64, &refusal), GQA_ERR_WORKSPACE,
            "size", text);
    free(workspace);
    small_layer_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_alone), cmocka_unit_test(neuron_alone),
        cmocka_unit_test(wrong_rows),    cmocka_unit_test(no_entries),
        cmocka_unit_test(one_workspace), cmocka_unit_test(needed_bytes),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) {
        return TEST_SKIPPED;
    }
    return RUN_TESTS(argc, argv, tests);
}
