/* SPDX-License-Identifier: Apache-2.0 */
/* states.h - raw softmax states of the caller. */
#ifndef GQA__STATES_H
#define GQA__STATES_H

#include <stdbool.h>

#include "gqa/attend.h"

/* m and l packed f32 of shape [B, T, Hq], o the same with dv; field names the struct in errors.
 * shape[i] == -1 accepts any extent (then m decides). */
gqa_status gqa__states_fit(gqa_states *states, const char *field, const int64_t *shape, int32_t dv,
                           gqa_error *err);

/* key_begin is a multiple of the fold block, at least 0; key_end is not below it. */
gqa_status gqa__states_range(const gqa_states *states, const char *field, gqa_error *err);

/* They cover no keys. */
bool gqa__states_empty(const gqa_states *states);

/* Make n rows from row on neutral. */
void gqa__states_clear(const gqa_states *states, int64_t row, int32_t n, int32_t dv);

#endif
