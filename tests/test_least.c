/* test_least.c - files that lack what others have: what no default replaces is named, all of it in
 * one message; what a tensor or a default replaces gives the same case; without tolerances and
 * without f64.* a right result still passes and a wrong one still fails. */
#ifndef GQA_TOOL_PATH
#include <stdio.h>

int main(void)
{
    puts("skipped: the command gqa is not built");
    return 0;
}
#else
#define _POSIX_C_SOURCE 200809L
#include "golden_edit.h"
#include "golden_make.h"
#include "support/forced.h"

#include <sys/wait.h>

#define BLOCK "s01_gptoss_small_window.safetensors"     /* stage block: norm, biases, sinks, yarn */
#define ATTN  "s17_fully_masked_rows_sinks.safetensors" /* stage attn: bias, sinks */
#define HEAT  "s08_llama4_nope_temperature.safetensors"
#define LESS  "test_least.safetensors"
#define PAST  "test_least_past.safetensors"

static const char *const files[] = {"s01_gptoss_small_window.safetensors",
                                    "s02_gptoss_small_full.safetensors",
                                    "s03_gptoss_small_bf16.safetensors",
                                    "s04_llama31_kvcache.safetensors",
                                    "s05_qwen3_qknorm.safetensors",
                                    "s06_gemma2_softcap_window.safetensors",
                                    "s07_llama4_chunked.safetensors",
                                    "s08_llama4_nope_temperature.safetensors",
                                    "s09_olmo2_projnorm_mha.safetensors",
                                    "s10_dbrx_clip.safetensors",
                                    "s11_glm_partial_interleaved.safetensors",
                                    "s12_mqa_rope.safetensors",
                                    "s13_padding_left_right.safetensors",
                                    "s14_sinks_extreme.safetensors",
                                    "s15_decode_continuation.safetensors",
                                    "s16_fully_masked_rows.safetensors",
                                    "s17_fully_masked_rows_sinks.safetensors"};

#define FILES (sizeof files / sizeof files[0])

/* --- what is missing ----------------------------------------------------------------------------
 */

static const struct lack {
    const char *name, *file;
    const char *drop;        /* metadata and tensors */
    const char *key, *value; /* set afterwards, or NULL */
    const char *message;
} lacks[] = {
    {"everything", BLOCK, "*", NULL, NULL,
     "missing at the least: q_proj, k_proj, v_proj, ref.attn (or f64.attn); or, instead, x, wq, "
     "wk, "
     "wv, wo, ref.out and metadata n_q_heads"},
    {"all but x", BLOCK, "s* n* h* w* r* f* q* k* v* b* p*", NULL, NULL,
     "missing at the least: wq, wk, wv, wo, ref.out (or f64.out), metadata n_q_heads (or "
     "n_kv_heads, or head_dim)"},
    {"x", BLOCK, "stage x", NULL, NULL, "missing at the least: x"},
    {"x, by its stage", BLOCK, "x", NULL, NULL, "missing at the least: x"},
    {"two weights", BLOCK, "wk wv", NULL, NULL, "missing at the least: wk, wv"},
    {"the heads", BLOCK, "n_q_heads n_kv_heads head_dim", NULL, NULL,
     "missing at the least: metadata n_q_heads (or n_kv_heads, or head_dim)"},
    {"out", BLOCK, "ref.out f64.out", NULL, NULL, "missing at the least: ref.out (or f64.out)"},
    {"attn", ATTN, "ref.attn f64.attn", NULL, NULL, "missing at the least: ref.attn (or f64.attn)"},
    {"a projection", ATTN, "stage v_proj", NULL, NULL, "missing at the least: v_proj"},
    {"one bias of three", BLOCK, "qkv_bias bk", NULL, NULL,
     "tensor bk is missing: bq, bk, bv come together"},
    {"one bias of three, by its key", BLOCK, "bk", NULL, NULL,
     "tensor bk is missing, but metadata qkv_bias asks for it"},
    {"one norm of two", "s05_qwen3_qknorm.safetensors", "qk_norm k_norm.weight", NULL, NULL,
     "tensor k_norm.weight is missing: q_norm.weight, k_norm.weight come together"},
    {"frequencies without rope", BLOCK, "rope rope_dim rope_scaling rope_mscale", NULL, NULL,
     "tensor inv_freq is there, but metadata rope, which would ask for it, is not"},
    {"weights in stage attn", ATTN, "stage", "stage", "block", "missing at the least: x, wq, wk"},
    {"a rope factor", BLOCK, "rope_factor", NULL, NULL, "metadata key rope_factor is missing"},
    {"a rope context", BLOCK, "rope_orig_ctx", NULL, NULL, "metadata key rope_orig_ctx is missing"},
    {"a truncation", BLOCK, "rope_truncate", NULL, NULL, "metadata key rope_truncate is missing"},
    {"a temperature's scale", HEAT, "q_temp_scale", NULL, NULL,
     "metadata key q_temp_scale is missing"},
    {"heads that do not divide", BLOCK, "n_kv_heads head_dim", "n_q_heads", "3",
     "tensor wq has 128 rows, no multiple of n_q_heads 3"},
    {"a head_dim that does not divide", BLOCK, "n_q_heads n_kv_heads v_head_dim", "head_dim", "48",
     "tensor wq has 128 rows, no multiple of head_dim 48"},
    {"KV heads that do not divide", BLOCK, "n_q_heads v_head_dim head_dim", "n_kv_heads", "5",
     "tensor wk has 32 rows, no multiple of n_kv_heads 5"},
    {"sizes against the tensors", BLOCK, "", "tokens", "32",
     "tensor x is [1, 33, 96]; it must be [1, 32, 96]"},
};

static void test_lack(void **argument)
{
    const struct lack *lack = *argument;
    struct golden golden;
    struct tool_file file;
    struct tool_case c;
    struct tool_fault fault = {""};

    golden_load(&golden, lack->file);
    golden_edit(&golden.file, LESS, lack->drop, lack->key, lack->value);
    golden_free(&golden);
    assert_true(tool_file_open(&file, LESS, &fault));
    assert_false(tool_case_load(&c, &file, &fault));
    if (strstr(fault.text, lack->message) == NULL) {
        fail_msg("\"%s\"; expected \"%s\"", fault.text, lack->message);
    }
    tool_file_close(&file);
    remove(LESS);
}

/* Tensors of another rank than sizes are read from. */
static void test_rank(void **argument)
{
    static const char *const names[] = {"x", "wq"};

    (void)argument;
    for (int i = 0; i < 2; i++) {
        struct golden golden;
        struct tool_tensor *tensor;
        struct tool_file file;
        struct tool_case c;
        struct tool_fault fault = {""};
        char message[80];

        golden_load(&golden, BLOCK);
        tensor = (struct tool_tensor *)(uintptr_t)tool_file_find(&golden.file, names[i]);
        tensor->rank = 1;
        tensor->shape[0] = tensor->count;
        golden_edit(&golden.file, LESS, "batch tokens hidden n_kv_heads head_dim", NULL, NULL);
        golden_free(&golden);
        assert_true(tool_file_open(&file, LESS, &fault));
        assert_false(tool_case_load(&c, &file, &fault));
        snprintf(message, sizeof message, "; it must have %d dimensions", 3 - i);
        assert_non_null(strstr(fault.text, message));
        assert_non_null(strstr(fault.text, names[i]));
        tool_file_close(&file);
    }
    remove(LESS);
}

/* --- what is replaced ---------------------------------------------------------------------------
 */

static void same_data(const char *name, const void *a, const void *b, size_t bytes)
{
    if ((a == NULL) != (b == NULL) || (a != NULL && memcmp(a, b, bytes) != 0)) {
        fail_msg("%s differs", name);
    }
}

static void same_case(const struct tool_case *a, const struct tool_case *b)
{
    const size_t rows = (size_t)a->batch * (size_t)a->tokens;
    const size_t keys = (size_t)a->batch * (size_t)a->keys;

    assert_int_equal(a->block, b->block);
    assert_int_equal(a->batch, b->batch);
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->past, b->past);
    assert_int_equal(a->keys, b->keys);
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->dv, b->dv);
    assert_int_equal(a->pairs, b->pairs);
    assert_true(a->rope_mscale == b->rope_mscale);
    same_data("config", &a->config, &b->config, sizeof a->config);
    same_data("q_pos", a->q_pos, b->q_pos, rows * sizeof(int32_t));
    same_data("k_pos", a->k_pos, b->k_pos, keys * sizeof(int32_t));
    same_data("key_valid", a->key_valid, b->key_valid, keys);
    same_data("row_valid", a->row_valid, b->row_valid, rows);
}

/* Sizes, switches and norms that the tensors show. A full file takes no default. */
static void test_from_tensors(void **argument)
{
    static const char *const heads[] = {"n_q_heads n_kv_heads ", "n_q_heads head_dim ",
                                        "n_kv_heads head_dim "};

    (void)argument;
    for (size_t i = 0; i < FILES; i++) {
        for (int h = 0; h < 3; h++) {
            struct golden whole, less;
            char drop[256];

            golden_load(&whole, files[i]);
            assert_string_equal(whole.c.assumed, "");
            snprintf(drop, sizeof drop,
                     "%sstage batch tokens past hidden v_head_dim key:sinks key:attn_bias pre_norm "
                     "qkv_bias "
                     "out_bias inv_freq%s",
                     heads[h],
                     whole.c.config.qk_norm_placement == GQA_QK_NORM_POST_ROPE ? "" : " qk_norm");
            golden_load_less(&less, files[i], LESS, drop);
            same_case(&whole.c, &less.c);
            assert_null(less.c.inv_freq);
            golden_free(&whole);
            golden_free(&less);
        }
    }
    remove(LESS);
}

/* Keys at their default, and positions and flags that only count, may go; the report names them. */
static void test_defaults(void **argument)
{
    struct golden whole, less;

    (void)argument;
    golden_load(&whole, "s05_qwen3_qknorm.safetensors");
    golden_load_less(&less, "s05_qwen3_qknorm.safetensors", LESS,
                     "scale causal window chunk softcap clip_qkv q_temp* residual rope_dim "
                     "rope_scaling rope_factor rope_low* rope_high* rope_beta* rope_mscale mrope* "
                     "rope_orig_ctx rope_truncate qk_norm_offset feed_schedule q_pos k_pos "
                     "key_valid row_valid case family");
    same_case(&whole.c, &less.c);
    assert_string_equal(less.c.assumed,
                        "residual 0, qk_norm_offset 0, rope_dim 32, rope_scaling none, clip_qkv 0, "
                        "scale 0.176776695, softcap 0, q_temp 0, causal 1, window 0, chunk 0");
    assert_int_equal(less.c.schedule_count, 1);
    assert_string_equal(less.c.name, LESS);
    golden_free(&whole);
    golden_free(&less);
    golden_load(&whole, BLOCK);
    golden_load_less(&less, BLOCK, LESS, "rope_mscale rope_beta_fast rope_beta_slow");
    same_case(&whole.c, &less.c);
    golden_free(&whole);
    golden_free(&less);
    remove(LESS);
}

/* Positions and flags of queries and new keys stand for each other. */
static void test_padding(void **argument)
{
    static const char *const drops[] = {"row_valid", "key_valid",       "q_pos",
                                        "k_pos",     "q_pos row_valid", "k_pos key_valid"};
    (void)argument;
    for (size_t i = 0; i < sizeof drops / sizeof drops[0]; i++) {
        struct golden whole, less;

        golden_load(&whole, "s13_padding_left_right.safetensors");
        golden_load_less(&less, "s13_padding_left_right.safetensors", LESS, drops[i]);
        same_case(&whole.c, &less.c);
        golden_free(&whole);
        golden_free(&less);
    }
    remove(LESS);
}

/* The same with a past: from past_k, and in front of the first new token. Nothing but both tensors
 * tells that a sequence does not start at 0. */
static void test_past(void **argument)
{
    static const char *const drops[] = {"past",
                                        "past k_pos",
                                        "past q_pos",
                                        "past key_valid row_valid",
                                        "past v_head_dim stage",
                                        "past k_pos q_pos"};
    struct tool_fault fault = {""};

    (void)argument;
    for (int i = 0; i < 11; i++) {
        const struct form form = {.name = "past",
                                  .batch = 2,
                                  .tokens = 7,
                                  .past = 5,
                                  .hidden = 24,
                                  .hq = 4,
                                  .hkv = 2,
                                  .dk = 8,
                                  .dv = 16,
                                  .rope = "half",
                                  .rope_dim = 8,
                                  .first_position = i < 6 ? 0 : 3,
                                  .feed = "7|3,4"};
        struct golden whole, less;

        write_form(&form, PAST);
        assert_true(tool_file_open(&whole.file, PAST, &fault));
        assert_true(tool_case_load(&whole.c, &whole.file, &fault));
        golden_edit(&whole.file, LESS, drops[i % 6], NULL, NULL);
        assert_true(tool_file_open(&less.file, LESS, &fault));
        if (!tool_case_load(&less.c, &less.file, &fault)) {
            fail_msg("%s", fault.text);
        }
        same_case(&whole.c, &less.c);
        golden_free(&less);
        golden_edit(&whole.file, LESS, "past past_v", NULL, NULL);
        assert_true(tool_file_open(&less.file, LESS, &fault));
        assert_false(tool_case_load(&less.c, &less.file, &fault));
        assert_non_null(strstr(fault.text, "past_v is missing: past_k, past_v come together"));
        tool_fault_clear(&fault);
        tool_file_close(&less.file);
        golden_free(&whole);
    }
    remove(LESS);
    remove(PAST);
}

/* --- judging ------------------------------------------------------------------------------------
 */

static void run_first(const struct tool_case *c, const struct tool_run_options *options,
                      struct tool_values *values, struct tool_report *report)
{
    struct tool_session session;
    struct tool_fault fault = {""};

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
    for (size_t i = 0; i < FILES; i++) {
        for (int o = 0; o < 3; o++) {
            for (int less_f64 = 0; less_f64 < 2; less_f64++) {
                struct golden less;
                struct tool_values values;
                struct tool_report report;

                golden_load_less(&less, files[i], LESS, less_f64 ? no_oracle(files[i]) : "tol_*");
                run_first(&less.c, &f32[o], &values, &report);
                for (int r = 0; r < report.n; r++) {
                    const struct tool_check *check = &report.check[r];
                    if (check->verdict != TOOL_VERDICT_PASS &&
                        strcmp(check->against, "bf16ref") != 0) {
                        fail_msg("%s: %s against %s: %g, tolerance %g", files[i], check->name,
                                 check->against, check->max, check->tolerance);
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
    for (size_t i = 0; i < 2 * FILES; i++) {
        const char *file = files[i / 2];
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
    for (size_t i = 0; i < FILES; i++) {
        const bool hot = strncmp(files[i], "s06", 3) == 0; /* scores up to the softcap of 50 */
        struct golden golden;
        struct tool_values values;
        struct tool_report report;

        golden_load_less(&golden, files[i], LESS, no_oracle(files[i]));
        run_first(&golden.c, &options, &values, &report);
        if (report.verdict != (hot ? TOOL_VERDICT_NONE : TOOL_VERDICT_PASS)) {
            fail_msg("%s: verdict %d", files[i], (int)report.verdict);
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

/* Any names gone at random: the file loads and runs, or the fault says why not. */
static void test_random_less(void **argument)
{
    const struct tool_run_options options = {.backend = GQA_BACKEND_CPU};
    uint32_t seed = 1;
    int loaded = 0;

    (void)argument;
    for (int i = 0; i < 500; i++) {
        struct golden whole, less;
        struct tool_session session;
        struct tool_fault fault = {""};
        char drop[4096] = "none";
        const char *key;
        json_t *value;

        golden_load(&whole, i % 2 == 0 ? ATTN : "s13_padding_left_right.safetensors");
        json_object_foreach(whole.file.metadata, key, value)
        {
            seed = seed * 1664525U + 1013904223U;
            if (seed >> 30 == 0) {
                snprintf(drop + strlen(drop), sizeof drop - strlen(drop), " %s", key);
            }
        }
        for (size_t t = 0; t < whole.file.count; t++) {
            seed = seed * 1664525U + 1013904223U;
            if (seed >> 28 == 0) {
                snprintf(drop + strlen(drop), sizeof drop - strlen(drop), " %s",
                         whole.file.tensors[t].name);
            }
        }
        golden_edit(&whole.file, LESS, drop, NULL, NULL);
        assert_true(tool_file_open(&less.file, LESS, &fault));
        if (tool_case_load(&less.c, &less.file, &fault)) {
            struct tool_values values;
            struct tool_report report;

            loaded++;
            if (tool_session_open(&session, &less.c, &options, &fault)) {
                if (tool_session_run(&session, &less.c.schedules[0], true, &values, &fault)) {
                    tool_compare(&less.c, &options, &values, &report);
                }
                tool_values_free(&values);
                tool_session_close(&session);
            }
            tool_case_free(&less.c);
        } else {
            assert_true(fault.text[0] != '\0');
        }
        tool_file_close(&less.file);
        golden_free(&whole);
    }
    assert_in_range(loaded, 50, 450);
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
    uint32_t seed = 7;

    for (int i = 0; i < 5; i++) {
        for (size_t n = 0; n < sizes[i]; n++) {
            seed = seed * 1664525U + 1013904223U;
            data[i][n] = least + (1 - least) * (float)(seed >> 8) * 0x1p-24F;
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
            struct tool_fault fault = {""};
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

/* --- the command --------------------------------------------------------------------------------
 */

/* Nothing but these tensors and the metadata, written to LESS; f64.x as ref.x. */
static void write_only(const struct form *form, const char *keep, const json_t *metadata)
{
    struct tool_file file;
    struct tool_tensor tensors[8];
    struct tool_fault fault = {""};
    size_t n = 0;

    write_form(form, PAST);
    assert_true(tool_file_open(&file, PAST, &fault));
    for (size_t i = 0; i < file.count; i++) {
        if (edit_names(keep, file.tensors[i].name, false)) {
            tensors[n] = file.tensors[i];
            if (strcmp(tensors[n].name, "f64.out") == 0) {
                tensors[n].name = "ref.out";
            } else if (strcmp(tensors[n].name, "f64.attn") == 0) {
                tensors[n].name = "ref.attn";
            }
            n++;
        }
    }
    assert_true(tool_file_write(LESS, tensors, n, metadata, &fault));
    tool_file_close(&file);
    remove(PAST);
}

/* Exit status of gqa run LESS; text receives what it prints. */
static int run_less(const char *options, char *text, size_t room)
{
    char command[1024];
    FILE *pipe;
    size_t n;

    snprintf(command, sizeof command, "'%s' run " LESS " %s", GQA_TOOL_PATH, options);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    n = fread(text, 1, room - 1, pipe);
    text[n] = '\0';
    return WEXITSTATUS(pclose(pipe));
}

static const char taken[] = "qk_norm none, rope none, clip_qkv 0, scale 0.25, softcap 0, q_temp 0, "
                            "causal 1, window 0, chunk 0";

/* The least file of each stage: right, it passes; with a value changed behind its result's back it
 * fails. The report says what was taken for granted. */
static void test_command(void **argument)
{
    struct form form = {
        .name = "least", .batch = 2, .tokens = 9, .hq = 4, .hkv = 2, .dk = 16, .dv = 8, .feed = ""};
    char text[1 << 13];

    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_F32);
    for (int stage = 0; stage < 2; stage++) {
        for (form.mutated = 0; form.mutated < 2; form.mutated++) {
            json_t *metadata = stage == 1 ? json_pack("{s:s}", "n_kv_heads", "2") : NULL;
            json_t *run, *report;

            form.hidden = stage == 1 ? 24 : 0;
            write_only(&form,
                       stage == 1 ? "x wq wk wv wo f64.out" : "q_proj k_proj v_proj f64.attn",
                       metadata);
            json_decref(metadata);
            assert_int_equal(run_less("", text, sizeof text), form.mutated);
            assert_non_null(strstr(text, form.mutated ? "\n  FAIL\n" : "\n  PASS\n"));
            assert_non_null(strstr(text, "  not in the file, so: "));
            assert_non_null(strstr(text, taken));
            assert_int_equal(run_less("--json", text, sizeof text), form.mutated);
            report = json_loads(text, 0, NULL);
            run = json_array_get(json_object_get(report, "runs"), 0);
            assert_non_null(strstr(json_string_value(json_object_get(run, "defaults")), taken));
            json_decref(report);
        }
    }
    remove(LESS);
}

int main(void)
{
    enum { LACKS = sizeof lacks / sizeof lacks[0] };
    static struct CMUnitTest tests[LACKS + 12];
    size_t n = 0;

    for (; n < LACKS; n++) {
        tests[n] =
            (struct CMUnitTest){lacks[n].name, test_lack, NULL, NULL, (void *)(uintptr_t)&lacks[n]};
    }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_rank);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_from_tensors);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_defaults);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_padding);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_past);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_derived);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_derived_size);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_derived_bf16);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_formats);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_plain);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_random_less);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_command);
    return _cmocka_run_group_tests("least", tests, n, NULL, NULL);
}
#endif
