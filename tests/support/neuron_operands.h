/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_operands.h - random q, k and v for a call of one of Neuron's profiles. */
#ifndef TEST_NEURON_OPERANDS_H
#define TEST_NEURON_OPERANDS_H

#include "support/neuron_rig.h"

struct neuron_sizes {
    int batch, tokens, keys, hq, hkv, dim;
    gqa_dtype dtype;
};

/* What the tensors hold, as floats. */
struct neuron_operands {
    float *q; /* [batch][tokens][hq][dim], in [-2, 2) */
    float *k; /* [batch][keys][hkv][dim], in [-2, 2) */
    float *v; /* [batch][keys][hkv][dim], in [-1, 1) */
};

struct neuron_operands neuron_operands_fill(struct neuron_rig *rig,
                                            const struct neuron_sizes *sizes);

#endif
