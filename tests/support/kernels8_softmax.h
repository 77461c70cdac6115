/* kernels8_softmax.h - the softmax of row8, and how its p lies. */
#ifndef GQA_TEST_ROW8_SOFTMAX_H
#define GQA_TEST_ROW8_SOFTMAX_H

#include <stdbool.h>
#include <stdint.h>

enum { ROW8_PANEL_F32 = 32, ROW8_PANEL_BF16 = 64 };

/* p lies [panel][ld][panel keys]. */
int64_t row8_p_index(int32_t key, int32_t r, int32_t ld, int32_t panel);

void row8_softmax_f32(void *p, float *m, float *l, float *s, int32_t keys, int32_t ld,
                      const uint8_t *mark);
void row8_softmax_bf16(void *p, float *m, float *l, float *s, int32_t keys, int32_t ld,
                       const uint8_t *mark);

#endif
