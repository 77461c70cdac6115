/* SPDX-License-Identifier: Apache-2.0 */
/* test_blocks_errors.c - every member of gqa_block_kv spoilt, in gqa_forward and in gqa_attend: the
 * error names it, and nothing is written. And which calls may have blocks at all. (Tensors of
 * blocks: test_blocks_tensors.c.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/blocks_call.h"
#include "support/faults.h"
#include "support/host_keys.h"
#include "support/program.h"
#include "support/small_layer.h"

static float x[B * T * HQ * DK];
static uint8_t seen[B * T * WIDTH * SIZE];

/* --- faults ------------------------------------------------------------------------------------
 */

static void size_small(struct blocks_call *c)
{
    c->kv.struct_size = 2;
}
static void width_negative(struct blocks_call *c)
{
    c->kv.max_blocks = -1;
}
static void width_far(struct blocks_call *c)
{
    c->kv.max_blocks = INT32_MAX / SIZE;
}
static void table_null(struct blocks_call *c)
{
    c->kv.block_table = NULL;
}
static void lengths_null(struct blocks_call *c)
{
    c->kv.lengths = NULL;
}
static void table_negative(struct blocks_call *c)
{
    c->table[1] = -1;
}
static void table_beyond(struct blocks_call *c)
{
    c->table[WIDTH] = BLOCKS;
}
static void length_negative(struct blocks_call *c)
{
    c->lengths[1] = -1;
}
static void length_beyond(struct blocks_call *c)
{
    c->lengths[0] = WIDTH * SIZE + 1;
}
static void position_negative(struct blocks_call *c)
{
    c->positions[0] = -1;
}
static void position_stuck(struct blocks_call *c)
{
    c->positions[WIDTH * SIZE + 2] = 1;
}
static void new_position_stuck(struct blocks_call *c)
{
    c->positions[20] = 19;
}
static void sequence_other(struct blocks_call *c)
{
    c->sequences[1] = 0;
}
static void sequence_two(struct blocks_call *c)
{
    c->sequences[1] = 2;
}
static void beside_cache(struct blocks_call *c)
{
    c->cache = blocks_cache();
}
static void beside_key(struct blocks_call *c)
{
    c->attend.key = gqa_tensor_4d(x, GQA_F32, B, T, HKV, DK);
}
static void beside_value(struct blocks_call *c)
{
    c->attend.value = gqa_tensor_4d(x, GQA_F32, B, T, HKV, DV);
}
static void beside_lengths(struct blocks_call *c)
{
    c->attend.key_lengths = c->lengths;
}
static void beside_positions(struct blocks_call *c)
{
    c->attend.key_position_ids = c->positions;
}
static void slots_to_read(struct blocks_call *c)
{
    c->kv.slot_mapping = c->slots;
}
static void length_full(struct blocks_call *c)
{
    c->lengths[0] = WIDTH * SIZE - T + 1;
}
static void slot_minus_two(struct blocks_call *c)
{
    c->slots[2] = -2;
}
static void slot_elsewhere(struct blocks_call *c)
{
    c->slots[2]++;
}
static void slot_beyond(struct blocks_call *c)
{
    c->slots[0] = BLOCKS * SIZE;
}
static void place_twice(struct blocks_call *c)
{
    c->kv.slot_mapping = NULL; /* both entries go on in one block */
    c->table[WIDTH] = c->table[1];
    c->lengths[1] = 6;
    c->lengths[0] = 20;
}
static void own_block_twice(struct blocks_call *c)
{
    c->kv.slot_mapping = NULL;
    c->table[1] = c->table[0];
    c->lengths[0] = 15;
    c->lengths[1] = 0;
    c->table[WIDTH] =
        c->table[0]; /* slot 15, 0, 1 of one block, and c->slots 0, 1, 2 of the same */
}
static void place_skipped_later(struct blocks_call *c)
{
    /* entry 1 counts on what entry 0 writes: c->slots 4, 5, 6 of one block */
    c->table[WIDTH] = c->table[1];
    c->lengths[1] = 4;
    for (int32_t i = 0; i < T; i++) {
        c->slots[i] = (int64_t)c->table[1] * SIZE + 4 + i;
        c->slots[T + i] = -1;
    }
}
static void place_skipped_first(struct blocks_call *c)
{
    place_skipped_later(c);
    memcpy(c->slots + T, c->slots, T * sizeof c->slots[0]);
    memset(c->slots, 0xff, T * sizeof c->slots[0]); /* -1 */
}
static void last_place_skipped(struct blocks_call *c)
{
    place_skipped_later(c); /* slot 6 alone: entry 1 goes on in c->slots 6, 7, 8 */
    c->lengths[1] = 6;
    for (int32_t i = 1; i < T; i++) {
        c->slots[T + i] = c->slots[0] + 2 + i;
    }
}
static void ids_other(struct blocks_call *c)
{
    c->ids[4]++, c->in.position_ids = c->ids;
}
static void ids_not_index(struct blocks_call *c)
{
    c->kv.position_ids = NULL;
    c->ids[0] = 21;
    c->in.position_ids = c->ids;
}
static void few_columns(struct blocks_call *c)
{
    c->in.mask = gqa_tensor_4d(seen, GQA_U8, 1, 1, T, 20 + T - 1);
    c->attend.mask = gqa_tensor_4d(seen, GQA_U8, 1, 1, T, 19);
}
static void more_queries(struct blocks_call *c)
{
    c->lengths[1] = T - 1;
}

static const struct blocks_fault of_all[] = {
    BAD(size_small, "inputs.blocks"),
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
static const struct blocks_fault of_attend[] = {
    BAD(beside_key, "inputs.key"),
    BAD(beside_value, "inputs.value"),
    BAD(beside_lengths, "inputs.key_lengths"),
    BAD(beside_positions, "inputs.key_position_ids"),
    BAD(slots_to_read, "inputs.blocks.slot_mapping"),
    SHAPE(few_columns, "inputs.mask"),
};
static const struct blocks_fault of_reading[] = {
    BAD(slots_to_read, "inputs.blocks.slot_mapping"),
    BAD(more_queries, "inputs.lengths"),
};
static const struct blocks_fault of_appending[] = {
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

static void every_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(of_all); i++) {
        blocks_refuse(&of_all[i], true, false);
        blocks_refuse(&of_all[i], false, true);
        blocks_refuse(&of_all[i], false, false);
    }
    for (size_t i = 0; i < COUNT(of_attend); i++) {
        blocks_refuse(&of_attend[i], true, false);
    }
    for (size_t i = 0; i < COUNT(of_reading); i++) {
        blocks_refuse(&of_reading[i], false, true);
    }
    for (size_t i = 0; i < COUNT(of_appending); i++) {
        blocks_refuse(&of_appending[i], false, false);
    }
}

static void words_of_places(void **state)
{
    (void)state;
    blocks_message(place_twice, "two tokens");
    blocks_message(place_skipped_first, "slot 4 of block 1");
}

static void every_member_is_spoilt(void **state)
{
    char members[16][64];
    const int n = fault_members(GQA_SOURCE_DIR "/include/gqa/blocks.h", "gqa_block_kv",
                                "inputs.blocks", members, 16);
    (void)state;

    assert_int_equal(n, 10);
    for (int i = 0; i < n; i++) {
        const bool tensor =
            strstr(members[i], ".key") != NULL || strstr(members[i], ".value") != NULL;
        if (strcmp(members[i], "inputs.blocks.struct_size") != 0 && !tensor &&
            !blocks_named(of_all, COUNT(of_all), members[i]) &&
            !blocks_named(of_appending, COUNT(of_appending), members[i])) {
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
    struct blocks_call c;
    gqa_error err = {GQA_OK, NULL, ""};
    (void)state;

    config.backend = GQA_BACKEND_NEURON;
    if (gqa_create(&neuron, &config, NULL, NULL, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    blocks_good_call(&c, true, false);
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
    struct blocks_call c;
    gqa_error err = {GQA_OK, NULL, ""};
    (void)state;

    for (int i = 0; i < 6; i++) {
        blocks_good_call(&c, i % 3 == 0, i % 3 == 1);
        c.layer = blocks_layer(i >= 3);
        if (c.layer != NULL && blocks_run(&c, &err) != GQA_OK) {
            fail_msg("%s", err.message);
        }
    }
    blocks_good_call(&c, false, false);
    c.slots[0] = c.slots[5] = -1;
    c.in.position_ids = c.ids;
    assert_int_equal(blocks_run(&c, &err), GQA_OK);
    blocks_good_call(&c, false, false); /* a prefix of both, that somebody has computed */
    memcpy(c.table + WIDTH, c.table, WIDTH * sizeof c.table[0]);
    c.lengths[1] = c.lengths[0];
    for (int32_t i = 0; i < B * T; i++) {
        c.slots[i] = -1;
    }
    assert_int_equal(blocks_run(&c, &err), GQA_OK);
    blocks_good_call(&c, false, false);
    c.sequences[1] = -1; /* of an inactive entry nothing is looked at */
    c.lengths[1] = -7;
    c.table[WIDTH] = BLOCKS;
    assert_int_equal(blocks_run(&c, &err), GQA_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault), cmocka_unit_test(words_of_places),
        cmocka_unit_test(every_member_is_spoilt), cmocka_unit_test(backend_neuron),
        cmocka_unit_test(unspoilt_calls)};

    return RUN_TESTS_WITHIN(argc, argv, tests, blocks_calls_open, blocks_calls_close);
}
