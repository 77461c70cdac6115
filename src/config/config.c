/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - see config.h: the checks of the sections are called from here. */
#include "config/config.h"

#include <string.h>

#include "base/import.h"
#include "config/check.h"

void gqa__config_init(gqa_config *config, size_t size)
{
    gqa_config own;
    const size_t known = size < sizeof own ? size : sizeof own;

    gqa__init_struct(&own, sizeof own);
    own.input_norm_eps = 1e-6f;
    own.qk_norm_eps = 1e-6f;
    own.rope_theta = 10000.0;
    own.rope_low_freq_factor = 1.0;
    own.rope_high_freq_factor = 4.0;
    own.rope_beta_fast = 32.0;
    own.rope_beta_slow = 1.0;
    own.post_norm_eps = 1e-6f;
    memset(config, 0, size);
    memcpy(config, &own, known);
    gqa__set_struct_size(config, size);
}

gqa_status gqa__config_import(const gqa_config *in, gqa_config *out, gqa_error *err)
{
    return gqa__import(out, sizeof *out, in, "config", err);
}

bool gqa__isa_within(gqa_isa isa, gqa_isa limit)
{
    const bool of_arm = isa == GQA_ISA_NEON, limits_arm = limit == GQA_ISA_NEON;

    if (limit == GQA_ISA_AUTO || isa == GQA_ISA_SCALAR) {
        return true;
    }
    if (limit == GQA_ISA_SCALAR) {
        return false;
    }
    return of_arm != limits_arm || (int)isa <= (int)limit;
}

gqa_status gqa__config_check(const gqa_config *config, gqa_error *err)
{
    struct gqa__check check = {config, err, GQA_OK};

    gqa__check_shape(&check);
    gqa__check_projection(&check);
    gqa__check_qk_norm(&check);
    gqa__check_rope(&check);
    gqa__check_scores(&check);
    gqa__check_span(&check);
    gqa__check_output(&check);
    gqa__check_backend(&check);
    gqa__check_neuron(&check);
    return check.status;
}
