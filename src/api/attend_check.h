/* SPDX-License-Identifier: Apache-2.0 */
/* attend_check.h - from the caller's structs of gqa_attend to a checked gqa__attend_call. */
#ifndef GQA__ATTEND_CHECK_H
#define GQA__ATTEND_CHECK_H

#include "layer/attend.h"

/* Shapes, formats and combinations; follows no pointer but the structs'. call->address is set, the
 * rest of call is filled. */
gqa_status gqa__attend_check(struct gqa__attend_call *call, const gqa_layer *layer,
                             const gqa_cache *cache, const gqa_attend_inputs *inputs,
                             const gqa_attend_output *output, gqa_error *err);

/* Sequences, lengths, key positions, columns and the key range; fills rows [batch]. */
gqa_status gqa__attend_entries(const struct gqa__attend_call *call, struct gqa__attend_entry *rows,
                               gqa_error *err);

#endif
