/* SPDX-License-Identifier: Apache-2.0 */
/* kernels8.h - A second scalar kernel set with other geometry, written one element at a time.
 *
 * It shares no code with src/kernel but the tables' layout: 8 lanes, tiles of 40 rows, other
 * panels, steps and packed forms. A library whose plan, walk and cache hold no geometry of their
 * own gives the same bits on it.
 */
#ifndef TEST_KERNELS8_H
#define TEST_KERNELS8_H

#include "kernel/contract/kernel.h"

const struct gqa__kernels *gqa_test_kernels8(gqa_numerics numerics);

#endif
