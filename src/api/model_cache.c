/* SPDX-License-Identifier: Apache-2.0 */
/* model_cache.c - the caches of a model's layers in one block: checked, counted, made. */
#include "api/model_cache.h"

#include <stdio.h>
#include <string.h>

#include "api/rules.h"
#include "api/sequences.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/import.h"
#include "base/memory.h"
#include "layer/layer.h"

void gqa_model_cache_options_init_sized(gqa_model_cache_options *options, size_t size)
{
    gqa__init_struct(options, size);
}

/* The same status; the message says which layer it is about. */
static gqa_status in_layer(int32_t layer, gqa_status status, gqa_error *err)
{
    if (status != GQA_OK && err != NULL) {
        const size_t used = strlen(err->message);
        (void)snprintf(err->message + used, sizeof err->message - used, " (layer %d)", (int)layer);
    }
    return status;
}

gqa_status gqa__model_in_layer(const gqa_model_cache *model, int32_t owner, gqa_status status,
                               gqa_error *err)
{
    return in_layer(model->layer_of[owner], status, err);
}

static bool borrows(const gqa_model_cache_options *options, int32_t layer)
{
    return options->borrows != NULL && options->borrows[layer] >= 0;
}

static gqa_status check_model_layer(const gqa_model_cache_options *options, int32_t i,
                                    gqa_error *err)
{
    const int32_t lender = options->borrows != NULL ? options->borrows[i] : -1;

    if (options->layers[i] == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "options.layers", "[%d] is NULL", (int)i);
    }
    if (lender < -1 || lender >= i) {
        return gqa__fail(err, GQA_ERR_ARG, "options.borrows",
                         "[%d] is %d; it must be an earlier layer, 0 .. %d, or -1 for none", (int)i,
                         (int)lender, (int)i - 1);
    }
    if (lender >= 0 && options->caches != NULL && options->caches[i] != NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "options.caches",
                         "[%d] must be NULL: the layer borrows the cache of layer %d", (int)i,
                         (int)lender);
    }
    return GQA_OK;
}

static gqa_status import_options(const gqa_model_cache_options *in, gqa_model_cache_options *out,
                                 gqa_error *err)
{
    gqa_status status = in == NULL ? gqa__fail(err, GQA_ERR_ARG, "options", "is NULL")
                                   : gqa__import(out, sizeof *out, in, "options", err);
    if (status != GQA_OK) {
        return status;
    }
    if (out->num_layers < 1) {
        return gqa__fail(err, GQA_ERR_ARG, "options.num_layers", "is %d; it must be at least 1",
                         (int)out->num_layers);
    }
    if (out->layers == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "options.layers", "is NULL");
    }
    for (int32_t i = 0; i < out->num_layers && status == GQA_OK; i++) {
        status = check_model_layer(out, i, err);
    }
    return status;
}

/* The options of a layer's own cache. */
static gqa_status layer_options(const gqa_model_cache_options *options, int32_t i,
                                gqa_cache_options *own, gqa_error *err)
{
    const gqa_cache_options *const given = options->caches != NULL ? options->caches[i] : NULL;

    gqa_cache_options_init(own, options->layers[i]);
    gqa_cache_options_retain(own, options->layers[i]);
    if (given != NULL) {
        const gqa_status status = gqa__import(own, sizeof *own, given, "options.caches", err);
        if (status != GQA_OK) {
            return status;
        }
    }
    own->struct_size = sizeof *own;
    own->max_sequences = options->max_sequences;
    own->max_tokens = options->max_tokens;
    own->call_tokens = options->call_tokens;
    own->memory = NULL;
    own->memory_size = 0;
    return GQA_OK;
}

/* Bytes of a layer's own cache; 0 if it borrows. */
static gqa_status layer_size(const gqa_model_cache_options *options, int32_t i, size_t *size,
                             gqa_error *err)
{
    gqa_cache_options own;
    gqa_status status;

    *size = 0;
    if (borrows(options, i)) {
        return GQA_OK;
    }
    status = layer_options(options, i, &own, err);
    if (status == GQA_OK) {
        status = gqa_cache_size(options->layers[i], &own, size, err);
    }
    return in_layer(i, status, err);
}

/* The object without its caches, the struct first; NULL in counting mode. */
static gqa_model_cache *carve_model(struct gqa__arena *arena,
                                    const gqa_model_cache_options *options)
{
    gqa_model_cache own = {.layers = options->num_layers};
    for (int32_t i = 0; i < own.layers; i++) {
        own.owners += borrows(options, i) ? 0 : 1;
    }
    gqa_model_cache *const model = gqa__arena_take(arena, 1, sizeof *model);
    own.cache = gqa__arena_take(arena, own.owners, sizeof(struct gqa_cache *));
    own.layer_of = gqa__arena_take(arena, own.owners, sizeof *own.layer_of);
    own.owner_of = gqa__arena_take(arena, own.layers, sizeof *own.owner_of);
    own.saved = gqa__arena_take(arena, own.owners, sizeof *own.saved);
    if (model == NULL) {
        return NULL;
    }
    *model = own;
    for (int32_t i = 0, owner = 0; i < own.layers; i++) {
        const bool lent = borrows(options, i);
        model->owner_of[i] = lent ? model->owner_of[options->borrows[i]] : owner;
        if (!lent) {
            model->layer_of[owner++] = i;
        }
    }
    return model;
}

gqa_status gqa_model_cache_size(const gqa_model_cache_options *options, size_t *layers,
                                size_t *size, gqa_error *err)
{
    gqa_model_cache_options own;
    struct gqa__arena arena;
    gqa_status status = size == NULL ? gqa__fail(err, GQA_ERR_ARG, "size", "is NULL")
                                     : import_options(options, &own, err);
    if (status != GQA_OK) {
        return status;
    }
    gqa__arena_count(&arena);
    carve_model(&arena, &own);
    for (int32_t i = 0; i < own.num_layers && status == GQA_OK; i++) {
        size_t bytes;
        status = layer_size(&own, i, &bytes, err);
        if (status == GQA_OK && layers != NULL) {
            layers[i] = bytes;
        }
        if (status == GQA_OK && !gqa__add(arena.used, bytes, &arena.used)) {
            arena.failed = true;
        }
    }
    if (status == GQA_OK && arena.failed) {
        status = gqa__fail(err, GQA_ERR_ARG, "options.num_layers",
                           "the caches of %d layers exceed the address space", (int)own.num_layers);
    }
    if (status == GQA_OK) {
        *size = arena.used;
    }
    return status;
}

/* The caller's memory, or a block of the first layer's runtime. */
static gqa_status take_model_block(const gqa_model_cache_options *options, size_t size,
                                   void **memory, gqa_error *err)
{
    *memory = options->memory;
    if (options->memory == NULL && options->memory_size != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "options.memory", "is NULL, but memory_size is %zu",
                         options->memory_size);
    }
    if ((uintptr_t)options->memory % GQA__ALIGN != 0) {
        return gqa__fail(err, GQA_ERR_ARG, "options.memory", "is %p; it must be aligned to %d",
                         options->memory, GQA__ALIGN);
    }
    if (options->memory == NULL) {
        return gqa__alloc(&options->layers[0]->runtime, size, "options.num_layers",
                          "the caches of a model", memory, err);
    }
    return size <= options->memory_size
               ? GQA_OK
               : gqa__fail(err, GQA_ERR_ARG, "options.memory_size",
                           "is %zu; these caches need %zu bytes, as gqa_model_cache_size says",
                           options->memory_size, size);
}

/* Make the caches in the memory behind the object. */
static gqa_status make_caches(gqa_model_cache *model, const gqa_model_cache_options *options,
                              struct gqa__arena *arena, gqa_error *err)
{
    gqa_status status = GQA_OK;
    for (int32_t owner = 0; owner < model->owners && status == GQA_OK; owner++) {
        const int32_t i = model->layer_of[owner];
        gqa_cache_options own;
        size_t bytes = 0;

        status = layer_options(options, i, &own, err);
        if (status == GQA_OK) {
            status = gqa_cache_size(options->layers[i], &own, &bytes, err);
        }
        if (status == GQA_OK) {
            own.memory = gqa__arena_take(arena, (int64_t)bytes, 1);
            own.memory_size = bytes;
            status = gqa_cache_create(&model->cache[owner], options->layers[i], &own, err);
        }
        status = in_layer(i, status, err);
    }
    return status;
}

/* Can each layer use the cache that it borrows? */
static gqa_status check_borrowers(const gqa_model_cache *model,
                                  const gqa_model_cache_options *options, gqa_error *err)
{
    gqa_status status = GQA_OK;
    for (int32_t i = 0; i < model->layers && status == GQA_OK; i++) {
        const struct gqa__params *const params = &options->layers[i]->params;
        const struct gqa_cache *const cache = model->cache[model->owner_of[i]];
        const struct gqa__cache_layout layout = gqa__layer_cache_layout(params);

        status = gqa__cache_matches(cache, &layout, err);
        if (status == GQA_OK) {
            status = gqa__check_retention(params, &cache->retention, "cache", err);
        }
        status = in_layer(i, status, err);
    }
    return status;
}

gqa_status gqa_model_cache_create(gqa_model_cache **out, const gqa_model_cache_options *options,
                                  gqa_error *err)
{
    gqa_model_cache_options own;
    struct gqa__arena arena;
    void *memory = NULL;
    size_t size = 0;

    if (out == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "out", "is NULL");
    }
    *out = NULL;
    gqa_status status = gqa_model_cache_size(options, NULL, &size, err);
    if (status == GQA_OK) {
        status = import_options(options, &own, err);
    }
    if (status == GQA_OK) {
        status = take_model_block(&own, size, &memory, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    gqa__arena_open(&arena, memory, size);
    gqa_model_cache *model = carve_model(&arena, &own);
    model->runtime = own.layers[0]->runtime;
    model->lent = own.memory != NULL;
    status = make_caches(model, &own, &arena, err);
    if (status == GQA_OK) {
        status = check_borrowers(model, &own, err);
    }
    if (status == GQA_OK) {
        *out = model;
    } else {
        gqa_model_cache_destroy(&model);
    }
    return status;
}

void gqa_model_cache_destroy(gqa_model_cache **model)
{
    if (model == NULL || *model == NULL) {
        return;
    }
    const gqa_runtime runtime = (*model)->runtime;
    if (!(*model)->lent) {
        gqa__release(&runtime, *model); /* the caches lie in the same block */
    }
    *model = NULL;
}

gqa_cache *gqa_model_cache_layer(const gqa_model_cache *model, int32_t layer)
{
    return model == NULL || layer < 0 || layer >= model->layers
               ? NULL
               : model->cache[model->owner_of[layer]];
}

gqa_status gqa__model_agrees(const gqa_model_cache *model, const char *field, int32_t sequence,
                             gqa_error *err)
{
    if (model == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "model", "is NULL");
    }
    const gqa_status status = gqa__check_sequence(model->cache[0], field, sequence, err);
    if (status != GQA_OK) {
        return status;
    }
    const int32_t length = model->cache[0]->sequences[sequence].length;
    for (int32_t i = 1; i < model->owners; i++) {
        const int32_t other = model->cache[i]->sequences[sequence].length;
        if (other != length) {
            return gqa__fail(err, GQA_ERR_ARG, field,
                             "%d has %d tokens in layer 0 and %d in layer %d: truncate it to one "
                             "length",
                             (int)sequence, (int)length, (int)other, (int)model->layer_of[i]);
        }
    }
    return GQA_OK;
}

gqa_status gqa_model_cache_length(const gqa_model_cache *model, int32_t sequence, int32_t *length,
                                  gqa_error *err)
{
    if (length == NULL) {
        return gqa__fail(err, GQA_ERR_ARG, "length", "is NULL");
    }
    const gqa_status status = gqa__model_agrees(model, "sequence", sequence, err);
    if (status == GQA_OK) {
        *length = model->cache[0]->sequences[sequence].length;
    }
    return status;
}
