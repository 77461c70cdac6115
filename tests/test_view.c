/* SPDX-License-Identifier: Apache-2.0 */
/* test_view.c - panels, positions and searches of views, over pages and over plain tensors.
 *
 * The same tokens lie in a cache (beside a second sequence, so that pages alternate) and in a plain
 * tensor; both views must give the same keys, element for element.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fold.h"
#include "base/number.h"
#include "cache/view.h"
#include "support/cache_kinds.h"
#include "support/host.h"
#include "support/program.h"
#include "support/random.h"
#include "support/stored_row.h"

enum { HKV = 2, GUARD = 64 };

struct keys {
    const struct cache_kind *kind;
    struct gqa__kernels kernels;
    struct gqa_layer layer;
    struct host host;
    gqa_cache *cache;
    int32_t dk, dv, page_size, length;
    gqa_dtype plain; /* format of the plain tensors */
    float *k, *v;    /* [length][HKV][d], exact in the plain format */
    int32_t *positions;
    void *raw_k, *raw_v;
    unsigned char *scratch; /* scratch_bytes, then GUARD bytes */
    size_t scratch_bytes;
    struct gqa__kv_view paged, strided;
};

static void check(const struct keys *keys, bool ok, const char *what, int32_t index)
{
    if (!ok) {
        fail_msg("%s (case %s, page_size %d, %d keys, Dk %d, Dv %d, plain dtype %d, index %d)",
                 what, keys->kind->name, (int)keys->page_size, (int)keys->length, (int)keys->dk,
                 (int)keys->dv, (int)keys->plain, (int)index);
    }
}

static void *zeros(size_t count, size_t size)
{
    void *memory = calloc(count + 1, size);
    assert_non_null(memory);
    return memory;
}

/* ---- making both views of the same tokens ---- */

static float plain_value(uint64_t *random, gqa_dtype plain, bool odd)
{
    float x = cache_value(random, odd);
    if (plain == GQA_F16) {
        x = gqa__f16_to_f32(gqa__f32_to_f16(x));
    }
    return plain == GQA_BF16 ? cache_stored(x, GQA_BF16) : x;
}

/* [length][HKV][d] with gaps, heads outside if swapped. */
static gqa_tensor plain_tensor(const struct keys *keys, const float *values, void **raw, int32_t d,
                               bool swapped)
{
    int64_t row = d + 3;
    gqa_tensor t;
    *raw = zeros((size_t)(keys->length * HKV * row), sizeof(float));
    t = gqa_tensor_3d(*raw, keys->plain, keys->length, HKV, d);
    t.stride[0] = swapped ? row : HKV * row;
    t.stride[1] = swapped ? keys->length * row : row;
    for (int32_t i = 0; i < keys->length; i++) {
        for (int32_t h = 0; h < HKV; h++) {
            for (int32_t e = 0; e < d; e++) {
                float x = values[(i * HKV + h) * d + e];
                int64_t at = i * t.stride[0] + h * t.stride[1] + e;
                if (keys->plain == GQA_F32) {
                    ((float *)t.data)[at] = x;
                } else {
                    ((uint16_t *)t.data)[at] =
                        keys->plain == GQA_F16 ? gqa__f32_to_f16(x) : gqa__f32_to_bf16(x);
                }
            }
        }
    }
    return t;
}

/* Append in pieces of a third of a page, each followed by one token of another sequence. */
static void fill_cache(struct keys *keys)
{
    int32_t piece = keys->page_size / 3 + 1;
    int64_t k_step = HKV * keys->dk, v_step = HKV * keys->dv;
    for (int32_t first = 0; first < keys->length; first += piece) {
        int32_t n = keys->length - first < piece ? keys->length - first : piece;
        gqa__cache_extend(keys->cache, 1, n, keys->positions + first, NULL, 7 * (first + n));
        gqa__cache_extend(keys->cache, 0, 1, NULL, NULL, 1);
        for (int32_t h = 0; h < HKV; h++) {
            gqa__cache_write(keys->cache, 1, h, first, n,
                             &(struct gqa__kv_rows){.k = keys->k + first * k_step + h * keys->dk,
                                                    .v = keys->v + first * v_step + h * keys->dv,
                                                    .k_step = k_step,
                                                    .v_step = v_step});
        }
    }
}

static void open_keys(struct keys *keys, const struct cache_kind *kind, int32_t page_size,
                      int32_t length, uint64_t seed)
{
    static const gqa_dtype formats[] = {GQA_F32, GQA_BF16, GQA_F16};
    uint64_t random = seed;
    gqa_cache_options options;

    memset(keys, 0, sizeof *keys);
    keys->kind = kind;
    keys->page_size = page_size;
    keys->length = length;
    keys->dk = random_between(&random, 8, 70);
    keys->dv = random_between(&random, 8, 40);
    keys->plain = formats[seed % 3];
    cache_kind_layer(&keys->layer, &keys->kernels, kind, HKV, keys->dk, keys->dv);
    keys->layer.runtime = host_start(&keys->host, 1);
    gqa_cache_options_init(&options, &keys->layer);
    options.max_sequences = 2;
    options.max_tokens = length + 1;
    options.page_size = page_size;
    options.dtype_k = kind->dtype_k;
    options.dtype_v = kind->dtype_v;
    check(keys, gqa_cache_create(&keys->cache, &keys->layer, &options, NULL) == GQA_OK, "create",
          0);

    keys->k = zeros((size_t)(length * HKV * keys->dk), sizeof *keys->k);
    keys->v = zeros((size_t)(length * HKV * keys->dv), sizeof *keys->v);
    keys->positions = zeros((size_t)length, sizeof *keys->positions);
    for (int32_t i = 0; i < length; i++) {
        /* Non-finite values are rare, so that most panels have none. */
        bool odd = random_u32(&random) % 100 == 0;
        for (int32_t e = 0; e < HKV * keys->dk; e++) {
            keys->k[i * HKV * keys->dk + e] = plain_value(&random, keys->plain, odd);
        }
        for (int32_t e = 0; e < HKV * keys->dv; e++) {
            keys->v[i * HKV * keys->dv + e] = plain_value(&random, keys->plain, odd);
        }
        keys->positions[i] = (i > 0 ? keys->positions[i - 1] : 4) + random_between(&random, 0, 2);
    }
    fill_cache(keys);
    gqa__view_cache(&keys->paged, keys->cache, 1);
    gqa_tensor key = plain_tensor(keys, keys->k, &keys->raw_k, keys->dk, seed % 2 == 0);
    gqa_tensor value = plain_tensor(keys, keys->v, &keys->raw_v, keys->dv, seed % 4 == 0);
    gqa__view_plain(&keys->strided, &keys->kernels, &key, &value, length, keys->positions);
    keys->scratch_bytes = gqa__view_scratch_bytes(&keys->kernels, keys->dk, keys->dv);
    check(keys, keys->scratch_bytes % 64 == 0, "scratch is not whole cache lines", 0);
    keys->scratch = aligned_alloc(64, keys->scratch_bytes + GUARD);
    assert_non_null(keys->scratch);
}

static void close_keys(struct keys *keys)
{
    gqa_cache_destroy(&keys->cache);
    free(keys->k);
    free(keys->v);
    free(keys->positions);
    free(keys->raw_k);
    free(keys->raw_v);
    free(keys->scratch);
}

/* ---- panels ---- */

/* Any NaN will do. */
static uint32_t operand_bits(const struct keys *keys, const void *base, int64_t index)
{
    return keys->kernels.operand == GQA_F32
               ? float_bits(gqa__canonical(((const float *)base)[index]))
               : float_bits(gqa__canonical(gqa__bf16_to_f32(((const uint16_t *)base)[index])));
}

/* K or V of one key: as stored in the cache's type (unless plain). */
static struct stored_row row_of(const struct keys *keys, int32_t index, int32_t head, bool value,
                                bool paged)
{
    const int32_t dim = value ? keys->dv : keys->dk;
    const float *x = (value ? keys->v : keys->k) + ((int64_t)index * HKV + head) * dim;
    const gqa_dtype type = value ? keys->kind->dtype_v : keys->kind->dtype_k;
    struct stored_row row;
    stored_row(&row, x, dim, paged ? type : GQA_F32);
    return row;
}

static gqa_dtype k_type(const struct keys *keys, bool paged)
{
    return paged ? keys->kind->dtype_k : keys->plain;
}

static gqa_dtype v_type(const struct keys *keys, bool paged)
{
    return paged ? keys->kind->dtype_v : keys->plain;
}

static bool apart(gqa_dtype type)
{
    return stored_scaled(type) && !stored_integer(type);
}

static bool same_scale(float scale, const struct stored_row *row, bool exists)
{
    return float_bits(scale) == float_bits(exists ? row->scale[0] : 0.0f);
}

/* What operand d of a row must be: the element, or its code where the scale stands apart. */
static uint32_t expected_bits(const struct keys *keys, const struct stored_row *row, int32_t d,
                              int32_t dim, gqa_dtype type)
{
    if (d >= dim) {
        return 0;
    }
    return float_bits(cache_stored(apart(type) ? (float)row->code[d] : stored_value(row, d),
                                   keys->kernels.operand));
}

/* Elements of the panel, those beyond the true dims and beyond the length included. */
static void check_elements(const struct keys *keys, const struct gqa__kv_panel *panel, int32_t head,
                           int32_t first, bool paged)
{
    const struct gqa__kernels *kernels = &keys->kernels;
    int32_t k_dims =
        (keys->dk + kernels->depth_step - 1) / kernels->depth_step * kernels->depth_step;
    int32_t v_dims =
        (keys->dv + kernels->value_step - 1) / kernels->value_step * kernels->value_step;

    for (int32_t i = 0; i < panel->keys; i++) {
        int32_t index = first + i;
        bool exists = index < keys->length;
        struct stored_row k = row_of(keys, exists ? index : 0, head, false, paged);
        struct stored_row v = row_of(keys, exists ? index : 0, head, true, paged);
        check(keys, (panel->k_scale != NULL) == apart(k_type(keys, paged)), "scales of K", index);
        check(keys, (panel->v_scale != NULL) == apart(v_type(keys, paged)), "scales of V", index);
        check(keys, panel->k_scale == NULL || same_scale(panel->k_scale[i], &k, exists),
              "a scale of K", index);
        check(keys, panel->v_scale == NULL || same_scale(panel->v_scale[i], &v, exists),
              "a scale of V", index);
        check(keys, (panel->k == NULL) == stored_integer(k_type(keys, paged)), "no K", index);
        check(keys, (panel->v == NULL) == stored_integer(v_type(keys, paged)), "no V", index);
        for (int32_t d = 0; d < k_dims && panel->k != NULL; d++) {
            uint32_t expected =
                exists ? expected_bits(keys, &k, d, keys->dk, k_type(keys, paged)) : 0;
            check(keys, operand_bits(keys, panel->k, i * panel->k_stride + d) == expected,
                  paged ? "K of pages" : "K of tensors", index);
        }
        for (int32_t d = 0; d < v_dims && panel->v != NULL; d++) {
            int64_t at = kernels->v_transposed ? d * panel->v_stride + i : i * panel->v_stride + d;
            uint32_t expected =
                exists ? expected_bits(keys, &v, d, keys->dv, v_type(keys, paged)) : 0;
            check(keys, operand_bits(keys, panel->v, at) == expected,
                  paged ? "V of pages" : "V of tensors", index);
        }
    }
}

/* Is a value of V in [first, end) not finite, as the view stores it? */
static bool has_nonfinite(const struct keys *keys, int32_t head, int32_t first, int32_t end,
                          bool paged)
{
    for (int32_t index = first; index < end && index < keys->length; index++) {
        if (stored_integer(v_type(keys, paged))) {
            return false; /* their kernels see for themselves */
        }
        struct stored_row row = row_of(keys, index, head, true, paged);
        for (int32_t d = 0; d < keys->dv; d++) {
            float y = cache_stored(stored_value(&row, d), keys->kernels.operand);
            if (y - y != 0.0f) {
                return true;
            }
        }
    }
    return false;
}

static bool inside(const void *pointer, const void *base, size_t size)
{
    const unsigned char *p = pointer, *b = base;
    return p >= b && p < b + size;
}

/* Keys of the panel that can be read where the host has them. */
static bool in_place(const struct keys *keys, int32_t dim, int32_t step)
{
    return keys->plain == keys->kernels.operand && dim % step == 0;
}

/* Pages and tensors are read in place exactly when they can be; nothing is written beyond scratch.
 */
static void check_place(const struct keys *keys, const struct gqa__kv_panel *panel, int32_t first,
                        bool paged)
{
    const struct gqa__kernels *kernels = &keys->kernels;
    bool aligned = paged && keys->page_size % kernels->panel_keys == 0;
    bool whole = !paged && keys->length - first >= kernels->panel_keys;
    bool direct_k = (aligned && keys->kind->dtype_k == kernels->operand) ||
                    (whole && in_place(keys, keys->dk, kernels->depth_step));
    bool direct_v =
        (aligned && keys->kind->dtype_v == kernels->operand) ||
        (whole && !kernels->v_transposed && in_place(keys, keys->dv, kernels->value_step));
    check(keys,
          panel->k == NULL || inside(panel->k, keys->scratch, keys->scratch_bytes) != direct_k,
          "K lies in the wrong place", first);
    check(keys,
          panel->v == NULL || inside(panel->v, keys->scratch, keys->scratch_bytes) != direct_v,
          "V lies in the wrong place", first);
    check(keys, !paged || !direct_k || inside(panel->k, keys->host.block, keys->host.size),
          "K does not lie in the pages", first);
    check(keys, !paged || !direct_v || inside(panel->v, keys->host.block, keys->host.size),
          "V does not lie in the pages", first);
    for (size_t i = 0; i < GUARD; i++) {
        check(keys, keys->scratch[keys->scratch_bytes + i] == 0x5a, "written beyond scratch",
              first);
    }
}

/* How much of [first, first + n) of a tensor's rows is announced, in bytes; each byte once, and
 * nothing else. */
static void check_announced(const struct keys *keys, int32_t head, int32_t first, int32_t n)
{
    struct gqa__prefetch list[GQA__KEY_PREFETCHES];
    const struct gqa__host_rows *rows[2] = {&keys->strided.host.k, &keys->strided.host.v};
    const int32_t dims[2] = {keys->dk, keys->dv};
    int32_t count = gqa__view_prefetch(&keys->strided, head, first, n, list);
    int32_t exist = keys->length - first < n ? keys->length - first : n;
    for (int which = 0, at = 0; which < 2; which++) {
        size_t size = keys->plain == GQA_F32 ? 4 : 2;
        for (int32_t i = 0; i < exist; i++, at++) {
            int64_t offset = (first + i) * rows[which]->token + head * rows[which]->head;
            check(keys, at < count && list[at].at == rows[which]->data + (size_t)offset * size,
                  "a row is not announced", first + i);
            check(keys, list[at].bytes == (size_t)dims[which] * size, "size of a row", first + i);
        }
        check(keys, which == 0 || at == count, "more is announced", first);
    }
}

/* What a panel reads in the pages is announced, and nothing outside them is. */
static void check_prefetch(const struct keys *keys, const struct gqa__kv_panel *panel, int32_t head,
                           int32_t first)
{
    struct gqa__prefetch list[GQA__KEY_PREFETCHES];
    int32_t n = gqa__view_prefetch(&keys->paged, head, first, panel->keys, list);
    bool k = !inside(panel->k, keys->host.block, keys->host.size);
    bool v = !inside(panel->v, keys->host.block, keys->host.size) ||
             (keys->kernels.v_transposed && keys->length - first < keys->page_size) ||
             (keys->kernels.v_transposed && panel->keys < keys->page_size);

    for (int32_t i = 0; i < n; i++) {
        check(keys,
              inside(list[i].at, keys->host.block, keys->host.size) &&
                  inside(list[i].at + list[i].bytes - 1, keys->host.block, keys->host.size),
              "what is announced lies outside the cache", first);
        k = k || list[i].at == panel->k;
        v = v || list[i].at == panel->v;
    }
    check(keys, k && v, "a panel is not announced", first);
}

static void check_panel(const struct keys *keys, int32_t head, int32_t first, int32_t max_keys,
                        bool paged)
{
    const struct gqa__kv_view *view = paged ? &keys->paged : &keys->strided;
    struct gqa__kv_panel panel;
    bool nonfinite;

    memset(keys->scratch, 0x5a, keys->scratch_bytes + GUARD);
    gqa__view_panel(view, head, first, max_keys, keys->scratch, &panel);
    check(keys, panel.keys > 0 && panel.keys <= max_keys, "number of keys", first);
    check(keys, panel.keys % keys->kernels.panel_keys == 0, "part of a panel", first);
    check(keys, first + panel.keys < keys->length + keys->kernels.panel_keys, "panels without keys",
          first);
    if (!paged || keys->page_size % keys->kernels.panel_keys != 0) {
        int32_t left = keys->length - first; /* the last panel may have to be filled up */
        bool rest = !paged && left - panel.keys < keys->kernels.panel_keys;
        check(keys, panel.keys == max_keys || panel.keys >= left || rest, "less than there is",
              first);
    }
    check_place(keys, &panel, first, paged);
    if (paged) {
        check_prefetch(keys, &panel, head, first);
    } else {
        check_announced(keys, head, first, panel.keys);
    }
    check_elements(keys, &panel, head, first, paged);

    /* Pages know it per page, tensors exactly. */
    nonfinite = has_nonfinite(keys, head, first, first + panel.keys, paged);
    check(keys, panel.special || !nonfinite, "a non-finite V is not reported", first);
    if (paged) {
        int32_t begin = first / keys->page_size * keys->page_size;
        int32_t end =
            (first + panel.keys + keys->page_size - 1) / keys->page_size * keys->page_size;
        nonfinite = has_nonfinite(keys, head, begin, end, paged);
    }
    check(keys, panel.special == nonfinite, "non-finite V", first);
}

/* The panels of one fold block, from key `first` on: each is still there when the last is made. */
static void check_block(const struct keys *keys, int32_t first, bool paged)
{
    const struct gqa__kv_view *view = paged ? &keys->paged : &keys->strided;
    const int32_t step = keys->kernels.panel_keys;
    const int64_t stop = (first / GQA__FOLD_BLOCK + 1) * (int64_t)GQA__FOLD_BLOCK;
    const int64_t last = (keys->length + step - 1) / step * (int64_t)step;
    const int32_t end = (int32_t)(stop < last ? stop : last);
    struct gqa__kv_panel panel[GQA__FOLD_BLOCK / 4];
    int32_t begin[GQA__FOLD_BLOCK / 4], n = 0;

    for (int32_t key = first; key < end; key += panel[n++].keys) {
        begin[n] = key;
        gqa__view_panel(view, 0, key, end - key, keys->scratch, &panel[n]);
    }
    while (n-- > 0) {
        check_elements(keys, &panel[n], 0, begin[n], paged);
    }
}

static void check_load(const struct keys *keys, bool paged)
{
    const struct gqa__kv_view *view = paged ? &keys->paged : &keys->strided;
    float *k = zeros((size_t)keys->dk, sizeof *k), *v = zeros((size_t)keys->dv, sizeof *v);
    for (int32_t i = 0; i < keys->length; i++) {
        for (int32_t h = 0; h < HKV; h++) {
            int64_t token = (int64_t)i * HKV + h;
            gqa__view_load(view, h, i, k, NULL);
            gqa__view_load(view, h, i, NULL, v);
            struct stored_row row = row_of(keys, i, h, false, paged);
            for (int32_t d = 0; d < keys->dk; d++) {
                float x = keys->k[token * keys->dk + d];
                uint32_t expected = float_bits(paged ? stored_value(&row, d) : x);
                check(keys, float_bits(k[d]) == expected, "fetched K", i);
            }
            row = row_of(keys, i, h, true, paged);
            for (int32_t d = 0; d < keys->dv; d++) {
                float x = keys->v[token * keys->dv + d];
                uint32_t expected = float_bits(paged ? stored_value(&row, d) : x);
                check(keys, float_bits(v[d]) == expected, "fetched V", i);
            }
        }
    }
    free(k);
    free(v);
}

static void panels(const struct cache_kind *kind, int32_t page_size, int32_t length, uint64_t seed)
{
    struct keys keys;
    open_keys(&keys, kind, page_size, length, seed);
    int32_t step = keys.kernels.panel_keys;
    for (int paged = 0; paged < 2; paged++) {
        for (int32_t first = 0; first < length; first += step) {
            int32_t head = (first / step) % HKV;
            int32_t rest = GQA__FOLD_BLOCK - first % GQA__FOLD_BLOCK; /* of the fold block */
            check_panel(&keys, head, first, step, paged != 0);
            if (rest > step) {
                check_panel(&keys, head, first, rest / step / 2 * step, paged != 0);
                check_panel(&keys, head, first, rest, paged != 0);
            }
            if (first % GQA__FOLD_BLOCK == 0 || first == step) {
                check_block(&keys, first, paged != 0);
            }
        }
        check_load(&keys, paged != 0);
    }
    close_keys(&keys);
}

static void panels_of_pages_and_tensors(void **state)
{
    static const int32_t page_sizes[] = {16, 32, 64, 128, 256, 512};
    static const int32_t lengths[] = {1, 15, 16, 17, 33, 130, 257, 300};
    uint64_t seed = 1;
    (void)state;
    for (int c = 0; c < cache_kind_count; c++) {
        for (size_t p = 0; p < sizeof page_sizes / sizeof page_sizes[0]; p++) {
            for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
                panels(&cache_kinds[c], page_sizes[p], lengths[l], seed++);
            }
        }
    }
}

/* ---- positions, columns, search ---- */

static void check_search(const struct keys *keys, const struct gqa__kv_view *view, int64_t position)
{
    int32_t expected = 0;
    while (expected < keys->length && gqa__view_position(view, expected) < position) {
        expected++;
    }
    check(keys, gqa__view_lower_bound(view, position) == expected, "lower bound", expected);
}

static void check_numbers(const struct keys *keys, const struct gqa__kv_view *view, bool paged)
{
    int32_t *numbers = zeros((size_t)keys->length, sizeof *numbers);
    int32_t piece = keys->page_size / 3 + 1;
    check(keys, view->length == keys->length && view->ordered, "length or order", 0);
    check(keys, view->dk == keys->dk && view->dv == keys->dv, "dims", 0);
    check(keys, view->origin == (keys->length > 0 ? keys->positions[0] : 0), "origin", 0);
    for (int32_t first = 0; first <= keys->length; first += 5) {
        int32_t n = (keys->length - first) * (first % 3) / 2;
        n = n > keys->length - first ? keys->length - first : n;
        gqa__view_positions(view, first, n, numbers);
        for (int32_t i = 0; i < n; i++) {
            check(keys, numbers[i] == keys->positions[first + i], "positions", first + i);
            check(keys, gqa__view_position(view, first + i) == numbers[i], "position", first + i);
        }
        gqa__view_columns(view, first, n, numbers);
        for (int32_t i = 0; i < n; i++) {
            /* fill_cache leaves a gap in the columns after each piece. */
            int32_t start = (first + i) / piece * piece;
            int32_t column = paged ? 7 * start + (first + i - start) : first + i;
            check(keys, numbers[i] == column, "columns", first + i);
            check(keys, gqa__view_column(view, first + i) == column, "column", first + i);
        }
    }
    int32_t end = keys->length > 0 ? keys->positions[keys->length - 1] : 0;
    for (int64_t position = -2; position < end + 3; position++) {
        check_search(keys, view, position);
    }
    check_search(keys, view, INT64_MIN);
    check_search(keys, view, INT64_MAX);
    free(numbers);
}

static void positions_columns_and_search(void **state)
{
    static const int32_t page_sizes[] = {16, 64, 512};
    static const int32_t lengths[] = {0, 1, 2, 16, 17, 65, 200};
    uint64_t seed = 1000;
    (void)state;
    for (size_t p = 0; p < sizeof page_sizes / sizeof page_sizes[0]; p++) {
        for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
            struct keys keys;
            open_keys(&keys, &cache_kinds[seed % 9], page_sizes[p], lengths[l], seed);
            check_numbers(&keys, &keys.paged, true);
            check_numbers(&keys, &keys.strided, false);
            close_keys(&keys);
            seed++;
        }
    }
}

/* Without positions a plain view counts from 0; with falling ones it does not claim order. */
static void plain_positions(void **state)
{
    static const int32_t rising[] = {3, 3, 7, 9, 9}, falling[] = {3, 4, 7, 6, 9};
    static const float data[5 * 8];
    gqa_tensor t = gqa_tensor_3d(data, GQA_F32, 5, 1, 8);
    struct gqa__kernels kernels;
    struct gqa_layer layer;
    struct gqa__kv_view view;
    (void)state;

    cache_kind_layer(&layer, &kernels, &cache_kinds[0], 1, 8, 8);
    gqa__view_plain(&view, &kernels, &t, &t, 5, NULL);
    assert_true(view.ordered);
    assert_int_equal(view.origin, 0);
    assert_int_equal(gqa__view_position(&view, 4), 4);
    assert_int_equal(gqa__view_lower_bound(&view, 3), 3);
    assert_int_equal(gqa__view_lower_bound(&view, 5), 5);
    gqa__view_plain(&view, &kernels, &t, &t, 5, rising);
    assert_true(view.ordered);
    assert_int_equal(view.origin, 3);
    gqa__view_plain(&view, &kernels, &t, &t, 5, falling);
    assert_false(view.ordered);
    gqa__view_plain(&view, &kernels, &t, &t, 3, falling); /* those that exist do not fall */
    assert_true(view.ordered);
    gqa__view_plain(&view, &kernels, &t, &t, 0, falling);
    assert_true(view.ordered);
    assert_int_equal(view.origin, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(panels_of_pages_and_tensors),
        cmocka_unit_test(positions_columns_and_search),
        cmocka_unit_test(plain_positions),
    };
    return RUN_TESTS(argc, argv, tests);
}
