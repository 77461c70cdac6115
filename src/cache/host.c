/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - see host.h; panels of such keys are in host_panel.c. */
#include "cache/host.h"

#include <string.h>

#include "base/tensor.h"
#include "cache/cache.h"

void gqa__host_load(const struct gqa__host_keys *keys, const struct gqa__host_rows *rows,
                    int32_t head, int32_t index, float *dst, int32_t n)
{
    const gqa_tensor t = {.data = (void *)(uintptr_t)rows->data, .dtype = rows->dtype};
    const int64_t offset = gqa__host_offset(keys, rows, head, index);

    if (rows->step == 1) {
        gqa__load_f32(dst, &t, offset, n);
        return;
    }
    for (int32_t d = 0; d < n; d++) {
        gqa__load_f32(dst + d, &t, offset + d * rows->step, 1);
    }
}

/* n elements of this size to places step elements apart. */
static void scatter_elements(unsigned char *dst, int64_t step, const unsigned char *src, int32_t n,
                             size_t size)
{
    for (int32_t d = 0; d < n; d++) {
        memcpy(dst + (size_t)(d * step) * size, src + (size_t)d * size, size);
    }
}

void gqa__host_store(const struct gqa__kernels *kernels, const struct gqa__host_keys *keys,
                     const struct gqa__host_rows *rows, int32_t head, int32_t first,
                     const struct gqa__host_write *write)
{
    const size_t size = gqa__dtype_size(rows->dtype);
    float flushed[GQA__HEAD_DIM_MAX], rounded[GQA__HEAD_DIM_MAX];

    for (int32_t i = 0; i < write->tokens; i++) {
        const float *src = write->src + i * write->step;
        const int64_t offset = gqa__host_offset(keys, rows, head, first + i);
        unsigned char *const dst = (unsigned char *)(uintptr_t)rows->data + (size_t)offset * size;
        if (write->slots != NULL && write->slots[i] < 0) {
            continue;
        }
        if (write->flush) {
            memcpy(flushed, src, (size_t)write->n * sizeof *src);
            kernels->flush(flushed, write->n);
            src = flushed;
        }
        if (rows->step == 1) {
            kernels->store(dst, src, write->n, rows->dtype);
        } else {
            kernels->store(rounded, src, write->n, rows->dtype);
            scatter_elements(dst, rows->step, (const unsigned char *)rounded, write->n, size);
        }
    }
}
