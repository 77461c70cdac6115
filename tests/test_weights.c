/* SPDX-License-Identifier: Apache-2.0 */
/* gqa_create: every tensor of gqa_weights absent, unwanted and of a wrong shape; values;
 * memory that runs out at every allocation. */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/choice/select.h"
#include "support/forced_isa.h"
#include "support/host.h"
#include "support/program.h"
#include "support/weight_set.h"

static void refused(const struct weight_set *set, gqa_status status, const char *field,
                    const char *what)
{
    struct host host;
    const gqa_runtime runtime = host_start(&host, 1);
    gqa_layer *layer = (gqa_layer *)(uintptr_t)1;
    gqa_error err = {0};
    const gqa_status got = gqa_create(&layer, &set->config, &set->weights, &runtime, &err);
    if (got != status || err.status != status || strcmp(err.field, field) != 0 ||
        strstr(err.message, field) == NULL || layer != NULL || host.live != 0) {
        fail_msg("%s %s: status %d field %s layer %p live %d: %s", field, what, (int)got,
                 err.field == NULL ? "-" : err.field, (void *)layer, (int)host.live, err.message);
    }
    assert_int_equal(gqa_create(&layer, &set->config, &set->weights, NULL, NULL), status);
}

/* --- presence -------------------------------------------------------------------------------- */

/* Is the field ("weights.wq") among the words? */
static bool listed(const char *words, const char *field)
{
    const char *const name = field + strlen("weights.");
    const size_t n = strlen(name);
    for (const char *at = strstr(words, name); at != NULL; at = strstr(at + 1, name)) {
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
    }
    return false;
}

static void accepted(const struct weight_set *set)
{
    struct host host;
    const gqa_runtime runtime = host_start(&host, 1);
    gqa_layer *layer = weight_set_layer(set, &runtime);
    assert_int_equal(gqa_layer_isa(layer), GQA_ISA_SCALAR);
    gqa_destroy(&layer);
    assert_null(layer);
    assert_int_equal(host.live, 0);
}

static void every_required_tensor(void **state)
{
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        struct weight_set set;
        weight_set_open(&set, weight_set_cases[i].name);
        weight_set_fill(&set);
        accepted(&set);
        for (int f = 0; f < WEIGHT_FIELDS; f++) {
            gqa_tensor *const tensor = weight_field(&set.weights, f);
            const gqa_tensor kept = *tensor;
            if (kept.data == NULL) {
                continue;
            }
            tensor->data = NULL;
            if (listed(weight_set_cases[i].required, weight_name(f))) {
                refused(&set, GQA_ERR_ARG, weight_name(f), weight_set_cases[i].name);
            } else {
                accepted(&set);
            }
            *tensor = kept;
        }
        weight_set_free(&set);
    }
}

/* A tensor without a place is refused even if its shape would be right anywhere. */
static void every_unwanted_tensor(void **state)
{
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        struct weight_set set;
        weight_set_open(&set, weight_set_cases[i].name);
        weight_set_fill(&set);
        for (int f = 0; f < WEIGHT_FIELDS; f++) {
            gqa_tensor *const tensor = weight_field(&set.weights, f);
            const gqa_tensor kept = *tensor;
            if (kept.data != NULL || weight_may_be_given(&set, f)) {
                continue;
            }
            *tensor = weight_ones(1, 20, 0);
            refused(&set, GQA_ERR_ARG, weight_name(f), weight_set_cases[i].name);
            free(tensor->data);
            *tensor = kept;
        }
        weight_set_free(&set);
    }
}

/* The message says what decided. */
static void messages_name_the_cause(void **state)
{
    static const struct {
        const char *set;
        int field;
        const char *text;
    } cases[] = {
        {"none", 3, "config.qkv_bias = 0"},
        {"fused", 2, "config.qkv_layout = 1"},
        {"none", 8, "config.qkv_layout = 0"},
        {"v is k", 6, "config.k_eq_v = 1"},
        {"none", 10, "config.gate = 0"},
        {"tail gate", 10, "config.gate = 3"},
        {"none", 15, "config.learned_sinks_size"},
        {"attention only", 2, "config.hidden_size = 0"},
        {"none", 18, "config.o_bias = 0"},
        {"rms norms", 1, "config.input_norm = 1"},
        {"none", 11, "config.qk_norm_scope = 0"},
        {"rms qk", 13, "config.qk_norm = 1"},
        {"none", 19, "config.post_norm = 0"},
        {"attention only gate", 10, "config.hidden_size = 0"},
        {"none", 21, "config.weight_storage = 0"},
        {"int8", 26, "the dtype of its matrix = 0"},
        {"integers", 24, "config.qkv_layout = 0"},
        {"tail gate", 25, "config.gate = 3"},
        {"biases", 28, "its set's matrices that are given = 0"},
        {"none", 28, "config.qkv_bias = 0"},
        {"none", 33, "config.qkv_layout = 0"},
        {"biases", 36, "its set's matrices that are given = 0"},
        {"attention only", 35, "config.hidden_size = 0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct weight_set set;
        gqa_layer *layer;
        gqa_error err;
        weight_set_open(&set, cases[i].set);
        weight_set_fill(&set);
        *weight_field(&set.weights, cases[i].field) = weight_ones(1, 20, 0);
        assert_int_equal(gqa_create(&layer, &set.config, &set.weights, NULL, &err), GQA_ERR_ARG);
        assert_string_equal(err.field, weight_name(cases[i].field));
        if (strstr(err.message, cases[i].text) == NULL) {
            fail_msg("\"%s\" does not name %s", err.message, cases[i].text);
        }
        weight_set_free(&set);
    }
}

static void an_absent_bias_names_its_flag(void **state)
{
    struct weight_set set;
    gqa_layer *layer;
    gqa_error err;
    (void)state;
    weight_set_open(&set, "fused biases");
    weight_set_fill(&set);
    weight_remove(&set.weights.bqkv);
    assert_int_equal(gqa_create(&layer, &set.config, &set.weights, NULL, &err), GQA_ERR_ARG);
    assert_non_null(strstr(err.message, "config.qkv_bias = 1"));
    weight_set_free(&set);
}

/* --- shape and format ------------------------------------------------------------------------ */

static void check_field_shapes(struct weight_set *set, int f, const char *name)
{
    gqa_tensor *const tensor = weight_field(&set->weights, f);
    const gqa_tensor kept = *tensor;
    for (int32_t d = 0; d < kept.rank; d++) {
        tensor->shape[d] = kept.shape[d] + 1;
        refused(set, GQA_ERR_SHAPE, weight_name(f), name);
        tensor->shape[d] = kept.shape[d] - 1;
        refused(set, GQA_ERR_SHAPE, weight_name(f), name);
        *tensor = kept;
    }
    tensor->rank = 3;
    tensor->shape[2] = 1;
    tensor->stride[2] = 1;
    refused(set, GQA_ERR_SHAPE, weight_name(f), name);
    *tensor = kept;
    tensor->dtype = GQA_U8;
    refused(set, GQA_ERR_ARG, weight_name(f), name);
    *tensor = kept;
    tensor->dtype = (gqa_dtype)9;
    refused(set, GQA_ERR_ARG, weight_name(f), name);
    *tensor = kept;
    tensor->data = (unsigned char *)kept.data + 1;
    if (kept.dtype != GQA_I8) {
        refused(set, GQA_ERR_ARG, weight_name(f), name);
    }
    *tensor = kept;
    if (kept.rank == 2) {
        tensor->stride[1] = 2;
        refused(set, GQA_ERR_SHAPE, weight_name(f), name);
        *tensor = kept;
    }
}

static void every_wrong_shape(void **state)
{
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        struct weight_set set;
        weight_set_open(&set, weight_set_cases[i].name);
        weight_set_fill(&set);
        for (int f = 0; f < WEIGHT_FIELDS; f++) {
            if (weight_field(&set.weights, f)->data != NULL) {
                check_field_shapes(&set, f, weight_set_cases[i].name);
            }
        }
        weight_set_free(&set);
    }
}

/* Without weights of the q and k norm; with biases alone. */
static void unweighted_norms(void **state)
{
    static const char *const names[] = {"head norm", "head norm per head", "whole norm", "rms qk"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct weight_set set;
        weight_set_open(&set, names[i]);
        weight_set_fill(&set);
        weight_remove(&set.weights.q_norm);
        weight_remove(&set.weights.k_norm);
        accepted(&set);
        weight_remove(&set.weights.q_norm_bias);
        weight_remove(&set.weights.k_norm_bias);
        accepted(&set);
        weight_set_free(&set);
    }
}

/* The message says which of the two is there, and which is not. */
static void norms_of_q_and_k(void **state)
{
    (void)state;
    for (int absent = 0; absent < 2; absent++) {
        struct weight_set set;
        gqa_layer *layer = NULL;
        gqa_error err = {0};
        weight_set_open(&set, "rms qk");
        weight_set_fill(&set);
        gqa_tensor *const norm = absent == 0 ? &set.weights.q_norm : &set.weights.k_norm;
        weight_remove(norm);
        assert_int_equal(gqa_create(&layer, &set.config, &set.weights, NULL, &err), GQA_ERR_ARG);
        assert_string_equal(err.field, absent == 0 ? "weights.q_norm" : "weights.k_norm");
        assert_non_null(strstr(err.message, absent == 0 ? "weights.k_norm is given"
                                                        : "weights.q_norm is given"));
        weight_set_free(&set);
    }
}

static void message_of(const struct weight_set *set, const char *text)
{
    gqa_layer *layer;
    gqa_error err;
    assert_int_not_equal(gqa_create(&layer, &set->config, &set->weights, NULL, &err), GQA_OK);
    if (strstr(err.message, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    }
}

/* [Dk] and [H, Dk] may not be mixed between a weight and its bias. */
static void norm_and_bias_of_one_rank(void **state)
{
    struct weight_set set;
    (void)state;
    weight_set_open(&set, "head norm");
    weight_set_fill(&set);
    free(set.weights.q_norm_bias.data);
    set.weights.q_norm_bias = weight_ones(2, 6, 10);
    refused(&set, GQA_ERR_SHAPE, "weights.q_norm_bias", "mixed ranks");
    message_of(&set, "has rank 2, but weights.q_norm has rank 1");
    free(set.weights.q_norm.data);
    set.weights.q_norm = weight_ones(2, 6, 10);
    accepted(&set); /* q per head, k shared */
    weight_set_free(&set);
}

static void sink_values(void **state)
{
    static const float bad[] = {NAN, -NAN, INFINITY};
    static const float good[] = {-INFINITY, 0.0f, 3.4e38f, -3.4e38f};
    (void)state;
    for (int which = 15; which <= 16; which++) {
        struct weight_set set;
        weight_set_open(&set, "sinks");
        weight_set_fill(&set);
        float *const values = weight_values(weight_field(&set.weights, which));
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
            values[5] = good[i];
            accepted(&set);
        }
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            values[5] = bad[i];
            refused(&set, GQA_ERR_ARG, weight_name(which), "bad logit");
            message_of(&set, "head 5");
            message_of(&set, bad[i] == bad[i] ? "+inf" : "NaN");
        }
        weight_set_free(&set);
    }
}

/* --- int8 ------------------------------------------------------------------------------------ */

/* Integers are for int8 storage and for matrices alone. */
static void integers_out_of_place(void **state)
{
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        struct weight_set set;
        weight_set_open(&set, weight_set_cases[i].name);
        weight_set_fill(&set);
        for (int f = 0; f < WEIGHT_FIELDS; f++) {
            gqa_tensor *const tensor = weight_field(&set.weights, f);
            const gqa_tensor kept = *tensor;
            if (kept.data == NULL || kept.dtype == GQA_I8) {
                continue;
            }
            tensor->dtype = GQA_I8;
            if (kept.rank == 2 && set.config.weight_storage == GQA_WEIGHT_STORAGE_INT8) {
                char scale[40];
                snprintf(scale, sizeof scale, "%s_scale", weight_name(f));
                refused(&set, GQA_ERR_ARG, scale, weight_set_cases[i].name); /* is absent */
            } else {
                refused(&set, GQA_ERR_ARG, weight_name(f), weight_set_cases[i].name);
            }
            *tensor = kept;
        }
        weight_set_free(&set);
    }
}

static void integers_without_int8(void **state)
{
    struct weight_set set;
    (void)state;
    weight_set_open(&set, "integers");
    weight_set_fill(&set);
    set.config.weight_storage = GQA_WEIGHT_STORAGE_NATIVE;
    refused(&set, GQA_ERR_ARG, "weights.wq", "native");
    message_of(&set, "config.weight_storage = 0");
    weight_set_free(&set);
}

static void scale_values(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const float good[] = {0.0f, -3.0f, 1e-45f, 3.4e38f};
    (void)state;
    for (int f = 21; f <= 39; f = f == 26 ? 37 : f + 1) {
        const char *const some = f == 24 || f == 25 ? "integers fused gate" : "integers";
        struct weight_set set;
        weight_set_open(&set, f > 26 ? "tkg integers" : some);
        weight_set_fill(&set);
        gqa_tensor *const scale = weight_field(&set.weights, f);
        float *const values = weight_values(scale);
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
            values[3] = good[i];
            accepted(&set);
        }
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            values[3] = bad[i];
            refused(&set, GQA_ERR_ARG, weight_name(f), "bad scale");
            message_of(&set, "output 3");
        }
        weight_set_free(&set);
    }
}

/* What is quantised must be finite; what is kept as it is need not be. */
static void values_that_no_scale_holds(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const int matrices[] = {2, 4, 6, 8, 10, 17};
    (void)state;
    for (size_t m = 0; m < 6; m++) {
        const int f = matrices[m];
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            struct weight_set set;
            weight_set_open(&set, f == 8 || f == 10 ? "int8 fused gate" : "int8");
            weight_set_fill(&set);
            gqa_tensor *const matrix = weight_field(&set.weights, f);
            weight_values(matrix)[4 * matrix->shape[1] + 6] = bad[i];
            refused(&set, GQA_ERR_ARG, weight_name(f), "not finite");
            message_of(&set, "row 4");
            set.config.weight_storage = GQA_WEIGHT_STORAGE_NATIVE;
            accepted(&set);
            weight_set_free(&set);
        }
    }
}

/* --- memory ---------------------------------------------------------------------------------- */

static void memory_runs_out(void **state)
{
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        for (int backend = 1; backend <= 2; backend++) {
            struct weight_set set;
            struct host host;
            gqa_runtime runtime;
            gqa_layer *layer = NULL;
            gqa_status status = GQA_ERR_NOMEM;
            int refusals = 0;
            weight_set_open(&set, weight_set_cases[i].name);
            weight_set_fill(&set);
            set.config.backend = (gqa_backend)backend;
            for (int n = 0; status == GQA_ERR_NOMEM; n++) {
                gqa_error err = {0};
                runtime = host_start(&host, 1);
                host.fail_at = n;
                status = gqa_create(&layer, &set.config, &set.weights, &runtime, &err);
                if (status == GQA_ERR_NOMEM) {
                    assert_null(layer);
                    assert_int_equal(host.live, 0);
                    assert_int_equal(err.status, GQA_ERR_NOMEM);
                    refusals++;
                }
            }
            assert_int_equal(status, GQA_OK);
            assert_int_equal(host.calls, refusals);
            gqa_destroy(&layer);
            assert_int_equal(host.live, 0);
            weight_set_free(&set);
        }
    }
}

/* --- arguments ------------------------------------------------------------------------------- */

static void null_arguments(void **state)
{
    struct weight_set set;
    gqa_layer *layer = NULL;
    gqa_error err;
    (void)state;
    weight_set_open(&set, "none");
    weight_set_fill(&set);
    assert_int_equal(gqa_create(NULL, &set.config, &set.weights, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "out");
    assert_int_equal(gqa_create(&layer, NULL, &set.weights, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "config");
    assert_int_equal(gqa_create(&layer, &set.config, NULL, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "weights.wq");
    set.config.hidden_size = 0;
    assert_int_equal(gqa_create(&layer, &set.config, NULL, NULL, &err), GQA_OK);
    gqa_destroy(&layer);
    gqa_destroy(&layer);
    gqa_destroy(NULL);
    weight_set_free(&set);
}

/* A caller built against an older or newer header. */
static void struct_sizes(void **state)
{
    struct {
        gqa_weights weights;
        unsigned char more[64];
    } newer;
    struct weight_set set;
    gqa_layer *layer = NULL;
    gqa_error err;
    (void)state;
    weight_set_open(&set, "norms");
    weight_set_fill(&set);
    set.weights.struct_size = (uint32_t)offsetof(gqa_weights, post_norm); /* before post norms */
    accepted(&set);
    set.weights.struct_size = (uint32_t)offsetof(gqa_weights, wo);
    refused(&set, GQA_ERR_ARG, "weights.wo", "beyond the caller's struct");
    set.weights.struct_size = (uint32_t)sizeof set.weights;
    memset(&newer, 0, sizeof newer);
    newer.weights = set.weights;
    newer.weights.struct_size = (uint32_t)sizeof newer;
    assert_int_equal(gqa_create(&layer, &set.config, &newer.weights, NULL, &err), GQA_OK);
    gqa_destroy(&layer);
    newer.more[63] = 1;
    assert_int_not_equal(gqa_create(&layer, &set.config, &newer.weights, NULL, &err), GQA_OK);
    set.weights.struct_size = 0;
    assert_int_equal(gqa_create(&layer, &set.config, &set.weights, NULL, &err), GQA_ERR_ARG);
    weight_set_free(&set);
}

static void faults_before_the_weights(void **state)
{
    struct weight_set set;
    gqa_layer *layer;
    gqa_runtime runtime;
    gqa_error err;
    (void)state;
    weight_set_open(&set, "none");
    weight_set_fill(&set);
    gqa_runtime_init(&runtime);
    runtime.num_threads = -1;
    assert_int_equal(gqa_create(&layer, &set.config, &set.weights, &runtime, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "runtime.num_threads");
    set.config.num_key_value_heads = 4;
    refused(&set, GQA_ERR_ARG, "config.num_key_value_heads", "does not divide");
    weight_set_free(&set);
}

/* gqa_create does not read the environment, be the value of GQA_ISA good or bad. */
static void environment(void **state)
{
    static const char *const values[] = {"sse9", "scalar", ""};
    const char *const before = getenv("GQA_ISA");
    char kept[64];
    struct weight_set set;
    gqa_layer *layer = NULL;
    gqa_isa best = GQA_ISA_AUTO;
    gqa_error err;
    (void)state;
    snprintf(kept, sizeof kept, "%s", before != NULL ? before : "");
    weight_set_open(&set, "none");
    weight_set_fill(&set);
    set.config.isa = GQA_ISA_AUTO;
    assert_int_equal(unsetenv("GQA_ISA"), 0);
    assert_int_equal(create_unforced(&layer, &set.config, &set.weights, NULL, &err), GQA_OK);
    best = gqa_layer_isa(layer);
    assert_true((gqa__kernels_available() >> best & 1u) == 1u);
    gqa_destroy(&layer);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_int_equal(setenv("GQA_ISA", values[i], 1), 0);
        assert_int_equal(create_unforced(&layer, &set.config, &set.weights, NULL, &err), GQA_OK);
        assert_int_equal(gqa_layer_isa(layer), best);
        gqa_destroy(&layer);
    }
    assert_int_equal(setenv("GQA_ISA", kept, 1), 0);
    weight_set_free(&set);
}

/* The programs of the suite read it for gqa_create (forced_isa_create.c), for AUTO only. */
static void environment_of_the_suite(void **state)
{
    const char *const before = getenv("GQA_ISA");
    char kept[64];
    struct weight_set set;
    gqa_layer *layer = NULL;
    gqa_error err;
    (void)state;
    if (!create_is_replaced()) {
        print_message("skipped: this linker has no --wrap\n");
        skip();
    }
    snprintf(kept, sizeof kept, "%s", before != NULL ? before : "");
    weight_set_open(&set, "none");
    weight_set_fill(&set);
    assert_int_equal(setenv("GQA_ISA", "sse9", 1), 0);
    accepted(&set); /* isa SCALAR */
    set.config.isa = GQA_ISA_AUTO;
    assert_int_equal(gqa_create(&layer, &set.config, &set.weights, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "GQA_ISA");
    assert_int_equal(setenv("GQA_ISA", "scalar", 1), 0);
    assert_int_equal(gqa_create(&layer, &set.config, &set.weights, NULL, &err), GQA_OK);
    assert_int_equal(gqa_layer_isa(layer), GQA_ISA_SCALAR);
    gqa_destroy(&layer);
    assert_int_equal(setenv("GQA_ISA", kept, 1), 0);
    weight_set_free(&set);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_required_tensor),
        cmocka_unit_test(every_unwanted_tensor),
        cmocka_unit_test(messages_name_the_cause),
        cmocka_unit_test(an_absent_bias_names_its_flag),
        cmocka_unit_test(every_wrong_shape),
        cmocka_unit_test(unweighted_norms),
        cmocka_unit_test(norms_of_q_and_k),
        cmocka_unit_test(norm_and_bias_of_one_rank),
        cmocka_unit_test(sink_values),
        cmocka_unit_test(integers_out_of_place),
        cmocka_unit_test(integers_without_int8),
        cmocka_unit_test(scale_values),
        cmocka_unit_test(values_that_no_scale_holds),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(null_arguments),
        cmocka_unit_test(struct_sizes),
        cmocka_unit_test(faults_before_the_weights),
        cmocka_unit_test(environment),
        cmocka_unit_test(environment_of_the_suite),
    };
    return RUN_TESTS(argc, argv, tests);
}
