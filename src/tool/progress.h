/* SPDX-License-Identifier: Apache-2.0 */
/* progress.h - one line on stderr that says how far a long run is; silent where stderr is no
 * terminal. */
#ifndef GQA__TOOL_PROGRESS_H
#define GQA__TOOL_PROGRESS_H

#include <stdbool.h>

struct tool_progress {
    bool on;
    bool shown;   /* a line stands there */
    double start; /* seconds */
    double last;  /* when the line was written */
};

double tool_seconds(void); /* a clock that only rises */

void tool_progress_start(struct tool_progress *progress);
/* Shows nothing in the first second, then five lines a second at most. */
void tool_progress_step(struct tool_progress *progress, const char *what, int at, int of);
/* Wipe the line, before anything else is printed. */
void tool_progress_clear(struct tool_progress *progress);

#endif
