/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/cache.h - keys and values of past tokens, in pages.
 *
 * A cache holds several sequences. Tokens are appended by gqa_forward (or gqa_cache_append); each
 * keeps its position id. A token's index is its place in its sequence. Padding is never appended.
 * Sequences may share pages (gqa_cache_fork), which no result shows. Where the cache has a
 * retention (options.retain_window, retain_chunk) a sequence is a ring: pages that no token can see
 * any more go back to the pool, and no result shows that either. docs/cache.md has pictures.
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
    int32_t max_tokens;    /* per sequence; required, 1 .. 2147483391 (2^31 - 1 - 256) */
    int32_t page_size;     /* tokens per page: 16, 32, 64, 128, 256 or 512; 0 = 128 */
    int64_t num_pages; /* in the pool shared by all sequences; 0 = enough for all of them full, or,
                          of rings, for as much as each can hold with calls of call_tokens */
    /* Storage of K and of V, each for itself: F32, BF16, F16, or quantised with scales of their
     * own: I8, E4M3 (sizes up to 448), E4M3_240 (up to 240, as Trainium 2 saturates), I4. Numerics
     * F32: all of them, F32 by default. Numerics BF16: not F32 and not F16, BF16 by default. */
    gqa_dtype dtype_k, dtype_v;
    /* The caller's memory for the cache: at least gqa_cache_size bytes, aligned to 64, with any
     * content, lent until the cache is destroyed. NULL and 0 = from the layer's runtime. */
    void *memory;
    size_t memory_size;
    /* Retention: what is kept of a sequence; 0 = no such rule, and with neither everything is kept.
     * retain_window W: what a token at position p sees of positions above p - W. retain_chunk C:
     * what it sees of its chunk of C positions, counted from the sequence's first one. Both: what
     * satisfies both. When tokens are appended, whole pages (those of 16 tokens in pairs, with some
     * kernel sets) go back to the pool if neither the call's tokens nor a token at the position
     * after the last one held can see anything in them. So a sequence
     * holds what the first token of the last call sees, and that call: with positions that rise by
     * one, at most max(W - 1, 1) + a page - 1 + the call's tokens, rounded up to pages (C for W).
     * max_tokens still limits all tokens of a sequence. Layers that can see more than is kept get
     * GQA_ERR_ARG, those of backend neuron GQA_ERR_UNSUPPORTED. */
    int32_t retain_window;
    int32_t retain_chunk;
    int32_t call_tokens; /* most tokens that a call appends to a sequence; 0 = max_tokens. It
                            decides what num_pages 0 is, no more */
    /* 1: K (V) of each token and head is stored rotated by a Hadamard matrix, which spreads over
     * the row what is large in one element: where channels stand out, I8 and I4 lose less by it
     * (docs/cache.md has figures). For quantised types, else GQA_ERR_UNSUPPORTED. Q is rotated
     * alike, and the output rotated back; what gqa_cache_read gives is rotated back, too. The rule:
     * docs/numerics.md. */
    int32_t rotate_k, rotate_v;
} gqa_cache_options;

/* Defaults for caches of this layer: one sequence, pages of 128 tokens, storage types that follow
 * its numerics (layer NULL: F32). max_tokens is left 0 and must be set. */
GQA_API void gqa_cache_options_init_sized(gqa_cache_options *options, const gqa_layer *layer,
                                          size_t size);

static inline void gqa_cache_options_init(gqa_cache_options *options, const gqa_layer *layer)
{
    gqa_cache_options_init_sized(options, layer, sizeof *options);
}

/* Set options.retain_window and retain_chunk to what the layer can see: config.sliding_window and
 * config.attention_chunk_size (0 for backend neuron and layer NULL). */
GQA_API void gqa_cache_options_retain(gqa_cache_options *options, const gqa_layer *layer);

/* Bytes of a cache with these options, all of it, before anything is allocated: what
 * gqa_cache_create asks the runtime for, or options.memory must have. options.memory is not looked
 * at. */
GQA_API gqa_status gqa_cache_size(const gqa_layer *layer, const gqa_cache_options *options,
                                  size_t *size, gqa_error *err);

/* A cache laid out for the layer's kernel set. Layers with the same KV heads, head dims, kernel set
 * and config.denormals may use it too; others get GQA_ERR_ARG. The pool is allocated here, from the
 * layer's runtime, unless options.memory is given; appending allocates nothing. It keeps no pointer
 * to the layer, but its runtime's allocator, or the caller's memory, is borrowed until the cache is
 * destroyed. GQA_ERR_UNSUPPORTED: GQA_F16 with numerics BF16, a retention with backend neuron. */
GQA_API gqa_status gqa_cache_create(gqa_cache **out, const gqa_layer *layer,
                                    const gqa_cache_options *options, gqa_error *err);

/* NULL-safe (also *cache == NULL); sets *cache to NULL. */
GQA_API void gqa_cache_destroy(gqa_cache **cache);

/* Tokens of the sequence, those included that a ring no longer holds; -1 for a bad sequence id or
 * cache NULL. */
GQA_API int32_t gqa_cache_length(const gqa_cache *cache, int32_t sequence);

/* Index of the first token that is held: 0 but for rings, whose first tokens leave; -1 for a bad
 * sequence id or cache NULL. */
GQA_API int32_t gqa_cache_first(const gqa_cache *cache, int32_t sequence);

/* Pages of the pool that no sequence holds; -1 for cache NULL. A page that several sequences share
 * is one page. */
GQA_API int64_t gqa_cache_free_pages(const gqa_cache *cache);

/* Would n[i] more tokens of each sequence sequences[i] (no two equal) [count], at the positions
 * that follow, find room: in max_tokens, below 2^31 columns, and all together in free pages, copies
 * of shared ones and what rings give back counted? GQA_ERR_CACHE_FULL if not. The cache is the same
 * afterwards; but beside this call none may change it. */
GQA_API gqa_status gqa_cache_room(gqa_cache *cache, const int32_t *sequences, const int32_t *n,
                                  int32_t count, gqa_error *err);

/* Keep the first length tokens (0 .. current length); freed slots are zeroed, whole free pages go
 * back to the pool, both unless another sequence shares them. The sequence's columns (see
 * gqa_inputs.mask) then end at the last kept token: padding passed behind it is forgotten. Length 0
 * frees the sequence: its positions and columns start anew. A ring can always be cut to where its
 * last call began, or later; further back only (GQA_ERR_ARG, field "length") if the last kept token
 * is held, and all that the next one, at the position after it, can see by the retention. */
GQA_API gqa_status gqa_cache_truncate(gqa_cache *cache, int32_t sequence, int32_t length,
                                      gqa_error *err);

/* Make the sequence `to`, which must hold no tokens, one that holds what `from` does, with its
 * positions and columns. Both share the pages, and none is taken. From then on they go their own
 * ways: what is done to one changes nothing that the other holds, and each gives the bits of a
 * sequence alone. The first to append to a page that is shared and partly filled takes a copy of
 * it. To share only the first n tokens, truncate `to` afterwards. Batch entries of one call read
 * what they share once (docs/cache.md). */
GQA_API gqa_status gqa_cache_fork(gqa_cache *cache, int32_t from, int32_t to, gqa_error *err);

/* Of the last `last` tokens of a sequence (0 .. its length) keep those whose places among them are
 * kept [n] (0 .. last-1, rising), and free the others: the accepted path of a tree of drafts. They
 * move together in their order, and each keeps its position and its column; the sequence's columns
 * then end at the last kept token, as after gqa_cache_truncate. Going on gives the bits of a
 * sequence to which only these tokens were ever appended, with these positions and columns.
 * Sequences that share pages with this one are not changed: GQA_ERR_CACHE_FULL when the pages that
 * tokens move to are shared and there are not as many free ones for their copies; nothing is
 * changed then. Of a ring: the last `last` tokens must be held, and the sequence must be able to go
 * on after the last kept token as after a cut (GQA_ERR_ARG, field "last" or "n"). */
GQA_API gqa_status gqa_cache_keep(gqa_cache *cache, int32_t sequence, int32_t last,
                                  const int32_t *kept, int32_t n, gqa_error *err);

/* A sequence as bytes, which do not depend on page size, kernel set or machine: positions, columns,
 * K and V in their storage types, plain, with a version and a checksum (docs/cache.md has the
 * format); of a ring the tokens held. *size: how many bytes gqa_cache_save writes; it is given this
 * size. bytes may have any address. Both only read. */
GQA_API gqa_status gqa_cache_save_size(const gqa_cache *cache, int32_t sequence, size_t *size,
                                       gqa_error *err);
GQA_API gqa_status gqa_cache_save(const gqa_cache *cache, int32_t sequence, void *bytes,
                                  size_t size, gqa_error *err);

/* Make a sequence, which must hold no tokens, the saved one. KV heads and head dims must be the
 * cache's (GQA_ERR_SHAPE), and the storage types and rotate_k and rotate_v, unless convert is 1:
 * then what gqa_cache_read would give is appended, rounded to nearest even, or quantised, where the
 * cache's type has not all these values. Page size, kernel set and numerics may be others. Where
 * types and rotations are the same, going on gives the bits that the saved sequence would have
 * given (config.denormals FLUSH: that with zeros in the place of denormals). All or nothing, and
 * nothing is read beyond size: bytes that are no saved sequence, cut short, damaged or unsound are
 * GQA_ERR_ARG (of another version, or of a type that no cache has: GQA_ERR_UNSUPPORTED); so are
 * those of a ring if a token that follows could see, by this cache's retention, what the ring had
 * given back. GQA_ERR_CACHE_FULL as in gqa_cache_append: all tokens of the bytes are taken, also
 * where this cache is a ring that would keep fewer. */
GQA_API gqa_status gqa_cache_load(gqa_cache *cache, int32_t sequence, const void *bytes,
                                  size_t size, int32_t convert, gqa_error *err);

/* Make a sequence of one cache, which must hold no tokens, one that holds what a sequence of
 * another cache does, which is only read: what gqa_cache_load of its bytes would give, without the
 * bytes, and page by page where both caches have one page size, storage type, rotation and layout.
 * To move a sequence, copy it and truncate the old one to 0. Errors and convert as in
 * gqa_cache_load; of `from` by that name. Within one cache the copy shares nothing. */
GQA_API gqa_status gqa_cache_copy(gqa_cache *to, int32_t to_sequence, const gqa_cache *from,
                                  int32_t from_sequence, int32_t convert, gqa_error *err);

/* Append plain keys and values, already normed and rotated: key [tokens, Hkv, Dk], value
 * [tokens, Hkv, Dv] (f32, bf16 or f16; any strides, so a [Hkv, tokens, D] tensor passes with its
 * first two dimensions swapped). positions [tokens] must rise from above the last one held and not
 * be negative; NULL = continue after the last one. All or nothing: GQA_ERR_CACHE_FULL when
 * max_tokens, the columns or the free pages do not suffice (a last page that is shared and partly
 * filled needs one for its copy; pages that a ring gives back in this call count as free). */
GQA_API gqa_status gqa_cache_append(gqa_cache *cache, int32_t sequence, const gqa_tensor *key,
                                    const gqa_tensor *value, const int32_t *positions,
                                    gqa_error *err);

/* Copy tokens [first, first + n), which must be held, out, n = shape[1]: key [Hkv, n, Dk], value
 * [Hkv, n, Dv] (f32, bf16 or f16), as the pages hold them (a code times its scale, rounded to f32,
 * rotated back where it is stored rotated, and rounded to the format); one of them may be NULL.
 * positions [n] or NULL. */
GQA_API gqa_status gqa_cache_read(const gqa_cache *cache, int32_t sequence, int32_t first,
                                  const gqa_tensor *key, const gqa_tensor *value,
                                  int32_t *positions, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
