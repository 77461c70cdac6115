/* SPDX-License-Identifier: Apache-2.0 */
/* vnni.h - integer K and V once more, for a CPU whose AVX-512 adds products of pairs to a sum in
 * one instruction (AVX512_VNNI): avx512/integer with that instruction, the same bits. */
#ifndef GQA__KERNEL_VNNI_VNNI_H
#define GQA__KERNEL_VNNI_VNNI_H

#include "kernel/contract/integer.h"

/* NULL where the compiler cannot build it. */
const struct gqa__integer_kernels *gqa__vnni_integer(void);

#endif
