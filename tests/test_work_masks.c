/* SPDX-License-Identifier: Apache-2.0 */
/* test_work_masks.c - what is read under a mask, by the record of work: the panels of the keys that
 * some row sees in a fold block, and nothing of blocks that nobody sees. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/program.h"
#include "support/small_layer.h"

enum { HQ = 4, HKV = 2, DIM = 16, TOKENS = 64, KEYS = 1024 };

static float q[TOKENS * HQ * DIM], k[KEYS * HKV * DIM], v[KEYS * HKV * DIM];
static float attn[TOKENS * HQ * DIM];

static uint8_t bytes[TOKENS * KEYS], bits[TOKENS * KEYS / 8];
static float bias[TOKENS * KEYS];

/* Key [begin, end) is seen by token 40, others by nobody. */
static void fill_masks(int32_t begin, int32_t end)
{
    memset(bits, 0, sizeof bits);
    for (int32_t i = 0; i < TOKENS * KEYS; i++) {
        const bool seen = i >= 40 * KEYS + begin && i < 40 * KEYS + end;
        bytes[i] = seen ? 7 : 0;
        bits[i / 8] |= (uint8_t)((seen ? 1 : 0) << i % 8);
        bias[i] = seen ? 0.5f : -INFINITY;
    }
}

/* One call under a mask or bias, of one tile a KV head on the scalar kernels: panels of 16 keys. */
static gqa_work attend(gqa_tensor tensor)
{
    gqa_config config = attention_config(HQ, HKV, DIM, DIM);
    gqa_attend_inputs in;
    gqa_attend_output out;
    gqa_layer *layer;
    gqa_work work;

    config.isa = GQA_ISA_SCALAR;
    config.bidirectional = 1;
    skip_refused(&config);
    layer = attention_layer(&config, NULL);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    gqa_work_init(&work);
    in.query = gqa_tensor_4d(q, GQA_F32, 1, TOKENS, HQ, DIM);
    in.key = gqa_tensor_4d(k, GQA_F32, 1, KEYS, HKV, DIM);
    in.value = gqa_tensor_4d(v, GQA_F32, 1, KEYS, HKV, DIM);
    *(tensor.dtype == GQA_F32 ? &in.bias : &in.mask) = tensor;
    out.output = gqa_tensor_4d(attn, GQA_F32, 1, TOKENS, HQ, DIM);
    out.work = &work;
    assert_int_equal(gqa_attend(layer, NULL, &in, &out, NULL, 0, NULL), GQA_OK);
    gqa_destroy(&layer);
    return work;
}

static void expect(int32_t begin, int32_t end, int32_t tiles, int32_t keys)
{
    const gqa_tensor tensors[] = {gqa_tensor_4d(bytes, GQA_U8, 1, 1, TOKENS, KEYS),
                                  gqa_tensor_4d(bits, GQA_BITS, 1, 1, TOKENS, KEYS),
                                  gqa_tensor_4d(bias, GQA_F32, 1, 1, TOKENS, KEYS)};

    fill_masks(begin, end);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const gqa_work work = attend(tensors[i]);
        assert_int_equal(work.tiles, HKV * tiles);
        assert_int_equal(work.tiles_masked, HKV * tiles);
        assert_int_equal(work.tiles_skipped, HKV * (4 - tiles));
        assert_int_equal(work.keys_read, HKV * keys);
        assert_int_equal(work.kv_bytes, HKV * keys * 2 * DIM * 4);
        assert_int_equal(work.score_madds, (int64_t)HKV * keys * TOKENS * (HQ / HKV) * DIM);
    }
}

static void panels_of_seen_keys(void **state)
{
    (void)state;
    expect(300, 420, 1, 432 - 288);
    expect(300, 520, 2, (512 - 288) + 16);
    expect(255, 257, 2, 16 + 16);
    expect(1023, 1024, 1, 16);
    expect(0, 1, 1, 16);
    expect(500, 500, 0, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(panels_of_seen_keys),
    };
    return RUN_TESTS(argc, argv, tests);
}
