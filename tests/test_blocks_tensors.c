/* SPDX-License-Identifier: Apache-2.0 */
/* test_blocks_tensors.c - the tensors of gqa_block_kv spoilt, keys, values and their scales: types,
 * dimensions, strides, sizes of blocks. (The rest: test_blocks_errors.c.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/blocks_call.h"
#include "support/program.h"

static void key_absent(struct blocks_call *c)
{
    c->kv.key.data = NULL;
}
static void value_absent(struct blocks_call *c)
{
    c->kv.value.data = NULL;
}
static void key_of_int8(struct blocks_call *c)
{
    c->kv.key.dtype = GQA_I8;
}
static void key_scale_absent(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.key_scale.data = NULL;
}
static void value_scale_absent(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.value_scale.data = NULL;
}
static void key_scale_of_f32(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.key.dtype = GQA_F32;
}
static void value_scale_of_bf16(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.value.dtype = GQA_BF16;
}
static void key_scale_format(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.key_scale.dtype = GQA_BF16;
}
static void value_scale_rank(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.value_scale = gqa_tensor_4d(c->kv.value_scale.data, GQA_F32, BLOCKS, HKV, SIZE, 1);
}
static void key_scale_blocks(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.key_scale.shape[0]--;
}
static void value_scale_heads(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.value_scale.shape[1]--;
}
static void key_scale_size(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.key_scale.shape[2]++;
}
static void value_scale_stride(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.value_scale.stride[1] = -1;
}
static void key_scale_far(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.key_scale.stride[0] = INT64_MAX / 4;
}
static void value_scale_address(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.value_scale.data = (char *)c->kv.value_scale.data + 1;
}
static void key_scale_broadcast(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.key_scale.stride[2] = 0;
}
static void value_scale_broadcast(struct blocks_call *c)
{
    blocks_int8(c);
    c->kv.value_scale.stride[0] = 0;
}
static void key_of_e4m3(struct blocks_call *c)
{
    c->kv.key.dtype = GQA_E4M3;
}
static void key_of_int4(struct blocks_call *c)
{
    c->kv.key.dtype = GQA_I4;
}
static void value_of_e4m3_240(struct blocks_call *c)
{
    c->kv.value.dtype = GQA_E4M3_240;
}
static void value_of_bytes(struct blocks_call *c)
{
    c->kv.value.dtype = GQA_U8;
}
static void key_rank(struct blocks_call *c)
{
    c->kv.key.rank = 3;
}
static void key_heads(struct blocks_call *c)
{
    c->kv.key.shape[1] = HKV + 1;
}
static void key_dim(struct blocks_call *c)
{
    c->kv.key.shape[3] = DK - 1;
}
static void value_blocks(struct blocks_call *c)
{
    c->kv.value.shape[0] = BLOCKS - 1;
}
static void value_size(struct blocks_call *c)
{
    c->kv.value.shape[2] = SIZE - 1;
}
static void value_dim(struct blocks_call *c)
{
    c->kv.value.shape[3] = DV + 1;
}
static void key_stride(struct blocks_call *c)
{
    c->kv.key.stride[3] = -1;
}
static void key_far(struct blocks_call *c)
{
    c->kv.key.stride[0] = INT64_MAX / 4;
}
static void key_address(struct blocks_call *c)
{
    c->kv.key.data = (char *)c->kv.key.data + 2;
}
static void size_of_8(struct blocks_call *c)
{
    c->kv.key.shape[2] = c->kv.value.shape[2] = 8;
}
static void size_of_24(struct blocks_call *c)
{
    c->kv.key.shape[2] = c->kv.value.shape[2] = 24;
}
static void size_far(struct blocks_call *c)
{
    c->kv.key.shape[2] = c->kv.value.shape[2] = 2147483392; /* one more than the limit, by 16 */
}
static void size_of_none(struct blocks_call *c)
{
    c->kv.key.shape[2] = c->kv.value.shape[2] = 0;
}
static void key_broadcast(struct blocks_call *c)
{
    c->kv.key.stride[1] = 0;
}

static const struct blocks_fault of_all_calls[] = {
    BAD(key_absent, "inputs.blocks.key"),
    BAD(value_absent, "inputs.blocks.value"),
    BAD(key_of_int8, "inputs.blocks.key_scale"),
    BAD(key_scale_absent, "inputs.blocks.key_scale"),
    BAD(value_scale_absent, "inputs.blocks.value_scale"),
    BAD(key_scale_of_f32, "inputs.blocks.key_scale"),
    BAD(value_scale_of_bf16, "inputs.blocks.value_scale"),
    BAD(key_scale_format, "inputs.blocks.key_scale"),
    SHAPE(value_scale_rank, "inputs.blocks.value_scale"),
    SHAPE(key_scale_blocks, "inputs.blocks.key_scale"),
    SHAPE(value_scale_heads, "inputs.blocks.value_scale"),
    SHAPE(key_scale_size, "inputs.blocks.key_scale"),
    SHAPE(value_scale_stride, "inputs.blocks.value_scale"),
    SHAPE(key_scale_far, "inputs.blocks.key_scale"),
    BAD(value_scale_address, "inputs.blocks.value_scale"),
    {key_of_e4m3, "e4m3", "inputs.blocks.key", GQA_ERR_UNSUPPORTED},
    {key_of_int4, "int4", "inputs.blocks.key", GQA_ERR_UNSUPPORTED},
    {value_of_e4m3_240, "e4m3 up to 240", "inputs.blocks.value", GQA_ERR_UNSUPPORTED},
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
    SHAPE(size_far, "inputs.blocks.key"),
    SHAPE(size_of_none, "inputs.blocks.key"),
};
static const struct blocks_fault of_calls_that_append[] = {
    SHAPE(key_broadcast, "inputs.blocks.key"),
    SHAPE(key_scale_broadcast, "inputs.blocks.key_scale"),
    SHAPE(value_scale_broadcast, "inputs.blocks.value_scale"),
};

static void every_tensor(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(of_all_calls); i++) {
        blocks_refuse(&of_all_calls[i], true, false);
        blocks_refuse(&of_all_calls[i], false, true);
        blocks_refuse(&of_all_calls[i], false, false);
    }
    for (size_t i = 0; i < COUNT(of_calls_that_append); i++) {
        blocks_refuse(&of_calls_that_append[i], false, false);
    }
}

static void every_tensor_is_spoilt(void **state)
{
    static const char *const fields[] = {"inputs.blocks.key", "inputs.blocks.value",
                                         "inputs.blocks.key_scale", "inputs.blocks.value_scale"};
    (void)state;

    for (size_t i = 0; i < COUNT(fields); i++) {
        assert_true(blocks_named(of_all_calls, COUNT(of_all_calls), fields[i]));
    }
}

static void words_of_tensors(void **state)
{
    (void)state;
    blocks_message(key_absent, "holds the keys");
    blocks_message(value_absent, "holds the values");
    blocks_message(key_of_e4m3, "GQA_E4M3; blocks are GQA_F32, GQA_BF16, GQA_F16 or GQA_I8");
    blocks_message(value_of_e4m3_240, "GQA_E4M3_240;");
    blocks_message(key_of_int4, "GQA_I4;");
    blocks_message(value_scale_absent, "inputs.blocks.value is GQA_I8");
    blocks_message(key_scale_of_f32, "must be absent: inputs.blocks.key is");
    blocks_message(key_scale_broadcast, "stride[2] is 0");
    blocks_message(size_of_24, "16, at most 2147483376");
    blocks_message(size_far, "at most 2147483376");
}

/* So every refusal above had its one cause. */
static void unspoilt_tensors(void **state)
{
    (void)state;

    for (int i = 0; i < 6; i++) {
        struct blocks_call c;
        gqa_error err = {GQA_OK, NULL, ""};
        blocks_good_call(&c, i % 3 == 0, i % 3 == 1);
        blocks_int8(&c);
        c.layer = blocks_layer(i >= 3);
        if (c.layer != NULL && blocks_run(&c, &err) != GQA_OK) {
            fail_msg("%s", err.message);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor), cmocka_unit_test(every_tensor_is_spoilt),
        cmocka_unit_test(words_of_tensors), cmocka_unit_test(unspoilt_tensors)};

    return RUN_TESTS_WITHIN(argc, argv, tests, blocks_calls_open, blocks_calls_close);
}
