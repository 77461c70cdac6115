/* SPDX-License-Identifier: Apache-2.0 */
/* test_positions.c - position ids at every way in: what is refused, by name and without a trace,
 * and what is served. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/program.h"
#include "support/random.h"
#include "support/small_layer.h"

enum { T = 3, HELD = 4 };

static struct small_layer small; /* sequence 0 holds positions 0 .. HELD-1 */
static uint8_t ones[T * 64];
static float q[T * SMALL_HQ * SMALL_DK], kv[T * SMALL_HKV * SMALL_DK], out[T * SMALL_HQ * SMALL_DK];

/* Every key is visible, and the temperature's logarithm is defined from position 0 on. */
static void warm(gqa_config *config)
{
    config->bidirectional = 1;
    config->query_temperature = GQA_QUERY_TEMPERATURE_MINISTRAL;
    config->query_temperature_scale = 0.5f;
    config->query_temperature_floor = 2.0f;
}

/* ---- the ways in: T ids, with a mask of ones or without ---- */

static gqa_status forward(const int32_t *ids, bool masked, gqa_cache *cache, bool borrow,
                          bool no_keys, gqa_error *err)
{
    gqa_inputs in;
    gqa_output o;
    gqa_inputs_init(&in);
    gqa_output_init(&o);
    in.q_proj = gqa_tensor_4d(q, GQA_F32, 1, T, SMALL_HQ, SMALL_DK);
    if (!borrow && !no_keys) {
        in.k_proj = gqa_tensor_4d(kv, GQA_F32, 1, T, SMALL_HKV, SMALL_DK);
        in.v_proj = gqa_tensor_4d(kv, GQA_F32, 1, T, SMALL_HKV, SMALL_DV);
    }
    in.borrow_cache = borrow;
    in.position_ids = ids;
    if (masked) {
        in.mask = gqa_tensor_4d(ones, GQA_U8, 1, 1, T, 64);
    }
    o.attn = gqa_tensor_4d(out, GQA_F32, 1, T, SMALL_HQ, SMALL_DV);
    return gqa_forward(small.layer, cache, &in, &o, NULL, 0, err);
}

static gqa_status way_append(const int32_t *ids, bool masked, gqa_error *err)
{
    const gqa_status status = forward(ids, masked, small.cache, false, false, err);
    if (status == GQA_OK) {
        assert_int_equal(gqa_cache_truncate(small.cache, 0, HELD, NULL), GQA_OK);
    }
    return status;
}

static gqa_status way_alone(const int32_t *ids, bool masked, gqa_error *err)
{
    return forward(ids, masked, NULL, false, false, err);
}

static gqa_status way_borrow(const int32_t *ids, bool masked, gqa_error *err)
{
    return forward(ids, masked, small.cache, true, false, err);
}

static gqa_status way_no_keys(const int32_t *ids, bool masked, gqa_error *err)
{
    return forward(ids, masked, small.cache, false, true, err);
}

static gqa_status attend(const int32_t *ids, const int32_t *key_ids, bool masked,
                         const gqa_cache *cache, gqa_error *err)
{
    gqa_attend_inputs in;
    gqa_attend_output o;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&o);
    in.query = gqa_tensor_4d(q, GQA_F32, 1, T, SMALL_HQ, SMALL_DK);
    if (cache == NULL) {
        in.key = gqa_tensor_4d(kv, GQA_F32, 1, T, SMALL_HKV, SMALL_DK);
        in.value = gqa_tensor_4d(kv, GQA_F32, 1, T, SMALL_HKV, SMALL_DV);
    }
    in.position_ids = ids;
    in.key_position_ids = key_ids;
    if (masked) {
        in.mask = gqa_tensor_4d(ones, GQA_U8, 1, 1, T, 64);
    }
    o.output = gqa_tensor_4d(out, GQA_F32, 1, T, SMALL_HQ, SMALL_DV);
    return gqa_attend(small.layer, cache, &in, &o, NULL, 0, err);
}

static gqa_status way_queries(const int32_t *ids, bool masked, gqa_error *err)
{
    return attend(ids, NULL, masked, NULL, err);
}

static gqa_status way_queries_cache(const int32_t *ids, bool masked, gqa_error *err)
{
    return attend(ids, NULL, masked, small.cache, err);
}

static gqa_status way_keys(const int32_t *ids, bool masked, gqa_error *err)
{
    return attend(NULL, ids, masked, NULL, err);
}

static gqa_status way_cache_append(const int32_t *ids, bool masked, gqa_error *err)
{
    const gqa_tensor key = gqa_tensor_3d(kv, GQA_F32, T, SMALL_HKV, SMALL_DK);
    const gqa_tensor value = gqa_tensor_3d(kv, GQA_F32, T, SMALL_HKV, SMALL_DV);
    const gqa_status status = gqa_cache_append(small.cache, 0, &key, &value, ids, err);
    (void)masked;
    memset(out, 0, sizeof out);
    if (status == GQA_OK) {
        assert_int_equal(gqa_cache_truncate(small.cache, 0, HELD, NULL), GQA_OK);
    }
    return status;
}

static gqa_status way_temperature(const int32_t *ids, bool masked, gqa_error *err)
{
    const gqa_tensor rows = gqa_tensor_3d(out, GQA_F32, T, SMALL_HQ, SMALL_DK);
    (void)masked;
    memcpy(out, q, sizeof out);
    return gqa_stage_query_temperature(small.layer, ids, &rows, err);
}

static gqa_status way_table(const int32_t *ids, bool masked, gqa_error *err)
{
    const gqa_tensor c = gqa_tensor_2d(out, GQA_F32, T, SMALL_DK / 2);
    const gqa_tensor s = gqa_tensor_2d(out + T * SMALL_DK / 2, GQA_F32, T, SMALL_DK / 2);
    (void)masked;
    return gqa_stage_rope_table(small.layer, ids, 1, 0, &c, &s, err);
}

static gqa_status way_rotary(const int32_t *ids, bool masked, gqa_error *err)
{
    gqa_inputs in;
    float y[T * SMALL_HIDDEN];
    gqa_inputs_init(&in);
    (void)masked;
    (void)err;
    in.rotary_position_ids = ids;
    return small_layer_forward(&small, NULL, &in, 1, T, small.x, y);
}

/* What each way takes: ids above those held, below 0, equal, falling; the last two also with a
 * mask. */
enum { NEGATIVE = 1, EQUAL = 2, FALLING = 4, UNLESS_MASKED = 8, ABOVE_HELD = 16 };

static const struct way {
    const char *name;
    gqa_status (*call)(const int32_t *ids, bool masked, gqa_error *err);
    const char *field;
    int refused;
} ways[] = {
    {"gqa_forward, appending", way_append, "inputs.position_ids",
     NEGATIVE | EQUAL | FALLING | UNLESS_MASKED | ABOVE_HELD},
    {"gqa_forward without a cache", way_alone, "inputs.position_ids",
     NEGATIVE | EQUAL | FALLING | UNLESS_MASKED},
    {"gqa_forward, borrow_cache", way_borrow, "inputs.position_ids",
     NEGATIVE | EQUAL | FALLING | UNLESS_MASKED},
    {"gqa_forward without k_proj", way_no_keys, "inputs.position_ids",
     NEGATIVE | EQUAL | FALLING | UNLESS_MASKED},
    {"gqa_attend, queries", way_queries, NULL, 0},
    {"gqa_attend, queries on a cache", way_queries_cache, NULL, 0},
    {"gqa_attend, keys", way_keys, "inputs.key_position_ids", EQUAL | FALLING | UNLESS_MASKED},
    {"gqa_cache_append", way_cache_append, "positions", NEGATIVE | EQUAL | FALLING | ABOVE_HELD},
    {"gqa_stage_query_temperature", way_temperature, "positions", NEGATIVE},
    {"gqa_stage_rope_table", way_table, NULL, 0},
    {"gqa_forward, rotary_position_ids", way_rotary, NULL, 0},
};

static const struct pattern {
    int32_t ids[T];
    int is; /* one of the faults above, or 0 */
    const char *text;
} patterns[] = {
    {{10, 11, 19}, 0, ""},
    {{10, 11, INT32_MAX}, 0, ""},
    {{-5, -2, 7}, NEGATIVE, "is -5; it must be at least 0"},
    {{INT32_MIN, -2, 7}, NEGATIVE, "is -2147483648; it must be at least 0"},
    {{10, 10, 19}, EQUAL, "is 10; it must be above 10"},
    {{10, 19, 18}, FALLING, "is 18; it must be above 19"},
    {{0, 1, 2}, ABOVE_HELD, "is 0; it must be above 3"},
};

static void try(const struct way *way, const struct pattern *pattern, bool masked)
{
    gqa_error err = {GQA_OK, NULL, ""};
    const uint64_t before = small_layer_cache_hash(small.cache, 1);
    const bool order = pattern->is == EQUAL || pattern->is == FALLING || pattern->is == ABOVE_HELD;
    const bool excused = masked && order && (way->refused & UNLESS_MASKED) != 0;
    const bool refused = (way->refused & pattern->is) != 0 && !excused;
    const gqa_status status = way->call(pattern->ids, masked, &err);
    if (status != (refused ? GQA_ERR_ARG : GQA_OK)) {
        fail_msg("%s, ids %d %d %d, mask %d: status %d (%s)", way->name, (int)pattern->ids[0],
                 (int)pattern->ids[1], (int)pattern->ids[2], masked, (int)status, err.message);
    }
    if (refused) {
        assert_string_equal(err.field, way->field);
        if (strstr(err.message, pattern->text) == NULL) {
            fail_msg("%s: \"%s\" does not say \"%s\"", way->name, err.message, pattern->text);
        }
        if (strncmp(way->field, "inputs.", 7) == 0 &&
            strstr(err.message, "batch entry 0, token") == NULL) {
            fail_msg("%s: \"%s\" does not say where", way->name, err.message);
        }
    } else {
        for (size_t i = 0; i < sizeof out / sizeof out[0]; i++) {
            assert_true(isfinite(out[i]));
        }
    }
    assert_true(small_layer_cache_hash(small.cache, 1) == before);
}

static void every_way_in(void **state)
{
    float y[HELD * SMALL_HIDDEN];
    (void)state;
    small_layer_open(&small, warm);
    memset(ones, 1, sizeof ones);
    memcpy(q, small.x, sizeof q);
    memcpy(kv, small.x + 1000, sizeof kv);
    assert_int_equal(small_layer_forward(&small, small.cache, NULL, 1, HELD, small.x, y), GQA_OK);
    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
        for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
            try(&ways[w], &patterns[p], false);
            try(&ways[w], &patterns[p], true);
        }
    }
    small_layer_close(&small);
}

/* ---- what gqa_attend makes of any ids ---- */

enum { QUERIES = 150, KEYS = 300 };

struct plain {
    float query[QUERIES * SMALL_HQ * SMALL_DK], key[KEYS * SMALL_HKV * SMALL_DK];
    float value[KEYS * SMALL_HKV * SMALL_DV], out[QUERIES * SMALL_HQ * SMALL_DV];
    int32_t ids[QUERIES], key_ids[KEYS];
};

static void attend_plain(struct plain *p, int first, int n)
{
    gqa_attend_inputs in;
    gqa_attend_output o;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&o);
    in.query =
        gqa_tensor_4d(p->query + first * SMALL_HQ * SMALL_DK, GQA_F32, 1, n, SMALL_HQ, SMALL_DK);
    in.key = gqa_tensor_4d(p->key, GQA_F32, 1, KEYS, SMALL_HKV, SMALL_DK);
    in.value = gqa_tensor_4d(p->value, GQA_F32, 1, KEYS, SMALL_HKV, SMALL_DV);
    in.position_ids = p->ids + first;
    in.key_position_ids = p->key_ids;
    o.output =
        gqa_tensor_4d(p->out + first * SMALL_HQ * SMALL_DV, GQA_F32, 1, n, SMALL_HQ, SMALL_DV);
    if (gqa_attend(small.layer, NULL, &in, &o, NULL, 0, &small.err) != GQA_OK) {
        fail_msg("%s", small.err.message);
    }
}

static void windowed(gqa_config *config)
{
    static const float slopes[SMALL_HQ] = {0.5f, 0.25f, 0.125f, 0.0625f};
    config->sliding_window = 40;
    config->attention_chunk_size = 64;
    config->alibi_slopes = slopes;
}

static void reference(gqa_config *config)
{
    windowed(config);
    config->backend = GQA_BACKEND_REFERENCE;
}

/* Falling and far ids give the bits of one query at a time; ids that are all moved, below zero and
 * to both ends, give the bits of the unmoved ones. */
static void attend_takes_any_query_ids(void **state)
{
    static struct plain whole, single, moved;
    const int32_t offsets[] = {-1000, INT32_MIN, INT32_MAX - 2 * KEYS};
    void (*const edits[])(gqa_config *) = {windowed, reference};
    (void)state;
    for (int e = 0; e < 2; e++) {
        small_layer_open(&small, edits[e]);
        for (int i = 0; i < KEYS * SMALL_HKV * SMALL_DK; i++) {
            whole.key[i] = small.x[i % 6000];
        }
        memcpy(whole.value, small.x, sizeof whole.value);
        memcpy(whole.query, small.x + 100, sizeof whole.query);
        for (int32_t i = 0; i < KEYS; i++) {
            whole.key_ids[i] = 2 * i;
        }
        for (int32_t i = 0; i < QUERIES; i++) {
            whole.ids[i] = i % 7 == 3 ? 2 * KEYS - 1 - i : 2 * KEYS - 1 - 4 * i % (2 * KEYS);
        }
        single = whole;
        attend_plain(&whole, 0, QUERIES);
        for (int i = 0; i < QUERIES; i++) {
            attend_plain(&single, i, 1);
        }
        assert_memory_equal(whole.out, single.out, sizeof whole.out);
        for (size_t o = 0; o < sizeof offsets / sizeof offsets[0]; o++) {
            moved = whole;
            for (int i = 0; i < KEYS; i++) {
                moved.key_ids[i] += offsets[o];
            }
            for (int i = 0; i < QUERIES; i++) {
                moved.ids[i] += offsets[o];
            }
            attend_plain(&moved, 0, QUERIES);
            assert_memory_equal(whole.out, moved.out, sizeof whole.out);
        }
        small_layer_close(&small);
    }
}

/* ---- the ends ---- */

/* A default that is not used is not refused: after INT32_MAX an explicit id may come, where a mask
 * lets ids fall, and a row of no tokens; the default itself is refused. */
static void ids_after_the_last(void **state)
{
    const int32_t last[1] = {INT32_MAX}, early[1] = {7}, none[1] = {0};
    float y[SMALL_HIDDEN];
    gqa_inputs in;
    (void)state;
    small_layer_open(&small, NULL);
    gqa_inputs_init(&in);
    in.position_ids = last;
    assert_int_equal(small_layer_forward(&small, small.cache, &in, 1, 1, small.x, y), GQA_OK);
    in.position_ids = NULL;
    assert_int_equal(small_layer_forward(&small, small.cache, &in, 1, 1, small.x, y), GQA_ERR_ARG);
    assert_string_equal(small.err.field, "inputs.position_ids");
    in.lengths = none;
    assert_int_equal(small_layer_forward(&small, small.cache, &in, 1, 1, small.x, y), GQA_OK);
    in.lengths = NULL;
    memset(ones, 1, sizeof ones);
    in.mask = gqa_tensor_4d(ones, GQA_U8, 1, 1, 1, 64);
    in.position_ids = early;
    if (small_layer_forward(&small, small.cache, &in, 1, 1, small.x, y) != GQA_OK) {
        fail_msg("%s", small.err.message);
    }
    assert_int_equal(gqa_cache_length(small.cache, 0), 2);
    small_layer_close(&small);
}

/* T queries without ids, on n keys at 0 .. n - 1 (NULL cache), have those of the last keys. */
static void stand_at_the_end(int32_t n, const gqa_cache *cache)
{
    static float keys[8 * SMALL_HKV * SMALL_DK], none[T * SMALL_HQ * SMALL_DV];
    const size_t bytes = sizeof none;
    uint64_t seed = 5;
    int32_t ids[T];
    gqa_attend_inputs in;
    gqa_attend_output o;

    random_floats(&seed, keys, sizeof keys / sizeof *keys, 1.0f);
    random_floats(&seed, q, sizeof q / sizeof *q, 1.0f);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&o);
    in.query = gqa_tensor_4d(q, GQA_F32, 1, T, SMALL_HQ, SMALL_DK);
    if (cache == NULL) {
        in.key = gqa_tensor_4d(keys, GQA_F32, 1, n, SMALL_HKV, SMALL_DK);
        in.value = gqa_tensor_4d(keys, GQA_F32, 1, n, SMALL_HKV, SMALL_DV);
    }
    o.output = gqa_tensor_4d(none, GQA_F32, 1, T, SMALL_HQ, SMALL_DV);
    assert_int_equal(gqa_attend(small.layer, cache, &in, &o, NULL, 0, NULL), GQA_OK);
    o.output.data = out;
    for (int32_t away = -1; away <= 1; away++) {
        for (int32_t t = 0; t < T; t++) {
            ids[t] = n - T + t + away;
        }
        in.position_ids = ids;
        assert_int_equal(gqa_attend(small.layer, cache, &in, &o, NULL, 0, NULL), GQA_OK);
        assert_int_equal(memcmp(out, none, bytes) == 0, away == 0);
    }
}

static void queries_without_ids(void **state)
{
    const int32_t counts[] = {8, T, 2, 1};
    (void)state;
    small_layer_open(&small, NULL);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        stand_at_the_end(counts[i], NULL);
    }
    float y[HELD * SMALL_HIDDEN];
    assert_int_equal(small_layer_forward(&small, small.cache, NULL, 1, HELD, small.x, y), GQA_OK);
    stand_at_the_end(HELD, small.cache);
    small_layer_close(&small);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_in),
        cmocka_unit_test(attend_takes_any_query_ids),
        cmocka_unit_test(ids_after_the_last),
        cmocka_unit_test(queries_without_ids),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) {
        return TEST_SKIPPED;
    }
    return RUN_TESTS(argc, argv, tests);
}
