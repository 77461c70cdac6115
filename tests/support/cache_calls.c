/* SPDX-License-Identifier: Apache-2.0 */
/* cache_calls.c - see cache_calls.h. */
#include "support/cache_calls.h"

#include "gqa/model_cache.h"

enum { T = CACHE_CALLS_TOKENS };

const char *const cache_calls[] = {
    "gqa_cache_options_retain", "gqa_cache_first",
    "gqa_cache_size",           "gqa_cache_create",
    "gqa_cache_destroy",        "gqa_cache_length",
    "gqa_cache_free_pages",     "gqa_cache_truncate",
    "gqa_cache_fork",           "gqa_cache_keep",
    "gqa_cache_save_size",      "gqa_cache_save",
    "gqa_cache_load",           "gqa_cache_copy",
    "gqa_cache_append",         "gqa_cache_read",
    "gqa_cache_room",           "gqa_model_cache_options_init_sized",
    "gqa_model_cache_size",     "gqa_model_cache_create",
    "gqa_model_cache_destroy",  "gqa_model_cache_layer",
    "gqa_model_cache_length",   "gqa_model_cache_room",
    "gqa_model_cache_truncate", "gqa_model_cache_fork",
    "gqa_model_cache_keep",     "gqa_model_cache_save_size",
    "gqa_model_cache_save",     "gqa_model_cache_load",
    "gqa_model_cache_copy",
};
const int cache_call_count = sizeof cache_calls / sizeof cache_calls[0];

struct scene {
    const struct cache_calls_input *input;
    gqa_cache *cache;
    gqa_dtype other; /* what a second cache stores: BF16, or, for F32, the default */
    void *(*room)(size_t size);
    void (*done)(gqa_status status);
};

/* Keys and values of the first T tokens of sequence 0, in a format. */
static void read_all(const struct scene *scene, gqa_dtype format)
{
    const struct cache_calls_input *const in = scene->input;
    const size_t k_size = (size_t)(in->kv_heads * T * in->head_dim) * 4;
    const size_t v_size = (size_t)(in->kv_heads * T * in->v_head_dim) * 4;
    const gqa_tensor k = gqa_tensor_3d(scene->room(k_size), format, in->kv_heads, T, in->head_dim);
    const gqa_tensor v =
        gqa_tensor_3d(scene->room(v_size), format, in->kv_heads, T, in->v_head_dim);
    scene->done(gqa_cache_read(scene->cache, 0, 0, &k, &v, scene->room(T * sizeof(int32_t)), NULL));
}

/* Sequence 1 to bytes, and from them to a cache that stores the other type, if there is one. */
static void save_and_load(const struct scene *scene)
{
    gqa_cache_options options;
    gqa_cache *other = NULL;
    size_t size = 0;

    scene->done(gqa_cache_save_size(scene->cache, 1, &size, NULL));
    void *const bytes = scene->room(size);
    scene->done(gqa_cache_save(scene->cache, 1, bytes, size, NULL));
    gqa_cache_options_init(&options, scene->input->layer);
    options.max_tokens = 16;
    options.page_size = 16;
    if (scene->other == GQA_BF16) {
        options.dtype_k = options.dtype_v = GQA_BF16;
    }
    scene->done(gqa_cache_create(&other, scene->input->layer, &options, NULL));
    scene->done(gqa_cache_load(other, 0, bytes, size, 1, NULL));
    scene->done(gqa_cache_save_size(other, 0, &size, NULL));
    scene->done(gqa_cache_save(other, 0, scene->room(size), size, NULL));
    scene->done(gqa_cache_truncate(other, 0, 0, NULL));
    scene->done(gqa_cache_copy(other, 0, scene->cache, 1, 1, NULL));
    scene->done(gqa_cache_save(other, 0, scene->room(size), size, NULL));
    gqa_cache_destroy(&other);
}

static void run_sequences(const struct scene *scene)
{
    static const int32_t positions[T] = {3, 40, 40000}, kept[2] = {0, 2};
    const struct cache_calls_input *const in = scene->input;
    const gqa_tensor k = gqa_tensor_3d(in->k, GQA_F16, T, in->kv_heads, in->head_dim);
    const gqa_tensor v = gqa_tensor_3d(in->v, GQA_F32, T, in->kv_heads, in->v_head_dim);
    int64_t *const counts = scene->room(2 * sizeof *counts);
    gqa_cache *const cache = scene->cache;

    scene->done(gqa_cache_append(cache, 0, &k, &v, positions, NULL));
    read_all(scene, GQA_F32);
    read_all(scene, GQA_BF16);
    read_all(scene, GQA_F16);
    scene->done(gqa_cache_fork(cache, 0, 1, NULL));
    scene->done(gqa_cache_append(cache, 1, &k, &v, NULL, NULL));
    scene->done(gqa_cache_truncate(cache, 0, 1, NULL));
    scene->done(gqa_cache_keep(cache, 1, T, kept, 2, NULL));
    save_and_load(scene);
    counts[0] = gqa_cache_length(cache, 0) + gqa_cache_first(cache, 0);
    counts[1] = gqa_cache_free_pages(cache);
}

/* A model of two layers, the second of which borrows: the first T tokens through everything. */
static void run_model(const struct cache_calls_input *in, void *(*room)(size_t size),
                      void (*done)(gqa_status status))
{
    static const int32_t borrows[2] = {-1, 0}, ids[1] = {1}, more[1] = {2}, kept[1] = {0};
    const gqa_layer *const layers[2] = {in->layer, in->layer};
    const gqa_tensor k = gqa_tensor_3d(in->k, GQA_F16, T, in->kv_heads, in->head_dim);
    const gqa_tensor v = gqa_tensor_3d(in->v, GQA_F32, T, in->kv_heads, in->v_head_dim);
    gqa_model_cache_options options;
    gqa_model_cache *model = NULL;
    size_t size = 0;

    gqa_model_cache_options_init(&options);
    options.num_layers = 2;
    options.max_sequences = 4;
    options.max_tokens = 16;
    options.layers = layers;
    options.borrows = borrows;
    done(gqa_model_cache_size(&options, room(2 * sizeof(size_t)), &size, NULL));
    done(gqa_model_cache_create(&model, &options, NULL));
    done(gqa_cache_append(gqa_model_cache_layer(model, 1), 0, &k, &v, NULL, NULL));
    done(gqa_model_cache_fork(model, 0, 1, NULL));
    done(gqa_model_cache_keep(model, 1, T, kept, 1, NULL));
    done(gqa_model_cache_truncate(model, 0, 2, NULL));
    done(gqa_model_cache_length(model, 0, room(sizeof(int32_t)), NULL));
    done(gqa_model_cache_room(model, ids, more, 1, NULL));
    done(gqa_cache_room(gqa_model_cache_layer(model, 0), ids, more, 1, NULL));
    done(gqa_model_cache_save_size(model, 0, &size, NULL));
    void *const bytes = room(size);
    done(gqa_model_cache_save(model, 0, bytes, size, NULL));
    done(gqa_model_cache_load(model, 2, bytes, size, 0, NULL));
    done(gqa_model_cache_copy(model, 3, model, 2, 0, NULL));
    done(gqa_model_cache_save(model, 3, room(size), size, NULL));
    gqa_model_cache_destroy(&model);
}

void cache_calls_run(const struct cache_calls_input *input, void *(*room)(size_t size),
                     void (*done)(gqa_status status))
{
    for (int i = 0; i < 2; i++) { /* pages of f32, where the numerics have them, and of bf16 */
        struct scene scene = {input, NULL, i == 0 ? GQA_BF16 : GQA_F32, room, done};
        gqa_cache_options options;
        gqa_cache_options_init(&options, input->layer);
        options.max_sequences = 2;
        options.max_tokens = 16;
        gqa_cache_options_retain(&options, input->layer);
        options.dtype_k = i == 0 ? options.dtype_k : GQA_BF16;
        options.dtype_v = options.dtype_k;
        done(gqa_cache_size(input->layer, &options, room(sizeof(size_t)), NULL));
        done(gqa_cache_create(&scene.cache, input->layer, &options, NULL));
        run_sequences(&scene);
        gqa_cache_destroy(&scene.cache);
    }
    run_model(input, room, done);
}
