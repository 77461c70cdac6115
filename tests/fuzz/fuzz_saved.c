/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_saved.c - bytes that gqa_cache_load gets: a saved sequence with some of them changed, or cut
 * short, with its checksum made right again or not, or bytes of any kind. They are refused, and the
 * cache is as it was, or they give a sequence that is saved and loaded again without a change. */
#include <string.h>

#include "scene.h"

enum { TOKENS = 100, HEADER = 64, CHECKSUM = 56 };

struct saved {
    unsigned char *bytes; /* a heap block of just `size` */
    size_t size;
};

struct model {
    struct scene scene;
    gqa_layer *layer;
    gqa_cache *from, *to; /* caches of two sequences, of their own page sizes and storage types */
};

static gqa_cache *open_cache(struct model *m)
{
    static const int32_t page_sizes[] = {16, 32, 128}, tokens[] = {TOKENS, 17, 1};
    static const gqa_dtype types[] = {GQA_BF16, GQA_I8, GQA_E4M3, GQA_E4M3_240, GQA_I4};
    gqa_cache_options options;
    gqa_cache *cache = NULL;

    gqa_cache_options_init(&options, m->layer);
    options.max_sequences = 2;
    options.max_tokens = TAKE_OF(&m->scene.in, tokens);
    options.page_size = TAKE_OF(&m->scene.in, page_sizes);
    options.num_pages = take_rarely(&m->scene.in, 4) ? 1 : 0;
    if (take_rarely(&m->scene.in, 2)) {
        options.dtype_k = TAKE_OF(&m->scene.in, types);
        options.rotate_k = options.dtype_k != GQA_BF16 && take_rarely(&m->scene.in, 2);
    }
    if (take_rarely(&m->scene.in, 2)) {
        options.dtype_v = TAKE_OF(&m->scene.in, types);
        options.rotate_v = options.dtype_v != GQA_BF16 && take_rarely(&m->scene.in, 2);
    }
    FUZZ_CHECK(gqa_cache_create(&cache, m->layer, &options, NULL) == GQA_OK);
    return cache;
}

static bool open_model(struct model *m, const uint8_t *data, size_t size)
{
    struct scene *const scene = &m->scene;

    scene_open(scene, data, size);
    scene_config(scene, true);
    if (!scene_weights(scene) ||
        gqa_create(&m->layer, &scene->config, &scene->weights, NULL, NULL) != GQA_OK) {
        return false;
    }
    m->from = open_cache(m);
    m->to = open_cache(m);
    return true;
}

/* Tokens for sequence 0, in pieces, at rising positions. */
static void fill(struct model *m)
{
    struct scene *const scene = &m->scene;
    const gqa_config *const config = &scene->config;
    const int32_t dk = config->head_dim != 0 ? config->head_dim
                                             : config->hidden_size / config->num_attention_heads;
    const int32_t dv = config->v_head_dim != 0 ? config->v_head_dim : dk;

    for (int32_t pieces = take_below(&scene->in, 4); pieces > 0; pieces--) {
        const int32_t n = take_below(&scene->in, 20);
        const int64_t k_shape[] = {n, config->num_key_value_heads, dk};
        const int64_t v_shape[] = {n, config->num_key_value_heads, dv};
        const gqa_tensor k = scene_tensor(scene, scene_float(scene), 3, k_shape);
        const gqa_tensor v = scene_tensor(scene, scene_float(scene), 3, v_shape);
        (void)gqa_cache_append(m->from, 0, &k, &v, NULL, NULL);
    }
}

static struct saved new_saved(size_t size)
{
    const struct saved saved = {malloc(size > 0 ? size : 1), size};
    FUZZ_CHECK(saved.bytes != NULL);
    return saved;
}

static struct saved save(const gqa_cache *cache, int32_t sequence)
{
    size_t size = 0;
    FUZZ_CHECK(gqa_cache_save_size(cache, sequence, &size, NULL) == GQA_OK);
    const struct saved saved = new_saved(size);
    FUZZ_CHECK(gqa_cache_save(cache, sequence, saved.bytes, size, NULL) == GQA_OK);
    return saved;
}

/* As docs/cache.md has it, over whole words. */
static void mend_checksum(const struct saved *saved)
{
    uint64_t h = 0, word;
    for (size_t at = 0; at + 8 <= saved->size; at += 8) {
        memcpy(&word, saved->bytes + at, sizeof word);
        h = (h ^ (at == CHECKSUM ? 0 : word)) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    if (saved->size >= HEADER) {
        memcpy(saved->bytes + CHECKSUM, &h, sizeof h);
    }
}

/* Some bytes of it, the header's more often than others, or its size. */
static struct saved change(struct model *m, struct saved saved)
{
    struct bytes *const in = &m->scene.in;
    if (take_rarely(in, 4)) {
        const size_t size = (size_t)take_below(in, 65536) % (saved.size + 20);
        const struct saved other = new_saved(size);
        memset(other.bytes, 0, size);
        memcpy(other.bytes, saved.bytes, size < saved.size ? size : saved.size);
        free(saved.bytes);
        saved = other;
    }
    for (int32_t edits = take_below(in, 6); edits > 0 && saved.size > 0; edits--) {
        const size_t within = take_rarely(in, 2) || saved.size < HEADER ? saved.size : HEADER;
        const size_t at = (size_t)take_below(in, 65536) % within;
        saved.bytes[at] ^= take_byte(in);
    }
    if (take_rarely(in, 2)) {
        mend_checksum(&saved);
    }
    return saved;
}

/* What is left of the input. */
static struct saved any_bytes(struct model *m)
{
    const struct saved saved = new_saved(m->scene.in.left);
    memcpy(saved.bytes, m->scene.in.at, saved.size);
    m->scene.in.left = 0;
    return saved;
}

/* What was loaded, saved and loaded again, and saved once more. */
static void load_again(struct model *m)
{
    const struct saved first = save(m->to, 0);
    const gqa_status status = gqa_cache_load(m->to, 1, first.bytes, first.size, 0, NULL);
    FUZZ_CHECK(status == GQA_OK || status == GQA_ERR_CACHE_FULL);
    if (status == GQA_OK) {
        const struct saved second = save(m->to, 1);
        FUZZ_CHECK(second.size == first.size);
        FUZZ_CHECK(memcmp(first.bytes, second.bytes, first.size) == 0);
        free(second.bytes);
    }
    free(first.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model m; /* large */

    memset(&m, 0, sizeof m);
    if (open_model(&m, data, size)) {
        const int64_t pages = gqa_cache_free_pages(m.to);
        const bool convert = take_rarely(&m.scene.in, 2);
        fill(&m);
        const struct saved saved =
            take_rarely(&m.scene.in, 8) ? any_bytes(&m) : change(&m, save(m.from, 0));
        if (gqa_cache_load(m.to, 0, saved.bytes, saved.size, convert, NULL) == GQA_OK) {
            load_again(&m);
        } else {
            FUZZ_CHECK(gqa_cache_length(m.to, 0) == 0 && gqa_cache_free_pages(m.to) == pages);
        }
        free(saved.bytes);
    }
    gqa_cache_destroy(&m.from);
    gqa_cache_destroy(&m.to);
    gqa_destroy(&m.layer);
    scene_close(&m.scene);
    return 0;
}
