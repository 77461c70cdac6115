/* SPDX-License-Identifier: Apache-2.0 */
/* attend_check.h - from the caller's structs of gqa_attend to a checked gqa__call. */
#ifndef GQA__ATTEND_CHECK_H
#define GQA__ATTEND_CHECK_H

#include "layer/call.h"

/* What a caller of gqa_attend passes. */
struct gqa__attend_args {
    const gqa_layer *layer;
    const gqa_cache *cache;
    const gqa_attend_inputs *inputs;
    const gqa_attend_output *output;
};

/* Shapes, formats and combinations; follows no pointer but the structs'. address: 0, or
 * GQA__ANY_ADDRESS where a size is asked for. */
gqa_status gqa__attend_check(struct gqa__call *call, const struct gqa__attend_args *args,
                             int address, gqa_error *err);

/* Sequences, lengths, key positions, columns and the key range; fills call->entries, call->views
 * and the longest entry. */
gqa_status gqa__attend_entries(struct gqa__call *call, gqa_error *err);

#endif
