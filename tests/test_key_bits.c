/* SPDX-License-Identifier: Apache-2.0 */
/* test_key_bits.c - sets of keys as bits, against one byte for each key: ranges, masks of bytes and
 * of bits at any offset, and runs. What is not a mask's element is not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "attention/key_bits.h"
#include "base/tensor.h"
#include "support/guarded_buffer.h"
#include "support/program.h"
#include "support/random.h"

enum { KEYS = GQA__FOLD_BLOCK, ROUNDS = 3000 };

/* The set, key by key. */
struct plain {
    bool has[KEYS];
};

static int32_t below(uint64_t *random, int32_t n)
{
    return (int32_t)(random_next(random) % (uint64_t)n);
}

static void draw_range(uint64_t *random, int32_t *begin, int32_t *end)
{
    *begin = below(random, KEYS + 1);
    *end = *begin + below(random, KEYS + 1 - *begin);
    if (below(random, 3) == 0) { /* whole words */
        *begin = *begin / 64 * 64;
        *end = (*end + 63) / 64 * 64;
    }
}

static void check(const struct gqa__key_bits *bits, const struct plain *plain)
{
    int32_t low = 0, high = 0, got_low, got_high, count = 0;

    for (int32_t k = 0; k < KEYS; k++) {
        assert_int_equal(gqa__key_bits_has(bits, k), plain->has[k]);
        low = plain->has[k] && count == 0 ? k : low;
        high = plain->has[k] ? k + 1 : high;
        count += plain->has[k];
    }
    assert_int_equal(gqa__key_bits_run(bits, &got_low, &got_high), count == high - low);
    assert_int_equal(got_low, low);
    assert_int_equal(got_high, high);
}

/* A mask that ends with its last element: all clear, all set, all but a few, or mixed. */
static struct guarded_buffer draw_mask(uint64_t *random, gqa_dtype type, int64_t elements)
{
    static const uint8_t values[] = {0, 0, 1, 0x80, 0xff, 2};
    const struct guarded_buffer mask =
        guarded_new((size_t)(type == GQA_BITS ? (elements + 7) / 8 : elements));
    const int32_t fill = below(random, 4);

    for (size_t i = 0; i < mask.size; i++) {
        const uint8_t set = type == GQA_BITS ? 0xff : (uint8_t)(1 + below(random, 255));
        const uint8_t mixed =
            type == GQA_BITS ? (uint8_t)random_next(random) : values[below(random, 6)];
        const bool clear = fill == 0 || (fill == 2 && below(random, 50) == 0);
        ((uint8_t *)mask.data)[i] = clear ? 0 : fill == 3 ? mixed : set;
    }
    return mask;
}

/* Leaves what a mask allows in a range, of both. */
static void keep_masked(uint64_t *random, struct gqa__key_bits *bits, struct plain *plain)
{
    const gqa_dtype type = below(random, 2) == 0 ? GQA_U8 : GQA_BITS;
    const int64_t at = below(random, 80);
    struct guarded_buffer mask;
    gqa_tensor tensor;
    int32_t begin, end;

    draw_range(random, &begin, &end);
    mask = draw_mask(random, type, at + end - begin);
    tensor = gqa_tensor_1d(mask.data, type, at + end - begin);
    for (int32_t k = begin; k < end; k++) {
        plain->has[k] = plain->has[k] && gqa__mask_at(&tensor, at + k - begin);
    }
    gqa__key_bits_mask(bits, begin, end, &tensor, at);
    assert_true(guarded_free(&mask));
}

static void as_key_by_key(void **state)
{
    uint64_t random = 61;

    (void)state;
    for (int32_t round = 0; round < ROUNDS; round++) {
        struct gqa__key_bits bits;
        struct plain plain = {{false}};
        int32_t begin, end;

        draw_range(&random, &begin, &end);
        gqa__key_bits_set(&bits, begin, end);
        for (int32_t k = begin; k < end; k++) {
            plain.has[k] = true;
        }
        check(&bits, &plain);
        for (int32_t i = below(&random, 3); i > 0; i--) {
            keep_masked(&random, &bits, &plain);
        }
        check(&bits, &plain);
        draw_range(&random, &begin, &end);
        gqa__key_bits_keep(&bits, begin, end);
        for (int32_t k = 0; k < KEYS; k++) {
            plain.has[k] = plain.has[k] && k >= begin && k < end;
        }
        begin = below(&random, KEYS);
        gqa__key_bits_drop(&bits, begin);
        plain.has[begin] = false;
        check(&bits, &plain);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_key_by_key),
    };
    return RUN_TESTS(argc, argv, tests);
}
