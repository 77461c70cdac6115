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
#include "support/draw.h"
#include "support/forced.h"
#include "support/kit.h"

static void refused(const struct kit *kit, gqa_status status, const char *field, const char *what)
{
    struct draw_host host;
    gqa_runtime runtime;
    gqa_layer *layer = (gqa_layer *)(uintptr_t)1;
    gqa_error err = {0};
    draw_runtime(&host, &runtime, 1);
    const gqa_status got = gqa_create(&layer, &kit->config, &kit->weights, &runtime, &err);
    if (got != status || err.status != status || strcmp(err.field, field) != 0 ||
        strstr(err.message, field) == NULL || layer != NULL || host.live != 0) {
        fail_msg("%s %s: status %d field %s layer %p live %d: %s", field, what, (int)got,
                 err.field == NULL ? "-" : err.field, (void *)layer, (int)host.live, err.message);
    }
    assert_int_equal(gqa_create(&layer, &kit->config, &kit->weights, NULL, NULL), status);
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

static void accepted(const struct kit *kit)
{
    struct draw_host host;
    gqa_runtime runtime;
    draw_runtime(&host, &runtime, 1);
    gqa_layer *layer = kit_layer(kit, &runtime);
    assert_int_equal(gqa_layer_isa(layer), GQA_ISA_SCALAR);
    gqa_destroy(&layer);
    assert_null(layer);
    assert_int_equal(host.live, 0);
}

static void every_required_tensor(void **state)
{
    (void)state;
    for (int i = 0; i < KIT_CASES; i++) {
        struct kit kit;
        kit_open(&kit, kit_cases[i].name);
        kit_fill(&kit);
        accepted(&kit);
        for (int f = 0; f < KIT_FIELDS; f++) {
            gqa_tensor *const tensor = kit_field(&kit.weights, f);
            const gqa_tensor kept = *tensor;
            if (kept.data == NULL) {
                continue;
            }
            tensor->data = NULL;
            if (listed(kit_cases[i].required, kit_name(f))) {
                refused(&kit, GQA_ERR_ARG, kit_name(f), kit_cases[i].name);
            } else {
                accepted(&kit);
            }
            *tensor = kept;
        }
        kit_free(&kit);
    }
}

/* A tensor without a place is refused even if its shape would be right anywhere. */
static void every_unwanted_tensor(void **state)
{
    (void)state;
    for (int i = 0; i < KIT_CASES; i++) {
        struct kit kit;
        kit_open(&kit, kit_cases[i].name);
        kit_fill(&kit);
        for (int f = 0; f < KIT_FIELDS; f++) {
            gqa_tensor *const tensor = kit_field(&kit.weights, f);
            const gqa_tensor kept = *tensor;
            if (kept.data != NULL) {
                continue;
            }
            *tensor = kit_tensor(1, 20, 0);
            refused(&kit, GQA_ERR_ARG, kit_name(f), kit_cases[i].name);
            free(tensor->data);
            *tensor = kept;
        }
        kit_free(&kit);
    }
}

/* The message says what decided. */
static void messages_name_the_cause(void **state)
{
    static const struct {
        const char *kit;
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
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kit kit;
        gqa_layer *layer;
        gqa_error err;
        kit_open(&kit, cases[i].kit);
        kit_fill(&kit);
        *kit_field(&kit.weights, cases[i].field) = kit_tensor(1, 20, 0);
        assert_int_equal(gqa_create(&layer, &kit.config, &kit.weights, NULL, &err), GQA_ERR_ARG);
        assert_string_equal(err.field, kit_name(cases[i].field));
        if (strstr(err.message, cases[i].text) == NULL) {
            fail_msg("\"%s\" does not name %s", err.message, cases[i].text);
        }
        kit_free(&kit);
    }
}

static void an_absent_bias_names_its_flag(void **state)
{
    struct kit kit;
    gqa_layer *layer;
    gqa_error err;
    (void)state;
    kit_open(&kit, "fused biases");
    kit_fill(&kit);
    free(kit.weights.bqkv.data);
    kit.weights.bqkv.data = NULL;
    assert_int_equal(gqa_create(&layer, &kit.config, &kit.weights, NULL, &err), GQA_ERR_ARG);
    assert_non_null(strstr(err.message, "config.qkv_bias = 1"));
    kit_free(&kit);
}

/* --- shape and format ------------------------------------------------------------------------ */

static void check_field_shapes(struct kit *kit, int f, const char *name)
{
    gqa_tensor *const tensor = kit_field(&kit->weights, f);
    const gqa_tensor kept = *tensor;
    for (int32_t d = 0; d < kept.rank; d++) {
        tensor->shape[d] = kept.shape[d] + 1;
        refused(kit, GQA_ERR_SHAPE, kit_name(f), name);
        tensor->shape[d] = kept.shape[d] - 1;
        refused(kit, GQA_ERR_SHAPE, kit_name(f), name);
        *tensor = kept;
    }
    tensor->rank = 3;
    tensor->shape[2] = 1;
    tensor->stride[2] = 1;
    refused(kit, GQA_ERR_SHAPE, kit_name(f), name);
    *tensor = kept;
    tensor->dtype = GQA_U8;
    refused(kit, GQA_ERR_ARG, kit_name(f), name);
    *tensor = kept;
    tensor->dtype = (gqa_dtype)9;
    refused(kit, GQA_ERR_ARG, kit_name(f), name);
    *tensor = kept;
    tensor->data = (unsigned char *)kept.data + 1;
    if (kept.dtype != GQA_I8) {
        refused(kit, GQA_ERR_ARG, kit_name(f), name);
    }
    *tensor = kept;
    if (kept.rank == 2) {
        tensor->stride[1] = 2;
        refused(kit, GQA_ERR_SHAPE, kit_name(f), name);
        *tensor = kept;
    }
}

static void every_wrong_shape(void **state)
{
    (void)state;
    for (int i = 0; i < KIT_CASES; i++) {
        struct kit kit;
        kit_open(&kit, kit_cases[i].name);
        kit_fill(&kit);
        for (int f = 0; f < KIT_FIELDS; f++) {
            if (kit_field(&kit.weights, f)->data != NULL) {
                check_field_shapes(&kit, f, kit_cases[i].name);
            }
        }
        kit_free(&kit);
    }
}

/* Without weights of the q and k norm; with biases alone. */
static void unweighted_norms(void **state)
{
    static const char *const names[] = {"head norm", "head norm per head", "whole norm", "rms qk"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct kit kit;
        kit_open(&kit, names[i]);
        kit_fill(&kit);
        free(kit.weights.q_norm.data);
        free(kit.weights.k_norm.data);
        kit.weights.q_norm.data = kit.weights.k_norm.data = NULL;
        accepted(&kit);
        free(kit.weights.q_norm_bias.data);
        free(kit.weights.k_norm_bias.data);
        kit.weights.q_norm_bias.data = kit.weights.k_norm_bias.data = NULL;
        accepted(&kit);
        kit_free(&kit);
    }
}

/* The message says which of the two is there, and which is not. */
static void norms_of_q_and_k(void **state)
{
    (void)state;
    for (int absent = 0; absent < 2; absent++) {
        struct kit kit;
        gqa_layer *layer = NULL;
        gqa_error err = {0};
        kit_open(&kit, "rms qk");
        kit_fill(&kit);
        gqa_tensor *const norm = absent == 0 ? &kit.weights.q_norm : &kit.weights.k_norm;
        free(norm->data);
        norm->data = NULL;
        assert_int_equal(gqa_create(&layer, &kit.config, &kit.weights, NULL, &err), GQA_ERR_ARG);
        assert_string_equal(err.field, absent == 0 ? "weights.q_norm" : "weights.k_norm");
        assert_non_null(strstr(err.message, absent == 0 ? "weights.k_norm is given"
                                                        : "weights.q_norm is given"));
        kit_free(&kit);
    }
}

/* [Dk] and [H, Dk] may not be mixed between a weight and its bias. */
static void norm_and_bias_of_one_rank(void **state)
{
    struct kit kit;
    (void)state;
    kit_open(&kit, "head norm");
    kit_fill(&kit);
    free(kit.weights.q_norm_bias.data);
    kit.weights.q_norm_bias = kit_tensor(2, 6, 10);
    refused(&kit, GQA_ERR_SHAPE, "weights.q_norm_bias", "mixed ranks");
    free(kit.weights.q_norm.data);
    kit.weights.q_norm = kit_tensor(2, 6, 10);
    accepted(&kit); /* q per head, k shared */
    kit_free(&kit);
}

static void sink_values(void **state)
{
    static const float bad[] = {NAN, -NAN, INFINITY};
    static const float good[] = {-INFINITY, 0.0f, 3.4e38f, -3.4e38f};
    (void)state;
    for (int which = 15; which <= 16; which++) {
        struct kit kit;
        kit_open(&kit, "sinks");
        kit_fill(&kit);
        float *const values = kit_values(kit_field(&kit.weights, which));
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
            values[5] = good[i];
            accepted(&kit);
        }
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            gqa_layer *layer;
            gqa_error err;
            values[5] = bad[i];
            refused(&kit, GQA_ERR_ARG, kit_name(which), "bad logit");
            gqa_create(&layer, &kit.config, &kit.weights, NULL, &err);
            assert_non_null(strstr(err.message, "head 5"));
            assert_non_null(strstr(err.message, bad[i] == bad[i] ? "+inf" : "NaN"));
        }
        kit_free(&kit);
    }
}

/* --- int8 ------------------------------------------------------------------------------------ */

/* Integers are for int8 storage and for matrices alone. */
static void integers_out_of_place(void **state)
{
    (void)state;
    for (int i = 0; i < KIT_CASES; i++) {
        struct kit kit;
        kit_open(&kit, kit_cases[i].name);
        kit_fill(&kit);
        for (int f = 0; f < KIT_FIELDS; f++) {
            gqa_tensor *const tensor = kit_field(&kit.weights, f);
            const gqa_tensor kept = *tensor;
            if (kept.data == NULL || kept.dtype == GQA_I8) {
                continue;
            }
            tensor->dtype = GQA_I8;
            if (kept.rank == 2 && kit.config.weight_storage == GQA_WEIGHT_STORAGE_INT8) {
                char scale[40];
                snprintf(scale, sizeof scale, "%s_scale", kit_name(f));
                refused(&kit, GQA_ERR_ARG, scale, kit_cases[i].name); /* is absent */
            } else {
                refused(&kit, GQA_ERR_ARG, kit_name(f), kit_cases[i].name);
            }
            *tensor = kept;
        }
        kit_free(&kit);
    }
}

static void message_of(const struct kit *kit, const char *text)
{
    gqa_layer *layer;
    gqa_error err;
    assert_int_not_equal(gqa_create(&layer, &kit->config, &kit->weights, NULL, &err), GQA_OK);
    if (strstr(err.message, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    }
}

static void integers_without_int8(void **state)
{
    struct kit kit;
    (void)state;
    kit_open(&kit, "integers");
    kit_fill(&kit);
    kit.config.weight_storage = GQA_WEIGHT_STORAGE_NATIVE;
    refused(&kit, GQA_ERR_ARG, "weights.wq", "native");
    message_of(&kit, "config.weight_storage = 0");
    kit_free(&kit);
}

static void scale_values(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const float good[] = {0.0f, -3.0f, 1e-45f, 3.4e38f};
    (void)state;
    for (int f = 21; f < KIT_FIELDS; f++) {
        struct kit kit;
        kit_open(&kit, f == 24 || f == 25 ? "integers fused gate" : "integers");
        kit_fill(&kit);
        gqa_tensor *const scale = kit_field(&kit.weights, f);
        float *const values = kit_values(scale);
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
            values[3] = good[i];
            accepted(&kit);
        }
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            values[3] = bad[i];
            refused(&kit, GQA_ERR_ARG, kit_name(f), "bad scale");
            message_of(&kit, "output 3");
        }
        kit_free(&kit);
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
            struct kit kit;
            kit_open(&kit, f == 8 || f == 10 ? "int8 fused gate" : "int8");
            kit_fill(&kit);
            gqa_tensor *const matrix = kit_field(&kit.weights, f);
            kit_values(matrix)[4 * matrix->shape[1] + 6] = bad[i];
            refused(&kit, GQA_ERR_ARG, kit_name(f), "not finite");
            message_of(&kit, "row 4");
            kit.config.weight_storage = GQA_WEIGHT_STORAGE_NATIVE;
            accepted(&kit);
            kit_free(&kit);
        }
    }
}

/* --- memory ---------------------------------------------------------------------------------- */

static void memory_runs_out(void **state)
{
    (void)state;
    for (int i = 0; i < KIT_CASES; i++) {
        for (int backend = 1; backend <= 2; backend++) {
            struct kit kit;
            struct draw_host host;
            gqa_runtime runtime;
            gqa_layer *layer = NULL;
            gqa_status status = GQA_ERR_NOMEM;
            int refusals = 0;
            kit_open(&kit, kit_cases[i].name);
            kit_fill(&kit);
            kit.config.backend = (gqa_backend)backend;
            for (int n = 1; status == GQA_ERR_NOMEM; n++) {
                gqa_error err = {0};
                draw_runtime(&host, &runtime, 1);
                host.refuse = n;
                status = gqa_create(&layer, &kit.config, &kit.weights, &runtime, &err);
                if (status == GQA_ERR_NOMEM) {
                    assert_null(layer);
                    assert_int_equal(host.live, 0);
                    assert_int_equal(err.status, GQA_ERR_NOMEM);
                    refusals++;
                }
            }
            assert_int_equal(status, GQA_OK);
            assert_int_equal(host.asked, refusals);
            gqa_destroy(&layer);
            assert_int_equal(host.live, 0);
            kit_free(&kit);
        }
    }
}

/* --- arguments ------------------------------------------------------------------------------- */

static void null_arguments(void **state)
{
    struct kit kit;
    gqa_layer *layer = NULL;
    gqa_error err;
    (void)state;
    kit_open(&kit, "none");
    kit_fill(&kit);
    assert_int_equal(gqa_create(NULL, &kit.config, &kit.weights, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "out");
    assert_int_equal(gqa_create(&layer, NULL, &kit.weights, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "config");
    assert_int_equal(gqa_create(&layer, &kit.config, NULL, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "weights.wq");
    kit.config.hidden_size = 0;
    assert_int_equal(gqa_create(&layer, &kit.config, NULL, NULL, &err), GQA_OK);
    gqa_destroy(&layer);
    gqa_destroy(&layer);
    gqa_destroy(NULL);
    kit_free(&kit);
}

/* A caller built against an older or newer header. */
static void struct_sizes(void **state)
{
    struct {
        gqa_weights weights;
        unsigned char more[64];
    } newer;
    struct kit kit;
    gqa_layer *layer = NULL;
    gqa_error err;
    (void)state;
    kit_open(&kit, "norms");
    kit_fill(&kit);
    kit.weights.struct_size = (uint32_t)offsetof(gqa_weights, post_norm); /* before post norms */
    accepted(&kit);
    kit.weights.struct_size = (uint32_t)offsetof(gqa_weights, wo);
    refused(&kit, GQA_ERR_ARG, "weights.wo", "beyond the caller's struct");
    kit.weights.struct_size = (uint32_t)sizeof kit.weights;
    memset(&newer, 0, sizeof newer);
    newer.weights = kit.weights;
    newer.weights.struct_size = (uint32_t)sizeof newer;
    assert_int_equal(gqa_create(&layer, &kit.config, &newer.weights, NULL, &err), GQA_OK);
    gqa_destroy(&layer);
    newer.more[63] = 1;
    assert_int_not_equal(gqa_create(&layer, &kit.config, &newer.weights, NULL, &err), GQA_OK);
    kit.weights.struct_size = 0;
    assert_int_equal(gqa_create(&layer, &kit.config, &kit.weights, NULL, &err), GQA_ERR_ARG);
    kit_free(&kit);
}

static void faults_before_the_weights(void **state)
{
    struct kit kit;
    gqa_layer *layer;
    gqa_runtime runtime;
    gqa_error err;
    (void)state;
    kit_open(&kit, "none");
    kit_fill(&kit);
    gqa_runtime_init(&runtime);
    runtime.num_threads = -1;
    assert_int_equal(gqa_create(&layer, &kit.config, &kit.weights, &runtime, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "runtime.num_threads");
    kit.config.num_key_value_heads = 4;
    refused(&kit, GQA_ERR_ARG, "config.num_key_value_heads", "does not divide");
    kit_free(&kit);
}

/* gqa_create does not read the environment, be the value of GQA_ISA good or bad. */
static void environment(void **state)
{
    static const char *const values[] = {"sse9", "scalar", ""};
    const char *const before = getenv("GQA_ISA");
    char kept[64];
    struct kit kit;
    gqa_layer *layer = NULL;
    gqa_isa best = GQA_ISA_AUTO;
    gqa_error err;
    (void)state;
    snprintf(kept, sizeof kept, "%s", before != NULL ? before : "");
    kit_open(&kit, "none");
    kit_fill(&kit);
    kit.config.isa = GQA_ISA_AUTO;
    assert_int_equal(unsetenv("GQA_ISA"), 0);
    assert_int_equal(create_unforced(&layer, &kit.config, &kit.weights, NULL, &err), GQA_OK);
    best = gqa_layer_isa(layer);
    assert_true((gqa__kernels_available() >> best & 1u) == 1u);
    gqa_destroy(&layer);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_int_equal(setenv("GQA_ISA", values[i], 1), 0);
        assert_int_equal(create_unforced(&layer, &kit.config, &kit.weights, NULL, &err), GQA_OK);
        assert_int_equal(gqa_layer_isa(layer), best);
        gqa_destroy(&layer);
    }
    assert_int_equal(setenv("GQA_ISA", kept, 1), 0);
    kit_free(&kit);
}

/* The programs of the suite read it for gqa_create (forced_create.c), for AUTO only. */
static void environment_of_the_suite(void **state)
{
    const char *const before = getenv("GQA_ISA");
    char kept[64];
    struct kit kit;
    gqa_layer *layer = NULL;
    gqa_error err;
    (void)state;
    if (!create_is_replaced()) {
        print_message("skipped: this linker has no --wrap\n");
        skip();
    }
    snprintf(kept, sizeof kept, "%s", before != NULL ? before : "");
    kit_open(&kit, "none");
    kit_fill(&kit);
    assert_int_equal(setenv("GQA_ISA", "sse9", 1), 0);
    accepted(&kit); /* isa SCALAR */
    kit.config.isa = GQA_ISA_AUTO;
    assert_int_equal(gqa_create(&layer, &kit.config, &kit.weights, NULL, &err), GQA_ERR_ARG);
    assert_string_equal(err.field, "GQA_ISA");
    assert_int_equal(setenv("GQA_ISA", "scalar", 1), 0);
    assert_int_equal(gqa_create(&layer, &kit.config, &kit.weights, NULL, &err), GQA_OK);
    assert_int_equal(gqa_layer_isa(layer), GQA_ISA_SCALAR);
    gqa_destroy(&layer);
    assert_int_equal(setenv("GQA_ISA", kept, 1), 0);
    kit_free(&kit);
}

int main(void)
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
    return cmocka_run_group_tests(tests, NULL, NULL);
}
