/* SPDX-License-Identifier: Apache-2.0 */
/* test_least.c - files that lack what others have: what no default replaces is named, all of it in
 * one message; what a tensor or a default replaces gives the same case; and the least file of each
 * stage passes or fails as its result is right or wrong. */
#define _POSIX_C_SOURCE 200809L
#include "golden_edit.h"
#include "golden_make.h"
#include "support/forced_isa.h"
#include "support/program.h"
#include "support/random.h"

#include <sys/wait.h>

#define BLOCK "s01_gptoss_small_window.safetensors"     /* stage block: norm, biases, sinks, yarn */
#define ATTN  "s17_fully_masked_rows_sinks.safetensors" /* stage attn: bias, sinks */
#define HEAT  "s08_llama4_nope_temperature.safetensors"
#define LESS  "test_least.safetensors"
#define PAST  "test_least_past.safetensors"

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
    struct tool_fault fault = {.text = ""};

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
        struct tool_fault fault = {.text = ""};
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
    for (size_t i = 0; i < GOLDEN_FILES; i++) {
        for (int h = 0; h < 3; h++) {
            struct golden whole, less;
            char drop[256];

            golden_load(&whole, golden_files[i]);
            assert_string_equal(whole.c.assumed, "");
            snprintf(drop, sizeof drop,
                     "%sstage batch tokens past hidden v_head_dim key:sinks key:attn_bias pre_norm "
                     "qkv_bias "
                     "out_bias inv_freq%s",
                     heads[h],
                     whole.c.config.qk_norm_placement == GQA_QK_NORM_POST_ROPE ? "" : " qk_norm");
            golden_load_less(&less, golden_files[i], LESS, drop);
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
    struct tool_fault fault = {.text = ""};

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

/* --- at random ---------------------------------------------------------------------------------
 */

/* Any names gone at random: the file loads and runs, or the fault says why not. */
static void test_random_less(void **argument)
{
    const struct tool_run_options options = {.backend = GQA_BACKEND_CPU};
    uint64_t seed = 1;
    int loaded = 0;

    (void)argument;
    for (int i = 0; i < 500; i++) {
        struct golden whole, less;
        struct tool_session session;
        struct tool_fault fault = {.text = ""};
        char drop[4096] = "none";
        const char *key;
        json_t *value;

        golden_load(&whole, i % 2 == 0 ? ATTN : "s13_padding_left_right.safetensors");
        json_object_foreach(whole.file.metadata, key, value)
        {
            if (random_between(&seed, 0, 3) == 0) {
                snprintf(drop + strlen(drop), sizeof drop - strlen(drop), " %s", key);
            }
        }
        for (size_t t = 0; t < whole.file.count; t++) {
            if (random_between(&seed, 0, 15) == 0) {
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

/* --- the command --------------------------------------------------------------------------------
 */

/* Nothing but these tensors and the metadata, written to LESS; f64.x as ref.x. */
static void write_only(const struct form *form, const char *keep, const json_t *metadata)
{
    struct tool_file file;
    struct tool_tensor tensors[8];
    struct tool_fault fault = {.text = ""};
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

int main(int argc, char **argv)
{
    enum { LACKS = sizeof lacks / sizeof lacks[0] };
    static struct CMUnitTest tests[LACKS + 7];
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
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_random_less);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_command);
    return run_test_program(argc, argv, tests, n, NULL, NULL);
}
