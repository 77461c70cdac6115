/* SPDX-License-Identifier: Apache-2.0 */
/* play.c - layers and caches of both worlds, and how they are compared; see play.h. */
#include "play.h"

#include <string.h>

/* --- layers ------------------------------------------------------------------------------------
 */

/* The first layer: what create says must be what check said, and failures leave nothing behind. */
static bool open_first(struct play *play, bool complete)
{
    struct scene *const scene = &play->scene;
    struct world *const world = &play->world[0];
    gqa_error err = {GQA_OK, NULL, ""}, why = {GQA_OK, NULL, ""};
    const gqa_status checked = gqa_config_check(&scene->config, &why);
    gqa_runtime runtime;
    gqa_status status;

    host_runtime(&world->host, &runtime, 1);
    host_plan(&world->host, &scene->in, 24);
    status = gqa_create(&world->layer, &scene->config, &scene->weights, &runtime, &err);
    if (status == GQA_OK) {
        FUZZ_CHECK(world->layer != NULL && checked == GQA_OK);
        return complete;
    }
    FUZZ_CHECK(world->layer == NULL && world->host.live == 0);
    FUZZ_CHECK(err.status == status && err.message[0] != '\0');
    FUZZ_CHECK(status != GQA_ERR_NOMEM || world->host.refused || world->host.bent);
    if (checked != GQA_OK) {
        FUZZ_CHECK(status == checked && strcmp(err.field, why.field) == 0);
    } else if (complete && !scene->hostile && !scene->wild && !world->host.bent &&
               !world->host.refused) {
        FUZZ_CHECK(status == GQA_ERR_UNSUPPORTED); /* weights in place that cannot be */
    }
    return false;
}

/* The second one. */
static void open_twin(struct play *play)
{
    struct scene *const scene = &play->scene;
    struct world *const world = &play->world[1];
    gqa_config config = scene->config;
    gqa_weights weights = scene->weights;
    gqa_runtime runtime;
    gqa_error err;

    config.isa = (gqa_isa)take_below(&scene->in, 6);
    weights.in_place = take_rarely(&scene->in, 2) && config.hidden_size > 0 ? 1 : 0;
    host_runtime(&world->host, &runtime, take_rarely(&scene->in, 2) ? 3 : 1);
    play->twin = gqa_create(&world->layer, &config, &weights, &runtime, &err) == GQA_OK;
    if (!play->twin) { /* no such kernel set, or not in place */
        FUZZ_CHECK(config.isa != GQA_ISA_AUTO || weights.in_place != scene->weights.in_place);
        config.isa = scene->config.isa;
        weights.in_place = scene->weights.in_place;
        play->twin = gqa_create(&world->layer, &config, &weights, &runtime, &err) == GQA_OK;
    }
    FUZZ_CHECK(play->twin);
    play->same_bits = config.backend != GQA_BACKEND_REFERENCE;
}

/* --- caches ------------------------------------------------------------------------------------
 */

static void draw_options(struct play *play, gqa_cache_options *options)
{
    static const int32_t page_sizes[] = {16, 32, 64, 128, 0}, tokens[] = {48, 300, 17, 1, 600};
    struct bytes *const in = &play->scene.in;

    options->max_sequences = take_below(in, 3) + 1;
    options->max_tokens = TAKE_OF(in, tokens);
    options->page_size = TAKE_OF(in, page_sizes);
    options->num_pages = take_rarely(in, 4) ? take_below(in, 6) + 1 : 0;
    if (take_rarely(in, 3)) {
        options->dtype_k = GQA_BF16;
        options->dtype_v = GQA_BF16;
    } else if (take_rarely(in, 3)) {
        static const gqa_dtype types[] = {GQA_I8, GQA_I4, GQA_E4M3};
        options->dtype_k = TAKE_OF(in, types);
        options->dtype_v = TAKE_OF(in, types);
        options->rotate_k = take_below(in, 2);
        options->rotate_v = take_below(in, 2);
    }
    if (play->scene.hostile && take_rarely(in, 4)) {
        options->max_sequences = take_rarely(in, 2) ? take_odd_int(in) : options->max_sequences;
        options->max_tokens = take_rarely(in, 2) ? take_odd_int(in) : options->max_tokens;
        options->page_size = take_rarely(in, 4) ? take_odd_int(in) : options->page_size;
        options->num_pages = take_rarely(in, 2) ? take_odd_long(in) : options->num_pages;
        options->dtype_k = take_rarely(in, 4) ? (gqa_dtype)take_below(in, 9) : options->dtype_k;
        options->rotate_k = take_rarely(in, 4) ? take_odd_int(in) : options->rotate_k;
    }
}

static void open_caches(struct play *play)
{
    struct world *const first = &play->world[0], *const second = &play->world[1];
    gqa_cache_options options;
    gqa_error err;
    const int32_t live = first->host.live;
    gqa_status status;

    gqa_cache_options_init(&options, first->layer);
    draw_options(play, &options);
    host_plan(&first->host, &play->scene.in, 6);
    status = gqa_cache_create(&first->cache, first->layer, &options, &err);
    if (status != GQA_OK) {
        FUZZ_CHECK(first->cache == NULL && first->host.live == live);
        FUZZ_CHECK(status != GQA_ERR_NOMEM || first->host.refused || first->host.bent);
        return;
    }
    if (play->twin) {
        const bool free_choice = options.num_pages == 0 && take_rarely(&play->scene.in, 2);
        options.page_size = free_choice ? 16 : options.page_size;
        status = gqa_cache_create(&second->cache, second->layer, &options, &err);
        FUZZ_CHECK(status == GQA_OK || (status == GQA_ERR_NOMEM && second->host.refused));
        if (status != GQA_OK) {
            gqa_cache_destroy(&first->cache);
            return;
        }
    }
    play->sequences = options.max_sequences > 0 ? options.max_sequences : 1;
    if (play->sequences > 4) { /* the hash reads them all */
        gqa_cache_destroy(&first->cache);
        gqa_cache_destroy(&second->cache);
        play->sequences = 0;
    }
}

bool play_open(struct play *play, const uint8_t *data, size_t size, bool attention)
{
    struct scene *const scene = &play->scene;
    const gqa_config *const g = &scene->config;
    bool complete;

    memset(play, 0, sizeof *play);
    scene_open(scene, data, size);
    scene_config(scene, attention);
    complete = scene_weights(scene);
    if (!open_first(play, complete)) {
        return false;
    }
    play->hq = g->num_attention_heads;
    play->hkv = g->num_key_value_heads;
    play->hidden = g->hidden_size;
    play->dk = g->head_dim != 0 ? g->head_dim : g->hidden_size / play->hq;
    play->dv = g->v_head_dim != 0 ? g->v_head_dim : play->dk;
    play->world[0].host.refuse = play->world[0].host.crooked = 0;
    if (!take_rarely(&scene->in, 4)) {
        open_twin(play);
    }
    if (!take_rarely(&scene->in, 6)) {
        open_caches(play);
    }
    play->world[0].host.refuse = play->world[0].host.crooked = 0; /* until the next plan */
    return true;
}

void play_close(struct play *play)
{
    for (int i = 0; i < 2; i++) {
        gqa_cache_destroy(&play->world[i].cache);
        gqa_destroy(&play->world[i].layer);
        FUZZ_CHECK(play->world[i].host.live == 0);
    }
    scene_close(&play->scene);
}

/* --- agreement ---------------------------------------------------------------------------------
 */

static uint64_t hash_of(const struct play *play, int world, bool pages)
{
    const gqa_cache *const cache = play->world[world].cache;

    return cache != NULL ? cache_hash(cache, &play->scene.config, play->sequences, pages) : 0;
}

struct before play_before(struct play *play)
{
    return (struct before){{hash_of(play, 0, true), hash_of(play, 1, true)}};
}

bool play_goes_on(struct play *play, const struct before *before, gqa_status world0)
{
    const struct host *const host = &play->world[0].host;
    const bool disturbed = host->refused || host->bent;

    if (world0 != GQA_OK) {
        FUZZ_CHECK(hash_of(play, 0, true) == before->hash[0]);
        FUZZ_CHECK(world0 != GQA_ERR_NOMEM || disturbed);
    }
    return play->twin && (world0 == GQA_OK || !disturbed);
}

void play_agree(struct play *play, const struct before *before, gqa_status a, gqa_status b,
                const gqa_error *err_a, const gqa_error *err_b)
{
    if (a != b) {
        fprintf(stderr, "world 0: %s\nworld 1: %s\n", a != GQA_OK ? err_a->message : "fine",
                b != GQA_OK ? err_b->message : "fine");
    }
    FUZZ_CHECK(a == b || (b == GQA_ERR_NOMEM && play->world[1].host.refused));
    if (b != GQA_OK) {
        FUZZ_CHECK(hash_of(play, 1, true) == before->hash[1]);
        FUZZ_CHECK(a == GQA_OK || strcmp(err_a->field, err_b->field) == 0);
    } else if (play->same_bits) {
        FUZZ_CHECK(hash_of(play, 0, false) == hash_of(play, 1, false));
        FUZZ_CHECK(scene_twins_agree(&play->scene));
    }
}
