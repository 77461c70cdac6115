/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/cache.h - keys and values of past tokens, in pages.
 *
 * A cache holds several sequences. Tokens are appended by gqa_forward (or gqa_cache_append); each
 * keeps its position id. A token's index is its place in its sequence. Padding is never appended.
 * Sequences may share pages (gqa_cache_fork), which no result shows. docs/cache.md has pictures.
 *
 * Threads: one call at a time may change a cache (append, forward calls that append, truncate,
 * fork, keep, load, copy to it). Beside it, and beside one another, calls may run that only read
 * (length, read, gqa_attend, forward calls that append nothing), if the sequences they read are not
 * those that it changes; that they share pages does not matter. gqa_cache_free_pages is no such
 * call: it counts what all sequences hold.
 */
#ifndef GQA_CACHE_H
#define GQA_CACHE_H

#include "gqa/layer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gqa_cache gqa_cache;

typedef struct gqa_cache_options {
    uint32_t struct_size;
    int32_t max_sequences; /* sequence ids are 0 .. max_sequences-1; 0 = 1 */
    int32_t max_tokens;    /* per sequence; required, > 0 */
    int32_t page_size;     /* tokens per page: 16, 32, 64, 128, 256 or 512; 0 = 128 */
    int64_t num_pages; /* in the pool shared by all sequences; 0 = enough for all of them full */
    gqa_dtype dtype_k; /* storage. numerics F32: F32 (default), BF16 or F16, K and V each; */
    gqa_dtype dtype_v; /*          numerics BF16: BF16 (default) */
    /* The caller's memory for the cache: at least gqa_cache_size bytes, aligned to 64, with any
     * content, lent until the cache is destroyed. NULL and 0 = from the layer's runtime. */
    void *memory;
    size_t memory_size;
} gqa_cache_options;

/* Defaults for caches of this layer: one sequence, pages of 128 tokens, storage types that follow
 * its numerics (layer NULL: F32). max_tokens is left 0 and must be set. */
GQA_API void gqa_cache_options_init_sized(gqa_cache_options *options, const gqa_layer *layer,
                                          size_t size);

static inline void gqa_cache_options_init(gqa_cache_options *options, const gqa_layer *layer)
{
    gqa_cache_options_init_sized(options, layer, sizeof *options);
}

/* Bytes of a cache with these options, all of it, before anything is allocated: what
 * gqa_cache_create asks the runtime for, or options.memory must have. options.memory is not looked
 * at. */
GQA_API gqa_status gqa_cache_size(const gqa_layer *layer, const gqa_cache_options *options,
                                  size_t *size, gqa_error *err);

/* A cache laid out for the layer's kernel set. Layers with the same KV heads, head dims, kernel set
 * and config.denormals may use it too; others get GQA_ERR_ARG. The pool is allocated here, from the
 * layer's runtime, unless options.memory is given; appending allocates nothing. It keeps no pointer
 * to the layer, but its runtime's allocator, or the caller's memory, is borrowed until the cache is
 * destroyed. GQA_ERR_UNSUPPORTED: a storage type that no page has. */
GQA_API gqa_status gqa_cache_create(gqa_cache **out, const gqa_layer *layer,
                                    const gqa_cache_options *options, gqa_error *err);

/* NULL-safe (also *cache == NULL); sets *cache to NULL. */
GQA_API void gqa_cache_destroy(gqa_cache **cache);

/* Tokens held; -1 for a bad sequence id or cache NULL. */
GQA_API int32_t gqa_cache_length(const gqa_cache *cache, int32_t sequence);

/* Pages of the pool that no sequence holds; -1 for cache NULL. A page that several sequences share
 * is one page. */
GQA_API int64_t gqa_cache_free_pages(const gqa_cache *cache);

/* Keep the first length tokens (0 .. current length); freed slots are zeroed, whole free pages go
 * back to the pool, both unless another sequence shares them. The sequence's columns (see
 * gqa_inputs.mask) then end at the last kept token: padding passed behind it is forgotten. Length 0
 * frees the sequence: its positions and columns start anew. */
GQA_API gqa_status gqa_cache_truncate(gqa_cache *cache, int32_t sequence, int32_t length,
                                      gqa_error *err);

/* Make the sequence `to`, which must hold no tokens, one that holds what `from` does, with its
 * positions and columns. Both share the pages, and none is taken. From then on they go their own
 * ways: what is done to one changes nothing that the other holds, and each gives the bits of a
 * sequence alone. The first to append to a page that is shared and partly filled takes a copy of
 * it. To share only the first n tokens, truncate `to` afterwards. */
GQA_API gqa_status gqa_cache_fork(gqa_cache *cache, int32_t from, int32_t to, gqa_error *err);

/* Of the last `last` tokens of a sequence (0 .. its length) keep those whose places among them are
 * kept [n] (0 .. last-1, rising), and free the others: the accepted path of a tree of drafts. They
 * move together in their order, and each keeps its position and its column; the sequence's columns
 * then end at the last kept token, as after gqa_cache_truncate. Going on gives the bits of a
 * sequence to which only these tokens were ever appended, with these positions and columns.
 * Sequences that share pages with this one are not changed: GQA_ERR_CACHE_FULL when the pages that
 * tokens move to are shared and there are not as many free ones for their copies; nothing is
 * changed then. */
GQA_API gqa_status gqa_cache_keep(gqa_cache *cache, int32_t sequence, int32_t last,
                                  const int32_t *kept, int32_t n, gqa_error *err);

/* A sequence as bytes, which do not depend on page size, kernel set or machine: positions, columns,
 * K and V in their storage types, plain, with a version and a checksum (docs/cache.md has the
 * format). *size: how many bytes gqa_cache_save writes; it is given this size. bytes may have any
 * address. Both only read. */
GQA_API gqa_status gqa_cache_save_size(const gqa_cache *cache, int32_t sequence, size_t *size,
                                       gqa_error *err);
GQA_API gqa_status gqa_cache_save(const gqa_cache *cache, int32_t sequence, void *bytes,
                                  size_t size, gqa_error *err);

/* Make a sequence, which must hold no tokens, the saved one. KV heads and head dims must be the
 * cache's (GQA_ERR_SHAPE), and the storage types, unless convert is 1: then K and V are rounded to
 * nearest even where the cache's type has not all their values. Page size, kernel set and numerics
 * may be others. Where the types are the same, going on gives the bits that the saved sequence
 * would have given (config.denormals FLUSH: that with zeros in the place of denormals). All or
 * nothing, and nothing is read beyond size: bytes that are no saved sequence, cut short, damaged or
 * unsound are GQA_ERR_ARG (of another version, or of a type that no cache has:
 * GQA_ERR_UNSUPPORTED); GQA_ERR_CACHE_FULL as in gqa_cache_append. */
GQA_API gqa_status gqa_cache_load(gqa_cache *cache, int32_t sequence, const void *bytes,
                                  size_t size, int32_t convert, gqa_error *err);

/* Make a sequence of one cache, which must hold no tokens, one that holds what a sequence of
 * another cache does, which is only read: what gqa_cache_load of its bytes would give, without the
 * bytes, and page by page where both caches have one page size, storage type and layout. To move a
 * sequence, copy it and truncate the old one to 0. Errors and convert as in gqa_cache_load; of
 * `from` by that name. Within one cache the copy shares nothing. */
GQA_API gqa_status gqa_cache_copy(gqa_cache *to, int32_t to_sequence, const gqa_cache *from,
                                  int32_t from_sequence, int32_t convert, gqa_error *err);

/* Append plain keys and values, already normed and rotated: key [tokens, Hkv, Dk], value
 * [tokens, Hkv, Dv] (f32, bf16 or f16; any strides, so a [Hkv, tokens, D] tensor passes with its
 * first two dimensions swapped). positions [tokens] must rise from above the last one held and not
 * be negative; NULL = continue after the last one. All or nothing: GQA_ERR_CACHE_FULL when
 * max_tokens or the free pages do not suffice (a last page that is shared and partly filled needs
 * one for its copy). */
GQA_API gqa_status gqa_cache_append(gqa_cache *cache, int32_t sequence, const gqa_tensor *key,
                                    const gqa_tensor *value, const int32_t *positions,
                                    gqa_error *err);

/* Copy tokens [first, first + n) out, n = shape[1]: key [Hkv, n, Dk], value [Hkv, n, Dv] (f32,
 * bf16 or f16), as the pages hold them; one of them may be NULL. positions [n] or NULL. */
GQA_API gqa_status gqa_cache_read(const gqa_cache *cache, int32_t sequence, int32_t first,
                                  const gqa_tensor *key, const gqa_tensor *value,
                                  int32_t *positions, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
