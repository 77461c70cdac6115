/* SPDX-License-Identifier: Apache-2.0 */
/* native_tkg.c - token generation without a kernel: compute_for_token_gen and manual_softmax
 * (attention_base.py, 2.26 to 2.29). One new token, or a few of them: speculation, a tree.
 *
 * Prior keys and those of the new tokens are never one tensor. There is one maximum and one sum for
 * both; but the sum of each part is rounded before they are added, each part has a product with V
 * of its own, rounded to T, and the sum of the two is rounded again: two roundings more than in
 * prefill. The sink is a column of the prior part.
 *
 * The prior mask says which slots of the cache hold a token that a row may see. The active mask is
 * causal for speculation or that of a tree; a single new token has none. */
#include "neuron/native.h"

#include "base/tensor.h"

static gqa_status check_tkg(struct gqa__neuron *call, gqa_error *err)
{
    if (call->tokens == 1 && gqa__present(&call->in.active_mask)) {
        gqa__neuron_warn(call, GQA_NEURON_WARN_MASK_IGNORED, "call.active_mask",
                         "native_tkg masks active keys only from two new tokens on");
        call->in.active_mask.data = NULL;
    }
    return gqa__native_check_new_tokens(call, err);
}

static void run_tkg(const struct gqa__neuron_worker *worker, struct gqa__arena *arena, int64_t item)
{
    const struct gqa__neuron *const call = worker->call;
    struct gqa__native_pair pair;

    gqa__native_pair_open(worker, arena, item, &pair);
    gqa__native_look(&pair.rows, &call->in.prior_mask, &pair.prior);
    gqa__native_look(&pair.rows, &call->in.active_mask, &pair.active);
    gqa__native_pair_attend(&pair);
}

const struct gqa__neuron_path gqa__neuron_native_tkg = {
    .profile = GQA_NEURON_NATIVE_TKG,
    .name = "native_tkg",
    .takes = GQA__TAKES_PRIOR | GQA__TAKES_SINKS | GQA__TAKES_PRIOR_MASK | GQA__TAKES_ACTIVE_MASK |
             GQA__TAKES_DIVISOR | GQA__TAKES_TRANSPOSED,
    .check = check_tkg,
    .items = gqa__native_items,
    .scratch = gqa__native_pair_scratch,
    .run = run_tkg,
};
