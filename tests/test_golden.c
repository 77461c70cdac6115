/* SPDX-License-Identifier: Apache-2.0 */
/* test_golden.c - every golden file through both backends, every feed schedule, with and without
 * float32 angles and bf16, judged as tests/golden/README.md says; and the command itself on all. */
#define _POSIX_C_SOURCE 200809L
#include "golden_run.h"
#include "support/forced_isa.h"
#include "support/program.h"

#include <sys/wait.h>

/* One test: its name says all of it. */
struct setting {
    char name[128];
    char file[96];
    struct tool_run_options options;
};

/* Every other schedule of the cpu backend gives the bits of the first. */
static void same_bits(const struct tool_case *c, const struct tool_values *a,
                      const struct tool_values *b, const struct tool_schedule *schedule)
{
    for (int v = 0; v < TOOL_VALUES; v++) {
        size_t bytes = (size_t)tool_value_count(c, (enum tool_value)v) * sizeof(float);
        bool told = c->block || (v > TOOL_V_PROJ && v < TOOL_O_PROJ);

        if (told && memcmp(a->value[v], b->value[v], bytes) != 0) {
            fail_msg("%s: %s differs in feed %.*s", c->name, tool_value_name((enum tool_value)v),
                     schedule->length, schedule->text);
        }
    }
}

static void check_report(const struct tool_case *c, const struct tool_report *report,
                         const struct tool_schedule *schedule, bool cached)
{
    for (int i = 0; i < report->n; i++) {
        const struct tool_check *check = &report->check[i];
        if (check->verdict == TOOL_VERDICT_FAIL) {
            fail_msg("%s, feed %.*s%s: %s against %s: error %g at %s, %lld wrong, tolerance %g",
                     c->name, schedule->length, schedule->text, cached ? "" : " without cache",
                     check->name, check->against, check->max, check->where, (long long)check->wrong,
                     check->tolerance);
        }
    }
    assert_int_equal(report->verdict, TOOL_VERDICT_PASS);
}

static void test_case(void **argument)
{
    const struct setting *setting = *argument;
    struct golden golden;
    struct tool_session session;
    struct tool_values first = {0};
    struct tool_fault fault = {.text = ""};

    skip_refused_numerics(setting->options.numerics);
    golden_load(&golden, setting->file);
    if (!tool_session_open(&session, &golden.c, &setting->options, &fault)) {
        fail_msg("%s", fault.text);
    }
    for (int32_t i = 0; i < golden.c.schedule_count; i++) {
        const struct tool_schedule *schedule = &golden.c.schedules[i];
        for (int cached = 1; cached >= (schedule->n > 1); cached--) {
            struct tool_values values;
            struct tool_report report;

            if (!tool_session_run(&session, schedule, cached != 0, &values, &fault)) {
                fail_msg("%s", fault.text);
            }
            tool_compare(&golden.c, &setting->options, &values, &report);
            check_report(&golden.c, &report, schedule, cached != 0);
            /* Without a cache bf16 keys are rounded alike, so these bits are the same too. */
            if (first.inv_freq == NULL) {
                first = values;
                continue;
            }
            if (setting->options.backend == GQA_BACKEND_CPU) {
                same_bits(&golden.c, &first, &values, schedule);
            }
            tool_values_free(&values);
        }
    }
    tool_values_free(&first);
    tool_session_close(&session);
    golden_free(&golden);
}

/* --- the command --------------------------------------------------------------------------------
 */

/* Run the command on all golden files; *text receives stdout. Returns the exit status. */
static int run_tool(const char *options, char **text)
{
    char command[1024];
    size_t size = 0, room = 1 << 16;
    FILE *pipe;

    snprintf(command, sizeof command, "'%s' run '%s'/*.safetensors %s", GQA_TOOL_PATH,
             GQA_GOLDEN_DIR, options);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    *text = malloc(room);
    while (*text != NULL) {
        size_t n = fread(*text + size, 1, room - size - 1, pipe);
        size += n;
        if (n == 0) {
            break;
        }
        if (size + 1 == room) {
            *text = realloc(*text, room *= 2);
        }
    }
    assert_non_null(*text);
    (*text)[size] = '\0';
    return WEXITSTATUS(pclose(pipe));
}

static void test_command_json(void **argument)
{
    char *text;
    json_error_t error;
    json_t *report, *runs;
    int status;

    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_F32);
    status = run_tool("--json --threads 3 --feed all", &text);
    report = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    runs = json_object_get(report, "runs");
    assert_int_equal(status, 0);
    assert_non_null(report);
    /* 17 files: 27 alternatives, and 15 that are one call also without a cache. */
    assert_int_equal(json_array_size(runs), 42);
    assert_int_equal(json_integer_value(json_object_get(report, "passed")), 42);
    for (size_t i = 0; i < json_array_size(runs); i++) {
        json_t *run = json_array_get(runs, i);
        assert_string_equal(json_string_value(json_object_get(run, "verdict")), "PASS");
        assert_true(json_array_size(json_object_get(run, "checks")) >= 4);
    }
    json_decref(report);
    free(text);
}

static void test_command_text(void **argument)
{
    char *text;

    (void)argument;
    if (!forced_isa_refuses(GQA_NUMERICS_F32)) {
        assert_int_equal(run_tool("--feed first --in-place", &text), 0);
        free(text);
        assert_int_equal(run_tool("--feed first --backend reference", &text), 0);
        assert_non_null(strstr(text, "17 runs: 17 pass, 0 fail, 0 not judged; 0 not run"));
        free(text);
    }
    /* In s06 derived tolerances of bf16 would exceed a quarter of the values: not judged. */
    if (!forced_isa_refuses(GQA_NUMERICS_BF16)) {
        assert_int_equal(run_tool("--feed first --numerics bf16", &text), 1);
        assert_non_null(strstr(text, "17 runs: 16 pass, 0 fail, 1 not judged; 0 not run"));
        free(text);
    }
    assert_int_equal(run_tool("--numerics bf16 --backend reference 2>/dev/null", &text), 2);
    free(text);
}

/* What --out wrote reads back, and holds the values by their names. */
static void test_command_out(void **argument)
{
    static const char *const names[] = {"x_norm", "q_proj", "k_proj", "v_proj", "q",  "k",
                                        "v",      "attn",   "lse",    "o_proj", "out"};
    char command[1024];
    struct tool_file file;
    struct tool_fault fault = {.text = ""};
    const char *path = "test_golden_out.safetensors";

    (void)argument;
    skip_refused_numerics(GQA_NUMERICS_F32);
    snprintf(command, sizeof command,
             "'%s' run '%s/s01_gptoss_small_window.safetensors' --out %s "
             "> /dev/null",
             GQA_TOOL_PATH, GQA_GOLDEN_DIR, path);
    assert_int_equal(system(command), 0);
    if (!tool_file_open(&file, path, &fault)) {
        fail_msg("%s", fault.text);
    }
    assert_int_equal(file.count, 11);
    for (size_t i = 0; i < 11; i++) {
        const struct tool_tensor *tensor = tool_file_find(&file, names[i]);
        assert_non_null(tensor);
        assert_int_equal(tensor->shape[1], 33);
        for (int64_t e = 0; e < tensor->count; e++) {
            assert_true(isfinite(((const float *)tensor->data)[e]));
        }
    }
    tool_file_close(&file);
    remove(path);
}

/* --- the list -----------------------------------------------------------------------------------
 */

static void add(struct CMUnitTest *tests, struct setting *settings, int *n, const char *file,
                struct tool_run_options options)
{
    struct setting *setting = &settings[*n];

    setting->options = options;
    snprintf(setting->file, sizeof setting->file, "%s", file);
    snprintf(setting->name, sizeof setting->name, "%.*s, %s %s%s", (int)strcspn(file, "."), file,
             options.backend == GQA_BACKEND_CPU ? "cpu" : "reference",
             options.numerics == GQA_NUMERICS_BF16 ? "bf16" : "f32",
             options.float_angles ? ", float32 angles" : "");
    tests[(*n)++] = (struct CMUnitTest){setting->name, test_case, NULL, NULL, setting};
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[200];
    static struct setting settings[200];
    json_t *manifest = golden_manifest();
    json_t *cases = json_object_get(manifest, "cases");
    int n = 0;

    assert_int_equal(json_array_size(cases), 17);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *entry = json_array_get(cases, i);
        const char *file = json_string_value(json_object_get(entry, "file"));

        for (int angles = 0; angles <= 1; angles++) {
            struct tool_run_options options = {.float_angles = angles != 0};
            options.backend = GQA_BACKEND_REFERENCE;
            add(tests, settings, &n, file, options);
            options.backend = GQA_BACKEND_CPU;
            add(tests, settings, &n, file, options);
        }
        if (json_object_get(json_object_get(entry, "tolerance"), "out_bf16") != NULL) {
            struct tool_run_options options = {.backend = GQA_BACKEND_CPU,
                                               .numerics = GQA_NUMERICS_BF16};
            add(tests, settings, &n, file, options);
        }
    }
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_command_json);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_command_text);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_command_out);
    json_decref(manifest);
    return run_test_program(argc, argv, tests, (size_t)n, NULL, NULL);
}
