/* SPDX-License-Identifier: Apache-2.0 */
/* compare.h - a run's values against what a golden file expects. */
#ifndef GQA__TOOL_COMPARE_H
#define GQA__TOOL_COMPARE_H

#include "tool/run.h"

#define TOOL_INV_FREQ_TOLERANCE 1e-12 /* relative */

enum tool_verdict { TOOL_VERDICT_PASS, TOOL_VERDICT_FAIL, TOOL_VERDICT_NONE };

/* One line of the report. */
struct tool_check {
    const char *name;    /* of the tensor */
    const char *against; /* "f64", "ref", "bf16ref", "file" or "rule" */
    double max, rms;     /* absolute errors (inv_freq, rope_mscale: relative) */
    double tolerance;    /* NaN = not judged */
    double size;         /* rms of the expected values; 0 where nobody asks */
    int64_t count;       /* elements compared */
    int64_t wrong; /* of them: NaN or infinite where the expected one is not, or the reverse */
    enum tool_verdict verdict;
    char where[64]; /* the worst element, "[0, 3, 1, 15]"; empty without an error */
};

#define TOOL_CHECKS_MAX (3 * TOOL_VALUES + 8)

struct tool_report {
    struct tool_check check[TOOL_CHECKS_MAX];
    int n;
    enum tool_verdict verdict; /* NONE: nothing failed, but the main result was not judged */
};

void tool_compare(const struct tool_case *c, const struct tool_run_options *options,
                  const struct tool_values *values, struct tool_report *report);

#endif
