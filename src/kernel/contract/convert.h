/* SPDX-License-Identifier: Apache-2.0 */
/* convert.h - values of a caller's tensor to f32 and back, by a kernel set's entries. */
#ifndef GQA__KERNEL_CONTRACT_CONVERT_H
#define GQA__KERNEL_CONTRACT_CONVERT_H

#include "base/tensor.h"
#include "kernel/contract/kernel.h"

/* n values, which lie one after the other from element `offset` of the tensor on. */
static inline void gqa__load(const struct gqa__kernels *kernels, float *dst, const gqa_tensor *src,
                             int64_t offset, int64_t n)
{
    const size_t size = gqa__dtype_size(src->dtype);

    kernels->load(dst, (const unsigned char *)src->data + (size_t)offset * size, n, src->dtype);
}

static inline void gqa__store(const struct gqa__kernels *kernels, const gqa_tensor *dst,
                              int64_t offset, const float *src, int64_t n)
{
    const size_t size = gqa__dtype_size(dst->dtype);

    kernels->store((unsigned char *)dst->data + (size_t)offset * size, src, n, dst->dtype);
}

#endif
