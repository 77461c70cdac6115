/* SPDX-License-Identifier: Apache-2.0 */
/* select.h - which rows exist, which this machine runs, and which one a config gets. */
#ifndef GQA__KERNEL_CHOICE_SELECT_H
#define GQA__KERNEL_CHOICE_SELECT_H

#include "kernel/contract/kernel.h"

uint32_t gqa__kernels_built(void);     /* bits 1 << gqa_isa */
uint32_t gqa__kernels_available(void); /* of those, what CPU and operating system run */

/* "scalar", "avx2", "avx512", "amx", "neon", "auto"; "unknown" for other values. */
const char *gqa__isa_name(gqa_isa isa);

/* The row for config.isa and numerics. AUTO: env (the value of GQA_ISA, or NULL), else the best.
 * GQA_ERR_UNSUPPORTED names the row that is missing, GQA_ERR_ARG an unknown name in env. */
gqa_status gqa__select(const struct gqa__kernels **out, gqa_isa isa, const char *env,
                       gqa_numerics numerics, gqa_error *err);

#endif
