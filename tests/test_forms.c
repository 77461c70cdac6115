/* SPDX-License-Identifier: Apache-2.0 */
/* test_forms.c - golden files of the forms that tests/golden has no example of: a past, ragged and
 * out of order; M-RoPE; head_layernorm; holes; positions that do not start at 0 or do not rise.
 *
 * Each is written as a file, with expected values by the formulas of tests/golden/README.md in
 * double, and must pass on both backends in every feed. With one input changed behind the
 * oracle's back it must fail. Tolerance: values are at most about 5, sums at most 40 terms long,
 * so float32 is off by a few 1e-6; 3e-5 leaves room and is far below any wrong convention.
 */
#include "golden_make.h"
#include "support/forced_isa.h"
#include "support/program.h"

/* --- the forms ----------------------------------------------------------------------------------
 */

static const struct form forms[] = {
    {.name = "past",
     .batch = 2,
     .tokens = 7,
     .past = 5,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .rope = "half",
     .rope_dim = 8,
     .feed = "7|3,4|1,1,1,1,1,1,1"},
    {.name = "ragged past with bias and sinks",
     .batch = 3,
     .tokens = 6,
     .past = 9,
     .hidden = 0,
     .hq = 6,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .sinks = 1,
     .bias = 2,
     .past_kind = RAGGED,
     .feed = "6|2,1,3"},
    {.name = "ragged past, window and shared bias",
     .batch = 2,
     .tokens = 6,
     .past = 8,
     .hidden = 20,
     .hq = 4,
     .hkv = 1,
     .dk = 8,
     .dv = 16,
     .window = 4,
     .bias = 1,
     .rope = "interleaved",
     .rope_dim = 6,
     .past_kind = RAGGED,
     .feed = "5,1|6"},
    {.name = "past in the order of a ring",
     .batch = 2,
     .tokens = 5,
     .past = 7,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .window = 5,
     .bias = 2,
     .past_kind = RING,
     .feed = "5|1,4"},
    {.name = "everything",
     .batch = 2,
     .tokens = 9,
     .past = 4,
     .hidden = 40,
     .hq = 8,
     .hkv = 2,
     .dk = 16,
     .dv = 8,
     .window = 6,
     .sinks = 1,
     .bias = 2,
     .rope = "half",
     .scaling = "llama3",
     .rope_dim = 12,
     .qk_norm = "head_rms",
     .offset = 0,
     .extras = 1,
     .first_position = 3,
     .past_kind = RAGGED,
     .row_kind = RIGHT,
     .feed = "9|4,5|2,2,2,2,1"},
    {.name = "M-RoPE in sections",
     .batch = 2,
     .tokens = 8,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 16,
     .dv = 16,
     .rope = "half",
     .rope_dim = 16,
     .mrope = "sections",
     .feed = "8|3,5"},
    {.name = "M-RoPE interleaved, with a past",
     .batch = 2,
     .tokens = 8,
     .past = 3,
     .hidden = 0,
     .hq = 4,
     .hkv = 2,
     .dk = 16,
     .dv = 16,
     .rope = "half",
     .rope_dim = 16,
     .mrope = "interleaved",
     .feed = "8|7,1"},
    {.name = "norm of each head, LayerNorm",
     .batch = 1,
     .tokens = 9,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .rope = "half",
     .scaling = "linear",
     .rope_dim = 8,
     .qk_norm = "head_layernorm",
     .feed = "9|4,5"},
    {.name = "norm of the projection, offset 1",
     .batch = 1,
     .tokens = 9,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .rope = "half",
     .rope_dim = 8,
     .qk_norm = "proj_rms",
     .offset = 1,
     .feed = "9|4,5"},
    {.name = "norm of heads after rope, stage attn",
     .batch = 2,
     .tokens = 9,
     .hq = 4,
     .hkv = 4,
     .dk = 8,
     .dv = 8,
     .rope = "interleaved",
     .rope_dim = 8,
     .qk_norm = "head_rms_noweight_post_rope",
     .extras = 1,
     .feed = "9|4,5"},
    {.name = "yarn truncated, with an mscale of its own",
     .batch = 1,
     .tokens = 10,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 16,
     .dv = 16,
     .rope = "half",
     .scaling = "yarn",
     .rope_dim = 16,
     .feed = "10|9,1"},
    {.name = "bidirectional",
     .batch = 2,
     .tokens = 9,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .bidirectional = 1,
     .window = 3,
     .rope = "half",
     .rope_dim = 8,
     .feed = ""},
    {.name = "chunks from position 0",
     .batch = 2,
     .tokens = 12,
     .past = 4,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .chunk = 5,
     .window = 4,
     .rope = "half",
     .rope_dim = 8,
     .feed = "12|5,7"},
    {.name = "chunks that cut the first token's",
     .batch = 2,
     .tokens = 12,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .chunk = 5,
     .rope = "half",
     .rope_dim = 8,
     .first_position = 3,
     .feed = "12|5,7"},
    {.name = "padding on the left in pieces",
     .batch = 3,
     .tokens = 11,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .bias = 2,
     .rope = "half",
     .rope_dim = 8,
     .row_kind = LEFT,
     .feed = "11|3,8|1,1,1,1,1,1,1,1,1,1,1"},
    {.name = "holes",
     .batch = 2,
     .tokens = 13,
     .past = 5,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .bias = 1,
     .rope = "half",
     .rope_dim = 8,
     .past_kind = RAGGED,
     .row_kind = HOLES,
     .feed = "13|4,9"},
    {.name = "rows whose keys are hidden",
     .batch = 2,
     .tokens = 13,
     .past = 2,
     .hidden = 0,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .sinks = 1,
     .row_kind = HIDDEN_KEYS,
     .feed = "13|6,7"},
    {.name = "positions that repeat",
     .batch = 2,
     .tokens = 12,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .window = 3,
     .rope = "half",
     .rope_dim = 8,
     .repeat = 1,
     .feed = "12|6,6"},
    {.name = "a changed value",
     .batch = 1,
     .tokens = 6,
     .hidden = 0,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .feed = "6|2,4",
     .mutated = 1},
    {.name = "a changed weight",
     .batch = 1,
     .tokens = 6,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .feed = "6|2,4",
     .mutated = 1},
    {.name = "a changed past",
     .batch = 1,
     .tokens = 6,
     .past = 3,
     .hidden = 24,
     .hq = 4,
     .hkv = 2,
     .dk = 8,
     .dv = 8,
     .feed = "6|2,4",
     .mutated = 1},
};

static void test_form(void **argument)
{
    const struct form *f = *argument;
    const char *path = "test_forms.safetensors";
    struct tool_file file;
    struct tool_case c;
    struct tool_fault fault = {.text = ""};

    skip_refused_numerics(GQA_NUMERICS_F32);
    write_form(f, path);
    if (!tool_file_open(&file, path, &fault) || !tool_case_load(&c, &file, &fault)) {
        fail_msg("%s: %s", f->name, fault.text);
    }
    for (int backend = 0; backend < 2; backend++) {
        struct tool_run_options options = {.backend = backend == 0 ? GQA_BACKEND_CPU
                                                                   : GQA_BACKEND_REFERENCE};
        struct tool_session session;

        if (!tool_session_open(&session, &c, &options, &fault)) {
            fail_msg("%s: %s", f->name, fault.text);
        }
        for (int32_t i = 0; i < c.schedule_count; i++) {
            struct tool_values values;
            struct tool_report report;

            if (!tool_session_run(&session, &c.schedules[i], true, &values, &fault)) {
                fail_msg("%s: %s", f->name, fault.text);
            }
            tool_compare(&c, &options, &values, &report);
            for (int r = 0; r < report.n; r++) {
                const struct tool_check *check = &report.check[r];
                if (!f->mutated && check->verdict != TOOL_VERDICT_PASS) {
                    fail_msg("%s, backend %d, feed %d: %s is off by %g at %s", f->name, backend, i,
                             check->name, check->max, check->where);
                }
            }
            assert_int_equal(report.verdict, f->mutated ? TOOL_VERDICT_FAIL : TOOL_VERDICT_PASS);
            tool_values_free(&values);
        }
        tool_session_close(&session);
    }
    tool_case_free(&c);
    tool_file_close(&file);
    remove(path);
}

int main(int argc, char **argv)
{
    enum { FORMS = sizeof forms / sizeof forms[0] };
    struct CMUnitTest tests[FORMS];

    for (int i = 0; i < FORMS; i++) {
        tests[i] =
            (struct CMUnitTest){forms[i].name, test_form, NULL, NULL, (void *)(uintptr_t)&forms[i]};
    }
    return RUN_TESTS(argc, argv, tests);
}
