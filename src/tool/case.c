/* case.c - see case.h: loading, feed schedules, shapes of values. */
#include "tool/case.h"

#include <stdlib.h>
#include <string.h>

#include "tool/meta.h"

static const char *const value_names[TOOL_VALUES] = {
    "x_norm", "q_proj", "k_proj", "v_proj", "q", "k", "v", "attn", "lse", "o_proj", "out"};

const char *tool_value_name(enum tool_value value)
{
    return value_names[value];
}

int32_t tool_value_shape(const struct tool_case *c, enum tool_value value, int64_t shape[4])
{
    shape[0] = c->batch;
    shape[1] = c->tokens;
    shape[3] = 1;
    switch (value) {
    case TOOL_X_NORM:
    case TOOL_O_PROJ:
    case TOOL_OUT:
        shape[2] = c->hidden;
        return 3;
    case TOOL_LSE:
        shape[2] = c->hq;
        return 3;
    case TOOL_Q:
    case TOOL_Q_PROJ:
    case TOOL_ATTN:
        shape[2] = c->hq;
        break;
    default:
        shape[2] = c->hkv;
        break;
    }
    shape[3] = value == TOOL_V || value == TOOL_V_PROJ || value == TOOL_ATTN ? c->dv : c->dk;
    return 4;
}

int64_t tool_value_count(const struct tool_case *c, enum tool_value value)
{
    int64_t shape[4];

    tool_value_shape(c, value, shape);
    return shape[0] * shape[1] * shape[2] * shape[3];
}

/* One alternative: "7,1,1". */
static bool read_schedule(struct tool_case *c, struct tool_schedule *schedule,
                          struct tool_fault *fault)
{
    char *text = malloc((size_t)schedule->length + 1);
    int64_t sum = 0;
    bool good = false;
    int commas = 0;

    for (int i = 0; i < schedule->length; i++) {
        commas += schedule->text[i] == ',';
    }
    schedule->sizes = malloc(((size_t)commas + 1) * sizeof *schedule->sizes);
    if (text == NULL || schedule->sizes == NULL) {
        tool_fault_set(fault, c->path, "no memory for feed_schedule");
        goto done;
    }
    memcpy(text, schedule->text, (size_t)schedule->length);
    text[schedule->length] = '\0';
    schedule->n = tool_parse_ints(text, schedule->sizes, commas + 1);
    for (int32_t i = 0; i < schedule->n; i++) {
        if (schedule->sizes[i] < 1) {
            schedule->n = -1;
            break;
        }
        sum += schedule->sizes[i];
    }
    if (schedule->n < 1 || sum != c->tokens) {
        tool_fault_set(fault, c->path,
                       "feed_schedule alternative \"%.60s\" is not a list of call "
                       "sizes that add up to %d tokens",
                       text, c->tokens);
        goto done;
    }
    good = true;

done:
    free(text);
    return good;
}

static bool read_schedules(struct tool_case *c, struct tool_fault *fault)
{
    const char *given = tool_file_text(c->file, "feed_schedule");
    const char *text = given != NULL ? given : "";
    size_t alternatives = 1;

    for (const char *p = text; *p != '\0'; p++) {
        alternatives += *p == '|';
    }
    c->schedules = calloc(alternatives, sizeof *c->schedules);
    if (c->schedules == NULL) {
        return tool_fault_set(fault, c->path, "no memory for %zu feed schedules", alternatives);
    }
    if (*text == '\0') { /* no cache is meant: one call */
        c->schedules[0].sizes = malloc(sizeof(int32_t));
        if (c->schedules[0].sizes == NULL) {
            return tool_fault_set(fault, c->path, "no memory for feed_schedule");
        }
        c->schedules[0].sizes[0] = c->tokens;
        c->schedules[0].n = 1;
        c->schedules[0].text = "one call";
        c->schedules[0].length = 8;
        c->schedule_count = 1;
        return true;
    }
    for (size_t i = 0; i < alternatives; i++) {
        struct tool_schedule *schedule = &c->schedules[c->schedule_count++];

        schedule->text = text;
        schedule->length = (int)strcspn(text, "|");
        if (!read_schedule(c, schedule, fault)) {
            return false;
        }
        text += schedule->length + 1;
    }
    return true;
}

bool tool_case_load(struct tool_case *c, const struct tool_file *file, struct tool_fault *fault)
{
    const char *name = tool_file_text(file, "case");

    memset(c, 0, sizeof *c);
    c->file = file;
    c->path = file->path;
    c->name = name != NULL ? name : file->path;
    gqa_weights_init(&c->weights);
    if (tool_meta_check_keys(file, fault) && tool_case_config(c, fault) &&
        tool_case_tensors(c, fault) && tool_case_positions(c, fault) && read_schedules(c, fault)) {
        return true;
    }
    tool_case_free(c);
    return false;
}

void tool_case_free(struct tool_case *c)
{
    for (int32_t i = 0; i < c->schedule_count; i++) {
        free(c->schedules[i].sizes);
    }
    for (int i = 0; i < 4; i++) {
        free(c->made[i]);
        c->made[i] = NULL;
    }
    free(c->schedules);
    c->schedules = NULL;
    c->schedule_count = 0;
}
