/* SPDX-License-Identifier: Apache-2.0 */
/* stage_product.c - see stages.h: the projections. An output is one PSUM group, rounded to T; the
 * bias is added in T, so a biased output is rounded twice. */
#include "neuron/stages.h"

#include "base/memory.h"
#include "neuron/engine.h"
#include "parallel/tasks.h"

struct io_product {
    gqa_dtype io;
    gqa_neuron_accumulation accumulation;
    const struct gqa__linear *linear;
    const float *x; /* [tokens][linear->in] values of T */
    int32_t tokens;
    int64_t begin, end; /* outputs */
    float *y;           /* [tokens][y_step], output 0 first */
    int64_t y_step;
    float *wide; /* [threads][in][GQA__TURNED_OUTS] */
};

/* A block of weights as f32: to, or where they lie. */
static const float *widen_block(const struct gqa__linear *linear, int64_t block, float *to)
{
    const int64_t n = linear->in * GQA__TURNED_OUTS;
    const uint16_t *const from = (const uint16_t *)linear->weight + block * n;

    if (linear->dtype == GQA_F32) {
        return (const float *)linear->weight + block * n;
    }
    for (int64_t i = 0; i < n; i++) {
        to[i] = gqa__bf16_to_f32(from[i]);
    }
    return to;
}

static void round_outputs(const struct io_product *product, int64_t first, int64_t count)
{
    const float *const bias = product->linear->bias;

    for (int64_t t = 0; t < product->tokens; t++) {
        float *const y = product->y + t * product->y_step + first;
        for (int64_t o = 0; o < count; o++) {
            y[o] = gqa__engine_round(product->io, y[o]);
            if (bias != NULL) {
                y[o] = gqa__engine_round(product->io, y[o] + bias[first + o]);
            }
        }
    }
}

/* A block of outputs, or what [begin, end) has of it. */
static void run_outputs(void *arg, int64_t item, int32_t slot)
{
    const struct io_product *const product = arg;
    const int64_t block = product->begin / GQA__TURNED_OUTS + item;
    const int64_t at = block * GQA__TURNED_OUTS;
    const int64_t first = gqa__max(at, product->begin);
    const int64_t count = gqa__min(at + GQA__TURNED_OUTS, product->end) - first;
    float *const wide = product->wide + slot * product->linear->in * GQA__TURNED_OUTS;
    const struct gqa__psum psum = {.accumulation = product->accumulation,
                                   .a = product->x,
                                   .b = widen_block(product->linear, block, wide) + (first - at),
                                   .out = product->y + first,
                                   .a_step = product->linear->in,
                                   .b_step = GQA__TURNED_OUTS,
                                   .out_step = product->y_step,
                                   .rows = product->tokens,
                                   .inner = (int32_t)product->linear->in,
                                   .columns = (int32_t)count};

    gqa__psum_group(&psum);
    round_outputs(product, first, count);
}

static void run_product(const struct gqa__params *params, struct io_product *product,
                        const gqa_runtime *runtime)
{
    const int64_t last = (product->end + GQA__TURNED_OUTS - 1) / GQA__TURNED_OUTS;
    const struct gqa__tasks tasks = {run_outputs, product,
                                     last - product->begin / GQA__TURNED_OUTS};

    product->io = gqa__neuron_io(params);
    product->accumulation = params->config.neuron_accumulation;
    gqa__run_tasks(runtime, &tasks);
}

static size_t rows_bytes(const struct gqa__params *params, int32_t tokens)
{
    return (size_t)gqa__round_up((int64_t)tokens * params->qkv.out * (int64_t)sizeof(float),
                                 GQA__ALIGN);
}

size_t gqa__neuron_stage_scratch(const struct gqa__params *params, int32_t tokens,
                                 const gqa_runtime *runtime)
{
    const int64_t most = gqa__max(params->qkv.in, params->o.in);
    const size_t tile = (size_t)most * GQA__TURNED_OUTS * sizeof(float);

    return rows_bytes(params, tokens) + (size_t)gqa__thread_count(runtime) * tile;
}

void gqa__neuron_stage_project(const struct gqa__params *params,
                               const struct gqa__projection *projection, const gqa_runtime *runtime)
{
    const bool q = (projection->makes & GQA__MAKE_Q) != 0;
    const bool kv = (projection->makes & GQA__MAKE_KV) != 0;
    unsigned char *const scratch = projection->scratch;
    struct io_product product = {.linear = gqa__stage_qkv_matrix(params, projection->tkg),
                                 .x = projection->x_norm,
                                 .tokens = projection->n,
                                 .begin = q ? 0 : params->shape.q_rows,
                                 .end = kv ? params->qkv.out : params->shape.q_rows,
                                 .y = projection->scratch,
                                 .y_step = params->qkv.out};

    product.wide = (float *)(void *)(scratch + rows_bytes(params, projection->n));
    run_product(params, &product, runtime);
}

void gqa__neuron_stage_oproj(const struct gqa__params *params,
                             const struct gqa__output_projection *projection,
                             const gqa_runtime *runtime)
{
    struct io_product product = {.linear = gqa__stage_o_matrix(params, projection->tkg),
                                 .x = projection->attn,
                                 .tokens = projection->n,
                                 .end = params->o.out,
                                 .y = projection->out,
                                 .y_step = projection->out_step,
                                 .wide = projection->scratch};

    run_product(params, &product, runtime);
}
