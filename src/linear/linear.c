/* linear.c - packing of one matrix, and its product in tasks. */
#include "linear/linear.h"

#include "base/guard.h"
#include "base/memory.h"

#include <string.h>

/* Weight elements that one task streams past its tokens: small enough for a core's L2 cache, so
 * that the next token block finds them there. */
enum { TASK_WEIGHTS = 3 << 16 };

/* More than any row pads a matrix by, in either direction. */
enum { MOST_PADDING = 4096 };

static size_t packed_bytes(const struct gqa__linear *linear)
{
    const int64_t out = linear->out, in = linear->in;
    const size_t bytes = linear->plain  ? (size_t)out * (size_t)in * sizeof(float)
                         : linear->int8 ? linear->row->int8_bytes(out, in)
                                        : linear->row->weight_bytes(out, in);
    return (size_t)gqa__round_up((int64_t)bytes, GQA__ALIGN);
}

bool gqa__linear_bytes(const struct gqa__linear *linear, bool with_bias, size_t *bytes)
{
    const size_t out = (size_t)linear->out;
    const size_t vectors = (linear->int8 ? 1u : 0u) + (with_bias ? 1u : 0u);
    size_t most, weight, rest;
    /* The row's own size function does not check: see first that a padded matrix can be counted. */
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
    linear->weight = memory;
    linear->scale = linear->int8 ? vectors : NULL;
    linear->bias = !with_bias ? NULL : linear->int8 ? vectors + linear->out : vectors;
}

void gqa__linear_set_row(struct gqa__linear *linear, int64_t row, const float *src, float bias)
{
    if (linear->plain) {
        float *const dst = (float *)linear->weight + row * linear->in; /* [in] */
        memcpy(dst, src, (size_t)linear->in * sizeof *dst);
    } else {
        linear->row->pack_weight(linear->weight, row, src, linear->out, linear->in);
    }
    if (linear->bias != NULL) {
        linear->bias[row] = bias;
    }
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
        linear->row->pack_int8(linear->weight, row, src, linear->out, linear->in);
    }
    linear->scale[row] = scale;
    if (linear->bias != NULL) {
        linear->bias[row] = bias;
    }
}

/* Activations are packed in blocks of token_step tokens, each a piece of its own. */
static size_t block_bytes(const struct gqa__linear *linear)
{
    const size_t bytes = linear->row->x_bytes(linear->row->token_step, linear->in);
    return (size_t)gqa__round_up((int64_t)bytes, GQA__ALIGN);
}

static int64_t block_count(const struct gqa__linear *linear, int32_t tokens)
{
    const int64_t step = linear->row->token_step;
    return (tokens + step - 1) / step;
}

size_t gqa__linear_scratch_bytes(const struct gqa__linear *linear, int32_t tokens)
{
    return linear->plain ? 0 : (size_t)block_count(linear, tokens) * block_bytes(linear);
}

/* One product, as the tasks share it. */
struct product {
    const struct gqa__linear *linear;
    const float *x; /* [tokens][x_stride] */
    int64_t x_stride;
    int32_t tokens;
    int64_t out_begin, out_end;
    float *y; /* [tokens][y_stride], output out_begin first */
    int64_t y_stride;
    unsigned char *packed; /* [token_blocks][block_bytes] */
    size_t block_bytes;
    int64_t token_blocks;
    int64_t out_task; /* outputs per task */
};

static int32_t block_tokens(const struct product *p, int64_t block)
{
    const int64_t step = p->linear->row->token_step;
    return (int32_t)gqa__min(step, p->tokens - block * step);
}

static void pack_task(void *arg, int64_t item, int32_t slot)
{
    const struct product *const p = arg;
    const struct gqa__kernels *const row = p->linear->row;
    (void)slot;
    row->pack_x(p->packed + (size_t)item * p->block_bytes,
                p->x + item * row->token_step * p->x_stride, p->x_stride, block_tokens(p, item),
                p->linear->in);
}

/* Items run through the token blocks first: the task's weights stay in the cache. */
static void product_task(void *arg, int64_t item, int32_t slot)
{
    const struct product *const p = arg;
    const struct gqa__kernels *const row = p->linear->row;
    const int64_t block = item % p->token_blocks;
    const int64_t begin = p->out_begin + item / p->token_blocks * p->out_task;
    struct gqa__linear_args args;
    (void)slot;
    args.weight = p->linear->weight;
    args.scale = p->linear->scale;
    args.out = p->linear->out;
    args.in = p->linear->in;
    args.out_begin = begin;
    args.out_end = gqa__min(begin + p->out_task, p->out_end);
    args.x = p->packed + (size_t)block * p->block_bytes;
    args.tokens = block_tokens(p, block);
    args.y = p->y + block * row->token_step * p->y_stride - p->out_begin;
    args.y_stride = p->y_stride;
    args.bias = p->linear->bias;
    if (row->enter != NULL) {
        row->enter();
    }
    row->linear(&args);
    if (row->leave != NULL) {
        row->leave();
    }
}

static void run_packed(struct product *p, bool pack, const gqa_runtime *runtime)
{
    const struct gqa__linear *const linear = p->linear;
    const int64_t step = linear->row->out_step;
    struct gqa__tasks tasks;
    p->block_bytes = block_bytes(linear);
    p->token_blocks = block_count(linear, p->tokens);
    p->out_task = gqa__max(TASK_WEIGHTS / gqa__max(linear->in, 1) / step * step, step);
    tasks.arg = p;
    if (pack) {
        tasks.body = pack_task;
        tasks.items = p->token_blocks;
        gqa__run_tasks(runtime, &tasks);
    }
    tasks.body = product_task;
    tasks.items = p->token_blocks * ((p->out_end - p->out_begin + p->out_task - 1) / p->out_task);
    gqa__run_tasks(runtime, &tasks);
}

static void run_sgemm(const struct product *p)
{
    const struct gqa__linear *const linear = p->linear;
    const float *const weight = (const float *)linear->weight + p->out_begin * linear->in;
    const int64_t out = p->out_end - p->out_begin;
    gqa__sgemm_nt(p->tokens, out, linear->in, p->x, p->x_stride, weight, linear->in, p->y,
                  p->y_stride);
    if (linear->bias == NULL) {
        return;
    }
    for (int32_t t = 0; t < p->tokens; t++) {
        for (int64_t o = 0; o < out; o++) {
            p->y[t * p->y_stride + o] += linear->bias[p->out_begin + o];
        }
    }
}

static void run_double(const struct product *p)
{
    const struct gqa__linear *const linear = p->linear;
    for (int32_t t = 0; t < p->tokens; t++) {
        const float *const x = p->x + t * p->x_stride; /* [in] */
        for (int64_t o = p->out_begin; o < p->out_end; o++) {
            const float *const w = (const float *)linear->weight + o * linear->in; /* [in] */
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

static void run(struct product *p, bool pack, const gqa_runtime *runtime)
{
    if (p->tokens <= 0 || p->out_begin >= p->out_end) {
        return;
    }
    if (!p->linear->plain) {
        run_packed(p, pack, runtime);
    } else if (p->linear->f64) {
        run_double(p);
    } else {
        run_sgemm(p);
    }
}

void gqa__linear_run(const struct gqa__linear *linear, const float *x, int64_t x_stride,
                     int32_t tokens, int64_t out_begin, int64_t out_end, float *y, int64_t y_stride,
                     void *scratch, const gqa_runtime *runtime)
{
    struct product p = {linear, x,        x_stride, tokens, out_begin, out_end,
                        y,      y_stride, scratch,  0,      0,         0};

    run(&p, true, runtime);
}

void gqa__linear_run_again(const struct gqa__linear *linear, const float *x, int64_t x_stride,
                           int32_t tokens, int64_t out_begin, int64_t out_end, float *y,
                           int64_t y_stride, void *scratch, const gqa_runtime *runtime)
{
    struct product p = {linear, x,        x_stride, tokens, out_begin, out_end,
                        y,      y_stride, scratch,  0,      0,         0};

    run(&p, false, runtime);
}
