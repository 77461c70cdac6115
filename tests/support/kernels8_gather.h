/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_gather.h - the entries gather of kernels8. */
#ifndef TEST_KERNELS8_GATHER_H
#define TEST_KERNELS8_GATHER_H

#include "kernel/contract/kernel.h"

bool kernels8_gather_f32(const struct gqa__gather_args *args);
bool kernels8_gather_bf16(const struct gqa__gather_args *args);

#endif
