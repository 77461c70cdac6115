/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8_stored.h - what kernels8 stores in pages, and stored codes as operands. */
#ifndef TEST_KERNELS8_STORED_H
#define TEST_KERNELS8_STORED_H

#include "kernel/contract/kernel.h"

void kernels8_append_k(const struct gqa__append_args *args);
bool kernels8_append_rows(const struct gqa__append_args *args);
void kernels8_append_k_bf16(const struct gqa__append_args *args);
bool kernels8_append_v_bf16(const struct gqa__append_args *args);
void kernels8_expand_f32(const struct gqa__expand_args *args);
void kernels8_expand_bf16(const struct gqa__expand_args *args);

#endif
