/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_flat.c - projections and element-wise entries of every kernel set against kernels8,
 * bit by bit, and against double. Names and repetition as in test_kernels.c.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mathd.h"
#include "base/number.h"
#include "support/guarded_buffer.h"
#include "support/kernels8.h"
#include "support/kernels_under_test.h"
#include "support/random.h"

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

static struct guarded_buffer floats(int64_t n)
{
    return guarded_new((size_t)n * sizeof(float));
}

/* --- projections -------------------------------------------------------------------------------
 */

struct product {
    int32_t tokens;
    int64_t out, in, begin; /* outputs from begin on */
    bool bias, int8, stream;
    enum fill fill;
    uint64_t seed;
    float *w, *x, *b; /* [out][in], [tokens][in], [out] */
    float *s;         /* [out]: scales of integers w, int8 only */
    struct gqa__epilogue after;
};

static void pack_row(const struct gqa__kernels *kernels, const struct product *p, int64_t o,
                     void *to)
{
    struct guarded_buffer line = floats(p->in), integers = guarded_new((size_t)p->in);

    if (p->int8) {
        for (int64_t k = 0; k < p->in; k++) {
            ((int8_t *)integers.data)[k] = (int8_t)p->w[o * p->in + k];
        }
        kernels->pack_int8(to, o, integers.data, p->out, p->in);
    } else {
        memcpy(line.data, p->w + o * p->in, line.size);
        kernels->pack_weight(to, o, line.data, p->out, p->in);
    }
    check(guarded_free(&line) && guarded_free(&integers));
}

/* y [tokens][out]; columns before begin are left alone. */
static void project(const struct gqa__kernels *kernels, const struct product *p,
                    struct guarded_buffer *y)
{
    const int64_t stride = p->in + 3;
    const int64_t begin = p->begin / kernels->out_step * kernels->out_step;
    struct guarded_buffer weight = guarded_new(p->int8 ? kernels->int8_bytes(p->out, p->in)
                                                       : kernels->weight_bytes(p->out, p->in));
    struct guarded_buffer packed = guarded_new(kernels->x_bytes(p->tokens, p->in));
    struct guarded_buffer scratch = guarded_new(kernels->scratch_bytes);
    struct guarded_buffer scale = floats(p->out), bias = floats(p->out);
    struct guarded_buffer x = floats((p->tokens - 1) * stride + p->in);
    struct gqa__linear_args args = {.weight = weight.data,
                                    .scale = p->int8 ? scale.data : NULL,
                                    .out = p->out,
                                    .in = p->in,
                                    .out_begin = begin,
                                    .out_end = p->out,
                                    .x = packed.data,
                                    .tokens = p->tokens,
                                    .y = y->data,
                                    .y_stride = p->out,
                                    .bias = p->bias ? bias.data : NULL,
                                    .stream = p->stream,
                                    .after = p->after,
                                    .scratch = scratch.data};

    memset(weight.data, 0, weight.size);
    memcpy(bias.data, p->b, bias.size);
    memcpy(scale.data, p->s, scale.size);
    for (int64_t o = 0; o < p->out; o++) {
        pack_row(kernels, p, o, weight.data);
    }
    for (int32_t t = 0; t < p->tokens; t++) {
        memcpy((float *)x.data + t * stride, p->x + t * p->in, (size_t)p->in * sizeof(float));
    }
    if (kernels->enter != NULL) {
        kernels->enter();
    }
    kernels->pack_x(packed.data, x.data, stride, p->tokens, p->in);
    kernels->linear(&args);
    if (kernels->leave != NULL) {
        kernels->leave();
    }
    check(guarded_free(&weight) && guarded_free(&packed) && guarded_free(&scale));
    check(guarded_free(&bias) && guarded_free(&x) && guarded_free(&scratch));
}

/* Each of in products and sums rounds once: (in + 2) u of the sum of sizes, u = 2^-24, and an
 * absolute FLT_MIN each where bf16 sums are flushed. int8: integers are exact operands in both
 * numerics and up to 128 in size, as is what the flush of an x takes then; the scale multiplies the
 * sum and its error, in the rounding that the bias has anyway. */
static void near_double(const struct product *p, bool bf16, const float *y)
{
    for (int64_t i = 0; i < p->tokens * p->out; i++) {
        const float *x = p->x + i / p->out * p->in, *w = p->w + i % p->out * p->in;
        const double scale = p->int8 ? (double)p->s[i % p->out] : 1.0;
        double sum = p->bias ? (double)p->b[i % p->out] : 0.0, size = fabs(sum), bound;
        if (i % p->out < p->begin) {
            continue;
        }
        for (int64_t k = 0; k < p->in; k++) {
            const double one = (double)(bf16 ? gqa__round_bf16(x[k]) : x[k]) *
                               (double)(bf16 ? gqa__round_bf16(w[k]) : w[k]) * scale;
            sum += one;
            size += fabs(one);
        }
        bound = (double)(p->in + 2) * (size * 0x1p-24 + 0x1p-126 * fmax(1.0, 128.0 * fabs(scale)));
        if (!(fabs((double)y[i] - sum) <= bound)) {
            print_error("y[%d]: %.9g, in double %.9g, bound %.3g\n", (int)i, (double)y[i], sum,
                        bound);
            check(0);
        }
    }
}

/* The outputs clipped and added to others in the product's end, and afterwards: plain [tokens][out]
 * is the product. */
static void run_after(const struct kernels_under_test *test, struct product *p, const float *plain)
{
    const int64_t n = p->tokens * p->out;
    struct guarded_buffer add = floats(n), got = floats(n), want = floats(n);
    uint64_t state = p->seed + 77;

    fill_values(add.data, n, FILL_RANDOM, &state);
    p->after = (struct gqa__epilogue){.add_stride = p->out};
    p->after.clip = p->seed % 3 != 0 ? 0.5f : 0.0f;
    p->after.add = p->seed % 3 != 1 ? add.data : NULL;
    p->after.factor = p->seed % 2 != 0 ? 1.0f : 0.22f;
    for (int64_t i = 0; i < n; i++) {
        float y = plain[i];
        if (p->after.clip > 0.0f && fabsf(y) > p->after.clip) {
            y = copysignf(p->after.clip, y);
        }
        ((float *)want.data)[i] =
            p->after.add != NULL ? gqa__canonical(fmaf(p->after.factor, y, ((float *)add.data)[i]))
                                 : y;
    }
    project(test->kernels, p, &got);
    check(same_floats("y and what follows", got.data, want.data, n));
    check(guarded_free(&add) && guarded_free(&got) && guarded_free(&want));
    p->after = (struct gqa__epilogue){0};
}

static void run_product(const struct kernels_under_test *test, struct product *p)
{
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);
    struct guarded_buffer w = floats(p->out * p->in), x = floats(p->tokens * p->in),
                          b = floats(p->out);
    struct guarded_buffer want = floats(p->tokens * p->out), got = floats(p->tokens * p->out);
    struct guarded_buffer s = floats(p->out);
    uint64_t state = p->seed;
    const int64_t step = test->kernels->out_step;

    p->w = w.data;
    p->x = x.data;
    p->b = b.data;
    p->s = s.data;
    fill_values(p->w, p->out * p->in, p->fill, &state);
    fill_values(p->x, p->tokens * p->in, p->fill, &state);
    fill_values(p->b, p->out, FILL_RANDOM, &state);
    fill_values(p->s, p->out, p->fill, &state);
    for (int64_t i = 0; i < p->out * p->in && p->int8; i++) { /* every byte there is */
        p->w[i] = (float)(int32_t)(random_next(&state) >> 56) - 128.0f;
    }
    p->begin = p->begin / step * step;
    snprintf(current, sizeof current,
             "%s linear tokens=%d out=%d in=%d begin=%d bias=%d int8=%d fill=%s\n", test->name,
             p->tokens, (int)p->out, (int)p->in, (int)p->begin, p->bias, p->int8,
             fill_name(p->fill));
    project(test->kernels, p, &got);
    near_double(p, test->kernels->numerics == GQA_NUMERICS_BF16, got.data);
    for (int32_t t = 0; t < p->tokens; t++) {
        for (int64_t o = 0; o < p->begin; o++) { /* untouched */
            check(gqa__f32_bits(((float *)got.data)[t * p->out + o]) == 0x7f7f7f7fu);
        }
    }
    p->begin = 0;
    project(second, p, &want);
    if (step > 0) {
        struct guarded_buffer all = floats(p->tokens * p->out);
        p->stream = true;
        project(test->kernels, p, &all);
        check(same_floats("y", all.data, want.data, p->tokens * p->out));
        run_after(test, p, all.data);
        check(guarded_free(&all));
    }
    check(guarded_free(&w) && guarded_free(&x) && guarded_free(&b));
    check(guarded_free(&want) && guarded_free(&got) && guarded_free(&s));
}

static void run_products(const struct kernels_under_test *test, bool int8)
{
    static const int32_t tokens[] = {1, 2, 3, 7, 8, 9, 16, 31, 33, 40};
    static const int64_t outs[] = {1, 7, 8, 9, 15, 16, 17, 33, 65};
    static const int64_t ins[] = {1, 31, 32, 33, 63, 100, 511, 512, 513, 1025};

    for (int32_t i = 0; i < 120; i++) {
        struct product p = {.tokens = tokens[i % 10],
                            .out = outs[i * 7 % 9],
                            .in = ins[(i / 10 + i) % 10],
                            .begin = i % 3 * 16,
                            .bias = i % 2 != 0,
                            .int8 = int8,
                            .fill = (enum fill)(i % FILL_COUNT),
                            .seed = 40u + (uint64_t)i};
        p.begin = p.begin < p.out ? p.begin : 0;
        run_product(test, &p);
    }
}

static void test_linear(void **state)
{
    run_products(*state, false);
}

static void test_int8(void **state)
{
    run_products(*state, true);
}

/* Tokens around what the kernel sets take at a time, and inputs around what they expand at a time.
 */
static void test_int8_blocks(void **state)
{
    static const int32_t tokens[] = {4, 5, 6, 17, 32, 36, 37, 48, 49, 65, 97, 129, 160};
    static const int64_t ins[] = {64, 65, 255, 256, 257, 288, 576, 577};

    for (int32_t i = 0; i < 52; i++) {
        struct product p = {.tokens = tokens[i % 13],
                            .out = i % 4 < 2 ? 49 : 33 - i % 4,
                            .in = ins[(i / 13 + i) % 8],
                            .bias = i % 3 == 0,
                            .int8 = true,
                            .fill = (enum fill)(i % FILL_COUNT),
                            .seed = 400u + (uint64_t)i};
        run_product(*state, &p);
    }
}

/* bf16 products whose sum is within rounding of 2^-126, as tdpbf16ps gave them on hardware:
 * 2^-126 - t 2^-150 in the even chain is 2^-126 for t <= 1/2, and flushed above. */
static void test_tiny(void **state)
{
    static const float t[] = {0.25f, 0.4375f, 0.5f, 0.5625f, 0.75f, 1.0f, 1.5f};
    const struct kernels_under_test *test = *state;

    for (int32_t i = 0; i < 7 && test->kernels->numerics == GQA_NUMERICS_BF16; i++) {
        for (int32_t odd = 0; odd < 2; odd++) {
            float w[32] = {0.0f}, x[32] = {0.0f}, b[1] = {0.0f};
            struct product p = {.tokens = 1, .out = 1, .in = 32, .w = w, .x = x, .b = b, .s = b};
            struct guarded_buffer y = floats(1);
            w[odd] = x[odd] = 0x1p-63f;
            w[2 + odd] = -t[i] * 0x1p-75f;
            x[2 + odd] = 0x1p-75f;
            snprintf(current, sizeof current, "%s tiny sum t=%g odd=%d\n", test->name, (double)t[i],
                     odd);
            project(test->kernels, &p, &y);
            check(((float *)y.data)[0] == (t[i] <= 0.5f ? 0x1p-126f : 0.0f));
            w[2 + odd] = 0.0f; /* in the other chain the product itself is flushed */
            x[2 + odd] = 0.0f;
            w[3 - odd] = -t[i] * 0x1p-75f;
            x[3 - odd] = 0x1p-75f;
            project(test->kernels, &p, &y);
            check(((float *)y.data)[0] == 0x1p-126f);
            check(guarded_free(&y));
        }
    }
}

/* --- element-wise ------------------------------------------------------------------------------
 */

/* Random values with a NaN of another sign, an infinity and both zeros among them. */
static void plant(float *x, int64_t n, uint64_t *seed, bool specials)
{
    static const float odd[] = {INFINITY, -0.0f, 0.0f, 1e-40f, -INFINITY};
    fill_values(x, n, FILL_RANDOM, seed);
    for (int64_t i = 3; i < n && specials; i += 7) {
        x[i] = i % 3 == 0 ? gqa__f32_from_bits(0xffc12345u) : odd[i % 5];
    }
}

/* y = norm(x) in double: each of the three sums and products of up to n terms rounds, so (n + 12) u
 * of the size of y; with a LAYER norm of the size that the subtraction of the mean starts from. */
static void norm_near_double(const struct gqa__norm_args *a, const float *y)
{
    const double u = 0x1p-24, n = (double)a->n_true;
    double mean = 0.0, size = 0.0, squares = 0.0;

    for (int64_t i = 0; i < a->n_true; i++) {
        mean += (double)a->src[i] / n;
        size += fabs((double)a->src[i]) / n;
    }
    mean = a->kind == GQA_NORM_LAYER ? mean : 0.0;
    for (int64_t i = 0; i < a->n_true; i++) {
        squares += ((double)a->src[i] - mean) * ((double)a->src[i] - mean);
    }
    squares = a->kind == GQA_NORM_L2 ? squares : squares / n;
    for (int64_t i = 0; i < a->n && a->cast == GQA_F32; i++) {
        const double rs = 1.0 / sqrt(squares + (double)a->eps);
        const double w = a->weight != NULL ? (double)a->weight[i] + (double)a->offset : 1.0;
        const double bias = a->bias != NULL ? (double)a->bias[i] : 0.0;
        const double want = ((double)a->src[i] - mean) * rs * w + bias;
        const double bound =
            (n + 12) * u *
            ((fabs((double)a->src[i]) + size) * rs * fabs(w) + fabs(bias) + fabs(want));
        check(fabs((double)y[i] - want) <= bound);
    }
}

static void test_norm(void **state)
{
    static const int64_t sizes[] = {1, 8, 15, 16, 17, 31, 33, 64, 100, 2880};
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);

    for (int32_t i = 0; i < 360; i++) {
        const int64_t n = sizes[i % 10];
        uint64_t seed = 3u + (uint64_t)i;
        struct guarded_buffer x = floats(n), w = floats(n), b = floats(n), want = floats(n);
        struct gqa__norm_args a = {.dst = want.data,
                                   .src = x.data,
                                   .n = n,
                                   .n_true = n > 40 && i % 4 == 0 ? n - 9 : n,
                                   .kind = (gqa_norm)(GQA_NORM_RMS + i / 10 % 3),
                                   .eps = i % 7 == 0 ? 0.01f : 1e-6f,
                                   .offset = (float)(i / 30 % 2),
                                   .weight = i / 60 % 3 != 0 ? w.data : NULL,
                                   .bias = i / 60 % 3 == 2 ? b.data : NULL,
                                   .cast = (gqa_dtype)(i / 120 % 3)};
        snprintf(current, sizeof current, "%s norm case %d n=%d kind=%d cast=%d\n", test->name, i,
                 (int)n, (int)a.kind, (int)a.cast);
        plant(x.data, n, &seed, i % 11 == 5);
        plant(w.data, n, &seed, false);
        plant(b.data, n, &seed, false);
        for (int64_t j = a.n_true; j < n; j++) {
            ((float *)x.data)[j] = 0.0f;
        }
        second->norm(&a);
        if (i % 11 != 5) {
            norm_near_double(&a, want.data);
        }
        a.dst = x.data; /* in place */
        test->kernels->norm(&a);
        check(same_floats("norm", x.data, want.data, n));
        check(guarded_free(&x) && guarded_free(&w) && guarded_free(&b) && guarded_free(&want));
    }
}

static void test_rope(void **state)
{
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);

    for (int32_t i = 0; i < 60; i++) {
        const int32_t pairs = 1 + i % 37, heads = 1 + i % 3, dim = 2 * pairs + i % 4;
        const int64_t n = (int64_t)(heads - 1) * dim + 2 * pairs;
        const gqa_rope style = (gqa_rope)(i % 3);
        uint64_t seed = 7u + (uint64_t)i;
        struct guarded_buffer x = floats(n), y = floats(n), c = floats(pairs), s = floats(pairs);
        struct gqa__rope_args args = {.head_stride = dim,
                                      .heads = heads,
                                      .rotary_dim = 2 * pairs,
                                      .c = c.data,
                                      .s = s.data,
                                      .style = style};
        snprintf(current, sizeof current, "%s rope pairs=%d heads=%d style=%d\n", test->name, pairs,
                 heads, (int)style);
        plant(x.data, n, &seed, i % 5 == 4);
        plant(c.data, pairs, &seed, false);
        plant(s.data, pairs, &seed, false);
        memcpy(y.data, x.data, x.size);
        args.x = x.data;
        second->rope(&args);
        args.x = y.data;
        test->kernels->rope(&args);
        check(same_floats("rope", y.data, x.data, n));
        check(guarded_free(&x) && guarded_free(&y) && guarded_free(&c) && guarded_free(&s));
    }
}

/* Angles of every size and quadrant, both zeros, and what has no sine. */
static double angle(int64_t i, uint64_t *seed)
{
    static const double special[] = {0.0,    -0.0,     0x1p42,    -0x1p42,     0x1.1p42,
                                     -1e300, INFINITY, -INFINITY, (double)NAN, 0x1p-1040};
    const double size = ldexp(1.0, (int)(i * 7 % 43) - 1);
    float value;
    fill_values(&value, 1, FILL_RANDOM, seed);
    if (i % 3 == 2) {
        return special[i / 3 % 10];
    }
    return size * (double)value + (i % 3 == 1 ? (double)(i % 9) * 0x1.921fb54442d18p-1 : 0.0);
}

/* The bits of gqa__sincos, which test_mathd compares with MPFR. */
static void test_sincos(void **state)
{
    const struct kernels_under_test *test = *state;

    for (int64_t n = 0; n < 140; n++) {
        uint64_t seed = 12u + (uint64_t)n;
        struct guarded_buffer x = guarded_new((size_t)n * sizeof(double));
        struct guarded_buffer s = guarded_new((size_t)n * sizeof(double));
        struct guarded_buffer c = guarded_new((size_t)n * sizeof(double));
        double *const at = x.data;
        snprintf(current, sizeof current, "%s sincos n=%d\n", test->name, (int)n);
        for (int64_t i = 0; i < n; i++) {
            at[i] = angle(i + n, &seed);
        }
        test->kernels->sincos(s.data, c.data, at, n);
        for (int64_t i = 0; i < n; i++) {
            double want[2];
            gqa__sincos(at[i], &want[0], &want[1]);
            check(memcmp(&want[0], (double *)s.data + i, sizeof want[0]) == 0);
            check(memcmp(&want[1], (double *)c.data + i, sizeof want[1]) == 0);
        }
        check(guarded_free(&x) && guarded_free(&s) && guarded_free(&c));
    }
}

/* Entry number e of the simple ones. */
static void apply(const struct gqa__kernels *kernels, int32_t e, float *dst, const float *a,
                  const float *b, int64_t n)
{
    switch (e) {
    case 0:
        kernels->add(dst, a, b, n);
        break;
    case 1:
        kernels->scale(dst, a, 0.3f, n);
        break;
    case 2:
        kernels->scale_add(dst, a, b, 1.7f, n);
        break;
    case 3:
        kernels->clip(dst, a, 0.5f, n);
        break;
    default:
        kernels->gate(dst, a, b, e % 2, e < 6 ? GQA_GATE_SIGMOID : GQA_GATE_SOFTPLUS, n);
    }
}

/* The same in double; sigmoid and softplus within 8 ulp, everything else within one rounding. */
static double exact(int32_t e, double a, double b)
{
    switch (e) {
    case 0:
        return a + b;
    case 1:
        return a * (double)0.3f;
    case 2:
        return a + (double)1.7f * b;
    case 3:
        return fmax(-0.5, fmin(0.5, a));
    default:
        return a * (e < 6 ? 1.0 / (1.0 + exp(-b)) : log1p(exp(b)));
    }
}

enum { SIMPLE = 8 }; /* entries 4, 6: one gate for all; 5, 7: one each */

static void test_simple(void **state)
{
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);

    for (int32_t i = 0; i < SIMPLE * 40; i++) {
        const int32_t e = i % SIMPLE;
        const int64_t n = 1 + i / SIMPLE + (i % 5 == 0 ? 60 : 0);
        const bool specials = i % 3 == 1;
        uint64_t seed = 11u + (uint64_t)i;
        struct guarded_buffer a = floats(n), b = floats(e == 4 || e == 6 ? 1 : n), want = floats(n);
        struct guarded_buffer got = floats(n);
        snprintf(current, sizeof current, "%s entry %d n=%d specials=%d\n", test->name, e, (int)n,
                 specials);
        plant(a.data, n, &seed, specials);
        plant(b.data, (int64_t)(b.size / 4), &seed, specials);
        apply(second, e, want.data, a.data, b.data, n);
        apply(test->kernels, e, got.data, a.data, b.data, n);
        check(same_floats("value", got.data, want.data, n));
        for (int64_t j = 0; j < n && !specials; j++) {
            const double right = exact(e, (double)((float *)a.data)[j],
                                       (double)((float *)b.data)[b.size == 4 ? 0 : j]);
            check(fabs((double)((float *)got.data)[j] - right) <=
                  (e < 4 ? 1.0 : 9.0) * 0x1p-24 * fabs(right) * 1.01);
        }
        apply(test->kernels, e, a.data, a.data, b.data, n); /* in place */
        check(same_floats("in place", a.data, want.data, n));
        check(guarded_free(&a) && guarded_free(&b) && guarded_free(&want) && guarded_free(&got));
    }
}

/* Random bits, the denormals next to zero and to 2^-126 and the numbers beyond among them. */
static void test_flush(void **state)
{
    static const uint32_t ends[] = {0x00000000u, 0x80000000u, 0x00000001u, 0x80000001u,
                                    0x007fffffu, 0x807fffffu, 0x00800000u, 0x80800000u,
                                    0x7f800000u, 0xffc12345u};
    const struct kernels_under_test *test = *state;
    const struct gqa__kernels *second = gqa_test_kernels8(test->kernels->numerics);

    for (int64_t n = 0; n < 70; n++) {
        uint64_t seed = 13u + (uint64_t)n;
        struct guarded_buffer x = floats(n), want = floats(n);
        snprintf(current, sizeof current, "%s flush n=%d\n", test->name, (int)n);
        for (int64_t i = 0; i < n; i++) {
            const uint32_t u = i % 2 == 0 ? ends[i / 2 % 10] : random_u32(&seed);
            ((float *)x.data)[i] = gqa__f32_from_bits(i % 6 == 5 ? u & 0x807fffffu : u);
        }
        memcpy(want.data, x.data, x.size);
        second->flush(want.data, n);
        test->kernels->flush(x.data, n);
        check(memcmp(x.data, want.data, x.size) == 0);
        check(guarded_free(&x) && guarded_free(&want));
    }
}

int main(int argc, char **argv)
{
    static const struct kernel_test kinds[] = {
        {"linear", test_linear}, {"int8", test_int8},   {"int8 blocks", test_int8_blocks},
        {"tiny", test_tiny},     {"norm", test_norm},   {"rope", test_rope},
        {"sincos", test_sincos}, {"flush", test_flush}, {"simple", test_simple}};

    guarded_report(current);
    return run_kernel_tests(argc, argv, kinds, sizeof kinds / sizeof kinds[0], true);
}
