/* SPDX-License-Identifier: Apache-2.0 */
/* native_prefill.c - prefill without a kernel: scaled_qk, a mask, a softmax in f32, a product
 * (perform_prefill with FlashAttentionStrategy.NONE, attention_base.py; 2.26 to 2.29).
 *
 *     the sink is one more column of the scores, after scale and mask; its weight is dropped
 *     m = max, l = sum of e in f32: softmax(dtype=float32), then everything to T
 *     out = T(p.v), one product over all keys
 *
 * The mask says everything about who sees whom: causality, window, chunks and left padding are in
 * it (model_base.py). A row that sees no key weighs all keys alike, with T(1/K), padding included.
 */
#include "neuron/native.h"

static void carve_prefill(const struct gqa__neuron *call, struct gqa__arena *arena,
                          struct gqa__native_rows *rows, struct gqa__native_part *part)
{
    gqa__native_carve_rows(call, arena, rows);
    gqa__native_carve_part(call, arena, call->keys, part);
}

static void prefill_scratch(const struct gqa__neuron *call, struct gqa__arena *arena)
{
    struct gqa__native_rows rows;
    struct gqa__native_part part;

    carve_prefill(call, arena, &rows, &part);
}

static void run_prefill(const struct gqa__neuron_worker *worker, struct gqa__arena *arena,
                        int64_t item)
{
    const struct gqa__neuron *const call = worker->call;
    const struct gqa__native_source source = {&call->in.k, &call->in.v};
    struct gqa__native_part part = {.part = GQA_NEURON_ACTIVE,
                                    .unseen = gqa__native_lowest(call->io)};
    struct gqa__native_rows rows;

    carve_prefill(call, arena, &rows, &part);
    gqa__native_open(worker, item, &rows);
    gqa__native_load(&rows, &source, &part);
    gqa__native_look(&rows, &call->in.mask, &part);
    gqa__native_scores(&rows, &part);
    for (int32_t r = 0; r < rows.rows; r++) {
        rows.l[r] = gqa__native_exponentials(&rows, &part, r, rows.has_sink ? &rows.sink : NULL);
        gqa__native_weights(&rows, &part, r);
    }
    gqa__native_product(&rows, &part);
    gqa__native_close(&rows, part.o);
}

const struct gqa__neuron_path gqa__neuron_native_prefill = {
    .profile = GQA_NEURON_NATIVE_PREFILL,
    .name = "native_prefill",
    .takes = GQA__TAKES_SINKS | GQA__TAKES_MASK | GQA__TAKES_DIVISOR,
    .items = gqa__native_items,
    .scratch = prefill_scratch,
    .run = run_prefill,
};
