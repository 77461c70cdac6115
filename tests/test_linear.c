/* SPDX-License-Identifier: Apache-2.0 */
/* Products: against a double product within a derived bound, and bits that do not depend on how the
 * work is cut. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/number.h"
#include "base/tensor.h"
#include "kernel/choice/select.h"
#include "linear/linear.h"
#include "linear/quantise.h"
#include "support/host.h"
#include "support/program.h"
#include "support/random.h"

enum form { CPU_F32, CPU_BF16, REFERENCE, REFERENCE_F64 };

struct shape {
    int32_t tokens;
    int64_t out, in;
};

/* Odd, off by one, around a token block of 32, a restart at 512 and several tasks of outputs. */
static const struct shape shapes[] = {{1, 1, 1},     {1, 16, 8},     {3, 17, 33},    {31, 5, 64},
                                      {33, 50, 511}, {32, 130, 513}, {65, 40, 1025}, {2, 300, 700}};

enum { MOST_THREADS = 16 };

struct problem {
    struct gqa__linear linear;
    struct shape shape;
    void *memory, *scratch;
    float *w, *b, *x; /* [out][in], [out], [tokens][stride] */
    int64_t stride;
    int64_t begin, end, width; /* outputs computed, and floats per row of y */
    const char *name;
    int8_t *q;     /* [out][in], int8 only: w is then q * scale, rounded to f32 nowhere */
    double *scale; /* [out] */
};

static void *block(size_t size)
{
    const size_t rounded = (size + 63) / 64 * 64 + 64;
    void *const memory = aligned_alloc(64, rounded);
    assert_non_null(memory);
    memset(memory, 0, rounded);
    return memory;
}

/* Row o as int8 and a scale. */
static void set_int8(struct problem *p, int64_t o)
{
    int8_t *const q = p->q + o * p->shape.in;
    float scale;
    assert_true(gqa__quantise(q, &scale, p->w + o * p->shape.in, p->shape.in));
    p->scale[o] = (double)scale;
    gqa__linear_set_int8(&p->linear, o, q, scale, p->b[o]);
}

/* What is made of the weights and the bias. */
struct kind {
    enum form form;
    bool bias, int8;
};

static void make(struct problem *p, const struct gqa__kernels *kernels, struct kind kind,
                 const struct shape *shape)
{
    uint64_t seed = 7;
    struct host host;
    const gqa_runtime runtime = host_start(&host, MOST_THREADS);
    size_t bytes;
    memset(p, 0, sizeof *p);
    p->shape = *shape;
    p->name = kernels->name;
    p->stride = shape->in + 3;
    p->end = shape->out;
    p->width = shape->out;
    p->linear.kernels = kernels;
    p->linear.out = shape->out;
    p->linear.in = shape->in;
    p->linear.plain = kind.form == REFERENCE || kind.form == REFERENCE_F64;
    p->linear.f64 = kind.form == REFERENCE_F64;
    p->linear.int8 = kind.int8;
    p->w = block((size_t)(shape->out * shape->in) * sizeof(float));
    p->b = block((size_t)shape->out * sizeof(float));
    p->x = block((size_t)(shape->tokens * p->stride) * sizeof(float));
    random_floats(&seed, p->w, shape->out * shape->in, 0.7f);
    random_floats(&seed, p->b, shape->out, 3.0f);
    random_floats(&seed, p->x, shape->tokens * p->stride, 1.3f);
    p->q = kind.int8 ? block((size_t)(shape->out * shape->in)) : NULL;
    p->scale = kind.int8 ? block((size_t)shape->out * sizeof(double)) : NULL;
    assert_true(gqa__linear_bytes(&p->linear, kind.bias, &bytes));
    p->memory = block(bytes);
    gqa__linear_place(&p->linear, p->memory, kind.bias);
    for (int64_t o = shape->out - 1; o >= 0; o--) {
        if (kind.int8) {
            set_int8(p, o);
        } else {
            gqa__linear_set_row(&p->linear, o, p->w + o * shape->in, p->b[o]);
        }
    }
    p->scratch = block(gqa__linear_scratch_bytes(&p->linear, shape->tokens, &runtime));
}

static void unmake(struct problem *p)
{
    free(p->w);
    free(p->b);
    free(p->q);
    free(p->scale);
    free(p->x);
    free(p->memory);
    free(p->scratch);
}

static float *run(const struct problem *p, const gqa_runtime *runtime)
{
    float *const y = block((size_t)(p->shape.tokens * p->shape.out) * sizeof *y);
    gqa__linear_run(&(struct gqa__product){.linear = &p->linear,
                                           .x = p->x,
                                           .x_stride = p->stride,
                                           .tokens = p->shape.tokens,
                                           .out_begin = 0,
                                           .out_end = p->shape.out,
                                           .y = y,
                                           .y_stride = p->shape.out,
                                           .scratch = p->scratch},
                    runtime);
    return y;
}

/* y clipped and added to other values in the same call gives the bits of doing so afterwards. */
static void check_after(const struct problem *p, const float *y, const gqa_runtime *runtime)
{
    const int64_t n = p->shape.tokens * p->shape.out;
    float *const add = block((size_t)n * sizeof *add), *const got = block((size_t)n * sizeof *got);
    const struct gqa__epilogue after = {2.5f, 0.22f, add, p->shape.out};
    uint64_t seed = 9;
    random_floats(&seed, add, n, 1.0f);
    gqa__linear_run(&(struct gqa__product){.linear = &p->linear,
                                           .x = p->x,
                                           .x_stride = p->stride,
                                           .tokens = p->shape.tokens,
                                           .out_begin = 0,
                                           .out_end = p->shape.out,
                                           .y = got,
                                           .y_stride = p->shape.out,
                                           .after = after,
                                           .scratch = p->scratch},
                    runtime);
    for (int64_t i = 0; i < n; i++) {
        const float clipped = fabsf(y[i]) > after.clip ? copysignf(after.clip, y[i]) : y[i];
        const float want = fmaf(after.factor, clipped, add[i]);
        if (memcmp(&got[i], &want, sizeof want) != 0) {
            fail_msg("%s tokens %d out %lld in %lld: clipped and added y[%lld] = %.9g, not %.9g",
                     p->name, (int)p->shape.tokens, (long long)p->shape.out, (long long)p->shape.in,
                     (long long)i, (double)got[i], (double)want);
        }
    }
    free(add);
    free(got);
}

static double operand(float x, enum form form)
{
    return form == CPU_BF16 ? (double)gqa__round_bf16(x) : (double)x;
}

/* A sum of n products in f32, in whatever order and with or without fma, is off by at most
 * (n + 1) u / (1 - (n + 1) u) times the sum of absolute values, u = 2^-24; the bias adds one
 * rounding of the result. bf16: the same after the rounding of the operands, plus what the flush of
 * results below 2^-126 takes (nothing of this size). f64: one rounding of the sum and one for the
 * result. int8: the integers are exact, and the scale is one more product (of the sum, or in form
 * REFERENCE of every weight); with f64 the double sum's. 1.01 covers the denominator and the double
 * sum itself. */
static double bound(enum form form, int64_t n, double absolute, double value)
{
    const double u = 0x1p-24;
    if (form == REFERENCE_F64) {
        return 1.01 * u * fabs(value) + (double)n * 0x1p-52 * absolute;
    }
    return 1.01 * ((double)(n + 3) * u * absolute + u * fabs(value));
}

/* The weight of output o and input i that the product has. */
static double weight(const struct problem *p, enum form form, int64_t o, int64_t i)
{
    const int64_t at = o * p->shape.in + i;
    return p->q != NULL ? (double)p->q[at] * p->scale[o] : operand(p->w[at], form);
}

static void check_values(const struct problem *p, struct kind kind, const float *y)
{
    const enum form form = kind.form;
    for (int64_t t = 0; t < p->shape.tokens; t++) {
        for (int64_t o = p->begin; o < p->end; o++) {
            double sum = kind.bias ? (double)p->b[o] : 0.0;
            double absolute = fabs(sum);
            for (int64_t i = 0; i < p->shape.in; i++) {
                const double product =
                    weight(p, form, o, i) * operand(p->x[t * p->stride + i], form);
                sum += product;
                absolute += fabs(product);
            }
            const double got = (double)y[t * p->width + o];
            if (!(fabs(got - sum) <= bound(form, p->shape.in, absolute, sum))) {
                fail_msg(
                    "%s form %d tokens %d out %lld in %lld bias %d int8 %d: y[%lld][%lld] = %.9g, "
                    "not %.9g",
                    p->name, (int)form, (int)p->shape.tokens, (long long)p->shape.out,
                    (long long)p->shape.in, (int)kind.bias, (int)kind.int8, (long long)t,
                    (long long)o, got, sum);
            }
        }
    }
}

static void same(const struct problem *p, const float *a, const float *b, const char *what)
{
    if (memcmp(a, b, (size_t)(p->shape.tokens * p->shape.out) * sizeof *a) != 0) {
        fail_msg("%s tokens %d out %lld in %lld: other bits with %s", p->name, (int)p->shape.tokens,
                 (long long)p->shape.out, (long long)p->shape.in, what);
    }
}

static const struct gqa__kernels *kernels_of(gqa_isa isa, gqa_numerics numerics)
{
    const struct gqa__kernels *kernels = NULL;
    if ((gqa__kernels_available() >> isa & 1u) == 0 ||
        gqa__select(&kernels, isa, GQA_ISA_AUTO, numerics, NULL) != GQA_OK) {
        return NULL;
    }
    return kernels;
}

typedef void (*kernels_test)(const struct gqa__kernels *kernels, enum form form);

static void each_kernel_set(kernels_test test)
{
    for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
        for (int numerics = 0; numerics < 2; numerics++) {
            const struct gqa__kernels *const kernels =
                kernels_of((gqa_isa)isa, (gqa_numerics)numerics);
            if (kernels == NULL) {
                print_message("skipped: isa %d numerics %d is not available\n", isa, numerics);
                continue;
            }
            test(kernels, numerics == GQA_NUMERICS_BF16 ? CPU_BF16 : CPU_F32);
        }
    }
}

static void values_of_kernels(const struct gqa__kernels *kernels, enum form form)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int which = 0; which < 4; which++) {
            const struct kind kind = {form, which % 2 != 0, which / 2 != 0};
            struct problem p;
            gqa_runtime runtime;
            gqa_runtime_init(&runtime);
            make(&p, kernels, kind, &shapes[i]);
            float *const y = run(&p, &runtime);
            check_values(&p, kind, y);
            check_after(&p, y, &runtime);
            free(y);
            unmake(&p);
        }
    }
}

static void cpu_values(void **state)
{
    (void)state;
    each_kernel_set(values_of_kernels);
}

static void reference_values(void **state)
{
    const struct gqa__kernels *const kernels = kernels_of(GQA_ISA_SCALAR, GQA_NUMERICS_F32);
    (void)state;
    values_of_kernels(kernels, REFERENCE);
    values_of_kernels(kernels, REFERENCE_F64);
}

static void cuts_of_kernels(const struct gqa__kernels *kernels, enum form form)
{
    static const int32_t threads[] = {2, 3, 7, MOST_THREADS};
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof shapes[0]; i++) {
        struct problem p;
        struct host host;
        gqa_runtime runtime;
        runtime = host_start(&host, 1);
        make(&p, kernels, (struct kind){form, true, i % 2 != 0}, &shapes[i / 2]);
        float *const whole = run(&p, &runtime);
        for (size_t j = 0; j < sizeof threads / sizeof threads[0]; j++) {
            runtime = host_start(&host, threads[j]);
            float *const y = run(&p, &runtime);
            same(&p, whole, y, "more threads");
            free(y);
        }

        /* Token by token, and each in two ranges of outputs. */
        const int64_t out = p.shape.out;
        const int64_t middle = out / 2 / kernels->out_step * kernels->out_step;
        float *const y = block((size_t)(p.shape.tokens * out) * sizeof *y);
        for (int64_t t = 0; t < p.shape.tokens; t++) {
            const float *const x = p.x + t * p.stride;
            gqa__linear_run(&(struct gqa__product){.linear = &p.linear,
                                                   .x = x,
                                                   .x_stride = p.stride,
                                                   .tokens = 1,
                                                   .out_begin = middle,
                                                   .out_end = out,
                                                   .y = y + t * out + middle,
                                                   .y_stride = out,
                                                   .scratch = p.scratch},
                            &runtime);
            gqa__linear_run(&(struct gqa__product){.linear = &p.linear,
                                                   .x = x,
                                                   .x_stride = p.stride,
                                                   .tokens = 1,
                                                   .out_begin = 0,
                                                   .out_end = middle,
                                                   .y = y + t * out,
                                                   .y_stride = out,
                                                   .scratch = p.scratch},
                            &runtime);
        }
        same(&p, whole, y, "tokens and outputs in parts");
        free(y);
        free(whole);
        unmake(&p);
    }
}

static void cpu_bits_do_not_depend_on_the_cut(void **state)
{
    (void)state;
    each_kernel_set(cuts_of_kernels);
}

/* The other rows of a batch, the memory before and the bytes of scratch are nobody's business. */
static void a_product_writes_only_its_range(void **state)
{
    const struct gqa__kernels *const kernels = kernels_of(GQA_ISA_SCALAR, GQA_NUMERICS_F32);
    const struct shape shape = {35, 50, 70};
    (void)state;
    for (int which = 0; which < 2 * (REFERENCE_F64 + 1); which++) {
        const struct kind kind = {(enum form)(which / 2), true, which % 2 != 0};
        struct problem p;
        gqa_runtime runtime;
        if (kind.form == CPU_BF16) {
            continue;
        }
        gqa_runtime_init(&runtime);
        make(&p, kernels, kind, &shape);
        const int64_t begin = kernels->out_step, end = 3 * kernels->out_step, width = 61;
        p.begin = begin;
        p.end = end;
        p.width = width;
        float *const y = block((size_t)(shape.tokens * width) * sizeof *y);
        for (int64_t i = 0; i < shape.tokens * width; i++) {
            y[i] = 12345.0f;
        }
        gqa__linear_run(&(struct gqa__product){.linear = &p.linear,
                                               .x = p.x,
                                               .x_stride = p.stride,
                                               .tokens = shape.tokens,
                                               .out_begin = begin,
                                               .out_end = end,
                                               .y = y + begin,
                                               .y_stride = width,
                                               .scratch = p.scratch},
                        &runtime);
        for (int64_t i = 0; i < shape.tokens * width; i++) {
            const bool inside = i % width >= begin && i % width < end;
            assert_true((y[i] != 12345.0f) == inside);
        }
        check_values(&p, kind, y);
        free(y);
        unmake(&p);
    }
}

static void bytes_that_overflow(void **state)
{
    struct gqa__linear linear = {0};
    size_t bytes;
    (void)state;
    linear.kernels = kernels_of(GQA_ISA_SCALAR, GQA_NUMERICS_F32);
    linear.out = INT64_C(1) << 40;
    linear.in = INT64_C(1) << 40;
    assert_false(gqa__linear_bytes(&linear, true, &bytes));
    linear.int8 = true;
    assert_false(gqa__linear_bytes(&linear, true, &bytes));
    linear.int8 = false;
    linear.turned = true;
    assert_false(gqa__linear_bytes(&linear, false, &bytes));
    linear.turned = false;
    linear.plain = true;
    assert_false(gqa__linear_bytes(&linear, false, &bytes));
    linear.in = 4;
    assert_true(gqa__linear_bytes(&linear, false, &bytes));
}

/* Turned weights: a row is a column of its block, in their format; what is behind the last is 0. */
static void turned_rows(gqa_dtype dtype, int64_t out, int64_t in)
{
    struct gqa__linear linear = {.turned = true, .dtype = dtype, .out = out, .in = in};
    const int64_t blocks = (out + GQA__TURNED_OUTS - 1) / GQA__TURNED_OUTS;
    const int64_t all = blocks * GQA__TURNED_OUTS * in;
    float *const w = block((size_t)(out * in) * sizeof(float)); /* [out][in] */
    uint64_t seed = 3;
    size_t bytes;
    void *memory;

    random_floats(&seed, w, out * in, 0.7f);
    assert_true(gqa__linear_bytes(&linear, true, &bytes));
    assert_true(bytes <= (size_t)all * gqa__dtype_size(dtype) + (size_t)out * sizeof(float) + 64);
    memory = block(bytes);
    memset(memory, 0, bytes);
    gqa__linear_place(&linear, memory, true);
    for (int64_t o = 0; o < out; o++) {
        gqa__linear_set_row(&linear, o, w + o * in, w[o]);
        assert_true(linear.bias[o] == (dtype == GQA_BF16 ? gqa__round_bf16(w[o]) : w[o]));
    }
    for (int64_t at = 0; at < all; at++) {
        const int64_t o = at / (in * GQA__TURNED_OUTS) * GQA__TURNED_OUTS + at % GQA__TURNED_OUTS;
        const int64_t i = at / GQA__TURNED_OUTS % in;
        const float want = o < out ? w[o * in + i] : 0.0f;
        const float got = dtype == GQA_BF16
                              ? gqa__bf16_to_f32(((const uint16_t *)linear.weight)[at])
                              : ((const float *)linear.weight)[at];
        assert_true(got == (dtype == GQA_BF16 ? gqa__round_bf16(want) : want));
    }
    free(w);
    free(memory);
}

static void turned(void **state)
{
    (void)state;
    turned_rows(GQA_F32, 33, 5);
    turned_rows(GQA_BF16, 33, 5);
    turned_rows(GQA_BF16, 64, 3);
    turned_rows(GQA_F32, 1, 7);
}

/* Packed int8 is a quarter of f32 and half of bf16, but for the scale. */
static void int8_bytes_of_kernels(const struct gqa__kernels *kernels, enum form form)
{
    struct gqa__linear linear = {.kernels = kernels, .out = 640, .in = 512};
    size_t native, int8;
    assert_true(gqa__linear_bytes(&linear, false, &native));
    linear.int8 = true;
    assert_true(gqa__linear_bytes(&linear, false, &int8));
    assert_int_equal(int8, native / (form == CPU_BF16 ? 2 : 4) + 640 * sizeof(float));
}

static void int8_bytes(void **state)
{
    (void)state;
    each_kernel_set(int8_bytes_of_kernels);
}

static void quantised(const float *w, int64_t n, const int8_t *want, float want_scale)
{
    int8_t q[8];
    float scale = -1.0f;
    assert_true(gqa__quantise(q, &scale, w, n));
    assert_true(scale == want_scale);
    assert_memory_equal(q, want, (size_t)n);
}

static void quantisation(void **state)
{
    const float tie[] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127.0f, 126.5f};
    const float zero[] = {0.0f, -0.0f, 0.0f};
    const float tiny[] = {1e-45f, -2e-44f};          /* 2e-44 / 127 is 0 in f32 */
    const float small[] = {0x1.8p-143f, -0x1p-149f}; /* 96 and -1 of 2^-149; their scale is 1 */
    const float large[] = {0x1.fffffep127f, -0x1.fffffep127f, 0x1p126f};
    const float bad[][2] = {{1.0f, NAN}, {INFINITY, 1.0f}, {1.0f, -INFINITY}};
    int8_t q[2] = {9, 9};
    float scale = -1.0f;
    (void)state;
    quantised(tie, 8, (const int8_t[]){127, 0, 2, 2, 0, -2, -127, 126}, 1.0f);
    quantised(zero, 3, (const int8_t[]){0, 0, 0}, 0.0f);
    quantised(tiny, 2, (const int8_t[]){0, 0}, 0.0f);
    quantised(small, 2, (const int8_t[]){96, -1}, 0x1p-149f);
    quantised(large, 3, (const int8_t[]){127, -127, 32}, 0x1.fffffep127f / 127.0f);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(gqa__quantise(q, &scale, bad[i], 2));
        assert_true(scale == -1.0f && q[0] == 9 && q[1] == 9);
    }
    /* A scale that was rounded down to a denormal would give more than 127. */
    const float rounded[] = {0x1.7cp-142f, -0x1.7cp-142f}; /* 190 of 2^-149, 190 / 127 is 1 */
    quantised(rounded, 2, (const int8_t[]){127, -127}, 0x1p-149f);
}

static void blas_names(void **state)
{
    (void)state;
    assert_non_null(gqa__blas_config());
    assert_non_null(gqa__blas_core());
#ifdef GQA_WITH_OPENBLAS
    assert_true(strlen(gqa__blas_core()) > 0);
    assert_non_null(strstr(gqa__blas_config(), "OpenBLAS"));
#else
    assert_string_equal(gqa__blas_config(), "none");
    assert_string_equal(gqa__blas_core(), "");
#endif
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_values),
        cmocka_unit_test(reference_values),
        cmocka_unit_test(cpu_bits_do_not_depend_on_the_cut),
        cmocka_unit_test(a_product_writes_only_its_range),
        cmocka_unit_test(bytes_that_overflow),
        cmocka_unit_test(turned),
        cmocka_unit_test(int8_bytes),
        cmocka_unit_test(quantisation),
        cmocka_unit_test(blas_names),
    };
    return RUN_TESTS(argc, argv, tests);
}
