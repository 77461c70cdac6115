/* SPDX-License-Identifier: Apache-2.0 */
/* cascade.c - see cascade.h. */
#include "support/cascade.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/forced_isa.h"
#include "support/parallel.h"

bool cascade_layer(struct cascade *s, int32_t threads, gqa_layer **layer)
{
    gqa_weights weights;
    gqa_runtime runtime;

    gqa_weights_init(&weights);
    gqa_runtime_init(&runtime);
    if (s->config.learned_sinks_size == 1) {
        weights.sinks = gqa_tensor_1d(s->sinks, GQA_F32, CASCADE_HQ);
    }
    runtime.num_threads = threads;
    runtime.parallel_for = threads > 1 ? parallel_threads : NULL;
    const gqa_status status = create_unforced(layer, &s->config, &weights, &runtime, &s->err);
    if (status != GQA_OK && status != GQA_ERR_UNSUPPORTED) {
        fail_msg("%s", s->err.message);
    }
    return status == GQA_OK;
}

gqa_cache *cascade_cache(struct cascade *s, int32_t page_size, gqa_dtype type_k, gqa_dtype type_v)
{
    gqa_cache_options options;
    gqa_cache *cache = NULL;

    gqa_cache_options_init(&options, s->plain);
    options.max_sequences = CASCADE_SEQUENCES;
    options.max_tokens = CASCADE_KEYS;
    options.page_size = page_size;
    options.dtype_k = type_k;
    options.dtype_v = type_v;
    options.rotate_k = s->rotate_k;
    options.rotate_v = s->rotate_v;
    if (s->rings) {
        gqa_cache_options_retain(&options, s->plain);
        options.call_tokens = CASCADE_TOKENS;
    }
    assert_int_equal(gqa_cache_create(&cache, s->plain, &options, &s->err), GQA_OK);
    return cache;
}

void cascade_keys(struct cascade *s, int32_t n)
{
    random_floats(&s->random, &s->k[0][0][0], (int64_t)n * CASCADE_HKV * CASCADE_DK, 1.0f);
    random_floats(&s->random, &s->v[0][0][0], (int64_t)n * CASCADE_HKV * CASCADE_DV, 1.0f);
    for (int32_t i = 0; i < n; i++) {
        if (random_between(&s->random, 1, 200) == 1) {
            s->v[i][random_between(&s->random, 0, CASCADE_HKV - 1)][3] =
                random_between(&s->random, 1, 2) == 1 ? NAN : 0x1p70f;
        }
    }
}

void cascade_append(struct cascade *s, int32_t sequence, int32_t n)
{
    const gqa_tensor key = gqa_tensor_3d(s->k, GQA_F32, n, CASCADE_HKV, CASCADE_DK);
    const gqa_tensor value = gqa_tensor_3d(s->v, GQA_F32, n, CASCADE_HKV, CASCADE_DV);

    cascade_keys(s, n);
    if (n > 0 && gqa_cache_append(s->shared, sequence, &key, &value, NULL, &s->err) != GQA_OK) {
        fail_msg("%s", s->err.message);
    }
}

void cascade_close(struct cascade *s)
{
    gqa_cache_destroy(&s->shared);
    gqa_cache_destroy(&s->apart);
    gqa_destroy(&s->plain);
    gqa_destroy(&s->other);
}
