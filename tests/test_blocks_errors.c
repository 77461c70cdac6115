/* SPDX-License-Identifier: Apache-2.0 */
/* test_blocks_errors.c - every member of gqa_block_kv spoilt, in gqa_forward and in gqa_attend: the
 * error names it, and nothing is written. And which calls may have blocks at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/faults.h"
#include "support/host_keys.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { B = 2, T = 3, BLOCKS = 6, SIZE = 16, WIDTH = 3, HQ = 4, HKV = 2, DK = 16, DV = 8 };

/* A call that is good before it is spoilt: entries that hold 20 and 5 keys get T more, or are asked
 * for their last T. */
struct call {
    const gqa_layer *layer;
    gqa_cache *cache;
    gqa_block_kv kv;
    gqa_inputs in;
    gqa_attend_inputs attend;
    bool attends, reads; /* gqa_attend, or gqa_forward that appends nothing */
};

static gqa_layer *layer, *reference;
static gqa_cache *cache;
static float k[BLOCKS * HKV * SIZE * DK], v[BLOCKS * HKV * SIZE * DV],
    before[BLOCKS * HKV * SIZE * DK];
static float x[B * T * HQ * DK], out[B * T * HQ * DV];
static int32_t table[B * WIDTH], lengths[B], positions[B * WIDTH * SIZE], ids[B * T], sequences[B];
static int64_t slots[B * T];
static uint8_t seen[B * T * WIDTH * SIZE];

static int open_all(void **state)
{
    gqa_config config = attention_config(HQ, HKV, DK, DV);
    gqa_cache_options options;
    (void)state;

    layer = attention_layer(&config, NULL);
    config.backend = GQA_BACKEND_REFERENCE;
    if (gqa_create(&reference, &config, NULL, NULL, NULL) != GQA_OK) {
        reference = NULL; /* built without it */
    }
    gqa_cache_options_init(&options, layer);
    options.max_tokens = SIZE;
    options.max_sequences = B;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    memset(seen, 1, sizeof seen);
    for (size_t i = 0; i < sizeof k / sizeof k[0]; i++) {
        k[i] = (float)(i % 17) - 8.0f;
    }
    memcpy(before, k, sizeof k);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    gqa_destroy(&reference);
    return 0;
}

static void good_call(struct call *c, bool attends, bool reads)
{
    static const int32_t good[B * WIDTH] = {4, 1, 0x7fffffff, 2, -1, -1};

    memset(c, 0, sizeof *c);
    c->layer = layer;
    c->attends = attends;
    c->reads = reads;
    memcpy(table, good, sizeof table);
    lengths[0] = 20;
    lengths[1] = 5;
    sequences[0] = 0;
    sequences[1] = 1;
    for (int32_t i = 0; i < B * T; i++) {
        const int32_t index = lengths[i / T] + i % T;
        slots[i] = (int64_t)good[i / T * WIDTH + index / SIZE] * SIZE + index % SIZE;
        ids[i] = index;
    }
    for (int32_t i = 0; i < B * WIDTH * SIZE; i++) {
        positions[i] = i % (WIDTH * SIZE);
    }
    gqa_block_kv_init(&c->kv);
    c->kv.key = gqa_blocks_of(k, GQA_F32, GQA_BLOCKS_HEADS, BLOCKS, HKV, SIZE, DK);
    c->kv.value = gqa_blocks_of(v, GQA_F32, GQA_BLOCKS_TOKENS, BLOCKS, HKV, SIZE, DV);
    c->kv.block_table = table;
    c->kv.max_blocks = WIDTH;
    c->kv.lengths = lengths;
    c->kv.slot_mapping = attends || reads ? NULL : slots;
    c->kv.position_ids = positions;
    gqa_inputs_init(&c->in);
    c->in.q_proj = gqa_tensor_4d(x, GQA_F32, B, T, HQ, DK);
    if (!reads) {
        c->in.k_proj = gqa_tensor_4d(x, GQA_F32, B, T, HKV, DK);
        c->in.v_proj = gqa_tensor_4d(x, GQA_F32, B, T, HKV, DV);
    }
    c->in.sequences = sequences;
    c->in.blocks = &c->kv;
    gqa_attend_inputs_init(&c->attend);
    c->attend.query = c->in.q_proj;
    c->attend.sequences = sequences;
    c->attend.blocks = &c->kv;
}

static gqa_status run(struct call *c, gqa_error *err)
{
    if (c->attends) {
        gqa_attend_output output;
        gqa_attend_output_init(&output);
        output.output = gqa_tensor_4d(out, GQA_F32, B, T, HQ, DV);
        return gqa_attend(c->layer, c->cache, &c->attend, &output, NULL, 0, err);
    }
    gqa_output output;
    gqa_output_init(&output);
    output.attn = gqa_tensor_4d(out, GQA_F32, B, T, HQ, DV);
    return gqa_forward(c->layer, c->cache, &c->in, &output, NULL, 0, err);
}

/* --- faults ------------------------------------------------------------------------------------
 */

static void size_small(struct call *c)
{
    c->kv.struct_size = 2;
}
static void key_absent(struct call *c)
{
    c->kv.key.data = NULL;
}
static void value_absent(struct call *c)
{
    c->kv.value.data = NULL;
}
static void key_of_int8(struct call *c)
{
    c->kv.key.dtype = GQA_I8;
}
static void value_of_bytes(struct call *c)
{
    c->kv.value.dtype = GQA_U8;
}
static void key_rank(struct call *c)
{
    c->kv.key.rank = 3;
}
static void key_heads(struct call *c)
{
    c->kv.key.shape[1] = HKV + 1;
}
static void key_dim(struct call *c)
{
    c->kv.key.shape[3] = DK - 1;
}
static void value_blocks(struct call *c)
{
    c->kv.value.shape[0] = BLOCKS - 1;
}
static void value_size(struct call *c)
{
    c->kv.value.shape[2] = SIZE - 1;
}
static void value_dim(struct call *c)
{
    c->kv.value.shape[3] = DV + 1;
}
static void key_stride(struct call *c)
{
    c->kv.key.stride[3] = -1;
}
static void key_far(struct call *c)
{
    c->kv.key.stride[0] = INT64_MAX / 4;
}
static void key_address(struct call *c)
{
    c->kv.key.data = (char *)c->kv.key.data + 2;
}
static void size_of_8(struct call *c)
{
    c->kv.key.shape[2] = c->kv.value.shape[2] = 8;
}
static void size_of_24(struct call *c)
{
    c->kv.key.shape[2] = c->kv.value.shape[2] = 24;
}
static void size_of_none(struct call *c)
{
    c->kv.key.shape[2] = c->kv.value.shape[2] = 0;
}
static void width_negative(struct call *c)
{
    c->kv.max_blocks = -1;
}
static void width_far(struct call *c)
{
    c->kv.max_blocks = INT32_MAX / SIZE;
}
static void table_null(struct call *c)
{
    c->kv.block_table = NULL;
}
static void lengths_null(struct call *c)
{
    c->kv.lengths = NULL;
}
static void table_negative(struct call *c)
{
    (void)c, table[1] = -1;
}
static void table_beyond(struct call *c)
{
    (void)c, table[WIDTH] = BLOCKS;
}
static void length_negative(struct call *c)
{
    (void)c, lengths[1] = -1;
}
static void length_beyond(struct call *c)
{
    (void)c, lengths[0] = WIDTH * SIZE + 1;
}
static void position_negative(struct call *c)
{
    (void)c, positions[0] = -1;
}
static void position_stuck(struct call *c)
{
    (void)c, positions[WIDTH * SIZE + 2] = 1;
}
static void new_position_stuck(struct call *c)
{
    (void)c;
    positions[20] = 19;
}
static void sequence_other(struct call *c)
{
    (void)c, sequences[1] = 0;
}
static void sequence_two(struct call *c)
{
    (void)c, sequences[1] = 2;
}
static void beside_cache(struct call *c)
{
    c->cache = cache;
}
static void beside_key(struct call *c)
{
    c->attend.key = gqa_tensor_4d(x, GQA_F32, B, T, HKV, DK);
}
static void beside_value(struct call *c)
{
    c->attend.value = gqa_tensor_4d(x, GQA_F32, B, T, HKV, DV);
}
static void beside_lengths(struct call *c)
{
    c->attend.key_lengths = lengths;
}
static void beside_positions(struct call *c)
{
    c->attend.key_position_ids = positions;
}
static void slots_to_read(struct call *c)
{
    c->kv.slot_mapping = slots;
}
static void key_broadcast(struct call *c)
{
    c->kv.key.stride[1] = 0;
}
static void length_full(struct call *c)
{
    (void)c, lengths[0] = WIDTH * SIZE - T + 1;
}
static void slot_minus_two(struct call *c)
{
    (void)c, slots[2] = -2;
}
static void slot_elsewhere(struct call *c)
{
    (void)c, slots[2]++;
}
static void slot_beyond(struct call *c)
{
    (void)c, slots[0] = BLOCKS * SIZE;
}
static void place_twice(struct call *c)
{
    c->kv.slot_mapping = NULL; /* both entries go on in one block */
    table[WIDTH] = table[1];
    lengths[1] = 6;
    lengths[0] = 20;
}
static void own_block_twice(struct call *c)
{
    c->kv.slot_mapping = NULL;
    table[1] = table[0];
    lengths[0] = 15;
    lengths[1] = 0;
    table[WIDTH] = table[0]; /* slot 15, 0, 1 of one block, and slots 0, 1, 2 of the same */
}
static void place_skipped_later(struct call *c)
{
    (void)c; /* entry 1 counts on what entry 0 writes: slots 4, 5, 6 of one block */
    table[WIDTH] = table[1];
    lengths[1] = 4;
    for (int32_t i = 0; i < T; i++) {
        slots[i] = (int64_t)table[1] * SIZE + 4 + i;
        slots[T + i] = -1;
    }
}
static void place_skipped_first(struct call *c)
{
    place_skipped_later(c);
    memcpy(slots + T, slots, T * sizeof slots[0]);
    memset(slots, 0xff, T * sizeof slots[0]); /* -1 */
}
static void last_place_skipped(struct call *c)
{
    place_skipped_later(c); /* slot 6 alone: entry 1 goes on in slots 6, 7, 8 */
    lengths[1] = 6;
    for (int32_t i = 1; i < T; i++) {
        slots[T + i] = slots[0] + 2 + i;
    }
}
static void ids_other(struct call *c)
{
    ids[4]++, c->in.position_ids = ids;
}
static void ids_not_index(struct call *c)
{
    c->kv.position_ids = NULL;
    ids[0] = 21;
    c->in.position_ids = ids;
}
static void few_columns(struct call *c)
{
    c->in.mask = gqa_tensor_4d(seen, GQA_U8, 1, 1, T, 20 + T - 1);
    c->attend.mask = gqa_tensor_4d(seen, GQA_U8, 1, 1, T, 19);
}
static void more_queries(struct call *c)
{
    (void)c, lengths[1] = T - 1;
}

struct fault {
    void (*spoil)(struct call *c);
    const char *what, *field;
    gqa_status status;
};

#define BAD(name, field)                                                                           \
    {                                                                                              \
        name, #name, field, GQA_ERR_ARG                                                            \
    }
#define SHAPE(name, field)                                                                         \
    {                                                                                              \
        name, #name, field, GQA_ERR_SHAPE                                                          \
    }

static const struct fault of_all[] = {
    BAD(size_small, "inputs.blocks"),
    BAD(key_absent, "inputs.blocks.key"),
    BAD(value_absent, "inputs.blocks.value"),
    {key_of_int8, "int8", "inputs.blocks.key", GQA_ERR_UNSUPPORTED},
    BAD(value_of_bytes, "inputs.blocks.value"),
    SHAPE(key_rank, "inputs.blocks.key"),
    SHAPE(key_heads, "inputs.blocks.key"),
    SHAPE(key_dim, "inputs.blocks.key"),
    SHAPE(value_blocks, "inputs.blocks.value"),
    SHAPE(value_size, "inputs.blocks.value"),
    SHAPE(value_dim, "inputs.blocks.value"),
    SHAPE(key_stride, "inputs.blocks.key"),
    SHAPE(key_far, "inputs.blocks.key"),
    BAD(key_address, "inputs.blocks.key"),
    SHAPE(size_of_8, "inputs.blocks.key"),
    SHAPE(size_of_24, "inputs.blocks.key"),
    SHAPE(size_of_none, "inputs.blocks.key"),
    BAD(width_negative, "inputs.blocks.max_blocks"),
    BAD(width_far, "inputs.blocks.max_blocks"),
    BAD(table_null, "inputs.blocks.block_table"),
    BAD(lengths_null, "inputs.blocks.lengths"),
    BAD(table_negative, "inputs.blocks.block_table"),
    BAD(table_beyond, "inputs.blocks.block_table"),
    BAD(length_negative, "inputs.blocks.lengths"),
    SHAPE(length_beyond, "inputs.blocks.max_blocks"),
    BAD(position_negative, "inputs.blocks.position_ids"),
    BAD(position_stuck, "inputs.blocks.position_ids"),
    BAD(sequence_other, "inputs.sequences"),
    BAD(sequence_two, "inputs.sequences"),
    BAD(beside_cache, "inputs.blocks"),
};
static const struct fault of_attend[] = {
    BAD(beside_key, "inputs.key"),
    BAD(beside_value, "inputs.value"),
    BAD(beside_lengths, "inputs.key_lengths"),
    BAD(beside_positions, "inputs.key_position_ids"),
    BAD(slots_to_read, "inputs.blocks.slot_mapping"),
    SHAPE(few_columns, "inputs.mask"),
};
static const struct fault of_reading[] = {
    BAD(slots_to_read, "inputs.blocks.slot_mapping"),
    BAD(more_queries, "inputs.lengths"),
};
static const struct fault of_appending[] = {
    SHAPE(key_broadcast, "inputs.blocks.key"),
    SHAPE(length_full, "inputs.blocks.max_blocks"),
    BAD(slot_minus_two, "inputs.blocks.slot_mapping"),
    BAD(slot_elsewhere, "inputs.blocks.slot_mapping"),
    BAD(slot_beyond, "inputs.blocks.slot_mapping"),
    BAD(place_twice, "inputs.blocks.block_table"),
    BAD(own_block_twice, "inputs.blocks.block_table"),
    BAD(place_skipped_later, "inputs.blocks.slot_mapping"),
    BAD(place_skipped_first, "inputs.blocks.slot_mapping"),
    BAD(last_place_skipped, "inputs.blocks.slot_mapping"),
    BAD(new_position_stuck, "inputs.blocks.position_ids"),
    BAD(ids_other, "inputs.position_ids"),
    BAD(ids_not_index, "inputs.position_ids"),
    SHAPE(few_columns, "inputs.mask"),
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void refuse_on(const gqa_layer *which, const struct fault *fault, bool attends, bool reads)
{
    struct call c;
    gqa_error err = {GQA_OK, NULL, ""};
    gqa_status got;

    good_call(&c, attends, reads);
    c.layer = which;
    fault->spoil(&c);
    got = run(&c, &err);
    if (got != fault->status || err.field == NULL || strcmp(err.field, fault->field) != 0 ||
        strstr(err.message, fault->field) == NULL) {
        fail_msg("%s: %d for %s (\"%s\"), not %d for %s", fault->what, (int)got,
                 err.field != NULL ? err.field : "nothing", err.message, (int)fault->status,
                 fault->field);
    }
    if (memcmp(k, before, sizeof k) != 0) {
        fail_msg("%s: blocks were written", fault->what);
    }
}

static void refuse(const struct fault *fault, bool attends, bool reads)
{
    refuse_on(layer, fault, attends, reads);
    if (reference != NULL && fault->spoil != beside_cache) { /* it has the other's kernel set */
        refuse_on(reference, fault, attends, reads);
    }
}

static void every_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(of_all); i++) {
        refuse(&of_all[i], true, false);
        refuse(&of_all[i], false, true);
        refuse(&of_all[i], false, false);
    }
    for (size_t i = 0; i < COUNT(of_attend); i++) {
        refuse(&of_attend[i], true, false);
    }
    for (size_t i = 0; i < COUNT(of_reading); i++) {
        refuse(&of_reading[i], false, true);
    }
    for (size_t i = 0; i < COUNT(of_appending); i++) {
        refuse(&of_appending[i], false, false);
    }
}

static bool names(const struct fault *list, size_t n, const char *member)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i].field, member) == 0) {
            return true;
        }
    }
    return false;
}

static void every_member_is_spoilt(void **state)
{
    char members[16][64];
    const int n = fault_members(GQA_SOURCE_DIR "/include/gqa/blocks.h", "gqa_block_kv",
                                "inputs.blocks", members, 16);
    (void)state;

    assert_int_equal(n, 8);
    for (int i = 0; i < n; i++) {
        if (strcmp(members[i], "inputs.blocks.struct_size") != 0 &&
            !names(of_all, COUNT(of_all), members[i]) &&
            !names(of_appending, COUNT(of_appending), members[i])) {
            fail_msg("%s is never spoilt", members[i]);
        }
    }
}

/* Neuron's attention has forms of its own. */
static void backend_neuron(void **state)
{
    gqa_config config = attention_config(HQ, HKV, 64, 64);
    static float big[BLOCKS * HKV * SIZE * 64];
    gqa_layer *neuron = NULL;
    struct call c;
    gqa_error err = {GQA_OK, NULL, ""};
    (void)state;

    config.backend = GQA_BACKEND_NEURON;
    if (gqa_create(&neuron, &config, NULL, NULL, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    good_call(&c, true, false);
    c.layer = neuron;
    c.kv.key = c.kv.value = gqa_tensor_4d(big, GQA_F32, BLOCKS, HKV, SIZE, 64);
    c.attend.query = gqa_tensor_4d(big, GQA_F32, B, T, HQ, 64);
    gqa_attend_output output;
    gqa_attend_output_init(&output);
    output.output = gqa_tensor_4d(big, GQA_F32, B, T, HQ, 64);
    assert_int_equal(gqa_attend(neuron, NULL, &c.attend, &output, NULL, 0, &err),
                     GQA_ERR_UNSUPPORTED);
    assert_string_equal(err.field, "inputs.blocks");
    gqa_destroy(&neuron);
}

/* The unspoilt calls are good, so every refusal above had its one cause. Runs last: it appends. */
static void unspoilt_calls(void **state)
{
    struct call c;
    gqa_error err = {GQA_OK, NULL, ""};
    (void)state;

    for (int i = 0; i < 6; i++) {
        good_call(&c, i % 3 == 0, i % 3 == 1);
        c.layer = i < 3 ? layer : reference;
        if (c.layer != NULL && run(&c, &err) != GQA_OK) {
            fail_msg("%s", err.message);
        }
    }
    good_call(&c, false, false);
    slots[0] = slots[5] = -1;
    c.in.position_ids = ids;
    assert_int_equal(run(&c, &err), GQA_OK);
    good_call(&c, false, false); /* a prefix of both, that somebody has computed */
    memcpy(table + WIDTH, table, WIDTH * sizeof table[0]);
    lengths[1] = lengths[0];
    for (int32_t i = 0; i < B * T; i++) {
        slots[i] = -1;
    }
    assert_int_equal(run(&c, &err), GQA_OK);
    good_call(&c, false, false);
    sequences[1] = -1; /* of an inactive entry nothing is looked at */
    lengths[1] = -7;
    table[WIDTH] = BLOCKS;
    assert_int_equal(run(&c, &err), GQA_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault), cmocka_unit_test(every_member_is_spoilt),
        cmocka_unit_test(backend_neuron), cmocka_unit_test(unspoilt_calls)};

    return RUN_TESTS_WITHIN(argc, argv, tests, open_all, close_all);
}
