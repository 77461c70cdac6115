/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/model_cache.h - the caches of a model's layers as one object.
 *
 * Each layer has a cache of its own, full or a ring, or reads that of an earlier layer. They lie in
 * one block of memory. gqa_model_cache_layer gives the gqa_cache that goes into a layer's calls;
 * sequences are said once for all layers: what is done to one is done in every layer, or, if one of
 * them refuses, in none. What each function does in a layer is what the one of gqa/cache.h without
 * `model_` does; the same arguments are refused, with the same field, and the message says in which
 * layer.
 *
 * During a step, when some layers have appended and others have not, sequences have two lengths.
 * gqa_model_cache_truncate to the length before it takes the step back in all layers. The other
 * functions want one length (GQA_ERR_ARG).
 *
 * Threads: as gqa/cache.h says of one cache, of all of them together: what changes a sequence here
 * changes every layer's cache. Calls of different layers' caches know nothing of one another.
 */
#ifndef GQA_MODEL_CACHE_H
#define GQA_MODEL_CACHE_H

#include "gqa/cache.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gqa_model_cache gqa_model_cache;

typedef struct gqa_model_cache_options {
    uint32_t struct_size;
    int32_t num_layers;    /* required, > 0 */
    int32_t max_sequences; /* in every layer; 0 = 1 */
    int32_t max_tokens;    /* per sequence, in every layer; required, 1 .. 2147483391 */
    int32_t call_tokens;   /* gqa_cache_options.call_tokens in every layer */
    /* [num_layers] The layers. Borrowed for the call; none is kept, but their runtimes' allocator
     * as in gqa_cache_create. */
    const gqa_layer *const *layers;
    /* [num_layers] How each layer's cache is made, or NULL; of each max_sequences, max_tokens,
     * call_tokens, memory and memory_size are not looked at. NULL, or NULL for a layer: by
     * gqa_cache_options_init and gqa_cache_options_retain, so that layers with a window or chunks
     * have rings. Must be NULL for a layer that borrows. */
    const gqa_cache_options *const *caches;
    /* [num_layers] The earlier layer whose cache a layer reads, or -1 = a cache of its own. That
     * layer may borrow too. NULL = all have their own. */
    const int32_t *borrows;
    /* The caller's memory: at least gqa_model_cache_size bytes, aligned to 64, with any content,
     * lent until the object is destroyed. NULL and 0 = from the first layer's runtime. */
    void *memory;
    size_t memory_size;
} gqa_model_cache_options;

/* All zero but struct_size. */
GQA_API void gqa_model_cache_options_init_sized(gqa_model_cache_options *options, size_t size);

static inline void gqa_model_cache_options_init(gqa_model_cache_options *options)
{
    gqa_model_cache_options_init_sized(options, sizeof *options);
}

/* Bytes before anything is allocated. *size: of all; layers [num_layers] or NULL: of each layer's
 * cache, 0 where it borrows. The rest is the object itself, a few hundred bytes per layer. */
GQA_API gqa_status gqa_model_cache_size(const gqa_model_cache_options *options, size_t *layers,
                                        size_t *size, gqa_error *err);

/* Errors as in gqa_cache_create, and GQA_ERR_ARG where a layer cannot use the cache that it
 * borrows. One block is allocated, from the runtime of layers[0], unless options.memory is given.
 */
GQA_API gqa_status gqa_model_cache_create(gqa_model_cache **out,
                                          const gqa_model_cache_options *options, gqa_error *err);

/* NULL-safe (also *model == NULL); sets *model to NULL. */
GQA_API void gqa_model_cache_destroy(gqa_model_cache **model);

/* The cache of a layer, or that which it borrows: for calls of this layer, gqa_cache_read and the
 * like. It belongs to the object: never destroy it. NULL for a bad index or model NULL. */
GQA_API gqa_cache *gqa_model_cache_layer(const gqa_model_cache *model, int32_t layer);

/* *length: tokens of the sequence, which all layers agree on; GQA_ERR_ARG, field "sequence", names
 * two that do not. */
GQA_API gqa_status gqa_model_cache_length(const gqa_model_cache *model, int32_t sequence,
                                          int32_t *length, gqa_error *err);

/* Would n[i] more tokens of each sequence sequences[i] [count] find room in every layer? Each is
 * asked as it is: the layers' lengths need not agree. */
GQA_API gqa_status gqa_model_cache_room(gqa_model_cache *model, const int32_t *sequences,
                                        const int32_t *n, int32_t count, gqa_error *err);

/* Length 0 frees the sequence. The layers' lengths need not agree. */
GQA_API gqa_status gqa_model_cache_truncate(gqa_model_cache *model, int32_t sequence,
                                            int32_t length, gqa_error *err);
GQA_API gqa_status gqa_model_cache_fork(gqa_model_cache *model, int32_t from, int32_t to,
                                        gqa_error *err);
GQA_API gqa_status gqa_model_cache_keep(gqa_model_cache *model, int32_t sequence, int32_t last,
                                        const int32_t *kept, int32_t n, gqa_error *err);

/* A sequence in all layers as bytes (docs/cache.md has the format). A model with as many caches may
 * load them, if each takes its part (gqa_cache_load). */
GQA_API gqa_status gqa_model_cache_save_size(const gqa_model_cache *model, int32_t sequence,
                                             size_t *size, gqa_error *err);
GQA_API gqa_status gqa_model_cache_save(const gqa_model_cache *model, int32_t sequence, void *bytes,
                                        size_t size, gqa_error *err);
GQA_API gqa_status gqa_model_cache_load(gqa_model_cache *model, int32_t sequence, const void *bytes,
                                        size_t size, int32_t convert, gqa_error *err);
/* `to` and `from` have as many caches; they may be one object. */
GQA_API gqa_status gqa_model_cache_copy(gqa_model_cache *to, int32_t to_sequence,
                                        const gqa_model_cache *from, int32_t from_sequence,
                                        int32_t convert, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
