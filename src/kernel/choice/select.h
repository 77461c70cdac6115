/* SPDX-License-Identifier: Apache-2.0 */
/* select.h - which kernel sets exist, which this machine runs, and which one a config gets. */
#ifndef GQA__KERNEL_CHOICE_SELECT_H
#define GQA__KERNEL_CHOICE_SELECT_H

#include "kernel/contract/integer.h"
#include "kernel/contract/kernel.h"

uint32_t gqa__kernels_built(void);     /* bits 1 << gqa_isa */
uint32_t gqa__kernels_available(void); /* of those, what CPU and operating system run */

/* "scalar", "avx2", "avx512", "amx", "neon", "auto"; "unknown" for other values. */
const char *gqa__isa_name(gqa_isa isa);

/* The reverse: false, and *isa as it was, for a text that is none of those names. */
bool gqa__isa_named(const char *name, gqa_isa *isa);

/* The kernel set for config.isa, max_isa and numerics; AUTO: the best that max_isa admits. A forced
 * isa is within max_isa (gqa__config_check). GQA_ERR_UNSUPPORTED names the set that is missing. */
gqa_status gqa__select(const struct gqa__kernels **out, gqa_isa isa, gqa_isa max_isa,
                       gqa_numerics numerics, gqa_error *err);

/* The kernels for integer K and V that go with a kernel set, of either numerics: those of its
 * vectors. Their lanes divide the set's. */
const struct gqa__integer_kernels *gqa__select_integer(const struct gqa__kernels *kernels);

#endif
