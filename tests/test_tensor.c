/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's tensors: what fits, what is refused and how it is said; loads, stores, conversion.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "base/tensor.h"
#include "support/program.h"

static float values[3 * 5 * 7 * 9];

static void packed_views(void **state)
{
    const int64_t shape[4] = {3, -1, 7, 9};
    gqa_tensor t = gqa_tensor_4d(values, GQA_F32, 3, 5, 7, 9);
    gqa_tensor out;

    (void)state;
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"q", GQA__FLOATS, 4, shape, false}, &out, NULL),
        GQA_OK);
    assert_memory_equal(&t, &out, sizeof t);
    memset(t.stride, 0, sizeof t.stride); /* all 0 = packed */
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"q", GQA__FLOATS, 4, shape, false}, &t, NULL),
        GQA_OK);
    assert_memory_equal(t.stride, out.stride, sizeof t.stride);
    assert_int_equal(gqa__tensor_extent(&t), 3 * 5 * 7 * 9);
}

static void dropped_batch(void **state)
{
    const int64_t one[3] = {1, 5, 7};
    const int64_t any[3] = {-1, 5, 7};
    const int64_t two[3] = {2, 5, 7};
    gqa_tensor t = gqa_tensor_2d(values, GQA_F32, 5, 7);
    gqa_tensor out;
    gqa_error err;

    (void)state;
    t.stride[0] = 11;
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"x", GQA__FLOATS, 3, one, true}, &out, NULL),
        GQA_OK);
    assert_int_equal(out.rank, 3);
    assert_int_equal(out.shape[0], 1);
    assert_int_equal(out.shape[1], 5);
    assert_int_equal(out.stride[1], 11);
    assert_int_equal(out.stride[2], 1);
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"x", GQA__FLOATS, 3, any, true}, &out, NULL),
        GQA_OK);
    assert_int_equal(out.shape[0], 1);
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"x", GQA__FLOATS, 3, two, true}, &out, &err),
        GQA_ERR_SHAPE);
    assert_string_equal(err.message, "x: rank is 2; the batch dimension may be left out only for "
                                     "a batch of 1, this one is 2");
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"x", GQA__FLOATS, 3, one, false}, &out, &err),
        GQA_ERR_SHAPE);
    assert_string_equal(err.message, "x: rank is 2; it must be 3");
}

static void packed_bits(void **state)
{
    const int64_t shape[3] = {2, 3, 13};
    uint8_t bytes[12] = {0};
    gqa_tensor t = gqa_tensor_3d(bytes, GQA_BITS, 2, 3, 13);
    gqa_tensor out;
    gqa_error err;

    (void)state;
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"mask", GQA__MASKS, 3, shape, false}, &out, &err),
        GQA_ERR_SHAPE);
    assert_string_equal(err.message, "mask: stride[0] of 3 is 39 bits; it must be a multiple of 8");
    memset(t.stride, 0, sizeof t.stride);
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"mask", GQA__MASKS, 3, shape, false}, &out, NULL),
        GQA_OK);
    assert_int_equal(out.stride[1], 16);
    assert_int_equal(out.stride[0], 48);
    bytes[7] = 0x10; /* row 3 of 6, column 12 */
    for (int64_t row = 0; row < 6; row++) {
        for (int64_t c = 0; c < 13; c++) {
            assert_int_equal(gqa__mask_at(&out, row * 16 + c), row == 3 && c == 12);
        }
    }
    t = gqa_tensor_1d(bytes, GQA_U8, 12);
    assert_true(gqa__mask_at(&t, 7));
    assert_false(gqa__mask_at(&t, 6));
}

/* One tensor that does not fit [3, 5], and the text that says so. */
struct refusal {
    gqa_tensor t;
    int formats;
    gqa_status status;
    const char *message;
};

static gqa_tensor strided(void *data, gqa_dtype dtype, int64_t a, int64_t b, int64_t s, int64_t u)
{
    gqa_tensor t = gqa_tensor_2d(data, dtype, a, b);

    t.stride[0] = s;
    t.stride[1] = u;
    return t;
}

static void refusals(void **state)
{
    const int64_t shape[2] = {3, 5};
    const int64_t any[2] = {-1, -1};
    const gqa_tensor good = gqa_tensor_2d(values, GQA_F32, 3, 5);
    const gqa_tensor bf16 = gqa_tensor_2d(values, GQA_BF16, 3, 5);
    const gqa_tensor u8 = gqa_tensor_2d(values, GQA_U8, 3, 5);
    gqa_tensor odd = gqa_tensor_2d(values, (gqa_dtype)9, 3, 5);
    const struct refusal refused[] = {
        {odd, GQA__FLOATS, GQA_ERR_ARG, "t: dtype is 9; allowed: GQA_F32, GQA_BF16, GQA_F16"},
        {u8, GQA__FLOATS, GQA_ERR_ARG, "t: dtype is 3; allowed: GQA_F32, GQA_BF16, GQA_F16"},
        {bf16, GQA__ONLY_F32, GQA_ERR_ARG, "t: dtype is 1; allowed: GQA_F32"},
        {good, GQA__MASKS, GQA_ERR_ARG, "t: dtype is 0; allowed: GQA_U8, GQA_BITS"},
        {gqa_tensor_1d(values, GQA_F32, 5), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: rank is 1; it must be 2"},
        {gqa_tensor_3d(values, GQA_F32, 1, 3, 5), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: rank is 3; it must be 2"},
        {gqa_tensor_2d(values, GQA_F32, 4, 5), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: shape[0] of 2 is 4; it must be 3"},
        {gqa_tensor_2d(values, GQA_F32, 3, 6), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: shape[1] of 2 is 6; it must be 5"},
        {strided(values, GQA_F32, 3, 5, -5, 1), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: stride[0] of 2 is -5; it must not be negative"},
        {strided(values, GQA_F32, 3, 5, 5, 2), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: stride[1] of 2 is 2; the last dimension's must be 1"},
        {strided(values, GQA_F32, 3, 5, 5, 0), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: stride[1] of 2 is 0; the last dimension's must be 1"},
        {strided(values, GQA_BITS, 3, 5, 5, 1), GQA__MASKS, GQA_ERR_SHAPE,
         "t: stride[0] of 2 is 5 bits; it must be a multiple of 8"},
        {strided(values, GQA_F32, 3, 5, INT64_MAX, 1), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: its extents exceed the address space"},
        {strided(values, GQA_F32, 3, 5, INT64_MAX / 16, 1), GQA__FLOATS, GQA_ERR_SHAPE,
         "t: its extents exceed the address space"},
    };
    gqa_tensor out;
    gqa_error err;
    char text[192];

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct refusal *const r = &refused[i];
        assert_int_equal(gqa__tensor_fit(&r->t,
                                         &(struct gqa__form){"t", r->formats, 2, shape, false},
                                         &out, &err),
                         r->status);
        assert_string_equal(err.field, "t");
        assert_string_equal(err.message, r->message);
    }
    odd = gqa_tensor_2d(values, GQA_F32, -1, 5);
    assert_int_equal(
        gqa__tensor_fit(&odd, &(struct gqa__form){"t", GQA__FLOATS, 2, any, false}, &out, &err),
        GQA_ERR_SHAPE);
    assert_string_equal(err.message, "t: shape[0] of 2 is -1; it must not be negative");
    odd = gqa_tensor_2d(NULL, GQA_F32, INT64_MAX / 4, INT64_MAX / 4);
    memset(odd.stride, 0, sizeof odd.stride);
    assert_int_equal(
        gqa__tensor_fit(&odd, &(struct gqa__form){"t", GQA__FLOATS, 2, any, false}, &out, &err),
        GQA_ERR_SHAPE);
    assert_string_equal(err.message, "t: its extents exceed the address space");
    for (int64_t more = 0; more < 2; more++) { /* packed: rows + 8 of 2^30 make at most 2^60 - 1 */
        odd.shape[0] = ((int64_t)1 << 30) - 9 + more;
        odd.shape[1] = (int64_t)1 << 30;
        memset(odd.stride, 0, sizeof odd.stride);
        assert_int_equal(
            gqa__tensor_fit(&odd, &(struct gqa__form){"t", GQA__FLOATS, 2, any, false}, &out, &err),
            more == 0 ? GQA_OK : GQA_ERR_SHAPE);
    }
    odd = gqa_tensor_2d((char *)values + 2, GQA_F32, 3, 5);
    assert_int_equal(
        gqa__tensor_fit(&odd, &(struct gqa__form){"t", GQA__FLOATS, 2, shape, false}, &out, &err),
        GQA_ERR_ARG);
    (void)snprintf(text, sizeof text,
                   "t: data is at address %llx; it must be a multiple of the 4 bytes of an element",
                   (unsigned long long)(uintptr_t)odd.data);
    assert_string_equal(err.message, text);
}

/* Extents of 0 and 1 need no stride. */
static void thin_dimensions(void **state)
{
    const int64_t any[2] = {-1, -1};
    gqa_tensor t = strided(values, GQA_F32, 3, 1, 7, 40);
    gqa_tensor out;

    (void)state;
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"t", GQA__FLOATS, 2, any, false}, &out, NULL),
        GQA_OK);
    assert_int_equal(gqa__tensor_extent(&out), 15);
    t = strided(values, GQA_F32, 0, 5, 0, 0);
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"t", GQA__FLOATS, 2, any, false}, &out, NULL),
        GQA_OK);
    assert_int_equal(gqa__tensor_extent(&out), 0);
    t = strided(values, GQA_F32, 4, 5, 0, 1); /* one row for all */
    assert_int_equal(
        gqa__tensor_fit(&t, &(struct gqa__form){"t", GQA__FLOATS, 2, any, false}, &out, NULL),
        GQA_OK);
    assert_int_equal(gqa__tensor_extent(&out), 5);
}

static void loads_and_stores(void **state)
{
    const gqa_dtype dtypes[] = {GQA_F32, GQA_BF16, GQA_F16};
    const float in[5] = {1.0f, -0.0f, 1.5f, -INFINITY, gqa__f32_from_bits(0xffc12345u)};
    const uint32_t nans[] = {0x7fc00000u, 0x7fc0u, 0x7e00u};
    uint32_t memory[16];
    float out[5];

    (void)state;
    for (int i = 0; i < 3; i++) {
        const gqa_tensor t = gqa_tensor_1d(memory, dtypes[i], 16);
        uint32_t nan = 0;
        memset(memory, 0x11, sizeof memory);
        gqa__store_f32(&t, 3, in, 5);
        gqa__load_f32(out, &t, 3, 5);
        assert_memory_equal(out, in, 4 * sizeof *in);
        assert_int_equal(gqa__f32_bits(out[4]), 0x7fc00000u);
        memcpy(&nan, (char *)memory + 7 * gqa__dtype_size(dtypes[i]), gqa__dtype_size(dtypes[i]));
        assert_int_equal(nan, nans[i]);
        assert_int_equal(((unsigned char *)memory)[3 * gqa__dtype_size(dtypes[i]) - 1], 0x11);
        assert_int_equal(((unsigned char *)memory)[8 * gqa__dtype_size(dtypes[i])], 0x11);
        gqa__store_zero(&t, 3, 4);
        gqa__load_f32(out, &t, 3, 5);
        for (int k = 0; k < 4; k++) {
            assert_int_equal(gqa__f32_bits(out[k]), 0);
        }
        assert_true(isnan(out[4]));
    }
}

static void convert_strided(void **state)
{
    enum { A = 2, B = 3, C = 700 };
    static uint16_t half[A][B][C + 5];
    static float wide[B][A][C + 2];
    gqa_tensor src = gqa_tensor_3d(wide, GQA_F32, A, B, C);
    gqa_tensor dst = gqa_tensor_3d(half, GQA_BF16, A, B, C);

    (void)state;
    for (int i = 0; i < A * B * (C + 2); i++) {
        ((float *)wide)[i] = (float)i / 7.0f - 300.0f;
    }
    src.stride[0] = C + 2; /* the first two dimensions swapped */
    src.stride[1] = A * (C + 2);
    dst.stride[0] = B * (C + 5);
    dst.stride[1] = C + 5;
    assert_int_equal(gqa_convert(&src, &dst, NULL), GQA_OK);
    for (int a = 0; a < A; a++) {
        for (int b = 0; b < B; b++) {
            for (int c = 0; c < C + 5; c++) {
                assert_int_equal(half[a][b][c], c < C ? gqa__f32_to_bf16(wide[b][a][c]) : 0);
            }
        }
    }
}

static void convert_refusals(void **state)
{
    float a[12] = {0};
    uint16_t b[12];
    const gqa_tensor src = gqa_tensor_2d(a, GQA_F32, 3, 4);
    const gqa_tensor dst = gqa_tensor_2d(b, GQA_F16, 3, 4);
    const gqa_tensor shape = gqa_tensor_2d(b, GQA_F16, 4, 3);
    const gqa_tensor bytes = gqa_tensor_2d(b, GQA_U8, 3, 4);
    const gqa_tensor inside = gqa_tensor_2d(a + 6, GQA_F16, 3, 4);
    const gqa_tensor absent = gqa_tensor_2d(NULL, GQA_F16, 3, 4);
    gqa_tensor rank = dst;
    gqa_error err;

    (void)state;
    rank.rank = 5;
    assert_int_equal(gqa_convert(&src, &dst, &err), GQA_OK);
    assert_int_equal(gqa_convert(&src, &shape, &err), GQA_ERR_SHAPE);
    assert_string_equal(err.message, "dst: shape[0] of 2 is 4; it must be 3");
    assert_int_equal(gqa_convert(&src, &bytes, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "dst");
    assert_int_equal(gqa_convert(&bytes, &src, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "src");
    assert_int_equal(gqa_convert(&src, &inside, &err), GQA_ERR_ARG);
    assert_string_equal(err.message, "dst: its data overlaps that of src");
    assert_int_equal(gqa_convert(NULL, &dst, &err), GQA_ERR_ARG);
    assert_int_equal(gqa_convert(&src, &absent, &err), GQA_ERR_ARG);
    assert_int_equal(gqa_convert(&src, &rank, &err), GQA_ERR_SHAPE);
    assert_int_equal(gqa_convert(&rank, &src, NULL), GQA_ERR_SHAPE);
    assert_string_equal(err.message, "dst: rank is 5; it must be 1..4");
}

/* Every element of every rank, no two dimensions alike; strides with gaps on either side. */
static void convert_every_rank(void **state)
{
    enum { A = 5, B = 2, C = 3, D = 7, MOST = A * B * C * D };
    static float x[2 * MOST], y[MOST];
    static const int64_t shape[4] = {A, B, C, D};
    (void)state;
    for (int rank = 1; rank <= 4; rank++) {
        for (int gap = 0; gap <= 1; gap++) {
            gqa_tensor src = {.data = x, .dtype = GQA_F32, .rank = rank};
            gqa_tensor dst = {.data = y, .dtype = GQA_F32, .rank = rank};
            int64_t from = 1, to = 1;
            for (int i = rank - 1; i >= 0; i--) {
                src.shape[i] = dst.shape[i] = shape[i + 4 - rank];
                src.stride[i] = from;
                dst.stride[i] = to;
                from = from * src.shape[i] + gap;
                to *= src.shape[i];
            }
            assert_true(from <= 2 * MOST);
            for (int i = 0; i < 2 * MOST; i++) {
                x[i] = (float)(i + 1);
            }
            memset(y, 0, sizeof y);
            assert_int_equal(gqa_convert(&src, &dst, NULL), GQA_OK);
            for (int64_t i = 0; i < MOST; i++) {
                int64_t rest = i, at = 0;
                for (int d = rank - 1; d >= 0; d--) {
                    at += rest % src.shape[d] * src.stride[d];
                    rest /= src.shape[d];
                }
                assert_true(y[i] == (i < to ? (float)(at + 1) : 0.0f));
            }
        }
    }
}

static void status_texts(void **state)
{
    (void)state;
    for (int s = -9; s <= 1; s++) {
        const char *const text = gqa_status_string((gqa_status)s);
        assert_non_null(text);
        assert_int_equal(strcmp(text, "unknown status") == 0, s < GQA_ERR_COMM || s > GQA_OK);
        for (int other = GQA_ERR_COMM; other < s && s <= GQA_OK; other++) {
            assert_string_not_equal(text, gqa_status_string((gqa_status)other));
        }
    }
}

/* Of four dimensions nothing behind the last element is written. */
static void convert_ends_where_it_should(void **state)
{
    float src[2 * 3 * 2 * 5], dst[2 * 3 * 2 * 5 + 40];
    const size_t n = sizeof src / sizeof *src;
    const gqa_tensor from = gqa_tensor_4d(src, GQA_F32, 2, 3, 2, 5);
    const gqa_tensor to = gqa_tensor_4d(dst, GQA_F32, 2, 3, 2, 5);

    (void)state;
    for (size_t i = 0; i < sizeof dst / sizeof *dst; i++) {
        dst[i] = -7.0f;
        src[i % n] = (float)i;
    }
    assert_int_equal(gqa_convert(&from, &to, NULL), GQA_OK);
    assert_memory_equal(dst, src, sizeof src);
    for (size_t i = n; i < sizeof dst / sizeof *dst; i++) {
        assert_true(dst[i] == -7.0f);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_views),       cmocka_unit_test(dropped_batch),
        cmocka_unit_test(packed_bits),        cmocka_unit_test(refusals),
        cmocka_unit_test(thin_dimensions),    cmocka_unit_test(loads_and_stores),
        cmocka_unit_test(convert_strided),    cmocka_unit_test(convert_refusals),
        cmocka_unit_test(convert_every_rank), cmocka_unit_test(convert_ends_where_it_should),
        cmocka_unit_test(status_texts),
    };

    return RUN_TESTS(argc, argv, tests);
}
