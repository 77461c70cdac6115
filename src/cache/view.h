/* SPDX-License-Identifier: Apache-2.0 */
/* view.h - the keys of one sequence as attention reads them: from a cache's pages, or from the
 * host's own memory. */
#ifndef GQA__VIEW_H
#define GQA__VIEW_H

#include <stdbool.h>

#include "cache/cache.h"
#include "cache/host.h"
#include "kernel/contract/integer.h"

struct gqa__kv_view {
    const struct gqa__kernels *kernels;
    int32_t dk, dv;
    int32_t first;  /* index of the first key that there is: those before it have left */
    int32_t length; /* end of the keys */
    int32_t origin; /* position of index 0 (0 when empty) */
    bool ordered;   /* positions do not fall with the index */
    bool flush;     /* denormals of the host's keys count as zero */
    /* A cache ... */
    const struct gqa_cache *cache;
    const struct gqa__sequence *sequence;
    /* ... or the host's memory. */
    struct gqa__host_keys host;
    const struct gqa__integer_kernels *integer; /* where K or V of it is int8 */
    const int32_t *positions;                   /* [length] or NULL = the index */
    int32_t pad_from, padding; /* keys from this index on have columns this much above it */
};

/* Contiguous keys for score and accumulate. k or v is NULL where it is stored as integers
 * (gqa__view_integer_run). */
struct gqa__kv_panel {
    const void *k;
    int64_t k_stride;
    const void *v;
    int64_t v_stride;
    gqa_dtype k_type, v_type;       /* the kernel set's operand type, or as they are stored */
    const float *k_scale, *v_scale; /* [keys] to be multiplied beside the products, or NULL. Those
                                       of the panels of a fold block lie one after the other */
    int32_t keys; /* multiple of panel_keys; beyond the view's length are zeros, or, in a page that
                     is or was shared, another sequence's keys */
    bool special; /* append_v said so of a value of V here */
};

void gqa__view_cache(struct gqa__kv_view *view, const struct gqa_cache *cache, int32_t sequence);
/* key, value: [K, Hkv, D] with explicit strides; n keys exist. */
void gqa__view_plain(struct gqa__kv_view *view, const struct gqa__kernels *kernels,
                     const gqa_tensor *key, const gqa_tensor *value, int32_t n,
                     const int32_t *positions);

/* n keys of the host; dk, dv, flush and integer are left for the caller to set. */
void gqa__view_host(struct gqa__kv_view *view, const struct gqa__kernels *kernels,
                    const struct gqa__host_keys *keys, int32_t n, const int32_t *positions);

/* What K, or V with value, is stored as. */
gqa_dtype gqa__view_dtype(const struct gqa__kv_view *view, bool value);

/* Bytes of one key of one head, K and V, as they are stored, with scales, without padding. */
int64_t gqa__view_key_bytes(const struct gqa__kv_view *view);

int32_t gqa__view_position(const struct gqa__kv_view *view, int32_t index);
int32_t gqa__view_column(const struct gqa__kv_view *view, int32_t index);
void gqa__view_positions(const struct gqa__kv_view *view, int32_t first, int32_t n, int32_t *dst);
void gqa__view_columns(const struct gqa__kv_view *view, int32_t first, int32_t n, int32_t *dst);

/* First index from view->first on whose position is >= position (length if none); the view is
 * ordered. */
int32_t gqa__view_lower_bound(const struct gqa__kv_view *view, int64_t position);

/* Keys from index first (a multiple of panel_keys) on, at most max_keys (a multiple of panel_keys,
 * up to the end of the fold block), in one piece: straight from a page or the host's memory
 * where it can be, else gathered to scratch. panel->keys may be less than max_keys; call again for
 * the rest: panels of one fold block do not overwrite each other's scratch. */
size_t gqa__view_scratch_bytes(const struct gqa__kernels *kernels, int32_t dk, int32_t dv);
void gqa__view_panel(const struct gqa__kv_view *view, int32_t head, int32_t first, int32_t max_keys,
                     void *scratch, struct gqa__kv_panel *panel);

/* The same, but K and V of a page stay as they are stored, where the page holds whole panels. */
void gqa__view_stored_panel(const struct gqa__kv_view *view, int32_t head, int32_t first,
                            int32_t max_keys, void *scratch, struct gqa__kv_panel *panel);

/* The memory that panels of keys [first, first + keys) of this head will read, at most
 * GQA__FOLD_BLOCK of them, as long pieces: what of it lies in pages as the kernels read it (of
 * transposed V only whole pages), and all that lies in the host's memory. list has room for
 * GQA__KEY_PREFETCHES; returns how many. */
int32_t gqa__view_prefetch(const struct gqa__kv_view *view, int32_t head, int32_t first,
                           int32_t keys, struct gqa__prefetch *list);

/* Keys from index first (a multiple of 16) on, at most max_keys (another one, up to the end of the
 * fold block), as integers, up to the end of their page or block. Of K or V that is no integer type
 * the run says nothing. What of the host's has to be gathered goes to scratch, where runs of one
 * fold block do not overwrite each other, nor a panel of the other one of K and V. */
void gqa__view_integer_run(const struct gqa__kv_view *view, int32_t head, int32_t first,
                           int32_t max_keys, void *scratch, struct gqa__integer_run *run);

/* One key's K and V as f32 (either may be NULL). */
void gqa__view_load(const struct gqa__kv_view *view, int32_t head, int32_t index, float *k,
                    float *v);

#endif
