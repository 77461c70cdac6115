/* SPDX-License-Identifier: Apache-2.0 */
/* test_cache.c - random operations on a cache against a naive model of it.
 *
 * usage: test_cache [SEED]   with a seed, the random test runs that one alone
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "support/cache_kinds.h"
#include "support/host.h"
#include "support/program.h"
#include "support/random.h"
#include "support/stored_row.h"

enum { SEQUENCES = 3, OPERATIONS = 150, SEEDS_PER_CASE = 3 };

/* ---- the model: every token of every sequence in plain arrays ---- */

struct model_sequence {
    int32_t length, columns;
    int32_t *positions, *token_columns; /* [max_tokens] */
    float *k, *v;                       /* [max_tokens][hkv][d], as stored */
    uint8_t *nonfinite;                 /* [max_pages][hkv]: V ever was, since the page was taken */
};

struct run {
    uint64_t seed, random;
    const struct cache_kind *kind;
    struct gqa__kernels kernels;
    struct gqa_layer layer;
    struct host host;
    gqa_cache *cache;
    int32_t hkv, dk, dv, page_size, max_tokens, max_pages;
    int64_t num_pages;
    struct model_sequence model[SEQUENCES];
    int operation;
    const char *doing;
    float *new_k, *new_v; /* [max_tokens][hkv][d]: what is being appended */
    uint8_t *raw;         /* room for the caller's tensors */
    unsigned char *copy;  /* of the cache's memory */
};

static void check(const struct run *run, bool ok, const char *what)
{
    if (!ok) {
        fail_msg("%s; repeat with: test_cache %llu (case %s, page_size %d, Hkv %d, Dk %d, Dv %d; "
                 "operation %d: %s)",
                 what, (unsigned long long)run->seed, run->kind->name, (int)run->page_size,
                 (int)run->hkv, (int)run->dk, (int)run->dv, run->operation, run->doing);
    }
}

static void *zeros(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    assert_non_null(memory);
    return memory;
}

static void open_run(struct run *run, uint64_t seed)
{
    static const int32_t page_sizes[] = {16, 32, 64, 128, 256, 512};
    static const int32_t dims[] = {8, 9, 17, 33, 40};
    gqa_cache_options options;

    memset(run, 0, sizeof *run);
    run->seed = seed;
    run->random = seed;
    run->doing = "create";
    run->kind = &cache_kinds[seed % (uint64_t)cache_kind_count];
    run->page_size = page_sizes[seed / (uint64_t)cache_kind_count % 6];
    run->hkv = random_between(&run->random, 1, 3);
    run->dk = dims[random_between(&run->random, 0, 4)];
    run->dv = dims[random_between(&run->random, 0, 4)];
    run->max_tokens = 3 * run->page_size + random_between(&run->random, 0, 5);
    run->max_pages = (run->max_tokens + run->page_size - 1) / run->page_size;
    run->num_pages = 2 * run->max_pages + 1; /* less than all sequences can hold */

    cache_kind_layer(&run->layer, &run->kernels, run->kind, run->hkv, run->dk, run->dv);
    run->layer.runtime = host_start(&run->host, 1);
    gqa_cache_options_init(&options, &run->layer);
    options.max_sequences = SEQUENCES;
    options.max_tokens = run->max_tokens;
    options.page_size = run->page_size;
    options.num_pages = run->num_pages;
    options.dtype_k = run->kind->dtype_k;
    options.dtype_v = run->kind->dtype_v;
    options.rotate_k = run->kind->rotate_k;
    options.rotate_v = run->kind->rotate_v;
    check(run, gqa_cache_create(&run->cache, &run->layer, &options, NULL) == GQA_OK, "create");

    size_t tokens = (size_t)run->max_tokens + 1;
    size_t heads = (size_t)run->hkv;
    for (int s = 0; s < SEQUENCES; s++) {
        struct model_sequence *model = &run->model[s];
        model->positions = zeros(tokens, sizeof(int32_t));
        model->token_columns = zeros(tokens, sizeof(int32_t));
        model->k = zeros(tokens * heads * (size_t)run->dk, sizeof(float));
        model->v = zeros(tokens * heads * (size_t)run->dv, sizeof(float));
        model->nonfinite = zeros((size_t)run->max_pages * heads, 1);
    }
    run->new_k = zeros(tokens * heads * (size_t)run->dk, sizeof(float));
    run->new_v = zeros(tokens * heads * (size_t)run->dv, sizeof(float));
    run->raw = zeros(tokens * heads * (size_t)(run->dk + run->dv + 16), sizeof(float));
    run->copy = zeros(run->host.size, 1);
}

static void close_run(struct run *run)
{
    gqa_cache_destroy(&run->cache);
    check(run, run->cache == NULL && run->host.calls == 1 && run->host.live == 0, "leak");
    for (int s = 0; s < SEQUENCES; s++) {
        free(run->model[s].positions);
        free(run->model[s].token_columns);
        free(run->model[s].k);
        free(run->model[s].v);
        free(run->model[s].nonfinite);
    }
    free(run->new_k);
    free(run->new_v);
    free(run->raw);
    free(run->copy);
}

static int32_t pages_of(const struct run *run, int32_t tokens)
{
    return (tokens + run->page_size - 1) / run->page_size;
}

static int64_t model_free_pages(const struct run *run)
{
    int64_t count = run->num_pages;
    for (int s = 0; s < SEQUENCES; s++) {
        count -= pages_of(run, run->model[s].length);
    }
    return count;
}

/* n tokens of new_k and new_v join the model. */
static void model_append(struct run *run, int s, int32_t n, const int32_t *positions,
                         const int32_t *columns, int32_t columns_after)
{
    struct model_sequence *model = &run->model[s];
    for (int32_t i = 0; i < n; i++) {
        int32_t index = model->length++;
        int32_t page = index / run->page_size;
        model->positions[index] = positions[i];
        model->token_columns[index] = columns[i];
        for (int32_t h = 0; h < run->hkv; h++) {
            float *const v = model->v + (index * run->hkv + h) * run->dv;
            stored_read(model->k + (index * run->hkv + h) * run->dk,
                        run->new_k + (i * run->hkv + h) * run->dk, run->dk, run->kind->dtype_k,
                        run->kind->rotate_k);
            stored_read(v, run->new_v + (i * run->hkv + h) * run->dv, run->dv, run->kind->dtype_v,
                        run->kind->rotate_v);
            for (int32_t d = 0; d < run->dv; d++) {
                const float x = v[d];
                if (x - x != 0.0f && !stored_integer(run->kind->dtype_v)) {
                    model->nonfinite[page * run->hkv + h] = 1;
                }
            }
        }
    }
    model->columns = columns_after;
}

static void model_cut(struct run *run, int s, int32_t length, int32_t columns_after)
{
    struct model_sequence *model = &run->model[s];
    for (int32_t page = pages_of(run, length); page < pages_of(run, model->length); page++) {
        memset(model->nonfinite + page * run->hkv, 0, (size_t)run->hkv);
    }
    model->length = length;
    model->columns = columns_after;
    if (columns_after < 0) {
        model->columns = length == 0 ? 0 : model->token_columns[length - 1] + 1;
    }
}

/* ---- comparing ---- */

static void check_metadata(const struct run *run, int s)
{
    const struct model_sequence *model = &run->model[s];
    const struct gqa__sequence *sequence = &run->cache->sequences[s];
    bool ordered = true;

    check(run, gqa_cache_length(run->cache, s) == model->length, "length");
    check(run, sequence->columns == model->columns, "columns");
    for (int32_t i = 0; i < model->length; i++) {
        int64_t slot = gqa__cache_slot(run->cache, sequence, i);
        check(run, run->cache->positions[slot] == model->positions[i], "a token's position");
        check(run, run->cache->columns[slot] == model->token_columns[i], "a token's column");
        ordered = ordered && (i == 0 || model->positions[i] >= model->positions[i - 1]);
    }
    check(run, sequence->ordered == ordered, "ordered");
    check(run, sequence->origin == (model->length > 0 ? model->positions[0] : 0), "origin");
    check(run, model->length == 0 || sequence->last == model->positions[model->length - 1], "last");
}

/* Is the memory of element `index` of a row zero? Of the integer types byte `index`. */
static bool zero_at(const unsigned char *part, int64_t row, int64_t stride, int64_t index,
                    gqa_dtype dtype)
{
    const int64_t size = dtype == GQA_F32 ? 4 : stored_scaled(dtype) ? 1 : 2;
    unsigned any = 0;
    for (int64_t i = 0; i < size; i++) {
        any |= part[(row * stride + index) * size + i];
    }
    return any == 0;
}

/* The bytes or elements of a row that hold something. */
static int64_t row_used(int32_t dim, gqa_dtype dtype)
{
    return dtype == GQA_I4 ? (dim + 31) / 32 * 16 : dim;
}

static void check_scales(const struct run *run, const float *scale, int32_t scales, int32_t used)
{
    for (int32_t g = 0; g < scales; g++) {
        for (int32_t slot = used; slot < run->page_size; slot++) {
            check(run, float_bits(scale[g * run->page_size + slot]) == 0,
                  "an unused scale is not zero");
        }
    }
}

/* Slots from used on, and the padding of all slots, are zero. */
static void check_zeros(const struct run *run, int32_t page, int32_t used)
{
    const struct gqa__cache_layout *layout = &run->cache->layout;
    bool transposed = layout->v_transposed;
    int64_t v_dims = transposed ? (run->dv + run->kernels.value_step - 1) /
                                      run->kernels.value_step * run->kernels.value_step
                                : layout->v_stride;

    for (int32_t head = 0; head < run->hkv; head++) {
        const unsigned char *k = gqa__cache_k(run->cache, page, head);
        const unsigned char *v = gqa__cache_v(run->cache, page, head);
        for (int32_t slot = 0; slot < run->page_size; slot++) {
            for (int64_t d = slot < used ? row_used(run->dk, layout->dtype_k) : 0;
                 d < layout->k_stride; d++) {
                check(run, zero_at(k, slot, layout->k_stride, d, layout->dtype_k),
                      "an unused element of K is not zero");
            }
            for (int64_t d = slot < used ? row_used(run->dv, layout->dtype_v) : 0; d < v_dims;
                 d++) {
                check(run,
                      zero_at(v, transposed ? d : slot, layout->v_stride, transposed ? slot : d,
                              layout->dtype_v),
                      "an unused element of V is not zero");
            }
        }
        check_scales(run, gqa__cache_k_scale(run->cache, page, head), layout->k_scales, used);
        check_scales(run, gqa__cache_v_scale(run->cache, page, head), layout->v_scales, used);
    }
    for (int32_t slot = used; slot < run->page_size; slot++) {
        int64_t i = (int64_t)page * run->page_size + slot;
        check(run, run->cache->positions[i] == 0 && run->cache->columns[i] == 0,
              "an unused slot has a position or column");
    }
}

/* Each page is held once or free; flags; zeros. */
static void check_pages(const struct run *run)
{
    uint8_t *holders = zeros((size_t)run->num_pages, 1);
    check(run, gqa_cache_free_pages(run->cache) == model_free_pages(run), "free pages");
    for (int64_t i = 0; i < run->cache->free_count; i++) {
        holders[run->cache->free_pages[i]]++;
    }
    for (int s = 0; s < SEQUENCES; s++) {
        const struct model_sequence *model = &run->model[s];
        for (int32_t i = 0; i < pages_of(run, model->length); i++) {
            int32_t page = run->cache->sequences[s].pages[i];
            int32_t used = model->length - i * run->page_size;
            check(run, page >= 0 && page < run->num_pages, "page id");
            holders[page]++;
            check_zeros(run, page, used < run->page_size ? used : run->page_size);
            for (int32_t h = 0; h < run->hkv; h++) {
                check(run,
                      run->cache->special[page * run->hkv + h] ==
                          model->nonfinite[i * run->hkv + h],
                      "the flag of non-finite values");
            }
        }
    }
    for (int64_t i = 0; i < run->num_pages; i++) {
        check(run, holders[i] == 1, "a page is lost or held twice");
    }
    free(holders);
}

static float read_back(const uint8_t *raw, int64_t index, gqa_dtype dtype)
{
    float x;
    uint16_t half;
    if (dtype == GQA_F32) {
        memcpy(&x, raw + index * 4, sizeof x);
        return x;
    }
    memcpy(&half, raw + index * 2, sizeof half);
    return dtype == GQA_BF16 ? gqa__bf16_to_f32(half) : gqa__f16_to_f32(half);
}

/* gqa_cache_read of a random range, in f32 or bf16. */
static void check_read(struct run *run, int s)
{
    const struct model_sequence *model = &run->model[s];
    gqa_dtype dtype = random_u32(&run->random) % 2 == 0 ? GQA_F32 : GQA_BF16;
    int32_t first = random_between(&run->random, 0, model->length);
    int32_t n = random_between(&run->random, 0, model->length - first);
    int64_t gap = random_between(&run->random, 0, 3);
    int64_t k_row = run->dk + gap, v_row = run->dv + gap;
    uint8_t *v_raw = run->raw + (size_t)(run->max_tokens * run->hkv * k_row) * 4;
    gqa_tensor key = gqa_tensor_3d(run->raw, dtype, run->hkv, n, run->dk);
    gqa_tensor value = gqa_tensor_3d(v_raw, dtype, run->hkv, n, run->dv);
    int32_t *positions = zeros((size_t)n + 1, sizeof *positions);

    key.stride[0] = n * k_row;
    key.stride[1] = k_row;
    value.stride[0] = n * v_row;
    value.stride[1] = v_row;
    check(run, gqa_cache_read(run->cache, s, first, &key, &value, positions, NULL) == GQA_OK,
          "read");
    for (int32_t i = 0; i < n; i++) {
        check(run, positions[i] == model->positions[first + i], "a position read back");
        for (int32_t h = 0; h < run->hkv; h++) {
            int64_t token = (int64_t)(first + i) * run->hkv + h;
            for (int32_t d = 0; d < run->dk; d++) {
                check(run,
                      float_bits(read_back(run->raw, (h * n + i) * k_row + d, dtype)) ==
                          float_bits(cache_stored(model->k[token * run->dk + d], dtype)),
                      "a key read back");
            }
            for (int32_t d = 0; d < run->dv; d++) {
                check(run,
                      float_bits(read_back(v_raw, (h * n + i) * v_row + d, dtype)) ==
                          float_bits(cache_stored(model->v[token * run->dv + d], dtype)),
                      "a value read back");
            }
        }
    }
    free(positions);
}

/* ---- operations ---- */

/* Fill a caller's tensor [n][hkv][d] of a random format and memory order; packed gets its values.
 */
static gqa_tensor make_tensor(struct run *run, uint8_t *raw, float *packed, int32_t n, int32_t d,
                              bool odd)
{
    static const gqa_dtype dtypes[] = {GQA_F32, GQA_BF16, GQA_F16};
    gqa_dtype dtype = dtypes[random_u32(&run->random) % 3];
    gqa_tensor t = gqa_tensor_3d(raw, dtype, n, run->hkv, d);
    int64_t gap = random_between(&run->random, 0, 3);
    bool heads_first = random_u32(&run->random) % 2 == 0;

    t.stride[0] = heads_first ? d + gap : run->hkv * (d + gap);
    t.stride[1] = heads_first ? n * (d + gap) : d + gap;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t h = 0; h < run->hkv; h++) {
            for (int32_t e = 0; e < d; e++) {
                float x = cache_value(&run->random, odd);
                int64_t at = i * t.stride[0] + h * t.stride[1] + e;
                uint16_t half = dtype == GQA_F16 ? gqa__f32_to_f16(x) : gqa__f32_to_bf16(x);
                if (dtype == GQA_F32) {
                    memcpy(raw + at * 4, &x, sizeof x);
                } else {
                    memcpy(raw + at * 2, &half, sizeof half);
                    x = dtype == GQA_F16 ? gqa__f16_to_f32(half) : gqa__bf16_to_f32(half);
                }
                packed[(i * run->hkv + h) * d + e] = x;
            }
        }
    }
    return t;
}

static int32_t random_count(struct run *run)
{
    int32_t most = random_u32(&run->random) % 4 == 0 ? run->max_tokens : run->page_size + 3;
    return random_between(&run->random, 0, most < run->max_tokens ? most : run->max_tokens);
}

static bool has_room(const struct run *run, int s, int32_t n)
{
    const struct model_sequence *model = &run->model[s];
    int32_t length = model->length;
    return length + n <= run->max_tokens &&
           pages_of(run, length + n) - pages_of(run, length) <= model_free_pages(run);
}

static void append_public(struct run *run, int s)
{
    struct model_sequence *model = &run->model[s];
    int32_t n = random_count(run);
    bool odd = random_u32(&run->random) % 3 == 0;
    bool given = random_u32(&run->random) % 2 == 0;
    uint8_t *v_raw = run->raw + (size_t)(run->max_tokens * run->hkv * (run->dk + 3)) * 4;
    gqa_tensor key = make_tensor(run, run->raw, run->new_k, n, run->dk, odd);
    gqa_tensor value = make_tensor(run, v_raw, run->new_v, n, run->dv, odd);
    int32_t *positions = zeros((size_t)n + 1, sizeof *positions);
    int32_t *columns = zeros((size_t)n + 1, sizeof *columns);
    int32_t last = model->length > 0 ? model->positions[model->length - 1] : -1;

    run->doing = given ? "append with positions" : "append";
    for (int32_t i = 0; i < n; i++) {
        last += given ? random_between(&run->random, 1, 3) : 1;
        positions[i] = last;
        columns[i] = model->columns + i;
    }
    memcpy(run->copy, run->host.block, run->host.size);
    gqa_error err = {GQA_OK, NULL, ""};
    gqa_status status =
        gqa_cache_append(run->cache, s, &key, &value, given ? positions : NULL, &err);
    if (has_room(run, s, n)) {
        check(run, status == GQA_OK && err.status == GQA_OK, "append");
        model_append(run, s, n, positions, columns, model->columns + n);
    } else {
        check(run, status == GQA_ERR_CACHE_FULL && err.status == status, "a full cache");
        check(run, strcmp(err.field, "cache") == 0, "the field of a full cache");
        check(run, memcmp(run->copy, run->host.block, run->host.size) == 0,
              "a failed append changed the cache");
    }
    free(positions);
    free(columns);
}

/* As the forward does it: metadata first, then each head in pieces, heads in falling order. */
static void append_internal(struct run *run, int s)
{
    struct model_sequence *model = &run->model[s];
    int32_t n = random_count(run);
    bool fall = random_u32(&run->random) % 3 == 0; /* positions may fall: a tree of drafts */
    bool odd = random_u32(&run->random) % 3 == 0;
    int32_t *positions = zeros((size_t)n + 1, sizeof *positions);
    int32_t *columns = zeros((size_t)n + 1, sizeof *columns);
    int32_t position = model->length > 0 ? model->positions[model->length - 1] : 5;
    int32_t column = model->columns + random_between(&run->random, 0, 4); /* padding on the left */
    int32_t first = model->length;
    int64_t wanted = pages_of(run, first + n) - pages_of(run, first);

    run->doing = fall ? "extend with falling positions" : "extend";
    bool room = first + n <= run->max_tokens && wanted <= model_free_pages(run);
    gqa_status status = gqa__cache_room(run->cache, s, n, NULL);
    check(run, status == (room ? GQA_OK : GQA_ERR_CACHE_FULL), "room");
    if (room) {
        check(run, gqa__cache_pages_for(run->cache, s, n) == wanted, "pages_for");
        for (int32_t i = 0; i < n; i++) {
            position += random_between(&run->random, fall && position > 0 ? -1 : 0, 2);
            positions[i] = position;
            columns[i] = column + i;
        }
        int32_t after = column + n + random_between(&run->random, 0, 4);
        for (int32_t i = 0; i < n * run->hkv * run->dk; i++) {
            run->new_k[i] = cache_value(&run->random, odd);
        }
        for (int32_t i = 0; i < n * run->hkv * run->dv; i++) {
            run->new_v[i] = cache_value(&run->random, odd);
        }
        gqa__cache_extend(run->cache, s, n, positions, columns, after);
        int32_t cut = random_between(&run->random, 0, n);
        for (int32_t h = run->hkv - 1; h >= 0; h--) {
            int64_t k_step = (int64_t)run->hkv * run->dk, v_step = (int64_t)run->hkv * run->dv;
            const float *k = run->new_k + h * run->dk, *v = run->new_v + h * run->dv;
            gqa__cache_write(run->cache, s, h, first + cut, n - cut,
                             &(struct gqa__kv_rows){.k = k + cut * k_step,
                                                    .v = v + cut * v_step,
                                                    .k_step = k_step,
                                                    .v_step = v_step});
            gqa__cache_write(
                run->cache, s, h, first, cut,
                &(struct gqa__kv_rows){.k = k, .v = v, .k_step = k_step, .v_step = v_step});
        }
        model_append(run, s, n, positions, columns, after);
    }
    free(positions);
    free(columns);
}

/* One token, as in decode. */
static void append_one(struct run *run, int s)
{
    struct model_sequence *model = &run->model[s];
    int32_t index = model->length;
    int32_t position = index > 0 ? model->positions[index - 1] + 1 : 0;
    int32_t column = model->columns;

    run->doing = "decode";
    if (!has_room(run, s, 1)) {
        return;
    }
    gqa__cache_extend(run->cache, s, 1, NULL, NULL, column + 1);
    for (int32_t h = 0; h < run->hkv; h++) {
        gqa__cache_write(run->cache, s, h, index, 1,
                         &(struct gqa__kv_rows){.k = run->new_k + h * run->dk,
                                                .v = run->new_v + h * run->dv,
                                                .k_step = run->dk,
                                                .v_step = run->dv});
    }
    model_append(run, s, 1, &position, &column, column + 1);
}

static void cut(struct run *run, int s)
{
    struct model_sequence *model = &run->model[s];
    int32_t length = random_between(&run->random, 0, model->length);
    if (random_u32(&run->random) % 4 == 0) {
        length = 0;
    }
    if (random_u32(&run->random) % 2 == 0) {
        run->doing = "truncate";
        check(run, gqa_cache_truncate(run->cache, s, length, NULL) == GQA_OK, "truncate");
        model_cut(run, s, length, -1);
    } else {
        int32_t columns = model->columns + 1;
        run->doing = "cut";
        gqa__cache_cut(run->cache, s, length, columns);
        model_cut(run, s, length, columns);
    }
}

static void random_run(uint64_t seed)
{
    struct run run;
    open_run(&run, seed);
    for (run.operation = 0; run.operation < OPERATIONS; run.operation++) {
        int s = random_between(&run.random, 0, SEQUENCES - 1);
        switch (random_u32(&run.random) % 4) {
        case 0:
            append_public(&run, s);
            break;
        case 1:
            append_internal(&run, s);
            break;
        case 2:
            cut(&run, s);
            break;
        default:
            append_one(&run, s);
        }
        check_metadata(&run, s);
        check_read(&run, s);
        if (run.page_size <= 64 || run.operation % 8 == 0 || run.operation == OPERATIONS - 1) {
            check_pages(&run);
        }
    }
    close_run(&run);
}

static uint64_t one_seed; /* of the command line; 0 = all */

static void random_operations(void **state)
{
    (void)state;
    if (one_seed != 0) {
        random_run(one_seed);
        return;
    }
    for (uint64_t seed = 1; seed <= (uint64_t)(cache_kind_count * 6 * SEEDS_PER_CASE); seed++) {
        random_run(seed);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations)};
    one_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return RUN_TESTS(one_seed != 0 ? 1 : argc, argv, tests);
}
