/* SPDX-License-Identifier: Apache-2.0 */
/* linear.c - packing of one matrix, and its product in tasks. Weights in place: strips.c. */
#include "linear/product.h"

#include "base/guard.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/tensor.h"

#include <assert.h>
#include <string.h>

/* Bytes of weights that one task streams past its tokens: small enough for a core's L2 cache, so
 * that all of the task's tokens find them there. */
enum { TASK_BYTES = 1 << 19 };

/* Some kernels read the weights of up to so many blocks of out_step outputs side by side. A task
 * with at least so many has a multiple of them, so that no such read is left with fewer. */
enum { TASK_BLOCKS = 4 };

/* More than any kernel set pads a matrix by, in either direction. */
enum { MOST_PADDING = 4096 };

static size_t packed_bytes(const struct gqa__linear *linear)
{
    const int64_t out = linear->out, in = linear->in;
    const size_t turned = (size_t)gqa__round_up(out, GQA__TURNED_OUTS) * (size_t)in;
    const size_t bytes = linear->strip_count > 0
                             ? (size_t)linear->strip_count * sizeof *linear->strips
                         : linear->turned ? turned * gqa__dtype_size(linear->dtype)
                         : linear->plain  ? (size_t)out * (size_t)in * sizeof(float)
                         : linear->int8   ? linear->kernels->int8_bytes(out, in)
                                          : linear->kernels->weight_bytes(out, in);
    return (size_t)gqa__round_up((int64_t)bytes, GQA__ALIGN);
}

bool gqa__linear_bytes(const struct gqa__linear *linear, bool with_bias, size_t *bytes)
{
    const size_t out = (size_t)linear->out;
    const size_t vectors = (linear->int8 ? 1u : 0u) + (with_bias ? 1u : 0u);
    size_t most, weight, rest;
    /* The kernel set's size function does not check: see first that a padded matrix can be
     * counted. */
    if (!gqa__mul(out + MOST_PADDING, (size_t)linear->in + MOST_PADDING, &most) ||
        !gqa__mul(most, 2 * sizeof(float), &most)) {
        return false;
    }
    weight = packed_bytes(linear);
    return gqa__mul(out, vectors * sizeof(float), &rest) && gqa__add(weight, rest, bytes);
}

void gqa__linear_place(struct gqa__linear *linear, void *memory, bool with_bias)
{
    float *const vectors = (float *)(void *)((unsigned char *)memory + packed_bytes(linear));
    linear->weight = linear->strip_count > 0 ? NULL : memory;
    linear->strips = linear->strip_count > 0 ? memory : NULL;
    linear->scale = linear->int8 ? vectors : NULL;
    linear->bias = !with_bias ? NULL : linear->int8 ? vectors + linear->out : vectors;
}

static float round_bias(gqa_dtype dtype, float x)
{
    return dtype == GQA_BF16 ? gqa__round_bf16(x) : gqa__canonical(x);
}

void gqa__linear_set_bias(struct gqa__linear *linear, int64_t row, float bias)
{
    if (linear->bias != NULL) {
        linear->bias[row] = linear->turned ? round_bias(linear->dtype, bias) : bias;
    }
}

/* A row becomes a column of its block. */
static void turn_row(struct gqa__linear *linear, int64_t row, const float *src)
{
    const int64_t at = row / GQA__TURNED_OUTS * linear->in * GQA__TURNED_OUTS;
    const int64_t column = row % GQA__TURNED_OUTS;

    for (int64_t i = 0; i < linear->in; i++) {
        const int64_t to = at + i * GQA__TURNED_OUTS + column;
        if (linear->dtype == GQA_BF16) {
            ((uint16_t *)linear->weight)[to] = gqa__f32_to_bf16(src[i]);
        } else {
            ((float *)linear->weight)[to] = gqa__canonical(src[i]);
        }
    }
}

void gqa__linear_set_row(struct gqa__linear *linear, int64_t row, const float *src, float bias)
{
    if (linear->turned) {
        turn_row(linear, row, src);
    } else if (linear->plain) {
        float *const dst = (float *)linear->weight + row * linear->in; /* [in] */
        memcpy(dst, src, (size_t)linear->in * sizeof *dst);
    } else {
        linear->kernels->pack_weight(linear->weight, row, src, linear->out, linear->in);
    }
    gqa__linear_set_bias(linear, row, bias);
}

void gqa__linear_set_int8(struct gqa__linear *linear, int64_t row, const int8_t *src, float scale,
                          float bias)
{
    if (linear->plain) {
        float *const dst = (float *)linear->weight + row * linear->in; /* [in] */
        for (int64_t i = 0; i < linear->in; i++) {
            dst[i] = linear->f64 ? (float)src[i] : (float)src[i] * scale;
        }
    } else {
        linear->kernels->pack_int8(linear->weight, row, src, linear->out, linear->in);
    }
    linear->scale[row] = scale;
    gqa__linear_set_bias(linear, row, bias);
}

/* Activations are packed in packets of token_step tokens, each packet by itself. */
static size_t packet_bytes(const struct gqa__linear *linear)
{
    const size_t bytes = linear->kernels->x_bytes(linear->kernels->token_step, linear->in);
    return (size_t)gqa__round_up((int64_t)bytes, GQA__ALIGN);
}

static int64_t packet_count(const struct gqa__linear *linear, int32_t tokens)
{
    const int64_t step = linear->kernels->token_step;
    return (tokens + step - 1) / step;
}

size_t gqa__product_slice_bytes(const struct gqa__linear *linear)
{
    const size_t strips = linear->strip_count > 0 ? gqa__strips_bytes(linear) : 0;

    return linear->kernels->scratch_bytes + strips;
}

size_t gqa__linear_scratch_bytes(const struct gqa__linear *linear, int32_t tokens,
                                 const gqa_runtime *runtime)
{
    if (linear->plain) {
        return 0;
    }
    return (size_t)packet_count(linear, tokens) * packet_bytes(linear) +
           (size_t)gqa__thread_count(runtime) * gqa__product_slice_bytes(linear);
}

static void pack_task(void *arg, int64_t item, int32_t slot)
{
    const struct gqa__product *const p = arg;
    const struct gqa__kernels *const kernels = p->linear->kernels;
    const int32_t tokens = gqa__product_tokens(p, item);
    unsigned char *const packed = p->packed + (size_t)item * p->packet_bytes;
    (void)slot;
    kernels->pack_x(packed, p->x + item * kernels->token_step * p->x_stride, p->x_stride, tokens,
                    p->linear->in);
    if (p->linear->flush) {
        kernels->flush((float *)(void *)packed, tokens * p->linear->in);
    }
}

static int64_t out_tasks(const struct gqa__product *p)
{
    return (p->out_end - p->out_begin + p->out_task - 1) / p->out_task;
}

/* Which outputs and packets item number `item` computes. Consecutive items share what should
 * stay in a cache: the weights of the same outputs, or, for kernels that stream weights, the same
 * packed tokens. In place and not streaming, an item is some outputs for all tokens, so that
 * weights are gathered once. */
static struct gqa__share share_of(const struct gqa__product *p, int64_t item)
{
    const int64_t outs = out_tasks(p);
    struct gqa__share share = {item % p->packets, 0, item / p->packets, 0};
    if (p->linear->kernels->stream_weights) {
        share.packet_begin = item / outs;
        share.out_begin = item % outs;
    } else if (p->linear->strip_count > 0) {
        share.packet_begin = 0;
        share.out_begin = item;
    }
    share.packet_end = share.packet_begin + 1;
    if (p->linear->strip_count > 0 && !p->linear->kernels->stream_weights) {
        share.packet_end = p->packets;
    }
    share.out_begin = p->out_begin + share.out_begin * p->out_task;
    share.out_end = gqa__min(share.out_begin + p->out_task, p->out_end);
    return share;
}

static void product_task(void *arg, int64_t item, int32_t slot)
{
    const struct gqa__product *const p = arg;
    const struct gqa__kernels *const kernels = p->linear->kernels;
    const struct gqa__share share = share_of(p, item);
    struct gqa__linear_args args;
    if (kernels->enter != NULL) {
        kernels->enter();
    }
    if (p->linear->strip_count > 0) {
        gqa__strips_run(p, &share, slot);
    } else {
        gqa__product_args(p, share.packet_begin, gqa__product_slice(p, slot), &args);
        args.weight = p->linear->weight;
        args.out_begin = share.out_begin;
        args.out_end = share.out_end;
        kernels->linear(&args);
    }
    if (kernels->leave != NULL) {
        kernels->leave();
    }
}

/* Bytes of one output's packed weights. */
static int64_t out_bytes(const struct gqa__linear *linear)
{
    const size_t size = linear->int8 ? 1 : gqa__dtype_size(linear->kernels->operand);
    return gqa__max(linear->in * (int64_t)size, 1);
}

static int64_t task_outs(const struct gqa__linear *linear, int64_t step)
{
    const int64_t outs = TASK_BYTES / out_bytes(linear) / step * step;
    const int64_t full = TASK_BLOCKS * step;
    return outs >= full ? outs / full * full : gqa__max(outs, step);
}

static void run_packed(struct gqa__product *p, const gqa_runtime *runtime)
{
    const struct gqa__linear *const linear = p->linear;
    const bool in_place = linear->strip_count > 0;
    const int64_t step = in_place ? gqa__strips_unit(linear->kernels) : linear->kernels->out_step;
    struct gqa__tasks tasks;
    p->packed = p->scratch;
    p->packet_bytes = packet_bytes(linear);
    p->packets = packet_count(linear, p->tokens);
    p->out_task = task_outs(linear, step);
    tasks.arg = p;
    if (!p->x_packed) {
        tasks.body = pack_task;
        tasks.items = p->packets;
        gqa__run_tasks(runtime, &tasks);
    }
    tasks.body = product_task;
    tasks.items = out_tasks(p);
    tasks.items *= in_place && !linear->kernels->stream_weights ? 1 : p->packets;
    gqa__run_tasks(runtime, &tasks);
}

/* --- backend reference: rows of f32, its own or the caller's -------------------------------- */

/* The i-th strip, and in *end where it ends. A matrix of its own is one strip. */
static struct gqa__strip strip_of(const struct gqa__linear *linear, int32_t i, int64_t *end)
{
    const struct gqa__strip whole = {linear->weight, linear->in, 0, GQA_F32};
    if (linear->strip_count == 0) {
        *end = linear->out;
        return whole;
    }
    *end = i + 1 < linear->strip_count ? linear->strips[i + 1].first : linear->out;
    return linear->strips[i];
}

/* Outputs [begin, end) of a strip, without bias. */
static void sgemm_strip(const struct gqa__product *p, const struct gqa__strip *strip, int64_t begin,
                        int64_t end)
{
    const float *const weight = (const float *)strip->data + (begin - strip->first) * strip->stride;
    const struct gqa__gemm gemm = {.m = p->tokens,
                                   .n = end - begin,
                                   .k = p->linear->in,
                                   .a = p->x,
                                   .lda = p->x_stride,
                                   .b = weight,
                                   .ldb = strip->stride,
                                   .c = p->y + begin - p->out_begin,
                                   .ldc = p->y_stride};

    gqa__sgemm_nt(&gemm);
}

static void add_bias(const struct gqa__product *p)
{
    const float *const bias = p->linear->bias;
    for (int32_t t = 0; t < p->tokens && bias != NULL; t++) {
        for (int64_t o = p->out_begin; o < p->out_end; o++) {
            p->y[t * p->y_stride + o - p->out_begin] += bias[o];
        }
    }
}

/* The epilogue of backend reference: on stored outputs, by the entries clip and scale_add. */
static void run_after(const struct gqa__product *p)
{
    const struct gqa__kernels *const kernels = p->linear->kernels;
    const int64_t n = p->out_end - p->out_begin;
    for (int32_t t = 0; t < p->tokens; t++) {
        float *const y = p->y + t * p->y_stride; /* [n] */
        if (p->after.clip > 0.0f) {
            kernels->clip(y, y, p->after.clip, n);
        }
        if (p->after.add != NULL) {
            kernels->scale_add(y, p->after.add + t * p->after.add_stride, y, p->after.factor, n);
        }
    }
}

static void double_strip(const struct gqa__product *p, const struct gqa__strip *strip,
                         int64_t begin, int64_t end)
{
    const struct gqa__linear *const linear = p->linear;
    for (int32_t t = 0; t < p->tokens; t++) {
        const float *const x = p->x + t * p->x_stride; /* [in] */
        for (int64_t o = begin; o < end; o++) {
            const float *const w =
                (const float *)strip->data + (o - strip->first) * strip->stride; /* [in] */
            double sum = 0.0;
            for (int64_t i = 0; i < linear->in; i++) {
                sum += (double)w[i] * (double)x[i];
            }
            if (linear->scale != NULL) {
                sum *= (double)linear->scale[o];
            }
            if (linear->bias != NULL) {
                sum += (double)linear->bias[o];
            }
            p->y[t * p->y_stride + o - p->out_begin] = (float)sum;
        }
    }
}

static void run_plain(const struct gqa__product *p)
{
    const int32_t strips = (int32_t)gqa__max(p->linear->strip_count, 1);
    for (int32_t i = 0; i < strips; i++) {
        int64_t end;
        const struct gqa__strip strip = strip_of(p->linear, i, &end);
        const int64_t begin = gqa__max(strip.first, p->out_begin);
        end = gqa__min(end, p->out_end);
        if (begin < end && p->linear->f64) {
            double_strip(p, &strip, begin, end);
        } else if (begin < end) {
            sgemm_strip(p, &strip, begin, end);
        }
    }
    if (!p->linear->f64) {
        add_bias(p);
    }
    run_after(p);
}

/* --- both backends --------------------------------------------------------------------------- */

void gqa__linear_run(const struct gqa__product *product, const gqa_runtime *runtime)
{
    struct gqa__product own = *product;

    if (own.tokens <= 0 || own.out_begin >= own.out_end) {
        return;
    }
    assert(!own.linear->turned);
    if (own.linear->plain) {
        run_plain(&own);
    } else {
        run_packed(&own, runtime);
    }
}
