/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_told.c - see neuron_told.h. */
#include "tool/neuron_told.h"

#include <string.h>

#include "tool/report.h"

static bool is_told(const struct tool_neuron_told *told, const gqa_neuron_warning *warning)
{
    for (int32_t i = 0; i < told->warning_count; i++) {
        if (told->warnings[i].code == warning->code &&
            strcmp(told->warnings[i].text, warning->text) == 0) {
            return true;
        }
    }
    return false;
}

void tool_neuron_told_add(struct tool_neuron_told *told, const gqa_path *path,
                          const gqa_neuron_report *report)
{
    if (path->neuron_profile != GQA_NEURON_NO_PROFILE) { /* else a call without tokens */
        told->profiles |= 1u << path->neuron_profile;
        told->strategies |= 1u << path->neuron_strategy;
    }
    for (int32_t i = 0; i < report->warning_count; i++) {
        if (told->warning_count < GQA_NEURON_WARNINGS_MAX && !is_told(told, &report->warnings[i])) {
            told->warnings[told->warning_count++] = report->warnings[i];
        }
    }
}

/* Names of the bits, "a, b". */
static void print_names(FILE *out, uint32_t bits, bool profiles)
{
    const char *between = "";

    for (int i = 0; bits >> i != 0; i++) {
        if ((bits >> i & 1) != 0) {
            fprintf(out, "%s%s", between,
                    profiles ? gqa_neuron_profile_name((gqa_neuron_profile)i)
                             : gqa_neuron_strategy_name((gqa_neuron_flash_strategy)i));
            between = ", ";
        }
    }
}

void tool_neuron_told_print(FILE *out, const struct tool_neuron_told *told)
{
    fprintf(out, "  profile ");
    print_names(out, told->profiles, true);
    fprintf(out, "; strategy ");
    print_names(out, told->strategies, false);
    fputc('\n', out);
    for (int32_t i = 0; i < told->warning_count; i++) {
        fprintf(out, "  warning: %s: %s\n", told->warnings[i].field, told->warnings[i].text);
    }
}

json_t *tool_neuron_told_json(const struct tool_neuron_told *told)
{
    json_t *profiles = json_array(), *strategies = json_array(), *warnings = json_array();

    for (int i = 0; told->profiles >> i != 0; i++) {
        if ((told->profiles >> i & 1) != 0) {
            json_array_append_new(profiles,
                                  json_string(gqa_neuron_profile_name((gqa_neuron_profile)i)));
        }
    }
    for (int i = 0; told->strategies >> i != 0; i++) {
        if ((told->strategies >> i & 1) != 0) {
            json_array_append_new(
                strategies, json_string(gqa_neuron_strategy_name((gqa_neuron_flash_strategy)i)));
        }
    }
    for (int32_t i = 0; i < told->warning_count; i++) {
        json_array_append_new(
            warnings, json_pack("{s:i, s:s, s:s}", "code", (int)told->warnings[i].code, "field",
                                told->warnings[i].field, "text", told->warnings[i].text));
    }
    return json_pack("{s:o, s:o, s:o}", "profiles", profiles, "strategies", strategies, "warnings",
                     warnings);
}

/* --- the table ---------------------------------------------------------------------------------
 */

void tool_neuron_table_head(FILE *out)
{
    fprintf(out, "| case | calls | profile | strategy | error of the result | warnings |\n");
    fprintf(out, "| --- | --- | --- | --- | --- | --- |\n");
}

/* The result against double arithmetic, or, where the file has none, against its float32. */
static const struct tool_check *result_of(const struct tool_done *done,
                                          const struct tool_report *report)
{
    const char *const name = tool_value_name(done->c->block ? TOOL_OUT : TOOL_ATTN);
    const struct tool_check *found = NULL;

    for (int i = 0; i < report->n; i++) {
        const struct tool_check *const check = &report->check[i];
        if (strcmp(check->name, name) == 0 && check->size > 0.0 &&
            (found == NULL || strcmp(check->against, "f64") == 0)) {
            found = check;
        }
    }
    return found;
}

void tool_neuron_table_line(FILE *out, const struct tool_done *done,
                            const struct tool_report *report)
{
    const struct tool_neuron_told *const told = done->neuron;
    const struct tool_check *const result = result_of(done, report);

    fprintf(out, "| %s | %d | ", done->c->name, done->schedule->n);
    print_names(out, told->profiles, true);
    fprintf(out, " | ");
    print_names(out, told->strategies, false);
    if (result == NULL) {
        fprintf(out, " | - | ");
    } else {
        fprintf(out, " | %.1e | ", result->rms / result->size);
    }
    for (int32_t i = 0; i < told->warning_count; i++) {
        fprintf(out, "%s%s", i > 0 ? "; " : "", told->warnings[i].text);
    }
    fprintf(out, " |\n");
}

void tool_neuron_table_refused(FILE *out, const char *text)
{
    fprintf(out, "| refused | | | | | %s |\n", text);
}
