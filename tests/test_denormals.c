/* SPDX-License-Identifier: Apache-2.0 */
/* test_denormals.c - config.denormals: a layer that flushes gives, on every kernel set, the bits
 * that one which keeps gives where the caller has put zeros in the place of denormals. In these
 * tensors each denormal meets a number so large that the product is seen. And where the CPU tells,
 * no product has met a denormal operand.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "gqa/gqa.h"
#include "support/kernels_under_test.h"
#include "support/program.h"
#include "support/random.h"
#include "support/refusal.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

enum {
    T = 70,
    HQ = 6,
    HKV = 2,
    D = 37,
    HIDDEN = 67,
    Q = HQ * D,
    K = HKV * D,
    MOST = T * Q > Q *HIDDEN ? T *Q : Q *HIDDEN
};

static const gqa_isa isas[] = {GQA_ISA_SCALAR, GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_NEON};

static float by_hand(float x)
{
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0.0f, x) : x;
}

/* A denormal of either sign, or with `large` a number that makes one count. */
static float extreme(bool large, uint64_t *seed)
{
    const float size = (large ? 0x1p123f : 0x1p-127f) * (0.5f + 0.4f * fabsf(random_float(seed)));
    return random_next(seed) >> 63 != 0 ? -size : size;
}

/* x [n] in rows of `width`: of every three values two are extreme, denormal where i % width % 3 is
 * `tiny`. */
static void fill(float *x, int64_t n, int64_t width, int64_t tiny, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t kind = i % width % 3;
        x[i] = kind == 2 ? random_float(&seed) : extreme(kind != tiny, &seed);
    }
}

static gqa_layer *new_layer(gqa_isa isa, gqa_denormals denormals, gqa_config config,
                            const gqa_weights *weights)
{
    gqa_layer *layer = NULL;
    gqa_error err;
    config.isa = isa;
    config.denormals = denormals;
    if (gqa_create(&layer, &config, weights, NULL, &err) != GQA_OK) {
        fail_msg("%s: %s", err.field, err.message);
    }
    return layer;
}

static gqa_config small_config(void)
{
    gqa_config config;
    gqa_config_init(&config);
    config.num_attention_heads = HQ;
    config.num_key_value_heads = HKV;
    config.head_dim = D;
    config.score_scale = 0.25f;
    return config;
}

/* Runs `body` twice on each kernel set: flushing with its tensors as they are, keeping with zeros
 * in the place of denormals. All results are the same bits; and others than those of keeping
 * denormals, if they are seen. A body fills out [n] and returns n. */
struct run {
    gqa_isa isa;
    gqa_denormals denormals;
    bool zeros; /* by hand */
    int variant;
};

static void compare(int64_t (*body)(const struct run *run, float *out), int variant)
{
    static float out[3][2 * MOST];
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        struct run run = {isas[i], GQA_DENORMALS_FLUSH, false, variant};
        int64_t n;
        if (!gqa_isa_available(isas[i])) {
            continue;
        }
        n = body(&run, out[i == 0 ? 0 : 1]);
        assert_memory_equal(out[0], out[i == 0 ? 0 : 1], (size_t)n * sizeof(float));
        run.denormals = GQA_DENORMALS_KEEP;
        run.zeros = true;
        body(&run, out[1]);
        assert_memory_equal(out[0], out[1], (size_t)n * sizeof(float));
        run.zeros = false;
        body(&run, out[2]);
        assert_memory_not_equal(out[0], out[2], (size_t)n * sizeof(float));
    }
}

/* Values as a tensor of a format holds them, and those with zeros by hand. */
static void make(const struct run *run, gqa_dtype dtype, float *x, uint16_t *halves, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = dtype == GQA_BF16 ? gqa__round_bf16(x[i]) : x[i];
        x[i] = run->zeros ? by_hand(x[i]) : x[i];
        halves[i] = gqa__f32_to_bf16(x[i]);
    }
}

/* --- attention ------------------------------------------------------------------------------- */

struct tensors {
    float q[T * Q], k[T * K], v[T * K];
    uint16_t q16[T * Q], k16[T * K], v16[T * K];
    gqa_tensor tq, tk, tv; /* [T][H][D] */
};

static void make_tensors(const struct run *run, gqa_dtype dtype, struct tensors *t)
{
    fill(t->q, T * Q, D, 0, 1);
    fill(t->k, T * K, D, 1, 2);
    for (int i = 0; i < T * K; i++) { /* what is seen of V: where all keys are denormal */
        uint64_t seed = 3u + (uint64_t)i;
        t->v[i] = i % 2 == 0 ? extreme(false, &seed) : random_float(&seed);
    }
    make(run, dtype, t->q, t->q16, T * Q);
    make(run, dtype, t->k, t->k16, T * K);
    make(run, dtype, t->v, t->v16, T * K);
    t->tq = gqa_tensor_3d(dtype == GQA_F32 ? (const void *)t->q : t->q16, dtype, T, HQ, D);
    t->tk = gqa_tensor_3d(dtype == GQA_F32 ? (const void *)t->k : t->k16, dtype, T, HKV, D);
    t->tv = gqa_tensor_3d(dtype == GQA_F32 ? (const void *)t->v : t->v16, dtype, T, HKV, D);
}

static gqa_cache *new_cache(const gqa_layer *layer, gqa_dtype dtype)
{
    gqa_cache *cache = NULL;
    gqa_cache_options options;
    gqa_cache_options_init(&options, layer);
    options.max_tokens = T;
    options.page_size = 16;
    options.dtype_k = options.dtype_v = dtype;
    assert_int_equal(gqa_cache_create(&cache, layer, &options, NULL), GQA_OK);
    return cache;
}

/* Forward from projections; variant 0: without a cache; 1: pages of f32; 2: of bf16; 3: bf16
 * tensors. Then the cache, as it is read. */
static int64_t forward(const struct run *run, float *out)
{
    static struct tensors t;
    const gqa_config config = small_config();
    gqa_layer *layer = new_layer(run->isa, run->denormals, config, NULL);
    gqa_cache *cache = NULL;
    gqa_inputs in;
    gqa_output result;
    int64_t n = T * Q;
    make_tensors(run, run->variant == 3 ? GQA_BF16 : GQA_F32, &t);
    gqa_inputs_init(&in);
    gqa_output_init(&result);
    in.q_proj = t.tq, in.k_proj = t.tk, in.v_proj = t.tv;
    result.attn = gqa_tensor_3d(out, GQA_F32, T, HQ, D);
    if (run->variant > 0) {
        cache = new_cache(layer, run->variant == 2 ? GQA_BF16 : GQA_F32);
    }
    assert_int_equal(gqa_forward(layer, cache, &in, &result, NULL, 0, NULL), GQA_OK);
    if (run->variant > 0) {
        const gqa_tensor k = gqa_tensor_3d(out + n, GQA_F32, HKV, T, D);
        const gqa_tensor v = gqa_tensor_3d(out + n + T * K, GQA_F32, HKV, T, D);
        assert_int_equal(gqa_cache_read(cache, 0, 0, &k, &v, NULL, NULL), GQA_OK);
        n += 2 * T * K;
    }
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    return n;
}

/* On plain keys and values; variant 0: f32, 1: bf16; 2: appended to a cache. */
static int64_t attend(const struct run *run, float *out)
{
    static struct tensors t;
    gqa_layer *layer = new_layer(run->isa, run->denormals, small_config(), NULL);
    gqa_cache *cache = run->variant == 2 ? new_cache(layer, GQA_F32) : NULL;
    gqa_attend_inputs in;
    gqa_attend_output result;
    make_tensors(run, run->variant == 1 ? GQA_BF16 : GQA_F32, &t);
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&result);
    in.query = t.tq;
    result.output = gqa_tensor_3d(out, GQA_F32, T, HQ, D);
    if (cache != NULL) {
        assert_int_equal(gqa_cache_append(cache, 0, &t.tk, &t.tv, NULL, NULL), GQA_OK);
    } else {
        in.key = t.tk, in.value = t.tv;
    }
    assert_int_equal(gqa_attend(layer, cache, &in, &result, NULL, 0, NULL), GQA_OK);
    gqa_cache_destroy(&cache);
    gqa_destroy(&layer);
    return T * Q;
}

static void attention_flushes(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        compare(forward, variant);
    }
    for (int variant = 0; variant < 3; variant++) {
        compare(attend, variant);
    }
}

/* --- projections ----------------------------------------------------------------------------- */

/* A whole layer on `tokens` tokens, weights of two formats: wq and wo bf16 or f32, the others f32.
 */
struct layer_case {
    int tokens, in_place;
    gqa_dtype dtype;
};

static const struct layer_case layer_cases[] = {
    {1, 0, GQA_F32},  {1, 1, GQA_F32},  {9, 0, GQA_F32},  {9, 1, GQA_F32},  {T, 1, GQA_F32},
    {1, 0, GQA_BF16}, {1, 1, GQA_BF16}, {9, 1, GQA_BF16}, {T, 1, GQA_BF16},
};

static int64_t whole_layer(const struct run *run, float *out)
{
    static float x[T * HIDDEN], w[4][MOST];
    static uint16_t halves[4][MOST], x16[T * HIDDEN];
    static const int rows[4] = {Q, K, K, HIDDEN};
    const struct layer_case *const c = &layer_cases[run->variant];
    gqa_config config = small_config();
    gqa_weights weights;
    gqa_tensor *const to[] = {&weights.wq, &weights.wk, &weights.wv, &weights.wo};
    gqa_layer *layer;
    gqa_inputs in;
    gqa_output result;
    config.hidden_size = HIDDEN;
    gqa_weights_init(&weights);
    weights.in_place = c->in_place;
    fill(x, T * HIDDEN, HIDDEN, 0, 5);
    make(run, GQA_F32, x, x16, T * HIDDEN);
    for (int i = 0; i < 4; i++) {
        const int columns = i < 3 ? HIDDEN : Q;
        const gqa_dtype dtype = i == 0 || i == 3 ? c->dtype : GQA_F32;
        fill(w[i], (int64_t)rows[i] * columns, columns, i < 3 ? 1 : 0, 6u + (uint64_t)i);
        make(run, dtype, w[i], halves[i], (int64_t)rows[i] * columns);
        *to[i] = gqa_tensor_2d(dtype == GQA_F32 ? (const void *)w[i] : halves[i], dtype, rows[i],
                               columns);
    }
    layer = new_layer(run->isa, run->denormals, config, &weights);
    gqa_inputs_init(&in);
    gqa_output_init(&result);
    in.hidden_states = gqa_tensor_2d(x, GQA_F32, c->tokens, HIDDEN);
    result.hidden_states = gqa_tensor_2d(out, GQA_F32, c->tokens, HIDDEN);
    assert_int_equal(gqa_forward(layer, NULL, &in, &result, NULL, 0, NULL), GQA_OK);
    gqa_destroy(&layer);
    return (int64_t)c->tokens * HIDDEN;
}

/* Integers with large scales, on activations that are all denormal; variant 1: in place. */
static int64_t int8_layer(const struct run *run, float *out)
{
    static float x[9 * HIDDEN], scale[Q];
    static uint16_t halves[9 * HIDDEN];
    static int8_t w[MOST];
    gqa_config config = small_config();
    gqa_weights weights;
    gqa_layer *layer;
    gqa_inputs in;
    gqa_output result;
    uint64_t seed = 8;
    config.hidden_size = HIDDEN;
    config.weight_storage = GQA_WEIGHT_STORAGE_INT8;
    for (int i = 0; i < MOST; i++) {
        w[i] = (int8_t)(random_next(&seed) >> 56);
    }
    for (int i = 0; i < 9 * HIDDEN; i++) {
        x[i] = extreme(false, &seed);
    }
    for (int i = 0; i < Q; i++) {
        scale[i] = 1e30f;
    }
    make(run, GQA_F32, x, halves, 9 * HIDDEN);
    gqa_weights_init(&weights);
    weights.in_place = run->variant;
    weights.wq = gqa_tensor_2d(w, GQA_I8, Q, HIDDEN);
    weights.wk = weights.wv = gqa_tensor_2d(w + 99, GQA_I8, K, HIDDEN);
    weights.wo = gqa_tensor_2d(w, GQA_I8, HIDDEN, Q);
    weights.wq_scale = gqa_tensor_1d(scale, GQA_F32, Q);
    weights.wk_scale = weights.wv_scale = gqa_tensor_1d(scale, GQA_F32, K);
    weights.wo_scale = gqa_tensor_1d(scale, GQA_F32, HIDDEN);
    layer = new_layer(run->isa, run->denormals, config, &weights);
    gqa_inputs_init(&in);
    gqa_output_init(&result);
    in.hidden_states = gqa_tensor_2d(x, GQA_F32, 9, HIDDEN);
    result.hidden_states = gqa_tensor_2d(out, GQA_F32, 9, HIDDEN);
    assert_int_equal(gqa_forward(layer, NULL, &in, &result, NULL, 0, NULL), GQA_OK);
    gqa_destroy(&layer);
    return 9 * HIDDEN;
}

static void projections_flush(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layer_cases / sizeof layer_cases[0]; i++) {
        compare(whole_layer, (int)i);
    }
    compare(int8_layer, 0);
    compare(int8_layer, 1);
}

/* --- what may be asked ----------------------------------------------------------------------- */

/* Numerics bf16 flush anyway: the field changes nothing, and layers of both settings share a cache.
 */
static void bf16_flushes_anyway(void **state)
{
    static struct tensors t;
    static float out[2][T * Q];
    const struct run run = {.zeros = false};
    gqa_config config = small_config();
    gqa_layer *layers[2];
    gqa_cache *cache;
    (void)state;
    make_tensors(&run, GQA_F32, &t);
    config.numerics = GQA_NUMERICS_BF16;
    layers[0] = new_layer(GQA_ISA_SCALAR, GQA_DENORMALS_KEEP, config, NULL);
    layers[1] = new_layer(GQA_ISA_SCALAR, GQA_DENORMALS_FLUSH, config, NULL);
    cache = new_cache(layers[0], GQA_BF16);
    assert_int_equal(gqa_cache_append(cache, 0, &t.tk, &t.tv, NULL, NULL), GQA_OK);
    for (int i = 0; i < 2; i++) {
        gqa_attend_inputs in;
        gqa_attend_output result;
        gqa_attend_inputs_init(&in);
        gqa_attend_output_init(&result);
        in.query = t.tq;
        result.output = gqa_tensor_3d(out[i], GQA_F32, T, HQ, D);
        assert_int_equal(gqa_attend(layers[i], cache, &in, &result, NULL, 0, NULL), GQA_OK);
    }
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    gqa_cache_destroy(&cache);
    gqa_destroy(&layers[0]);
    gqa_destroy(&layers[1]);
}

/* A cache's pages hold what its layer stored. */
static void caches_are_not_shared(void **state)
{
    static struct tensors t;
    static float out[T * Q];
    const struct run run = {.zeros = false};
    gqa_layer *keeps = new_layer(GQA_ISA_AUTO, GQA_DENORMALS_KEEP, small_config(), NULL);
    gqa_layer *flushes = new_layer(GQA_ISA_AUTO, GQA_DENORMALS_FLUSH, small_config(), NULL);
    gqa_cache *cache = new_cache(keeps, GQA_F32);
    gqa_inputs in;
    gqa_output result;
    (void)state;
    make_tensors(&run, GQA_F32, &t);
    gqa_inputs_init(&in);
    gqa_output_init(&result);
    in.q_proj = t.tq, in.k_proj = t.tk, in.v_proj = t.tv;
    result.attn = gqa_tensor_3d(out, GQA_F32, T, HQ, D);
    refused(gqa_forward(flushes, cache, &in, &result, NULL, 0, &refusal), GQA_ERR_ARG, "cache",
            "config.denormals = 0; the layer has 1");
    assert_int_equal(gqa_cache_length(cache, 0), 0);
    gqa_cache_destroy(&cache);
    gqa_destroy(&keeps);
    gqa_destroy(&flushes);
}

/* --- what the CPU says ----------------------------------------------------------------------- */

enum { KEYS = 64, ROWS = 16 }; /* multiples of every set's panel_keys and lanes */

/* Attention of ROWS rows over KEYS keys by a kernel set's entries, packed with flush or without. */
static void run_attention(const struct gqa__kernels *kernels, bool flush)
{
    static struct tensors t;
    static _Alignas(64) unsigned char q[1 << 16], scratch[1 << 16];
    static float k[KEYS * D], v[KEYS * D], s[KEYS * ROWS], p[KEYS * ROWS], o[D * ROWS];
    static float m[ROWS], l[ROWS];
    const struct run run = {.zeros = false};
    const struct gqa__row_map map = {Q, D, HQ, 0, ROWS};
    struct gqa__append_args append = {
        .page = k, .stride = D, .n = KEYS, .src_stride = K, .dim = D, .flush = flush};
    make_tensors(&run, GQA_F32, &t);
#if defined(__SSE2__)
    _mm_setcsr(_mm_getcsr() & ~(unsigned)_MM_EXCEPT_MASK);
#endif
    kernels->pack_q(&(struct gqa__pack_q_args){q, t.q, &map, ROWS, D, 0.25f, flush, GQA_F32});
    append.src = t.k;
    kernels->append_k(&append);
    append.page = v;
    append.src = t.v;
    kernels->append_v(&append);
    kernels->score(&(struct gqa__score_args){s, q, k, D, KEYS, ROWS, D, NULL, scratch});
    kernels->softmax(
        &(struct gqa__softmax_args){.p = p, .m = m, .l = l, .s = s, .keys = KEYS, .ld = ROWS});
    kernels->accumulate(
        &(struct gqa__accumulate_args){o, p, v, D, KEYS, ROWS, D, GQA__ACC_FIRST, scratch});
}

/* With flush no operation of the vector kernels has met a denormal: the CPU has not raised the flag
 * that says so. Without, it has. */
static void no_denormal_operand(void **state)
{
#if defined(__SSE2__)
    struct kernels_under_test sets[MAX_KERNELS_UNDER_TEST];
    const int32_t count = list_kernels_under_test(sets);
    (void)state;
    for (int32_t i = 0; i < count; i++) {
        const struct gqa__kernels *const kernels = sets[i].kernels;
        if (kernels->numerics != GQA_NUMERICS_F32 || kernels->operand != GQA_F32) {
            continue;
        }
        run_attention(kernels, true);
        assert_false(_mm_getcsr() & _MM_EXCEPT_DENORM);
        run_attention(kernels, false);
        assert_true(_mm_getcsr() & _MM_EXCEPT_DENORM);
    }
#else
    (void)state;
    skip();
#endif
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_flushes),   cmocka_unit_test(projections_flush),
        cmocka_unit_test(bf16_flushes_anyway), cmocka_unit_test(caches_are_not_shared),
        cmocka_unit_test(no_denormal_operand),
    };
    return RUN_TESTS(argc, argv, tests);
}
