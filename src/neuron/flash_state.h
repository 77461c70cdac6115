/* SPDX-License-Identifier: Apache-2.0 */
/* flash_state.h - the running o of the flash kernels' rows: what flash_fwd and paged_schedule do to
 * it in the same way. */
#ifndef GQA__NEURON_FLASH_STATE_H
#define GQA__NEURON_FLASH_STATE_H

#include <stdint.h>

/* o [rows][dim] = o alpha + pv, in two roundings; alpha [rows], pv [rows][dim]. */
void gqa__flash_add(float *o, const float *alpha, const float *pv, int32_t rows, int32_t dim);

/* o [rows][dim] = bf16(o exp(m - l)), with l a log-sum-exp; m, l [rows]. */
void gqa__flash_normalise(float *o, const float *m, const float *l, int32_t rows, int32_t dim);

#endif
