/* SPDX-License-Identifier: Apache-2.0 */
/* native_prefix.c - prefill behind a cached prefix, without a kernel: perform_prefix_prefill
 * (attention_base.py, 2.26 line 811, 2.29 line 880).
 *
 * The arithmetic is that of native_tkg. But nothing masks the prior keys: every slot that was
 * gathered counts, also those beyond the true prefix, so that the result is right only where the
 * prefix fills its bucket. Learned sinks are dropped. Among the new tokens the mask is causal. */
#include "neuron/native.h"

#include <string.h>

#include "base/tensor.h"

static gqa_status check_prefix(struct gqa__neuron *call, gqa_error *err)
{
    gqa__native_drop_sinks(call, "native_prefix drops learned sinks");
    if (gqa__present(&call->in.prior_mask)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_PRIOR_MASK_IGNORED, "call.prior_mask",
                         "native_prefix attends to every prior slot, whatever the mask says");
        call->in.prior_mask.data = NULL;
    }
    return gqa__native_check_new_tokens(call, err);
}

/* Without an active mask: row t sees the new tokens up to itself. */
static void look_back(const struct gqa__native_rows *rows, const struct gqa__native_part *part)
{
    for (int32_t r = 0; r < rows->rows; r++) {
        uint8_t *const sees = part->sees + (int64_t)r * part->keys;
        for (int32_t c = 0; c < part->keys; c++) {
            sees[c] = c <= rows->first + r;
        }
    }
}

static void run_prefix(const struct gqa__neuron_worker *worker, struct gqa__arena *arena,
                       int64_t item)
{
    const gqa_tensor *const mask = &worker->call->in.active_mask;
    struct gqa__native_pair pair;

    gqa__native_pair_open(worker, arena, item, &pair);
    memset(pair.prior.sees, 1, (size_t)pair.rows.rows * (size_t)pair.prior.keys);
    if (gqa__present(mask)) {
        gqa__native_look(&pair.rows, mask, &pair.active);
    } else {
        look_back(&pair.rows, &pair.active);
    }
    gqa__native_pair_attend(&pair);
}

const struct gqa__neuron_path gqa__neuron_native_prefix = {
    .profile = GQA_NEURON_NATIVE_PREFIX,
    .name = "native_prefix",
    .takes = GQA__TAKES_PRIOR | GQA__TAKES_ACTIVE_MASK | GQA__TAKES_DIVISOR | GQA__TAKES_TRANSPOSED,
    .drops = GQA__TAKES_SINKS | GQA__TAKES_PRIOR_MASK,
    .check = check_prefix,
    .items = gqa__native_items,
    .scratch = gqa__native_pair_scratch,
    .run = run_prefix,
};
