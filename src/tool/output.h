/* output.h - standard output that is known to have arrived, for the command and for gqa-bench. */
#ifndef GQA__TOOL_OUTPUT_H
#define GQA__TOOL_OUTPUT_H

/* First thing in main: give the descriptors 0, 1 and 2 that the caller closed a place that can be
 * neither read nor written. Otherwise the next file opened would be taken for standard output. */
void tool_output_open(void);

/* Last thing in main: flush and close standard output. Returns status, or failed with a message
 * by program on stderr where a byte of the output was lost. */
int tool_output_close(const char *program, int status, int failed);

#endif
