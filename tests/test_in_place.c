/* SPDX-License-Identifier: Apache-2.0 */
/* test_in_place.c - layers whose matrices stay in the caller's memory.
 *
 * The bits of the packed layer on every kernel set; gqa_create touches no page of a matrix, a call
 * writes to none and reads nothing behind the last row; what is refused; too small a workspace.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/tensor.h"
#include "support/guarded_buffer.h"
#include "support/host.h"
#include "support/program.h"
#include "support/random.h"
#include "support/weight_set.h"

enum { TOKENS = 5, MATRICES = 11, HIDDEN = 20, MOST = TOKENS * HIDDEN };

/* --- the caller's memory -----------------------------------------------------------------------
 */

static gqa_tensor *matrix(gqa_weights *w, int i)
{
    gqa_tensor *const all[MATRICES] = {&w->wq,     &w->wk,       &w->wv,     &w->wqkv,
                                       &w->wgate,  &w->wo,       &w->tkg_wq, &w->tkg_wk,
                                       &w->tkg_wv, &w->tkg_wqkv, &w->tkg_wo};
    return all[i];
}

/* The set's weights with every matrix in a mapping that ends at a forbidden page. */
struct mapped {
    gqa_weights weights;
    struct guarded_buffer buffer[MATRICES];
};

static void map_matrices(struct mapped *mapped, const struct weight_set *set)
{
    mapped->weights = set->weights;
    mapped->weights.in_place = 1;
    for (int i = 0; i < MATRICES; i++) {
        gqa_tensor *const t = matrix(&mapped->weights, i);
        if (t->data == NULL) {
            continue;
        }
        const size_t elements =
            (size_t)((t->shape[0] - 1) * t->stride[0] + t->shape[1]) * gqa__dtype_size(t->dtype);
        mapped->buffer[i] = guarded_new(elements);
        memcpy(mapped->buffer[i].data, t->data, elements);
        t->data = mapped->buffer[i].data;
    }
}

static void allow(struct mapped *mapped, int access)
{
    for (int i = 0; i < MATRICES; i++) {
        if (matrix(&mapped->weights, i)->data != NULL) {
            guarded_allow(&mapped->buffer[i], access);
        }
    }
}

static void unmap_matrices(struct mapped *mapped)
{
    for (int i = 0; i < MATRICES; i++) {
        if (matrix(&mapped->weights, i)->data != NULL) {
            assert_true(guarded_free(&mapped->buffer[i]));
        }
    }
}

/* Matrices in formats that differ, rows `gap` elements apart from one another. */
static void recast(struct weight_set *set, int turn, int64_t gap)
{
    static const gqa_dtype dtypes[] = {GQA_BF16, GQA_F32, GQA_F16};
    for (int i = 0; i < MATRICES; i++) {
        gqa_tensor *const t = matrix(&set->weights, i);
        if (t->data != NULL) {
            weight_recast(t, turn == 3 ? GQA_F32 : dtypes[(i + turn) % 3], gap);
        }
    }
}

/* Would gqa_create have to make the integers? */
static bool quantised(const struct weight_set *set)
{
    return set->config.weight_storage == GQA_WEIGHT_STORAGE_INT8 && !set->integers;
}

/* --- one call ----------------------------------------------------------------------------------
 */

struct result {
    float hidden[MOST], attn[TOKENS * 6 * 10];
};

static gqa_status forward(const gqa_layer *layer, const gqa_config *config, struct result *result,
                          size_t short_of, gqa_error *err)
{
    float x[MOST];
    uint64_t seed = 3;
    gqa_inputs in;
    gqa_output out;
    size_t size = 0;
    struct guarded_buffer workspace;
    gqa_status status;
    memset(result, 0, sizeof *result);
    random_floats(&seed, x, MOST, 1.5f);
    gqa_inputs_init(&in);
    gqa_output_init(&out);
    in.hidden_states = gqa_tensor_3d(x, GQA_F32, 1, TOKENS, HIDDEN);
    if (config->add_residual) {
        in.residual = in.hidden_states;
    }
    out.hidden_states = gqa_tensor_3d(result->hidden, GQA_F32, 1, TOKENS, HIDDEN);
    out.attn = gqa_tensor_4d(result->attn, GQA_F32, 1, TOKENS, 6, config->v_head_dim);
    assert_int_equal(gqa_workspace_size(layer, NULL, &in, &out, &size, NULL), GQA_OK);
    workspace = guarded_new((size + 63) / 64 * 64);
    memset(workspace.data, 0xff, workspace.size);
    status = gqa_forward(layer, NULL, &in, &out, workspace.data, size - short_of, err);
    assert_true(guarded_free(&workspace));
    return status;
}

static gqa_layer *create(const gqa_config *config, const gqa_weights *weights,
                         const gqa_runtime *runtime)
{
    gqa_layer *layer = NULL;
    gqa_error err = {0};
    if (gqa_create(&layer, config, weights, runtime, &err) != GQA_OK) {
        fail_msg("gqa_create: %s", err.message);
    }
    return layer;
}

/* Packed, in place, in place on three threads: one result. */
static void compare(const struct weight_set *set, const char *name)
{
    struct mapped mapped;
    struct result want, got;
    gqa_error err = {0};
    gqa_layer *layer = create(&set->config, &set->weights, NULL);
    assert_int_equal(forward(layer, &set->config, &want, 0, &err), GQA_OK);
    gqa_destroy(&layer);
    map_matrices(&mapped, set);
    for (int threads = 1; threads <= 3; threads += 2) {
        struct host host;
        const gqa_runtime runtime = host_start(&host, threads);
        allow(&mapped, PROT_NONE);
        layer = create(&set->config, &mapped.weights, &runtime);
        allow(&mapped, PROT_READ);
        if (forward(layer, &set->config, &got, 0, &err) != GQA_OK) {
            fail_msg("%s: %s", name, err.message);
        }
        if (memcmp(&want, &got, sizeof want) != 0) {
            fail_msg("%s, isa %d, numerics %d, backend %d, %d threads: other bits in place", name,
                     (int)set->config.isa, (int)set->config.numerics, (int)set->config.backend,
                     threads);
        }
        allow(&mapped, PROT_NONE);
        gqa_destroy(&layer);
        assert_int_equal(host.live, 0);
        allow(&mapped, PROT_READ);
    }
    unmap_matrices(&mapped);
}

static void refused(const struct weight_set *set, gqa_status status, const char *text)
{
    gqa_layer *layer = NULL;
    gqa_error err = {0};
    assert_int_equal(gqa_create(&layer, &set->config, &set->weights, NULL, &err), status);
    assert_string_equal(err.field, "weights.in_place");
    if (strstr(err.message, text) == NULL || layer != NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    }
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void every_kernel_set_layout_and_format(void **state)
{
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        for (int isa = GQA_ISA_SCALAR; isa <= GQA_ISA_NEON; isa++) {
            for (int turn = 0; turn < 8; turn++) {
                struct weight_set set;
                gqa_layer *layer = NULL;
                weight_set_open(&set, weight_set_cases[i].name);
                set.config.isa = (gqa_isa)isa;
                set.config.numerics = turn / 4 == 0 ? GQA_NUMERICS_F32 : GQA_NUMERICS_BF16;
                weight_set_fill(&set);
                if (set.config.hidden_size > 0 &&
                    gqa_create(&layer, &set.config, &set.weights, NULL, NULL) == GQA_OK) {
                    gqa_destroy(&layer);
                    recast(&set, turn % 4, turn % 4 * 3);
                    if (quantised(&set)) {
                        set.weights.in_place = 1;
                        refused(&set, GQA_ERR_UNSUPPORTED, "config.weight_storage = 1 would");
                    } else {
                        compare(&set, weight_set_cases[i].name);
                    }
                }
                weight_set_free(&set);
            }
        }
    }
}

/* Backend reference: in double the sums are the packed ones' to the bit. */
static void the_reference_reads_f32(void **state)
{
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        struct weight_set set;
        weight_set_open(&set, weight_set_cases[i].name);
        set.config.backend = GQA_BACKEND_REFERENCE;
        set.config.reference_f64 = 1;
        weight_set_fill(&set);
        if (set.integers) {
            set.weights.in_place = 1;
            refused(&set, GQA_ERR_UNSUPPORTED, "reads only GQA_F32 in place");
        } else if (set.config.hidden_size > 0 && !quantised(&set)) {
            recast(&set, 3, 5);
            compare(&set, weight_set_cases[i].name);
        }
        weight_set_free(&set);
    }
}

/* With sgemm: another shape may be another kernel, so the numbers are close. Each output is a sum
 * of at most 60 products of values below 4, and the softmax and norms stretch little. */
static void sgemm_reads_f32(void **state)
{
    (void)state;
    for (int i = 0; i < WEIGHT_SET_CASES; i++) {
        struct weight_set set;
        struct mapped mapped;
        struct result want, got;
        weight_set_open(&set, weight_set_cases[i].name);
        set.config.backend = GQA_BACKEND_REFERENCE;
        weight_set_fill(&set);
        if (set.config.hidden_size > 0 && set.config.weight_storage == GQA_WEIGHT_STORAGE_NATIVE) {
            recast(&set, 3, 5);
            gqa_layer *layer = create(&set.config, &set.weights, NULL);
            assert_int_equal(forward(layer, &set.config, &want, 0, NULL), GQA_OK);
            gqa_destroy(&layer);
            map_matrices(&mapped, &set);
            layer = create(&set.config, &mapped.weights, NULL);
            allow(&mapped, PROT_READ);
            assert_int_equal(forward(layer, &set.config, &got, 0, NULL), GQA_OK);
            for (int j = 0; j < MOST; j++) {
                if (!(got.hidden[j] - want.hidden[j] < 1e-3f &&
                      want.hidden[j] - got.hidden[j] < 1e-3f)) {
                    fail_msg("%s: hidden[%d] is %g, packed %g", weight_set_cases[i].name, j,
                             (double)got.hidden[j], (double)want.hidden[j]);
                }
            }
            gqa_destroy(&layer);
            unmap_matrices(&mapped);
        }
        weight_set_free(&set);
    }
}

static void what_is_refused(void **state)
{
    struct weight_set set;
    (void)state;
    weight_set_open(&set, "none");
    weight_set_fill(&set);
    set.weights.in_place = 2;
    refused(&set, GQA_ERR_ARG, "is 2; it must be 0 or 1");
    set.weights.in_place = -1;
    refused(&set, GQA_ERR_ARG, "is -1");
    set.weights.in_place = 1;
    set.config.backend = GQA_BACKEND_REFERENCE;
    const gqa_tensor kept = set.weights.wo;
    set.weights.wo.stride[0] = INT64_C(1) << 31; /* never read: create fails */
    refused(&set, GQA_ERR_UNSUPPORTED, "2147483648 apart");
    set.weights.wo = kept;
    weight_recast(&set.weights.wk, GQA_F16, 0);
    refused(&set, GQA_ERR_UNSUPPORTED, "dtype 2");
    weight_set_free(&set);
    weight_set_open(&set, "attention only");
    weight_set_fill(&set);
    set.weights.in_place = 1;
    refused(&set, GQA_ERR_ARG, "config.hidden_size = 0");
    weight_set_free(&set);
}

static void too_small_a_workspace(void **state)
{
    struct weight_set set;
    struct result result;
    gqa_error err = {0};
    (void)state;
    weight_set_open(&set, "none");
    weight_set_fill(&set);
    set.weights.in_place = 1;
    gqa_layer *layer = create(&set.config, &set.weights, NULL);
    assert_int_equal(forward(layer, &set.config, &result, 1, &err), GQA_ERR_WORKSPACE);
    gqa_destroy(&layer);
    weight_set_free(&set);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_set_layout_and_format),
        cmocka_unit_test(the_reference_reads_f32),
        cmocka_unit_test(sgemm_reads_f32),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(too_small_a_workspace),
    };
    return RUN_TESTS(argc, argv, tests);
}
