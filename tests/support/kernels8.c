/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8.c - see kernels8.h. Slow on purpose: each value by a loop of its own. */
#include "support/kernels8.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/fold.h"
#include "base/mathf.h"
#include "base/number.h"
#include "support/kernels8_flat.h"
#include "support/kernels8_gather.h"
#include "support/kernels8_softmax.h"
#include "support/kernels8_stored.h"

enum {
    TILE = 40,
    LANES = 8,
    GROUP = 32, /* of the bf16 products */
    OUT_STEP = 8
};

static int64_t up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

static float canonical(float x)
{
    return x == x ? x : gqa__f32_from_bits(0x7fc00000u);
}

static float bf16_at(const void *data, int64_t i)
{
    return gqa__bf16_to_f32(((const uint16_t *)data)[i]);
}

/* --- the two products --------------------------------------------------------------------------
 */

/* Where element k of one factor of a dot product is found. */
struct factor {
    const void *data;
    int64_t step;
};

static float dot_f32(struct factor a, struct factor b, int64_t n, float sum)
{
    for (int64_t k = 0; k < n; k++) {
        sum = fmaf(((const float *)a.data)[k * a.step], ((const float *)b.data)[k * b.step], sum);
    }
    return sum;
}

static float no_denormal(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

/* Near 2^-126 the sum is exact in double: below halfway to the next 24-bit number it is tiny. */
static float tiny_fma(float a, float b, float c)
{
    const float r = fmaf(a, b, c);
    const double exact = (double)a * (double)b + (double)c;
    if (fabsf(r) == FLT_MIN && fabs(exact) < 0x1p-126 * (1.0 - 0x1p-25)) {
        return copysignf(0.0f, r);
    }
    return no_denormal(r);
}

static float operand(struct factor f, int64_t k, int64_t n)
{
    return k < n ? no_denormal(bf16_at(f.data, k * f.step)) : 0.0f;
}

/* bf16 factors; elements from n to the end of the last group are zero. */
static float dot_bf16(struct factor a, struct factor b, int64_t n, float sum)
{
    for (int64_t first = 0; first < n; first += GROUP) {
        float half[2] = {0.0f, 0.0f};
        for (int64_t k = first; k < first + GROUP; k++) {
            half[k & 1] = tiny_fma(operand(a, k, n), operand(b, k, n), half[k & 1]);
        }
        sum = no_denormal(sum + no_denormal(half[0] + half[1]));
    }
    return sum;
}

/* --- attention ---------------------------------------------------------------------------------
 */

static size_t q_bytes_f32(int32_t dk, int32_t ld)
{
    return (size_t)dk * (size_t)ld * 4;
}

static size_t q_bytes_bf16(int32_t dk, int32_t ld)
{
    return (size_t)dk * (size_t)ld * 2;
}

/* Value d of row r, scaled; 0 where there is no row. */
static float scaled_q(const struct gqa__pack_q_args *a, int32_t r, int32_t d)
{
    float x = 0.0f;
    if (r < a->map->count) {
        const size_t size = a->q_type == GQA_F32 ? 4 : 2;
        const size_t at = (size_t)(gqa__row_offset(a->map, r) + d);
        kernels8_load(&x, (const unsigned char *)a->q + at * size, 1, a->q_type);
        x = (a->flush ? no_denormal(x) : x) * a->scale;
    }
    return a->flush ? no_denormal(x) : x;
}

/* [ld][dk] */
static void pack_q_f32(const struct gqa__pack_q_args *a)
{
    for (int32_t i = 0; i < a->ld * a->dk; i++) {
        ((float *)a->dst)[i] = scaled_q(a, i / a->dk, i % a->dk);
    }
}

static void pack_q_bf16(const struct gqa__pack_q_args *a)
{
    for (int32_t i = 0; i < a->ld * a->dk; i++) {
        ((uint16_t *)a->dst)[i] = gqa__f32_to_bf16(no_denormal(scaled_q(a, i / a->dk, i % a->dk)));
    }
}

static void score_f32(const struct gqa__score_args *p)
{
    for (int32_t key = 0; key < p->keys; key++) {
        for (int32_t r = 0; r < p->ld; r++) {
            const struct factor a = {(const float *)p->k + key * p->k_stride, 1};
            const struct factor b = {(const float *)p->q + r * p->dk, 1};
            const float s = dot_f32(a, b, p->dk, 0.0f);
            p->s[key * p->ld + r] = p->scale != NULL ? s * p->scale[key] : s;
        }
    }
}

static void score_bf16(const struct gqa__score_args *p)
{
    for (int32_t key = 0; key < p->keys; key++) {
        for (int32_t r = 0; r < p->ld; r++) {
            const struct factor a = {(const uint16_t *)p->k + key * p->k_stride, 1};
            const struct factor b = {(const uint16_t *)p->q + r * p->dk, 1};
            const float s = dot_bf16(a, b, p->dk, 0.0f);
            p->s[key * p->ld + r] = p->scale != NULL ? kernels8_tiny_product(s, p->scale[key]) : s;
        }
    }
}

/* The score with its bias; what is beyond 31/32 of 2^128 counts a sixteenth from there on. */
static float biased(float x, float bias)
{
    const float log2e = (float)GQA__LOG2E, sum = fmaf(bias, log2e, x);
    const float last = ldexpf(31.0f, 123), most = 0x1.ff2a8ep127f;
    if (isfinite(x) && isfinite(bias) && fabsf(sum) > last) {
        const float part = fmaf(bias / 16.0f, log2e, x / 16.0f);
        const float bent = fabsf(part) + (last - last / 16.0f);
        return copysignf(bent < most ? bent : most, part);
    }
    return sum;
}

static float log_sum(float m, float l)
{
    const float last = ldexpf(31.0f, 123), ln2 = (float)GQA__LN2;
    if (isfinite(m) && fabsf(m) > last && l == l) {
        const float bent = 16.0f * ln2 * (fabsf(m) - (last - last / 16.0f));
        return copysignf(fabsf(m) < 0x1.ff2a8ep127f ? bent : FLT_MAX, m);
    }
    return fmaf(m, ln2, gqa__logf(l));
}

static void rules(float *s, const struct gqa__score_rules *m)
{
    for (int32_t key = 0; key < m->keys; key++) {
        for (int32_t r = 0; r < m->ld; r++) {
            const int32_t at = key * m->ld + r;
            float x = s[at];
            bool seen = m->lo == NULL || (m->lo[r] <= key && key < m->hi[r]);
            if (m->softcap != 0.0f) {
                x = m->softcap * gqa__tanhf(x / m->softcap);
            }
            if (m->slope != NULL) {
                const int64_t away = (int64_t)m->q_pos[r] - m->k_pos[key];
                x = fmaf(-m->slope[r], (float)(away < 0 ? -away : away), x);
            }
            if (m->bias != NULL) {
                x = biased(x, m->bias[at]);
            }
            seen = seen && (m->visible == NULL || m->visible[at] != 0);
            s[at] = seen ? x : -INFINITY;
        }
    }
}

static void accumulate_f32(const struct gqa__accumulate_args *a)
{
    for (int32_t i = 0; i < a->dv * a->ld; i++) {
        const int32_t d = i / a->ld, r = i % a->ld;
        float sum = a->flags & GQA__ACC_FIRST ? 0.0f : a->o[i];
        for (int32_t key = 0; key < a->keys; key++) {
            const int64_t at = kernels8_p_index(key, r, a->ld, KERNELS8_PANEL_F32);
            const float weight = ((const float *)a->p)[at];
            const bool hidden = weight == 0.0f && signbit(weight);
            float value = ((const float *)a->v)[key * a->v_stride + d];
            value = a->flags & GQA__ACC_MARKED && hidden ? 0.0f : value;
            sum = fmaf(value, weight, sum);
        }
        a->o[i] = sum;
    }
}

static void accumulate_bf16(const struct gqa__accumulate_args *a)
{
    for (int32_t i = 0; i < a->dv * a->ld; i++) {
        const int32_t d = i / a->ld, r = i % a->ld;
        float sum = a->flags & GQA__ACC_FIRST ? 0.0f : a->o[i];
        for (int32_t first = 0; first < a->keys; first += GROUP) {
            uint16_t weight[GROUP], value[GROUP];
            for (int32_t k = 0; k < GROUP; k++) {
                const int64_t at = kernels8_p_index(first + k, r, a->ld, KERNELS8_PANEL_BF16);
                weight[k] = ((const uint16_t *)a->p)[at];
                value[k] = ((const uint16_t *)a->v)[d * a->v_stride + first + k];
                if (a->flags & GQA__ACC_MARKED && weight[k] == 0x8000u) {
                    value[k] = 0;
                }
            }
            sum = dot_bf16((struct factor){value, 1}, (struct factor){weight, 1}, GROUP, sum);
        }
        a->o[i] = sum;
    }
}

/* One lane's state. */
struct state {
    float m, l;
    float left, right; /* factors of o */
};

static struct state merged(float m, float l, float m2, float l2)
{
    const float top = m > m2 ? m : m2;
    struct state s = {m, l, 1.0f, 0.0f};
    if (l == 0.0f) {
        return (struct state){m2, l2, 0.0f, 1.0f};
    }
    if (l2 == 0.0f) {
        return s;
    }
    s.m = top;
    s.left = m == top ? 1.0f : gqa__exp2f(m - top);
    s.right = m2 == top ? 1.0f : gqa__exp2f(m2 - top);
    s.l = canonical(fmaf(l2, s.right, l * s.left));
    return s;
}

static float merged_value(struct state s, float l, float l2, float o, float o2)
{
    if (l == 0.0f) {
        return o2;
    }
    return l2 == 0.0f ? o : canonical(fmaf(o2, s.right, o * s.left));
}

static void merge(const struct gqa__state *into, const struct gqa__state *from, int32_t dv,
                  int32_t ld)
{
    for (int32_t r = 0; r < ld; r++) {
        const struct state s = merged(into->m[r], into->l[r], from->m[r], from->l[r]);
        for (int32_t d = 0; d < dv; d++) {
            float *at = into->o + d * ld + r;
            *at = merged_value(s, into->l[r], from->l[r], *at, from->o[d * ld + r]);
        }
        into->m[r] = s.m;
        into->l[r] = s.l;
    }
}

static void finish(const struct gqa__finish *f)
{
    const int32_t rows = f->out != NULL ? f->out_map.count : f->lse_map.count;
    for (int32_t r = 0; r < rows; r++) {
        const float sink = f->sink != NULL ? f->sink[r] : -INFINITY;
        const float mass = sink == -INFINITY ? 0.0f : 1.0f;
        const struct state s = merged(f->m[r], f->l[r], sink, mass);
        const float factor = s.left * (1.0f / s.l);
        for (int32_t d = 0; d < f->dv && f->out != NULL; d++) {
            const float o = f->o[d * f->ld + r];
            const float value = f->l[r] == 0.0f ? 0.0f : canonical(o * factor + 0.0f);
            const size_t size = f->out_type == GQA_F32 ? 4 : 2;
            const size_t at = (size_t)(gqa__row_offset(&f->out_map, r) + d);
            kernels8_store((unsigned char *)f->out + at * size, &value, 1, f->out_type);
        }
        if (f->lse != NULL) {
            f->lse[gqa__row_offset(&f->lse_map, r)] =
                s.l == 0.0f ? -INFINITY : canonical(log_sum(s.m, s.l));
        }
    }
}

/* --- projections: the weight stays row by row --------------------------------------------------
 */

static size_t weight_bytes_f32(int64_t out, int64_t in)
{
    return (size_t)(up(out, OUT_STEP) * in) * 4;
}

static size_t weight_bytes_bf16(int64_t out, int64_t in)
{
    return (size_t)(up(out, OUT_STEP) * in) * 2;
}

static void pack_weight_f32(void *dst, int64_t row, const float *src, int64_t out, int64_t in)
{
    (void)out;
    memcpy((float *)dst + row * in, src, (size_t)in * 4);
}

static void pack_weight_bf16(void *dst, int64_t row, const float *src, int64_t out, int64_t in)
{
    (void)out;
    for (int64_t k = 0; k < in; k++) {
        ((uint16_t *)dst)[row * in + k] = gqa__f32_to_bf16(src[k]);
    }
}

static size_t int8_bytes(int64_t out, int64_t in)
{
    return (size_t)(up(out, OUT_STEP) * in);
}

static void pack_int8(void *dst, int64_t row, const int8_t *src, int64_t out, int64_t in)
{
    (void)out;
    memcpy((int8_t *)dst + row * in, src, (size_t)in);
}

static size_t x_bytes_f32(int32_t tokens, int64_t in)
{
    return (size_t)(tokens * in) * 4;
}

static size_t x_bytes_bf16(int32_t tokens, int64_t in)
{
    return (size_t)(tokens * in) * 2;
}

static void pack_x_f32(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in)
{
    for (int32_t t = 0; t < tokens; t++) {
        memcpy((float *)dst + t * in, x + t * x_stride, (size_t)in * 4);
    }
}

static void pack_x_bf16(void *dst, const float *x, int64_t x_stride, int32_t tokens, int64_t in)
{
    for (int32_t t = 0; t < tokens; t++) {
        for (int64_t k = 0; k < in; k++) {
            ((uint16_t *)dst)[t * in + k] = gqa__f32_to_bf16(no_denormal(x[t * x_stride + k]));
        }
    }
}

static void put_y(const struct gqa__linear_args *args, int32_t t, int64_t o, float sum)
{
    float y = sum;
    if (args->scale == NULL) {
        y = args->bias != NULL ? sum + args->bias[o] : sum;
    } else {
        y = args->bias != NULL ? fmaf(sum, args->scale[o], args->bias[o]) : sum * args->scale[o];
    }
    y = canonical(y);
    if (args->after.clip > 0.0f && fabsf(y) > args->after.clip) {
        y = copysignf(args->after.clip, y);
    }
    if (args->after.add != NULL) {
        y = canonical(fmaf(args->after.factor, y, args->after.add[t * args->after.add_stride + o]));
    }
    args->y[t * args->y_stride + o] = y;
}

/* The integers of output o, inputs k .. k + n, as operands of the kernel set. */
static void integers_f32(const struct gqa__linear_args *args, int64_t o, int64_t k, int64_t n,
                         float *to)
{
    const int8_t *w = (const int8_t *)args->weight + o * args->in + k;
    for (int64_t i = 0; i < n; i++) {
        to[i] = (float)w[i];
    }
}

static void integers_bf16(const struct gqa__linear_args *args, int64_t o, int64_t k, int64_t n,
                          uint16_t *to)
{
    const int8_t *w = (const int8_t *)args->weight + o * args->in + k;
    for (int64_t i = 0; i < n; i++) {
        to[i] = gqa__f32_to_bf16((float)w[i]);
    }
}

static void linear_f32(const struct gqa__linear_args *args)
{
    for (int32_t t = 0; t < args->tokens; t++) {
        for (int64_t o = args->out_begin; o < args->out_end; o++) {
            const float *x = (const float *)args->x + t * args->in;
            float sum = 0.0f;
            for (int64_t k = 0; k < args->in; k += 512) {
                const int64_t n = args->in - k < 512 ? args->in - k : 512;
                const float *w = (const float *)args->weight + o * args->in + k;
                float integers[512];
                if (args->scale != NULL) {
                    integers_f32(args, o, k, n, integers);
                    w = integers;
                }
                const float part =
                    dot_f32((struct factor){x + k, 1}, (struct factor){w, 1}, n, 0.0f);
                sum = k == 0 ? part : sum + part;
            }
            put_y(args, t, o, sum);
        }
    }
}

static void linear_bf16(const struct gqa__linear_args *args)
{
    for (int32_t t = 0; t < args->tokens; t++) {
        for (int64_t o = args->out_begin; o < args->out_end; o++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < args->in; k += 512) { /* whole groups of 32 */
                const int64_t n = args->in - k < 512 ? args->in - k : 512;
                const uint16_t *w = (const uint16_t *)args->weight + o * args->in + k;
                const uint16_t *x = (const uint16_t *)args->x + t * args->in + k;
                uint16_t integers[512];
                if (args->scale != NULL) {
                    integers_bf16(args, o, k, n, integers);
                    w = integers;
                }
                sum = dot_bf16((struct factor){x, 1}, (struct factor){w, 1}, n, sum);
            }
            put_y(args, t, o, sum);
        }
    }
}

static const struct gqa__kernels kernels8_f32 = {
    .name = "kernels8/f32",
    .isa = GQA_ISA_SCALAR,
    .numerics = GQA_NUMERICS_F32,
    .tile_rows = TILE,
    .lanes = LANES,
    .panel_keys = KERNELS8_PANEL_F32,
    .depth_step = 4,
    .value_step = 4,
    .v_transposed = false,
    .operand = GQA_F32,
    .out_step = OUT_STEP,
    .token_step = 5,
    .q_bytes = q_bytes_f32,
    .pack_q = pack_q_f32,
    .append_k = kernels8_append_k,
    .append_v = kernels8_append_rows,
    .expand = kernels8_expand_f32,
    .gather = kernels8_gather_f32,
    .score = score_f32,
    .apply_rules = rules,
    .softmax = kernels8_softmax_f32,
    .accumulate = accumulate_f32,
    .merge = merge,
    .finish = finish,
    .weight_bytes = weight_bytes_f32,
    .pack_weight = pack_weight_f32,
    .int8_bytes = int8_bytes,
    .pack_int8 = pack_int8,
    .x_bytes = x_bytes_f32,
    .pack_x = pack_x_f32,
    .linear = linear_f32,
    .load = kernels8_load,
    .store = kernels8_store,
    .flush = kernels8_flush,
    .norm = kernels8_norm,
    .rope = kernels8_rope,
    .add = kernels8_add,
    .scale = kernels8_scale,
    .scale_add = kernels8_scale_add,
    .clip = kernels8_clip,
    .sincos = kernels8_sincos,
    .gate = kernels8_gate,
};

static const struct gqa__kernels kernels8_bf16 = {
    .name = "kernels8/bf16",
    .isa = GQA_ISA_SCALAR,
    .numerics = GQA_NUMERICS_BF16,
    .tile_rows = TILE,
    .lanes = LANES,
    .panel_keys = KERNELS8_PANEL_BF16,
    .depth_step = 8,
    .value_step = 4,
    .v_transposed = true,
    .operand = GQA_BF16,
    .out_step = OUT_STEP,
    .token_step = 5,
    .q_bytes = q_bytes_bf16,
    .pack_q = pack_q_bf16,
    .append_k = kernels8_append_k_bf16,
    .append_v = kernels8_append_v_bf16,
    .expand = kernels8_expand_bf16,
    .gather = kernels8_gather_bf16,
    .score = score_bf16,
    .apply_rules = rules,
    .softmax = kernels8_softmax_bf16,
    .accumulate = accumulate_bf16,
    .merge = merge,
    .finish = finish,
    .weight_bytes = weight_bytes_bf16,
    .pack_weight = pack_weight_bf16,
    .int8_bytes = int8_bytes,
    .pack_int8 = pack_int8,
    .x_bytes = x_bytes_bf16,
    .pack_x = pack_x_bf16,
    .linear = linear_bf16,
    .load = kernels8_load,
    .store = kernels8_store,
    .flush = kernels8_flush,
    .norm = kernels8_norm,
    .rope = kernels8_rope,
    .add = kernels8_add,
    .scale = kernels8_scale,
    .scale_add = kernels8_scale_add,
    .clip = kernels8_clip,
    .sincos = kernels8_sincos,
    .gate = kernels8_gate,
};

const struct gqa__kernels *gqa_test_kernels8(gqa_numerics numerics)
{
    return numerics == GQA_NUMERICS_BF16 ? &kernels8_bf16 : &kernels8_f32;
}
