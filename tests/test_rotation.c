/* SPDX-License-Identifier: Apache-2.0 */
/* test_rotation.c - caches whose rows are stored rotated: what is read back, the same bits from
 * every kernel set, states in and out, conversion, refusals. What quantising loses:
 * test_rotation_loss. The layer as a whole against the double oracle: test_differential. More
 * grids: test_properties, test_cascade, and all tests of support/sequence_rig.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gqa/gqa.h"
#include "support/forced_isa.h"
#include "support/oracle.h"
#include "support/parallel.h"
#include "support/program.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/small_layer.h"
#include "support/stored_row.h"

enum { HQ = 6, HKV = 2, DK = 80, DV = 36, KEYS = 600, ROWS = 5, BYTES = 1 << 20 };

struct types {
    gqa_dtype k, v;
    int32_t rotate_k, rotate_v;
};

static const struct types rotated[] = {{GQA_I8, GQA_I8, 1, 1},
                                       {GQA_I4, GQA_I4, 1, 1},
                                       {GQA_E4M3, GQA_E4M3_240, 1, 1},
                                       {GQA_I8, GQA_E4M3, 0, 1},
                                       {GQA_E4M3, GQA_I4, 1, 0}};
enum { PAIRS = sizeof rotated / sizeof rotated[0] };

static float keys[KEYS][HKV][DK], values[KEYS][HKV][DV], queries[ROWS][HQ][DK];

struct answer {
    float out[ROWS][HQ][DV], lse[ROWS][HQ];
    float m[ROWS][HQ], l[ROWS][HQ], o[ROWS][HQ][DV];
};

static void draw(uint64_t seed)
{
    uint64_t state = seed;
    random_floats(&state, &keys[0][0][0], KEYS * HKV * DK, 1.0f);
    random_floats(&state, &values[0][0][0], KEYS * HKV * DV, 1.0f);
    random_floats(&state, &queries[0][0][0], ROWS * HQ * DK, 2.0f);
    for (int i = 0; i < KEYS; i++) {
        keys[i][0][5] *= 30.0f; /* channels that stand out */
        keys[i][1][70] *= 50.0f;
        values[i][1][33] *= 20.0f;
    }
}

static gqa_cache *open_cache(const gqa_layer *layer, const struct types *types, int32_t page_size)
{
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    gqa_error err;
    gqa_cache_options_init(&options, layer);
    options.max_tokens = KEYS;
    options.max_sequences = 3;
    options.page_size = page_size;
    options.dtype_k = types->k;
    options.dtype_v = types->v;
    options.rotate_k = types->rotate_k;
    options.rotate_v = types->rotate_v;
    if (gqa_cache_create(&cache, layer, &options, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
    return cache;
}

/* The first n tokens, in pieces of `piece`. */
static void append(gqa_cache *cache, int32_t n, int32_t piece)
{
    for (int32_t done = 0; done < n; done += piece) {
        const int32_t some = n - done < piece ? n - done : piece;
        const gqa_tensor k = gqa_tensor_3d(keys[done], GQA_F32, some, HKV, DK);
        const gqa_tensor v = gqa_tensor_3d(values[done], GQA_F32, some, HKV, DV);
        assert_int_equal(gqa_cache_append(cache, 0, &k, &v, NULL, NULL), GQA_OK);
    }
}

static size_t save(const gqa_cache *cache, int32_t sequence, unsigned char *bytes)
{
    size_t size = 0;
    assert_int_equal(gqa_cache_save_size(cache, sequence, &size, NULL), GQA_OK);
    assert_true(size <= BYTES);
    assert_int_equal(gqa_cache_save(cache, sequence, bytes, size, NULL), GQA_OK);
    return size;
}

static gqa_layer *open_layer(gqa_isa isa, gqa_numerics numerics, gqa_backend backend,
                             int32_t threads)
{
    gqa_config config = attention_config(HQ, HKV, DK, DV);
    gqa_runtime runtime;
    gqa_layer *layer = NULL;
    config.isa = isa;
    config.numerics = numerics;
    config.backend = backend;
    gqa_runtime_init(&runtime);
    runtime.num_threads = threads;
    runtime.parallel_for = threads > 1 ? parallel_threads : NULL;
    const gqa_status status = create_unforced(&layer, &config, NULL, &runtime, &refusal);
    assert_true(status == GQA_OK || status == GQA_ERR_UNSUPPORTED);
    return layer;
}

/* The last ROWS tokens of sequence 0 ask what is in [begin, end), after prior states. */
static void attend(const gqa_layer *layer, const gqa_cache *cache, int32_t begin, int32_t end,
                   const gqa_states *prior, struct answer *answer)
{
    gqa_attend_inputs in;
    gqa_attend_output out;
    size_t size;
    gqa_attend_inputs_init(&in);
    gqa_attend_output_init(&out);
    in.query = gqa_tensor_4d(queries, GQA_F32, 1, ROWS, HQ, DK);
    in.range_begin = begin;
    in.range_end = end;
    in.prior = prior;
    out.output = gqa_tensor_4d(answer->out, GQA_F32, 1, ROWS, HQ, DV);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, 1, ROWS, HQ);
    out.states.m = gqa_tensor_3d(answer->m, GQA_F32, 1, ROWS, HQ);
    out.states.l = gqa_tensor_3d(answer->l, GQA_F32, 1, ROWS, HQ);
    out.states.o = gqa_tensor_4d(answer->o, GQA_F32, 1, ROWS, HQ, DV);
    assert_int_equal(gqa_attend_workspace_size(layer, cache, &in, &out, &size, &refusal), GQA_OK);
    void *const workspace = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(workspace);
    if (gqa_attend(layer, cache, &in, &out, workspace, size, &refusal) != GQA_OK) {
        fail_msg("%s", refusal.message);
    }
    free(workspace);
}

/* ---- what is stored ---- */

/* A row with one element other than zero: all codes of its block are the largest one or all are 0,
 * so it comes back with zeros elsewhere, and itself within a few roundings: of the rotations (test_
 * hadamard), scale and product. */
static void one_channel_comes_back(void **state)
{
    gqa_layer *layer = open_layer(GQA_ISA_SCALAR, GQA_NUMERICS_F32, GQA_BACKEND_CPU, 1);
    static float k[HKV][1][DK], v[HKV][1][DV];
    const gqa_tensor to_k = gqa_tensor_3d(k, GQA_F32, HKV, 1, DK);
    const gqa_tensor to_v = gqa_tensor_3d(v, GQA_F32, HKV, 1, DV);
    (void)state;
    for (int i = 0; i < 3; i++) {
        gqa_cache *cache = open_cache(layer, &rotated[i], 16);
        memset(keys, 0, sizeof keys);
        memset(values, 0, sizeof values);
        for (int d = 0; d < DK; d++) {
            keys[d][0][d] = 100.0f + (float)d;
            values[d][1][d % DV] = -3.3f;
        }
        append(cache, DK, 7);
        for (int t = 0; t < DK; t++) {
            assert_int_equal(gqa_cache_read(cache, 0, t, &to_k, &to_v, NULL, NULL), GQA_OK);
            for (int d = 0; d < DK; d++) {
                const float want = d == t ? 100.0f + (float)d : 0.0f;
                assert_true(fabsf(k[0][0][d] - want) <= want * 0x1p-20f && k[1][0][d] == 0.0f);
            }
            for (int d = 0; d < DV; d++) {
                const float want = d == t % DV ? -3.3f : 0.0f;
                assert_true(fabsf(v[1][0][d] - want) <= -want * 0x1p-20f && v[0][0][d] == 0.0f);
            }
        }
        gqa_cache_destroy(&cache);
    }
    gqa_destroy(&layer);
}

/* ---- the same bits ---- */

/* Every kernel set, page size, number of threads and cut, against the scalar kernels of the same
 * numerics with pages of 128. What is stored is the same for all, and independent of numerics. */
static void every_kernel_set_gives_the_same_bits(void **state)
{
    static const gqa_isa sets[] = {GQA_ISA_SCALAR, GQA_ISA_AVX2, GQA_ISA_AVX512, GQA_ISA_AMX,
                                   GQA_ISA_NEON};
    static struct answer want, got;
    unsigned char *const bytes = malloc(BYTES), *const other = malloc(BYTES);
    (void)state;
    assert_true(bytes != NULL && other != NULL);
    draw(11);
    for (int i = 0; i < 2 * PAIRS; i++) {
        const struct types *const types = &rotated[i / 2];
        const gqa_numerics numerics = i % 2 == 0 ? GQA_NUMERICS_F32 : GQA_NUMERICS_BF16;
        gqa_layer *truth = open_layer(GQA_ISA_SCALAR, numerics, GQA_BACKEND_CPU, 1);
        gqa_cache *cache = open_cache(truth, types, 128);
        append(cache, KEYS, KEYS);
        const size_t size = save(cache, 0, bytes);
        attend(truth, cache, 0, 0, NULL, &want);
        gqa_cache_destroy(&cache);
        gqa_destroy(&truth);
        for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
            for (int32_t page = 16, threads = 1; page <= 512;
                 page *= 2, threads = threads % 3 + 1) {
                gqa_layer *layer = open_layer(sets[s], numerics, GQA_BACKEND_CPU, threads);
                if (layer == NULL) {
                    break;
                }
                cache = open_cache(layer, types, page);
                append(cache, KEYS, page - 3);
                assert_int_equal(save(cache, 0, other), size);
                assert_memory_equal(bytes, other, size);
                attend(layer, cache, 0, 0, NULL, &got);
                assert_memory_equal(&want, &got, sizeof got);
                gqa_cache_destroy(&cache);
                gqa_destroy(&layer);
            }
        }
    }
    free(bytes);
    free(other);
}

/* ---- states ---- */

/* The largest size in V, as it is read. */
static double most_of(const gqa_cache *cache)
{
    static float v[HKV][KEYS][DV];
    const gqa_tensor to = gqa_tensor_3d(v, GQA_F32, HKV, KEYS, DV);
    double most = 0.0;
    assert_int_equal(gqa_cache_read(cache, 0, 0, NULL, &to, NULL, NULL), GQA_OK);
    for (int i = 0; i < HKV * KEYS * DV; i++) {
        most = fmax(most, fabs((double)(&v[0][0][0])[i]));
    }
    return most;
}

/* States are of V as it was handed over: two parts, one of them as the prior of the other, give
 * what one walk gives. Bits may differ: of an output each part's rotation rounds ilogb(32) + 3
 * times, of sums of at most sqrt(32) times rotated elements of at most sqrt(32) times the largest;
 * and merges round 4 times. And rows of a type without rotation agree with the same: no state is
 * rotated. */
static void states_are_not_rotated(void **state)
{
    static struct answer whole, left, both;
    (void)state;
    draw(12);
    for (int i = 0; i < PAIRS; i++) {
        gqa_layer *layer = open_layer(GQA_ISA_AUTO, GQA_NUMERICS_F32, GQA_BACKEND_CPU, 2);
        gqa_cache *cache = open_cache(layer, &rotated[i], 32);
        append(cache, KEYS, 100);
        attend(layer, cache, 0, 0, NULL, &whole);
        attend(layer, cache, 0, 512, NULL, &left);
        const gqa_states prior = {.m = gqa_tensor_3d(left.m, GQA_F32, 1, ROWS, HQ),
                                  .l = gqa_tensor_3d(left.l, GQA_F32, 1, ROWS, HQ),
                                  .o = gqa_tensor_4d(left.o, GQA_F32, 1, ROWS, HQ, DV),
                                  .key_begin = 0,
                                  .key_end = 512};
        attend(layer, cache, 512, 0, &prior, &both);
        const double bound = (3 * (5 + 3) * 32 + 4) * ORACLE_U * most_of(cache);
        for (int r = 0; r < ROWS * HQ; r++) {
            assert_memory_equal(&(&whole.lse[0][0])[r], &(&both.lse[0][0])[r], sizeof(float));
            for (int d = 0; d < DV; d++) {
                const float a = (&whole.out[0][0][0])[r * DV + d];
                const float b = (&both.out[0][0][0])[r * DV + d];
                const float o = (&whole.o[0][0][0])[r * DV + d];
                assert_true(fabs((double)a - (double)b) <= bound);
                /* out is o / l, which rounds a few times, and no more. */
                assert_true(fabs((double)o / (double)(&whole.l[0][0])[r] - (double)a) <=
                            4 * ORACLE_U * fabs((double)a));
                assert_true(rotated[i].rotate_v != 0 || a == b);
            }
        }
        gqa_cache_destroy(&cache);
        gqa_destroy(&layer);
    }
}

/* ---- denormals, health ---- */

/* FLUSH takes the denormals of what is handed over, before it is rotated: the bytes are those of a
 * cache with KEEP to which zeros were appended. */
static void denormals_are_flushed_before(void **state)
{
    unsigned char *const bytes = malloc(BYTES), *const other = malloc(BYTES);
    struct answer answers[2];
    (void)state;
    assert_true(bytes != NULL && other != NULL);
    for (int i = 0; i < PAIRS; i++) {
        size_t size = 0;
        for (int keep = 0; keep < 2; keep++) {
            gqa_config config = attention_config(HQ, HKV, DK, DV);
            gqa_runtime runtime;
            draw(13);
            config.denormals = keep ? GQA_DENORMALS_KEEP : GQA_DENORMALS_FLUSH;
            gqa_runtime_init(&runtime);
            gqa_layer *layer = attention_layer(&config, &runtime);
            gqa_cache *cache = open_cache(layer, &rotated[i], 16);
            for (int t = 0; t < 40; t++) {
                for (int d = 0; d < DK; d++) {
                    const float denormal = keep ? 0.0f : 0x1.9p-127f;
                    keys[t][0][d] = d % 2 == 0 ? denormal : (2.0f + keys[t][1][d]) * 0x1p-125f;
                    values[t][1][d % DV] =
                        d % 3 == 0 ? (keep ? 0.0f : 0x1p-130f) : 0x1p-119f * (float)(d % 7);
                }
            }
            for (int r = 0; r < ROWS; r++) {
                queries[r][0][r] = keep ? 0.0f : 0x1p-128f;
            }
            append(cache, 40, 40);
            if (keep) {
                assert_int_equal(save(cache, 0, other), size);
                assert_memory_equal(bytes, other, size);
            } else {
                size = save(cache, 0, bytes);
            }
            attend(layer, cache, 0, 0, NULL, &answers[keep]);
            gqa_cache_destroy(&cache);
            gqa_destroy(&layer);
        }
        assert_memory_equal(&answers[0], &answers[1], sizeof answers[0]);
    }
    free(bytes);
    free(other);
}

static void report(const gqa_layer *layer, gqa_cache *cache, gqa_health *health)
{
    static float attn[ROWS][HQ][DV];
    gqa_inputs in;
    gqa_output out;
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    gqa_health_init(health);
    in.q_proj = gqa_tensor_4d(queries, GQA_F32, 1, ROWS, HQ, DK);
    in.k_proj = gqa_tensor_4d(keys, GQA_F32, 1, ROWS, HKV, DK);
    in.v_proj = gqa_tensor_4d(values, GQA_F32, 1, ROWS, HKV, DV);
    out.attn = gqa_tensor_4d(attn, GQA_F32, 1, ROWS, HQ, DV);
    out.health = health;
    if (gqa_forward(layer, cache, &in, &out, NULL, 0, &refusal) != GQA_OK) {
        fail_msg("%s", refusal.message);
    }
}

/* What storing did to ROWS tokens in int8, counted by support/stored_row.h. */
static void expect_stored(const gqa_health_stored *got, const float *x, int dim)
{
    gqa_health_stored want = {.values = (int64_t)ROWS * HKV * dim};
    for (int i = 0; i < ROWS * HKV; i++, x += dim) {
        struct stored_row row;
        float y[STORED_ROW_MOST];
        memcpy(y, x, (size_t)dim * sizeof *y);
        stored_rotate(y, dim);
        stored_row(&row, y, dim, GQA_I8);
        for (int d = 0; d < dim; d++) {
            want.lost += isnan(row.scale[0]) && !isnan(x[d]);
            want.vanished += !isnan(row.scale[0]) && row.code[d] == 0.0 && y[d] != 0.0f;
            want.saturated += fabs(row.code[d]) == 127.0;
        }
    }
    assert_memory_equal(got, &want, sizeof want);
}

/* A report counts Q, K and V as they were handed over, and what storing did to the rows that were
 * quantised: the rotated ones. */
static void health_is_of_what_was_handed_over(void **state)
{
    const struct types plain = {GQA_I8, GQA_I8, 0, 0};
    gqa_layer *layer = open_layer(GQA_ISA_AUTO, GQA_NUMERICS_F32, GQA_BACKEND_CPU, 1);
    gqa_health a, b;
    (void)state;
    draw(14);
    keys[1][0][3] = NAN;
    keys[2][1][4] = 0x1p-130f;
    values[3][0][2] = INFINITY;
    values[3][1][2] = 0x1p-140f;
    queries[4][2][7] = 0x1p-127f;
    gqa_cache *caches[2] = {open_cache(layer, &plain, 16), open_cache(layer, &rotated[0], 16)};
    report(layer, caches[0], &a);
    report(layer, caches[1], &b);
    assert_int_equal(b.k.nan, 1);
    assert_int_equal(b.v.inf, 1);
    assert_memory_equal(&a.q, &b.q, sizeof a.q);
    assert_memory_equal(&a.k, &b.k, sizeof a.k);
    assert_memory_equal(&a.v, &b.v, sizeof a.v);
    expect_stored(&b.stored_k, &keys[0][0][0], DK);
    expect_stored(&b.stored_v, &values[0][0][0], DV);
    gqa_cache_destroy(&caches[0]);
    gqa_cache_destroy(&caches[1]);
    gqa_destroy(&layer);
}

/* ---- from cache to cache ---- */

/* Sequence 0 of `from` converted to sequence 1 of `to` by load and to 2 by copy is what appending
 * what is read of it gives. */
static void expect_converted(gqa_cache *from, gqa_cache *to)
{
    static float k[HKV][KEYS][DK], v[HKV][KEYS][DV];
    unsigned char *const bytes = malloc(BYTES), *const other = malloc(BYTES);
    assert_true(bytes != NULL && other != NULL);
    const size_t size = save(from, 0, bytes);
    refused(gqa_cache_load(to, 1, bytes, size, 0, &refusal), GQA_ERR_ARG, "bytes", "convert");
    refused(gqa_cache_copy(to, 2, from, 0, 0, &refusal), GQA_ERR_ARG, "from", "convert");
    assert_int_equal(gqa_cache_length(to, 1) + gqa_cache_length(to, 2), 0);
    assert_int_equal(gqa_cache_load(to, 1, bytes, size, 1, &refusal), GQA_OK);
    assert_int_equal(gqa_cache_copy(to, 2, from, 0, 1, &refusal), GQA_OK);
    const int32_t n = gqa_cache_length(from, 0);
    gqa_tensor key = gqa_tensor_3d(k, GQA_F32, HKV, n, DK);
    gqa_tensor value = gqa_tensor_3d(v, GQA_F32, HKV, n, DV);
    assert_int_equal(gqa_cache_read(from, 0, 0, &key, &value, NULL, &refusal), GQA_OK);
    key.shape[0] = value.shape[0] = n; /* [tokens, Hkv, D] of the same memory */
    key.shape[1] = value.shape[1] = HKV;
    key.stride[0] = DK, key.stride[1] = (int64_t)n * DK, key.stride[2] = 1;
    value.stride[0] = DV, value.stride[1] = (int64_t)n * DV, value.stride[2] = 1;
    assert_int_equal(gqa_cache_append(to, 0, &key, &value, NULL, &refusal), GQA_OK);
    const size_t want = save(to, 0, bytes);
    for (int32_t s = 1; s < 3; s++) {
        assert_int_equal(save(to, s, other), want);
        assert_memory_equal(bytes, other, want);
        assert_int_equal(gqa_cache_truncate(to, s, 0, NULL), GQA_OK);
    }
    assert_int_equal(gqa_cache_truncate(to, 0, 0, NULL), GQA_OK);
    free(bytes);
    free(other);
}

/* Where K's form is the same its codes are kept, also where V's is not: that is not asked here, so
 * both differ in each pair. */
static void another_rotation_is_converted(void **state)
{
    static const struct types forms[] = {{GQA_I8, GQA_I4, 0, 0},
                                         {GQA_I8, GQA_I4, 1, 1},
                                         {GQA_E4M3, GQA_E4M3, 0, 1},
                                         {GQA_F32, GQA_BF16, 0, 0}};
    gqa_layer *layer = open_layer(GQA_ISA_AUTO, GQA_NUMERICS_F32, GQA_BACKEND_CPU, 1);
    (void)state;
    draw(15);
    keys[3][0][1] = NAN;
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            gqa_cache *from = open_cache(layer, &forms[i], 32);
            gqa_cache *to = open_cache(layer, &forms[j], 32);
            append(from, 77, 77);
            if (i != j) {
                expect_converted(from, to);
            }
            gqa_cache_destroy(&from);
            gqa_cache_destroy(&to);
        }
    }
    gqa_destroy(&layer);
}

/* ---- refusals ---- */

static void refuse(const gqa_layer *layer, const struct types *types, gqa_status want,
                   const char *field, const char *text)
{
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    size_t size = 0;
    gqa_cache_options_init(&options, layer);
    assert_true(options.rotate_k == 0 && options.rotate_v == 0);
    options.max_tokens = 64;
    options.dtype_k = types->k;
    options.dtype_v = types->v;
    options.rotate_k = types->rotate_k;
    options.rotate_v = types->rotate_v;
    refused(gqa_cache_create(&cache, layer, &options, &refusal), want, field, text);
    refused(gqa_cache_size(layer, &options, &size, &refusal), want, field, text);
    assert_null(cache);
}

static void what_cannot_be_is_refused(void **state)
{
    static const gqa_dtype plain[] = {GQA_F32, GQA_BF16, GQA_F16};
    gqa_layer *layer = open_layer(GQA_ISA_AUTO, GQA_NUMERICS_F32, GQA_BACKEND_CPU, 1);
    (void)state;
    for (int i = 0; i < 3; i++) {
        const struct types k = {plain[i], GQA_I8, 1, 0}, v = {GQA_I8, plain[i], 0, 1};
        refuse(layer, &k, GQA_ERR_UNSUPPORTED, "options.rotate_k", "only the quantised");
        refuse(layer, &v, GQA_ERR_UNSUPPORTED, "options.rotate_v", "only the quantised");
    }
    const struct types two = {GQA_I8, GQA_I8, 2, 0}, minus = {GQA_I8, GQA_I8, 0, -1};
    refuse(layer, &two, GQA_ERR_ARG, "options.rotate_k", "is 2; it must be 0 or 1");
    refuse(layer, &minus, GQA_ERR_ARG, "options.rotate_v", "is -1; it must be 0 or 1");
    gqa_destroy(&layer);
}

static void put_word(unsigned char *bytes, uint32_t word)
{
    for (int i = 0; i < 4; i++) {
        bytes[i] = (unsigned char)(word >> 8 * i);
    }
}

/* The header says so beside the storage types; what no cache has is refused. */
static void bytes_say_that_rows_are_rotated(void **state)
{
    gqa_layer *layer = open_layer(GQA_ISA_AUTO, GQA_NUMERICS_F32, GQA_BACKEND_CPU, 1);
    unsigned char *const bytes = malloc(BYTES);
    (void)state;
    assert_non_null(bytes);
    draw(16);
    for (int i = 0; i < PAIRS; i++) {
        gqa_cache *cache = open_cache(layer, &rotated[i], 16);
        append(cache, 3, 3);
        const size_t size = save(cache, 0, bytes);
        assert_int_equal(bytes[44], rotated[i].k);
        assert_int_equal(bytes[45], rotated[i].rotate_k);
        assert_int_equal(bytes[48], rotated[i].v);
        assert_int_equal(bytes[49], rotated[i].rotate_v);
        put_word(bytes + 44, 256 + GQA_BF16);
        refused(gqa_cache_load(cache, 1, bytes, size, 1, &refusal), GQA_ERR_UNSUPPORTED, "bytes",
                "K is of type 1 and rotated");
        put_word(bytes + 44, 512 + GQA_I8);
        refused(gqa_cache_load(cache, 1, bytes, size, 1, &refusal), GQA_ERR_UNSUPPORTED, "bytes",
                "K is of type 517");
        gqa_cache_destroy(&cache);
    }
    free(bytes);
    gqa_destroy(&layer);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_channel_comes_back),
        cmocka_unit_test(every_kernel_set_gives_the_same_bits),
        cmocka_unit_test(states_are_not_rotated),
        cmocka_unit_test(denormals_are_flushed_before),
        cmocka_unit_test(health_is_of_what_was_handed_over),
        cmocka_unit_test(another_rotation_is_converted),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(bytes_say_that_rows_are_rotated),
    };
    return RUN_TESTS(argc, argv, tests);
}
