/* SPDX-License-Identifier: Apache-2.0 */
/* stage_product.c - see stages.h: the projections. An output is one PSUM group, rounded to T; the
 * bias is added in T, so a biased output is rounded twice. */
#include "neuron/stages.h"

#include "base/memory.h"
#include "neuron/engine.h"
#include "parallel/tasks.h"

/* Outputs of a task: a tile of weights, turned, that stays in a core's cache. */
enum { OUTPUTS = 32 };

struct io_product {
    gqa_dtype io;
    gqa_neuron_accumulation accumulation;
    const struct gqa__linear *linear;
    const float *x; /* [tokens][linear->in] values of T */
    int32_t tokens;
    int64_t begin, end; /* outputs */
    float *y;           /* [tokens][y_step], output 0 first */
    int64_t y_step;
    float *turned; /* [threads][in][OUTPUTS] */
};

static void turn_weights(const struct io_product *product, int64_t first, int64_t count, float *to)
{
    const int64_t in = product->linear->in;
    const float *const rows = (const float *)product->linear->weight + first * in;

    for (int64_t o = 0; o < count; o++) {
        for (int64_t i = 0; i < in; i++) {
            to[i * OUTPUTS + o] = gqa__engine_round(product->io, rows[o * in + i]);
        }
    }
}

static void round_outputs(const struct io_product *product, int64_t first, int64_t count)
{
    const float *const bias = product->linear->bias;

    for (int64_t t = 0; t < product->tokens; t++) {
        float *const y = product->y + t * product->y_step + first;
        for (int64_t o = 0; o < count; o++) {
            y[o] = gqa__engine_round(product->io, y[o]);
            if (bias != NULL) {
                y[o] = gqa__engine_round(product->io,
                                         y[o] + gqa__engine_round(product->io, bias[first + o]));
            }
        }
    }
}

static void run_outputs(void *arg, int64_t item, int32_t slot)
{
    const struct io_product *const product = arg;
    const int64_t first = product->begin + item * OUTPUTS;
    const int64_t count = gqa__min(OUTPUTS, product->end - first);
    float *const turned = product->turned + slot * product->linear->in * OUTPUTS;
    const struct gqa__psum psum = {.accumulation = product->accumulation,
                                   .a = product->x,
                                   .b = turned,
                                   .out = product->y + first,
                                   .a_step = product->linear->in,
                                   .b_step = OUTPUTS,
                                   .out_step = product->y_step,
                                   .rows = product->tokens,
                                   .inner = (int32_t)product->linear->in,
                                   .columns = (int32_t)count};

    turn_weights(product, first, count, turned);
    gqa__psum_group(&psum);
    round_outputs(product, first, count);
}

static void run_product(const struct gqa__params *params, struct io_product *product,
                        const gqa_runtime *runtime)
{
    const struct gqa__tasks tasks = {run_outputs, product,
                                     (product->end - product->begin + OUTPUTS - 1) / OUTPUTS};

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
    const size_t tile = (size_t)most * OUTPUTS * sizeof(float);

    return rows_bytes(params, tokens) + (size_t)gqa__thread_count(runtime) * tile;
}

void gqa__neuron_stage_project(const struct gqa__params *params,
                               const struct gqa__projection *projection, const gqa_runtime *runtime)
{
    const bool q = (projection->makes & GQA__MAKE_Q) != 0;
    const bool kv = (projection->makes & GQA__MAKE_KV) != 0;
    unsigned char *const scratch = projection->scratch;
    struct io_product product = {.linear = &params->qkv,
                                 .x = projection->x_norm,
                                 .tokens = projection->n,
                                 .begin = q ? 0 : params->shape.q_rows,
                                 .end = kv ? params->qkv.out : params->shape.q_rows,
                                 .y = projection->scratch,
                                 .y_step = params->qkv.out};

    product.turned = (float *)(void *)(scratch + rows_bytes(params, projection->n));
    run_product(params, &product, runtime);
}

void gqa__neuron_stage_oproj(const struct gqa__params *params,
                             const struct gqa__output_projection *projection,
                             const gqa_runtime *runtime)
{
    struct io_product product = {.linear = &params->o,
                                 .x = projection->attn,
                                 .tokens = projection->n,
                                 .end = params->o.out,
                                 .y = projection->out,
                                 .y_step = projection->out_step,
                                 .turned = projection->scratch};

    run_product(params, &product, runtime);
}
