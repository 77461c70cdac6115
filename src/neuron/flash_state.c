/* SPDX-License-Identifier: Apache-2.0 */
/* flash_state.c - see flash_state.h. */
#include "neuron/flash_state.h"

#include "base/number.h"
#include "neuron/engine.h"

void gqa__flash_add(float *o, const float *alpha, const float *pv, int32_t rows, int32_t dim)
{
    for (int32_t r = 0; r < rows; r++, o += dim, pv += dim) {
        for (int32_t d = 0; d < dim; d++) {
            const float scaled = o[d] * alpha[r];
            o[d] = scaled + pv[d];
        }
    }
}

void gqa__flash_normalise(float *o, const float *m, const float *l, int32_t rows, int32_t dim)
{
    for (int32_t r = 0; r < rows; r++, o += dim) {
        const float factor = gqa__engine_exp(m[r] - l[r]);
        for (int32_t d = 0; d < dim; d++) {
            o[d] = gqa__round_bf16(o[d] * factor);
        }
    }
}
