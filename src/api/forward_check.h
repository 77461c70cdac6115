/* SPDX-License-Identifier: Apache-2.0 */
/* forward_check.h - from the caller's structs of gqa_forward to a checked gqa__call. */
#ifndef GQA__FORWARD_CHECK_H
#define GQA__FORWARD_CHECK_H

#include "layer/call.h"

/* What a caller of gqa_forward passes. */
struct gqa__forward_args {
    const gqa_layer *layer;
    const gqa_cache *cache;
    const gqa_inputs *inputs;
    const gqa_output *output;
};

/* Shapes, formats and combinations; follows no pointer but the structs'. address: 0, or
 * GQA__ANY_ADDRESS where a size is asked for. */
gqa_status gqa__forward_check(struct gqa__call *call, const struct gqa__forward_args *args,
                              int address, gqa_error *err);

/* Sequences, lengths, positions, columns and room in the cache; fills call->entries, and
 * call->views if nothing is appended. */
gqa_status gqa__forward_entries(struct gqa__call *call, gqa_error *err);

#endif
