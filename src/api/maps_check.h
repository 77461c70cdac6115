/* SPDX-License-Identifier: Apache-2.0 */
/* maps_check.h - checks of the arguments of gqa/neuron_maps.h.
 *
 * The first fault is kept; every later check then does nothing, so that a function's checks read as
 * a list. What a check relies on is asked before it.
 */
#ifndef GQA__MAPS_CHECK_H
#define GQA__MAPS_CHECK_H

#include "gqa/neuron_maps.h"

struct gqa__maps_check {
    gqa_error *err;
    gqa_status status;
};

void gqa__maps_pointer(struct gqa__maps_check *check, const char *field, const void *pointer);

/* low <= value <= high; GQA_ERR_ARG. */
void gqa__maps_number(struct gqa__maps_check *check, const char *field, int64_t value, int64_t low,
                      int64_t high);
void gqa__maps_flag(struct gqa__maps_check *check, const char *field, int32_t value);

/* 0, 226, 227 or 229. */
void gqa__maps_release(struct gqa__maps_check *check, gqa_neuron_release release);

/* Each of n numbers, low <= value. */
void gqa__maps_list(struct gqa__maps_check *check, const char *field, const int32_t *values,
                    int64_t n, int32_t low);

/* value is a multiple of `of`, which is above 0 and called name. */
void gqa__maps_multiple(struct gqa__maps_check *check, const char *field, int32_t value,
                        const char *name, int32_t of);

#endif
