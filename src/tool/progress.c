/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c - see progress.h. */
#define _POSIX_C_SOURCE 200809L
#include "tool/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

double tool_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void tool_progress_start(struct tool_progress *progress)
{
    progress->on = isatty(STDERR_FILENO) != 0;
    progress->shown = false;
    progress->start = tool_seconds();
    progress->last = progress->start + 0.8;
}

void tool_progress_step(struct tool_progress *progress, const char *what, int at, int of)
{
    double now;

    if (!progress->on || (now = tool_seconds()) < progress->last + 0.2) {
        return;
    }
    progress->last = now;
    progress->shown = true;
    fprintf(stderr, "\r\033[K%s: %d of %d (%.0f s)", what, at, of, now - progress->start);
    fflush(stderr);
}

void tool_progress_clear(struct tool_progress *progress)
{
    if (progress->shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        progress->shown = false;
    }
}
