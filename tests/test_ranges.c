/* SPDX-License-Identifier: Apache-2.0 */
/* test_ranges.c - gqa_attend on plain keys, on caches and in parts gives the same bits, whatever
 * lies in the slots of keys that no row sees.
 *
 * Key counts around the fold block and odd ones; every way of cutting a key range into aligned
 * subtrees of the fold tree is drawn at random and merged again. GQA_TEST_BRIEF=N: one of N layers.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layer/layer.h"
#include "support/fewer_cases.h"
#include "support/oracle.h"
#include "support/program.h"
#include "support/random_case.h"

enum { BATCH = 2, QUERIES = 5, PARTS = 64, MODELS = 14 };

/* One layer, keys, values and queries. */
struct model {
    random_case c;
    gqa_layer *layer;
    int keys, dv;
    float *k, *v;         /* [B][keys][Hkv][D] */
    gqa_attend_inputs in; /* queries, masks; keys and values as plain tensors */
};

struct answer {
    size_t outputs, rows;
    float *output, *lse;
    gqa_states states;
};

static bool usable(const gqa_config *g, int keys)
{
    int dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    return g->hidden_size == 0 && g->num_attention_heads * (g->head_dim + dv) * keys < 400000;
}

static float *numbers(random_case *c, size_t n)
{
    float *x = random_memory(c, n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)random_normal(c);
    }
    return x;
}

static void choose_masks(struct model *m)
{
    random_case *c = &m->c;
    int64_t shape[4] = {BATCH, 1, QUERIES, m->keys};
    int32_t *begin = random_memory(c, (size_t)(BATCH * QUERIES), sizeof *begin);
    int32_t *end = random_memory(c, (size_t)(BATCH * QUERIES), sizeof *end);
    random_fill u8 = {.dtype = GQA_U8};
    random_fill f32 = {.scale = 1.0};
    for (int i = 0; i < BATCH * QUERIES; i++) {
        begin[i] = random_below(c, m->keys);
        end[i] = begin[i] + random_below(c, m->keys);
    }
    if (random_below(c, 3) == 0) {
        m->in.key_begin = begin;
        m->in.key_end = end;
    }
    if (random_below(c, 3) == 0) {
        m->in.mask = random_tensor(c, 4, shape, u8);
        for (int i = 0; i < BATCH * QUERIES * m->keys; i++) {
            ((unsigned char *)m->in.mask.data)[i] = random_below(c, 3) != 0;
        }
    }
    if (random_below(c, 3) == 0) {
        m->in.bias = random_tensor(c, 4, shape, f32);
    }
}

static void model_open(struct model *m, uint64_t seed, int keys)
{
    random_case *c = &m->c;
    const gqa_config *g = &c->config;
    gqa_error err = {0};
    memset(m, 0, sizeof *m);
    gqa_numerics numerics = (gqa_numerics)(seed % 2);
    for (uint64_t s = seed;
         g->num_attention_heads == 0 || !usable(g, keys) || g->numerics != numerics; s += 10000) {
        random_free(c);
        assert_true(random_draw(c, s, OPT_HIDDEN, -1, OPT_HIDDEN, -1));
        c->config.sliding_window *= 3; /* windows over more than one block too */
    }
    random_weights(c);
    if (gqa_create(&m->layer, g, &c->weights, NULL, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    m->keys = keys;
    m->dv = g->v_head_dim > 0 ? g->v_head_dim : g->head_dim;
    size_t rows = (size_t)(BATCH * keys * g->num_key_value_heads);
    m->k = numbers(c, rows * (size_t)g->head_dim);
    m->v = numbers(c, rows * (size_t)m->dv);
    gqa_attend_inputs_init(&m->in);
    m->in.query =
        gqa_tensor_4d(numbers(c, (size_t)(BATCH * QUERIES * g->num_attention_heads * g->head_dim)),
                      GQA_F32, BATCH, QUERIES, g->num_attention_heads, g->head_dim);
    m->in.key = gqa_tensor_4d(m->k, GQA_F32, BATCH, keys, g->num_key_value_heads, g->head_dim);
    m->in.value = gqa_tensor_4d(m->v, GQA_F32, BATCH, keys, g->num_key_value_heads, m->dv);
    m->in.phase = random_below(c, 2) != 0 ? GQA_PHASE_CTE : GQA_PHASE_TKG;
    m->in.leave_out_sinks = random_below(c, 4) == 0;
    choose_masks(m);
}

static void model_close(struct model *m)
{
    gqa_destroy(&m->layer);
    random_free(&m->c);
}

static void answer_open(struct model *m, struct answer *a)
{
    int hq = m->c.config.num_attention_heads;
    a->rows = (size_t)(BATCH * QUERIES * hq);
    a->outputs = a->rows * (size_t)m->dv;
    a->output = random_memory(&m->c, a->outputs, 4);
    a->lse = random_memory(&m->c, a->rows, 4);
    float *states = random_memory(&m->c, 2 * a->rows + a->outputs, 4);
    a->states.m = gqa_tensor_3d(states, GQA_F32, BATCH, QUERIES, hq);
    a->states.l = gqa_tensor_3d(states + a->rows, GQA_F32, BATCH, QUERIES, hq);
    a->states.o = gqa_tensor_4d(states + 2 * a->rows, GQA_F32, BATCH, QUERIES, hq, m->dv);
}

static void attend(struct model *m, const gqa_cache *cache, const gqa_attend_inputs *in,
                   struct answer *a)
{
    gqa_attend_output out;
    gqa_error err = {0};
    int hq = m->c.config.num_attention_heads;
    answer_open(m, a);
    gqa_attend_output_init(&out);
    out.output = gqa_tensor_4d(a->output, GQA_F32, BATCH, QUERIES, hq, m->dv);
    out.lse = gqa_tensor_3d(a->lse, GQA_F32, BATCH, QUERIES, hq);
    out.states = a->states;
    if (gqa_attend(m->layer, cache, in, &out, NULL, 0, &err) != GQA_OK) {
        random_print(stderr, &m->c);
        fail_msg("%s", err.message);
    }
    a->states = out.states;
}

/* m and l and o of a row without keys are (-inf, 0, 0); all states in one block. */
static void same(const struct model *m, const struct answer *got, const struct answer *want,
                 const char *how)
{
    bool equal =
        memcmp(got->output, want->output, got->outputs * 4) == 0 &&
        memcmp(got->lse, want->lse, got->rows * 4) == 0 &&
        memcmp(got->states.m.data, want->states.m.data, (2 * got->rows + got->outputs) * 4) == 0;
    if (!equal) {
        random_print(stderr, &m->c);
        fail_msg("%d keys: \"%s\" gives other bits", m->keys, how);
    }
}

/* --- plain keys and caches ---------------------------------------------------------------------
 */

static gqa_tensor slice(const gqa_tensor *t, int b, int from, int n)
{
    size_t at = (size_t)(b * t->stride[0] + from * t->stride[1]);
    gqa_tensor s = gqa_tensor_3d((float *)t->data + at, GQA_F32, n, t->shape[2], t->shape[3]);
    s.stride[0] = t->stride[1];
    s.stride[1] = t->stride[2];
    return s;
}

/* A cache with the keys of both rows, in sequences 1 and 0, appended in pieces. */
static gqa_cache *fill_cache(struct model *m, int page_size, int piece)
{
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_cache_options_init(&options, m->layer);
    options.max_sequences = BATCH;
    options.max_tokens = m->keys;
    options.page_size = page_size;
    assert_int_equal(gqa_cache_create(&cache, m->layer, &options, NULL), GQA_OK);
    for (int b = 0; b < BATCH; b++) {
        for (int from = 0; from < m->keys; from += piece) {
            int n = piece < m->keys - from ? piece : m->keys - from;
            gqa_tensor key = slice(&m->in.key, b, from, n);
            gqa_tensor value = slice(&m->in.value, b, from, n);
            assert_int_equal(gqa_cache_append(cache, 1 - b, &key, &value, NULL, NULL), GQA_OK);
        }
    }
    return cache;
}

/* [B, Hkv, K, D] in memory, read as [B, K, Hkv, D]. */
static gqa_tensor heads_first(random_case *c, const gqa_tensor *t)
{
    float *x = random_memory(c, (size_t)(t->shape[0] * t->stride[0]) + 1, sizeof *x);
    gqa_tensor out =
        gqa_tensor_4d(x + 1, GQA_F32, t->shape[0], t->shape[1], t->shape[2], t->shape[3]);
    out.stride[1] = t->shape[3];
    out.stride[2] = t->shape[1] * t->shape[3];
    for (int64_t b = 0; b < t->shape[0]; b++) {
        for (int64_t k = 0; k < t->shape[1]; k++) {
            for (int64_t h = 0; h < t->shape[2]; h++) {
                memcpy((float *)out.data + b * out.stride[0] + k * out.stride[1] +
                           h * out.stride[2],
                       (float *)t->data + b * t->stride[0] + k * t->stride[1] + h * t->stride[2],
                       (size_t)t->shape[3] * sizeof *x);
            }
        }
    }
    return out;
}

static void compare_views(struct model *m)
{
    static const int pages[][2] = {{16, 1000}, {32, 1}, {64, 7}, {128, 130}, {256, 256}, {512, 3}};
    static const int32_t swapped[BATCH] = {1, 0};
    struct answer want, got;
    gqa_attend_inputs in = m->in;
    attend(m, NULL, &m->in, &want);
    attend(m, NULL, &m->in, &got);
    same(m, &got, &want, "again");
    in.key = heads_first(&m->c, &m->in.key);
    in.value = heads_first(&m->c, &m->in.value);
    attend(m, NULL, &in, &got);
    same(m, &got, &want, "heads before tokens");
    in.query = heads_first(&m->c, &m->in.query);
    attend(m, NULL, &in, &got);
    same(m, &got, &want, "queries that have to be copied");
    struct gqa__knobs none = {0};
    gqa_attend_inputs cached = m->in;
    memset(&cached.key, 0, sizeof cached.key);
    memset(&cached.value, 0, sizeof cached.value);
    cached.sequences = swapped;
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        gqa_cache *cache = fill_cache(m, pages[i][0], pages[i][1]);
        attend(m, cache, &cached, &got);
        same(m, &got, &want, "a cache");
        gqa_cache_destroy(&cache);
    }
    static const struct {
        const char *how;
        struct gqa__knobs knobs;
    } hows[] = {{"cut by keys", {.force_key_cut = true}},
                {"all blocks masked", {.mask_all_blocks = true}},
                {"blocks of 3 queries, some of both rows", {.token_block = 3}},
                {"one query at a time", {.token_block = 1}}};
    for (size_t i = 0; i < sizeof hows / sizeof *hows; i++) {
        m->layer->params.knobs = hows[i].knobs;
        attend(m, NULL, &m->in, &got);
        same(m, &got, &want, hows[i].how);
        attend(m, NULL, &in, &got);
        same(m, &got, &want, hows[i].how);
    }
    m->layer->params.knobs = none;
}

/* --- parts -------------------------------------------------------------------------------------
 */

/* Random aligned subtrees that cover blocks [0, blocks), the last one cut by the end of the keys.
 */
static int cut_range(struct model *m, int *begin, int *end)
{
    int block = gqa_fold_block();
    int blocks = (m->keys + block - 1) / block;
    int n = 0;
    for (int at = 0; at < blocks; n++) {
        int size = 1;
        while (at % (2 * size) == 0 && at + size < blocks && random_below(&m->c, 2) != 0) {
            size *= 2;
        }
        begin[n] = at * block;
        at += size;
        end[n] = at * block < m->keys ? at * block : m->keys;
    }
    return n;
}

static void finish(struct model *m, struct answer *a)
{
    gqa_tensor output =
        gqa_tensor_4d(a->output, GQA_F32, BATCH, QUERIES, m->c.config.num_attention_heads, m->dv);
    gqa_tensor lse =
        gqa_tensor_3d(a->lse, GQA_F32, BATCH, QUERIES, m->c.config.num_attention_heads);
    assert_int_equal(gqa_finish_states(m->layer, &a->states, m->in.phase, m->in.leave_out_sinks,
                                       &output, &lse, NULL),
                     GQA_OK);
}

static void compare_parts(struct model *m)
{
    int begin[PARTS], end[PARTS];
    struct answer want, got;
    struct answer part[PARTS];
    const gqa_states *states[PARTS];
    gqa_attend_inputs in = m->in;
    attend(m, NULL, &m->in, &want);
    int n = cut_range(m, begin, end);
    for (int i = 0; i < n; i++) {
        in.range_begin = begin[i];
        in.range_end = end[i];
        attend(m, NULL, &in, &part[i]);
        states[i] = &part[i].states;
    }
    answer_open(m, &got);
    assert_int_equal(gqa_merge_states(states, n, &got.states, NULL), GQA_OK);
    finish(m, &got);
    same(m, &got, &want, "parts merged");
    assert_int_equal(gqa_merge_states(states, n, &part[0].states, NULL), GQA_OK);
    finish(m, &part[0]);
    same(m, &part[0], &want, "parts merged into the first");
}

/* The lower half as a prior of the upper: one subtree on the left. */
static void compare_prior(struct model *m)
{
    int half = gqa_fold_block();
    struct answer want, low, high;
    gqa_attend_inputs in = m->in;
    while (2 * half < m->keys) {
        half *= 2;
    }
    if (half >= m->keys) {
        return;
    }
    attend(m, NULL, &m->in, &want);
    in.range_end = half;
    attend(m, NULL, &in, &low);
    in.range_begin = half;
    in.range_end = 0;
    in.prior = &low.states;
    attend(m, NULL, &in, &high);
    same(m, &high, &want, "lower half as prior states");
}

/* --- keys that nobody sees ---------------------------------------------------------------------
 */

typedef bool (*hidden_key)(int keys, int key);

static bool every_third(int keys, int key)
{
    (void)keys;
    return key % 3 == 1;
}

static bool first_third(int keys, int key)
{
    return key < keys / 3;
}

static bool last_two(int keys, int key)
{
    return key >= keys - 2;
}

/* Overwrite K and V of the keys that are hidden. */
static void scribble(struct model *m, hidden_key hidden, float k, float v)
{
    int hkv = m->c.config.num_key_value_heads;
    int dk = m->c.config.head_dim;
    for (int i = 0; i < BATCH * m->keys; i++) {
        for (int d = 0; d < hkv * dk && hidden(m->keys, i % m->keys); d++) {
            m->k[i * hkv * dk + d] = k;
        }
        for (int d = 0; d < hkv * m->dv && hidden(m->keys, i % m->keys); d++) {
            m->v[i * hkv * m->dv + d] = v;
        }
    }
}

/* The same answer with every kind of number in the hidden keys, plain and in a cache. */
static void compare_hidden(struct model *m, hidden_key hidden, bool cached, const char *how)
{
    static const float numbers_of[][2] = {
        {1.0f, -2.0f}, {NAN, NAN},     {INFINITY, -INFINITY}, {0.5f, NAN},
        {NAN, 1.0f},   {3e38f, 3e38f}, {-INFINITY, 1e-42f},   {0.0f, INFINITY}};
    static const int32_t swapped[BATCH] = {1, 0};
    struct answer want, got;
    attend(m, NULL, &m->in, &want);
    for (size_t i = 0; i < sizeof numbers_of / sizeof *numbers_of; i++) {
        gqa_attend_inputs in = m->in;
        scribble(m, hidden, numbers_of[i][0], numbers_of[i][1]);
        attend(m, NULL, &m->in, &got);
        same(m, &got, &want, how);
        if (cached) {
            gqa_cache *cache = fill_cache(m, 32, 100);
            memset(&in.key, 0, sizeof in.key);
            memset(&in.value, 0, sizeof in.value);
            in.sequences = swapped;
            attend(m, cache, &in, &got);
            same(m, &got, &want, how);
            gqa_cache_destroy(&cache);
        }
    }
}

static void hide_by_mask(struct model *m)
{
    int64_t shape[4] = {BATCH, 1, QUERIES, m->keys};
    random_fill u8 = {.dtype = GQA_U8};
    m->in.mask = random_tensor(&m->c, 4, shape, u8);
    for (int i = 0; i < BATCH * QUERIES * m->keys; i++) {
        ((unsigned char *)m->in.mask.data)[i] = !every_third(m->keys, i % m->keys);
    }
    compare_hidden(m, every_third, true, "keys behind a mask");
    memset(&m->in.mask, 0, sizeof m->in.mask);
}

static void hide_by_bias(struct model *m)
{
    int64_t shape[4] = {1, 1, QUERIES, m->keys};
    random_fill f32 = {.scale = 1.0};
    m->in.bias = random_tensor(&m->c, 4, shape, f32);
    for (int i = 0; i < QUERIES * m->keys; i++) {
        if (every_third(m->keys, i % m->keys)) {
            ((float *)m->in.bias.data)[i] = -INFINITY;
        }
    }
    compare_hidden(m, every_third, true, "keys behind a bias of -inf");
    memset(&m->in.bias, 0, sizeof m->in.bias);
}

static void compare_unseen(struct model *m)
{
    int32_t lengths[BATCH] = {m->keys - 2, m->keys - 2};
    int32_t begin[BATCH * QUERIES], end[BATCH * QUERIES];
    if (m->keys < 3) {
        return;
    }
    for (int i = 0; i < BATCH * QUERIES; i++) {
        begin[i] = m->keys / 3;
        end[i] = m->keys;
    }
    memset(&m->in.mask, 0, sizeof m->in.mask);
    memset(&m->in.bias, 0, sizeof m->in.bias);
    m->in.key_begin = begin;
    m->in.key_end = end;
    compare_hidden(m, first_third, true, "keys before the bounds");
    m->in.key_begin = m->in.key_end = NULL;
    hide_by_mask(m);
    hide_by_bias(m);
    m->in.key_lengths = lengths;
    compare_hidden(m, last_two, false, "keys beyond the length");
    m->in.key_lengths = NULL;
}

/* --- sinks -------------------------------------------------------------------------------------
 */

/* Sinks of -inf are no sinks, to the bit. */
static void compare_sinks(struct model *m)
{
    random_case *c = &m->c;
    gqa_config config = c->config;
    gqa_weights weights = c->weights;
    gqa_layer *own = m->layer;
    struct answer want, got;
    int hq = config.num_attention_heads;
    float *none = random_memory(c, (size_t)hq, sizeof *none);
    for (int h = 0; h < hq; h++) {
        none[h] = -INFINITY;
    }
    for (int sinks = 0; sinks < 2; sinks++) {
        config.learned_sinks_size = sinks;
        memset(&weights.tkg_sinks, 0, sizeof weights.tkg_sinks);
        weights.sinks = gqa_tensor_1d(sinks != 0 ? none : NULL, GQA_F32, hq);
        assert_int_equal(gqa_create(&m->layer, &config, &weights, NULL, NULL), GQA_OK);
        attend(m, NULL, &m->in, sinks != 0 ? &got : &want);
        gqa_destroy(&m->layer);
    }
    m->layer = own;
    same(m, &got, &want, "sinks of -inf");
}

static void check_keys(int keys)
{
    const int count = fewer_cases(MODELS);
    for (int i = 0; i < count; i++) {
        struct model m;
        model_open(&m, 7000 + (uint64_t)(MODELS * keys + i), keys);
        compare_views(&m);
        compare_parts(&m);
        compare_parts(&m);
        compare_prior(&m);
        compare_unseen(&m);
        compare_sinks(&m);
        model_close(&m);
    }
}

static void test_keys_1_3_29(void **state)
{
    (void)state;
    check_keys(1);
    check_keys(3);
    check_keys(29);
}

static void test_keys_255_256_257(void **state)
{
    (void)state;
    check_keys(255);
    check_keys(256);
    check_keys(257);
}

static void test_keys_511_777_1300(void **state)
{
    (void)state;
    check_keys(511);
    check_keys(777);
    check_keys(1300);
}

static void test_keys_2049_4099(void **state)
{
    (void)state;
    check_keys(2049);
    check_keys(4099);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_1_3_29),
        cmocka_unit_test(test_keys_255_256_257),
        cmocka_unit_test(test_keys_511_777_1300),
        cmocka_unit_test(test_keys_2049_4099),
    };
    return RUN_TESTS(argc, argv, tests);
}
