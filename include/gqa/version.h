/* gqa/version.h - version numbers and symbol visibility. */
#ifndef GQA_VERSION_H
#define GQA_VERSION_H

#define GQA_VERSION_MAJOR 0
#define GQA_VERSION_MINOR 1
#define GQA_VERSION_PATCH 0

/* 0x00MMmmpp: what gqa_version() of a library built from these headers returns. */
#define GQA_VERSION ((GQA_VERSION_MAJOR << 16) | (GQA_VERSION_MINOR << 8) | GQA_VERSION_PATCH)

/* The interface, counted apart from the releases: raised by 1 whenever a caller has to change its
 * source, or to compile it again, and by nothing else. A program that loads the library at run time
 * compares it with gqa_api_version().
 *
 * New functions, new fields at the end of a struct that begins with struct_size, and new values of
 * an enum do not raise it: a caller's struct_size tells the library which fields it knows, and the
 * others get their defaults. SOVERSION, the N of libgqa.so.N, is GQA_VERSION_MAJOR. It is raised
 * where a linked program would no longer run, and that raises this number too; where only a source
 * has to change, SOVERSION stays. */
#define GQA_API_VERSION 1

/* GQA_SHARED matters on Windows alone (MinGW; README.md says what runs there): the library is a
 * shared one. GQA_BUILDING: its own sources are being compiled. */
#if defined(_WIN32) && defined(GQA_SHARED)
#ifdef GQA_BUILDING
#define GQA_API __declspec(dllexport)
#else
#define GQA_API __declspec(dllimport)
#endif
#elif defined(__GNUC__) && defined(GQA_BUILDING)
#define GQA_API __attribute__((visibility("default")))
#else
#define GQA_API
#endif

#endif
