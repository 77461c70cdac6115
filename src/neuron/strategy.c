/* SPDX-License-Identifier: Apache-2.0 */
/* strategy.c - get_flash_attention_strategy of attention_base.py, as of 2.26, 2.27 and 2.29. */
#include "neuron/strategy.h"

#define SLIDING_WINDOW_MIN   512  /* tokens from which the window's own kernel is taken */
#define UNSHARDED_MIN        4096 /* on one core: tokens from which a kernel is taken, */
#define UNSHARDED_MIN_FORCED 512  /* and with attn_kernel_enabled = True */
#define LONG_PROMPT          1024 /* sharded and causal: from here on tokens come in 512s, */
#define LONG_STEP            512
#define SHORT_STEP           256 /* below in 256s */

gqa_neuron_release gqa__neuron_release(gqa_neuron_release release)
{
    return release == GQA_NEURON_NEWEST ? GQA_NEURON_2_29 : release;
}

/* get_flash_attention_strategy_cp. */
static bool context_parallel(const gqa_neuron_strategy_input *in,
                             gqa_neuron_flash_strategy *strategy)
{
    const bool kernel = in->logical_nc_config >= 2 && in->q_len > in->head_dim;

    if (in->strided != 0) {
        *strategy = GQA_NEURON_STRATEGY_STRIDED_CONTEXT_PARALLEL_KERNEL;
        return kernel && in->sliding_window == 0;
    }
    *strategy = kernel ? GQA_NEURON_STRATEGY_CONTEXT_PARALLEL_KERNEL : GQA_NEURON_STRATEGY_NONE;
    return true;
}

/* The window has a kernel of its own in 2.26, in 2.27 on trn1 only, and in 2.29 no longer. */
static bool has_window_kernel(const gqa_neuron_strategy_input *in)
{
    const gqa_neuron_release release = gqa__neuron_release(in->release);

    return release == GQA_NEURON_2_26 || (release == GQA_NEURON_2_27 && in->trn1 != 0);
}

/* Two cores and more: a causal kernel takes whole tiles only; else Neuron warns and takes none. */
static gqa_neuron_flash_strategy several_cores(const gqa_neuron_strategy_input *in)
{
    const int32_t step = in->q_len >= LONG_PROMPT ? LONG_STEP : SHORT_STEP;

    return in->has_attention_mask != 0 && in->q_len % step != 0
               ? GQA_NEURON_STRATEGY_NONE
               : GQA_NEURON_STRATEGY_SHARDED_KERNEL;
}

static gqa_neuron_flash_strategy one_core(const gqa_neuron_strategy_input *in)
{
    const int32_t least = in->attn_kernel_enabled == GQA_NEURON_ATTN_KERNEL_TRUE
                              ? UNSHARDED_MIN_FORCED
                              : UNSHARDED_MIN;

    return in->q_len >= least ? GQA_NEURON_STRATEGY_UNSHARDED_KERNEL : GQA_NEURON_STRATEGY_NONE;
}

bool gqa__neuron_strategy(const gqa_neuron_strategy_input *in, gqa_neuron_flash_strategy *strategy)
{
    *strategy = GQA_NEURON_STRATEGY_NONE;
    if (in->attn_kernel_enabled == GQA_NEURON_ATTN_KERNEL_FALSE) {
        return true;
    }
    if (in->cp_degree > 1) {
        return context_parallel(in, strategy);
    }
    if (in->sliding_window > 0 && has_window_kernel(in)) {
        *strategy = in->q_len >= SLIDING_WINDOW_MIN ? GQA_NEURON_STRATEGY_SLIDING_WINDOW_KERNEL
                                                    : GQA_NEURON_STRATEGY_NONE;
        return true;
    }
    *strategy = in->logical_nc_config > 1 ? several_cores(in) : one_core(in);
    return true;
}
