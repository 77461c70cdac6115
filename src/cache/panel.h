/* SPDX-License-Identifier: Apache-2.0 */
/* panel.h - a panel that is being made, from pages (panel.c) or from the host's memory
 * (host_panel.c). */
#ifndef GQA__PANEL_H
#define GQA__PANEL_H

#include "cache/view.h"

struct gqa__panel_job {
    const struct gqa__kv_view *view;
    int32_t head, first;
    int32_t keys;             /* multiple of panel_keys */
    int32_t valid;            /* of those, below the view's length */
    unsigned char *k, *v;     /* scratch of a fold block's keys */
    float *k_scale, *v_scale; /* the same, [GQA__FOLD_BLOCK] */
    int64_t k_stride;         /* elements of a K row */
    bool stored;              /* K and V may stay as they are stored, but for integers */
    int64_t value_dim;        /* elements of a natural V row, or number of transposed ones */
};

void gqa__panel_of_host(struct gqa__panel_job *job, struct gqa__kv_panel *panel);

/* host_integer.c: a run of at most job->keys, of which job->valid exist. Both may become less. */
void gqa__integer_run_of_host(struct gqa__panel_job *job, struct gqa__integer_run *run);

/* As gqa__view_prefetch, for the host's keys [first, end). */
int32_t gqa__prefetch_of_host(const struct gqa__kv_view *view, int32_t head, int32_t first,
                              int32_t end, struct gqa__prefetch *list);

#endif
