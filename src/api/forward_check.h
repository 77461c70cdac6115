/* SPDX-License-Identifier: Apache-2.0 */
/* forward_check.h - from the caller's structs of gqa_forward to a checked gqa__call. */
#ifndef GQA__FORWARD_CHECK_H
#define GQA__FORWARD_CHECK_H

#include "layer/call.h"

/* Shapes, formats and combinations; follows no pointer but the structs'. call->address is set, the
 * rest of call is filled. */
gqa_status gqa__call_check(struct gqa__call *call, const gqa_layer *layer, const gqa_cache *cache,
                           const gqa_inputs *inputs, const gqa_output *output, gqa_error *err);

/* Sequences, lengths, positions, columns and room in the cache; fills rows [batch]. cache: the
 * caller's, or NULL. */
gqa_status gqa__call_entries(struct gqa__call *call, struct gqa__batch_entry *rows, gqa_error *err);

/* Shared with gqa_attend: [1|B, 1|Hq, T, K] tensors, both-or-neither bounds, the phase. */
gqa_status gqa__check_mask(gqa_tensor *t, const char *field, int formats, int32_t batch,
                           int32_t heads, int32_t tokens, gqa_error *err);
gqa_status gqa__check_bounds(const int32_t *begin, const int32_t *end, gqa_error *err);
gqa_status gqa__check_phase(gqa_phase phase, gqa_error *err);

/* Shared with gqa_attend: which tokens of batch row b are valid (first_valid, lengths: or NULL). */
gqa_status gqa__check_valid(const int32_t *first_valid, const int32_t *lengths, int32_t b,
                            int32_t tokens, int32_t *first, int32_t *n, gqa_error *err);

/* Shared with gqa_attend: a workspace is aligned, and NULL only with size 0. */
gqa_status gqa__check_workspace(const void *workspace, size_t size, gqa_error *err);

/* Shared with gqa_attend: output.work is a gqa_work that its init function has seen, or NULL. */
gqa_status gqa__check_work(const gqa_work *work, gqa_error *err);

/* Shared with gqa_attend: the report of a call. */
void gqa__path_fill(gqa_path *path, const struct gqa__params *params, gqa_cut cut, gqa_view view,
                    bool tkg);

#endif
