/* SPDX-License-Identifier: Apache-2.0 */
/* test_tolerances.c - derived tolerances: without tol_* and without f64.* a right result passes and
 * a wrong one fails; they are of the size that the files give, and cover a plain float program. */
#include "golden_edit.h"
#include "golden_make.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/random.h"

#define BLOCK "s01_gptoss_small_window.safetensors"
#define LESS  "test_tolerances.safetensors"

/* --- judging ------------------------------------------------------------------------------------
 */

static void run_first(const struct tool_case *c, const struct tool_run_options *options,
                      struct tool_values *values, struct tool_report *report)
{
    struct tool_session session;
    struct tool_fault fault = {.text = ""};

    if (!tool_session_open(&session, c, options, &fault) ||
        !tool_session_run(&session, &c->schedules[0], true, values, &fault)) {
        fail_msg("%s", fault.text);
    }
    tool_compare(c, options, values, report);
    tool_session_close(&session);
}

static const struct tool_check *check_of(const struct tool_report *report, const char *name,
                                         const char *against)
{
    for (int i = 0; i < report->n; i++) {
        if (strcmp(report->check[i].name, name) == 0 &&
            strcmp(report->check[i].against, against) == 0) {
            return &report->check[i];
        }
    }
    return NULL;
}

/* What makes a file judge by ref.* alone; s11 has no ref.out. */
static const char *no_oracle(const char *file)
{
    return strncmp(file, "s11", 3) == 0 ? "tol_*" : "tol_* f64.*";
}

/* Without tolerances, against the oracle or the reference alone, every right result passes; the
 * derived tolerances are of the size of those that the files give: measured errors times 12. */
static void test_derived(void **argument)
{
    const struct tool_run_options f32[] = {
        {.backend = GQA_BACKEND_CPU},
        {.backend = GQA_BACKEND_REFERENCE},
        {.backend = GQA_BACKEND_CPU, .float_angles = true},
    };

    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_F32);
    for (size_t i = 0; i < GOLDEN_FILES; i++) {
        for (int o = 0; o < 3; o++) {
            for (int less_f64 = 0; less_f64 < 2; less_f64++) {
                struct golden less;
                struct tool_values values;
                struct tool_report report;

                golden_load_less(&less, golden_files[i], LESS,
                                 less_f64 ? no_oracle(golden_files[i]) : "tol_*");
                run_first(&less.c, &f32[o], &values, &report);
                for (int r = 0; r < report.n; r++) {
                    const struct tool_check *check = &report.check[r];
                    if (check->verdict != TOOL_VERDICT_PASS &&
                        strcmp(check->against, "bf16ref") != 0) {
                        fail_msg("%s: %s against %s: %g, tolerance %g", golden_files[i],
                                 check->name, check->against, check->max, check->tolerance);
                    }
                }
                assert_int_equal(report.verdict, TOOL_VERDICT_PASS);
                tool_values_free(&values);
                golden_free(&less);
            }
        }
    }
    remove(LESS);
}

static void test_derived_size(void **argument)
{
    static const char *const names[] = {"q", "k", "attn", "out"};
    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_F32);
    for (size_t i = 0; i < 2 * GOLDEN_FILES; i++) {
        const char *file = golden_files[i / 2];
        const struct tool_run_options options = {.backend = i % 2 == 0 ? GQA_BACKEND_CPU
                                                                       : GQA_BACKEND_REFERENCE};
        struct golden golden;
        struct tool_values values;
        struct tool_report given, derived;

        golden_load(&golden, file);
        run_first(&golden.c, &options, &values, &given);
        memset(&golden.c.tolerance, 0xff, sizeof golden.c.tolerance); /* NaN: not given */
        tool_compare(&golden.c, &options, &values, &derived);
        for (int v = golden.c.block ? 0 : 2; v < (golden.c.block ? 4 : 3); v++) {
            const struct tool_check *a = check_of(&given, names[v], "f64");
            const struct tool_check *b = check_of(&derived, names[v], "f64");
            if (a != NULL &&
                !(b->tolerance > 0.2 * a->tolerance && b->tolerance < 12 * a->tolerance)) {
                fail_msg("%s: %s: derived %g, given %g", file, names[v], b->tolerance,
                         a->tolerance);
            }
            if (a != NULL && !(b->max < 0.3 * b->tolerance)) {
                fail_msg("%s: %s: error %g, derived %g", file, names[v], b->max, b->tolerance);
            }
        }
        tool_values_free(&values);
        golden_free(&golden);
    }
}

/* bf16: every case passes or, where its scores are too large to say anything, is not judged. */
static void test_derived_bf16(void **argument)
{
    const struct tool_run_options options = {.backend = GQA_BACKEND_CPU,
                                             .numerics = GQA_NUMERICS_BF16};

    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_BF16);
    for (size_t i = 0; i < GOLDEN_FILES; i++) {
        const bool hot =
            strncmp(golden_files[i], "s06", 3) == 0; /* scores up to the softcap of 50 */
        struct golden golden;
        struct tool_values values;
        struct tool_report report;

        golden_load_less(&golden, golden_files[i], LESS, no_oracle(golden_files[i]));
        run_first(&golden.c, &options, &values, &report);
        if (report.verdict != (hot ? TOOL_VERDICT_NONE : TOOL_VERDICT_PASS)) {
            fail_msg("%s: verdict %d", golden_files[i], (int)report.verdict);
        }
        tool_values_free(&values);
        golden_free(&golden);
    }
    remove(LESS);
}

/* An expected element moved by more than the tolerance fails, in every format of ref.*. */
static void test_formats(void **argument)
{
    static const enum tool_dtype dtypes[] = {TOOL_F32, TOOL_F64, TOOL_BF16};
    const struct tool_run_options options = {.backend = GQA_BACKEND_CPU};
    double before = 0;

    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_F32);
    for (int d = 0; d < 3; d++) {
        struct golden golden;
        struct tool_tensor *tensor;
        struct tool_values values;
        struct tool_report report;
        float f32[1 << 13];
        double f64[1 << 13], tolerance;
        uint16_t bf16[1 << 13];
        void *const data[] = {f32, f64, bf16};

        golden_load_less(&golden, BLOCK, LESS, "tol_* f64.*");
        tensor = (struct tool_tensor *)(uintptr_t)tool_file_find(&golden.file, "ref.out");
        assert_true(tensor->count <= 1 << 13);
        for (int64_t i = 0; i < tensor->count; i++) {
            uint32_t bits;
            f32[i] = ((const float *)tensor->data)[i];
            f64[i] = (double)f32[i];
            memcpy(&bits, &f32[i], sizeof bits);
            bf16[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        }
        tensor->dtype = dtypes[d];
        tensor->data = data[d];
        run_first(&golden.c, &options, &values, &report);
        assert_int_equal(report.verdict, TOOL_VERDICT_PASS);
        tolerance = check_of(&report, "out", "ref")->tolerance;
        assert_true(d == 2 ? tolerance > 100 * before && tolerance < 1.1 : tolerance < 2e-4);
        before = tolerance;
        values.value[TOOL_OUT][777] += 1.5F * (float)tolerance;
        tool_compare(&golden.c, &options, &values, &report);
        assert_int_equal(report.verdict, TOOL_VERDICT_FAIL);
        tool_values_free(&values);
        golden_free(&golden);
    }
    remove(LESS);
}

/* --- a plain program ----------------------------------------------------------------------------
 */

/* Long sums, one chain each, in float; rope by float angles at far positions. */
enum { LT = 3, LE = 3000, LH = 4, LD = 64 };

struct plain {
    float x[LT * LE], wq[LH * LD * LE], wk[LD * LE], wv[LD * LE], wo[LE * LH * LD];
    float q[LT * LH * LD], k[LT * LD], v[LT * LD], attn[LT * LH * LD], out[LT * LE];
    int32_t positions[LT];
};

static void plain_product(const float *x, const float *w, int ins, int outs, float *y)
{
    for (int t = 0; t < LT; t++) {
        for (int o = 0; o < outs; o++) {
            float sum = 0;
            for (int i = 0; i < ins; i++) {
                sum += w[o * ins + i] * x[t * ins + i];
            }
            y[t * outs + o] = sum;
        }
    }
}

static void plain_rope(const int32_t *positions, int heads, float *y)
{
    for (int i = 0; i < LT * heads; i++) {
        for (int j = 0; j < LD / 2; j++) {
            const float frequency = 1.0F / powf(10000.0F, (float)(2 * j) / LD);
            const float angle = (float)positions[i / heads] * frequency;
            float *u = y + i * LD + j, *w = u + LD / 2;
            const float a = *u * cosf(angle) - *w * sinf(angle);
            *w = *w * cosf(angle) + *u * sinf(angle);
            *u = a;
        }
    }
}

static void plain_attend(struct plain *p)
{
    for (int row = 0; row < LT * LH; row++) {
        float weight[LT], sum = 0;

        for (int j = 0; j <= row / LH; j++) {
            float dot = 0;
            for (int d = 0; d < LD; d++) {
                dot += p->q[row * LD + d] * p->k[j * LD + d];
            }
            weight[j] = expf(dot * 0.125F);
            sum += weight[j];
        }
        for (int d = 0; d < LD; d++) {
            float value = 0;
            for (int j = 0; j <= row / LH; j++) {
                value += weight[j] / sum * p->v[j * LD + d];
            }
            p->attn[row * LD + d] = value;
        }
    }
}

/* least: the least element of x and of the weights over the largest; -1 = of either sign. */
static void plain_run(struct plain *p, float least)
{
    float *const data[] = {p->x, p->wq, p->wk, p->wv, p->wo};
    const size_t sizes[] = {LT * LE, LH * LD * LE, LD * LE, LD * LE, LE * LH * LD};
    const float scale = least < 0 ? 0.03F : 0.0007F;
    uint64_t seed = 7;

    for (int i = 0; i < 5; i++) {
        for (size_t n = 0; n < sizes[i]; n++) {
            data[i][n] = least + (1 - least) * (float)random_unit(&seed);
            data[i][n] *= i == 0 ? 1.0F : scale;
        }
    }
    for (int t = 0; t < LT; t++) {
        p->positions[t] = 60000 + t;
    }
    plain_product(p->x, p->wq, LE, LH * LD, p->q);
    plain_product(p->x, p->wk, LE, LD, p->k);
    plain_product(p->x, p->wv, LE, LD, p->v);
    plain_rope(p->positions, LH, p->q);
    plain_rope(p->positions, 1, p->k);
    plain_attend(p);
    plain_product(p->attn, p->wo, LH * LD, LE, p->out);
}

static void put_plain(struct out_file *o, struct plain *p)
{
    PUT("x", TOOL_F32, p->x, 1, LT, LE);
    PUT("wq", TOOL_F32, p->wq, LH * LD, LE);
    PUT("wk", TOOL_F32, p->wk, LD, LE);
    PUT("wv", TOOL_F32, p->wv, LD, LE);
    PUT("wo", TOOL_F32, p->wo, LE, LH * LD);
    PUT("q_pos", TOOL_I32, p->positions, 1, LT);
    PUT("ref.q", TOOL_F32, p->q, 1, LT, LH, LD);
    PUT("ref.k", TOOL_F32, p->k, 1, LT, 1, LD);
    PUT("ref.v", TOOL_F32, p->v, 1, LT, 1, LD);
    PUT("ref.attn", TOOL_F32, p->attn, 1, LT, LH, LD);
    PUT("ref.out", TOOL_F32, p->out, 1, LT, LE);
}

/* The worst order of sums, terms of one sign and of either, passes with room to spare; 0.2 % of one
 * weight matrix does not. */
static void test_plain(void **argument)
{
    const struct tool_run_options options = {.backend = GQA_BACKEND_CPU};
    static struct plain plain;

    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_F32);
    for (int wrong = 0; wrong < 2; wrong++) {
        for (int sign = 0; sign < 2; sign++) {
            struct out_file *o = calloc(1, sizeof *o);
            struct tool_fault fault = {.text = ""};
            struct tool_values values;
            struct tool_report report;
            struct golden less;

            assert_non_null(o);
            plain_run(&plain, sign == 0 ? 0.5F : -1.0F);
            for (int i = 0; wrong == 1 && i < LD * LE; i++) {
                plain.wv[i] *= 1.002F;
            }
            put_plain(o, &plain);
            o->metadata = json_pack("{s:s, s:s}", "head_dim", "64", "rope", "half");
            assert_true(tool_file_write(LESS, o->tensor, o->n, o->metadata, &fault));
            assert_true(tool_file_open(&less.file, LESS, &fault));
            if (!tool_case_load(&less.c, &less.file, &fault)) {
                fail_msg("%s", fault.text);
            }
            run_first(&less.c, &options, &values, &report);
            assert_int_equal(report.verdict, wrong ? TOOL_VERDICT_FAIL : TOOL_VERDICT_PASS);
            for (int r = 0; wrong == 0 && r < report.n; r++) {
                const struct tool_check *check = &report.check[r];
                /* The fastest pair turns by the position itself. */
                if (strcmp(check->name, "q") == 0) {
                    assert_true(check->tolerance > 6 * 0x1p-24 * 60000 * (double)fabsf(plain.q[0]));
                }
                if (!(check->max < 0.5 * check->tolerance)) {
                    fail_msg("%s: error %g, tolerance %g", check->name, check->max,
                             check->tolerance);
                }
            }
            tool_values_free(&values);
            golden_free(&less);
            json_decref(o->metadata);
            free(o);
        }
    }
    remove(LESS);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_derived), cmocka_unit_test(test_derived_size),
        cmocka_unit_test(test_derived_bf16), cmocka_unit_test(test_formats),
        cmocka_unit_test(test_plain)};

    return RUN_TESTS(argc, argv, tests);
}
