/* SPDX-License-Identifier: Apache-2.0 */
/* cache.h - the one KV cache structure: pages of a pool, sequences as lists of pages.
 *
 * Page: for each KV head its K, then its V, as the kernel set wants them:
 *   K [page_size][k_stride] of dtype_k; V [page_size][v_stride] of dtype_v, or, if the set wants V
 *   transposed, [dv rounded up to value_step][page_size]. Behind K and behind V the scales of
 *   scaled types (base/storage.h), f32 [scales of a row][page_size].
 * Beside the pool, per slot: the token's position id and its column (its place among all of the
 * caller's tokens, padding counted); per page and KV head: "V holds a non-finite value", which may
 * stay set after a cut; per page how many sequences hold it.
 *
 * Sequences that were forked share their pages. Slots of a page are written only while one sequence
 * alone holds it: whoever appends to a shared page that is partly filled takes a copy first. Slots
 * behind a sequence's last token are zero, unless another sequence holds them or held them when the
 * page was shared: nothing that a result depends on reads them. A free page may hold anything.
 */
#ifndef GQA__CACHE_H
#define GQA__CACHE_H

#include <stdbool.h>

#include "base/arena.h"
#include "gqa/cache.h"
#include "kernel/contract/kernel.h"

#define GQA__PAGE_SIZE_MIN     16
#define GQA__PAGE_SIZE_MAX     512
#define GQA__PAGE_SIZE_DEFAULT 128
#define GQA__HEAD_DIM_MAX      512 /* dk and dv */

struct gqa__cache_layout {
    const struct gqa__kernels *kernels;
    int32_t hkv, dk, dv;
    bool flush; /* denormals are stored as zero (config.denormals) */
    int32_t page_size;
    gqa_dtype dtype_k, dtype_v;
    bool rotate_k, rotate_v;    /* rows are stored rotated (base/hadamard.h) */
    int64_t k_stride;           /* between K rows: elements, of scaled types bytes */
    int64_t v_stride;           /* between V rows (page_size if transposed) */
    bool v_transposed;          /* a token's V is a column */
    int32_t k_scales, v_scales; /* of a row */
    size_t k_bytes, v_bytes;    /* per page and KV head, multiples of GQA__ALIGN, with the scales */
    size_t k_scale_at, v_scale_at; /* where in k_bytes and v_bytes the scales begin */
    size_t page_bytes;             /* hkv * (k_bytes + v_bytes): a page of every head */
};

/* What is kept of a sequence: all that a token can see, by these rules (ring.h). 0 = no such rule;
 * with neither all is kept. */
struct gqa__retention {
    int32_t window; /* keys, the token's own included */
    int32_t chunk;  /* positions of a chunk, counted from index 0 */
};

struct gqa__sequence {
    int32_t *pages;   /* [max_pages] ids, -1 = none; the last valid one is at (length - 1) /
                         page_size, the first one at gqa__ring_first_page */
    int32_t length;   /* tokens so far, those included that are no longer held */
    int32_t first;    /* index of the first token held: those before it have left */
    int32_t released; /* greatest position id of those that have left, if any */
    int32_t columns;  /* caller's tokens so far, padding counted */
    int32_t origin;   /* position id of index 0, held or not */
    int32_t last;     /* position id of the last token */
    bool ordered;     /* position ids do not fall with the index: ranges can be searched */
};

struct gqa_cache {
    struct gqa__cache_layout layout;
    struct gqa__retention retention;
    int32_t max_sequences, max_tokens, max_pages; /* max_pages per sequence */
    int64_t num_pages, free_count;
    unsigned char *pool; /* [hkv][num_pages][k_bytes, v_bytes]: a head's pages follow one another,
                            and memory is read as one stream */
    int32_t *positions;  /* [num_pages][page_size] */
    int32_t *columns;    /* [num_pages][page_size] */
    uint8_t *special;    /* [num_pages][hkv] append_v said so of a value of V */
    int32_t *holders;    /* [num_pages] sequences that hold the page; 0 = it is free */
    int32_t *free_pages; /* [num_pages] stack of ids */
    struct gqa__sequence *sequences; /* [max_sequences] */
    gqa_runtime runtime;             /* allocator of a cache made by gqa_cache_create */
    bool lent;                       /* its memory is the caller's: nothing is released */
};

/* Import the caller's options, fill in their defaults and check everything that does not depend on
 * kernels but on how many keys their panels have. num_pages > 0 afterwards. */
gqa_status gqa__cache_options_resolve(const gqa_cache_options *in, int32_t panel_keys,
                                      gqa_cache_options *out, gqa_error *err);

/* layout->kernels, hkv, dk, dv and flush are set: check them, and the storage types of options
 * against them, and set the rest. page_size is one that pages have. */
gqa_status gqa__cache_layout_init(struct gqa__cache_layout *layout,
                                  const gqa_cache_options *options, gqa_error *err);

/* Carve and initialise a cache (struct included) from the arena: used by gqa_cache_create and, for
 * a call without a cache, on the workspace. In counting mode, or when the arena fails, returns
 * NULL. Reads max_sequences (0 = 1), max_tokens and num_pages (0 = enough for all) of options. The
 * pool is not touched: a page is zeroed when it is taken. */
struct gqa_cache *gqa__cache_carve(struct gqa__arena *arena, const struct gqa__cache_layout *layout,
                                   const gqa_cache_options *options);

/* Would a layer's keys, with kernels, hkv, dk, dv and flush as in `layer`, fit this cache?
 * GQA_ERR_ARG names the difference. */
gqa_status gqa__cache_matches(const struct gqa_cache *cache, const struct gqa__cache_layout *layer,
                              gqa_error *err);

/* New pages that n more tokens of the sequence would take, a copy of its last page included. */
int64_t gqa__cache_pages_for(const struct gqa_cache *cache, int32_t sequence, int32_t n);

/* The same for the sequences of one call, one after the other: of those that share a page the last
 * holder needs no copy. Each claim is taken back, in any order, before anything else is done with
 * the cache, which is then as it was. */
int64_t gqa__cache_claim(struct gqa_cache *cache, int32_t sequence, int32_t n);
void gqa__cache_unclaim(struct gqa_cache *cache, int32_t sequence, int32_t n);

/* May the sequence grow by n tokens and so many columns, pages aside? GQA_ERR_CACHE_FULL, field
 * "cache". */
gqa_status gqa__cache_fits(const struct gqa_cache *cache, int32_t sequence, int32_t n,
                           int32_t columns, gqa_error *err);

/* Is there room for n more tokens of the sequence, which first gives back what they cannot see?
 * GQA_ERR_CACHE_FULL, field "cache". */
gqa_status gqa__cache_room(const struct gqa_cache *cache, int32_t sequence, int32_t n,
                           gqa_error *err);

/* Is there room for tokens [first, length) of a sequence that holds nothing yet? The same error. */
gqa_status gqa__cache_room_for(const struct gqa_cache *cache, int32_t sequence, int32_t first,
                               int32_t length, gqa_error *err);

/* Append n tokens' metadata and take their pages, zeroed; a shared page that they begin in is
 * copied. The caller has checked max_tokens and free pages. positions[i] NULL: continue after the
 * last one (0 when empty). columns[i]: the token's column, NULL: continue after the sequence's
 * columns; columns_after: the sequence's new column count. Cannot fail. */
void gqa__cache_extend(struct gqa_cache *cache, int32_t sequence, int32_t n,
                       const int32_t *positions, const int32_t *columns, int32_t columns_after);

/* K and V of some tokens of one KV head, f32; one that is NULL is not written. */
struct gqa__kv_rows {
    const float *k, *v;     /* [n][dk], [n][dv] */
    int64_t k_step, v_step; /* elements from a token to the next */
};

/* Write them for indices [first, first + n), rotated if the cache's are. Different heads may be
 * written by different tasks. */
void gqa__cache_write(struct gqa_cache *cache, int32_t sequence, int32_t head, int32_t first,
                      int32_t n, const struct gqa__kv_rows *rows);

/* Keep the first length tokens: zero the freed slots of the last kept page if no other sequence
 * holds it, give the pages behind it back. columns_after as it was then (-1: the last kept column +
 * 1, 0 when nothing is kept). */
void gqa__cache_cut(struct gqa_cache *cache, int32_t sequence, int32_t length,
                    int32_t columns_after);

/* The sequence `to`, which holds nothing, becomes one with all that `from` holds, sharing its
 * pages. */
void gqa__cache_fork(struct gqa_cache *cache, int32_t from, int32_t to);

/* A sequence that holds nothing becomes one with the tokens of a sequence of a cache with the same
 * heads and dims, or of its own; there is room. Storage types may differ. */
void gqa__cache_copy(struct gqa_cache *to, int32_t to_sequence, const struct gqa_cache *from,
                     int32_t from_sequence);

/* Of the tokens from index `first` on keep those at first + kept[i], kept [n] rising: they move
 * together, with their positions and columns; what is behind them is cut as by gqa__cache_cut
 * (columns_after -1). The caller has checked that gqa__cache_keep_pages are free: copies of shared
 * pages that tokens move to. */
int64_t gqa__cache_keep_pages(const struct gqa_cache *cache, int32_t sequence, int32_t first,
                              const int32_t *kept, int32_t n);
void gqa__cache_keep(struct gqa_cache *cache, int32_t sequence, int32_t first, const int32_t *kept,
                     int32_t n);

/* One token's K [dk] and V [dv] back as f32, not rotated; either may be NULL. */
void gqa__cache_load(const struct gqa_cache *cache, int32_t sequence, int32_t head, int32_t index,
                     float *k, float *v);

/* Where things lie. index: of a token of the sequence. The slot counts all slots of the pool. */
static inline int32_t gqa__cache_page(const struct gqa_cache *cache,
                                      const struct gqa__sequence *sequence, int32_t index)
{
    return sequence->pages[index / cache->layout.page_size];
}

static inline int64_t gqa__cache_slot(const struct gqa_cache *cache,
                                      const struct gqa__sequence *sequence, int32_t index)
{
    int64_t page = gqa__cache_page(cache, sequence, index);
    return page * cache->layout.page_size + index % cache->layout.page_size;
}

static inline unsigned char *gqa__cache_k(const struct gqa_cache *cache, int32_t page, int32_t head)
{
    const struct gqa__cache_layout *layout = &cache->layout;
    const size_t place = (size_t)head * (size_t)cache->num_pages + (size_t)page;
    return cache->pool + place * (layout->k_bytes + layout->v_bytes);
}

static inline unsigned char *gqa__cache_v(const struct gqa_cache *cache, int32_t page, int32_t head)
{
    return gqa__cache_k(cache, page, head) + cache->layout.k_bytes;
}

/* Their scales [k_scales or v_scales][page_size]. */
static inline float *gqa__cache_k_scale(const struct gqa_cache *cache, int32_t page, int32_t head)
{
    return (float *)(void *)(gqa__cache_k(cache, page, head) + cache->layout.k_scale_at);
}

static inline float *gqa__cache_v_scale(const struct gqa_cache *cache, int32_t page, int32_t head)
{
    return (float *)(void *)(gqa__cache_v(cache, page, head) + cache->layout.v_scale_at);
}

#endif
