/* SPDX-License-Identifier: Apache-2.0 */
/* model_sequences.c - a sequence changed in all caches of a model: each is asked first, and only if
 * none refuses is anything changed. */
#include "api/cache_checks.h"
#include "api/model_cache.h"
#include "base/error.h"
#include "base/fpmode.h"

static gqa_status no_model(const char *field, gqa_error *err)
{
    return gqa__fail(err, GQA_ERR_ARG, field, "is NULL");
}

gqa_status gqa_model_cache_room(gqa_model_cache *model, const int32_t *sequences, const int32_t *n,
                                int32_t count, gqa_error *err)
{
    gqa_status status = model == NULL ? no_model("model", err) : GQA_OK;
    for (int32_t i = 0; status == GQA_OK && i < model->owners; i++) {
        status = gqa__check_room(model->cache[i], sequences, n, count, err);
        status = gqa__model_in_layer(model, i, status, err);
    }
    return status;
}

gqa_status gqa_model_cache_truncate(gqa_model_cache *model, int32_t sequence, int32_t length,
                                    gqa_error *err)
{
    gqa_status status = model == NULL ? no_model("model", err) : GQA_OK;
    for (int32_t i = 0; status == GQA_OK && i < model->owners; i++) {
        status = gqa__check_truncate(model->cache[i], sequence, length, err);
        status = gqa__model_in_layer(model, i, status, err);
    }
    for (int32_t i = 0; status == GQA_OK && i < model->owners; i++) {
        gqa__cache_cut(model->cache[i], sequence, length, -1);
    }
    return status;
}

gqa_status gqa_model_cache_fork(gqa_model_cache *model, int32_t from, int32_t to, gqa_error *err)
{
    gqa_status status = gqa__model_agrees(model, "from", from, err);
    for (int32_t i = 0; status == GQA_OK && i < model->owners; i++) {
        status = gqa__check_fork(model->cache[i], from, to, err);
        status = gqa__model_in_layer(model, i, status, err);
    }
    for (int32_t i = 0; status == GQA_OK && i < model->owners; i++) {
        gqa__cache_fork(model->cache[i], from, to);
    }
    return status;
}

gqa_status gqa_model_cache_keep(gqa_model_cache *model, int32_t sequence, int32_t last,
                                const int32_t *kept, int32_t n, gqa_error *err)
{
    gqa_status status = gqa__model_agrees(model, "sequence", sequence, err);
    for (int32_t i = 0; status == GQA_OK && i < model->owners; i++) {
        status = gqa__check_keep(model->cache[i], sequence, last, kept, n, err);
        status = gqa__model_in_layer(model, i, status, err);
    }
    for (int32_t i = 0; status == GQA_OK && i < model->owners; i++) {
        const int32_t length = model->cache[i]->sequences[sequence].length;
        gqa__cache_keep(model->cache[i], sequence, length - last, kept, n);
    }
    return status;
}

gqa_status gqa_model_cache_copy(gqa_model_cache *to, int32_t to_sequence,
                                const gqa_model_cache *from, int32_t from_sequence, int32_t convert,
                                gqa_error *err)
{
    gqa_status status = to == NULL     ? no_model("to", err)
                        : from == NULL ? no_model("from", err)
                                       : GQA_OK;
    if (status == GQA_OK && to->owners != from->owners) {
        status = gqa__fail(err, GQA_ERR_ARG, "from", "has %d caches; the model that it goes to %d",
                           (int)from->owners, (int)to->owners);
    }
    if (status == GQA_OK) {
        status = gqa__model_agrees(from, "from_sequence", from_sequence, err);
    }
    for (int32_t i = 0; status == GQA_OK && i < to->owners; i++) {
        status =
            gqa__check_copy(to->cache[i], to_sequence, from->cache[i], from_sequence, convert, err);
        status = gqa__model_in_layer(to, i, status, err);
    }
    if (status != GQA_OK) {
        return status;
    }
    const gqa__fpmode mode = gqa__fpmode_enter();
    for (int32_t i = 0; i < to->owners; i++) {
        gqa__cache_copy(to->cache[i], to_sequence, from->cache[i], from_sequence);
    }
    gqa__fpmode_leave(mode);
    return GQA_OK;
}
