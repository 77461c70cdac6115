/* SPDX-License-Identifier: Apache-2.0 */
/* test_host_keys.c - gqa_attend on the host's own keys and values gives the bits of a cache that
 * holds the same values: every kernel set, format, order of the tensors' dimensions and head
 * dimension, numbers of keys around panels and fold blocks, with NaN, infinities, denormals and
 * values around 2^64 among them. What lies between the host's rows is NaN.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/number.h"
#include "support/host_keys.h"
#include "support/program.h"
#include "support/random.h"

enum { QUERIES = 3, MOST_HEADS = 12, MOST_DIM = 128 };

static const struct host_shape shapes[] = {
    {8, 2, 64, 64}, {4, 2, 128, 128}, {6, 2, 40, 24}, {3, 1, 32, 48}, {12, 1, 96, 16}};
static const gqa_dtype formats[] = {GQA_F32, GQA_BF16, GQA_F16};

struct scene {
    const struct host_set *set;
    struct host_shape shape;
    gqa_layer *layer;
    gqa_dtype dtype;
    int32_t keys;
    float *k, *v; /* [keys][hkv][d] exact in dtype */
    float q[QUERIES * MOST_HEADS * MOST_DIM];
};

struct answer {
    float output[QUERIES * MOST_HEADS * MOST_DIM], lse[QUERIES * MOST_HEADS];
};

static float *floats(int64_t n)
{
    float *x = calloc((size_t)n + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

static void scene_values(struct scene *s, enum host_fill fill, uint64_t *random)
{
    const int64_t n = (int64_t)s->keys * s->shape.hkv;

    s->k = floats(n * s->shape.dk);
    s->v = floats(n * s->shape.dv);
    host_values(s->k, n * s->shape.dk, s->dtype, fill == HOST_DENSE ? HOST_RARE : fill, random);
    host_values(s->v, n * s->shape.dv, s->dtype, fill, random);
    random_floats(random, s->q, QUERIES * s->shape.hq * s->shape.dk, 1.0f);
}

static void attend(const struct scene *s, const gqa_cache *cache, gqa_attend_inputs *in,
                   struct answer *answer)
{
    gqa_attend_output out;
    gqa_error err = {.message = ""};

    memset(answer, 0, sizeof *answer);
    gqa_attend_output_init(&out);
    in->query = gqa_tensor_4d(s->q, GQA_F32, 1, QUERIES, s->shape.hq, s->shape.dk);
    out.output = gqa_tensor_4d(answer->output, GQA_F32, 1, QUERIES, s->shape.hq, s->shape.dv);
    out.lse = gqa_tensor_3d(answer->lse, GQA_F32, 1, QUERIES, s->shape.hq);
    if (gqa_attend(s->layer, cache, in, &out, NULL, 0, &err) != GQA_OK) {
        fail_msg("%s", err.message);
    }
}

/* The truth: a cache of the operand type, which rounds on the way in. */
static void attend_cache(const struct scene *s, struct answer *answer)
{
    gqa_cache_options options;
    gqa_cache *cache = NULL;
    gqa_attend_inputs in;
    const gqa_tensor k = gqa_tensor_3d(s->k, GQA_F32, s->keys, s->shape.hkv, s->shape.dk);
    const gqa_tensor v = gqa_tensor_3d(s->v, GQA_F32, s->keys, s->shape.hkv, s->shape.dv);

    gqa_cache_options_init(&options, s->layer);
    options.max_tokens = s->keys;
    assert_int_equal(gqa_cache_create(&cache, s->layer, &options, NULL), GQA_OK);
    assert_int_equal(gqa_cache_append(cache, 0, &k, &v, NULL, NULL), GQA_OK);
    gqa_attend_inputs_init(&in);
    attend(s, cache, &in, answer);
    gqa_cache_destroy(&cache);
}

/* --- plain tensors --------------------------------------------------------------------------- */

enum order { TOKENS, HEADS, GAPS, ORDERS };

/* [1, keys, hkv, dim] in memory of its own, of which *raw is freed. */
static gqa_tensor plain_tensor(const struct scene *s, const float *x, int32_t dim, enum order order,
                               void **raw)
{
    const int64_t row = order == GAPS ? dim + 5 : dim;
    const int64_t n = (int64_t)s->keys * s->shape.hkv * row;
    gqa_tensor t;

    *raw = host_memory(n + 1, s->dtype);
    t = gqa_tensor_4d((char *)*raw + (order == GAPS ? (s->dtype == GQA_F32 ? 4 : 2) : 0), s->dtype,
                      1, s->keys, s->shape.hkv, dim);
    t.stride[0] = n;
    t.stride[1] = order == HEADS ? row : s->shape.hkv * row;
    t.stride[2] = order == HEADS ? s->keys * row : row;
    t.stride[3] = 1;
    for (int32_t i = 0; i < s->keys; i++) {
        for (int32_t h = 0; h < s->shape.hkv; h++) {
            for (int32_t d = 0; d < dim; d++) {
                host_put(t.data, i * t.stride[1] + h * t.stride[2] + d,
                         x[((int64_t)i * s->shape.hkv + h) * dim + d], s->dtype);
            }
        }
    }
    return t;
}

static void compare_orders(const struct scene *s, const char *what)
{
    struct answer want, got;

    attend_cache(s, &want);
    for (int order = 0; order < ORDERS; order++) {
        gqa_attend_inputs in;
        void *k, *v;
        gqa_attend_inputs_init(&in);
        in.key = plain_tensor(s, s->k, s->shape.dk, (enum order)order, &k);
        in.value =
            plain_tensor(s, s->v, s->shape.dv, (enum order)((order + s->keys % 2) % ORDERS), &v);
        attend(s, NULL, &in, &got);
        if (memcmp(&got, &want, sizeof got) != 0) {
            fail_msg(
                "%s: other bits than a cache (%s, dtype %d, order %d, %d keys, %d/%d x %d, %d)",
                what, s->set->name, (int)s->dtype, order, (int)s->keys, (int)s->shape.hq,
                (int)s->shape.hkv, (int)s->shape.dk, (int)s->shape.dv);
        }
        free(k);
        free(v);
    }
}

static void plain_keys(void **state)
{
    static const int32_t lengths[] = {1, 15, 16, 17, 31, 32, 33, 64, 255, 256, 257, 290, 517};
    uint64_t random = 1;
    (void)state;

    for (int i = 0; i < host_set_count; i++) {
        for (size_t j = 0; j < 5 * 2; j++) {
            struct scene s = {.set = &host_sets[i], .shape = shapes[j / 2]};
            s.layer = host_layer(s.set, &s.shape, j % 4 == 1 ? 40 : 0, j % 2 != 0, NULL);
            for (size_t k = 0; k < sizeof lengths / sizeof lengths[0] && s.layer != NULL; k++) {
                const enum host_fill fill = (enum host_fill)((k + j) % HOST_FILLS);
                s.dtype = formats[(j + k + (size_t)i) % 3];
                s.keys = lengths[k];
                scene_values(&s, fill, &random);
                compare_orders(&s, "plain keys");
                free(s.k);
                free(s.v);
            }
            gqa_destroy(&s.layer);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plain_keys)};

    return RUN_TESTS(argc, argv, tests);
}
