/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_cache.c - append, truncate and read of a cache against plain arrays: what was appended comes
 * back, rounded or quantised to the storage type and no further, with its positions; capacity is
 * counted in pages and tokens; what is refused changes nothing. Where the layer has a window or
 * chunks the cache may be a ring: nothing leaves that a next token could see. */
#include <string.h>

#include "scene.h"

enum { SEQUENCES = 3, TOKENS = 200, HEADS_MAX = 3, DIM_MAX = 64 };

/* What one sequence holds. */
struct line {
    int32_t length;
    int32_t first; /* of the tokens held */
    int32_t position[TOKENS];
    float k[TOKENS][HEADS_MAX][DIM_MAX], v[TOKENS][HEADS_MAX][DIM_MAX];
};

struct model {
    struct scene scene;
    gqa_layer *layer;
    gqa_cache *cache;
    gqa_cache_options options;
    int64_t pages; /* of the pool */
    int32_t heads, dk, dv;
    struct line line[SEQUENCES];
};

static int64_t pages_of(const struct model *m, int32_t tokens)
{
    return (tokens + m->options.page_size - 1) / m->options.page_size;
}

static int64_t pages_left(const struct model *m)
{
    int64_t left = m->pages;

    for (int32_t s = 0; s < m->options.max_sequences; s++) {
        left -= pages_of(m, m->line[s].length) - m->line[s].first / m->options.page_size;
    }
    return left;
}

/* How K, or V, is stored: any type that goes with the numerics. */
static gqa_dtype take_type(struct model *m)
{
    static const gqa_dtype types[] = {GQA_F32,  GQA_BF16,     GQA_F16, GQA_I8,
                                      GQA_E4M3, GQA_E4M3_240, GQA_I4};
    const gqa_dtype type = TAKE_OF(&m->scene.in, types);
    const bool wide = type == GQA_F32 || type == GQA_F16;

    return m->scene.config.numerics == GQA_NUMERICS_BF16 && wide ? GQA_BF16 : type;
}

static bool open_model(struct model *m, const uint8_t *data, size_t size)
{
    static const int32_t page_sizes[] = {16, 32, 64}, tokens[] = {TOKENS, 50, 16, 17, 1};
    struct scene *const scene = &m->scene;

    scene_open(scene, data, size);
    scene_config(scene, true);
    if (!scene_weights(scene) ||
        gqa_create(&m->layer, &scene->config, &scene->weights, NULL, NULL) != GQA_OK) {
        return false;
    }
    m->heads = scene->config.num_key_value_heads;
    m->dk = scene->config.head_dim != 0 /* 0: derived, as the header says */
                ? scene->config.head_dim
                : scene->config.hidden_size / scene->config.num_attention_heads;
    m->dv = scene->config.v_head_dim != 0 ? scene->config.v_head_dim : m->dk;
    if (m->heads > HEADS_MAX || m->dk > DIM_MAX || m->dv > DIM_MAX) {
        return false;
    }
    gqa_cache_options_init(&m->options, m->layer);
    m->options.max_sequences = take_below(&scene->in, SEQUENCES) + 1;
    m->options.max_tokens = TAKE_OF(&scene->in, tokens);
    m->options.page_size = TAKE_OF(&scene->in, page_sizes);
    m->options.num_pages = take_rarely(&scene->in, 2) ? take_below(&scene->in, 9) + 1 : 0;
    m->options.dtype_k = take_type(m);
    m->options.dtype_v = take_type(m);
    if (take_rarely(&scene->in, 2)) {
        gqa_cache_options_retain(&m->options, m->layer);
        m->options.call_tokens = take_below(&scene->in, 70);
    }
    FUZZ_CHECK(gqa_cache_create(&m->cache, m->layer, &m->options, NULL) == GQA_OK);
    m->pages = gqa_cache_free_pages(m->cache);
    FUZZ_CHECK(m->options.num_pages == 0 || m->pages == m->options.num_pages);
    return true;
}

/* --- values -------------------------------------------------------------------------------------
 */

/* config.denormals FLUSH with f32 products: denormal keys and values are stored as zeros. */
static void flush(const struct model *m, float *x, int64_t n)
{
    const gqa_config *const config = &m->scene.config;

    if (config->denormals != GQA_DENORMALS_FLUSH || config->numerics != GQA_NUMERICS_F32) {
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] = fabsf(x[i]) < FLT_MIN ? copysignf(0.0f, x[i]) : x[i];
    }
}

/* The nearest code of a quotient, ties to the even one. */
static float code_of(float x, gqa_dtype type, float limit)
{
    int exponent;

    if (type == GQA_I8 || type == GQA_I4) {
        return rintf(x) + 0.0f; /* there is no -0 */
    }
    (void)frexpf(x, &exponent);
    const float unit = ldexpf(1.0f, (exponent - 1 > -6 ? exponent - 1 : -6) - 3);
    return copysignf(fminf(fabsf(rintf(x / unit) * unit), limit), x);
}

/* n values that share a scale become what a cache gives back (docs/numerics.md). */
static void quantise(float *x, int64_t n, gqa_dtype type)
{
    const float limit = type == GQA_I8     ? 127.0f
                        : type == GQA_I4   ? 7.0f
                        : type == GQA_E4M3 ? 448.0f
                                           : 240.0f;
    float largest = 0.0f;
    bool finite = true;

    for (int64_t i = 0; i < n; i++) {
        finite = finite && isfinite(x[i]);
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    }
    const float quotient = largest / limit, scale = quotient < FLT_MIN ? 0.0f : quotient;
    for (int64_t i = 0; i < n; i++) {
        const float code = scale > 0.0f && finite ? code_of(x[i] / scale, type, limit) : 0.0f;
        x[i] = finite ? code * scale : NAN;
    }
}

/* The values [tokens, heads, dim] as f32, packed, after a round through the storage type. */
static const float *stored(struct model *m, const gqa_tensor *t, gqa_dtype storage)
{
    const int64_t n = t->shape[0] * t->shape[1] * t->shape[2];
    const gqa_tensor wide = gqa_tensor_3d(scene_memory(&m->scene, (size_t)n * 4), GQA_F32,
                                          t->shape[0], t->shape[1], t->shape[2]);
    gqa_tensor narrow = wide;

    const int64_t dim = t->shape[2], group = storage == GQA_I4 ? 32 : dim;
    narrow.dtype = storage == GQA_F16 ? GQA_F16 : GQA_BF16;
    narrow.data = scene_memory(&m->scene, (size_t)n * 2);
    FUZZ_CHECK(gqa_convert(t, &wide, NULL) == GQA_OK);
    flush(m, wide.data, n);
    if (storage != GQA_F32 && storage != GQA_BF16 && storage != GQA_F16) {
        for (int64_t i = 0; i < n; i += dim) {
            for (int64_t d = 0; d < dim; d += group) {
                quantise((float *)wide.data + i + d, dim - d < group ? dim - d : group, storage);
            }
        }
    } else if (storage != GQA_F32) {
        FUZZ_CHECK(gqa_convert(&wide, &narrow, NULL) == GQA_OK);
        FUZZ_CHECK(gqa_convert(&narrow, &wide, NULL) == GQA_OK);
    }
    return wide.data;
}

/* Equal bits, or both no number. */
static bool equal(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* Token row of k [n, heads, dk] and v [n, heads, dv]. */
static void remember(struct model *m, struct line *line, const float *k, const float *v,
                     int32_t row)
{
    for (int32_t h = 0; h < m->heads; h++) {
        const int32_t at = row * m->heads + h;
        memcpy(line->k[line->length][h], k + at * m->dk, (size_t)m->dk * sizeof *k);
        memcpy(line->v[line->length][h], v + at * m->dv, (size_t)m->dv * sizeof *v);
    }
    line->length++;
}

/* May a token at this position see token i of the line? */
static bool may_see(const struct model *m, const struct line *line, int64_t position, int32_t i)
{
    const int64_t away = position - line->position[0], chunk = m->options.retain_chunk;

    return (m->options.retain_window == 0 ||
            line->position[i] > position - m->options.retain_window) &&
           (chunk == 0 || line->position[i] >= position - away % chunk);
}

/* Is all held that the token after one at this position may see? */
static bool goes_on(const struct model *m, const struct line *line, int32_t last)
{
    return line->first == 0 ||
           !may_see(m, line, (int64_t)line->position[last] + 1, line->first - 1);
}

/* --- operations ---------------------------------------------------------------------------------
 */

static void append(struct model *m)
{
    struct scene *const scene = &m->scene;
    const int32_t s = take_below(&scene->in, m->options.max_sequences);
    const int32_t n = take_below(&scene->in, 70), step = take_below(&scene->in, 4);
    struct line *const line = &m->line[s];
    const int32_t last = line->length > 0 ? line->position[line->length - 1] : -1;
    const int64_t k_shape[] = {n, m->heads, m->dk}, v_shape[] = {n, m->heads, m->dv};
    const gqa_tensor k = scene_tensor(scene, scene_float(scene), 3, k_shape);
    const gqa_tensor v = scene_tensor(scene, scene_float(scene), 3, v_shape);
    int32_t *const positions = scene_ints(scene, n);
    const bool given = take_rarely(&scene->in, 2);
    const bool rises = !given || step > 0 || n <= 1;
    const bool most = line->length + n <= m->options.max_tokens;
    const int64_t pages = pages_of(m, line->length + n) - pages_of(m, line->length);
    bool fits = most && pages <= pages_left(m);
    gqa_status status;

    for (int32_t i = 0; i < n; i++) {
        positions[i] = last + 1 + i * (given ? step : 1);
    }
    status = gqa_cache_append(m->cache, s, &k, &v, given ? positions : NULL, NULL);
    if (status == GQA_OK && n > 0) { /* what leaves makes room */
        const int32_t first = gqa_cache_first(m->cache, s);
        FUZZ_CHECK(first >= line->first && first % m->options.page_size == 0);
        FUZZ_CHECK(first == 0 || first < line->length);
        for (int32_t i = line->first; i < first; i++) {
            FUZZ_CHECK(!may_see(m, line, (int64_t)last + 1, i));
        }
        fits =
            fits || (most && pages <= pages_left(m) + (first - line->first) / m->options.page_size);
        line->first = first;
    }
    FUZZ_CHECK(status == (!rises ? GQA_ERR_ARG
                          : fits ? GQA_OK
                                 : GQA_ERR_CACHE_FULL) ||
               (!rises && !fits && status == GQA_ERR_CACHE_FULL));
    if (status == GQA_OK) {
        const float *const all_k = stored(m, &k, m->options.dtype_k);
        const float *const all_v = stored(m, &v, m->options.dtype_v);
        for (int32_t i = 0; i < n; i++) {
            line->position[line->length] = positions[i];
            remember(m, line, all_k, all_v, i);
        }
    }
}

static void truncate_line(struct model *m)
{
    const int32_t s = take_below(&m->scene.in, m->options.max_sequences);
    const int32_t length = take_below(&m->scene.in, 80) - 1;
    const struct line *const line = &m->line[s];
    const bool sound =
        length == 0 || length == line->length ||
        (length > line->first && length < line->length && goes_on(m, line, length - 1));

    FUZZ_CHECK((gqa_cache_truncate(m->cache, s, length, NULL) == GQA_OK) == sound);
    if (sound) {
        m->line[s].length = length;
        m->line[s].first = length > 0 ? m->line[s].first : 0;
    }
}

static void read_line(struct model *m)
{
    struct scene *const scene = &m->scene;
    const int32_t s = take_below(&scene->in, m->options.max_sequences);
    const int32_t first = take_below(&scene->in, 80), n = take_below(&scene->in, 80);
    const struct line *const line = &m->line[s];
    const int64_t k_shape[] = {m->heads, n, m->dk}, v_shape[] = {m->heads, n, m->dv};
    const gqa_tensor k = scene_tensor(scene, GQA_F32, 3, k_shape);
    const gqa_tensor v = scene_tensor(scene, GQA_F32, 3, v_shape);
    int32_t *const positions = scene_ints(scene, n);
    const gqa_status status = gqa_cache_read(m->cache, s, first, &k, &v, positions, NULL);

    FUZZ_CHECK((status == GQA_OK) == (first >= line->first && first + n <= line->length));
    for (int32_t i = 0; i < n && status == GQA_OK; i++) {
        FUZZ_CHECK(positions[i] == line->position[first + i]);
        for (int32_t h = 0; h < m->heads; h++) {
            const float *const key = (const float *)k.data + h * k.stride[0] + i * k.stride[1];
            const float *const value = (const float *)v.data + h * v.stride[0] + i * v.stride[1];
            for (int32_t d = 0; d < m->dk; d++) {
                FUZZ_CHECK(equal(key[d], line->k[first + i][h][d]));
            }
            for (int32_t d = 0; d < m->dv; d++) {
                FUZZ_CHECK(equal(value[d], line->v[first + i][h][d]));
            }
        }
    }
}

static void check_counts(const struct model *m)
{
    for (int32_t s = 0; s < m->options.max_sequences; s++) {
        FUZZ_CHECK(gqa_cache_length(m->cache, s) == m->line[s].length);
        FUZZ_CHECK(gqa_cache_first(m->cache, s) == m->line[s].first);
    }
    FUZZ_CHECK(gqa_cache_length(m->cache, m->options.max_sequences) == -1);
    FUZZ_CHECK(gqa_cache_free_pages(m->cache) == pages_left(m));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model m; /* large */

    memset(&m, 0, sizeof m);
    if (open_model(&m, data, size)) {
        for (int i = 0; i < 24 && m.scene.in.left > 0; i++) {
            const int32_t which = take_below(&m.scene.in, 4);
            if (which < 2) {
                append(&m);
            } else if (which == 2) {
                truncate_line(&m);
            } else {
                read_line(&m);
            }
            check_counts(&m);
        }
    }
    gqa_cache_destroy(&m.cache);
    gqa_destroy(&m.layer);
    scene_close(&m.scene);
    return 0;
}
