/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_case.c - the command's way from a golden file to a report: safetensors, metadata, case,
 * feeds, runs, comparison. Whatever the file says, the answer is a report or a fault in words.
 *
 * An input that begins with "golden" is a text from which a sound frame is built, so that mutations
 * reach what lies behind the frame: the digit after the word chooses the options of the run, then
 * come lines "key=value" of metadata and lines "name dtype shape fill" of tensors, whose data are
 * filled as the last word says (seq, one, zero, rand, odd). Any other input is the file itself. */
#include <string.h>

#include "bytes.h"
#include "tool/case.h"
#include "tool/compare.h"
#include "tool/neuron_maps.h"
#include "tool/neuron_report.h"
#include "tool/report.h"
#include "tool/run.h"

enum { TEXT_MAX = 1 << 16, DATA_MAX = 1 << 20, RUNS = 3 };

/* A file under construction. */
struct draft {
    char header[TEXT_MAX];
    size_t length;
    unsigned char data[DATA_MAX];
    size_t size;
    uint32_t seed;
};

static void put(struct draft *draft, const char *text, size_t n)
{
    if (draft->length + n < TEXT_MAX - 128) {
        memcpy(draft->header + draft->length, text, n);
        draft->length += n;
    }
}

static void put_text(struct draft *draft, const char *text)
{
    put(draft, text, strlen(text));
}

/* --- tensors ------------------------------------------------------------------------------------
 */

static size_t size_of(const char *dtype, size_t n)
{
    static const struct {
        const char *name;
        size_t size;
    } dtypes[] = {{"F64", 8}, {"F32", 4}, {"I32", 4}, {"BF16", 2}};

    for (size_t i = 0; i < 4; i++) {
        if (strlen(dtypes[i].name) == n && memcmp(dtypes[i].name, dtype, n) == 0) {
            return dtypes[i].size;
        }
    }
    return 1;
}

static double value_of(struct draft *draft, const char *fill, size_t i, size_t row)
{
    static const double odd[] = {0, -1, NAN, INFINITY, -INFINITY, 1e38, 1e-42, 2147483647};
    const uint32_t value = next_value(&draft->seed);

    switch (*fill) {
    case 's':
        return (double)(i % row);
    case 'o':
        return fill[1] == 'd' ? odd[value >> 29] : 1;
    case 'z':
        return 0;
    default:
        return (double)(value >> 8) * 0x1p-23 - 1.0;
    }
}

static void fill_tensor(struct draft *draft, char kind, size_t size, size_t count, size_t row,
                        const char *fill)
{
    unsigned char *to = draft->data + draft->size;

    for (size_t i = 0; i < count; i++, to += size) {
        const double value = value_of(draft, fill, i, row);
        const float single = (float)value;
        const int32_t whole = value > -2e9 && value < 2e9 ? (int32_t)value : INT32_MIN;
        if (size == 8) {
            memcpy(to, &value, size);
        } else if (size == 4 && kind == 'I') {
            memcpy(to, &whole, size);
        } else if (size == 4) {
            memcpy(to, &single, size);
        } else if (size == 2) {
            memcpy(to, (const unsigned char *)&single + 2, size);
        } else {
            *to = (unsigned char)whole;
        }
    }
    draft->size += size * count;
}

/* The words of a line, from first on. */
struct words {
    const char *at[4];
    size_t length[4];
};

static bool split(struct words *words, const char *line, size_t n)
{
    for (int i = 0; i < 4; i++) {
        size_t length = 0;
        while (length < n && line[length] != ' ') {
            length++;
        }
        words->at[i] = line;
        words->length[i] = length;
        if (i < 3 && length == n) {
            return false;
        }
        line += length + (i < 3);
        n -= length + (i < 3);
    }
    return true;
}

static void add_tensor(struct draft *draft, const char *line, size_t n)
{
    struct words words;
    char offsets[80];
    uint64_t count = 1, last = 0;
    size_t size;

    if (!split(&words, line, n)) {
        return;
    }
    for (size_t i = 0; i < words.length[2]; i++) {
        const char c = words.at[2][i];
        if (c >= '0' && c <= '9') {
            last = last < 1 << 20 ? last * 10 + (uint64_t)(c - '0') : last;
        }
        if (c == ',' || i + 1 == words.length[2]) {
            count = count < DATA_MAX ? count * last : count;
            last = c == ',' ? 0 : last;
        }
    }
    size = size_of(words.at[1], words.length[1]);
    if (count > (DATA_MAX - draft->size) / size) {
        return;
    }
    put_text(draft, draft->length > 1 ? ",\"" : "\"");
    put(draft, words.at[0], words.length[0]);
    put_text(draft, "\":{\"dtype\":\"");
    put(draft, words.at[1], words.length[1]);
    put_text(draft, "\",\"shape\":[");
    put(draft, words.at[2], words.length[2]);
    snprintf(offsets, sizeof offsets, "],\"data_offsets\":[%zu,%zu]}", draft->size,
             draft->size + (size_t)count * size);
    put_text(draft, offsets);
    fill_tensor(draft, words.at[1][0], size, (size_t)count, last > 0 ? (size_t)last : 1,
                words.length[3] > 1 ? words.at[3] : "rand");
}

/* --- the file ------------------------------------------------------------------------------------
 */

static void add_metadata(struct draft *draft, const char *text, size_t n)
{
    const char *separator = "";

    put_text(draft, "{\"__metadata__\":{");
    while (n > 0) {
        const char *const end = memchr(text, '\n', n);
        const size_t length = end != NULL ? (size_t)(end - text) : n;
        const char *const equal = memchr(text, '=', length);
        if (equal != NULL) {
            put_text(draft, separator);
            put_text(draft, "\"");
            put(draft, text, (size_t)(equal - text));
            put_text(draft, "\":\"");
            put(draft, equal + 1, length - (size_t)(equal - text) - 1);
            put_text(draft, "\"");
            separator = ",";
        }
        text += length + (end != NULL);
        n -= length + (end != NULL);
    }
    put_text(draft, "}");
}

static void add_tensors(struct draft *draft, const char *text, size_t n)
{
    while (n > 0) {
        const char *const end = memchr(text, '\n', n);
        const size_t length = end != NULL ? (size_t)(end - text) : n;
        if (memchr(text, '=', length) == NULL) {
            add_tensor(draft, text, length);
        }
        text += length + (end != NULL);
        n -= length + (end != NULL);
    }
}

/* Bytes of the file, in a block of their exact size. */
static unsigned char *build(const char *text, size_t n, size_t *size)
{
    static struct draft draft;
    uint64_t length;
    unsigned char *file;

    draft.length = draft.size = 0;
    draft.seed = 1;
    add_metadata(&draft, text, n);
    add_tensors(&draft, text, n);
    put_text(&draft, "}");
    while ((8 + draft.length) % 64 != 0) {
        draft.header[draft.length++] = ' ';
    }
    *size = 8 + draft.length + draft.size;
    file = malloc(*size);
    FUZZ_CHECK(file != NULL);
    length = draft.length;
    for (int i = 0; i < 8; i++) {
        file[i] = (unsigned char)(length >> 8 * i);
    }
    memcpy(file + 8, draft.header, draft.length);
    memcpy(file + 8 + draft.length, draft.data, draft.size);
    return file;
}

/* --- the run -------------------------------------------------------------------------------------
 */

static void judge(const struct tool_done *done, const struct tool_values *values)
{
    static FILE *nowhere;
    struct tool_report report;
    json_t *json;

    nowhere = nowhere != NULL ? nowhere : fopen("/dev/null", "w");
    FUZZ_CHECK(nowhere != NULL);
    tool_compare(done->c, done->options, values, &report);
    FUZZ_CHECK(report.n <= TOOL_CHECKS_MAX);
    json = tool_report_json(done, &report);
    FUZZ_CHECK(json != NULL);
    json_decref(json);
    tool_report_print(nowhere, done, &report);
}

static void run(const struct tool_case *c, unsigned choice, struct tool_fault *fault)
{
    const struct tool_run_options options = {
        .backend = choice & 1 ? GQA_BACKEND_REFERENCE : GQA_BACKEND_CPU,
        .numerics = choice & 2 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32,
        .float_angles = (choice & 4) != 0,
        .in_place = (choice & 8) != 0};
    const double rows = (double)c->batch * c->tokens;
    const double work = rows * c->keys * c->hq * ((double)c->dk + c->dv) +
                        rows * c->hidden * c->hq * ((double)c->dk + c->dv);
    struct tool_session session;

    if (work > 1 << 25 || !tool_session_open(&session, c, &options, fault)) {
        return;
    }
    for (int32_t i = 0; i < 2 * RUNS && i < 2 * c->schedule_count; i++) {
        const struct tool_schedule *const schedule = &c->schedules[i / 2];
        const bool cached = i % 2 == 0;
        struct tool_done done = {
            .c = c, .options = &options, .schedule = schedule, .cached = cached};
        struct tool_values values;
        if (!cached && (schedule->n > 1 || c->past > 0)) {
            continue;
        }
        if (tool_session_run(&session, schedule, cached, &values, fault)) {
            done.path = values.path;
            judge(&done, &values);
        }
        tool_values_free(&values);
    }
    tool_session_close(&session);
}

/* A case of Neuron's profiles: recorded, judged, reported. Large ones are left out. */
static void run_neuron(const struct tool_neuron_case *c, struct tool_fault *fault)
{
    static FILE *nowhere;
    struct tool_neuron_record record;
    struct tool_neuron_report report;
    gqa_neuron_output output;
    gqa_error err;
    size_t bytes = 0;
    const struct tool_neuron_done done = {&record, GQA_NEURON_FLOAT32, &output};

    nowhere = nowhere != NULL ? nowhere : fopen("/dev/null", "w");
    FUZZ_CHECK(nowhere != NULL);
    gqa_neuron_output_init(&output);
    output.out = c->call.q;
    if (c->maps == TOOL_MAPS_NONE &&
        (gqa_neuron_workspace_size(&c->call, &output, NULL, &bytes, &err) != GQA_OK ||
         bytes > 1 << 25)) {
        return;
    }
    FUZZ_CHECK(tool_neuron_record_open(&record, c, fault));
    if (c->maps != TOOL_MAPS_NONE
            ? tool_neuron_maps_run(&record, fault)
            : tool_neuron_record_run(&record, GQA_NEURON_FLOAT32, &output, fault)) {
        json_t *json;
        tool_neuron_judge(&record, GQA_NEURON_FLOAT32, &report);
        json = tool_neuron_json(&done, &report);
        FUZZ_CHECK(json != NULL);
        json_decref(json);
        tool_neuron_print(nowhere, &done, &report);
    } else {
        FUZZ_CHECK(fault->text[0] != '\0');
    }
    tool_neuron_record_close(&record);
}

static void run_any(const struct tool_file *file, unsigned choice, struct tool_fault *fault)
{
    struct tool_neuron_case neuron;
    struct tool_case c;

    if (tool_neuron_is_case(file)) {
        if (tool_neuron_load(&neuron, file, fault)) {
            run_neuron(&neuron, fault);
        } else {
            FUZZ_CHECK(fault->text[0] != '\0');
        }
    } else if (tool_case_load(&c, file, fault)) {
        run(&c, choice, fault);
        tool_case_free(&c);
    } else {
        FUZZ_CHECK(fault->text[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tool_fault fault = {.text = ""};
    struct tool_file file;
    unsigned choice = 0;
    size_t bytes = size;
    unsigned char *content;

    if (size > 7 && memcmp(data, "golden", 6) == 0) {
        choice = data[6] - (unsigned)'0';
        content = build((const char *)data + 7, size - 7, &bytes);
    } else {
        content = malloc(size > 0 ? size : 1);
        FUZZ_CHECK(content != NULL);
        memcpy(content, data, size);
    }
    if (tool_file_parse(&file, "file", content, bytes, &fault)) {
        run_any(&file, choice, &fault);
        tool_file_close(&file);
    } else {
        FUZZ_CHECK(fault.text[0] != '\0');
    }
    free(content);
    return 0;
}
