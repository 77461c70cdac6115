/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - see host.h; panels of such keys are in host_panel.c. */
#include "cache/host.h"

#include "base/tensor.h"

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
