/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_softmax.c - see kernels8_softmax.h. */
#include "support/kernels8_softmax.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/mathf.h"
#include "base/number.h"

enum { GROUP = 32 }; /* of the bf16 products */

static float canonical(float x)
{
    return x == x ? x : gqa__f32_from_bits(0x7fc00000u);
}

static float no_denormal(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

float kernels8_tiny_product(float a, float b)
{
    const double exact = (double)a * (double)b; /* 48 digits */
    if (fabs(exact) < 0x1p-126 * (1.0 - 0x1p-25)) {
        return (float)copysign(0.0, exact);
    }
    return a * b;
}

int64_t kernels8_p_index(int32_t key, int32_t r, int32_t ld, int32_t panel)
{
    return (int64_t)(key / panel * panel) * ld + r * panel + key % panel;
}

/* To nearest, ties up. */
static uint16_t weight_of(float p)
{
    uint32_t bits;
    memcpy(&bits, &p, sizeof bits);
    return (uint16_t)((bits + 0x8000u) >> 16);
}

/* f32: the largest score of a lane. */
static float largest(const float *s, int32_t keys, int32_t ld)
{
    float top = -INFINITY;
    for (int32_t key = 0; key < keys; key++) {
        top = s[key * ld] > top ? s[key * ld] : top;
    }
    return top + 0.0f; /* not -0 */
}

/* bf16: the largest of a group, as long as no later group has one that is more than 32 larger. */
static float followed(const float *s, int32_t keys, int32_t ld)
{
    float base = -INFINITY;
    for (int32_t first = 0; first < keys; first += GROUP) {
        const float most = largest(s + first * ld, GROUP, ld);
        const float top = fabsf(most) < FLT_MIN ? 0.0f : most;
        if (base == -INFINITY || top - base > 32.0f) {
            base = top;
        }
    }
    return base;
}

/* bf16: is there a score of a key whose V is large? */
static bool sees_large(const float *s, const uint8_t *mark, int32_t keys, int32_t ld)
{
    for (int32_t key = 0; key < keys && mark != NULL; key++) {
        if (mark[key] == 1 && s[key * ld] != -INFINITY) {
            return true;
        }
    }
    return false;
}

/* One lane; p by its index and the stored form. */
static void softmax_lane(const struct gqa__softmax_args *a, int32_t r, bool bf16)
{
    const float *s = a->s;
    const uint8_t *mark = a->mark;
    const int32_t keys = a->keys, ld = a->ld;
    const bool exact = !bf16 || sees_large(s + r, mark, keys, ld);
    const float most = largest(s + r, keys, ld);
    const float top = !exact ? followed(s + r, keys, ld) : bf16 ? no_denormal(most) + 0.0f : most;
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int32_t key = 0; key < keys; key++) {
        const float x = s[key * ld + r], base = top == -INFINITY ? 0.0f : top;
        const int64_t at =
            kernels8_p_index(key, r, ld, bf16 ? KERNELS8_PANEL_BF16 : KERNELS8_PANEL_F32);
        float e = x == -INFINITY ? 0.0f
                  : bf16         ? gqa__exp2f_fast(no_denormal(no_denormal(x) - base))
                                 : gqa__exp2f(x - base);
        sum[key % 4] += e;
        if (a->scale != NULL && bf16) {
            e = kernels8_tiny_product(e, a->scale[key]);
        } else if (a->scale != NULL) {
            e = e * a->scale[key] < FLT_MIN ? 0.0f : e * a->scale[key];
        }
        e = x == -INFINITY && mark != NULL ? -0.0f : e;
        if (bf16) {
            ((uint16_t *)a->p)[at] = mark != NULL && x == -INFINITY ? 0x8000u : weight_of(e);
        } else {
            ((float *)a->p)[at] = e;
        }
    }
    a->m[r] = top;
    a->l[r] = canonical((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

void kernels8_softmax_f32(const struct gqa__softmax_args *args)
{
    for (int32_t r = 0; r < args->ld; r++) {
        softmax_lane(args, r, false);
    }
}

void kernels8_softmax_bf16(const struct gqa__softmax_args *args)
{
    for (int32_t r = 0; r < args->ld; r++) {
        softmax_lane(args, r, true);
    }
}
