/* SPDX-License-Identifier: Apache-2.0 */
/* test_forward_errors.c - every field of a forward call spoilt: the error names it, the cache stays
 * as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/forward_faults.h"
#include "support/program.h"

static uint64_t untouched; /* hash of the calls' cache */

static int open_all(void **state)
{
    (void)state;
    forward_open();
    untouched = forward_cache_hash();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    forward_close();
    return 0;
}

/* The call fails in this way, and leaves the cache and the output struct alone. */
static void refused(struct call *c, const char *what, gqa_status status, const char *field)
{
    gqa_error err = {GQA_OK, NULL, ""};
    gqa_output before = c->out;
    gqa_status got =
        gqa_forward(c->layer, c->cache, c->inputs, c->output, c->workspace, c->size, &err);
    if (got != status || err.status != status || err.field == NULL ||
        strcmp(err.field, field) != 0 || strstr(err.message, field) == NULL) {
        fail_msg("%s: %d for %s (\"%s\"), not %d for %s", what, (int)got,
                 err.field != NULL ? err.field : "nothing", err.message, (int)status, field);
    }
    if (gqa_forward(c->layer, c->cache, c->inputs, c->output, c->workspace, c->size, NULL) !=
        status) {
        fail_msg("%s: another status without a gqa_error", what);
    }
    if (memcmp(&before, &c->out, sizeof before) != 0) {
        fail_msg("%s: the output struct was written", what);
    }
    if (forward_cache_hash() != untouched) {
        fail_msg("%s: the cache was changed", what);
    }
}

static void spoil_each(void (*make)(struct call *), const struct fault_tensor *tensors, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int applied = 0;
        for (int way = 0; way < FAULT_WAYS; way++) {
            struct call c;
            gqa_status status;
            const char *text;
            char what[96];
            make(&c);
            if (!fault_spoil(&tensors[i], way,
                             (gqa_tensor *)(void *)((unsigned char *)&c + tensors[i].offset),
                             &status, &text)) {
                continue;
            }
            snprintf(what, sizeof what, "%s with %s", tensors[i].field, text);
            refused(&c, what, status, tensors[i].field);
            applied++;
        }
        assert_true(applied >= 8);
    }
}

static void spoilt_tensors(void **state)
{
    (void)state;
    spoil_each(call_from_hidden, hidden_tensors, hidden_tensor_count);
    spoil_each(call_from_projections, projection_tensors, projection_tensor_count);
}

static void spoilt_calls(void **state)
{
    (void)state;
    for (size_t i = 0; i < hidden_fault_count; i++) {
        struct call c;
        call_from_hidden(&c);
        hidden_faults[i].spoil(&c);
        refused(&c, hidden_faults[i].what, hidden_faults[i].status, hidden_faults[i].field);
    }
    for (size_t i = 0; i < projection_fault_count; i++) {
        struct call c;
        call_from_projections(&c);
        projection_faults[i].spoil(&c);
        refused(&c, projection_faults[i].what, projection_faults[i].status,
                projection_faults[i].field);
    }
}

/* --- room in the cache -------------------------------------------------------------------------
 */

/* The second row does not fit: nothing of the first is appended either. */
static void cache_full(void **state)
{
    const int32_t lengths[B] = {2, SMALL_TOKENS - PAST + 1, 2};
    static float out[B * SMALL_TOKENS * SMALL_HIDDEN];
    gqa_inputs in;
    (void)state;
    gqa_inputs_init(&in);
    in.lengths = lengths;
    assert_int_equal(small_layer_forward(forward_layer(), forward_layer()->cache, &in, B,
                                         SMALL_TOKENS, forward_layer()->x, out),
                     GQA_ERR_CACHE_FULL);
    assert_string_equal(forward_layer()->err.field, "cache");
    assert_true(forward_cache_hash() == untouched);
}

static void pool_empty(void **state)
{
    static float out[B * 17 * SMALL_HIDDEN];
    gqa_cache_options options;
    gqa_cache *cache;
    uint64_t hash;
    (void)state;
    gqa_cache_options_init(&options, forward_layer()->layer);
    options.max_sequences = 2;
    options.max_tokens = 40;
    options.page_size = 16;
    options.num_pages = 3;
    assert_int_equal(gqa_cache_create(&cache, forward_layer()->layer, &options, NULL), GQA_OK);
    assert_int_equal(
        small_layer_forward(forward_layer(), cache, NULL, 1, 5, forward_layer()->x, out), GQA_OK);
    hash = small_layer_cache_hash(cache, 2);
    assert_int_equal(
        small_layer_forward(forward_layer(), cache, NULL, 2, 17, forward_layer()->x, out),
        GQA_ERR_CACHE_FULL);
    assert_string_equal(forward_layer()->err.field, "cache");
    assert_true(small_layer_cache_hash(cache, 2) == hash);
    gqa_cache_destroy(&cache);
}

/* No position is left after the last one. */
static void positions_at_their_end(void **state)
{
    const int32_t last[1] = {INT32_MAX};
    struct small_layer end;
    float out[SMALL_HIDDEN];
    gqa_inputs in;
    uint64_t hash;
    (void)state;
    small_layer_open(&end, NULL);
    gqa_inputs_init(&in);
    in.position_ids = last;
    assert_int_equal(small_layer_forward(&end, end.cache, &in, 1, 1, end.x, out), GQA_OK);
    hash = small_layer_cache_hash(end.cache, 3);
    assert_int_equal(small_layer_forward(&end, end.cache, NULL, 1, 1, end.x, out), GQA_ERR_ARG);
    assert_string_equal(end.err.field, "inputs.position_ids");
    assert_true(small_layer_cache_hash(end.cache, 3) == hash);
    small_layer_close(&end);
}

/* A newer caller's struct: its unknown tail must be zero. */
static void newer_struct(void **state)
{
    struct {
        gqa_inputs in;
        unsigned char tail[16];
    } newer;
    struct call c;
    (void)state;
    call_from_hidden(&c);
    memset(&newer, 0, sizeof newer);
    newer.in = c.in;
    newer.in.struct_size = sizeof newer;
    newer.tail[9] = 1;
    c.inputs = &newer.in;
    refused(&c, "a set field in the tail", GQA_ERR_UNSUPPORTED, "inputs");
    newer.tail[9] = 0;
    c.cache = NULL; /* the masks have more columns than needed then */
    newer.in = c.in;
    newer.in.struct_size = sizeof newer;
    assert_int_equal(gqa_forward(c.layer, NULL, &newer.in, &c.out, NULL, 0, NULL), GQA_OK);
}

/* --- coverage ----------------------------------------------------------------------------------
 */

static int mentions(const char *member, const char *field)
{
    size_t n = strlen(member);
    return strncmp(field, member, n) == 0 && (field[n] == '\0' || field[n] == '.');
}

/* Every member of both structs is the field of some fault, or has no bad value. */
static void every_member_is_spoilt(void **state)
{
    static const char *const without[] = {"inputs.struct_size", "output.struct_size", /* "inputs" */
                                          "inputs.tap",         "inputs.tap_user", /* any pointer */
                                          "inputs.trace",       "inputs.trace_user", /* the same */
                                          "inputs.row_begin",                        /* test_flat */
                                          "inputs.blocks", /* test_blocks_errors */
                                          "output.rope_key",    "output.path"}; /* filled */
    const char *header = GQA_SOURCE_DIR "/include/gqa/forward.h";
    char members[64][64];
    int n = fault_members(header, "gqa_inputs", "inputs", members, 64);
    (void)state;
    assert_int_equal(n, 30);
    n += fault_members(header, "gqa_output", "output", members + n, 64 - n);
    assert_int_equal(n, 30 + 13);
    for (int i = 0; i < n; i++) {
        int found = 0;
        for (size_t j = 0; j < sizeof without / sizeof without[0]; j++) {
            found += strcmp(members[i], without[j]) == 0;
        }
        for (size_t j = 0; j < hidden_tensor_count; j++) {
            found += mentions(members[i], hidden_tensors[j].field);
        }
        for (size_t j = 0; j < projection_tensor_count; j++) {
            found += mentions(members[i], projection_tensors[j].field);
        }
        for (size_t j = 0; j < hidden_fault_count; j++) {
            found += mentions(members[i], hidden_faults[j].field);
        }
        for (size_t j = 0; j < projection_fault_count; j++) {
            found += mentions(members[i], projection_faults[j].field);
        }
        if (found == 0) {
            fail_msg("%s is never spoilt", members[i]);
        }
    }
}

/* The unspoilt calls are good, so every refusal above had its one cause. Runs last: it appends. */
static void unspoilt_calls(void **state)
{
    struct call c;
    gqa_error err;
    (void)state;
    call_from_hidden(&c);
    if (gqa_forward(c.layer, c.cache, c.inputs, c.output, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    for (int32_t b = 0; b < B; b++) {
        assert_int_equal(gqa_cache_truncate(c.cache, b, PAST, NULL), GQA_OK);
    }
    assert_true(forward_cache_hash() == untouched);
    call_from_projections(&c);
    if (gqa_forward(c.layer, c.cache, c.inputs, c.output, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    call_from_projections(&c);
    call_of_narrow(&c);
    if (gqa_forward(c.layer, c.cache, c.inputs, c.output, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spoilt_tensors),
        cmocka_unit_test(spoilt_calls),
        cmocka_unit_test(cache_full),
        cmocka_unit_test(pool_empty),
        cmocka_unit_test(positions_at_their_end),
        cmocka_unit_test(newer_struct),
        cmocka_unit_test(every_member_is_spoilt),
        cmocka_unit_test(unspoilt_calls),
    };
    if (forced_isa_refuses(GQA_NUMERICS_F32)) { /* cmocka cannot skip in a setup */
        return TEST_SKIPPED;
    }
    return RUN_TESTS_WITHIN(argc, argv, tests, open_all, close_all);
}
