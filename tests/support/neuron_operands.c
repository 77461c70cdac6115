/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_operands.c - see neuron_operands.h. */
#include "support/neuron_operands.h"

struct neuron_operands neuron_operands_fill(struct neuron_rig *rig,
                                            const struct neuron_sizes *sizes)
{
    const struct neuron_shape q = {sizes->dtype, sizes->batch, sizes->tokens, sizes->hq,
                                   sizes->dim};
    const struct neuron_shape k = {sizes->dtype, sizes->batch, sizes->keys, sizes->hkv, sizes->dim};
    struct neuron_operands values;

    values.q = neuron_rig_fill(rig, &rig->call.q, &q, 2.0f);
    values.k = neuron_rig_fill(rig, &rig->call.k, &k, 2.0f);
    values.v = neuron_rig_fill(rig, &rig->call.v, &k, 1.0f);
    return values;
}
