/* SPDX-License-Identifier: Apache-2.0 */
/* test_model_cache.c - the caches of a model as one object, against caches of their own: whatever
 * is said of a sequence is done in every layer, or in none, and each layer's cache is the one that
 * the same functions of gqa/cache.h make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/fewer_cases.h"
#include "support/host.h"
#include "support/program.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/small_layer.h"

enum { LAYERS = 5, OWNERS = 4, SEQUENCES = 4, TOKENS = 150, HKV = 2, D = 8, PIECE = 30 };

/* Full; a window; a layer with a smaller one that reads its cache; chunks, stored as bf16; full. */
static const int32_t windows[LAYERS] = {0, 20, 12, 0, 0}, chunks[LAYERS] = {0, 0, 0, 32, 0};
static const int32_t borrows[LAYERS] = {-1, -1, 1, -1, -1};
static const int32_t owned[OWNERS] = {0, 1, 3, 4}; /* layers with a cache */

struct world {
    struct host host;
    gqa_layer *layer[LAYERS];
    const gqa_layer *layers[LAYERS];
    gqa_cache_options options[LAYERS];
    const gqa_cache_options *chosen[LAYERS];
    gqa_model_cache_options all;
    gqa_model_cache *model;
    void *block;
    size_t size, sizes[LAYERS];
    gqa_cache *single[OWNERS];
    void *own[OWNERS]; /* their memory */
    unsigned char *before;
    uint64_t random;
};

static int32_t draw(struct world *w, int32_t low, int32_t high)
{
    return random_between(&w->random, low, high);
}

static void *aligned(size_t size)
{
    void *const memory = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(memory);
    memset(memory, 0xa5, size);
    return memory;
}

static void open_layers(struct world *w)
{
    const gqa_runtime runtime = host_start(&w->host, 1);
    for (int i = 0; i < LAYERS; i++) {
        gqa_config config = attention_config(2 * HKV, HKV, D, D);
        config.sliding_window = windows[i];
        config.attention_chunk_size = chunks[i];
        w->layer[i] = attention_layer(&config, &runtime);
        w->layers[i] = w->layer[i];
        gqa_cache_options_init(&w->options[i], w->layer[i]);
        gqa_cache_options_retain(&w->options[i], w->layer[i]);
        w->options[i].page_size = 16 << i % 3;
        w->chosen[i] = i == 1 || borrows[i] >= 0 ? NULL : &w->options[i];
    }
    w->options[3].dtype_k = w->options[3].dtype_v = GQA_I8;
    w->options[3].rotate_k = w->options[3].rotate_v = 1;
    w->options[4].num_pages = 3 + (int64_t)w->random % 8; /* soon full */
    gqa_model_cache_options_init(&w->all);
    w->all.num_layers = LAYERS;
    w->all.max_sequences = SEQUENCES;
    w->all.max_tokens = TOKENS;
    w->all.call_tokens = PIECE;
    w->all.layers = w->layers;
    w->all.caches = w->chosen;
    w->all.borrows = borrows;
}

static void open_world(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->random = seed;
    open_layers(w);
    assert_int_equal(gqa_model_cache_size(&w->all, w->sizes, &w->size, NULL), GQA_OK);
    w->block = w->all.memory = aligned(w->size);
    w->all.memory_size = w->size;
    assert_int_equal(gqa_model_cache_create(&w->model, &w->all, NULL), GQA_OK);
    w->before = malloc(w->size);
    assert_non_null(w->before);
    for (int i = 0; i < OWNERS; i++) {
        gqa_cache_options own = w->options[owned[i]];
        own.page_size = owned[i] == 1 ? 128 : own.page_size; /* the default */
        own.max_sequences = SEQUENCES;
        own.max_tokens = TOKENS;
        own.call_tokens = PIECE;
        own.memory_size = w->sizes[owned[i]];
        own.memory = w->own[i] = aligned(own.memory_size);
        assert_int_equal(gqa_cache_create(&w->single[i], w->layer[owned[i]], &own, NULL), GQA_OK);
    }
}

static void close_world(struct world *w)
{
    gqa_model_cache_destroy(&w->model);
    for (int i = 0; i < OWNERS; i++) {
        gqa_cache_destroy(&w->single[i]);
        free(w->own[i]);
    }
    for (int i = 0; i < LAYERS; i++) {
        gqa_destroy(&w->layer[i]);
    }
    free(w->block);
    free(w->before);
    assert_int_equal(w->host.live, 0);
}

/* ---- comparing ---- */

static void compare_sequence(const gqa_cache *a, int32_t s, const gqa_cache *b, int32_t t)
{
    size_t size = 0, other = 0;
    assert_int_equal(gqa_cache_save_size(a, s, &size, NULL), GQA_OK);
    assert_int_equal(gqa_cache_save_size(b, t, &other, NULL), GQA_OK);
    assert_int_equal(size, other);
    unsigned char *const x = malloc(size), *const y = malloc(size);
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(gqa_cache_save(a, s, x, size, NULL), GQA_OK);
    assert_int_equal(gqa_cache_save(b, t, y, size, NULL), GQA_OK);
    assert_memory_equal(x, y, size);
    free(x);
    free(y);
}

static void compare(const struct world *w)
{
    for (int i = 0; i < OWNERS; i++) {
        const gqa_cache *const cache = gqa_model_cache_layer(w->model, owned[i]);
        assert_int_equal(gqa_cache_free_pages(cache), gqa_cache_free_pages(w->single[i]));
        for (int32_t s = 0; s < SEQUENCES; s++) {
            compare_sequence(cache, s, w->single[i], s);
        }
    }
    assert_ptr_equal(gqa_model_cache_layer(w->model, 2), gqa_model_cache_layer(w->model, 1));
}

/* ---- operations ---- */

enum what { TRUNCATE, FORK, KEEP, COPY, LOAD, ROOM, KINDS };

struct operation {
    enum what what;
    int32_t a, b, n; /* sequences or a length; kept */
    int32_t kept[TOKENS], count[SEQUENCES], sequences[SEQUENCES];
};

static struct operation draw_operation(struct world *w)
{
    struct operation o = {(enum what)draw(w, 0, KINDS - 1),
                          draw(w, 0, SEQUENCES - 1),
                          draw(w, 0, SEQUENCES - 1),
                          0,
                          {0},
                          {0},
                          {0}};
    const int32_t length = gqa_cache_length(w->single[0], o.a);
    if (o.what == TRUNCATE) {
        o.b = draw(w, 0, 3) == 0 ? 0 : draw(w, length > 40 ? length - 40 : 0, length);
    } else if (o.what == KEEP) {
        o.b = draw(w, 0, length < 25 ? length : 25);
        for (int32_t i = 0; i < o.b; i++) {
            o.kept[o.n] = i;
            o.n += draw(w, 0, 3) != 0;
        }
    } else if (o.what == ROOM) {
        for (int32_t s = 0; s < SEQUENCES; s++) {
            o.sequences[s] = (s + o.a) % SEQUENCES;
            o.count[s] = draw(w, 0, PIECE);
        }
        o.n = draw(w, 1, SEQUENCES);
    }
    return o;
}

static gqa_status in_one(gqa_cache *cache, const struct operation *o)
{
    size_t size = 0;
    switch (o->what) {
    case TRUNCATE:
        return gqa_cache_truncate(cache, o->a, o->b, NULL);
    case FORK:
        return gqa_cache_fork(cache, o->a, o->b, NULL);
    case KEEP:
        return gqa_cache_keep(cache, o->a, o->b, o->kept, o->n, NULL);
    case COPY:
        return gqa_cache_copy(cache, o->a, cache, o->b, 0, NULL);
    case ROOM:
        return gqa_cache_room(cache, o->sequences, o->count, o->n, NULL);
    default:
        break;
    }
    assert_int_equal(gqa_cache_save_size(cache, o->b, &size, NULL), GQA_OK);
    unsigned char *const bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(gqa_cache_save(cache, o->b, bytes, size, NULL), GQA_OK);
    const gqa_status status = gqa_cache_load(cache, o->a, bytes, size, 0, NULL);
    free(bytes);
    return status;
}

static gqa_status in_model(gqa_model_cache *model, const struct operation *o)
{
    size_t size = 0;
    switch (o->what) {
    case TRUNCATE:
        return gqa_model_cache_truncate(model, o->a, o->b, &refusal);
    case FORK:
        return gqa_model_cache_fork(model, o->a, o->b, &refusal);
    case KEEP:
        return gqa_model_cache_keep(model, o->a, o->b, o->kept, o->n, &refusal);
    case COPY:
        return gqa_model_cache_copy(model, o->a, model, o->b, 0, &refusal);
    case ROOM:
        return gqa_model_cache_room(model, o->sequences, o->count, o->n, &refusal);
    default:
        break;
    }
    assert_int_equal(gqa_model_cache_save_size(model, o->b, &size, NULL), GQA_OK);
    unsigned char *const bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(gqa_model_cache_save(model, o->b, bytes, size, NULL), GQA_OK);
    const gqa_status status = gqa_model_cache_load(model, o->a, bytes, size, 0, &refusal);
    free(bytes);
    return status;
}

static void operate(struct world *w)
{
    const struct operation o = draw_operation(w);
    memcpy(w->before, w->block, w->size);
    const gqa_status status = in_model(w->model, &o);
    gqa_status first = GQA_OK;
    if (status != GQA_OK) {
        for (int i = 0; i < OWNERS; i++) { /* nothing has changed, in no layer */
            const gqa_cache *const cache = gqa_model_cache_layer(w->model, owned[i]);
            const size_t at = (size_t)((const unsigned char *)cache - (unsigned char *)w->block);
            assert_memory_equal(w->before + at, cache, w->sizes[owned[i]]);
        }
        assert_non_null(strstr(refusal.message, "(layer "));
    }
    for (int i = 0; i < OWNERS && first == GQA_OK; i++) {
        unsigned char *const held = malloc(w->sizes[owned[i]]);
        assert_non_null(held);
        memcpy(held, w->single[i], w->sizes[owned[i]]);
        first = in_one(w->single[i], &o);
        if (status != GQA_OK) {
            memcpy(w->single[i], held, w->sizes[owned[i]]);
        }
        free(held);
    }
    assert_int_equal(status, first);
}

/* Tokens for a sequence in layers 0 .. layers - 1 (owners); true if all took them. */
static bool append(struct world *w, int32_t s, int32_t n, int layers)
{
    float k[PIECE * HKV * D], v[PIECE * HKV * D];
    const gqa_tensor key = gqa_tensor_3d(k, GQA_F32, n, HKV, D);
    const gqa_tensor value = gqa_tensor_3d(v, GQA_F32, n, HKV, D);
    const gqa_status room = gqa_model_cache_room(w->model, &s, &n, 1, NULL);
    bool all = true;
    for (int i = 0; i < layers; i++) {
        gqa_cache *const cache = gqa_model_cache_layer(w->model, owned[i]);
        random_floats(&w->random, k, n * HKV * D, 1.0f);
        random_floats(&w->random, v, n * HKV * D, 1.0f);
        const gqa_status status = gqa_cache_append(cache, s, &key, &value, NULL, NULL);
        assert_int_equal(gqa_cache_append(w->single[i], s, &key, &value, NULL, NULL), status);
        all = all && status == GQA_OK;
    }
    assert_true(layers < OWNERS || all == (room == GQA_OK));
    return all;
}

/* A step: it may fail half way, and is then taken back. */
static void step(struct world *w)
{
    const int32_t s = draw(w, 0, SEQUENCES - 1), before = gqa_cache_length(w->single[0], s);
    const int32_t n = draw(w, 0, 2) == 0 ? draw(w, 0, PIECE) : draw(w, 0, 2);
    const int layers = draw(w, 0, 4) == 0 ? draw(w, 1, OWNERS) : OWNERS;
    int32_t length = -1;

    if (!append(w, s, n, layers) || layers < OWNERS) {
        const gqa_status status = gqa_model_cache_length(w->model, s, &length, &refusal);
        bool agree = true;
        for (int i = 1; i < OWNERS; i++) {
            agree = agree && gqa_cache_length(w->single[i], s) == gqa_cache_length(w->single[0], s);
        }
        assert_int_equal(status, agree ? GQA_OK : GQA_ERR_ARG);
        if (!agree) {
            assert_non_null(strstr(refusal.message, "truncate it to one length"));
            refused(gqa_model_cache_fork(w->model, s, (s + 1) % SEQUENCES, &refusal), GQA_ERR_ARG,
                    "from", "tokens in layer 0 and");
            refused(gqa_model_cache_save_size(w->model, s, &(size_t){0}, &refusal), GQA_ERR_ARG,
                    "sequence", "tokens in layer 0 and");
            refused(gqa_model_cache_keep(w->model, s, 0, NULL, 0, &refusal), GQA_ERR_ARG,
                    "sequence", "tokens in layer 0 and");
        }
        assert_int_equal(gqa_model_cache_truncate(w->model, s, before, NULL), GQA_OK);
        for (int i = 0; i < OWNERS; i++) {
            assert_int_equal(gqa_cache_truncate(w->single[i], s, before, NULL), GQA_OK);
        }
    }
    assert_int_equal(gqa_model_cache_length(w->model, s, &length, NULL), GQA_OK);
    assert_int_equal(length, gqa_cache_length(w->single[0], s));
}

static void as_caches_of_their_own(void **state)
{
    const int worlds = fewer_cases(30);
    (void)state;
    for (int seed = 1; seed <= worlds; seed++) {
        static struct world w;
        open_world(&w, (uint64_t)seed);
        for (int i = 0; i < 120; i++) {
            if (draw(&w, 0, 2) == 0) {
                operate(&w);
            } else {
                step(&w);
            }
            compare(&w);
        }
        close_world(&w);
    }
}

/* From one model to another one with other pages, as bytes and by copy. */
static void from_model_to_model(void **state)
{
    static struct world a, b;
    size_t size = 0;
    (void)state;
    open_world(&a, 7);
    open_world(&b, 2);
    for (int i = 0; i < 9; i++) {
        append(&a, 1, 5, OWNERS);
    }
    assert_int_equal(gqa_model_cache_save_size(a.model, 1, &size, NULL), GQA_OK);
    unsigned char *const bytes = malloc(size);
    assert_non_null(bytes);
    assert_int_equal(gqa_model_cache_save(a.model, 1, bytes, size, NULL), GQA_OK);
    assert_int_equal(gqa_model_cache_load(b.model, 0, bytes, size, 0, &refusal), GQA_OK);
    for (int i = 0; i < OWNERS; i++) {
        compare_sequence(gqa_model_cache_layer(b.model, owned[i]), 0, a.single[i], 1);
    }
    assert_int_equal(gqa_model_cache_copy(b.model, 2, a.model, 1, 0, &refusal), GQA_OK);
    for (int i = 0; i < OWNERS; i++) {
        compare_sequence(gqa_model_cache_layer(b.model, owned[i]), 2, a.single[i], 1);
    }
    free(bytes);
    close_world(&a);
    close_world(&b);
}

static void every_allocation_failing(void **state)
{
    static struct world w;
    gqa_model_cache *model = NULL;
    (void)state;
    open_world(&w, 3);
    w.all.memory = NULL;
    w.all.memory_size = 0;
    const int64_t live = w.host.live;
    for (int64_t i = 0;; i++) {
        w.host.fail_at = w.host.calls + i;
        const gqa_status status = gqa_model_cache_create(&model, &w.all, &refusal);
        w.host.fail_at = -1;
        if (status == GQA_OK) {
            assert_int_equal(i, 1); /* one block */
            break;
        }
        refused(status, GQA_ERR_NOMEM, "options.num_layers", "the caches of a model");
        assert_null(model);
        assert_int_equal(w.host.live, live);
    }
    assert_int_equal(w.host.live, live + 1);
    assert_int_equal(w.host.size, w.size);
    gqa_model_cache_destroy(&model);
    assert_null(model);
    gqa_model_cache_destroy(&model);
    gqa_model_cache_destroy(NULL);
    assert_int_equal(w.host.live, live);
    close_world(&w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_caches_of_their_own),
        cmocka_unit_test(from_model_to_model),
        cmocka_unit_test(every_allocation_failing),
    };
    return RUN_TESTS(argc, argv, tests);
}
