/* error.c - see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

gqa_status gqa__fail(gqa_error *err, gqa_status status, const char *field, const char *format, ...)
{
    va_list args;
    int n;

    if (err == NULL) {
        return status;
    }
    err->status = status;
    err->field = field;
    n = snprintf(err->message, sizeof err->message, "%s: ", field);
    if (n < 0 || (size_t)n >= sizeof err->message) {
        return status;
    }
    va_start(args, format);
    (void)vsnprintf(err->message + n, sizeof err->message - (size_t)n, format, args);
    va_end(args);
    return status;
}
