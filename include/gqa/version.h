/* gqa/version.h - version numbers and symbol visibility. */
#ifndef GQA_VERSION_H
#define GQA_VERSION_H

#define GQA_VERSION_MAJOR 0
#define GQA_VERSION_MINOR 1
#define GQA_VERSION_PATCH 0

/* 0x00MMmmpp: what gqa_version() of a library built from these headers returns. */
#define GQA_VERSION ((GQA_VERSION_MAJOR << 16) | (GQA_VERSION_MINOR << 8) | GQA_VERSION_PATCH)

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
