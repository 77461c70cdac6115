/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_integer.c - attention over integer K and V (kernel/contract/integer.h) by every
 * table that this machine runs: scores bit by bit against sums in int64_t that are written down
 * here, values against double, and every table against the plain one bit by bit. Buffers end at a
 * page that may not be touched.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "kernel/scalar/scalar.h"
#include "support/guarded_buffer.h"
#include "support/integer_tables.h"
#include "support/program.h"
#include "support/random.h"

enum { PAGE = 512, MOST_LD = 128, MOST_DIM = 512, MOST_RUNS = 16 };

static char current[256]; /* parameters of the running case */

static void check(int good)
{
    if (!good) {
        print_error("%s", current);
        fail();
    }
}

/* --- a case --------------------------------------------------------------------------------- */

struct stored {
    gqa_dtype type;
    int32_t dim;
    int64_t step; /* bytes from a row to the next */
    struct guarded_buffer row[MOST_RUNS], scale[MOST_RUNS];
};

struct scene {
    int32_t rows, ld, dk, dv, keys, runs;
    int32_t run_keys[MOST_RUNS];
    struct stored k, v;
    float q[MOST_LD][MOST_DIM];
    gqa_dtype q_type;
    uint16_t half[MOST_LD][MOST_DIM]; /* q, where the type has 16 bits */
    struct gqa__row_map map;
    float scale;
    struct gqa__score_rules rules;
    int32_t lo[MOST_LD], hi[MOST_LD];
};

/* What a table gave. */
struct outcome {
    float s[256 * MOST_LD];
    float m[MOST_LD], l[MOST_LD], o[MOST_DIM * MOST_LD];
};

static int32_t value_at(const struct stored *stored, int32_t run, int32_t key, int32_t d)
{
    const unsigned char *row = (const unsigned char *)stored->row[run].data + key * stored->step;

    if (stored->type == GQA_I8) {
        return row[d] < 128 ? row[d] : row[d] - 256;
    }
    const int32_t half =
        d % 32 < 16 ? row[d / 32 * 16 + d % 16] % 16 : row[d / 32 * 16 + d % 16] / 16;
    return half < 8 ? half : half - 16;
}

static float scale_at(const struct stored *stored, const struct scene *scene, int32_t run,
                      int32_t key, int32_t d)
{
    const int32_t group = stored->type == GQA_I8 ? 0 : d / 32;
    return ((const float *)stored->scale[run].data)[group * scene->run_keys[run] + key];
}

/* Rows one after the other, as pages have them, or apart, as a host may; so scales below 0, and the
 * code -128. */
static void fill_stored(struct stored *stored, const struct scene *scene, uint64_t *state)
{
    const int64_t bytes = gqa__integer_row_bytes(stored->type, stored->dim);
    const int32_t groups = gqa__row_scales(stored->type, stored->dim);
    const bool extreme = random_between(state, 0, 3) == 0;
    const bool of_host = random_between(state, 0, 2) == 0;
    const int32_t top = stored->type == GQA_I8 ? 127 : 7;
    const int32_t low = of_host && stored->type == GQA_I8 ? -128 : -top;

    stored->step = bytes + (of_host ? random_between(state, 0, 40) : 0);
    for (int32_t i = 0; i < scene->runs; i++) {
        const int32_t keys = scene->run_keys[i];
        stored->row[i] = guarded_new((size_t)(stored->step * (keys - 1) + bytes));
        stored->scale[i] = guarded_new((size_t)groups * (size_t)keys * sizeof(float));
        memset(stored->row[i].data, 0, stored->row[i].size);
        for (int32_t key = 0; key < keys; key++) {
            unsigned char *row = (unsigned char *)stored->row[i].data + key * stored->step;
            for (int32_t d = 0; d < stored->dim; d++) {
                const int32_t x = !extreme ? random_between(state, low, top) : of_host ? low : top;
                if (stored->type == GQA_I8) {
                    row[d] = (unsigned char)x;
                } else {
                    row[d / 32 * 16 + d % 16] |= (unsigned char)((x & 15) << (d % 32 < 16 ? 0 : 4));
                }
            }
        }
        for (int64_t g = 0; g < (int64_t)groups * keys; g++) {
            const float sign = of_host && random_between(state, 0, 3) == 0 ? -0.01f : 0.01f;
            ((float *)stored->scale[i].data)[g] = (1.5f + random_float(state)) * sign;
        }
    }
}

static void free_stored(struct stored *stored, int32_t runs)
{
    for (int32_t i = 0; i < runs; i++) {
        check(guarded_free(&stored->row[i]) && guarded_free(&stored->scale[i]));
    }
}

/* A random case for lanes of that many. */
static void make_scene(struct scene *scene, int32_t lanes, uint64_t *state)
{
    static const int32_t dims[] = {1, 8, 31, 32, 33, 64, 80, 96, 128, 192, 256, 512};

    memset(scene, 0, sizeof *scene);
    scene->rows = random_between(state, 0, 2) == 0 ? random_between(state, 1, MOST_LD)
                                                   : random_between(state, 1, 17);
    scene->ld = (scene->rows + lanes - 1) / lanes * lanes;
    scene->dk = dims[random_between(state, 0, 11)];
    scene->dv = dims[random_between(state, 0, 11)];
    for (int32_t most = random_between(state, 0, 1) == 0 ? 16 : 256; scene->keys < 256;) {
        const int32_t n = 16 * random_between(state, 1, most / 16);
        if (scene->keys + n > 256 || (scene->runs > 0 && random_between(state, 0, 6) == 0)) {
            break;
        }
        scene->run_keys[scene->runs++] = n;
        scene->keys += n;
    }
    if (scene->runs == 0) {
        scene->run_keys[scene->runs++] = scene->keys = 16;
    }
    scene->k.type = random_between(state, 0, 1) == 0 ? GQA_I8 : GQA_I4;
    scene->v.type = random_between(state, 0, 1) == 0 ? GQA_I8 : GQA_I4;
    scene->k.dim = scene->dk;
    scene->v.dim = scene->dv;
    fill_stored(&scene->k, scene, state);
    fill_stored(&scene->v, scene, state);
    random_floats(state, &scene->q[0][0], (int64_t)MOST_LD * MOST_DIM, 2.0f);
    scene->map = (struct gqa__row_map){
        .token_stride = MOST_DIM, .head_stride = 0, .group = 1, .count = scene->rows};
    scene->scale = 0.18f;
    if (random_between(state, 0, 1) == 0) { /* each row sees some keys; some see none */
        for (int32_t r = 0; r < scene->ld; r++) {
            scene->lo[r] = random_between(state, 0, scene->keys);
            scene->hi[r] = random_between(state, 0, scene->keys);
        }
        scene->rules = (struct gqa__score_rules){
            .keys = scene->keys, .ld = scene->ld, .lo = scene->lo, .hi = scene->hi};
    }
}

/* The queries become numbers of this type, and are handed over as such. */
static void type_queries(struct scene *scene, gqa_dtype type)
{
    scene->q_type = type;
    for (int32_t i = 0; i < MOST_LD * MOST_DIM && type != GQA_F32; i++) {
        float *const q = &scene->q[0][0] + i;
        const uint16_t half = type == GQA_BF16 ? gqa__f32_to_bf16(*q) : gqa__f32_to_f16(*q);
        scene->half[i / MOST_DIM][i % MOST_DIM] = half;
        *q = type == GQA_BF16 ? gqa__bf16_to_f32(half) : gqa__f16_to_f32(half);
    }
}

static void free_scene(struct scene *scene)
{
    free_stored(&scene->k, scene->runs);
    free_stored(&scene->v, scene->runs);
}

static struct gqa__integer_rows rows_of(const struct stored *stored, const struct scene *scene,
                                        int32_t run)
{
    return (struct gqa__integer_rows){.row = stored->row[run].data,
                                      .row_step = stored->step,
                                      .scale = stored->scale[run].data,
                                      .scale_step = scene->run_keys[run]};
}

/* The table's scores and state. By score and values, or, whole, by block with a list of memory to
 * prefetch. No denormal is large enough to count, so flushing Q changes nothing. */
static void compute(const struct gqa__integer_kernels *kernels, const struct scene *scene,
                    bool whole, struct outcome *got)
{
    const size_t lanes = (size_t)scene->ld;
    struct guarded_buffer q = guarded_new(kernels->q_bytes(scene->dk, scene->ld));
    struct guarded_buffer scratch = guarded_new(kernels->scratch_bytes(scene->dk, scene->dv));
    struct guarded_buffer s = guarded_new(256 * lanes * sizeof(float));
    struct guarded_buffer p = guarded_new(256 * lanes * sizeof(float));
    struct guarded_buffer m = guarded_new(lanes * sizeof(float));
    struct guarded_buffer l = guarded_new(lanes * sizeof(float));
    struct guarded_buffer o = guarded_new((size_t)scene->dv * lanes * sizeof(float));
    const struct gqa__prefetch ahead = {scene->k.row[0].data, scene->k.row[0].size};
    struct gqa__integer_run run[MOST_RUNS];
    const struct gqa__integer_block block = {.q = q.data,
                                             .ld = scene->ld,
                                             .dk = scene->dk,
                                             .dv = scene->dv,
                                             .rows = scene->rows,
                                             .keys = scene->keys,
                                             .runs = scene->runs,
                                             .run = run,
                                             .rules = scene->rules.keys > 0 ? &scene->rules : NULL,
                                             .type_k = scene->k.type,
                                             .type_v = scene->v.type,
                                             .s = s.data,
                                             .p = p.data,
                                             .scratch = scratch.data,
                                             .state = {m.data, l.data, o.data},
                                             .prefetch = &ahead,
                                             .prefetches = whole ? 1 : 0};

    for (int32_t i = 0; i < scene->runs; i++) {
        run[i] = (struct gqa__integer_run){rows_of(&scene->k, scene, i),
                                           rows_of(&scene->v, scene, i), scene->run_keys[i]};
    }
    kernels->pack_q(&(struct gqa__pack_q_args){
        .dst = q.data,
        .q = scene->q_type == GQA_F32 ? (const void *)scene->q : (const void *)scene->half,
        .q_type = scene->q_type,
        .flush = whole,
        .map = &scene->map,
        .ld = scene->ld,
        .dk = scene->dk,
        .scale = scene->scale});
    if (whole) {
        kernels->block(&block);
    } else {
        const struct gqa__kernels *plain = gqa__scalar_baseline(GQA_NUMERICS_F32);
        kernels->score(&block);
        memcpy(got->s, s.data, (size_t)scene->keys * lanes * sizeof(float));
        if (block.rules != NULL) {
            plain->apply_rules(s.data, block.rules);
        }
        kernels->values(&block);
    }
    memcpy(got->m, m.data, lanes * sizeof(float));
    memcpy(got->l, l.data, lanes * sizeof(float));
    memcpy(got->o, o.data, (size_t)scene->dv * lanes * sizeof(float));
    check(guarded_free(&q) && guarded_free(&scratch) && guarded_free(&s) && guarded_free(&p));
    check(guarded_free(&m) && guarded_free(&l) && guarded_free(&o));
}

/* --- the rule, written down once more -----------------------------------------------------------
 */

/* Q of a row as integers, and its factor. */
static float query_integers(const struct scene *scene, int32_t r, int64_t *integer)
{
    float top = 0.0f;

    for (int32_t d = 0; d < scene->dk; d++) {
        top = fmaxf(top, fabsf(scene->q[r][d] * scene->scale));
    }
    for (int32_t d = 0; d < scene->dk; d++) {
        const float t = scene->q[r][d] * scene->scale;
        integer[d] = top < 0x1p-100f ? 0 : lrintf(t * (32512.0f / top));
    }
    return top < 0x1p-100f ? 0.0f : top / 32512.0f;
}

static void check_scores(const struct scene *scene, const struct outcome *got)
{
    int64_t integer[MOST_DIM];

    for (int32_t r = 0; r < scene->rows; r++) {
        const float factor = query_integers(scene, r, integer);
        for (int32_t run = 0, at = 0; run < scene->runs; at += scene->run_keys[run++]) {
            for (int32_t key = 0; key < scene->run_keys[run]; key++) {
                float want = 0.0f;
                const int32_t step = scene->k.type == GQA_I8 ? scene->dk : 32;
                for (int32_t first = 0; first < scene->dk; first += step) {
                    int64_t sum = 0;
                    for (int32_t d = first; d < first + step && d < scene->dk; d++) {
                        sum += integer[d] * value_at(&scene->k, run, key, d);
                    }
                    want = fmaf((float)sum, factor * scale_at(&scene->k, scene, run, key, first),
                                want);
                }
                const float have = got->s[(int64_t)(at + key) * scene->ld + r];
                if (memcmp(&want, &have, sizeof want) != 0) {
                    print_error("row %d key %d: %a, not %a\n", (int)r, (int)(at + key),
                                (double)have, (double)want);
                    check(0);
                }
            }
        }
    }
}

static bool seen(const struct scene *scene, int32_t r, int32_t key)
{
    return scene->rules.keys == 0 || (scene->lo[r] <= key && key < scene->hi[r]);
}

/* m and l of a row in double, from the scores; p [keys]. */
static double soft(const struct scene *scene, const struct outcome *got, int32_t r, double *p,
                   double *m)
{
    double l = 0.0;

    *m = -INFINITY;
    for (int32_t key = 0; key < scene->keys; key++) {
        const double s = got->s[(int64_t)key * scene->ld + r];
        *m = seen(scene, r, key) && s > *m ? s : *m;
    }
    for (int32_t key = 0; key < scene->keys; key++) {
        const double s = got->s[(int64_t)key * scene->ld + r];
        p[key] = seen(scene, r, key) ? exp2(s - *m) : 0.0;
        l += p[key];
    }
    return l;
}

/* One output in double, and how far the rule's may be from it: a weight is off by half an integer,
 * top / 65024, and by 4 roundings of f32 and the exponential's (2^-21 of it); the sum's two
 * roundings are 2^-22 of it. */
static void check_value(const struct scene *scene, const struct outcome *got, int32_t r, int32_t d,
                        const double *p)
{
    double o = 0.0, top = 0.0, sum = 0.0, sizes = 0.0;

    for (int32_t run = 0, at = 0; run < scene->runs; at += scene->run_keys[run++]) {
        for (int32_t key = 0; key < scene->run_keys[run]; key++) {
            const double w = p[at + key] * scale_at(&scene->v, scene, run, key, d);
            const double v = value_at(&scene->v, run, key, d);
            o += w * v;
            sizes += fabs(w * v);
            sum += seen(scene, r, at + key) ? fabs(v) : 0.0;
            top = fmax(top, fabs(w));
        }
    }
    const double bound = sum * top / 65024 * (1 + 0x1p-20) + sizes * 0x1p-20 + 0x1p-120;
    const double have = got->o[(int64_t)d * scene->ld + r];
    if (!(fabs(have - o) <= bound)) {
        print_error("row %d dim %d: %g, not %g within %g\n", (int)r, (int)d, have, o, bound);
        check(0);
    }
}

static void check_values(const struct scene *scene, const struct outcome *got)
{
    double p[256], m;

    for (int32_t r = 0; r < scene->rows; r++) {
        const double l = soft(scene, got, r, p, &m);
        check(got->m[r] == m);
        check(fabs(got->l[r] - l) <= l * 0x1p-20);
        for (int32_t d = 0; d < scene->dv; d++) {
            check_value(scene, got, r, d, p);
        }
    }
}

/* --- tables ----------------------------------------------------------------------------------- */

static void same_rows(const char *what, const struct scene *scene, const float *a, const float *b,
                      int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        for (int32_t r = 0; r < scene->rows; r++) {
            if (memcmp(a + i * scene->ld + r, b + i * scene->ld + r, sizeof *a) != 0) {
                print_error("%s[%d] of row %d: %a, not %a\n", what, (int)i, (int)r,
                            (double)a[i * scene->ld + r], (double)b[i * scene->ld + r]);
                check(0);
            }
        }
    }
}

static void same_state(const struct scene *scene, const struct outcome *a, const struct outcome *b)
{
    same_rows("m", scene, a->m, b->m, 1);
    same_rows("l", scene, a->l, b->l, 1);
    same_rows("o", scene, a->o, b->o, scene->dv);
}

static struct scene scene;
static struct outcome first, other;

/* All tables on one scene; lanes are the widest's. The first is checked against the rule. */
static void compare_tables(bool finite)
{
    struct integer_table tables[MOST_INTEGER_TABLES];
    const int32_t n = list_integer_tables(tables);

    for (int32_t i = 0; i < n; i++) {
        if (scene.ld % tables[i].kernels->lanes != 0) {
            continue;
        }
        compute(tables[i].kernels, &scene, false, i == 0 ? &first : &other);
        if (i == 0 && finite) {
            check_scores(&scene, &first);
            check_values(&scene, &first);
        }
        if (i > 0) {
            same_rows(tables[i].name, &scene, other.s, first.s, scene.keys);
            same_state(&scene, &other, &first);
        }
        compute(tables[i].kernels, &scene, true, &other);
        same_state(&scene, &other, &first);
    }
}

static void describe(int32_t i)
{
    snprintf(current, sizeof current,
             "case %d: rows=%d dk=%d dv=%d keys=%d runs=%d types %d %d ranges=%d\n", (int)i,
             (int)scene.rows, (int)scene.dk, (int)scene.dv, (int)scene.keys, (int)scene.runs,
             (int)scene.k.type, (int)scene.v.type, scene.rules.keys > 0);
}

static void random_blocks(void **unused)
{
    static const gqa_dtype types[] = {GQA_F32, GQA_BF16, GQA_F16};
    (void)unused;
    for (int32_t i = 0; i < 60; i++) {
        uint64_t state = (uint64_t)i + 1;
        make_scene(&scene, 16, &state);
        type_queries(&scene, types[i % 3]);
        describe(i);
        compare_tables(true);
        free_scene(&scene);
    }
}

/* The largest sums that there are, of either sign: all integers at their ends, 512 dims. */
static void largest_sums(void **unused)
{
    uint64_t state = 400;
    (void)unused;
    for (int32_t i = 0; i < 4;) {
        make_scene(&scene, 16, &state);
        describe(i);
        if (scene.dk == 512) {
            i++;
            for (int32_t run = 0; run < scene.runs; run++) {
                memset(scene.k.row[run].data, scene.k.type == GQA_I8 ? 0x7f : 0x77,
                       scene.k.row[run].size);
            }
            for (int32_t d = 0; d < MOST_LD * MOST_DIM; d++) {
                (&scene.q[0][0])[d] = d / MOST_DIM % 2 == 0 ? 3.0f : -3.0f;
            }
            compare_tables(true);
        }
        free_scene(&scene);
    }
}

/* Decode: few rows, every key seen, as an engine calls it most. */
static void few_rows(void **unused)
{
    (void)unused;
    for (int32_t i = 0; i < 60; i++) {
        uint64_t state = (uint64_t)i + 1000;
        make_scene(&scene, 16, &state);
        scene.rows = 1 + i % 16;
        scene.ld = scene.rows <= 8 && i % 3 != 0 ? 8 : 16; /* 8: not every table */
        scene.map.count = scene.rows;
        if (i % 5 != 0) {
            scene.rules = (struct gqa__score_rules){0};
        }
        scene.rules.ld = scene.ld;
        describe(i);
        compare_tables(true);
        free_scene(&scene);
    }
}

static float *scale_of(struct stored *stored, int32_t key)
{
    int32_t run = 0;

    for (; key >= scene.run_keys[run]; run++) {
        key -= scene.run_keys[run];
    }
    return (float *)stored->scale[run].data + key;
}

/* Values that are no numbers, tiny and huge ones: the same bits everywhere, and what the rule says
 * where it is short. */
static void extremes(void **unused)
{
    static const float odd[] = {NAN,       INFINITY,  -INFINITY, 0.0f,
                                0x1p-140f, 0x1p-101f, 1e30f,     -0.01f};

    (void)unused;
    for (int32_t i = 0; i < 64; i++) {
        uint64_t state = (uint64_t)i + 5000;
        const float x = odd[i % 8];
        make_scene(&scene, 16, &state);
        describe(i);
        for (int32_t d = 0; d < scene.dk && i / 8 % 4 == 0; d++) {
            scene.q[0][d] = d == 0 || fabsf(x) < 1e-10f ? x : scene.q[0][d];
        }
        if (i / 8 % 4 == 1) {
            *scale_of(&scene.k, random_between(&state, 0, scene.keys - 1)) = x;
        }
        if (i / 8 % 4 == 2) {
            *scale_of(&scene.v, random_between(&state, 0, scene.keys - 1)) = x;
        }
        for (int32_t key = 0; key < scene.keys && i / 8 % 4 == 3; key++) {
            *scale_of(&scene.v, key) = x;
        }
        compare_tables(false);
        if (i / 8 % 4 == 3 && scene.rules.keys == 0) {
            const float o = first.o[0];
            check(x - x != 0.0f ? o != o : x == 0.0f || x == 0x1p-140f ? o == 0.0f : o == o);
        }
        free_scene(&scene);
    }
}

/* A key that a row does not see may have any scale. */
static void hidden_scales(void **unused)
{
    (void)unused;
    for (int32_t i = 0; i < 20; i++) {
        uint64_t state = (uint64_t)i + 9000;
        make_scene(&scene, 16, &state);
        for (int32_t r = 0; r < scene.ld; r++) {
            scene.lo[r] = 1;
            scene.hi[r] = scene.keys;
        }
        scene.rules = (struct gqa__score_rules){
            .keys = scene.keys, .ld = scene.ld, .lo = scene.lo, .hi = scene.hi};
        describe(i);
        compute(gqa__scalar_integer_baseline(), &scene, true, &first);
        *scale_of(&scene.k, 0) = i % 2 == 0 ? NAN : INFINITY;
        *scale_of(&scene.v, 0) = i % 2 == 0 ? INFINITY : NAN;
        compute(gqa__scalar_integer_baseline(), &scene, true, &other);
        same_state(&scene, &other, &first);
        compare_tables(false);
        free_scene(&scene);
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_blocks), cmocka_unit_test(largest_sums), cmocka_unit_test(few_rows),
        cmocka_unit_test(extremes), cmocka_unit_test(hidden_scales)};

    guarded_report(current);
    return run_test_program(argc, argv, tests, sizeof tests / sizeof tests[0], NULL, NULL);
}
